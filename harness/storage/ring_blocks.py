"""The blocks of a journal's ring from its image, each read once, holes not at all."""

from __future__ import annotations

import enum
import os
from collections.abc import Iterator
from dataclasses import dataclass

from harness.ondisk.units import BLOCK_BYTES, BLOCK_SECTORS, SECTOR_BYTES, LogSector
from harness.recovery.log import ring_of
from harness.storage.array_files import ArrayFiles
from harness.storage.images import data_extents, opened_image
from harness.verdict.ring_regions import ZEROES, Blocks

_BLOCKS_AT_ONCE = 256


class Absent(enum.Enum):
    """Why a stretch of the ring has no bytes in the image."""

    HOLE = "a hole, which reads as zeroes"
    BEYOND = "the image ends before"


@dataclass(frozen=True, slots=True)
class Stretch:
    """Blocks side by side."""

    position: LogSector
    blocks: int
    content: bytes | Absent


def stretches(files: ArrayFiles, position: LogSector, sectors: int) -> Iterator[Stretch]:
    """Yield the ring from *position* on, around its end if need be, in bounded pieces."""
    ahead = min(sectors, ring_of(files.journal.data_size).size - position)
    with opened_image(files.paths[files.journal_label]) as descriptor:
        origin = files.journal.data_offset * SECTOR_BYTES
        for first, length in ((position, ahead), (LogSector(0), sectors - ahead)):
            yield from _straight(descriptor, origin, first, length // BLOCK_SECTORS)


def read_ring(files: ArrayFiles, position: LogSector, sectors: int) -> Blocks:
    """Yield the blocks from *position* on, around the end of the ring if need be.

    Those in a hole, or behind the end of the image, come together.
    """
    for stretch in stretches(files, position, sectors):
        if isinstance(stretch.content, bytes):
            for at in range(0, len(stretch.content), BLOCK_BYTES):
                yield 1, stretch.content[at : at + BLOCK_BYTES]
        else:
            yield stretch.blocks, ZEROES if stretch.content is Absent.HOLE else None


def _straight(descriptor: int, origin: int, position: LogSector, blocks: int) -> Iterator[Stretch]:
    start = origin + position * SECTOR_BYTES
    size = os.fstat(descriptor).st_size
    readable = min(blocks, max(0, size - start) // BLOCK_BYTES)

    def absent(first: int, end: int, why: Absent) -> Iterator[Stretch]:
        if end > first:
            yield Stretch(LogSector(position + first * BLOCK_SECTORS), end - first, why)

    done = 0
    for offset, length in data_extents(descriptor, start, start + readable * BLOCK_BYTES):
        # An extent may begin inside a block, and the one before may have ended in it.
        first = max(done, (offset - start) // BLOCK_BYTES)
        end = -(-(offset + length - start) // BLOCK_BYTES)
        yield from absent(done, first, Absent.HOLE)
        done = max(done, end)
        for number in range(first, end, _BLOCKS_AT_ONCE):
            wanted = min(_BLOCKS_AT_ONCE, end - number) * BLOCK_BYTES
            content = os.pread(descriptor, wanted, start + number * BLOCK_BYTES)
            whole = len(content) // BLOCK_BYTES  # fewer: the image was cut short meanwhile
            at = LogSector(position + number * BLOCK_SECTORS)
            yield Stretch(at, whole, content[: whole * BLOCK_BYTES])
            yield from absent(number + whole, number + wanted // BLOCK_BYTES, Absent.BEYOND)
    yield from absent(done, readable, Absent.HOLE)
    yield from absent(readable, blocks, Absent.BEYOND)
