"""Put a recording before the oracle that needs its trace alone."""

from __future__ import annotations

from harness.campaign.crash import Recording
from harness.crash.walk import walk
from harness.ondisk.crc import uuid_checksum
from harness.recovery.log import ring_of
from harness.recovery.members import put_together
from harness.verdict.ordering import TracedArray, judge_ordering
from harness.verdict.predicted_state import SUPERBLOCK_AT, superblocks_of
from harness.verdict.verdict import Verdict, verdict_of


def judge_order(recording: Recording) -> Verdict:
    """Judge the order of all writes from the workload's beginning on (DESIGN.md section 6, 3)."""
    trace, workload = recording.trace, recording.workload
    judgement = judge_ordering(
        trace, traced_array(recording), workload, first=recording.first_event
    )
    return verdict_of((judgement,))


def traced_array(recording: Recording) -> TracedArray:
    """Return where the array is on the disks of a recording, by its superblocks at the end."""
    trace = recording.trace
    last = trace.events[-1].sequence
    *_, cut = walk(trace, last, last)
    names = [disk.name for disk in trace.disks]
    contents = {
        name: disk.content({n: ((i.offset, i.length),) for n, (i, _) in enumerate(disk.pending)})
        for name, disk in zip(names, cut.disks, strict=True)
    }
    sizes = {disk.name: disk.size_bytes for disk in trace.disks}
    array = put_together(superblocks_of(contents, sizes))
    assert array.journal is not None
    journal = array.superblocks[array.journal]
    (member_offset,) = {s.data_offset for s in array.superblocks.values() if not s.is_journal}
    return TracedArray(
        geometry=array.geometry, seed=uuid_checksum(array.set_uuid),
        members={names.index(found[0]): slot for slot, found in array.members.items()},
        journal=names.index(array.journal), member_offset=member_offset,
        journal_offset=journal.data_offset, ring_sectors=ring_of(journal.data_size).size,
        superblock_at=SUPERBLOCK_AT,
    )  # fmt: skip
