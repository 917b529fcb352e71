"""After a power cut the real kernel recovers what the model says it recovers."""

from __future__ import annotations

import pytest

from harness.campaign.crash import CrashOptions
from harness.campaign.recording import Recording
from harness.crash.disk_kinds import Bus, Discard
from harness.crash.states import (
    CrashState,
    Fate,
    Loss,
    Survivor,
    crash_state,
    fates,
)
from harness.crash.trace import Cache, Issue, Operation
from harness.crash.workload import JournalMode
from harness.md.shape import JOURNAL_NAME, Shape
from harness.ondisk.superblock import has_superblock_magic
from harness.recovery.layout import Level
from harness.verdict.verdict import Outcome
from testcases.lab import Lab, assert_agrees

pytestmark = pytest.mark.guest

SHAPES = {
    "raid4": Shape(level=Level.RAID4, members=3, layout=0),
    "raid5": Shape(level=Level.RAID5, members=3, layout=2),
    "raid6": Shape(level=Level.RAID6, members=5, layout=2),
    "raid5-write-back": Shape(mode=JournalMode.WRITE_BACK),
    "raid6-write-back": Shape(level=Level.RAID6, members=4, layout=2, mode=JournalMode.WRITE_BACK),
    "raid5-no-volatile-cache": Shape(
        member_cache=Cache.WRITE_THROUGH, journal_cache=Cache.WRITE_THROUGH
    ),
    "raid5-wrapped": Shape(journal_bytes=512 * 1024),
    "raid5-of-five-asymmetric": Shape(members=5, layout=0, chunk_bytes=16 * 1024),
}

DISKS = {
    "scsi-4096-no-discard": Shape(bus=Bus.SCSI, logical_block_bytes=4096, discard=Discard.NONE),
    "nvme": Shape(
        bus=Bus.NVME, member_cache=Cache.WRITE_THROUGH, journal_cache=Cache.WRITE_THROUGH
    ),
    "loop": Shape(bus=Bus.LOOP, mode=JournalMode.WRITE_BACK, journal_bytes=512 * 1024),
    "blocks-of-4096": Shape(logical_block_bytes=4096, journal_bytes=512 * 1024),
}


@pytest.fixture(scope="module")
def recordings() -> dict[str, tuple[CrashOptions, Recording]]:
    return {}


@pytest.mark.parametrize("share", [0.2, 0.55, 0.9], ids=["early", "middle", "late"])
@pytest.mark.parametrize("name", SHAPES)
def test_recovery_follows_the_model(
    lab: Lab,
    kernel: str,
    recordings: dict[str, tuple[CrashOptions, Recording]],
    name: str,
    share: float,
) -> None:
    if name not in recordings:
        options = lab.options(kernel, SHAPES[name], seed=11)
        recordings[name] = options, lab.record(options)
    assert_agrees(lab.cut(*recordings[name], share))


@pytest.mark.parametrize("name", DISKS)
def test_recovery_follows_the_model_on_other_disks(lab: Lab, kernel: str, name: str) -> None:
    shape = DISKS[name]
    options = lab.options(kernel, shape, seed=11)
    recording = lab.record(options)
    trace = recording.trace
    issues = [event for event in trace.events if isinstance(event, Issue)]
    flushed = shape.journal_cache is Cache.WRITE_BACK
    assert any(issue.operation is Operation.FLUSH for issue in issues) == flushed
    discards = shape.discard is not Discard.NONE
    # A loop device on a disk makes zeroes of a discard.
    cleared = (Operation.TRIM, Operation.ZEROES)
    assert any(issue.operation in cleared for issue in issues) == discards
    block_bytes = shape.logical_block_bytes
    assert {disk.logical_block_bytes for disk in trace.disks} == {block_bytes}
    assert not any((issue.offset | issue.length) % block_bytes for issue in issues)
    assert_agrees(lab.cut(options, recording, 0.7))


@pytest.mark.parametrize("seed", [21, 22], ids=["seed21", "seed22"])
def test_recovery_follows_the_model_when_any_subset_survives(
    lab: Lab, kernel: str, seed: int
) -> None:
    options = lab.options(kernel, SHAPES["raid5"], seed=seed, loss=Loss.RANDOM)
    recording = lab.record(options)
    assert_agrees(lab.cut(options, recording, 0.7))


def test_recovery_follows_the_model_on_6_12(lab: Lab) -> None:
    options = lab.options("6.12", SHAPES["raid5"], seed=31)
    recording = lab.record(options)
    assert_agrees(lab.cut(options, recording, 0.5))


def test_nothing_lost_and_nothing_written_recovers_to_itself(lab: Lab, kernel: str) -> None:
    options = lab.options(kernel, SHAPES["raid5"], seed=41, loss=Loss.NONE)
    recording = lab.record(options)
    run = lab.cut(options, recording, 1.0)
    assert_agrees(run)
    assert run.state.lost_writes == 0


def test_mdadm_refuses_a_journal_that_is_one_event_ahead(lab: Lab, kernel: str) -> None:
    """A finding: see known_issues.toml. When mdadm is mended, this fails and the entry goes."""
    options = lab.options(kernel, Shape(journal_bytes=512 * 1024), seed=51)
    recording = lab.record(options)
    run = lab.recover(options, recording, journal_ahead(recording))
    assert run.verdict.outcome is Outcome.KNOWN, run.verdict
    assert run.verdict.reason == "mdadm-journal-one-event-ahead"


def journal_ahead(recording: Recording) -> CrashState:
    """Return a state in which of one superblock update the journal's write alone survived."""
    trace = recording.trace
    journal = trace.disk_index(JOURNAL_NAME)
    for cut in range(recording.first_event, recording.first_event + recording.events):
        by_disk = fates(trace, cut)
        newest = [
            [w for w in writes if has_superblock_magic(w.issue.payload)][-1] for writes in by_disk
        ]
        if all(write.fate is not Fate.DURABLE for write in newest):
            kept = newest[journal].issue
            state = crash_state(trace, cut, Loss.ALL, seed=0)
            survivors = list(state.survivors)
            survivors[journal] = (
                *survivors[journal],
                Survivor(kept, ((kept.offset, kept.length),)),
            )
            return CrashState(cut, tuple(survivors), state.lost_writes - 1, 0)
    raise AssertionError("no superblock update of the workload has all its writes in caches")
