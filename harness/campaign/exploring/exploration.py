"""Record, then let the kernel recover every crash state that a strategy chooses.

States that recovery cannot tell apart (what it reads is equal, see ``PredictedState.identity``) are
a class: the kernel recovers one of them, the oracles that need no kernel judge each.
"""

from __future__ import annotations

import itertools
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from harness.campaign.exploring.choosing import (
    ExploreOptions,
    chosen_states,
    predictor_of,
    shares,
    subject_of,
)
from harness.campaign.exploring.guest_pool import Judged, guest_pool, recover_and_judge
from harness.campaign.exploring.interrupted import interruptions, same_end
from harness.campaign.exploring.oracles import Sampled
from harness.campaign.exploring.recordings import (
    NamedRecording,
    drawn_recording,
    scenario_recording,
    sequence_recordings,
)
from harness.campaign.exploring.recoveries import Progress, Recoveries, StateNotes
from harness.campaign.exploring.seeking import hung_verdict
from harness.campaign.exploring.state_evidence import keep_state
from harness.campaign.exploring.store import (
    ITSELF,
    ChildRecord,
    ClassRecord,
    ExploreStore,
    RecordingRecord,
    StateRecord,
    opened_store,
)
from harness.campaign.exploring.subjects import Subject
from harness.campaign.exploring.trace_judging import judge_trace
from harness.campaign.known_issues import KnownIssues
from harness.campaign.lab import Say
from harness.campaign.recording import Recording
from harness.crash.strategies import (
    ChosenState,
)
from harness.errors import BadInput
from harness.verdict.verdict import Outcome, Verdict

STORE = "explore.sqlite"
_FINISHED = "finished"
_MOST_KEPT = 5  # red states of which the images are kept


@dataclass(frozen=True, slots=True, kw_only=True)
class Explored:
    """What an exploration came to."""

    folder: Path
    progress: Progress
    seconds: float
    guest_s: float


def explore(
    options: ExploreOptions,
    folder: Path,
    *,
    guests: int,
    issues: KnownIssues,
    say: Say,
    only: int | None = None,
) -> Explored:
    """Explore, or go on where a run before was stopped.

    Args:
        options: what to explore.
        folder: of this exploration; what is in it is gone on with, unless it is finished.
        guests: how many at once.
        issues: that explain a red.
        say: takes a line about anything slow, and about progress now and then.
        only: the number of the one state to look at, known or not; its images are kept.

    Raises:
        BadInput: there is no state of that number.
        HarnessError: no guest could be had; what is known by then is kept.
    """
    if only is None:
        begin_anew_if_finished(folder)
    with opened_store(folder / STORE) as store:
        run = _Run(options, store, folder, issues, say, only)
        guest_s = run.go(guests)
        if only is not None and not run.progress.looked_at:
            raise BadInput(f"--state {only}: this exploration has no state of that number")
        seconds = time.monotonic() - run.progress.began
        return Explored(folder=folder, progress=run.progress, seconds=seconds, guest_s=guest_s)


def finish(store: ExploreStore) -> None:
    """Note that nothing is left to do: the next run of the same exploration begins anew."""
    store.note({_FINISHED: "yes"})


def recordings_of(
    options: ExploreOptions, folder: Path, *, guests: int, say: Say
) -> Iterator[NamedRecording]:
    """Yield what an exploration is about, recorded now or before."""
    if options.exhaustive:
        return sequence_recordings(
            options.crash, options.exhaustive, folder, guests=guests, say=say
        )
    if options.scenario is not None:
        return iter([scenario_recording(options.crash, options.scenario, folder, say)])
    return iter([drawn_recording(options.crash, folder, say)])


