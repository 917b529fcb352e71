"""Bundles and benches for tests that let nothing boot, and runs that come to what a test says."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from harness.campaign.lab import GuestImage
from harness.campaign.reproducing import judging
from harness.campaign.reproducing.bundle import Bundle, GuestFacts, KernelFacts, Kind, Runs
from harness.campaign.reproducing.running import Attempt, Bench
from harness.crash.workload import Workload
from harness.md.shape import Shape
from harness.recovery.kernel_versions import era_to_run
from harness.verdict.reason import Reason
from harness.verdict.verdict import Outcome, Verdict

TAIL = Reason("differential", "journal: journal_tail is N, the model predicted N")
SEEN_ONCE = Runs(1, 1)
GREEN = Attempt(verdict=Verdict(Outcome.AGREES), again=False, seconds=2.0)
RED = Attempt(verdict=Verdict(Outcome.DIFFERS, reason="tail"), again=True, seconds=2.0)
OTHER = Attempt(verdict=Verdict(Outcome.DIFFERS, reason="hangs"), again=False, seconds=2.0)
KNOWN = Attempt(verdict=Verdict(Outcome.KNOWN, reason="an issue"), again=False, seconds=2.0)
FAILED = Attempt(
    verdict=Verdict(Outcome.HARNESS_FAILED, reason="lost"), again=False, seconds=2.0
)  # fmt: skip


def bundle_of(reason: Reason | None = TAIL, runs: Runs = SEEN_ONCE) -> Bundle:
    """Return a bundle of a state, with as little in it as there can be."""
    return Bundle(
        kind=Kind.EXPLORED, made_by="a test", shape=Shape(), seed=1, reason=reason, runs=runs,
        kernel=KernelFacts(name="6.1", release="6.1.0-1", version="6.1.192-3", identity=""),
        guest=GuestFacts(kind="tiny", accelerator="tcg"), verdict=Verdict(Outcome.DIFFERS),
        workload=Workload(1, ()),
    )  # fmt: skip


def bench(said: list[str] | None = None) -> Bench:
    """Return a bench that nothing boots on; what it is told goes to *said*."""
    image = GuestImage(
        kernel_image=Path("bzImage"), kernel_version="6.1.192-3", initramfs=Path("initramfs"),
        identity="", accelerator="tcg", saved_guests=Path("saved"),
    )  # fmt: skip
    say = (list[str]() if said is None else said).append
    return Bench(image=image, era=era_to_run("6.1.192-3"), say=say, seldom=say)


class Runner:
    """Stands in for what runs a bundle: each run comes to the next of *results*, or raises it."""

    def __init__(self, results: Sequence[Attempt | Exception]) -> None:
        self.results = list(results)
        self.made = 0

    @contextlib.contextmanager
    def __call__(self, _bundle: Bundle, _bench: Bench) -> Iterator[Callable[[], Attempt]]:
        """Give what makes the next run."""
        yield self._run

    def _run(self) -> Attempt:
        result = self.results[min(self.made, len(self.results) - 1)]
        self.made += 1
        if isinstance(result, Exception):
            raise result
        return result


def runs_come_to(monkeypatch: pytest.MonkeyPatch, *results: Attempt | Exception) -> Runner:
    """Let runs of bundles come to this, the last of it again and again."""
    runner = Runner(results)
    monkeypatch.setattr(judging, "runner", runner)
    return runner
