"""Which page of the log goes where on the members, in columns: a journal can have millions."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.ondisk.units import BLOCK_SECTORS
from harness.recovery.geometry import Geometry

Column = NDArray[Any]


class WriteColumns:
    """Writes to the members in the order in which they happen."""

    def __init__(self) -> None:
        self._sectors = array("Q")
        self._devices = array("I")
        self._sources = array("Q")

    def __len__(self) -> int:
        return len(self._sectors)

    def add(self, sector: int, pages: Mapping[int, int]) -> None:
        """Note that the *pages* (device to place in the log) are written at *sector*."""
        for device, source in pages.items():
            self._sectors.append(sector)
            self._devices.append(device)
            self._sources.append(source)

    def last_writers(self) -> LastWriters:
        """Return which page is the last one at each place."""
        sectors = np.frombuffer(self._sectors, np.uint64) if len(self) else np.empty(0, np.uint64)
        devices = np.frombuffer(self._devices, np.uint32) if len(self) else np.empty(0, np.uint32)
        sources = np.frombuffer(self._sources, np.uint64) if len(self) else np.empty(0, np.uint64)
        order = np.lexsort((devices, sectors))  # stable: the last of equals is the last written
        sectors, devices, sources = sectors[order], devices[order], sources[order]
        last = np.ones(len(order), bool)
        last[:-1] = (sectors[1:] != sectors[:-1]) | (devices[1:] != devices[:-1])
        return LastWriters(sectors[last], devices[last], sources[last])


@dataclass(frozen=True, slots=True, eq=False)
class LastWriters:
    """What the members hold of the log in the end, sorted by sector and device."""

    sectors: Column
    devices: Column
    sources: Column

    def __len__(self) -> int:
        return len(self.sectors)

    def holds_the_same(self, other: LastWriters) -> bool:
        """Whether the members end up alike."""
        return (
            np.array_equal(self.sectors, other.sectors)
            and np.array_equal(self.devices, other.devices)
            and np.array_equal(self.sources, other.sources)
        )

    def outside(self, geometry: Geometry) -> Column:
        """Return which of these lie beyond what of each member is part of the array."""
        return _beyond(self.sectors, geometry.member_sectors)

    def array_sectors(self, geometry: Geometry) -> Column:
        """Return where in the array the data pages inside of it belong, sorted; parity has none."""
        inside = ~self.outside(geometry)
        return array_sectors_of(self.sectors[inside], self.devices[inside], geometry)


@dataclass(frozen=True, slots=True)
class Changes:
    """How one outcome differs from another, in pages on members."""

    more: int  # written, and not in the other
    fewer: int
    other_pages: int  # another page of the log ends up there
    stripes: tuple[int, ...]  # the first few of them

    def __bool__(self) -> bool:
        return bool(self.more or self.fewer or self.other_pages)


_EXAMPLES = 3


def changes_between(mine: LastWriters, other: LastWriters) -> Changes:
    """Return how *mine* differs from *other*."""
    if mine.holds_the_same(other):  # as nearly always; what follows takes room for both
        return Changes(0, 0, 0, ())
    sectors = np.concatenate((mine.sectors, other.sectors))
    devices = np.concatenate((mine.devices, other.devices))
    sources = np.concatenate((mine.sources, other.sources))
    order = np.lexsort((devices, sectors))
    sectors, devices, sources = sectors[order], devices[order], sources[order]
    same = (sectors[1:] == sectors[:-1]) & (devices[1:] == devices[:-1])
    differing = same & (sources[1:] != sources[:-1])
    alone = np.ones(len(order), bool)
    alone[1:] &= ~same
    alone[:-1] &= ~same
    both = int(same.sum())
    touched = np.union1d(sectors[alone], sectors[1:][differing])[:_EXAMPLES]
    return Changes(
        len(mine) - both, len(other) - both, int(differing.sum()),
        tuple(int(sector) for sector in touched),
    )  # fmt: skip


def array_sectors_of(sectors: Column, devices: Column, geometry: Geometry) -> Column:
    """Return the array sectors of the data pages among places inside the array, sorted."""
    if geometry.array_sectors >= 2**62:  # no array is; keep the arithmetic exact all the same
        sectors = sectors.astype(object)
    chunk = geometry.chunk_sectors
    numbers, offsets = sectors // chunk, sectors % chunk
    n = geometry.raid_disks
    # Every layout repeats after n rows, or after n - 1 where Q has a disk of its own.
    turns, row_of = np.unique((numbers % (n * (n - 1))).astype(np.int64), return_inverse=True)
    table = np.full((len(turns), n), -1, np.int64)
    for at, turn in enumerate(turns.tolist()):
        row = geometry.layout.row(turn, n)
        table[at, list(row.data)] = range(len(row.data))
    k = table[row_of, devices] if len(turns) else np.empty(0, np.int64)
    data = k >= 0
    if sectors.dtype != object:
        numbers, offsets = numbers.astype(np.int64), offsets.astype(np.int64)
    found = (numbers[data] * geometry.data_disks + k[data]) * chunk + offsets[data]
    return np.sort(found)


def merged_ranges(array_sectors: Column) -> tuple[tuple[int, int], ...]:
    """Return pages at sorted *array_sectors* as (start, length) ranges in sectors, those that
    touch or overlap made one.
    """
    if not len(array_sectors):
        return ()
    starts_anew = np.ones(len(array_sectors), bool)
    starts_anew[1:] = array_sectors[1:] > array_sectors[:-1] + BLOCK_SECTORS
    starts = array_sectors[starts_anew]
    ends = array_sectors[np.append(starts_anew[1:], True)] + BLOCK_SECTORS
    return tuple(zip(starts.tolist(), (ends - starts).tolist(), strict=True))


def columns_of(stripes: Iterable[tuple[int, Mapping[int, int]]]) -> WriteColumns:
    """Return the columns of *stripes*, given as (sector, pages)."""
    columns = WriteColumns()
    for sector, pages in stripes:
        columns.add(sector, pages)
    return columns


def _beyond(sectors: Column, end: int) -> Column:
    if end < BLOCK_SECTORS:
        return np.ones(len(sectors), bool)
    # Written so that no sum can leave 64 bits.
    return sectors > np.uint64(min(end - BLOCK_SECTORS, 2**64 - 1))
