"""A journal's ring read in bulk: many blocks at once, and what lies outside of the live log."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

import numpy as np

from harness.errors import BadImage
from harness.ondisk.log import Rejected
from harness.ondisk.units import BLOCK_BYTES, BLOCK_SECTORS, SECTOR_BYTES, LogSector
from harness.recovery.era import Era
from harness.recovery.era_differences import EraDifference, era_differences, recovery_of
from harness.recovery.every_era import UnreadableTailBlock, recover_in_every_era
from harness.recovery.followers import Recovery
from harness.recovery.leftovers import MAGIC_BYTES, Leftovers
from harness.recovery.plain_metas import ReadBlocks
from harness.recovery.plan import plan_recovery
from harness.recovery.scan import Log
from harness.storage.array_files import ArrayFiles, opened_log
from harness.storage.images import data_extents, opened_image
from harness.verdict.diagnosis import Reading

_CHUNK_BYTES = 1 << 20
_MAGIC = np.frombuffer(MAGIC_BYTES, "<u4")[0]


@contextlib.contextmanager
def opened_ring(files: ArrayFiles, era: Era) -> Iterator[tuple[Log, ReadBlocks]]:
    """Give the journal's log, and a function that reads many blocks of it at once."""
    start = files.journal.data_offset * SECTOR_BYTES
    with (
        opened_log(files, era) as log,
        opened_image(files.paths[files.journal_label]) as descriptor,
    ):

        def read_blocks(position: LogSector, count: int) -> bytes:
            return os.pread(descriptor, count * BLOCK_BYTES, start + position * SECTOR_BYTES)

        yield log, read_blocks


def read_journal(files: ArrayFiles, era: Era, *, stripe_cache_size: int) -> Reading:
    """Follow a journal in every era, and look at the rest of its ring.

    Raises:
        BadImage: the block at the tail cannot be read.
    """
    with opened_ring(files, era) as (log, read_blocks):
        recoveries = _recover(files, log, read_blocks, stripe_cache_size)
        end = new_log = None
        if isinstance(recoveries, Rejected):
            new_log = plan_recovery(log, files.array.geometry)
        else:
            end = recovery_of(recoveries, era).end
        leftovers = Leftovers(log.seed, None if end is None else end.seq)
        survey(files, log, None if end is None else (log.start, end.position), leftovers)
    return Reading(
        ring_sectors=log.ring.size, tail=log.start, recoveries=recoveries, new_log=new_log,
        leftovers=leftovers, stripe_cache_size=stripe_cache_size,
    )  # fmt: skip


def read_differences(
    files: ArrayFiles, era: Era, *, stripe_cache_size: int
) -> tuple[EraDifference, ...]:
    """Return on which eras a journal recovers otherwise than on *era*, and how.

    Raises:
        BadImage: the block at the tail cannot be read.
    """
    with opened_ring(files, era) as (log, read_blocks):
        return era_differences(_recover(files, log, read_blocks, stripe_cache_size), era)


def _recover(
    files: ArrayFiles, log: Log, read_blocks: ReadBlocks, stripe_cache_size: int
) -> tuple[Recovery, ...] | Rejected:
    try:
        return recover_in_every_era(
            log, read_blocks, files.array.geometry, stripe_cache_size=stripe_cache_size
        )
    except UnreadableTailBlock as unreadable:
        raise BadImage(
            f"{files.journal_label}: {unreadable}; the kernel would refuse to start the array"
        ) from unreadable


def survey(files: ArrayFiles, log: Log, live: tuple[int, int] | None, into: Leftovers) -> None:
    """Look at every block outside of *live*, from its start to its end around the ring.

    One block after another, in bounded memory; holes of the image are skipped.
    """
    size = log.ring.size
    parts = [(0, size)]
    if live is not None:
        start, end = live
        parts = [(0, start), (end, size)] if start <= end else [(end, start)]
    origin = files.journal.data_offset * SECTOR_BYTES
    with opened_image(files.paths[files.journal_label]) as descriptor:
        for first, last in parts:
            _survey_part(descriptor, origin, first, last, into)


def _survey_part(descriptor: int, origin: int, first: int, last: int, into: Leftovers) -> None:
    seen = first * SECTOR_BYTES  # bytes from the origin; an extent may begin inside a block
    end = last * SECTOR_BYTES
    for at, length in data_extents(descriptor, origin + seen, origin + end):
        begin = max(seen, (at - origin) // BLOCK_BYTES * BLOCK_BYTES)
        seen = min(end, -(-(at + length - origin) // BLOCK_BYTES) * BLOCK_BYTES)
        for chunk_at in range(begin, seen, _CHUNK_BYTES):
            wanted = min(_CHUNK_BYTES, seen - chunk_at)
            chunk = os.pread(descriptor, wanted, origin + chunk_at)
            words = np.frombuffer(chunk, "<u4", len(chunk) // BLOCK_BYTES * (BLOCK_BYTES // 4))
            heads = words.reshape(-1, BLOCK_BYTES // 4)[:, 0]
            for number in np.flatnonzero(heads == _MAGIC).tolist():
                block = chunk[number * BLOCK_BYTES : (number + 1) * BLOCK_BYTES]
                sector = chunk_at // SECTOR_BYTES + number * BLOCK_SECTORS
                into.take(LogSector(sector), block)
