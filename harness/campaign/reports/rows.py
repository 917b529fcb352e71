"""The cases of a run as compact rows, for a page that has to carry many of them.

What is green is grouped by name. Of what is red, sentences that differ in figures alone are kept
once, with a ``\\x1f`` for each figure, and each row has its figures.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from harness.campaign.reports.model import Case, RunReport, clean, one_line
from harness.verdict.verdict import Finding, Outcome

_FIGURE = re.compile(r"(?<![\w.])\d{1,15}(?![\w.])")
_NUMBERED = re.compile(r"(.*?)(\d+)")
_GAP = "\x1f"
_MOST_FINDINGS, _MOST_DETAILS = 4, 3  # of a row


class _Table:
    """Texts, each once."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self._places: dict[str, int] = {}

    def place(self, text: str) -> int:
        """Return where a text is."""
        if text not in self._places:
            self._places[text] = len(self.texts)
            self.texts.append(text)
        return self._places[text]

    def pattern(self, text: str) -> list[int]:
        """Return where a text without its figures is, and the figures."""
        text = clean(text).replace(_GAP, " ")
        figures = _FIGURE.findall(text)
        if any(str(int(figure)) != figure for figure in figures):  # 007 would come back as 7
            return [self.place(text)]
        return [self.place(_FIGURE.sub(_GAP, text)), *map(int, figures)]


def document_of(report: RunReport) -> dict[str, Any]:
    """Return what the page's program needs, as JSON values.

    ``rows``, the worst first, are lists of: name, group, kernel, outcome, what it stands for,
    findings, evidence, command to repeat it, reason. Names and texts are patterns, see `_Table`; a
    finding is a list of its oracle, its sentence and its details.
    """
    table = _Table()
    groups, kernels, oracles = _Table(), _Table(), _Table()
    outcomes = [outcome.value for outcome in Outcome]
    rows: list[list[Any]] = []
    for case in sorted(shown_cases(report.cases), key=lambda case: case.rank):
        findings = [
            [oracles.place(one_line(f.oracle)), table.pattern(f.what),
             *(table.pattern(line) for line in f.details[:_MOST_DETAILS])]
            for f in case.verdict.findings[:_MOST_FINDINGS]
        ]  # fmt: skip
        more = len(case.verdict.findings) - _MOST_FINDINGS
        reason = clean(case.verdict.reason)
        if more > 0:
            reason += f" (and {more} more finding{'s' if more > 1 else ''})"
        rows.append([
            table.pattern(case.name), groups.place(one_line(case.group)),
            kernels.place(one_line(case.kernel)), outcomes.index(case.verdict.outcome.value),
            case.stands_for, findings,
            0 if case.evidence is None else table.pattern(str(case.evidence)),
            table.pattern(case.repeat) if case.is_red else 0,
            0 if _says_the_same(case.verdict.findings, reason) else table.pattern(reason),
        ])  # fmt: skip
    return {
        "texts": table.texts, "groups": groups.texts, "kernels": kernels.texts,
        "oracles": oracles.texts, "outcomes": outcomes, "rows": rows,
    }  # fmt: skip


def shown_cases(cases: Sequence[Case]) -> Iterator[Case]:
    """Yield the cases, those that are green and numbered as one for each group and kernel."""
    green: dict[tuple[str, str], list[Case]] = {}
    for case in cases:
        if case.verdict.outcome is Outcome.AGREES and _NUMBERED.fullmatch(case.name):
            green.setdefault((case.group, case.kernel), []).append(case)
        else:
            yield case
    for (group, kernel), mine in green.items():
        yield Case(
            name=", ".join(ranges(case.name for case in mine)), group=group, kernel=kernel,
            verdict=mine[0].verdict, stands_for=sum(case.stands_for for case in mine),
        )  # fmt: skip


def ranges(names: Iterable[str]) -> list[str]:
    """Return names as few words: ``state 3``, ``state 4``, ``state 5`` are ``state 3-5``."""
    found: list[tuple[str, int, int]] = []
    others: list[str] = []
    for name in names:
        if (parts := _NUMBERED.fullmatch(name)) is None:
            others.append(name)
            continue
        stem, number = parts[1], int(parts[2])
        if found and (found[-1][0], found[-1][2] + 1) == (stem, number):
            found[-1] = (stem, found[-1][1], number)
        else:
            found.append((stem, number, number))
    words, before = [], None
    for stem, first, last in found:
        text = str(first) if first == last else f"{first}\u2013{last}"
        words.append(text if stem == before else f"{stem}{text}")
        before = stem
    return [*words, *others]


def _says_the_same(findings: Sequence[Finding], reason: str) -> bool:
    return bool(findings) and clean(findings[0].what) == reason
