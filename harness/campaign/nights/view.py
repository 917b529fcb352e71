"""All that the morning shows of a night, as values; and what can be said of it without more."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from harness.campaign.history.records import (
    JUDGED,
    WORST_JUDGED,
    Case,
    Cell,
    Finding,
    KernelSeen,
    Place,
    RunView,
    Status,
    place_of,
)
from harness.campaign.history.whats_new import Change, Comparison, without_echoes
from harness.errors import BadInput
from harness.verdict.verdict import Outcome


@dataclass(frozen=True, slots=True)
class NightKernel:
    """A kernel of the night."""

    name: str  # as it is asked for
    release: str  # uname -r
    version: str  # Debian's, or what its owner says
    is_new: bool  # no night before had it


@dataclass(frozen=True, slots=True)
class SetAside:
    """Work that was given up: what it was in words, and why."""

    what: str
    why: str


@dataclass(frozen=True, slots=True)
class Spent:
    """What a share of the night's time went into: fetching kernels, packing findings ..."""

    what: str
    used_s: float
    planned_s: float | None = None  # None: nothing was planned for it


@dataclass(frozen=True, slots=True, kw_only=True)
class FollowedFinding:
    """A finding as it is followed; paths are within the night's folder."""

    finding: Finding
    bundle: str = ""
    evidence: str = ""
    minimised: str = ""  # how small it became, in words
    first_bad: str = ""  # version of the first bad kernel, where it was looked for

    def __post_init__(self) -> None:
        for path in (self.bundle, self.evidence):
            if path.startswith("/") or ".." in path.split("/"):
                raise BadInput(f"{path}: is no path within the folder of a night")


@dataclass(frozen=True, slots=True)
class NightCell:
    """A place of the night's grid: the units of a case on all kernels of one name."""

    case: Case
    kernel: str
    seen: tuple[KernelSeen, ...]  # the kernels of this name, that which did worst first
    counts: Mapping[Outcome, int]  # of units
    states: int
    seconds: float
    signatures: tuple[str, ...]  # of what was found there
    unexplained: tuple[str, ...]  # those of them that are no known issue

    @property
    def outcome(self) -> Outcome:
        """The worst that was judged."""
        return next(each for each in WORST_JUDGED if self.counts.get(each))

    @property
    def units(self) -> int:
        """How many there are."""
        return sum(self.counts.values())


@dataclass(frozen=True, kw_only=True)
class NightView:
    """A night, to be shown."""

    run: RunView
    comparison: Comparison | None  # None: the first night
    findings: tuple[FollowedFinding, ...]  # those of this night, and older ones that are not closed
    kernels: tuple[NightKernel, ...]  # the oldest first
    set_aside: tuple[SetAside, ...] = ()
    budget_s: float | None = None
    used_s: float = 0.0
    spent: tuple[Spent, ...] = ()  # where the time went, besides what the cells tell
    # Crash states of the nights before on each kernel, the oldest first, by its name.
    states_before: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    facts: Mapping[str, str] = field(default_factory=dict)  # further things to know, by name

    @cached_property
    def cells(self) -> dict[Place, NightCell]:
        """The grid, in order of cases and kernels."""
        found: dict[Place, list[Cell]] = {}
        for cell in sorted(self.run.cells, key=place_of):
            found.setdefault(place_of(cell), []).append(cell)
        return {place: self._merged(place, cells) for place, cells in found.items()}

    def _merged(self, place: Place, cells: Iterable[Cell]) -> NightCell:
        every = sorted(cells, key=lambda cell: WORST_JUDGED.index(cell.outcome))
        counts = {o: n for o in Outcome if (n := sum(cell.counts.get(o, 0) for cell in every))}
        met = {f.signature: f.known_as for f in self.run.findings.get(place, ())}
        return NightCell(
            place[0], place[1], tuple(cell.kernel for cell in every), counts,
            sum(cell.states for cell in every), sum(cell.seconds for cell in every), tuple(met),
            tuple(signature for signature, known_as in met.items() if not known_as),
        )  # fmt: skip

    @cached_property
    def kernel_names(self) -> tuple[str, ...]:
        """The grid's columns: each kernel of the night, in order, then what only cells name."""
        named = [kernel.name for kernel in self.kernels]
        return tuple(dict.fromkeys([*named, *(kernel for _, kernel in self.cells)]))

    @cached_property
    def counts(self) -> Mapping[Outcome, int]:
        """How many places of the grid have each outcome; what there is none of is left out."""
        every = [cell.outcome for cell in self.cells.values()]
        return {outcome: n for outcome in WORST_JUDGED if (n := every.count(outcome))}

    @property
    def judged(self) -> int:
        """How many places have a verdict on the kernel."""
        return sum(self.counts.get(outcome, 0) for outcome in JUDGED)

    @cached_property
    def new_reds(self) -> tuple[Change, ...]:
        """What is newly red against the nights before; in the first night all that differs."""
        if self.comparison is not None:
            return tuple(change for change in self.comparison.new_red if change.since_before)
        return without_echoes(
            [_first_red(cell) for cell in self.cells.values() if cell.outcome is Outcome.DIFFERS]
        )

    @property
    def is_red(self) -> bool:
        """Whether anything is newly red: what the night exits 1 for."""
        return bool(self.new_reds)

    @cached_property
    def met(self) -> Mapping[str, Mapping[str, int]]:
        """How often each finding was met tonight, by its signature and the kernel's name."""
        found: dict[str, dict[str, int]] = {}
        for name in self.kernel_names:
            for (_, kernel), findings in self.run.findings.items():
                for each in findings if kernel == name else ():
                    counts = found.setdefault(each.signature, {})
                    counts[name] = counts.get(name, 0) + each.count
        return found

    def first_bad(self, signature: str) -> str:
        """Return the first kernel of the night that meets a finding; empty where none does."""
        followed = self.followed(signature)
        if followed is not None and followed.first_bad:
            return followed.first_bad
        met = self.met.get(signature, {})
        return next((self.kernel_text(name) for name in self.kernel_names if name in met), "")

    def kernel_text(self, name: str) -> str:
        """Return a kernel's name and version."""
        versions = [kernel.version for kernel in self.kernels if kernel.name == name]
        return f"{name} ({', '.join(versions)})" if versions else name

    def followed(self, signature: str) -> FollowedFinding | None:
        """Return what is known of a finding."""
        return self._by_signature.get(signature)

    @cached_property
    def _by_signature(self) -> Mapping[str, FollowedFinding]:
        return {each.finding.signature: each for each in self.findings}

    @cached_property
    def findings_in_order(self) -> tuple[FollowedFinding, ...]:
        """Those of new reds first, then of tonight, unexplained ones before known issues."""
        new = {signature for change in self.new_reds for signature in change.findings}

        def place(each: FollowedFinding) -> tuple[bool, bool, bool, bool, int]:
            finding = each.finding
            seen = finding.signature in self.met
            closed = finding.status is Status.CLOSED
            return (
                finding.signature not in new, not seen, bool(finding.known_as), closed,
                -finding.count,
            )  # fmt: skip

        return tuple(sorted(self.findings, key=place))


def _first_red(cell: NightCell) -> Change:
    return Change(
        case=cell.case, kernel=cell.seen[0], now=Outcome.DIFFERS, before=None, before_run=None,
        in_baseline=None, findings=cell.unexplained, flaky=False, since_before=True,
        since_baseline=False,
    )  # fmt: skip
