"""Whether a case became slower by more than noise: pure statistics of its pace, night by night.

The pace of a night is one figure (`Cell.pace_s`): the units of one night share its machine, its
load and its kernel, so many of them say no more of what is usual than one. What is noise is the
spread from night to night. Nights are skewed and now and then far off, so nothing here supposes a
normal distribution of them, and all is done with logarithms: slower is a ratio.

Two questions, two tests:

- *Tonight* against the nights before, a single figure against a few: its distance from their median
  in units of their median absolute deviation (B. Iglewicz and D. Hoaglin, "How to detect and handle
  outliers", 1993). A rank test cannot answer: the slowest of n + 1 has rank n + 1 by chance once in
  n + 1 nights.
- *Drift*: the newest nights against those before them, which finds what no single night shows: the
  rank sum test of Mann and Whitney ("On a test of whether one of two random variables is
  stochastically larger than the other", 1947), with its exact distribution where there are no ties.

Both also want a ratio that a person would act on. A night on which all cases are slow, since the
machine was busy, makes none of them slow: see `night_factor`.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist, median

LEAST_RATIO = 1.2  # a person would look into nothing less
LEAST_NIGHTS = 8  # before tonight; of fewer the deviation says little
# Iglewicz and Hoaglin take 3.5 for one series. A night looks at hundreds: see docs/history.md.
LEAST_SCORE = 6.0
# A spread below this is luck, or a figure that is rounded: 2 % is the least that nights vary.
_LEAST_DEVIATION = 0.02
NEWEST_NIGHTS = 5  # that are held against those before them
MOST_CHANCE = 0.001  # of noise alone to have done it
_EXACT_UP_TO = 60  # nights in all; beyond, the normal approximation is as good
_TO_SIGMA = NormalDist().inv_cdf(0.75)  # the deviation of a normal distribution, in its sigmas


@dataclass(frozen=True, slots=True)
class Slower:
    """Tonight's pace against what was usual."""

    pace_s: float
    usual_s: float  # median of the nights before, tonight's load taken into account
    ratio: float
    score: float  # distance in deviations of the nights before, as sigmas
    nights: int  # before


@dataclass(frozen=True, slots=True)
class Drift:
    """The newest nights' pace against that of those before them."""

    newest_s: float  # medians
    before_s: float
    ratio: float  # the median of all ratios between one of the newest and one before
    chance: float  # that noise alone brings something as far apart or further
    nights: tuple[int, int]  # newest, before

    @property
    def is_slower(self) -> bool:
        """Whether it is more than noise, and more than a trifle."""
        return self.chance <= MOST_CHANCE and self.ratio >= LEAST_RATIO


def slower_tonight(tonight_s: float, before_s: Sequence[float], load: float = 1.0) -> Slower | None:
    """Return how much slower a night is than those before it, unless that may be noise.

    *load* is by how much all cases of the night were slower (`night_factor`).
    """
    if len(before_s) < LEAST_NIGHTS or tonight_s <= 0 or min(before_s) <= 0:
        return None
    usual_s = median(before_s) * load
    ratio = tonight_s / usual_s
    score = robust_score(math.log(tonight_s / load), [math.log(pace_s) for pace_s in before_s])
    if ratio < LEAST_RATIO or score < LEAST_SCORE:
        return None
    return Slower(tonight_s, usual_s, ratio, score, len(before_s))


def night_factor(paces: Sequence[tuple[float, Sequence[float]]]) -> float:
    """Return by how much all cases of a night were slower than usual: the median of their ratios.

    *paces* are tonight's and the nights' before, case by case. Of fewer than three cases it is 1:
    it could not be told from what one of them does.
    """
    ratios = [
        tonight / median(before) for tonight, before in paces if before and median(before) > 0
    ]
    return median(ratios) if len(ratios) >= 3 and median(ratios) > 0 else 1.0


def robust_score(value: float, reference: Sequence[float]) -> float:
    """Return how far a value is from a median, in median absolute deviations made to be sigmas."""
    middle = median(reference)
    deviation = median_deviation(reference) / _TO_SIGMA
    return (value - middle) / max(deviation, _LEAST_DEVIATION)


def median_deviation(values: Sequence[float]) -> float:
    """Return the median of the distances from the median."""
    middle = median(values)
    return median(abs(value - middle) for value in values)


def drift_of(paces_s: Sequence[float], newest: int = NEWEST_NIGHTS) -> Drift | None:
    """Return what nights' paces, in order, have come to; None where there are too few of them.

    There are enough when the newest could be told from those before them at all.
    """
    now, before = paces_s[-newest:], paces_s[:-newest]
    if not before or 1 / math.comb(len(paces_s), len(now)) > MOST_CHANCE or min(paces_s) <= 0:
        return None
    ratio = median(a / b for a in now for b in before)
    chance = chance_of_larger(now, before)
    return Drift(median(now), median(before), ratio, chance, (len(now), len(before)))


def chance_of_larger(first: Sequence[float], second: Sequence[float]) -> float:
    """Return the one-sided p-value of Mann and Whitney's test, for *first* being the larger.

    Exact where no two values are equal and there are not too many; else by the normal
    approximation, corrected for ties and continuity.
    """
    if not first or not second:
        raise ValueError("a sample is empty")
    together = [*first, *second]
    if len(set(together)) == len(together) <= _EXACT_UP_TO:
        counts = _u_counts(len(first), len(second))
        statistic = round(u_statistic(first, second))
        return sum(counts[statistic:]) / math.comb(len(together), len(first))
    return approximate_chance(first, second)


def approximate_chance(first: Sequence[float], second: Sequence[float]) -> float:
    """Return what `chance_of_larger` does, by the normal approximation."""
    product, total = len(first) * len(second), len(first) + len(second)
    ties = sum(n**3 - n for n in Counter([*first, *second]).values())
    variance = product / 12 * (total + 1 - ties / (total * (total - 1)))
    if variance <= 0:
        return 0.5  # all are equal
    above = u_statistic(first, second) - product / 2 - 0.5
    return 1 - NormalDist().cdf(above / math.sqrt(variance))


def u_statistic(first: Sequence[float], second: Sequence[float]) -> float:
    """Return in how many pairs the value of *first* is the larger one; equal ones count half."""
    return sum((a > b) + (a == b) / 2 for a in first for b in second)


@lru_cache(maxsize=256)
def _u_counts(first: int, second: int) -> tuple[int, ...]:
    """Return in how many orders of two samples of these sizes U is 0, 1, 2 and so on.

    The largest value is of the first sample and larger than all of the second, or of the second:
    f(m, n, U) = f(m - 1, n, U - n) + f(m, n - 1, U), the recurrence of Mann and Whitney.
    """
    if first == 0 or second == 0:
        return (1,)
    counts = [0] * (first * second + 1)
    for u, count in enumerate(_u_counts(first - 1, second)):
        counts[u + second] += count
    for u, count in enumerate(_u_counts(first, second - 1)):
        counts[u] += count
    return tuple(counts)
