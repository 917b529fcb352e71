"""Trends: a letter a night, and the figures of all of them."""

from __future__ import annotations

from dataclasses import replace

from harness.campaign.history.trends import trends_of, usual_paces
from harness.verdict.verdict import Outcome
from testcases.unit.made_nights import EXPLORED, KERNEL, STORY, UPGRADED, cell, night, row_of

RUNS = [night(number) for number in range(8)]


def test_a_night_is_a_letter_and_a_night_without_the_case_is_told() -> None:
    (trend,) = trends_of(RUNS, row_of("..kX! .k"))
    assert trend.outcomes == "..kX!-.k"
    assert (trend.rate.red, trend.rate.judged, trend.known) == (3, 6, 2)
    assert trend.flaky
    (not_run,) = trends_of(RUNS[:1], [cell(0, Outcome.NOT_RUN)])
    assert (not_run.outcomes, not_run.rate.judged, not_run.flaky) == ("-", 0, False)


def test_kernels_of_one_name_are_one_line_and_the_worst_of_a_night_shows() -> None:
    cells = [cell(0), cell(1), cell(1, Outcome.DIFFERS, kernel=UPGRADED)]
    (trend,) = trends_of(RUNS[:2], cells)
    assert (trend.outcomes, trend.kernel, trend.flaky) == (".X", KERNEL.name, False)


def test_usual_pace_is_the_median_of_nights() -> None:
    cells = [cell(n, pace_s=pace) for n, pace in enumerate((1.0, 9.0, 2.0, None))]
    cells += [replace(cell(0, pace_s=None), case=EXPLORED)]
    assert usual_paces(cells) == {(STORY, "6.1"): 2.0}
    assert [trend.pace_s for trend in trends_of(RUNS, cells)] == [None, 2.0]