class _Run:
    """One go at an exploration."""

    def __init__(
        self,
        options: ExploreOptions,
        store: ExploreStore,
        folder: Path,
        issues: KnownIssues,
        say: Say,
        only: int | None,
    ) -> None:
        self._options = options
        self._store = store
        self._folder = folder
        self._issues = issues
        self._say = say
        self._only = only
        self._seen = store.known_classes()
        self._known = store.known_states()
        self._judged_traces = {record.number for record in store.recordings()}
        self._tickets = itertools.count()
        self._notes = StateNotes(store)
        self._children_of: dict[bytes, int] = {}  # jobs of recoveries' crash states: their number
        self._predictor = predictor_of(options)
        self._recoveries: Recoveries
        self.progress = Progress()

    def go(self, guests: int) -> float:
        """Look at every state; return how long guests were busy."""
        options = self._options
        recordings = list(recordings_of(options, self._folder, guests=guests, say=self._say))
        image, shape = options.crash.image, options.crash.shape
        with guest_pool(image, shape, recover_and_judge, guests=guests, say=self._say) as pool:
            self._recoveries = Recoveries(
                pool, self.progress, take=self._take, say=self._say,
                of=f"{options.states} states looked at",
            )  # fmt: skip
            try:
                spread = shares(options.states, len(recordings))
                for number, (named, share) in enumerate(zip(recordings, spread, strict=True)):
                    self._judge_trace(number, named)
                    if named.recording is not None:
                        self._explore(number, named.recording, *share)
                self._recoveries.finish()
            finally:
                self._notes.write_down()
            return pool.busy_s

    def _judge_trace(self, number: int, named: NamedRecording) -> None:
        if number in self._judged_traces:
            return
        recording = named.recording
        if recording is None:
            verdict = hung_verdict(named.hangs)
        elif self._options.crash.shape.journaled:
            verdict = judge_trace(recording)
        else:
            verdict = Verdict(Outcome.AGREES)
        self._store.add_recording(
            RecordingRecord(
                number=number, name=named.name,
                events=0 if recording is None else recording.events,
                writes=0 if recording is None else len(recording.workload.writes),
                verdict=self._issues.apply(verdict),
            )
        )  # fmt: skip

    def _explore(
        self, recording_number: int, recording: Recording, first: int, states: int
    ) -> None:
        if self._only is not None and not first <= self._only < first + states:
            return
        subject = subject_of(self._options, recording, self._predictor)
        names = [disk.name for disk in recording.trace.disks]
        for chosen in chosen_states(self._options, recording, states=states):
            numbered = chosen.renumbered(first + chosen.number)
            if self._only in (None, numbered.number):
                self._look_at(subject, numbered, names, recording_number)
            self._recoveries.go_on()

    def _look_at(
        self, subject: Subject, chosen: ChosenState, names: list[str], recording: int
    ) -> None:
        contents = dict(zip(names, chosen.contents(), strict=True))
        look = subject.look_at(chosen, contents, next(self._tickets))
        self.progress.looked_at += 1
        if chosen.number in self._known and self._only is None:
            self.progress.known_before += 1
        else:
            verdict = self._issues.apply(look.verdict)
            self.progress.red += verdict.outcome is Outcome.DIFFERS
            self._notes.add(
                StateRecord(
                    number=chosen.number, recording=recording, cut=chosen.cut.sequence,
                    verdict=verdict, lost_writes=chosen.lost_writes,
                    torn_writes=chosen.torn_writes, identity=look.identity,
                )
            )  # fmt: skip
        if look.job is not None and (look.identity not in self._seen or self._only is not None):
            self._seen.add(look.identity)
            self._recoveries.add(look.job)

    def _take(self, judged: Judged) -> None:
        verdict = self._issues.apply(judged.verdict)
        child = self._children_of.pop(judged.job.identity, ITSELF)
        self.progress.red += verdict.outcome is Outcome.DIFFERS
        red = verdict.outcome is Outcome.DIFFERS and self.progress.red <= _MOST_KEPT
        if red or self._only is not None:
            name = f"state-{judged.job.number}" + (f".{child}" if child != ITSELF else "")
            keep_state(self._folder / name, judged, self._disk_sizes())
        interrupt = child == ITSELF and self._is_interrupted(judged)
        self._store.add_class(
            ClassRecord(
                identity=judged.job.identity, leader=judged.job.number, child=child,
                verdict=verdict, seconds=judged.seconds,
            ),
            complete=not interrupt,
        )  # fmt: skip
        if interrupt:
            self._look_at_children(judged)

    def _is_interrupted(self, judged: Judged) -> bool:
        """Whether the crash states of this recovery are looked at."""
        options = self._options
        agrees = judged.verdict.outcome is Outcome.AGREES
        return (
            agrees and judged.job.predicted is not None
            and options.oracles.look_at(
                Sampled.INTERRUPTED, seed=options.crash.seed, number=judged.job.number
            )
        )  # fmt: skip

    def _look_at_children(self, judged: Judged) -> None:
        """Enumerate the crash states of a recovery; those that are new are for the kernel."""
        options = self._options
        records = []
        for state in interruptions(judged, self._disk_sizes(), options):
            verdict = self._issues.apply(same_end(judged, state))
            self.progress.red += verdict.outcome is Outcome.DIFFERS
            records.append(
                ChildRecord(
                    parent=judged.job.number, number=state.chosen.number,
                    cut=state.chosen.cut.sequence, identity=state.identity, verdict=verdict,
                )
            )  # fmt: skip
            job = state.job(next(self._tickets))
            if job is not None and state.identity not in self._seen:
                self._seen.add(state.identity)
                self._children_of[state.identity] = state.chosen.number
                self._recoveries.add(job)
        self._store.add_children(judged.job.identity, records)

    def _disk_sizes(self) -> dict[str, int]:
        return self._options.crash.shape.disk_sizes


def begin_anew_if_finished(folder: Path) -> None:
    """Clear a folder in which nothing is left to do; what is not finished is gone on with."""
    if (folder / STORE).exists():
        with opened_store(folder / STORE) as store:
            finished = store.fact(_FINISHED) is not None
        if finished:  # the folder itself stays: who explores holds it, see `alone_in`
            for each in folder.iterdir():
                shutil.rmtree(each) if each.is_dir() else each.unlink()
