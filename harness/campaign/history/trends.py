"""How each case went on each kernel over the last nights: pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from harness.campaign.history.drift import Drift, drift_of
from harness.campaign.history.rates import Rate, is_flaky, rate_of
from harness.campaign.history.records import (
    JUDGED,
    WORST_JUDGED,
    Case,
    Cell,
    Place,
    Run,
    place_of,
)
from harness.verdict.verdict import Outcome

LETTERS = {
    Outcome.AGREES: ".", Outcome.KNOWN: "k", Outcome.DIFFERS: "X", Outcome.HARNESS_FAILED: "!",
    Outcome.NOT_RUN: "-",
}  # fmt: skip
NOT_THERE = "-"
LEGEND = ". agrees  k known  X differs  ! no verdict  - not run"


@dataclass(frozen=True, slots=True, kw_only=True)
class Trend:
    """A case on the kernels of one name."""

    case: Case
    kernel: str  # the name it is asked for by
    outcomes: str  # a letter a night, oldest first: LETTERS
    rate: Rate  # of units that are red, known or not
    known: int  # of the red ones
    flaky: bool  # rates.FLAKY_CHANGES
    pace_s: float | None  # of the newest night that has one
    drift: Drift | None  # None: too few nights to tell
    states: int


def trends_of(runs: Sequence[Run], cells: Sequence[Cell]) -> list[Trend]:
    """Return the trend of each case on each kernel that *cells* of *runs*, in order, are of."""
    by_place: dict[Place, list[Cell]] = defaultdict(list)
    for cell in cells:
        by_place[place_of(cell)].append(cell)
    return [_trend(place, runs, by_place[place]) for place in sorted(by_place)]


def usual_paces(cells: Sequence[Cell]) -> dict[Place, float]:
    """Return the median pace of each case on each kernel, in seconds: of one of its states, or of
    the whole where it has none. What a plan takes is estimated from it.
    """
    paces: dict[Place, list[float]] = defaultdict(list)
    for cell in cells:
        if cell.pace_s is not None:
            paces[place_of(cell)].append(cell.pace_s)
    return {place: median(every) for place, every in paces.items()}


def _trend(place: Place, runs: Sequence[Run], cells: Sequence[Cell]) -> Trend:
    paces = [cell.pace_s for cell in cells if cell.pace_s is not None and cell.outcome in JUDGED]
    return Trend(
        case=place[0], kernel=place[1], outcomes=_letters(runs, cells), rate=rate_of(cells),
        known=sum(cell.counts.get(Outcome.KNOWN, 0) for cell in cells), flaky=is_flaky(cells),
        pace_s=paces[-1] if paces else None, drift=drift_of(paces),
        states=sum(cell.states for cell in cells),
    )  # fmt: skip


def _letters(runs: Sequence[Run], cells: Sequence[Cell]) -> str:
    of_run: dict[int, Outcome] = {}
    for cell in cells:
        there = of_run.get(cell.run, cell.outcome)
        of_run[cell.run] = min(there, cell.outcome, key=WORST_JUDGED.index)
    return "".join(
        LETTERS[of_run[run.number]] if run.number in of_run else NOT_THERE for run in runs
    )
