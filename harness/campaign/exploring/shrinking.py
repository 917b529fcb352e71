"""Reduce a red to the fewest operations, the earliest cut and the fewest lost writes.

Each candidate workload is recorded anew, and its crash states are looked at until one is red for
the same reason. md batches stripes a little differently from run to run, so a candidate gets
`RECORDINGS` chances before it is taken for green: one that shows the reason in two of three
recordings is missed in 4 % of the cases. What is smallest so far is there at any time.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from harness.campaign.exploring.choosing import ExploreOptions
from harness.campaign.exploring.guest_pool import Judged
from harness.campaign.exploring.seeking import Found, Ground, Seeker
from harness.campaign.known_issues import KnownIssues
from harness.campaign.lab import Say
from harness.campaign.recording import Recording
from harness.crash.shrink import Atom, atoms_of, minimise, workload_of_atoms
from harness.crash.strategies import ChosenState, Place, uncertain
from harness.crash.trace import Trace
from harness.crash.workload import JournalMode, Step, Workload
from harness.verdict.reason import Reason
from harness.verdict.verdict import Verdict

RECORDINGS = 3  # of a candidate, before it is taken for green


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
    workload: Workload  # with what led to the base
    recording: Recording | None  # None: the workload itself hung
    steps: Sequence[Step]
    chosen: ChosenState | None
    judged: Judged | None  # where a kernel was asked
    verdict: Verdict
    recordings: int  # that were made for it
    recorded_red: int  # of them, those that were red for the reason


class OutOfTime(Exception):
    """The time for shrinking is over."""


class Shrinker:
    """Shrinks one red at a time, with one guest for all its recordings."""

    def __init__(
        self,
        options: ExploreOptions,
        issues: KnownIssues,
        *,
        limit_s: float,
        say: Say,
        recordings: int = RECORDINGS,
    ) -> None:
        self._recordings = recordings
        self._limit_s = limit_s
        self._deadline = 0.0
        self._say = say
        self._seeker = Seeker(options, issues, say=say, go_on=self._check_time)

    def shrink(
        self, start: Start, *, better: Callable[[Shrunk], None] = lambda _: None
    ) -> Shrunk | None:
        """Return the smallest that was found in the time; ``None``: it did not show once more.

        *better* is given each that is smaller than all before.
        """
        self._deadline = time.monotonic() + self._limit_s
        ground = Ground(base=start.base, mode=start.mode, promised=start.promised)
        best: Found | None = None
        steps: Sequence[Step] = start.steps
        made = red = 0

        def smallest(found: Found) -> Shrunk:
            return Shrunk(
                reason=start.reason, workload=found.workload, recording=found.recording,
                steps=steps, chosen=found.chosen, judged=found.judged, verdict=found.verdict,
                recordings=made, recorded_red=red,
            )  # fmt: skip

        def is_red(atoms: Sequence[Atom]) -> bool:
            nonlocal best, steps, made, red
            whole, alone = workload_of_atoms(atoms, start.before)
            for _ in range(self._recordings):
                made += 1
                found = self._seeker.record_and_look(start.reason, ground, whole, alone)
                if found is not None:
                    red += 1
                    best, steps = found, alone.steps
                    self._say(f"{start.reason}: {len(atoms)} operations are enough")
                    better(smallest(found))
                    return True
            return False

        atoms = atoms_of(start.steps)
        with self._seeker:
            with contextlib.suppress(OutOfTime):
                if is_red(atoms):
                    minimise(atoms, is_red)
            self._deadline += self._limit_s / 2  # what remains goes by states alone, and is quick
            if best is not None and best.chosen is not None:
                with contextlib.suppress(OutOfTime):
                    best = self._fewest_lost(start.reason, best)
        return None if best is None else smallest(best)

    def _fewest_lost(self, reason: Reason, found: Found) -> Found:
        """Let as many of the lost writes survive as the red allows, torn ones whole first."""
        assert found.chosen is not None
        assert found.recording is not None
        recording, best, chosen = found.recording, found, found.chosen
        lost = [place for place in uncertain(chosen.cut) if not chosen.is_whole(place)]

        def is_red(still_lost: Sequence[Place]) -> bool:
            nonlocal best
            candidate = chosen.with_whole(set(lost) - set(still_lost))
            red = next(self._seeker.judged(reason, recording, iter([candidate])), None)
            best = red or best
            return red is not None

        minimise(lost, is_red)
        return best

    def _check_time(self) -> None:
        if time.monotonic() > self._deadline:
            raise OutOfTime
