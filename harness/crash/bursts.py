"""Bursts of writes, drawn: what a step of a story writes."""

from __future__ import annotations

import enum
import random
from dataclasses import dataclass

from harness.crash.workload import Area, Write, WriteKind, WriteStep
from harness.ondisk.units import BLOCK_SECTORS, ArraySector


class Extent(enum.Enum):
    """What a single write covers."""

    BLOCK = "block"  # one of 4096 bytes: part of a stripe, which needs its parity worked out
    RUN = "run"  # some blocks in a row, up to two chunks
    ROW = "row"  # one chunk of every data disk: full stripes
    MIX = "mix"  # all of these


@dataclass(frozen=True, slots=True, kw_only=True)
class Bursts:
    """Which writes are drawn."""

    bursts: int
    at_once: int  # writes of a burst; fewer, where they would overlap
    extent: Extent
    rows: int  # of chunks, from the array's beginning on, in which the writes are
    kind: WriteKind = WriteKind.DATA
    fua: bool = False


def drawn_bursts(
    wanted: Bursts, area: Area, draw: random.Random, *, last: int
) -> tuple[WriteStep, ...]:
    """Draw bursts of writes that do not overlap within a burst, numbered from *last* + 1 on."""
    rows = min(wanted.rows, area.array_sectors // area.row_sectors)
    result = []
    for _ in range(wanted.bursts):
        burst: list[Write] = []
        taken: set[int] = set()
        for _ in range(wanted.at_once):
            sector, sectors = _extent(draw, area, wanted.extent, rows)
            blocks = set(range(sector, sector + sectors, BLOCK_SECTORS))
            if taken.isdisjoint(blocks):
                taken |= blocks
                last += 1
                burst.append(Write(last, ArraySector(sector), sectors, wanted.kind, wanted.fua))
        result.append(WriteStep(tuple(burst)))
    return tuple(result)


def _extent(draw: random.Random, area: Area, extent: Extent, rows: int) -> tuple[int, int]:
    if extent is Extent.MIX:
        extent = draw.choices((Extent.BLOCK, Extent.RUN, Extent.ROW), (45, 40, 15))[0]
    if extent is Extent.ROW:
        return draw.randrange(rows) * area.row_sectors, area.row_sectors
    region = rows * area.row_sectors // BLOCK_SECTORS
    most = min(region, 2 * area.chunk_sectors // BLOCK_SECTORS)
    blocks = 1 if extent is Extent.BLOCK or most < 2 else draw.randint(2, most)
    return draw.randrange(region - blocks + 1) * BLOCK_SECTORS, blocks * BLOCK_SECTORS
