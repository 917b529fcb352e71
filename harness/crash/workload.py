"""What is done to an array before the power goes: steps, drawn from a seed or given one by one."""

from __future__ import annotations

import enum
import random
from dataclasses import dataclass

from harness.crash.pattern import Fill
from harness.ondisk.units import BLOCK_SECTORS, ArraySector

_MOST_AT_ONCE = 6


class JournalMode(enum.Enum):
    """``journal_mode`` in sysfs."""

    WRITE_THROUGH = "write-through"
    WRITE_BACK = "write-back"


class WriteKind(enum.Enum):
    """What becomes of the sectors that a write is for."""

    DATA = "data"  # each gets the write's stamp
    ZEROES = "zeroes"  # BLKZEROOUT: each reads as zeroes
    DISCARD = "discard"  # BLKDISCARD: each holds what it held once, or zeroes


@dataclass(frozen=True, slots=True)
class Area:
    """What a workload must know of the array that it writes to; sizes in sectors."""

    chunk_sectors: int
    data_disks: int
    array_sectors: int

    @property
    def row_sectors(self) -> int:
        """One chunk of every data disk."""
        return self.chunk_sectors * self.data_disks


@dataclass(frozen=True, slots=True)
class Write:
    """One write; its number is in every sector that it writes (``crash.pattern``).

    With *fua* it is acknowledged when it returns, and all before it with it: a write with
    RWF_DSYNC to a block device is one with FUA, and a flush behind it.
    """

    number: int
    sector: ArraySector
    sectors: int
    kind: WriteKind = WriteKind.DATA
    fua: bool = False


@dataclass(frozen=True, slots=True)
class WriteStep:
    """Writes issued at once; none overlaps another."""

    writes: tuple[Write, ...]


@dataclass(frozen=True, slots=True)
class FlushStep:
    """A flush of the array: what was written before is acknowledged when it returns."""


@dataclass(frozen=True, slots=True)
class SwitchMode:
    """The journal's mode becomes another one."""

    mode: JournalMode


@dataclass(frozen=True, slots=True)
class FailMember:
    """The member in a slot is marked as faulty; the array goes on without it."""

    slot: int


@dataclass(frozen=True, slots=True)
class FailJournal:
    """The journal is marked as faulty: md fails what is written from then on."""


@dataclass(frozen=True, slots=True)
class StopArray:
    """The array is stopped as an administrator does; nothing can follow."""


@dataclass(frozen=True, slots=True)
class Restart:
    """The array is stopped and assembled of what it still has; it is in write-through mode then."""


Step = WriteStep | FlushStep | SwitchMode | FailMember | FailJournal | StopArray | Restart


@dataclass(frozen=True, slots=True)
class Workload:
    """Steps one after another, the seed that their contents carry, and how they are filled."""

    seed: int
    steps: tuple[Step, ...]
    fill: Fill = Fill.STREAM

    @property
    def writes(self) -> tuple[Write, ...]:
        """Every write, in order of its number."""
        return tuple(w for s in self.steps if isinstance(s, WriteStep) for w in s.writes)


def random_workload(area: Area, *, seed: int, steps: int, fill: Fill = Fill.STREAM) -> Workload:
    """Draw a workload of single blocks, short runs and full stripes, many of them overlapping.

    Writes fall into a region of few rows, so that blocks and stripes are written again and again;
    about half of the steps are followed by a flush.
    """
    draw = random.Random(seed)
    region = max(1, min(6, area.array_sectors // area.row_sectors)) * area.row_sectors
    result: list[Step] = []
    number = 0
    for _ in range(steps):
        burst: list[Write] = []
        for _ in range(draw.randint(1, _MOST_AT_ONCE)):
            sector, sectors = _extent(draw, area, region)
            if all(_apart(sector, sectors, other) for other in burst):
                number += 1
                burst.append(Write(number, sector, sectors))
        result.append(WriteStep(tuple(burst)))
        if draw.random() < 0.5:
            result.append(FlushStep())
    result.append(FlushStep())
    return Workload(seed, tuple(result), fill)


def _extent(draw: random.Random, area: Area, region: int) -> tuple[ArraySector, int]:
    kind = draw.random()
    if kind < 0.15:  # a whole row of chunks: full stripes
        row = draw.randrange(region // area.row_sectors)
        return ArraySector(row * area.row_sectors), area.row_sectors
    blocks = 1 if kind < 0.6 else draw.randint(2, 2 * area.chunk_sectors // BLOCK_SECTORS)
    blocks = min(blocks, region // BLOCK_SECTORS)
    first = draw.randrange(region // BLOCK_SECTORS - blocks + 1)
    return ArraySector(first * BLOCK_SECTORS), blocks * BLOCK_SECTORS


def _apart(sector: int, sectors: int, other: Write) -> bool:
    return sector + sectors <= other.sector or other.sector + other.sectors <= sector
