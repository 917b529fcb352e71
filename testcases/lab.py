"""What testcases with real kernels share: a lab that records and recovers crash states."""

from __future__ import annotations

from pathlib import Path

from harness.campaign.crash import (
    CrashOptions,
    CrashRun,
    CutChoice,
    judge_state,
    record,
)
from harness.campaign.evidence import Evidence
from harness.campaign.recording import Recording
from harness.crash.pattern import Fill
from harness.crash.states import CrashState, Loss, crash_state
from harness.crash.workload import Workload
from harness.md.shape import Shape
from harness.verdict.verdict import Outcome
from tools.guest_options import era_of, find_kernel, guest_image


class Lab:
    """Runs in a folder of its own; every recording and every recovery has a folder below it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._count = 0

    def options(
        self,
        kernel: str,
        shape: Shape,
        *,
        seed: int,
        steps: int = 12,
        loss: Loss = Loss.ALL,
        fill: Fill = Fill.STREAM,
    ) -> CrashOptions:
        """Return the options of a run on *kernel*, which is fetched if need be."""
        found = find_kernel(kernel, None, (), say=print)
        image = guest_image(found, "auto", say=print)
        return CrashOptions(
            shape=shape, era=era_of(found), image=image, seed=seed, cut=CutChoice(),
            loss=loss, steps=steps, fill=fill,
        )  # fmt: skip

    def evidence(self) -> Evidence:
        """Return a fresh folder."""
        self._count += 1
        folder = self._folder / f"run{self._count}"
        folder.mkdir()
        return Evidence(folder)

    def record(self, options: CrashOptions, workload: Workload | None = None) -> Recording:
        """Build the array and run the workload: the one given, or else what the options draw."""
        return record(options, self.evidence(), say=print, workload=workload)

    def cut(self, options: CrashOptions, recording: Recording, share: float) -> CrashRun:
        """Cut after *share* of the workload's events; let kernel and model recover."""
        event = round(share * recording.events)
        state = crash_state(
            recording.trace, recording.first_event + event, options.loss, seed=options.seed
        )
        return self.recover(options, recording, state)

    def recover(self, options: CrashOptions, recording: Recording, state: CrashState) -> CrashRun:
        """Let kernel and model recover a crash state."""
        return judge_state(options, recording, state, self.evidence(), say=print)


def assert_agrees(run: CrashRun) -> None:
    """Require that kernel and model agree; a known issue counts as it does for `crash`."""
    said = "\n".join(
        line for f in run.verdict.findings for line in (f"{f.oracle}: {f.what}", *f.details)
    )
    assert run.verdict.outcome in (Outcome.AGREES, Outcome.KNOWN), (
        f"cut before event {run.cut_event} of {run.recording.events}: {run.verdict.reason}\n{said}"
    )
