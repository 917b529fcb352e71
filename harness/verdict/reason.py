"""What a red is red for, apart from the figures of the one case."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from harness.verdict.known import KnownIssue, issue_of
from harness.verdict.verdict import Finding, Verdict

# Figures of the one case; a line of a source file, or a function's name, is none of these.
_FIGURES = re.compile(
    r"(?P<line>[\w-]+\.[ch]:\d+|\b(?:r5[cl]|raid\d+)_\w+)|0x[0-9a-f]+|\d+(\.\d+)?"
)
# Of a lost guest the place of its console is another each time.
_CONSOLE = re.compile(r"; console \(.*")
# Who judges files calls a disk by its file, who judges a trace by its name.
_FILE = re.compile(r"\b(journal|member\d+)\.img\b")
# What a sector holds instead says little of why.
_HELD = re.compile(r"holds .*?(?=, which|; write)")


@dataclass(frozen=True, slots=True)
class Reason:
    """An oracle, its sentence without figures, and the issue that it is known as, if it is.

    Of what no issue explains, *facts* are the figures that tell it from what one does.
    """

    oracle: str
    sentence: str
    known_as: str = ""
    facts: tuple[tuple[str, int], ...] = ()

    def __str__(self) -> str:
        return self.known_as or f"{self.oracle}: {self.sentence}"

    def is_met_by(self, verdict: Verdict, issues: Sequence[KnownIssue]) -> bool:
        """Whether a verdict is red for this reason, maybe among others."""
        return any(reason_of(finding, issues) == self for finding in verdict.findings)


def reasons_of(verdict: Verdict, issues: Sequence[KnownIssue], *, known: bool) -> list[Reason]:
    """Return why a verdict is red: the issues that explain it if all of it is *known*, or else the
    first of what none explains.
    """
    every = [reason_of(finding, issues) for finding in verdict.findings]
    if known:
        return list(dict.fromkeys(reason for reason in every if reason.known_as))
    return [reason for reason in every if not reason.known_as][:1]


def few_of_each_kind(findings: Iterable[Finding], most: int) -> tuple[Finding, ...]:
    """Return the first *most* findings of each kind: what is alike apart from figures of the one
    case. A known kind, however frequent, leaves the others their place.
    """
    count: Counter[Reason] = Counter()
    kept = []
    for finding in findings:
        kind = reason_of(finding, ())
        count[kind] += 1
        if count[kind] <= most:
            kept.append(finding)
    return tuple(kept)


def reason_of(finding: Finding, issues: Sequence[KnownIssue]) -> Reason:
    """Return what a finding stands for: the issue of *issues* that explains it, or its sentence."""
    if (issue := issue_of(finding, issues)) is not None:
        return Reason(finding.oracle, "", issue.name)
    what = _HELD.sub("holds something", finding.what)
    what = _CONSOLE.sub("", _FILE.sub(r"\1", what))
    sentence = _FIGURES.sub(lambda found: found["line"] or "N", what)
    return Reason(finding.oracle, sentence, facts=tuple(sorted(finding.facts.items())))
