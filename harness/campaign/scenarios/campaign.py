"""Run many scenarios on many kernels, some at once, and write down what each came to."""

from __future__ import annotations

import contextlib
import hashlib
import os
import queue
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from harness.campaign.evidence import Evidence, verdict_document
from harness.campaign.lab import GuestImage, Say
from harness.campaign.scenarios.possible import not_possible
from harness.campaign.scenarios.results import Result, ResultStore
from harness.campaign.scenarios.rig import Stopper
from harness.campaign.scenarios.running import ScenarioOptions, run_scenario
from harness.campaign.scenarios.scenario import GuestKind, Scenario
from harness.campaign.scenarios.scenario_json import encode_scenario
from harness.errors import HarnessError
from harness.processes import temporary_folder
from harness.recovery.era import Era
from harness.verdict.verdict import Finding, Outcome, Verdict


@dataclass(frozen=True, slots=True)
class Kernel:
    """A kernel of the grid."""

    name: str  # as it was asked for
    images: Mapping[GuestKind, GuestImage]  # of the kinds that are needed
    era: Era
    injects: bool = False  # it can fail its own allocations


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One scenario on one kernel, once."""

    scenario: Scenario
    kernel: Kernel
    repeat: int
    seed: int
    guest: GuestKind

    @property
    def image(self) -> GuestImage:
        """What its guest boots."""
        return self.kernel.images[self.guest]


Describe = Callable[[Job, Path], None]


def run_key(jobs: Sequence[Job]) -> str:
    """Return what tells a run from others, so that it can be gone on with."""
    parts = (
        f"{job.scenario!r} {job.kernel.name} {job.image.identity} {job.repeat} {job.seed}"
        for job in jobs
    )
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def run_jobs(
    jobs: Sequence[Job],
    store: ResultStore,
    run: int,
    folder: Path,
    *,
    guests: int,
    say: Say,
    describe: Describe = lambda _job, _folder: None,
) -> Iterator[Result]:
    """Yield each result as it comes; of those known from before, at once.

    Args:
        jobs: to be done.
        store: has what is known, and takes what comes.
        run: its number in the store.
        folder: gets the evidence of what is not green.
        guests: how many at once.
        say: takes a line about anything slow.
        describe: writes down what ran into the folder of what is not green.
    """
    known = {(r.scenario, r.kernel, r.repeat): r for r in store.of_run(run)}
    todo: queue.SimpleQueue[Job] = queue.SimpleQueue()
    left = 0
    for job in jobs:
        if (done := known.get((job.scenario.name, job.kernel.name, job.repeat))) is not None:
            yield done
        else:
            todo.put(job)
            left += 1
    with _workers(todo, folder, guests, say, describe) as results:
        for _ in range(left):
            result = results.get()
            if isinstance(result, BaseException):
                raise result
            store.add(run, result)
            yield result


@contextlib.contextmanager
def _workers(
    todo: queue.SimpleQueue[Job], folder: Path, guests: int, say: Say, describe: Describe
) -> Iterator[queue.SimpleQueue[Result | BaseException]]:
    """Give the results of jobs that threads do; however the block ends, nothing of it is left."""
    results: queue.SimpleQueue[Result | BaseException] = queue.SimpleQueue()
    running = _Running()

    def work() -> None:
        with contextlib.suppress(queue.Empty):
            while not running.stopping:
                results.put(_do(todo.get_nowait(), folder, running.begin, say, describe))

    def guarded() -> None:
        try:
            work()
        except BaseException as error:  # whatever it was, the main thread has to hear of it
            results.put(error)

    threads = [threading.Thread(target=guarded, name=f"scenarios {n}") for n in range(guests)]
    for thread in threads:
        thread.start()
    try:
        yield results
    finally:
        running.stop()
        for thread in threads:
            thread.join()


class _Running:
    """The guests that are up."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._guests: dict[int, Stopper] = {}  # by thread
        self.stopping = False

    def begin(self, guest: Stopper) -> None:
        """Note a guest of this thread; once all are to stop it ends at once."""
        with self._lock:
            self._guests[threading.get_ident()] = guest
            if self.stopping:
                _end(guest)

    def stop(self) -> None:
        """End all of them: what their threads are at then fails, and cleans up."""
        with self._lock:
            self.stopping = True
            for guest in self._guests.values():
                _end(guest)


