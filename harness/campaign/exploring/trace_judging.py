"""Put a recording before the oracles that need its trace alone."""

from __future__ import annotations

from harness.campaign.judging import Recorded, logged_array, traced_array
from harness.campaign.recording import Recording
from harness.crash.trace import Mark, Trace
from harness.crash.walk import walk
from harness.md.shape import JOURNAL_NAME
from harness.recovery.members import Array, put_together
from harness.verdict.durability import JOURNAL_FAILED
from harness.verdict.journal_truth import judge_logged
from harness.verdict.ordering import judge_ordering
from harness.verdict.predicted_state import superblocks_of
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
    """Return the workload's last event, or the one before which the journal is made to fail."""
    for event in recording.trace.events:
        if isinstance(event, Mark) and event.text == JOURNAL_FAILED:
            return event.sequence
    return recording.last_event


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
