"""A stretch of the ring as rows of equal columns, and of each column what lies in it.

However many meta blocks there are, a strip has at most `_COLUMNS` times as many columns as rows,
so the memory it takes and the drawing it makes have a bound.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence

from harness.ondisk.units import BLOCK_SECTORS, LogSector
from harness.recovery.log import Ring
from harness.verdict.ring_regions import SUSPICIOUS, Kind, Region

ROW_WIDTH = 1024  # of the drawing
ROW_HEIGHT = 32
_COLUMNS = 256  # in a row, 4 wide; the fewer of a small ring are wider
_FEWEST_COLUMNS = 16
_KINDS = tuple(Kind)
_EMPTY = _KINDS.index(Kind.EMPTY)
# From the bottom of a column to its top; nothing is drawn for what is empty.
_STACKED = tuple(
    _KINDS.index(kind)
    for kind in (Kind.DATA, Kind.PARITY, Kind.META, Kind.FLUSH, Kind.EMPTY_META,
                 *SUSPICIOUS, Kind.RECLAIMED, Kind.OTHER)
)  # fmt: skip
_LEAST_HEIGHT = tuple(4 if kind in SUSPICIOUS else 2 for kind in _KINDS)  # not to be overlooked


class Strip:
    """The ring from *start* on for *sectors*, in at most *most_rows* rows."""

    def __init__(self, ring: Ring, start: LogSector, sectors: int, *, most_rows: int) -> None:
        self.ring = ring
        self.start = start
        self.sectors = sectors
        blocks = sectors // BLOCK_SECTORS
        self.column_blocks = next(
            step for step in _steps() if blocks <= most_rows * _COLUMNS * step
        )
        used = -(-blocks // self.column_blocks)
        self.columns_in_row = _FEWEST_COLUMNS
        while self.columns_in_row < min(used, _COLUMNS):
            self.columns_in_row *= 2
        self.rows = max(1, -(-used // self.columns_in_row))
        self._used = used
        self._counts = [0] * (used * len(_KINDS))

    @property
    def is_exact(self) -> bool:
        """Whether each block has a column of its own."""
        return self.column_blocks == 1

    @property
    def column_width(self) -> int:
        """Of the drawing."""
        return ROW_WIDTH // self.columns_in_row

    @property
    def row_sectors(self) -> int:
        """What a whole row stands for."""
        return self.columns_in_row * self.column_blocks * BLOCK_SECTORS

    def add(self, region: Region) -> None:
        """Count a region, or what of it lies in this strip."""
        first = self._distance(region.position)
        kind = _KINDS.index(region.kind)
        self._count(first, min(first + region.sectors, self.sectors), kind)
        # A region that comes from before the start, and from behind the strip's end.
        self._count(0, min(first + region.sectors - self.ring.size, self.sectors), kind)

    def place(self, position: LogSector) -> tuple[int, float] | None:
        """Return the row and how far along it a sector lies; ``None``: not in this strip."""
        if not 0 <= position < self.ring.size:
            return None
        distance = self._distance(position)
        if distance >= self.sectors:
            return None
        row, along = divmod(distance, self.row_sectors)
        return row, along * ROW_WIDTH / self.row_sectors

    def spans(self, position: LogSector, sectors: int) -> Iterator[tuple[int, float, float]]:
        """Yield (row, from, to) along the drawing for what of a stretch lies in this strip."""
        first = self._distance(position)
        for begin, end in ((first, first + sectors), (0, first + sectors - self.ring.size)):
            at, stop = begin, min(end, self.sectors)
            while at < stop:
                row, along = divmod(at, self.row_sectors)
                ends = min(stop, (row + 1) * self.row_sectors)
                scale = ROW_WIDTH / self.row_sectors
                yield row, along * scale, (ends - row * self.row_sectors) * scale
                at = ends

    def row_start(self, row: int) -> LogSector:
        """Return the sector at which a row begins."""
        return LogSector((self.start + row * self.row_sectors) % self.ring.size)

    def row_used(self, row: int) -> float:
        """Return how much of a row's width stands for something: less in the last one."""
        sectors = min(self.row_sectors, self.sectors - row * self.row_sectors)
        return sectors * ROW_WIDTH / self.row_sectors

    def shares(self, row: int) -> dict[Kind, int]:
        """Return how many blocks of each kind a row has."""
        totals = [0] * len(_KINDS)
        for counts in self._columns(row):
            totals = [total + count for total, count in zip(totals, counts, strict=True)]
        return {kind: total for kind, total in zip(_KINDS, totals, strict=True) if total}

    def outlines(self, row: int, top: int) -> dict[Kind, str]:
        """Return for each kind in a row the SVG path of its area, to be drawn in this order.

        Areas reach down to the ground, each over those before it: shorter than boxes.
        """
        stacks = [dict(_stack(counts)) for counts in self._columns(row)]
        return {
            _KINDS[kind]: self._outline([stack.get(kind, 0) for stack in stacks], top + ROW_HEIGHT)
            for kind in reversed(_STACKED)
            if any(kind in stack for stack in stacks)
        }

    def _outline(self, heights: Sequence[int], ground: int) -> str:
        steps = [f"M0 {ground}"]
        before = 0
        for height, same in itertools.groupby(heights):
            rise = f"v{before - height}" if height != before else ""
            steps.append(f"{rise}h{self.column_width * sum(1 for _ in same)}")
            before = height
        return "".join([*steps, f"V{ground}z"])

    def _distance(self, position: LogSector) -> int:
        return (position - self.start) % self.ring.size

    def _count(self, begin: int, end: int, kind: int) -> None:
        at, stop = begin // BLOCK_SECTORS, end // BLOCK_SECTORS
        while at < stop:
            column = at // self.column_blocks
            until = min(stop, (column + 1) * self.column_blocks)
            self._counts[column * len(_KINDS) + kind] += until - at
            at = until

    def _columns(self, row: int) -> Iterator[Sequence[int]]:
        first = row * self.columns_in_row
        for column in range(first, min(first + self.columns_in_row, self._used)):
            yield self._counts[column * len(_KINDS) : (column + 1) * len(_KINDS)]


def fill(strips: Iterable[Strip], regions: Iterable[Region]) -> dict[Kind, int]:
    """Count regions in every strip; return how many blocks of each kind there are."""
    listed = tuple(strips)
    totals = dict.fromkeys(Kind, 0)
    for region in regions:
        totals[region.kind] += region.sectors // BLOCK_SECTORS
        for strip in listed:
            strip.add(region)
    return totals


def _stack(counts: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Yield (kind, up to which height) from the ground up; rare kinds are raised to be seen.

    What is empty takes the rest of the height, at the top.
    """
    total = sum(counts)
    if not total:
        return
    heights = {
        kind: max(round(counts[kind] * ROW_HEIGHT / total), _LEAST_HEIGHT[kind])
        for kind in _STACKED
        if counts[kind]
    }
    wanted = ROW_HEIGHT - (1 if counts[_EMPTY] and len(heights) > 1 else 0)
    if not counts[_EMPTY] and heights:
        heights[max(heights, key=heights.__getitem__)] += max(0, wanted - sum(heights.values()))
    while sum(heights.values()) > wanted:
        heights[max(heights, key=heights.__getitem__)] -= 1
    ground = 0
    for kind, height in heights.items():
        ground += height
        yield kind, ground


def _steps() -> Iterator[int]:
    """Yield 1, 2, 3, 4, 6, 8, 12 .. blocks to a column, so that rows begin at plain numbers."""
    yield 1
    for power in itertools.count(1):
        yield 2**power
        yield 3 * 2 ** (power - 1)
