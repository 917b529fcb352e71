"""What a red is red for, apart from the figures of the one case."""

from __future__ import annotations

import re
from dataclasses import dataclass

from harness.verdict.verdict import Finding, Verdict

_FIGURES = re.compile(r"0x[0-9a-f]+|\d+(\.\d+)?")
# What a sector holds instead says little of why.
_HELD = re.compile(r"holds .*?(?=, which|; write)")


@dataclass(frozen=True, slots=True)
class Reason:
    """An oracle, its sentence without figures, and the issue that it is known as, if it is."""

    oracle: str
    sentence: str
    known_as: str = ""

    def __str__(self) -> str:
        return self.known_as or f"{self.oracle}: {self.sentence}"

    def is_met_by(self, verdict: Verdict) -> bool:
        """Whether a verdict is red for this reason, maybe among others."""
        if self.known_as:
            return self.known_as in verdict.reason.split(", ")
        return any(_of(finding) == (self.oracle, self.sentence) for finding in verdict.findings)


def reasons_of(verdict: Verdict, *, known: bool) -> list[Reason]:
    """Return why a verdict is red; *known*: each of the issues that explain it is a reason."""
    if known:
        return [Reason(verdict.findings[0].oracle, "", name) for name in verdict.reason.split(", ")]
    return [Reason(*_of(verdict.findings[0]))] if verdict.findings else []


def _of(finding: Finding) -> tuple[str, str]:
    return finding.oracle, _FIGURES.sub("N", _HELD.sub("holds something", finding.what))
