"""What was found in kernels, each with the least that shows it.

Run with ``tools/mdjournal test -- testcases/findings`` (and ``--kernel NAME``); a failure means
that the finding is gone on that kernel. They wait for hangs: no part of the daily tests.
"""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest

from harness.campaign.crash import record, recover_state
from harness.crash.trace import Cache
from harness.errors import StepHangs
from harness.md import array as md
from harness.md.shape import Shape
from harness.recovery.layout import Level
from testcases.lab import Lab

pytestmark = pytest.mark.guest

HERE = Path(__file__).resolve().parent
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
        tar.extractall(evidence.folder, filter="data")
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
