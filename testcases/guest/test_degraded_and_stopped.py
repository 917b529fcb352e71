"""Arrays that lost members before the power went, or were stopped, recover as the model says."""

from __future__ import annotations

import pytest

from harness.campaign.crash import CrashRun, workload_of
from harness.crash.states import Loss
from harness.crash.workload import FailMember, JournalMode, Step, StopArray, Workload
from harness.md.shape import Shape, member_name
from harness.recovery.layout import Level
from testcases.lab import Lab, assert_agrees

pytestmark = pytest.mark.guest

WRITE_BACK = JournalMode.WRITE_BACK
DEGRADED = {
    "raid4-without-its-parity": (Shape(level=Level.RAID4, layout=0), (2,)),
    "raid5": (Shape(), (1,)),
    "raid5-write-back": (Shape(mode=WRITE_BACK), (0,)),
    "raid6-without-two": (Shape(level=Level.RAID6, members=5), (0, 3)),
    "raid6-write-back": (Shape(level=Level.RAID6, members=4, mode=WRITE_BACK), (2,)),
}


def run_with(
    lab: Lab, kernel: str, shape: Shape, *more: Step, seed: int, loss: Loss = Loss.ALL
) -> CrashRun:
    """Run a workload with *more* in its middle, or at its end if the array is stopped."""
    options = lab.options(kernel, shape, seed=seed, loss=loss)
    drawn = workload_of(options)
    middle = len(drawn.steps) if StopArray() in more else len(drawn.steps) // 2
    steps = (*drawn.steps[:middle], *more, *drawn.steps[middle:])
    recording = lab.record(options, Workload(drawn.seed, steps))
    return lab.cut(options, recording, 1.0)


@pytest.mark.parametrize(("shape", "failed"), DEGRADED.values(), ids=DEGRADED)
def test_what_is_left_of_a_degraded_array_recovers_as_predicted(
    lab: Lab, kernel: str, shape: Shape, failed: tuple[int, ...]
) -> None:
    run = run_with(lab, kernel, shape, *(FailMember(slot) for slot in failed), seed=71)
    assert_agrees(run)
    assert run.left_out == tuple(member_name(slot) for slot in failed)
    assert run.before.array.absent == failed
    plan = run.replayed.plan
    assert plan.data_parity or plan.data_only, "what was written behind the failure is in the log"


@pytest.mark.parametrize("mode", JournalMode, ids=lambda mode: mode.value)
def test_a_stopped_array_starts_as_predicted(lab: Lab, kernel: str, mode: JournalMode) -> None:
    run = run_with(lab, kernel, Shape(mode=mode), StopArray(), seed=72, loss=Loss.NONE)
    assert_agrees(run)
    assert run.left_out == ()
    assert not run.replayed.plan.data_only, "what was cached was written out"


def test_a_clean_stop_leaves_nothing_in_a_volatile_cache(lab: Lab, kernel: str) -> None:
    run = run_with(lab, kernel, Shape(mode=WRITE_BACK), StopArray(), seed=73)
    assert_agrees(run)
    assert run.state.lost_writes == 0
