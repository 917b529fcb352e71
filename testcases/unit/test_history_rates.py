"""Rates with their intervals against published figures, and what is called flaky."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.campaign.history.rates import Rate, chance_of_green, changes, is_flaky, rate_of, wilson
from harness.campaign.reproducing.bundle import Runs
from harness.campaign.reproducing.certainty import chance_of_greens
from harness.verdict.verdict import Outcome
from testcases.unit.made_nights import KERNEL, UPGRADED, cell, row_of


@pytest.mark.parametrize(
    ("hits", "tries", "low", "high"),
    [
        # R. G. Newcombe, "Two-sided confidence intervals for the single proportion: comparison of
        # seven methods", Statistics in Medicine 17 (1998), table I, method 3.
        pytest.param(81, 263, 0.2553, 0.3662, id="81-of-263"),
        pytest.param(15, 148, 0.0624, 0.1605, id="15-of-148"),
        pytest.param(0, 20, 0.0000, 0.1611, id="0-of-20"),
        pytest.param(1, 29, 0.0061, 0.1718, id="1-of-29"),
    ],
)
def test_interval_is_the_published_one(hits: int, tries: int, low: float, high: float) -> None:
    assert wilson(hits, tries) == pytest.approx((low, high), abs=5e-5)


@given(st.integers(0, 500), st.integers(0, 500), st.sampled_from([0.5, 0.9, 0.95, 0.99]))
def test_interval_is_one_that_holds_the_rate(red: int, green: int, confidence: float) -> None:
    tries = red + green
    low, high = wilson(red, tries, confidence)
    assert 0 <= low < high <= 1
    if tries:
        assert low <= red / tries <= high
    mirrored_low, mirrored_high = wilson(green, tries, confidence)
    assert (1 - mirrored_high, 1 - mirrored_low) == pytest.approx((low, high), abs=1e-12)
    if confidence > 0.5:
        narrower_low, narrower_high = wilson(red, tries, 0.5)
        assert low <= narrower_low < narrower_high <= high


def test_interval_of_more_hits_than_tries_is_refused() -> None:
    with pytest.raises(ValueError, match="3 hits of 2 tries"):
        wilson(3, 2)


def test_rate_counts_units_that_have_a_verdict() -> None:
    cells = [
        cell(1, counts={Outcome.AGREES: 5, Outcome.DIFFERS: 1, Outcome.HARNESS_FAILED: 4}),
        cell(2, counts={Outcome.KNOWN: 2, Outcome.NOT_RUN: 9}),
    ]
    rate = rate_of(cells)
    assert (rate.red, rate.judged, rate.share) == (3, 8, 0.375)
    assert rate_of([]) == Rate(0, 0, 0.0, 1.0)
    assert rate_of([]).share == 0.0


@given(st.integers(0, 60), st.integers(0, 60))
def test_chance_of_a_miss_is_that_of_one_more_green_run_of_a_bundle(red: int, green: int) -> None:
    of_a_bundle = chance_of_greens(Runs(red + green, red), 1)
    assert chance_of_green(red, red + green) == pytest.approx(of_a_bundle)


@pytest.mark.parametrize(
    ("nights", "times"),
    [("....", 0), ("XXXX", 0), ("kXkX", 0), ("..X.", 2), (".k", 1), ("X!!.", 1), (". !. ", 0)],
)
def test_change_is_from_green_to_red_or_back(nights: str, times: int) -> None:
    assert changes([each.outcome for each in row_of(nights)]) == times
    assert is_flaky(row_of(nights)) is (times > 0)


def test_an_upgrade_of_the_kernel_makes_nothing_flaky() -> None:
    old_and_new = [KERNEL] * 3 + [UPGRADED] * 3
    assert not is_flaky(row_of("XXX...", kernels=old_and_new))
    assert is_flaky(row_of("XXX.X.", kernels=old_and_new))
    assert is_flaky(row_of("X..XX.", kernels=[KERNEL, UPGRADED] * 3))


def test_a_kernel_of_two_names_is_one_kernel() -> None:
    named = [KERNEL, type(KERNEL)("newest", KERNEL.release, KERNEL.version, KERNEL.identity)]
    assert is_flaky(row_of(".X", kernels=named))
