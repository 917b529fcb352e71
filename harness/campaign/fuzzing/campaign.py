"""Put journals at random before the kernel, in batches, and write down what is known."""

from __future__ import annotations

import hashlib
import itertools
import json
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

from harness.campaign.crash import CrashOptions
from harness.campaign.exploring.exploration import STORE, Explored, begin_anew_if_finished
from harness.campaign.exploring.guest_pool import Judged, guest_pool, recover_and_judge
from harness.campaign.exploring.oracles import Oracles
from harness.campaign.exploring.recordings import bare_base
from harness.campaign.exploring.recoveries import Progress, Recoveries, StateNotes
from harness.campaign.exploring.state_evidence import keep_state
from harness.campaign.exploring.store import (
    SCHEMA,
    ClassRecord,
    ExploreStore,
    RecordingRecord,
    StateRecord,
    opened_store,
)
from harness.campaign.fuzzing.ground import FuzzedState, Ground, fuzzed_state, ground_of
from harness.campaign.fuzzing.subject import FuzzLook, look_at
from harness.campaign.known_issues import KnownIssues
from harness.campaign.lab import Say
from harness.crash.base import contents_at_end
from harness.fuzzing.coverage import Coverage
from harness.fuzzing.journal import in_words
from harness.recovery.era import ERAS
from harness.recovery.log import Log, UndefinedRecovery
from harness.recovery.metawise import DEFAULT_STRIPE_CACHE_SIZE, StripeCacheExhausted
from harness.recovery.plan import RecoveryPlan, UnreadableTail, follow_log, plan_recovery
from harness.verdict.predicted_state import PredictedState
from harness.verdict.verdict import Outcome, Verdict

GENERATION = 1  # of the generator: another one makes other journals of the same seed
THERE = "state.json"
_MOST_KEPT = 5  # red states of which the images are kept


@dataclass(frozen=True, slots=True, kw_only=True)
class FuzzOptions:
    """Everything that decides a campaign, but for how many guests do it."""

    crash: CrashOptions
    states: int
    oracles: Oracles = field(default_factory=Oracles)
    keep: bool = False  # the images of every red, known ones as well, not of the first few alone

    @property
    def key(self) -> str:
        """What tells a campaign from others, and finds it again."""
        crash = self.crash
        parts = (
            "fuzz", str(SCHEMA), str(GENERATION), crash.image.identity, str(crash.shape),
            crash.era.name, str(crash.seed), str(self.states), str(self.oracles),
        )  # fmt: skip
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:12]


@dataclass(frozen=True, slots=True)
class Fuzzed:
    """What a campaign came to."""

    explored: Explored
    coverage: Coverage
    ground: Ground


def fuzz(
    options: FuzzOptions,
    folder: Path,
    *,
    guests: int,
    issues: KnownIssues,
    say: Say,
    only: int | None = None,
) -> Fuzzed:
    """Fuzz, or go on where a run before was stopped.

    Args:
        options: what to look at.
        folder: of this campaign; what is in it is gone on with, unless it is finished.
        guests: how many at once.
        issues: that explain a red.
        say: takes a line about anything slow, and about progress now and then.
        only: the number of the one state to look at, known or not; its images are kept.

    Raises:
        HarnessError: no guest could be had; what is known by then is kept.
    """
    if only is None:
        begin_anew_if_finished(folder)
    made = contents_at_end(bare_base(options.crash, folder, say))
    ground = ground_of(options.crash.shape, made)
    with opened_store(folder / STORE) as store:
        store.add_recording(
            RecordingRecord(
                number=0, name="array as mdadm makes it", events=0, writes=0,
                verdict=Verdict(Outcome.AGREES),
            )
        )  # fmt: skip
        run = _Run(options, ground, store, folder, issues, say, only)
        guest_s = run.go(guests)
        seconds = time.monotonic() - run.progress.began
        explored = Explored(folder=folder, progress=run.progress, seconds=seconds, guest_s=guest_s)
        return Fuzzed(explored, run.coverage, ground)


