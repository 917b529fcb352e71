"""Slower by more than noise, or not: against published figures, and against noise."""

from __future__ import annotations

import math
import random
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.campaign.history.drift import (
    LEAST_NIGHTS,
    approximate_chance,
    chance_of_larger,
    drift_of,
    median_deviation,
    night_factor,
    robust_score,
    slower_tonight,
    u_statistic,
)

# Of the examples in C. Leys and others, "Detecting outliers: do not use standard deviation around
# the mean, use absolute deviation around the median" (2013): median 7, MAD 1.4826 * 3.5 = 5.1891.
LEYS = (1, 3, 3, 6, 8, 10, 10, 1000)


def test_deviation_and_score_are_the_published_ones() -> None:
    assert median_deviation(LEYS) == 3.5
    assert robust_score(1000, LEYS) == pytest.approx((1000 - 7) / 5.1891, rel=1e-4)


# H. B. Mann and D. R. Whitney (1947), table I: the probability of a U not larger than this.
TABLE_3_3 = (0.050, 0.100, 0.200, 0.350, 0.500, 0.650)
TABLE_4_4 = (0.014, 0.029, 0.057, 0.100, 0.171, 0.243, 0.343, 0.443, 0.557)


@pytest.mark.parametrize(("size", "table"), [(3, TABLE_3_3), (4, TABLE_4_4)])
def test_exact_chances_are_those_of_the_published_table(
    size: int, table: tuple[float, ...]
) -> None:
    chances = {}
    for ranks in combinations(range(2 * size), size):
        others = [rank for rank in range(2 * size) if rank not in ranks]
        # By symmetry U of the others is as small as U of these is large.
        chances[u_statistic(others, ranks)] = chance_of_larger(ranks, others)
    assert [chances[u] for u in range(len(table))] == pytest.approx(table, abs=6e-4)


# The largest U that is significant at 5 %, two-sided, as any book of tables has it.
CRITICAL = {(4, 4): 0, (5, 5): 2, (8, 8): 13, (10, 10): 23, (5, 20): 20, (20, 20): 127}


@pytest.mark.parametrize(("sizes", "u"), CRITICAL.items(), ids=str)
def test_critical_values_are_those_of_the_tables(sizes: tuple[int, int], u: int) -> None:
    assert chance_of_larger(*samples_of(sizes, u)) <= 0.025
    assert chance_of_larger(*samples_of(sizes, u + 1)) > 0.025


def samples_of(sizes: tuple[int, int], smaller: int) -> tuple[list[float], list[float]]:
    """Return two samples without ties of which the second is the larger in so many pairs."""
    first, second = sizes
    values = [float(number) for number in range(second)]
    whole, rest = divmod(smaller, second)
    above = [second + number / (2 * first) for number in range(first - whole)]
    below = [-1 - number / (2 * first) for number in range(whole)]
    if rest:
        above[0] = second - rest - 0.5
    assert u_statistic(values, [*above, *below]) == smaller
    return [*above, *below], values


def test_example_of_an_exact_test() -> None:
    """Ages at diagnosis, from the documentation of SciPy's mannwhitneyu: U = 17, p = 0.111."""
    males, females = (19, 22, 16, 29, 24), (20, 11, 17, 12)
    assert u_statistic(males, females) == 17
    assert 2 * chance_of_larger(males, females) == pytest.approx(1 / 9)


def test_example_of_the_approximation() -> None:
    """The same, by the normal approximation with continuity: p = 0.11134688653314041 there."""
    males, females = (19, 22, 16, 29, 24), (20, 11, 17, 12)
    assert 2 * approximate_chance(males, females) == pytest.approx(0.11134688653314041, rel=1e-9)


def test_ties_are_left_to_the_approximation() -> None:
    tied = chance_of_larger([1, 2, 3, 4, 5, 6, 7, 8, 9, 9.5], [0.5, 1.5, 2.5, 3.5, 4.5, 9.5])
    untied = chance_of_larger([1, 2, 3, 4, 5, 6, 7, 8, 9, 9.6], [0.5, 1.5, 2.5, 3.5, 4.5, 9.5])
    assert tied == pytest.approx(untied, abs=0.02)
    assert chance_of_larger([1, 1], [1, 1, 1]) == 0.5


