"""Record a workload anew, and look at its crash states until one is red for a given reason."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from harness.campaign.exploring.batch import BankGuest, bank_guest
from harness.campaign.exploring.choosing import (
    ExploreOptions,
    chosen_states,
    predictor_of,
    subject_of,
)
from harness.campaign.exploring.guest_pool import Job, Judged
from harness.campaign.exploring.interrupted import interruptions, same_end
from harness.campaign.exploring.oracles import EVERY, Oracles
from harness.campaign.exploring.recordings import record_on
from harness.campaign.exploring.subjects import Look
from harness.campaign.exploring.trace_judging import judge_trace
from harness.campaign.known_issues import KnownIssues
from harness.campaign.lab import Say
from harness.campaign.recording import Recording, recording_of
from harness.crash.strategies import ChosenState, Strategy
from harness.crash.trace import Trace
from harness.crash.workload import JournalMode, Workload
from harness.errors import GuestVanished, HarnessError
from harness.verdict.afterwards import INTERRUPTED
from harness.verdict.durability import ATOMICITY, DURABILITY, REDUNDANCY
from harness.verdict.ordering import ORACLE as ORDERING
from harness.verdict.reason import Reason
from harness.verdict.verdict import Finding, Judgement, Verdict, verdict_of

STATES = 300  # of a recording that are looked at
_AT_ONCE = 12
_WITHOUT_KERNEL = (DURABILITY, ATOMICITY, REDUNDANCY, "write hole")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """The array that a workload is recorded on."""

    base: Trace  # of the array before the workload
    mode: JournalMode
    promised: str = ""  # a mark between base and workload


@dataclass(frozen=True, slots=True)
class Found:
    """A red; *chosen* is ``None`` where the trace alone is red, *recording* where it hung."""

    workload: Workload
    recording: Recording | None
    chosen: ChosenState | None
    judged: Judged | None
    verdict: Verdict


def _no_limit() -> None:
    """Go on for ever."""


class Seeker:
    """Records and looks, with one guest for all of it, while its block is open."""

    def __init__(
        self,
        options: ExploreOptions,
        issues: KnownIssues,
        *,
        say: Say,
        go_on: Callable[[], None] = _no_limit,
    ) -> None:
        """Begin.

        Args:
            options: of the array and its kernel.
            issues: that a reason can be known as.
            say: takes a line about anything slow.
            go_on: is asked now and then, and raises where it is enough.
        """
        self._options = replace(
            options, strategy=Strategy.EPOCHS, states=STATES, oracles=Oracles(EVERY)
        )
        self._issues = issues
        self._predictor = predictor_of(options)
        self._say = say
        self._go_on = go_on
        self._ticket = 0
        self._stack = contextlib.ExitStack()
        self._guest: BankGuest | None = None

    def __enter__(self) -> Seeker:
        return self

    def __exit__(self, *_: object) -> None:
        self._drop_guest()

    def record_and_look(
        self, reason: Reason, ground: Ground, whole: Workload, alone: Workload
    ) -> Found | None:
        """Record a workload, and return its earliest state that is red for a reason, if one is.

        Args:
            reason: that is looked for.
            ground: it is recorded on.
            whole: with what led to the ground.
            alone: what is done on it.
        """
        self._go_on()
        last = len(whole.writes) - len(alone.writes)
        self._ticket += 1
        try:
            trace = record_on(
                self._bank(), self._ticket, ground.base, ground.mode, alone,
                last=last, promised=ground.promised,
            )  # fmt: skip
        except GuestVanished:
            raise
        except HarnessError as failed:  # refused, or it hangs: the guest is of no use any more
            self._say(f"{reason}: a workload cannot be recorded: {failed}")
            self._drop_guest()
            verdict = self._issues.apply(hung_verdict(str(failed)))
            met = reason.is_met_by(verdict, self._issues.issues)
            return Found(whole, None, None, None, verdict) if met else None
        return next(self._reds(reason, recording_of(whole, trace)), None)

    def judged(
        self, reason: Reason, recording: Recording, states: Iterator[ChosenState]
    ) -> Iterator[Found]:
        """Yield those of some states that are red for a reason."""
        subject = subject_of(self._options, recording, self._predictor)
        names = [disk.name for disk in recording.trace.disks]
        seen: set[bytes] = set()
        waiting: list[tuple[ChosenState, Look]] = []
        for chosen in states:
            self._go_on()
            self._ticket += 1
            contents = dict(zip(names, chosen.contents(), strict=True))
            look = subject.look_at(chosen, contents, self._ticket)
            if reason.oracle in _WITHOUT_KERNEL:
                verdict = self._issues.apply(look.verdict)
                if reason.is_met_by(verdict, self._issues.issues):
                    yield Found(recording.workload, recording, chosen, None, verdict)
            elif look.job is not None and look.identity not in seen:
                seen.add(look.identity)
                waiting.append((chosen, look))
            if len(waiting) >= _AT_ONCE:
                yield from self._recovered(reason, recording, waiting)
                waiting = []
        yield from self._recovered(reason, recording, waiting)

    def recover(self, jobs: list[Job]) -> Iterator[Judged]:
        """Let the kernel recover states, one after another; a guest that one ends is replaced."""
        while jobs:
            self._go_on()
            done = 0
            for state in self._bank().recover([job.state for job in jobs]):
                job = jobs[done]
                done += 1
                yield Judged(job, state, job.judge(state), 0.0)
                if state.ends_the_guest:
                    self._drop_guest()
                    break
            jobs = jobs[done:]

    def verdicts(self, reason: Reason | None, judged: Judged) -> Iterator[Verdict]:
        """Yield what is said of a recovery, and where the reason is about that, of its crash
        states.
        """
        yield self._issues.apply(judged.verdict)
        about = reason is not None and reason.oracle == INTERRUPTED
        if about and judged.job.predicted is not None:
            sizes = self._options.crash.shape.disk_sizes
            for state in interruptions(judged, sizes, self._options):
                yield self._issues.apply(same_end(judged, state))

    def _reds(self, reason: Reason, recording: Recording) -> Iterator[Found]:
        """Yield what is red for a reason in a recording, the earliest cut first."""
        journaled = self._options.crash.shape.journaled
        if journaled and recording.events:
            verdict = self._issues.apply(judge_trace(recording))
            if reason.is_met_by(verdict, self._issues.issues):
                yield Found(recording.workload, recording, None, None, verdict)
                return
        if reason.oracle == ORDERING or not recording.events:
            return
        states = chosen_states(self._options, recording, states=STATES)
        yield from self.judged(reason, recording, states)

    def _recovered(
        self, reason: Reason, recording: Recording, waiting: list[tuple[ChosenState, Look]]
    ) -> Iterator[Found]:
        chosen_of = {id(look.job): chosen for chosen, look in waiting}
        jobs = [look.job for _, look in waiting if look.job is not None]
        for judged in self.recover(jobs):
            for verdict in self.verdicts(reason, judged):
                if reason.is_met_by(verdict, self._issues.issues):
                    chosen = chosen_of[id(judged.job)]
                    yield Found(recording.workload, recording, chosen, judged, verdict)

    def _bank(self) -> BankGuest:
        if self._guest is None:
            image, shape = self._options.crash.image, self._options.crash.shape
            self._guest = self._stack.enter_context(bank_guest(image, shape, say=self._say))
        return self._guest

    def _drop_guest(self) -> None:
        self._stack.close()
        self._guest = None


def hung_verdict(how: str) -> Verdict:
    """Return the verdict on a recording that was not made: its workload hung, or was refused."""
    first, *rest = how.splitlines() or [""]
    finding = Finding("alive", f"the workload itself: {first}", tuple(rest))
    return verdict_of((Judgement("alive", ("the workload itself",), (finding,)),))
