"""What the history says of more than one night, as text: trends, and what is new."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from harness.campaign.history.drift import Drift
from harness.campaign.history.rates import CONFIDENCE, Rate
from harness.campaign.history.records import Case, KernelSeen, Run
from harness.campaign.history.trends import LEGEND, Trend
from harness.campaign.history.whats_new import (
    Change,
    Comparison,
    IssueSeen,
    NewlyFlaky,
    SlowerCase,
)
from tools.history_report import case_names, shape_lines, table_lines

TREND_HEAD = ("case", "kernel", "nights", "red", "rate", "between", "pace", "drift", "")
_WIDTH = 12
_LOAD_TOLD = 0.1
_MOST_OF_A_KIND = 40


def trend_lines(trends: Sequence[Trend], *, width: int | None) -> Iterator[str]:
    """Tell trends, a line each, and how to read them."""
    names = case_names(trend.case for trend in trends)
    rows = [
        [
            names[trend.case], trend.kernel, trend.outcomes,
            f"{trend.rate.red}/{trend.rate.judged}", f"{trend.rate.share:.1%}",
            _interval(trend.rate), pace_text(trend.pace_s), _drift(trend.drift),
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


def _interval(rate: Rate) -> str:
    return f"{rate.low:.1%} .. {rate.high:.1%}"


def _drift(drift: Drift | None) -> str:
    if drift is None:
        return "-"
    ratio = _ratio(drift.ratio)
    return f"SLOWER {ratio}, p {drift.chance:.1g}" if drift.is_slower else ratio


def _ratio(ratio: float) -> str:
    return f"{ratio:.2f}x"


def pace_text(pace_s: float | None) -> str:
    """Say a pace in seconds or milliseconds."""
    if pace_s is None:
        return "-"
    return f"{pace_s:.1f} s" if pace_s >= 1 else f"{1000 * pace_s:.0f} ms"


def comparison_lines(comparison: Comparison) -> Iterator[str]:
    """Tell what is new, the worst first; what there is nothing of is left out."""
    c = comparison
    runs = f"{_named(c.now)} with {_named(c.before)}"
    baseline = f", and with the baseline {_named(c.baseline)}" if c.baseline is not None else ""
    yield f"{'compared':<{_WIDTH}}{runs}{baseline}"
    yield from _section("NEW RED", map(_red_lines, c.new_red))
    yield from _section("FIXED", map(_turned_lines, c.fixed))
    yield from _section("EXPLAINED", map(_turned_lines, c.explained))
    yield from _section("FLAKY NOW", (_flaky_lines(each, c.nights + 1) for each in c.newly_flaky))
    yield from _section("SLOWER", map(_slower_lines, c.slower))
    yield from _section("ISSUE GONE", (_gone_lines(i) for i in c.known_gone if i.is_gone))
    yield from _section("NOT SEEN", (_gone_lines(i) for i in c.known_gone if not i.is_gone))
    yield from _section("ISSUE NEW", map(_met_first_lines, c.known_new))
    yield from _section("NO VERDICT", map(_turned_lines, c.lost))
    yield from _section("NOT RUN", map(_turned_lines, c.not_run_any_more))
    if abs(c.load - 1) >= _LOAD_TOLD:
        yield f"{'load':<{_WIDTH}}all of it took {_ratio(c.load)} the usual time"
    states = ", ".join(f"{each.kernel}: {each.now} (was {each.before})" for each in c.states)
    total = sum(each.now for each in c.states)
    yield f"{'states':<{_WIDTH}}{total} covered" + (f"; {states}" if states else "")
    yield f"{'verdict':<{_WIDTH}}{_sum_up(c)}"


def _named(run: Run) -> str:
    return f"{run.name} ({run.number})"


def _section(head: str, entries: Iterable[Sequence[str]]) -> Iterator[str]:
    every = list(entries)
    for lines in every[:_MOST_OF_A_KIND]:
        for number, line in enumerate(lines):
            yield f"{head if number == 0 else '':<{_WIDTH}}{line}"
    if len(every) > _MOST_OF_A_KIND:
        yield f"{head:<{_WIDTH}}and {len(every) - _MOST_OF_A_KIND} more"


def _place_lines(case: Case, kernel: KernelSeen, said: str) -> list[str]:
    shape = [f"    {case.shape}"] if case.shape else []
    return [f"{case} on {kernel.name}: {said}", *shape]


def _red_lines(change: Change) -> list[str]:
    if not change.since_before:
        since = "since the baseline"
    elif change.before is None:
        since = "never judged before"
    elif change.before is change.now:
        since = "red before, by other findings"
    else:
        since = f"was {change.before.value}"
    said = f"{since}{', flaky' if change.flaky else ''}; kernel {change.kernel.version}"
    return [*_place_lines(change.case, change.kernel, said), *_signatures(change)]


def _turned_lines(change: Change) -> list[str]:
    now = change.now.value if change.now is not None else "not tried"
    since = "" if change.since_before else " since the baseline"
    was = change.before if change.since_before else change.in_baseline
    said = f"{now}{since}, was {was.value if was is not None else 'never judged'}"
    flaky = ", flaky" if change.flaky else ""
    return [*_place_lines(change.case, change.kernel, f"{said}{flaky}"), *_signatures(change)]


def _signatures(change: Change) -> list[str]:
    return [f"    {signature}" for signature in change.findings]


def _flaky_lines(flaky: NewlyFlaky, nights: int) -> list[str]:
    rate = flaky.rate
    said = f"{rate.red} of {rate.judged} units red in {nights} nights: {_interval(rate)}"
    return _place_lines(flaky.case, flaky.kernel, said)


def _slower_lines(case: SlowerCase) -> list[str]:
    slower = case.slower
    said = f"{pace_text(slower.pace_s)}, usually {pace_text(slower.usual_s)}"
    return [
        *_place_lines(case.case, case.kernel, said),
        f"    {_ratio(slower.ratio)}, {slower.score:.0f} deviations of {slower.nights} nights",
    ]


def _gone_lines(issue: IssueSeen) -> list[str]:
    seen, ran = issue.nights
    missed = f"that it was missed: {issue.chance:.1%}"
    return [f"{issue.name} on {issue.kernel}: was on {seen} of {ran} nights; {missed}"]


def _met_first_lines(issue: IssueSeen) -> list[str]:
    ran = issue.nights[1]
    nights = f"on none of {ran} nights before" if ran else "its cases never ran before"
    return [f"{issue.name} on {issue.kernel}: {nights}"]


def _sum_up(c: Comparison) -> str:
    new = sum(change.since_before for change in c.new_red)
    old = len(c.new_red) - new
    since = f"; {old} red since the baseline" if old else ""
    return f"{new} new red{since}" if new else f"nothing new is red{since}"
