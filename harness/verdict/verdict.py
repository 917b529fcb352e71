"""What a run ends with (DESIGN.md section 2)."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field

from harness.errors import EXIT_AGREES, EXIT_DIFFERS, EXIT_LOST


class Outcome(enum.Enum):
    """Only AGREES is green; KNOWN is a red that a listed kernel issue explains."""

    AGREES = "AGREES"
    DIFFERS = "DIFFERS"
    KNOWN = "KNOWN"
    NOT_RUN = "NOT_RUN"
    HARNESS_FAILED = "HARNESS_FAILED"


_EXIT_STATUS = {
    Outcome.AGREES: EXIT_AGREES,
    Outcome.DIFFERS: EXIT_DIFFERS,
    Outcome.KNOWN: EXIT_AGREES,
    Outcome.NOT_RUN: EXIT_LOST,
    Outcome.HARNESS_FAILED: EXIT_LOST,
}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that an oracle objects to."""

    oracle: str
    what: str  # one sentence
    details: tuple[str, ...] = ()  # lines below it
    facts: Mapping[str, int] = field(default_factory=dict)  # figures for `known` to match


@dataclass(frozen=True, slots=True)
class Judgement:
    """What one oracle looked at, and what it found; no finding is consent."""

    oracle: str
    compared: tuple[str, ...]  # a line each, with figures
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True, slots=True)
class Verdict:
    """The end of a run; *reason* says why in a few words where it is not AGREES."""

    outcome: Outcome
    judgements: tuple[Judgement, ...] = ()
    reason: str = ""

    @property
    def findings(self) -> tuple[Finding, ...]:
        """Everything that any oracle objects to."""
        return tuple(finding for each in self.judgements for finding in each.findings)

    @property
    def exit_status(self) -> int:
        """What a program that ran just this exits with."""
        return _EXIT_STATUS[self.outcome]


def verdict_of(judgements: tuple[Judgement, ...]) -> Verdict:
    """Sum up: one objection makes it DIFFERS; a judgement that compared nothing is a fault."""
    if not judgements:
        raise ValueError("nothing was judged")
    for judgement in judgements:
        if not judgement.compared:
            raise ValueError(f"oracle {judgement.oracle!r} compared nothing")
    findings = [finding for each in judgements for finding in each.findings]
    if not findings:
        return Verdict(Outcome.AGREES, judgements)
    return Verdict(Outcome.DIFFERS, judgements, findings[0].what)
