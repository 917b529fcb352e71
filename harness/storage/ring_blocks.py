"""The blocks of a journal's ring from its image, each read once, holes not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator

from harness.ondisk.units import BLOCK_BYTES, BLOCK_SECTORS, SECTOR_BYTES, LogSector
from harness.recovery.scan import Ring
from harness.storage.array_files import ArrayFiles
from harness.storage.images import data_extents, opened_image
from harness.verdict.ring_regions import ZEROES, Blocks

_BLOCKS_AT_ONCE = 256


def ring_of(files: ArrayFiles) -> Ring:
    """Return the ring of an array's journal."""
    return Ring(files.journal.data_size & ~(BLOCK_SECTORS - 1))


def read_ring(files: ArrayFiles, position: LogSector, sectors: int) -> Blocks:
    """Yield the blocks from *position* on, around the end of the ring if need be.

    Those in a hole, or behind the end of the image, come together.
    """
    ring = ring_of(files)
    ahead = min(sectors, ring.size - position)
    with opened_image(files.paths[files.journal_label]) as descriptor:
        for first, length in ((position, ahead), (0, sectors - ahead)):
            start = (files.journal.data_offset + first) * SECTOR_BYTES
            yield from _read_straight(descriptor, start, length // BLOCK_SECTORS)


def _read_straight(descriptor: int, start: int, blocks: int) -> Blocks:
    size = os.fstat(descriptor).st_size
    readable = min(blocks, max(0, size - start) // BLOCK_BYTES)
    done = 0
    for offset, length in data_extents(descriptor, start, start + readable * BLOCK_BYTES):
        first = max(done, (offset - start) // BLOCK_BYTES)
        end = -(-(offset + length - start) // BLOCK_BYTES)
        if first > done:
            yield first - done, ZEROES
        done = max(done, end)
        yield from _read_blocks(descriptor, start, first, end)
    if readable > done:
        yield readable - done, ZEROES
    if blocks > readable:
        yield blocks - readable, None


def _read_blocks(
    descriptor: int, start: int, first: int, end: int
) -> Iterator[tuple[int, bytes | None]]:
    for number in range(first, end, _BLOCKS_AT_ONCE):
        count = min(_BLOCKS_AT_ONCE, end - number)
        chunk = os.pread(descriptor, count * BLOCK_BYTES, start + number * BLOCK_BYTES)
        for at in range(0, count * BLOCK_BYTES, BLOCK_BYTES):
            block = chunk[at : at + BLOCK_BYTES]
            yield 1, block if len(block) == BLOCK_BYTES else None