class _Run:
    """One go at a campaign."""

    def __init__(
        self,
        options: FuzzOptions,
        ground: Ground,
        store: ExploreStore,
        folder: Path,
        issues: KnownIssues,
        say: Say,
        only: int | None,
    ) -> None:
        self._options = options
        self._ground = ground
        self._store = store
        self._folder = folder
        self._issues = issues
        self._say = say
        self._only = only
        self._seen = store.known_classes()
        self._known = store.known_states()
        self._tickets = itertools.count()
        self._notes = StateNotes(store)
        self._recoveries: Recoveries
        self.progress = Progress()
        self.coverage = Coverage()

    def go(self, guests: int) -> float:
        """Look at every state; return how long guests were busy."""
        image, shape = self._options.crash.image, self._options.crash.shape
        numbers = range(self._options.states) if self._only is None else [self._only]
        with guest_pool(image, shape, recover_and_judge, guests=guests, say=self._say) as pool:
            self._recoveries = Recoveries(
                pool, self.progress, take=self._take, say=self._say,
                of=f"{self._options.states} journals written",
            )  # fmt: skip
            try:
                for number in numbers:
                    self._look_at(number)
                    self._recoveries.go_on()
                self._recoveries.finish()
            finally:
                self._notes.write_down()
            return pool.busy_s

    def _look_at(self, number: int) -> None:
        crash = self._options.crash
        state = fuzzed_state(self._ground, crash.seed, number)
        look = look_at(
            state, crash.shape.disk_sizes, crash.era, self._options.oracles,
            seed=crash.seed, ticket=next(self._tickets),
        )  # fmt: skip
        self._cover(state, look.predicted)
        self.progress.looked_at += 1
        if number in self._known and self._only is None:
            self.progress.known_before += 1
        else:
            self._note(number, look)
        job = look.job
        if job.identity not in self._seen or self._only is not None:
            self._seen.add(job.identity)
            self._recoveries.add(job)

    def _cover(self, state: FuzzedState, predicted: PredictedState | None) -> None:
        self.coverage.take_journal(state.journal, state.array)
        if predicted is None:
            return
        scan = list(follow_log(predicted.log, predicted.array.geometry))
        self.coverage.take_scan(state.journal, state.array, scan)
        self.coverage.take_plan(predicted.plan, DEFAULT_STRIPE_CACHE_SIZE)
        plans = {name: plan_in_era(predicted, name) for name in ERAS}
        self.coverage.take_eras(plans, predicted.log.era.name)

    def _note(self, number: int, look: FuzzLook) -> None:
        self._notes.add(
            StateRecord(
                number=number, recording=0, cut=0, lost_writes=0, torn_writes=0,
                identity=look.job.identity, verdict=look.verdict,
            )
        )  # fmt: skip

    def _take(self, judged: Judged) -> None:
        verdict = self._issues.apply(judged.verdict)
        judged = replace(judged, verdict=verdict)
        red = verdict.outcome is Outcome.DIFFERS
        self.progress.red += red
        kept = red and self.progress.red <= _MOST_KEPT
        kept |= self._options.keep and verdict.outcome in (Outcome.DIFFERS, Outcome.KNOWN)
        if kept or self._only is not None:
            self._keep(judged)
        self._store.add_class(
            ClassRecord(
                identity=judged.job.identity, leader=judged.job.number, verdict=verdict,
                seconds=judged.seconds,
            ),
            complete=True,
        )  # fmt: skip

    def _keep(self, judged: Judged) -> None:
        number, crash = judged.job.number, self._options.crash
        folder = self._folder / f"state-{number}"
        keep_state(folder, judged, crash.shape.disk_sizes)
        state = fuzzed_state(self._ground, crash.seed, number)
        lines = in_words(state.journal, state.array)
        (folder / "journal.txt").write_text("".join(f"{line}\n" for line in lines))
        write_there(folder, state)


def write_there(folder: Path, state: FuzzedState) -> None:
    """Write down of which disks an array is assembled."""
    document = {"schema": 1, "state": state.number, "assembled": state.there}
    (folder / THERE).write_text(json.dumps(document, indent=1) + "\n")


def plan_in_era(predicted: PredictedState, era_name: str) -> RecoveryPlan | None:
    """Return what another era would do with a state; ``None``: that cannot be told."""
    log = predicted.log
    other = Log(
        read_blocks=log.read_blocks, data_size=log.data_size, journal_tail=log.journal_tail,
        seed=log.seed, parities=log.parities, era=ERAS[era_name],
    )  # fmt: skip
    try:
        return plan_recovery(other, predicted.array.geometry)
    except (UndefinedRecovery, UnreadableTail, StripeCacheExhausted):
        return None
