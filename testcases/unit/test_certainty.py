"""How many greens make a kernel good: counted against what simple cases must come to."""

from __future__ import annotations

import pytest

from harness.campaign.reproducing.bundle import Runs
from harness.campaign.reproducing.certainty import chance_of_greens, greens_wanted


def test_without_any_green_nothing_is_excluded() -> None:
    assert chance_of_greens(Runs(1, 1), 0) == pytest.approx(1.0)


def test_one_green_is_as_likely_as_the_mean_says() -> None:
    # The mean of Beta(r + 1/2, m - r + 1/2) is (r + 1/2) / (m + 1), by the textbook.
    assert chance_of_greens(Runs(3, 1), 1) == pytest.approx(1 - 1.5 / 4)
    assert chance_of_greens(Runs(9, 9), 1) == pytest.approx(1 - 9.5 / 10)


def test_with_many_runs_it_becomes_the_power_of_the_rate() -> None:
    assert chance_of_greens(Runs(200_000, 50_000), 16) == pytest.approx(0.75**16, rel=1e-2)
    # log(0.01) / log(0.75) is 16.008: by the textbook 17 greens are wanted.
    assert greens_wanted(Runs(2_000_000, 500_000), 0.99) == 17


@pytest.mark.parametrize("runs", [Runs(1, 1), Runs(3, 3), Runs(10, 2), Runs(0, 0), Runs(50, 1)])
def test_the_number_is_the_least_that_does(runs: Runs) -> None:
    wanted = greens_wanted(runs, 0.99)
    assert chance_of_greens(runs, wanted) <= 0.01 < chance_of_greens(runs, wanted - 1)


def test_what_is_always_red_takes_fewer_runs_than_what_is_seldom() -> None:
    assert greens_wanted(Runs(20, 20), 0.99) < greens_wanted(Runs(20, 5), 0.99)
