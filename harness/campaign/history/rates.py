"""How often a case is red, and whether it is flaky: pure statistics of cells.

The interval is Wilson's score interval (E. B. Wilson, "Probable inference, the law of succession,
and statistical inference", 1927). Brown, Cai and DasGupta ("Interval estimation for a binomial
proportion", 2001) recommend it or Jeffreys' for few tries, where the textbook's p +- z s is wrong
most: 0 of 20 would be 0 % for certain. Unlike Jeffreys' it needs no inverse of a Beta distribution.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from statistics import NormalDist

from harness.campaign.history.records import JUDGED, RED, Cell
from harness.verdict.verdict import Outcome

CONFIDENCE = 0.95
FLAKY_CHANGES = 1
"""A case is *flaky* on a kernel when it turned from green to red or back at least so often between
one night and the next that judged it on the very same kernel (by its identity, not its name).

With 1: it was red on some nights and green on others. A night is red when any unit of the case was,
known or not, since a known issue that comes and goes is flaky as well. What a new seed of each
night finds only sometimes is flaky in this sense; an upgrade of the kernel alone makes nothing so.
"""


@dataclass(frozen=True, slots=True)
class Rate:
    """How many of the judged units were red, and the interval that holds the true rate."""

    red: int
    judged: int
    low: float
    high: float

    @property
    def share(self) -> float:
        """The rate that was seen, 0 to 1; 0 where nothing was judged."""
        return self.red / self.judged if self.judged else 0.0


def rate_of(cells: Sequence[Cell]) -> Rate:
    """Return how often the units of cells are red, of those that have a verdict."""
    red, judged = sum(cell.red for cell in cells), sum(cell.judged for cell in cells)
    return Rate(red, judged, *wilson(red, judged))


def wilson(hits: int, tries: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Return the two-sided score interval of a rate, in 0 to 1; of no tries it is all of that."""
    if not 0 <= hits <= tries:
        raise ValueError(f"{hits} hits of {tries} tries")
    if tries == 0:
        return 0.0, 1.0
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    share, weight = hits / tries, z * z / tries
    middle = (share + weight / 2) / (1 + weight)
    half = z * math.sqrt(share * (1 - share) / tries + weight / (4 * tries)) / (1 + weight)
    # Where nothing or everything was hit the bound is exact, and rounding must not cross it.
    low = 0.0 if hits == 0 else max(0.0, middle - half)
    high = 1.0 if hits == tries else min(1.0, middle + half)
    return low, high


def chance_of_green(red: int, nights: int) -> float:
    """Return the chance that what was red on so many of so many nights is green on the next one.

    The mean of Jeffreys' distribution, as in `reproducing.certainty`: (green + 1/2) / (nights + 1).
    """
    return (nights - red + 0.5) / (nights + 1)


def changes(outcomes: Sequence[Outcome]) -> int:
    """Return how often a case turned red or green, night by night; nights that judged nothing do
    not count.
    """
    reds = [outcome in RED for outcome in outcomes if outcome in JUDGED]
    return sum(one != next_one for one, next_one in pairwise(reds))


def is_flaky(cells: Sequence[Cell]) -> bool:
    """Whether a case is flaky on any of the kernels that its cells, in order of run, are of."""
    by_kernel = sorted(cells, key=lambda cell: cell.kernel.identity)  # keeps the order of runs
    return any(
        changes([cell.outcome for cell in of_one]) >= FLAKY_CHANGES
        for _, of_one in groupby(by_kernel, key=lambda cell: cell.kernel.identity)
    )
