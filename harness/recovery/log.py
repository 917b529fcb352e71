"""A journal as recovery finds it, and what a scan of it comes to, block by block.

Positions are sectors of the log area; format document, sections 2.1 to 2.4.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from harness.ondisk.log import (
    BrokenPayload,
    MetaBlock,
    Payload,
    PayloadType,
    Rejected,
    payloads_of,
)
from harness.ondisk.units import BLOCK_BYTES, BLOCK_SECTORS, LogSector, StripeSector
from harness.recovery.era import Era
from harness.recovery.read_ahead_pool import ReadAheadPool

ReadBlocks = Callable[[LogSector, int], bytes | memoryview]
"""Reads so many blocks from a position on, fewer where the next one cannot be read. What is
returned is good until the next read; it never goes around the end of the ring."""

Entry = tuple[int, int, LogSector]
"""What recovery takes in, one after another: the payload's type, its location (an array sector for
DATA, else a stripe; each stripe of a FLUSH stands alone), and where its pages begin in the log."""


@dataclass(frozen=True, slots=True)
class Ring:
    """The log area as a ring of *size* sectors (``data_size`` rounded down to whole blocks)."""

    size: int

    def add(self, position: LogSector, sectors: int) -> LogSector:
        """Return ``r5l_ring_add``: the size is taken off once, so a huge step leaves the ring."""
        moved = position + sectors
        return LogSector(moved - self.size if moved >= self.size else moved)

    def distance(self, start: LogSector, end: LogSector) -> int:
        """Return ``r5l_ring_distance``: sectors from *start* forward to *end*."""
        return end - start if end >= start else end + self.size - start


def ring_of(data_size: int) -> Ring:
    """Return the ring of a journal whose superblock says *data_size* sectors."""
    return Ring(data_size & ~(BLOCK_SECTORS - 1))


@dataclass(frozen=True, slots=True, kw_only=True)
class Log:
    """A journal as recovery finds it; every input of the scan and nothing else."""

    read_blocks: ReadBlocks
    data_size: int  # sectors, as the superblock has it
    journal_tail: LogSector  # as the superblock has it
    seed: int  # uuid_checksum(set_uuid)
    parities: int  # 1, or 2 on RAID-6
    era: Era
    ring: Ring = field(init=False)  # the log area
    # What a scan has read ahead: the only thing here that changes.
    pool: ReadAheadPool = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        ring = ring_of(self.data_size)
        object.__setattr__(self, "ring", ring)
        pool = ReadAheadPool(ring.size, ring.add, lambda at: self.read_block(at) is not None)
        object.__setattr__(self, "pool", pool)

    @property
    def start(self) -> LogSector:
        """Where the load begins: the tail, or 0 for one that cannot be (``r5l_init_log``)."""
        tail = self.journal_tail
        return LogSector(0) if tail >= self.data_size or tail % BLOCK_SECTORS else tail

    def read_block(self, position: LogSector) -> bytes | None:
        """Return the block at *position*; ``None``: it cannot be read."""
        block = bytes(self.read_blocks(position, 1))
        return block if len(block) == BLOCK_BYTES else None


@dataclass(frozen=True, slots=True)
class Mismatch:
    """Why a whole meta block is dropped though its own header and checksum are good."""

    reason: str
    at: LogSector  # the page, or the meta block itself for a broken descriptor


class StripeReplay(NamedTuple):
    """Write these logged pages to the members at *stripe*."""

    stripe: StripeSector
    pages: tuple[tuple[int, LogSector], ...]  # (device, where the page lies in the log)


@dataclass(frozen=True, slots=True)
class ScannedMeta:
    """One meta block that the scan accepted or dropped, in the order of the log."""

    meta: MetaBlock
    entries: tuple[Entry, ...]  # none where it was dropped
    dropped: Mismatch | None
    log_sectors: int  # how far the scan moves on from here
    replays: tuple[StripeReplay, ...] = ()  # in eras that write while they scan

    @property
    def has_flush(self) -> bool:
        """Whether a FLUSH is among the entries."""
        return any(kind == PayloadType.FLUSH for kind, _, _ in self.entries)

    @property
    def payloads(self) -> tuple[Payload | BrokenPayload, ...]:
        """Its descriptors as they were written, whatever recovery makes of them."""
        return tuple(payloads_of(self.meta))


@dataclass(frozen=True, slots=True)
class LogEnd:
    """Where the scan stopped, the next sequence number there, and what ended it."""

    position: LogSector
    seq: int
    rejected: Rejected | None  # the check that a block failed; None: it could not be read, or
    mismatch: Mismatch | None = None  # in eras that stop at a bad page: that


class UndefinedRecovery(Exception):
    """The kernel would read or write beyond its buffers: there is no outcome to predict."""
