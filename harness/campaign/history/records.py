"""What the history remembers, as values: nights, cases, kernels, units of work, findings.

A *run* is a night. A *case* is what can be followed from night to night: it has no kernel, and no
seed or range, which belong to a *unit*, the piece of a run that one worker did. All units of a case
on a kernel in one run are a *cell*: a place in the run's grid.
"""

from __future__ import annotations

import enum
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

from harness.verdict.reason import Reason
from harness.verdict.verdict import Outcome

# What says most of a kernel first: a red is red whatever else was in its cell, and one unit that
# could not be judged leaves what the others say.
WORST_JUDGED = (
    Outcome.DIFFERS, Outcome.KNOWN, Outcome.AGREES, Outcome.HARNESS_FAILED, Outcome.NOT_RUN
)  # fmt: skip
RED = frozenset((Outcome.DIFFERS, Outcome.KNOWN))
JUDGED = RED | {Outcome.AGREES}


class Kind(enum.StrEnum):
    """What does the work of a case: a subcommand, but for `repro`, which is a bundle run again."""

    EXPLORE = "explore"
    SCENARIO = "scenario"
    FUZZ = "fuzz"
    CRASH = "crash"
    REPRO = "repro"


class Status(enum.Enum):
    """How far a finding has been followed."""

    OPEN = "open"
    PACKED = "packed"  # minimised, and there is a bundle of it
    CLOSED = "closed"  # done with; opened again when it is seen again


@dataclass(frozen=True, slots=True, order=True)
class Case:
    """Something that is tried night after night, on any kernel."""

    kind: Kind
    name: str
    shape: str = ""  # as text

    def __str__(self) -> str:
        return f"{self.kind.value} {self.name}"


@dataclass(frozen=True, slots=True, order=True)
class KernelSeen:
    """A kernel as it was on a night: the same *name* is another kernel after an upgrade."""

    name: str  # as it was asked for
    release: str  # uname -r
    version: str  # Debian's, or what its owner says
    identity: str  # hash of all that makes it this kernel, replaced modules included


def finding_id(signature: str) -> str:
    """Return the short name of a finding, which its files have as well."""
    return hashlib.sha256(signature.encode()).hexdigest()[:12]


@dataclass(frozen=True, slots=True)
class FindingSeen:
    """A finding as a unit met it."""

    oracle: str
    sentence: str  # without figures of the one case; may be empty where the issue is known
    known_as: str = ""
    count: int = 1  # how often in the unit

    @property
    def signature(self) -> str:
        """What makes it this finding, on every night and kernel."""
        return self.known_as or f"{self.oracle}: {self.sentence}"

    @classmethod
    def of_reason(cls, reason: Reason, count: int = 1) -> FindingSeen:
        """Return what a reason of `verdict.reason` is here."""
        return cls(reason.oracle, reason.sentence, reason.known_as, count)


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitResult:
    """What one unit of work came to."""

    case: Case
    kernel: KernelSeen
    part: str = ""  # seed, range: which piece of the case this is
    worker: str = ""
    began: float  # seconds since 1970
    seconds: float
    states: int = 0  # crash states that were judged; 0 where it is no matter of states
    outcome: Outcome
    reason: str = ""
    findings: tuple[FindingSeen, ...] = ()
    evidence: str = ""  # folder
    bundle: str = ""  # path

    @property
    def key(self) -> UnitKey:
        """What it is the result of."""
        return UnitKey(self.case, self.kernel, self.part)


@dataclass(frozen=True, slots=True)
class UnitKey:
    """A unit within a run."""

    case: Case
    kernel: KernelSeen
    part: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A night."""

    number: int
    name: str
    began: float  # seconds since 1970
    ended: float | None  # None: it goes on, or was killed
    command: str
    plan_hash: str
    budget_s: float | None
    out: str  # folder


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """What all units of a case on a kernel came to in a run."""

    run: int  # number
    case: Case
    kernel: KernelSeen
    counts: Mapping[Outcome, int]  # of units; those that are 0 are left out
    states: int
    seconds: float  # of all units
    pace_s: float | None  # see `schema`: the median unit's seconds for a state; None: none judged

    @property
    def outcome(self) -> Outcome:
        """What the cell is in the grid: its worst judged unit."""
        return next(each for each in WORST_JUDGED if self.counts.get(each))

    @property
    def judged(self) -> int:
        """How many units have a verdict on the kernel."""
        return sum(self.counts.get(each, 0) for each in JUDGED)

    @property
    def red(self) -> int:
        """How many units are red, known or not."""
        return sum(self.counts.get(each, 0) for each in RED)


Place = tuple[Case, str]  # a case and the name that its kernel is asked for by


def place_of(cell: Cell) -> Place:
    """Return where a cell is in the grid of its run, by which nights are compared."""
    return cell.case, cell.kernel.name


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A finding over all nights."""

    signature: str
    oracle: str
    sentence: str
    known_as: str
    status: Status
    bundle: str  # path of its reproducer, once there is one
    smallest: str = ""  # how small that is, in words, once it was made smaller
    note: str = ""  # why it is closed
    first_run: Run
    last_run: Run
    first_kernel: KernelSeen
    last_kernel: KernelSeen
    count: int = 0  # how often in the run that was asked for

    @property
    def id(self) -> str:
        """Its short name."""
        return finding_id(self.signature)

    @property
    def is_followed(self) -> bool:
        """Whether it is neither done with nor known."""
        return self.status is not Status.CLOSED and not self.known_as


@dataclass(frozen=True, slots=True, kw_only=True)
class RunView:
    """All of a run that a comparison looks at."""

    run: Run
    cells: tuple[Cell, ...]
    findings: Mapping[Place, tuple[FindingSeen, ...]] = field(default_factory=dict)
