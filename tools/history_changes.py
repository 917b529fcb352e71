"""What the history says of more than one night, as text: trends, and what is new."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from harness.campaign.history.drift import Drift
from harness.campaign.history.rates import CONFIDENCE
from harness.campaign.history.telling import (
    LOAD_TOLD,
    Section,
    case_names,
    compared_text,
    interval_text,
    pace_text,
    ratio_text,
    sections_of,
    shape_lines,
    summary_text,
)
from harness.campaign.history.trends import LEGEND, Trend
from harness.campaign.history.whats_new import Comparison
from tools.history_report import table_lines

TREND_HEAD = ("case", "kernel", "nights", "red", "rate", "between", "pace", "drift", "")
_WIDTH = 12
_MOST_OF_A_KIND = 40


def trend_lines(trends: Sequence[Trend], *, width: int | None) -> Iterator[str]:
    """Tell trends, a line each, and how to read them."""
    names = case_names(trend.case for trend in trends)
    rows = [
        [
            names[trend.case], trend.kernel, trend.outcomes,
            f"{trend.rate.red}/{trend.rate.judged}", f"{trend.rate.share:.1%}",
            interval_text(trend.rate), pace_text(trend.pace_s), _drift(trend.drift),
            "flaky" if trend.flaky else "",
        ]
        for trend in trends
    ]  # fmt: skip
    yield from table_lines(TREND_HEAD, rows, width=width)
    yield from shape_lines(names)
    yield ""
    yield f"nights     oldest first: {LEGEND}"
    yield f"red        units that differ or are known; their true rate at {CONFIDENCE:.0%}"
    yield "pace       of the newest night: a state's seconds, or those of a case without states"


def _drift(drift: Drift | None) -> str:
    if drift is None:
        return "-"
    ratio = ratio_text(drift.ratio)
    return f"SLOWER {ratio}, p {drift.chance:.1g}" if drift.is_slower else ratio


def comparison_lines(comparison: Comparison) -> Iterator[str]:
    """Tell what is new, the worst first; what there is nothing of is left out."""
    c = comparison
    yield f"{'compared':<{_WIDTH}}{compared_text(c)}"
    for section in sections_of(c):
        yield from _section_lines(section)
    if abs(c.load - 1) >= LOAD_TOLD:
        yield f"{'load':<{_WIDTH}}all of it took {ratio_text(c.load)} the usual time"
    states = ", ".join(f"{each.kernel}: {each.now} (was {each.before})" for each in c.states)
    total = sum(each.now for each in c.states)
    yield f"{'states':<{_WIDTH}}{total} covered" + (f"; {states}" if states else "")
    yield f"{'verdict':<{_WIDTH}}{summary_text(c)}"


def _section_lines(section: Section) -> Iterator[str]:
    for told in section.told[:_MOST_OF_A_KIND]:
        below = [told.shape] * bool(told.shape) + [*told.lines, *told.signatures]
        yield f"{section.head:<{_WIDTH}}{told.head}"
        yield from (f"{'':<{_WIDTH}}    {line}" for line in below)
    if len(section.told) > _MOST_OF_A_KIND:
        yield f"{section.head:<{_WIDTH}}and {len(section.told) - _MOST_OF_A_KIND} more"
