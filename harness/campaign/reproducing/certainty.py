"""How often something must be green before it is good, for a red that does not show each time.

One red for the reason is enough for bad. For good, a kernel that has the bug must have had a chance
of less than 1 - confidence to be green so often. How often the bug shows is known from the runs of
the bundle alone: red in r of m gives Jeffreys' distribution, Beta(r + 1/2, m - r + 1/2), over which
the chance of n greens is averaged: B(r + 1/2, m - r + 1/2 + n) / B(r + 1/2, m - r + 1/2).
"""

from __future__ import annotations

import math

from harness.campaign.reproducing.bundle import Runs

CONFIDENCE = 0.99
MOST_RUNS = 200


def chance_of_greens(runs: Runs, greens: int) -> float:
    """Return the chance that what is red as often as *runs* say is green so often in a row."""
    a, b = runs.red + 0.5, runs.made - runs.red + 0.5
    return math.exp(_log_beta(a, b + greens) - _log_beta(a, b))


def greens_wanted(runs: Runs, confidence: float) -> int:
    """Return how many greens in a row make good certain to a *confidence* below 1."""
    low, high = 0, 1
    while chance_of_greens(runs, high) > 1 - confidence:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        if chance_of_greens(runs, middle) > 1 - confidence:
            low = middle
        else:
            high = middle
    return high


def _log_beta(a: float, b: float) -> float:
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)
