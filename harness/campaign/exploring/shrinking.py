"""Reduce a red to the fewest operations, the earliest cut and the fewest lost writes.

Each candidate workload is recorded anew, and its crash states are looked at until one is red for
the same reason. md batches stripes a little differently from run to run, so a candidate gets
`RECORDINGS` chances before it is taken for green: one that shows the reason in two of three
recordings is missed in 4 % of the cases. What is smallest so far is there at any time.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
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
from harness.campaign.exploring.trace_judging import judge_trace
from harness.campaign.known_issues import KnownIssues
from harness.campaign.lab import Say
from harness.campaign.recording import Recording, recording_of
from harness.crash.shrink import Atom, atoms_of, minimise, workload_of_atoms
from harness.crash.strategies import ChosenState, Place, Strategy, uncertain
from harness.crash.trace import Trace
from harness.crash.workload import JournalMode, Step, Workload
from harness.errors import HarnessError
from harness.verdict.afterwards import INTERRUPTED
from harness.verdict.durability import ATOMICITY, DURABILITY, REDUNDANCY
from harness.verdict.ordering import ORACLE as ORDERING
from harness.verdict.reason import Reason
from harness.verdict.verdict import Verdict

RECORDINGS = 3  # of a candidate, before it is taken for green
_STATES = 300  # of a recording that are looked at
_AT_ONCE = 12
_WITHOUT_KERNEL = (DURABILITY, ATOMICITY, REDUNDANCY, "write hole")


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """What is to be shrunk."""

    reason: Reason
    base: Trace  # of the array before the steps
    before: Workload  # what led to the base, with writes that count; maybe nothing
    mode: JournalMode
    steps: Sequence[Step]
    promised: str = ""  # a mark between base and steps


@dataclass(frozen=True, slots=True, kw_only=True)
class Shrunk:
    """The smallest red found; *chosen* is ``None`` where the trace alone is red."""

    reason: Reason
    recording: Recording
    steps: Sequence[Step]
    chosen: ChosenState | None
    judged: Judged | None  # where a kernel was asked
    verdict: Verdict
    recordings: int  # that were made for it
    recorded_red: int  # of them, those that were red for the reason


@dataclass(frozen=True, slots=True)
class _Found:
    recording: Recording
    chosen: ChosenState | None
    judged: Judged | None
    verdict: Verdict


class OutOfTime(Exception):
    """The time for shrinking is over."""


class Shrinker:
    """Shrinks one red at a time, with one guest for all its recordings."""

    def __init__(
        self, options: ExploreOptions, issues: KnownIssues, *, limit_s: float, say: Say
    ) -> None:
        self._options = replace(
            options, strategy=Strategy.EPOCHS, states=_STATES, oracles=Oracles(EVERY)
        )
        self._issues = issues
        self._predictor = predictor_of(options)
        self._limit_s = limit_s
        self._deadline = 0.0
        self._say = say
        self._ticket = 0
        self._stack = contextlib.ExitStack()
        self._guest: BankGuest | None = None

    def shrink(self, start: Start) -> Shrunk | None:
        """Return the smallest that was found in the time; ``None``: it did not show once more."""
        self._deadline = time.monotonic() + self._limit_s
        best: _Found | None = None
        steps: Sequence[Step] = start.steps
        made = red = 0

        def is_red(atoms: Sequence[Atom]) -> bool:
            nonlocal best, steps, made, red
            for _ in range(RECORDINGS):
                made += 1
                found = self._record_and_look(start, atoms)
                if found is not None:
                    red += 1
                    best = found
                    steps = workload_of_atoms(atoms, start.before)[1].steps
                    self._say(f"{start.reason}: {len(atoms)} operations are enough")
                    return True
            return False

        atoms = atoms_of(start.steps)
        with self._stack:
            with contextlib.suppress(OutOfTime):
                if is_red(atoms):
                    minimise(atoms, is_red)
            self._deadline += self._limit_s / 2  # what remains goes by states alone, and is quick
            if best is not None and best.chosen is not None:
                with contextlib.suppress(OutOfTime):
                    best = self._fewest_lost(start.reason, best)
        self._guest = None
        if best is None:
            return None
        return Shrunk(
            reason=start.reason, recording=best.recording, steps=steps, chosen=best.chosen,
            judged=best.judged, verdict=best.verdict, recordings=made, recorded_red=red,
        )  # fmt: skip

    def _record_and_look(self, start: Start, atoms: Sequence[Atom]) -> _Found | None:
        """Record a candidate, and return its earliest red state, if it has one."""
        self._check_time()
        whole, alone = workload_of_atoms(atoms, start.before)
        last = len(whole.writes) - len(alone.writes)
        self._ticket += 1
        try:
            trace = record_on(
                self._bank(), self._ticket, start.base, start.mode, alone,
                last=last, promised=start.promised,
            )  # fmt: skip
        except HarnessError as failed:  # refused, or it hangs: the guest is of no use any more
            self._say(f"{start.reason}: a candidate cannot be recorded: {failed}")
            self._drop_guest()
            return None
        return next(self._reds(start.reason, recording_of(whole, trace)), None)

    def _reds(self, reason: Reason, recording: Recording) -> Iterator[_Found]:
        """Yield what is red for a reason in a recording, the earliest cut first."""
        journaled = self._options.crash.shape.journaled
        if journaled and recording.events:
            verdict = self._issues.apply(judge_trace(recording))
            if reason.is_met_by(verdict, self._issues.issues):
                yield _Found(recording, None, None, verdict)
                return
        if reason.oracle == ORDERING or not recording.events:
            return
        yield from self._judged(
            reason, recording, chosen_states(self._options, recording, states=_STATES)
        )

    def _judged(
        self, reason: Reason, recording: Recording, states: Iterator[ChosenState]
    ) -> Iterator[_Found]:
        """Yield those of some states that are red for a reason."""
        subject = subject_of(self._options, recording, self._predictor)
        names = [disk.name for disk in recording.trace.disks]
        seen: set[bytes] = set()
        waiting: list[tuple[ChosenState, Job]] = []
        for chosen in states:
            self._check_time()
            self._ticket += 1
            contents = dict(zip(names, chosen.contents(), strict=True))
            look = subject.look_at(chosen, contents, self._ticket)
            if reason.oracle in _WITHOUT_KERNEL:
                verdict = self._issues.apply(look.verdict)
                if reason.is_met_by(verdict, self._issues.issues):
                    yield _Found(recording, chosen, None, verdict)
            elif look.job is not None and look.identity not in seen:
                seen.add(look.identity)
                waiting.append((chosen, look.job))
            if len(waiting) >= _AT_ONCE:
                yield from self._recovered(reason, recording, waiting)
                waiting = []
        yield from self._recovered(reason, recording, waiting)

    def _recovered(
        self, reason: Reason, recording: Recording, waiting: list[tuple[ChosenState, Job]]
    ) -> Iterator[_Found]:
        while waiting:
            self._check_time()
            done = 0
            for state in self._bank().recover([job.state for _, job in waiting]):
                chosen, job = waiting[done]
                done += 1
                judged = Judged(job, state, job.judge(state), 0.0)
                for verdict in self._verdicts(reason, judged):
                    if reason.is_met_by(verdict, self._issues.issues):
                        yield _Found(recording, chosen, judged, verdict)
                if state.ends_the_guest:
                    self._drop_guest()
                    break
            waiting = waiting[done:]

    def _verdicts(self, reason: Reason, judged: Judged) -> Iterator[Verdict]:
        yield self._issues.apply(judged.verdict)
        if reason.oracle == INTERRUPTED and judged.job.predicted is not None:
            sizes = self._options.crash.shape.disk_sizes
            for state in interruptions(judged, sizes, self._options):
                yield self._issues.apply(same_end(judged, state))

    def _fewest_lost(self, reason: Reason, found: _Found) -> _Found:
        """Let as many of the lost writes survive as the red allows, torn ones whole first."""
        assert found.chosen is not None
        best, chosen = found, found.chosen
        lost = [place for place in uncertain(chosen.cut) if not chosen.is_whole(place)]

        def is_red(still_lost: Sequence[Place]) -> bool:
            nonlocal best
            candidate = chosen.with_whole(set(lost) - set(still_lost))
            red = next(self._judged(reason, found.recording, iter([candidate])), None)
            best = red or best
            return red is not None

        minimise(lost, is_red)
        return best

    def _check_time(self) -> None:
        if time.monotonic() > self._deadline:
            raise OutOfTime

    def _bank(self) -> BankGuest:
        if self._guest is None:
            image, shape = self._options.crash.image, self._options.crash.shape
            self._guest = self._stack.enter_context(bank_guest(image, shape, say=self._say))
        return self._guest

    def _drop_guest(self) -> None:
        self._stack.close()
        self._guest = None
