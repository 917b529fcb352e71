"""What is written to an array before the power goes: steps drawn from a seed."""

from __future__ import annotations

import random
from dataclasses import dataclass

from harness.ondisk.units import BLOCK_SECTORS, ArraySector
from harness.recovery.geometry import Geometry

_MOST_AT_ONCE = 6


@dataclass(frozen=True, slots=True)
class Write:
    """One write; its number is in every sector that it writes (``crash.pattern``)."""

    number: int
    sector: ArraySector
    sectors: int


@dataclass(frozen=True, slots=True)
class WriteStep:
    """Writes issued at once; none overlaps another."""

    writes: tuple[Write, ...]


@dataclass(frozen=True, slots=True)
class FlushStep:
    """A flush of the array: what was written before is acknowledged when it returns."""


Step = WriteStep | FlushStep


@dataclass(frozen=True, slots=True)
class Workload:
    """Steps one after another, and the seed that their contents carry."""

    seed: int
    steps: tuple[Step, ...]

    @property
    def writes(self) -> tuple[Write, ...]:
        """Every write, in order of its number."""
        return tuple(w for s in self.steps if isinstance(s, WriteStep) for w in s.writes)


def random_workload(geometry: Geometry, *, seed: int, steps: int) -> Workload:
    """Draw a workload of single blocks, short runs and full stripes, many of them overlapping.

    Writes fall into a region of few rows, so that blocks and stripes are written again and again;
    about half of the steps are followed by a flush.
    """
    draw = random.Random(seed)
    row_sectors = geometry.chunk_sectors * geometry.data_disks
    rows = max(1, min(6, geometry.array_sectors // row_sectors))
    region = ArraySector(rows * row_sectors)
    result: list[Step] = []
    number = 0
    for _ in range(steps):
        burst: list[Write] = []
        for _ in range(draw.randint(1, _MOST_AT_ONCE)):
            sector, sectors = _extent(draw, geometry, region)
            if all(_apart(sector, sectors, other) for other in burst):
                number += 1
                burst.append(Write(number, sector, sectors))
        result.append(WriteStep(tuple(burst)))
        if draw.random() < 0.5:
            result.append(FlushStep())
    result.append(FlushStep())
    return Workload(seed, tuple(result))


def _extent(draw: random.Random, geometry: Geometry, region: int) -> tuple[ArraySector, int]:
    kind = draw.random()
    row_sectors = geometry.chunk_sectors * geometry.data_disks
    if kind < 0.15:  # some whole stripes: the same pages of every chunk of a row
        row = draw.randrange(region // row_sectors)
        return ArraySector(row * row_sectors), row_sectors
    blocks = 1 if kind < 0.6 else draw.randint(2, 2 * geometry.chunk_sectors // BLOCK_SECTORS)
    blocks = min(blocks, region // BLOCK_SECTORS)
    first = draw.randrange(region // BLOCK_SECTORS - blocks + 1)
    return ArraySector(first * BLOCK_SECTORS), blocks * BLOCK_SECTORS


def _apart(sector: int, sectors: int, other: Write) -> bool:
    return sector + sectors <= other.sector or other.sector + other.sectors <= sector
