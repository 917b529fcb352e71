"""Put a recording before the oracles that need its trace alone."""

from __future__ import annotations

from harness.campaign.judging import Recorded, logged_array, traced_array
from harness.campaign.recording import Recording
from harness.crash.trace import Completion, Event, Mark, Operation, Trace
from harness.crash.walk import walk
from harness.md.shape import JOURNAL_NAME
from harness.ondisk.superblock import ROLE_JOURNAL, stored_device_number, stored_roles
from harness.ondisk.units import SECTOR_BYTES
from harness.recovery.members import Array, put_together
from harness.verdict.durability import JOURNAL_FAILED
from harness.verdict.journal_truth import judge_logged
from harness.verdict.ordering import judge_ordering
from harness.verdict.predicted_state import SUPERBLOCK_AT, superblocks_of
from harness.verdict.verdict import Verdict, verdict_of


def judge_trace(recording: Recording) -> Verdict:
    """Judge the order of all writes, and what is in the log (DESIGN.md section 6, 3 and 2).

    From the workload's beginning until its end, or until the journal fails.
    """
    array = array_at(recording.trace, recording.first_event)
    last = last_with_journal(recording)
    ordering = judge_ordering(
        recording.trace, traced_array(array, recording.trace), recording.workload,
        first=recording.first_event, last=last,
    )  # fmt: skip
    assert array.journal is not None
    recorded = Recorded(recording.trace, last, recording.workload)
    logged = logged_array(array, array.superblocks[array.journal], JOURNAL_NAME, recorded)
    return verdict_of((ordering, judge_logged(logged)))


def last_with_journal(recording: Recording) -> int:
    """Return the workload's last event, or the one with which the array loses its journal.

    It is made to fail (a mark), or fails a write or a flush, upon which md gives it up, or the
    superblocks know of none any more, or of another one. What md then does with stripes whose
    records it could not write is between it and the writers, who get errors.
    """
    watch = _JournalWatch([disk.name for disk in recording.trace.disks].index(JOURNAL_NAME))
    for event in recording.trace.events:
        if event.sequence > recording.last_event:
            break
        if watch.is_lost_with(event):
            return event.sequence
    return recording.last_event


class _JournalWatch:
    """Sees the events of a trace in order, and the one with which the array loses its journal."""

    def __init__(self, journal: int) -> None:
        self._journal = journal
        self._asked: set[int] = set()  # its writes and flushes
        self._had_one = False

    def is_lost_with(self, event: Event) -> bool:
        if isinstance(event, Mark):
            return event.text == JOURNAL_FAILED
        if isinstance(event, Completion):
            return bool(event.error) and event.request in self._asked
        if event.disk == self._journal and event.operation in (Operation.WRITE, Operation.FLUSH):
            self._asked.add(event.request)
        if event.offset != SUPERBLOCK_AT * SECTOR_BYTES or not event.payload:
            return False
        roles = dict(enumerate(stored_roles(event.payload)))
        own_role = roles.get(stored_device_number(event.payload))
        has_one = ROLE_JOURNAL in roles.values()
        is_lost = self._had_one and not has_one
        self._had_one |= has_one
        return is_lost or (own_role == ROLE_JOURNAL and event.disk != self._journal)


def array_at(trace: Trace, event: int) -> Array:
    """Return the array that all disks of a trace were, had the power not gone before an event."""
    cut = next(walk(trace, event, trace.events[-1].sequence))
    names = [disk.name for disk in trace.disks]
    contents = {
        name: disk.content({n: ((i.offset, i.length),) for n, (i, _) in enumerate(disk.pending)})
        for name, disk in zip(names, cut.disks, strict=True)
    }
    sizes = {disk.name: disk.size_bytes for disk in trace.disks}
    return put_together(superblocks_of(contents, sizes))
