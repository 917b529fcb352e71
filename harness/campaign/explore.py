"""Record once, then let the kernel recover every crash state that a strategy chooses.

States that recovery cannot tell apart (what it reads is equal, see ``PredictedState.identity``) are
a class: the kernel recovers one of them, the oracles that need no kernel judge each.
"""

from __future__ import annotations

import hashlib
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from harness.campaign.crash import (
    WORKLOAD_BEGINS,
    WORKLOAD_ENDS,
    CrashOptions,
    Recording,
    Say,
    record,
    workload_of,
)
from harness.campaign.evidence import Evidence
from harness.campaign.explore_store import (
    ClassRecord,
    ExploreStore,
    StateRecord,
    encode_verdict,
    opened_store,
)
from harness.campaign.guest_pool import AT_ONCE, GuestPool, Job, Judged, guest_pool
from harness.campaign.known_issues import read_known_issues
from harness.campaign.state_evidence import keep_state
from harness.campaign.subjects import Journaled, Subject, WithoutJournal
from harness.campaign.trace_judging import judge_order
from harness.crash.strategies import (
    FEW_SUBSETS_LOG2,
    MOST_SUBSETS_LOG2,
    ChosenState,
    Strategy,
    choose_states,
    count_states,
)
from harness.crash.trace import decode
from harness.crash.walk import Cut, walk
from harness.processes import temporary_folder
from harness.verdict.durability import Promises
from harness.verdict.known import with_known_issues
from harness.verdict.verdict import Outcome

STORE = "explore.sqlite"
TRACE = "trace.mdjtrace"
ORDERING = "ordering"  # the verdict on the trace, among the facts
_FINISHED = "finished"
_STATES_AT_ONCE = 100  # written down together
_MOST_KEPT = 5  # red states of which the images are kept


@dataclass(frozen=True, slots=True, kw_only=True)
class ExploreOptions:
    """Everything that decides an exploration, but for how many guests do it."""

    crash: CrashOptions
    strategy: Strategy
    states: int
    lying: frozenset[str] = frozenset()  # disks whose flush does nothing

    @property
    def key(self) -> str:
        """What tells an exploration from others, and finds it again."""
        crash = self.crash
        parts = (
            crash.image.identity, str(crash.shape), crash.era.name, str(crash.seed),
            str(crash.steps), str(crash.jitter_us), self.strategy.value, str(self.states),
            *sorted(self.lying),
        )  # fmt: skip
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:12]


@dataclass(slots=True, kw_only=True)
class Progress:
    """What this run has done so far."""

    began: float = field(default_factory=time.monotonic)
    looked_at: int = 0  # states
    known_before: int = 0  # of them, from a run before
    recovered: int = 0  # by the kernel
    red: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Explored:
    """What an exploration came to."""

    folder: Path
    recording: Recording
    progress: Progress
    seconds: float
    guest_s: float


