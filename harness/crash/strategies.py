"""Which of the legal crash states of a trace are looked at.

A strategy says how many states a cut has and which is the k-th of them. What is asked for is then
spread evenly over all of them, in order of the cuts, so that the same seed gives the same states in
the same order whoever judges them.
"""

from __future__ import annotations

import enum
import itertools
import random
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from harness.crash.content import DiskContent
from harness.crash.states import Ranges, surviving_part, torn_part
from harness.crash.trace import Issue, TraceDisk
from harness.crash.walk import Cut
from harness.errors import BadInput

MOST_SUBSETS_LOG2 = 16  # of a cut, where all are wanted
FEW_SUBSETS_LOG2 = 4  # of a cut, before they are sampled
_TORN_SAMPLES = 2  # of a cut with few open writes, besides all subsets of whole ones

Place = tuple[int, int]  # disk, and the write's place in what is pending of it


class Strategy(enum.Enum):
    """Names of the ways to choose."""

    ALL = "all"  # every subset of whole writes, and each write torn at every logical block
    EPOCHS = "epochs"  # every subset of what no flush covers, sampled where these are many
    RANDOM = "random"  # a seeded choice, write by write, torn ones among them
    WORST = "worst"  # nothing survives that was not durable
    PREFIX = "prefix"  # what was issued up to some write survives, and nothing after it


@dataclass(frozen=True, slots=True)
class ChosenState:
    """One legal state of all disks; *number* is its place in the order."""

    number: int
    cut: Cut
    survives: Mapping[Place, Ranges]  # of the writes that may be lost

    def is_whole(self, place: Place) -> bool:
        """Whether all of an uncertain write survives."""
        return self.survives.get(place) == _whole(self.cut, place)

    def with_whole(self, places: Iterable[Place]) -> ChosenState:
        """Return the state in which all of these writes survives as well."""
        more = {place: _whole(self.cut, place) for place in places}
        return ChosenState(self.number, self.cut, {**self.survives, **more})

    def renumbered(self, number: int) -> ChosenState:
        """Return the same state at another place in the order."""
        return ChosenState(number, self.cut, self.survives)

    def contents(self) -> tuple[DiskContent, ...]:
        """Return what each disk holds."""
        return tuple(
            disk.content({n: ranges for (d, n), ranges in self.survives.items() if d == index})
            for index, disk in enumerate(self.cut.disks)
        )

    @property
    def lost_writes(self) -> int:
        """How many writes are lost whole."""
        return len(uncertain(self.cut)) - len(self.survives)

    @property
    def torn_writes(self) -> int:
        """How many writes are lost in part."""
        return sum(ranges != _whole(self.cut, place) for place, ranges in self.survives.items())


def uncertain(cut: Cut) -> list[Place]:
    """Return the writes that may be lost at a cut, in order of issue."""
    places = [(d, n) for d, disk in enumerate(cut.disks) for n in disk.uncertain]
    return sorted(places, key=lambda place: _issue_sequence(cut, place))


