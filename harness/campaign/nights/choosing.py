"""Which unit of a night is next: pure.

Time goes where it finds most: to kernels that no night has had, to what was red lately, then to
what has been covered least; everything once, before anything twice.
"""

from __future__ import annotations

import textwrap
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count

from harness.campaign.history.records import (
    Case,
    Cell,
    FindingSeen,
    Kind,
    Place,
    finding_id,
    place_of,
)
from harness.campaign.nights.plan import Line
from harness.verdict.verdict import Outcome

GUESS_S = 20.0  # that a unit takes, before any has been seen
FULL_GUESS_S = 90.0  # in a full guest
FUZZED_GUESS_S = 2.0  # of a fuzzed state
_MOST_LETTERS = 160  # of a signature, behind the name of a case
MOST_FAILURES = 3  # of a place, one after another, before it is left alone
MARGIN = 1.25  # of what a unit takes usually, before it is begun


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What can be done on a kernel: a case, and how its units are made."""

    case: Case
    kernel: str  # name
    line: Line | None  # None: a scenario
    most: int  # units in a night; 0: as many as there is time for
    states: int  # that a unit looks at; of a scenario 0
    guest: str = ""  # which of the kernel's it needs
    story: str = ""  # name of the scenario; the case's says its guest as well
    bundle: str = ""  # whole path of what is run again
    finding: FindingSeen | None = None  # that it is of
    guess_s: float = GUESS_S  # that a unit takes, before any has been seen

    @property
    def place(self) -> Place:
        """Where it is in the grid."""
        return self.case, self.kernel


@dataclass(slots=True)
class Past:
    """What nights before say of places."""

    states: Counter[Place] = field(default_factory=Counter)  # covered in them
    red: set[Place] = field(default_factory=set)  # lately, and no known issue explains it
    pace_s: dict[Place, float] = field(default_factory=dict)  # seconds of a state, or of a whole
    new_kernels: frozenset[str] = frozenset()  # names

    @classmethod
    def of(
        cls, cells: Iterable[Cell], paces: Mapping[Place, float], new_kernels: Collection[str]
    ) -> Past:
        """Return what cells of nights before come to."""
        past = cls(pace_s=dict(paces), new_kernels=frozenset(new_kernels))
        for cell in cells:
            past.states[place_of(cell)] += cell.states + cell.judged
            if cell.counts.get(Outcome.DIFFERS):
                past.red.add(place_of(cell))
        return past


def part_of(number: int) -> str:
    """Return what a unit of a case on a kernel is called, by its number from 0 on."""
    return f"unit {number + 1}"


def number_of(part: str) -> int:
    """Return the number of a unit that is called so."""
    return int(part.removeprefix("unit ")) - 1


def repeats_of(finding: FindingSeen, bundle: str, guest: str, kernels: Iterable[str]) -> list[Work]:
    """Return a finding's bundle as work: once a night on each of the kernels.

    Args:
        finding: that it is of.
        bundle: whole path.
        guest: which it needs.
        kernels: by name.
    """
    words = textwrap.shorten(finding.signature, _MOST_LETTERS)
    case = Case(Kind.REPRO, finding_id(finding.signature), words)
    return [
        Work(
            case=case, kernel=name, line=None, most=1, states=0, guest=guest, bundle=bundle,
            finding=finding, guess_s=FULL_GUESS_S,
        )
        for name in kernels
    ]  # fmt: skip


class Chooser:
    """Gives one unit after another, as long as there is time for it."""

    def __init__(
        self, works: Sequence[Work], past: Past, done: Iterable[tuple[Place, int]] = ()
    ) -> None:
        """Begin.

        Args:
            works: all that can be done, in the plan's order.
            past: of the nights before.
            done: units of this night that are over already, by place and number.
        """
        self._works = list(works)
        self._past = past
        self._given: defaultdict[Place, set[int]] = defaultdict(set)  # numbers
        for place, number in done:
            self._given[place].add(number)
        self._took: dict[Place, float] = {}  # tonight, a unit at its longest
        self._failures: Counter[Place] = Counter()  # one after another

    def put_first(self, works: Sequence[Work]) -> None:
        """Let more be done: among what has the same claim, before all that was there."""
        there = {work.place for work in self._works}
        self._works[:0] = [work for work in works if work.place not in there]

    def next(self, left_s: float) -> tuple[Work, int] | None:
        """Return the next unit as its work and its number from 0 on; ``None``: nothing fits."""
        fitting = [
            work
            for work in self._works
            if (not work.most or len(self._given[work.place]) < work.most)
            and self.estimate_s(work) * MARGIN < left_s
        ]
        if not fitting:
            return None
        chosen = min(fitting, key=self._rank)
        given = self._given[chosen.place]
        number = next(each for each in count() if each not in given)
        given.add(number)
        return chosen, number

    def took(self, work: Work, seconds: float) -> None:
        """Note what a unit has taken."""
        self._took[work.place] = max(seconds, self._took.get(work.place, 0.0))
        self._failures[work.place] = 0

    def failed(self, work: Work) -> bool:
        """Note a unit without a verdict; return whether its place is given up for it."""
        self._failures[work.place] += 1
        if self._failures[work.place] < MOST_FAILURES:
            return False
        self._works = [each for each in self._works if each.place != work.place]
        return True

    def estimate_s(self, work: Work) -> float:
        """Return how long a unit of it takes."""
        if work.place in self._took:
            return self._took[work.place]
        if work.place in self._past.pace_s:
            return self._past.pace_s[work.place] * max(work.states, 1)
        return work.guess_s

    def _rank(self, work: Work) -> tuple[int, bool, bool, int]:
        place, past = work.place, self._past
        first_round = len(self._given[place])  # everything once, before anything twice
        return (
            first_round, work.kernel not in past.new_kernels, place not in past.red,
            past.states[place],
        )  # fmt: skip