def _end(guest: Stopper) -> None:
    if not isinstance(guest, int):
        guest()
        return
    with contextlib.suppress(ProcessLookupError):
        os.kill(guest, signal.SIGKILL)


def _do(
    job: Job, folder: Path, began: Callable[[Stopper], None], say: Say, describe: Describe
) -> Result:
    """Run a scenario; the folder of one that is not green is kept."""
    folder.mkdir(parents=True, exist_ok=True)
    start = time.monotonic()
    longest_s = 0.0
    with temporary_folder(prefix=".unfinished-", parent=folder) as place:
        evidence = Evidence(place)
        options = ScenarioOptions(
            scenario=job.scenario, image=job.image, era=job.kernel.era, seed=job.seed,
            began=began,
        )  # fmt: skip
        try:
            if why := _not_possible(job):
                raise NotPossible(why)
            run = run_scenario(options, evidence, say=say)
            verdict, longest_s = run.verdict, run.longest_step_s
        except NotPossible as why_not:
            verdict = Verdict(Outcome.NOT_RUN, reason=f"not possible there: {why_not}")
        except HarnessError as error:
            verdict = Verdict(Outcome.HARNESS_FAILED, reason=str(error).splitlines()[0])
        kept = ""
        if verdict.outcome is not Outcome.AGREES:
            target = folder / f"{job.scenario.name}-{job.kernel.name}-{job.repeat}"
            verdict = _as_kept(verdict, place, target)
            evidence.write_json("verdict.json", verdict_document(verdict))
            evidence.write_json("scenario.json", encode_scenario(job.scenario))
            describe(job, place)
            kept = str(_keep(place, target))
    return Result(
        scenario=job.scenario.name, kernel=job.kernel.name, repeat=job.repeat,
        outcome=verdict.outcome, reason=verdict.reason,
        findings=tuple((f.oracle, f.what, f.details) for f in verdict.findings),
        seconds=time.monotonic() - start, longest_step_s=longest_s, evidence=kept,
    )  # fmt: skip


class NotPossible(Exception):
    """The machine cannot give what the story needs; the text says why."""


def _not_possible(job: Job) -> str:
    machine = job.image.machine
    return "" if machine is None else not_possible(job.scenario, can_cut=machine.can_cut)


def _as_kept(verdict: Verdict, place: Path, target: Path) -> Verdict:
    """Return a verdict that speaks of files by the names under which they are kept."""

    def told(text: str) -> str:
        return text.replace(str(place), str(target))

    def found(finding: Finding) -> Finding:
        details = tuple(map(told, finding.details))
        return replace(finding, what=told(finding.what), details=details)

    judgements = (
        replace(each, findings=tuple(map(found, each.findings))) for each in verdict.judgements
    )
    return replace(verdict, judgements=tuple(judgements), reason=told(verdict.reason))


def _keep(place: Path, target: Path) -> Path:
    """Give a folder its final name, in place of that of a run before."""
    shutil.rmtree(target, ignore_errors=True)
    place.chmod(0o755)
    return place.rename(target)


def jobs_of(
    scenarios: Sequence[Scenario],
    kernels: Sequence[Kernel],
    *,
    repeats: int,
    seed: int,
    guest: GuestKind | None = None,
) -> list[Job]:
    """Return all that is to be done; the seed of a repeat is its number more.

    Each runs in the *guest* that is given, or in the one that it needs.
    A scenario that needs a kernel to fail allocations is no job of one that cannot.
    """
    return [
        Job(
            scenario=scenario, kernel=kernel, repeat=repeat, seed=seed + repeat - 1,
            guest=guest or scenario.guest,
        )
        for repeat in range(1, repeats + 1)
        for scenario in scenarios
        for kernel in kernels
        if kernel.injects or not scenario.injects
    ]  # fmt: skip


def with_shape(scenario: Scenario, changes: dict[str, object]) -> Scenario:
    """Return a scenario on another shape: its own, but for these fields."""
    return replace(scenario, needs=replace(scenario.needs, **changes))  # type: ignore[arg-type]
