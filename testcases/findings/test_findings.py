"""What was found in kernels, each with the least that shows it.

Run with ``tools/mdjournal test -- testcases/findings`` (and ``--kernel NAME``); a failure means
that the finding is gone on that kernel. They wait for hangs: no part of the daily tests.
"""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest

from harness.campaign.crash import record, recover_state, workload_of
from harness.campaign.exploring import batch
from harness.campaign.exploring.batch import bank_guest
from harness.campaign.exploring.recordings import bare_base
from harness.crash.base import contents_at_end
from harness.crash.trace import Cache
from harness.crash.workload import (
    FailMember,
    JournalMode,
    Step,
    StopArray,
    SwitchMode,
    Workload,
    Write,
    WriteStep,
)
from harness.errors import CommandFailed, GuestOopsed, StepHangs
from harness.md import array as md
from harness.md.shape import Shape
from harness.ondisk.units import ArraySector
from harness.recovery.layout import Level
from testcases.lab import Lab

pytestmark = pytest.mark.guest

HERE = Path(__file__).resolve().parent
STOP_TRIES = 60
HANG_S = 60.0  # the same takes less than a second where it does not hang


def test_assembly_hangs_while_data_only_stripes_are_written_out(
    lab: Lab, kernel: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """RAID-5 of seven: 22 data-only stripes; mdadm sleeps in r5l_start for ever.

    ``assembly-hangs.tar.xz`` is a crash state of 6.1.192 (write-back, chunk 256 KiB, journal 2 MiB,
    `crash --lose random`, seed 704099), all that recovery does not read taken out.
    """
    monkeypatch.setattr(md, "ASSEMBLE_DEADLINE_S", HANG_S)
    shape = Shape(members=7, chunk_bytes=256 * 1024, journal_bytes=2 << 20)
    evidence = lab.evidence()
    with tarfile.open(HERE / "assembly-hangs.tar.xz") as tar:
        tar.extractall(evidence.folder)  # as in corpus.capture
    recovered = recover_state(lab.options(kernel, shape, seed=1), evidence, print)
    assert any(
        "recovering 22 data-only stripes and 11 data-parity stripes" in line
        for line in recovered.kernel_log
    )
    assert recovered.assembled.missed_deadline
    assert "r5l_start" in recovered.assembled.stack


def test_a_journal_smaller_than_a_batch_of_stripes_hangs_the_writer(
    lab: Lab, kernel: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """64 blocks of log, 7 members: a unit of 8 stripes and the next stripe need 65.

    The tail never passes the last unit, so that one cannot be reclaimed; no size is refused.
    """
    monkeypatch.setattr("harness.campaign.steps.STEP_DEADLINE_S", HANG_S)
    shape = Shape(
        level=Level.RAID4, members=7, layout=0, chunk_bytes=32 * 1024, journal_bytes=256 * 1024,
        member_cache=Cache.WRITE_THROUGH,
    )  # fmt: skip
    options = lab.options(kernel, shape, seed=469575, steps=24)
    with pytest.raises(StepHangs, match="a step of the workload hangs"):
        record(options, lab.evidence(), say=print)


@pytest.mark.timeout(600)
def test_stopping_a_write_back_array_hangs(
    lab: Lab, kernel: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """RAID-5 of three, 1 MiB of journal, 60 operations of one seed, then a stop: one in ten hangs.

    ``STOP_ARRAY`` sleeps in raid5_quiesce for ever, raid5d and reclaim have nothing to do. It was
    seen in 3 of 25 tries, all of them while the machine was busy; 60 tries miss one in ten with
    0.2 %.
    """
    monkeypatch.setattr(batch, "DEADLINE_S", HANG_S / 2)
    shape = Shape(chunk_bytes=16 << 10, journal_bytes=1 << 20, mode=JournalMode.WRITE_BACK)
    options = lab.options(kernel, shape, seed=5, steps=16)
    contents = contents_at_end(bare_base(options, tmp_path, print))
    said = []
    for _ in range(STOP_TRIES):
        with bank_guest(options.image, shape, say=print) as guest:
            try:
                guest.record(1, contents, shape.mode, workload_of(options), last=0)
            except CommandFailed as failed:
                said.append(str(failed))
                break
    assert any("put_away: Hung" in text and "raid5_quiesce" in text for text in said)


@pytest.mark.parametrize("broken", ["6.12", "7.3"])
@pytest.mark.parametrize(
    "step", [SwitchMode(JournalMode.WRITE_THROUGH), FailMember(0)], ids=["switch", "member-fails"]
)
def test_bug_in_stop_after_write_back(lab: Lab, broken: str, step: Step) -> None:
    """One block in write-back mode, write-through, stop: a BUG_ON of raid5-cache.c, 6.7 and up."""
    options = lab.options(broken, Shape(mode=JournalMode.WRITE_BACK), seed=1)
    steps = (WriteStep((Write(1, ArraySector(0), 8),)), step, StopArray())
    with pytest.raises(GuestOopsed, match=r"kernel BUG at drivers/md/raid5-cache\.c:\d+!"):
        record(options, lab.evidence(), say=print, workload=Workload(1, steps))