def explore(
    options: ExploreOptions, folder: Path, *, guests: int, say: Say, only: int | None = None
) -> Explored:
    """Explore, or go on where a run before was stopped.

    Args:
        options: what to explore.
        only: the number of the one state to look at, known or not; its images are kept.
        folder: of this exploration; what is in it is gone on with, unless it is finished.
        guests: how many at once.
        say: takes a line about anything slow, and about progress now and then.

    Raises:
        HarnessError: no guest could be had; what is known by then is kept.
    """
    if only is None:
        _begin_anew_if_finished(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with opened_store(folder / STORE) as store:
        recording = _recording(options, folder, store, say)
        if options.crash.shape.journaled and store.fact(ORDERING) is None:
            say("judging the order of writes in the trace")
            verdict = with_known_issues(judge_order(recording), read_known_issues())
            store.note({ORDERING: encode_verdict(verdict)})
        run = _Run(options, recording, store, folder, say, only)
        with guest_pool(options.crash.image, options.crash.shape, guests=guests, say=say) as pool:
            run.go(pool)
        if only is None:
            store.note({_FINISHED: "yes"})
        seconds = time.monotonic() - run.progress.began
        return Explored(
            folder=folder, recording=recording, progress=run.progress, seconds=seconds,
            guest_s=pool.busy_s,
        )  # fmt: skip


class _Run:
    """One go at an exploration."""

    def __init__(
        self,
        options: ExploreOptions,
        recording: Recording,
        store: ExploreStore,
        folder: Path,
        say: Say,
        only: int | None,
    ) -> None:
        self._only = only
        self._options = options
        self._recording = recording
        self._store = store
        self._folder = folder
        self._say = say
        self._issues = read_known_issues()
        promises = Promises(recording.workload, recording.trace, options.crash.shape.geometry)
        self._names = [disk.name for disk in recording.trace.disks]
        self._sizes = {disk.name: disk.size_bytes for disk in recording.trace.disks}
        self._subject: Subject = (
            Journaled(promises, self._sizes, options.crash.era)
            if options.crash.shape.journaled
            else WithoutJournal(promises, self._sizes)
        )
        self._seen = store.known_classes()
        self._known = store.known_states()
        self._records: list[StateRecord] = []
        self._jobs: list[Job] = []
        self.progress = Progress()

    def go(self, pool: GuestPool) -> None:
        """Look at every state."""
        try:
            for chosen in self._chosen():
                if self._only not in (None, chosen.number):
                    continue
                self.progress.looked_at += 1
                self._look_at(chosen)
                if len(self._jobs) >= AT_ONCE:
                    self._take(pool.put(self._jobs))
                    self._jobs = []
                self._take(pool.ready())
                self._tell()
            if self._jobs:
                self._take(pool.put(self._jobs))
            self._take(pool.finish())
        finally:
            self._write_down()

    def _chosen(self) -> Iterator[ChosenState]:
        options, trace = self._options, self._recording.trace
        for subsets_log2 in range(FEW_SUBSETS_LOG2, MOST_SUBSETS_LOG2 + 1):
            counts = [
                count_states(cut, options.strategy, trace.disks, subsets_log2)
                for cut in self._cuts()
            ]
            if sum(counts) >= options.states:
                break
        yield from choose_states(
            self._cuts(), counts, options.strategy, trace.disks, states=options.states,
            seed=options.crash.seed, subsets_log2=subsets_log2,
        )  # fmt: skip

    def _cuts(self) -> Iterator[Cut]:
        first = self._recording.first_event
        last = first + self._recording.events - 1
        return walk(self._recording.trace, first, last, lying=self._options.lying)

    def _look_at(self, chosen: ChosenState) -> None:
        contents = dict(zip(self._names, chosen.contents(), strict=True))
        look = self._subject.look_at(chosen, contents)
        identity = look.job.identity
        if chosen.number in self._known and self._only is None:
            self.progress.known_before += 1
        else:
            verdict = with_known_issues(look.verdict, self._issues)
            self.progress.red += verdict.outcome is Outcome.DIFFERS
            self._records.append(
                StateRecord(
                    number=chosen.number, cut=chosen.cut.sequence, verdict=verdict,
                    lost_writes=chosen.lost_writes, torn_writes=chosen.torn_writes,
                    identity=identity,
                )
            )  # fmt: skip
            if len(self._records) >= _STATES_AT_ONCE:
                self._write_down()
        if identity not in self._seen or self._only is not None:
            self._seen.add(identity)
            self._jobs.append(look.job)

    def _take(self, results: Iterator[Judged]) -> None:
        for judged in results:
            verdict = with_known_issues(judged.verdict, self._issues)
            self.progress.recovered += 1
            self.progress.red += verdict.outcome is Outcome.DIFFERS
            red = verdict.outcome is Outcome.DIFFERS and self.progress.red <= _MOST_KEPT
            if red or self._only is not None:
                keep_state(self._folder / f"state-{judged.job.number}", judged, self._sizes)
            self._store.add_class(
                ClassRecord(
                    identity=judged.job.identity, leader=judged.job.number,
                    verdict=verdict, seconds=judged.seconds,
                )
            )  # fmt: skip

    def _write_down(self) -> None:
        self._store.add_states(self._records)
        self._records = []

    def _tell(self) -> None:
        progress = self.progress
        if progress.looked_at % _STATES_AT_ONCE == 0:
            rate = progress.recovered / (time.monotonic() - progress.began)
            self._say(
                f"{progress.looked_at} of {self._options.states} states looked at,"
                f" {progress.recovered} recovered by the kernel ({rate:.1f} a second),"
                f" {progress.red} red"
            )


def _begin_anew_if_finished(folder: Path) -> None:
    if (folder / STORE).exists():
        with opened_store(folder / STORE) as store:
            finished = store.fact(_FINISHED) is not None
        if finished:
            shutil.rmtree(folder)


def _recording(options: ExploreOptions, folder: Path, store: ExploreStore, say: Say) -> Recording:
    """Record, or read what was recorded before."""
    path = folder / TRACE
    if not path.exists():
        with temporary_folder(prefix=".recording-", parent=folder) as place:
            evidence = Evidence(place)
            recording = record(options.crash, evidence, say=say)
            store.note({"kernel_log": "\n".join(recording.kernel_log)})
            evidence.path(TRACE).rename(path)
        return recording
    trace = decode(path.read_bytes())
    first = trace.mark(WORKLOAD_BEGINS).sequence + 1
    events = trace.mark(WORKLOAD_ENDS).sequence - first
    said = tuple((store.fact("kernel_log") or "").splitlines())
    return Recording(workload_of(options.crash), trace, first, events, said)