@given(st.lists(st.integers(0, 10**6), min_size=2, max_size=16, unique=True), st.data())
def test_chances_of_either_being_larger_are_one_and_that_of_being_so(
    values: list[int], data: st.DataObject
) -> None:
    cut = data.draw(st.integers(1, len(values) - 1))
    first, second = values[:cut], values[cut:]
    orders = list(combinations(sorted(values), cut))
    u = u_statistic(first, second)
    as_large = sum(u_statistic(each, sorted({*values} - {*each})) >= u for each in orders[:3000])
    if len(orders) <= 3000:
        assert chance_of_larger(first, second) == pytest.approx(as_large / len(orders))


# Tonight


def usual(seed: int, nights: int = 20, spread: float = 0.05) -> list[float]:
    chance = random.Random(seed)
    return [10 * chance.lognormvariate(0, spread) for _ in range(nights)]


def test_noise_is_hardly_ever_called_slower() -> None:
    called = [
        slower_tonight(*_tonight_and_before(seed, spread))
        for spread in (0.02, 0.05, 0.1, 0.2)
        for seed in range(500)
    ]
    assert sum(each is not None for each in called) <= 2


def _tonight_and_before(seed: int, spread: float) -> tuple[float, list[float]]:
    nights = usual(seed, 21, spread)
    return nights[-1], nights[:-1]


def test_twice_as_slow_is_called_slower_with_how_much() -> None:
    found = slower_tonight(20.0, usual(1))
    assert found is not None
    assert found.ratio == pytest.approx(2, rel=0.05)
    assert (found.pace_s, found.nights) == (20.0, 20)


def test_too_few_nights_and_trifles_are_not_called_slower() -> None:
    assert slower_tonight(40.0, usual(1)[: LEAST_NIGHTS - 1]) is None
    assert slower_tonight(40.0, usual(1)[:LEAST_NIGHTS]) is not None
    assert slower_tonight(11.5, [10.0] * 20) is None, "15 % is a trifle, however steady it was"
    assert slower_tonight(13.0, [10.0] * 20) is not None
    assert slower_tonight(13.0, usual(1, spread=0.3)) is None


def test_one_night_that_was_far_off_hides_nothing() -> None:
    assert slower_tonight(20.0, [*usual(1), 500.0, 900.0]) is not None


def test_a_busy_machine_makes_no_case_slow() -> None:
    cases = [usual(seed) for seed in range(9)]
    tonight = [1.7 * before[-1] for before in cases]
    tonight[4] *= 3
    load = night_factor(list(zip(tonight, cases, strict=True)))
    assert load == pytest.approx(1.7, rel=0.1)
    slow = [slower_tonight(pace, before, load) for pace, before in zip(tonight, cases, strict=True)]
    assert [number for number, each in enumerate(slow) if each is not None] == [4]
    assert night_factor([(20.0, [10.0]), (20.0, [10.0])]) == 1.0, "two cases are no machine"


# Drift


def test_drift_of_the_newest_nights_is_found() -> None:
    nights = [*usual(2, 15), *(1.4 * pace for pace in usual(3, 5))]
    drift = drift_of(nights)
    assert drift is not None
    assert drift.is_slower
    assert drift.chance == 1 / math.comb(20, 5), "each of the newest is slower than all before"
    assert drift.ratio == pytest.approx(1.4, rel=0.06)
    assert drift.nights == (5, 15)


def test_noise_is_no_drift() -> None:
    found = [drift_of(usual(seed, 20, spread)) for seed in range(250) for spread in (0.05, 0.2)]
    assert not any(drift.is_slower for drift in found if drift is not None)
    steady = drift_of([*[10.0] * 15, *[10.3] * 5])
    assert steady is not None
    assert steady.chance < 0.001
    assert not steady.is_slower, "3 % is a trifle, however certain"


def test_too_few_nights_are_no_drift() -> None:
    assert drift_of(usual(1, 12)) is None, "5 of 12 cannot be told at 0.1 %: 1 in 792"
    assert drift_of(usual(1, 13)) is not None
    assert drift_of([]) is None
