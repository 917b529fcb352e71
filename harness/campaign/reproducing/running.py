"""Run a bundle on a kernel: is it red again, and for the same reason?"""

from __future__ import annotations

import contextlib
import itertools
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from harness.campaign.crash import CrashOptions, CutChoice
from harness.campaign.evidence import Evidence
from harness.campaign.exploring.batch import Looks
from harness.campaign.exploring.choosing import ExploreOptions, predictor_of, subject_of
from harness.campaign.exploring.guest_pool import Job, Judged
from harness.campaign.exploring.oracles import EVERY, Oracles
from harness.campaign.exploring.recordings import bare_base
from harness.campaign.exploring.seeking import STATES, Found, Ground, Seeker
from harness.campaign.exploring.subjects import job_with_journal, job_without_journal, members_of
from harness.campaign.fuzzing.subject import look_at
from harness.campaign.known_issues import KnownIssues, issues_of_any_kernel, known_issues_of
from harness.campaign.lab import GuestImage, Say
from harness.campaign.recording import recording_of
from harness.campaign.reproducing.bundle import Bundle, Kind
from harness.campaign.reproducing.bundle_checks import fitting_together
from harness.campaign.scenarios.rig import Stopper
from harness.campaign.scenarios.running import ScenarioOptions, run_scenario
from harness.crash.content import DiskContent
from harness.crash.strategies import ChosenState, Strategy
from harness.crash.walk import walk
from harness.crash.workload import Workload
from harness.errors import BadInput
from harness.processes import temporary_folder
from harness.recovery.era import Era
from harness.recovery.log import UndefinedRecovery
from harness.recovery.metawise import StripeCacheExhausted
from harness.recovery.plan import UnreadableTail
from harness.verdict.predicted_state import JournalGone, PredictedState
from harness.verdict.verdict import Outcome, Verdict, verdict_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One run of a bundle."""

    verdict: Verdict  # with what is known of the kernel that ran
    again: bool  # it is red for the bundle's reason; of one without any: it is red
    seconds: float
    judged: Judged | None = None  # where a state was recovered
    found: Found | None = None  # where a workload was written anew

    @property
    def other(self) -> bool:
        """Whether it is red for something else alone."""
        return not self.again and self.verdict.outcome in (Outcome.DIFFERS, Outcome.KNOWN)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """What bundles run on."""

    image: GuestImage
    era: Era
    say: Say
    seldom: Say = lambda _line: None  # takes a line about each run: many, where they are quick
    began: Callable[[Stopper], None] = lambda _guest: None  # is told of each guest of a scenario


@dataclass(frozen=True, slots=True, kw_only=True)
class SavedState:
    """A state of disks, in the terms of a fuzzed one."""

    number: int
    contents: dict[str, DiskContent]
    there: tuple[str, ...]

    @property
    def on_disks_there(self) -> dict[str, DiskContent]:
        """The contents of those that take part."""
        return {name: self.contents[name] for name in self.there}


@contextlib.contextmanager
def runner(bundle: Bundle, bench: Bench) -> Iterator[Callable[[], Attempt]]:
    """Give what runs a bundle once; nothing of it is left afterwards.

    It raises ``GuestLost`` and other `HarnessError` where there is no verdict.

    Raises:
        BadInput: the bundle cannot be run here.
    """
    if bundle.kind is Kind.SCENARIO:
        yield lambda: _tell(bundle, bench)
        return
    options = explore_options(bundle, bench)
    with Seeker(options, issues_of_any_kernel(bundle.shape), say=bench.say) as seeker:
        if bundle.records:
            with temporary_folder(prefix="mdjournal-repro-") as folder:
                yield _Recorder(bundle, bench, options, seeker, folder).run
        else:
            yield _Recoverer(bundle, bench, options, seeker).run


def explore_options(bundle: Bundle, bench: Bench) -> ExploreOptions:
    """Return the exploration that a bundle is one state of."""
    workload = bundle.workload or Workload(bundle.seed, ())
    crash = CrashOptions(
        shape=bundle.shape, era=bench.era, image=bench.image, seed=workload.seed,
        cut=CutChoice(), fill=workload.fill,
    )  # fmt: skip
    return ExploreOptions(
        crash=crash, strategy=Strategy.EPOCHS, states=STATES, oracles=Oracles(EVERY),
        lying=bundle.lying,
    )  # fmt: skip


def attempt_of(
    bundle: Bundle, bench: Bench, verdicts: Iterable[Verdict], began: float,
    judged: Judged | None = None, *, scenario: str = "",
) -> Attempt:  # fmt: skip
    """Return what several verdicts on one run come to: the one that is red again, or the worst."""
    listed = known_issues_of(bench.image.kernel_version, bundle.shape, scenario=scenario)
    every = issues_of_any_kernel(bundle.shape, scenario=scenario)
    worst, again = None, False
    for verdict in verdicts:
        told = listed.apply(verdict_of(verdict.judgements)) if verdict.judgements else verdict
        if verdict.outcome is Outcome.NOT_RUN:
            told = verdict
        again = _is_again(bundle, told, every)
        if again or worst is None or _RANK.index(told.outcome) < _RANK.index(worst.outcome):
            worst = told
        if again:
            break
    assert worst is not None
    return Attempt(verdict=worst, again=again, seconds=time.monotonic() - began, judged=judged)


_RANK = (Outcome.DIFFERS, Outcome.KNOWN, Outcome.HARNESS_FAILED, Outcome.NOT_RUN, Outcome.AGREES)


def _is_again(bundle: Bundle, verdict: Verdict, every: KnownIssues) -> bool:
    if bundle.reason is None:
        return verdict.outcome in (Outcome.DIFFERS, Outcome.KNOWN)
    return bundle.reason.is_met_by(verdict, every.issues)


def _tell(bundle: Bundle, bench: Bench) -> Attempt:
    """Tell a story once more."""
    scenario = bundle.scenario
    assert scenario is not None
    began = time.monotonic()
    options = ScenarioOptions(
        scenario=scenario, image=bench.image, era=bench.era, seed=bundle.seed, began=bench.began
    )
    with temporary_folder(prefix="mdjournal-repro-") as folder:
        run = run_scenario(options, Evidence(folder), say=bench.say)
    return attempt_of(bundle, bench, [run.verdict], began, scenario=scenario.name)


class _Recorder:
    """Runs bundles of which the writing is in question: each run writes anew."""

    def __init__(
        self, bundle: Bundle, bench: Bench, options: ExploreOptions, seeker: Seeker, folder: Path
    ) -> None:
        assert bundle.workload is not None
        self._bundle = bundle
        self._bench = bench
        self._seeker = seeker
        self._workload = bundle.workload
        base = bare_base(options.crash, folder, bench.say)
        self._ground = Ground(base=base, mode=bundle.shape.mode)

    def run(self) -> Attempt:
        """Record the workload, and look for a state that is red for the reason."""
        bundle, began = self._bundle, time.monotonic()
        assert bundle.reason is not None
        found = self._seeker.record_and_look(
            bundle.reason, self._ground, self._workload, self._workload
        )
        if found is None:
            return Attempt(
                verdict=Verdict(Outcome.AGREES), again=False, seconds=time.monotonic() - began
            )
        attempt = attempt_of(bundle, self._bench, [found.verdict], began, found.judged)
        return replace(attempt, found=found)


class _Recoverer:
    """Runs bundles of a state: each run lets the kernel recover it."""

    def __init__(
        self, bundle: Bundle, bench: Bench, options: ExploreOptions, seeker: Seeker
    ) -> None:
        self._bundle = bundle
        self._bench = bench
        self._seeker = seeker
        self._options = options
        self._tickets = itertools.count()

    def run(self) -> Attempt:
        """Have the state recovered, and judge what came of it."""
        bundle, began = self._bundle, time.monotonic()
        with fitting_together():
            first, job = self._look()
        judged, verdicts = None, [first]
        if job is not None:
            (judged,) = self._seeker.recover([job])
            verdicts = [*self._seeker.verdicts(bundle.reason, judged), first]
        return attempt_of(bundle, self._bench, verdicts, began, judged)

    def _look(self) -> tuple[Verdict, Job | None]:
        bundle, ticket = self._bundle, next(self._tickets)
        contents = {
            name: bundle.images[name].content if name in bundle.images else DiskContent()
            for name in bundle.shape.disk_sizes
        }  # fmt: skip
        if bundle.kind is Kind.EXPLORED:
            return self._look_at_explored(contents, ticket)
        state = SavedState(number=0, contents=contents, there=bundle.there)
        if bundle.kind is Kind.IMPORTED and (job := self._imported(state, ticket)) is not None:
            return Verdict(Outcome.AGREES), job
        look = look_at(
            state, bundle.shape.disk_sizes, self._bench.era, self._options.oracles,
            seed=bundle.seed, ticket=ticket,
        )  # fmt: skip
        return look.verdict, look.job

    def _look_at_explored(
        self, contents: dict[str, DiskContent], ticket: int
    ) -> tuple[Verdict, Job | None]:
        bundle = self._bundle
        assert bundle.workload is not None
        assert bundle.trace is not None
        assert bundle.state is not None
        recording = recording_of(bundle.workload, bundle.trace)
        subject = subject_of(self._options, recording, predictor_of(self._options))
        cut = bundle.state.cut
        if not recording.first_event <= cut <= recording.last_event + 1:
            raise BadInput(f"the bundle's cut, {cut}, is not within its workload")
        chosen = ChosenState(bundle.state.number, next(walk(bundle.trace, cut, cut)), {})
        look = subject.look_at(chosen, contents, ticket)
        return look.verdict, look.job

    def _imported(self, state: SavedState, ticket: int) -> Job | None:
        """Return the job that a reporter's disks are; ``None``: their outcome cannot be told."""
        sizes, contents = self._bundle.shape.disk_sizes, state.on_disks_there
        try:
            predicted = predictor_of(self._options).predict(contents)
        except JournalGone as gone:
            return job_without_journal(gone, contents, sizes, 0, ticket)
        except (UndefinedRecovery, UnreadableTail, StripeCacheExhausted):
            return None
        return _job(predicted, contents, sizes, ticket)


def _job(
    predicted: PredictedState, contents: Mapping[str, DiskContent], sizes: Mapping[str, int],
    ticket: int,
) -> Job:  # fmt: skip
    looks = Looks(again=True)
    return job_with_journal(predicted, members_of(predicted), looks, contents, sizes, 0, ticket)