def choose_states(
    cuts: Iterable[Cut],
    counts: list[int],
    strategy: Strategy,
    disks: tuple[TraceDisk, ...],
    *,
    states: int,
    seed: int,
    subsets_log2: int = FEW_SUBSETS_LOG2,
) -> Iterator[ChosenState]:
    """Yield up to *states* states, spread evenly over all that the strategy has.

    Args:
        cuts: in order, as many as *counts* has.
        counts: what `count_states` says of each.
        strategy: chooses.
        disks: of the trace.
        states: how many are wanted.
        seed: decides where the strategy samples.
        subsets_log2: as for `count_states`.
    """
    total = sum(counts)
    wanted = range(total) if total <= states else (k * total // states for k in range(states))
    numbers = iter(enumerate(wanted))
    number, index = next(numbers, (0, -1))
    first = 0
    for cut, count in zip(cuts, counts, strict=True):
        while first <= index < first + count:
            draw = random.Random(f"{seed} {cut.sequence} {index - first}")
            survives = _survivors(cut, index - first, strategy, disks, draw, subsets_log2)
            yield ChosenState(number, cut, survives)
            number, index = next(numbers, (0, -1))
        first += count


def count_states(
    cut: Cut,
    strategy: Strategy,
    disks: tuple[TraceDisk, ...],
    subsets_log2: int = FEW_SUBSETS_LOG2,
) -> int:
    """Return how many states a strategy has for a cut.

    Args:
        cut: in question.
        strategy: chooses.
        disks: of the trace.
        subsets_log2: where more than so many writes are open, 2 to that power are sampled.

    Raises:
        BadInput: all are wanted, and they are too many.
    """
    open_writes = len(uncertain(cut))
    match strategy:
        case Strategy.WORST:
            return 1
        case Strategy.PREFIX:
            return open_writes + 1
        case Strategy.ALL:
            if open_writes > MOST_SUBSETS_LOG2:
                raise BadInput(
                    f"--strategy all: {open_writes} writes are open at event {cut.sequence}, which"
                    f" has 2^{open_writes} states; shorten the workload, or take epochs"
                )
            tears = sum(len(_tears(cut, place, disks)) for place in uncertain(cut))
            return (1 << open_writes) + tears * min(open_writes, 2)
        case Strategy.EPOCHS if open_writes <= subsets_log2:
            return (1 << open_writes) + _TORN_SAMPLES * bool(_tearable(cut, disks))
        case _:
            return 1 << min(open_writes, subsets_log2)


def _survivors(
    cut: Cut,
    k: int,
    strategy: Strategy,
    disks: tuple[TraceDisk, ...],
    draw: random.Random,
    subsets_log2: int,
) -> dict[Place, Ranges]:
    places = uncertain(cut)
    if strategy is Strategy.WORST:
        return {}
    if strategy is Strategy.PREFIX:
        return {place: _whole(cut, place) for place in places[:k]}
    if strategy is Strategy.ALL and k >= 2 ** len(places):
        return _torn(cut, k - 2 ** len(places), disks)
    few = len(places) <= subsets_log2
    if strategy is Strategy.EPOCHS and few and k >= 2 ** len(places):
        return _with_torn(cut, disks, draw)
    if strategy is Strategy.ALL or (strategy is Strategy.EPOCHS and few):
        return {place: _whole(cut, place) for n, place in enumerate(places) if k >> n & 1}
    if strategy is Strategy.EPOCHS and k < 2:  # all is lost, nothing is
        return {place: _whole(cut, place) for place in places} if k else {}
    drawn = {
        place: surviving_part(_issue(cut, place), disks[place[0]].logical_block_bytes, draw)
        for place in places
    }
    return {place: ranges for place, ranges in drawn.items() if ranges}


def _torn(cut: Cut, k: int, disks: tuple[TraceDisk, ...]) -> dict[Place, Ranges]:
    """Return the k-th state with one torn write: all others whole, then all others lost."""
    places = uncertain(cut)
    ways = min(len(places), 2)  # without others there is one
    k, alone = divmod(k, ways)
    torn = itertools.chain.from_iterable(
        ((place, ranges) for ranges in _tears(cut, place, disks)) for place in places
    )
    where, ranges = next(itertools.islice(torn, k, None))
    others = () if alone else (place for place in places if place != where)
    return {where: ranges} | {place: _whole(cut, place) for place in others}


def _tearable(cut: Cut, disks: tuple[TraceDisk, ...]) -> list[Place]:
    """Return the writes that may be lost in part."""
    return [p for p in uncertain(cut) if _issue(cut, p).length > disks[p[0]].logical_block_bytes]


def _with_torn(cut: Cut, disks: tuple[TraceDisk, ...], draw: random.Random) -> dict[Place, Ranges]:
    """Draw a state in which one write at least is torn, the others as they come."""
    torn = draw.choice(_tearable(cut, disks))
    found = {}
    for place in uncertain(cut):
        part_of = torn_part if place == torn else surviving_part
        found[place] = part_of(_issue(cut, place), disks[place[0]].logical_block_bytes, draw)
    return {place: ranges for place, ranges in found.items() if ranges}


def _tears(cut: Cut, place: Place, disks: tuple[TraceDisk, ...]) -> list[Ranges]:
    """Return what may be left of a write: its beginning or its end, at each logical block."""
    issue, block = _issue(cut, place), disks[place[0]].logical_block_bytes
    end = issue.offset + issue.length
    middles = range(issue.offset + block, end, block)
    return [
        *(((issue.offset, at - issue.offset),) for at in middles),
        *(((at, end - at),) for at in middles),
    ]


def _whole(cut: Cut, place: Place) -> Ranges:
    issue = _issue(cut, place)
    return ((issue.offset, issue.length),)


def _issue(cut: Cut, place: Place) -> Issue:
    disk, number = place
    return cut.disks[disk].pending[number][0]


def _issue_sequence(cut: Cut, place: Place) -> int:
    return _issue(cut, place).sequence
