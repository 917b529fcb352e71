"""What any run came to, without saying which command ran: the model that every report is made of.

A *case* is the smallest thing that has a verdict of its own: a crash state, a recording, a scenario
on a kernel. Writers of all formats take a `RunReport` and nothing else.
"""

from __future__ import annotations

import enum
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path

from harness.campaign.reports.exhibit import Exhibit
from harness.verdict.reason import reasons_of
from harness.verdict.verdict import Finding, Outcome, Verdict

# What XML has no way to say, and what moves a terminal's cursor: all but tab and new line.
_UNSAYABLE = re.compile("[^\t\n\x20-\x7e\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_WORST = (
    Outcome.DIFFERS, Outcome.HARNESS_FAILED, Outcome.KNOWN, Outcome.NOT_RUN, Outcome.AGREES
)  # fmt: skip


class Light(enum.Enum):
    """How a case counts for who only asks whether a run is good."""

    PASSED = "passed"
    FAILED = "failed"
    EXPECTED = "expected"  # a known issue: red, and no news
    ERROR = "error"  # no verdict about the kernel
    SKIPPED = "skipped"


_LIGHTS = {
    Outcome.AGREES: Light.PASSED,
    Outcome.DIFFERS: Light.FAILED,
    Outcome.KNOWN: Light.EXPECTED,
    Outcome.HARNESS_FAILED: Light.ERROR,
    Outcome.NOT_RUN: Light.SKIPPED,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One thing that was judged."""

    name: str  # unique within its group and kernel
    group: str  # what it is one of: "states", a scenario's file ...
    kernel: str  # one of the report's
    verdict: Verdict
    seconds: float = 0.0  # in the guest; 0: not measured for this case alone
    stands_for: int = 1  # of how many cases that nothing tells apart it is the one
    evidence: Path | None = None  # the folder that is kept of it
    repeat: str = ""  # the command that shows it again
    exhibit: Exhibit | None = None  # its evidence, to be looked at

    @property
    def is_red(self) -> bool:
        """Whether it is neither green nor merely left out."""
        return self.verdict.outcome not in (Outcome.AGREES, Outcome.NOT_RUN)

    @property
    def rank(self) -> int:
        """Return its place among all, the worst first."""
        return _WORST.index(self.verdict.outcome)

    def light(self, *, strict: bool) -> Light:
        """Return how it counts; a *strict* run takes a known issue for a failure."""
        light = _LIGHTS[self.verdict.outcome]
        return Light.FAILED if strict and light is Light.EXPECTED else light


@dataclass(frozen=True, slots=True, kw_only=True)
class Smallest:
    """A red that was reduced to as little as still shows it."""

    name: str  # of its kind, or of one of the issues that it is known as
    words: str  # how small it is
    steps: tuple[str, ...]  # what it takes, a line each
    folder: Path | None
    exhibit: Exhibit | None = None


@dataclass(frozen=True, slots=True)
class OracleCount:
    """How often an oracle was asked in a run, and how often it objected."""

    name: str
    of: str  # what it looked at: "states", "recoveries"
    judged: int
    objected: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RunReport:
    """A whole run."""

    title: str  # "explore", "scenarios run"
    command: str  # as one types it
    kernels: tuple[str, ...]
    began_s: float  # since 1970
    seconds: float  # of the whole run
    cases: tuple[Case, ...]
    strict: bool = False  # known issues are failures
    # Further things to know of the run, by name: the array's shape, the kernel's package ...
    facts: Mapping[str, str] = field(default_factory=dict)
    oracles: tuple[OracleCount, ...] = ()  # empty where a run does not count them
    smallest: tuple[Smallest, ...] = ()
    # Why known issues are red, by their names.
    reasons: Mapping[str, str] = field(default_factory=dict)

    @property
    def outcomes(self) -> Counter[Outcome]:
        """How many cases ended how, each counted for all that it stands for."""
        counts: Counter[Outcome] = Counter()
        for case in self.cases:
            counts[case.verdict.outcome] += case.stands_for
        return counts

    @property
    def outcome(self) -> Outcome:
        """The worst of all; a run of nothing is NOT_RUN."""
        found = self.outcomes
        return next((outcome for outcome in _WORST if found[outcome]), Outcome.NOT_RUN)

    def suites(self) -> Iterator[tuple[str, str, list[Case]]]:
        """Yield (group, kernel, its cases), in order of their first cases."""
        order = {key: n for n, key in enumerate(dict.fromkeys(map(_suite_of, self.cases)))}
        ordered = sorted(self.cases, key=lambda case: order[_suite_of(case)])
        for (group, kernel), cases in groupby(ordered, _suite_of):
            yield group, kernel, list(cases)


@dataclass(frozen=True, slots=True)
class Kind:
    """Red cases that are alike but for their figures."""

    outcome: Outcome
    name: str
    cases: tuple[Case, ...]

    @property
    def stands_for(self) -> int:
        """How many that are."""
        return sum(case.stands_for for case in self.cases)


def kinds_of(cases: Sequence[Case]) -> list[Kind]:
    """Return what is red by its kinds, the worst outcome first, then in order of the cases."""
    found: dict[tuple[Outcome, str], list[Case]] = {}
    for case in cases:
        if case.verdict.outcome is not Outcome.AGREES:
            found.setdefault((case.verdict.outcome, kind_name(case.verdict)), []).append(case)
    kinds = [Kind(outcome, name, tuple(mine)) for (outcome, name), mine in found.items()]
    return sorted(kinds, key=lambda kind: _WORST.index(kind.outcome))


def kind_name(verdict: Verdict) -> str:
    """Return what a verdict shares with those of its kind: issues, or its reason less figures."""
    if verdict.outcome is not Outcome.DIFFERS:
        return verdict.reason or verdict.outcome.value
    why = reasons_of(verdict, (), known=False)
    return str(why[0]) if why else verdict.reason


def finding_lines(finding: Finding) -> list[str]:
    """Return a finding as lines, its details behind its sentence."""
    return [f"{finding.oracle}: {finding.what}", *finding.details]


def clean(text: str) -> str:
    """Return *text* with U+FFFD for all that cannot be shown: control characters, lone halves."""
    return _UNSAYABLE.sub("\ufffd", text.replace("\r\n", "\n"))


def one_line(text: str) -> str:
    """Return *text* clean, and on one line."""
    return " ".join(clean(text).split())


def _suite_of(case: Case) -> tuple[str, str]:
    return case.group, case.kernel
