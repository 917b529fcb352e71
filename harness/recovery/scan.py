"""Follow a log from its tail to its end.

Mirrors ``r5l_load_log``, ``r5l_recovery_read_meta_block`` and
``r5l_recovery_verify_data_checksum_for_mb``; format document, sections 4.0 and 4.1. Finding the
end is all that happens here; what recovery then does is in ``plan``.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Generator
from dataclasses import dataclass, field

from harness.ondisk.log import (
    HEADER_BYTES,
    PAGE_PAYLOAD_BYTES,
    BrokenPayload,
    DataPayload,
    FlushPayload,
    MetaBlock,
    ParityPayload,
    Payload,
    Rejected,
    UnknownPayload,
    page_checksum,
    parse_meta_block,
    parse_payload,
    parse_tail_block,
)
from harness.ondisk.units import BLOCK_BYTES, BLOCK_SECTORS, LogSector, StripeSector
from harness.recovery.era import Bounds, Era

ReadBlock = Callable[[LogSector], bytes | None]  # one 4096-byte block; None: cannot be read

_WORD = struct.Struct("<I")


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Log:
    """A journal as recovery finds it; every input of the scan and nothing else."""

    read_block: ReadBlock
    data_size: int  # sectors, as the superblock has it
    journal_tail: LogSector  # as the superblock has it
    seed: int  # uuid_checksum(set_uuid)
    parities: int  # 1, or 2 on RAID-6
    era: Era
    ring: Ring = field(init=False)  # the log area

    def __post_init__(self) -> None:
        object.__setattr__(self, "ring", Ring(self.data_size & ~(BLOCK_SECTORS - 1)))

    @property
    def start(self) -> LogSector:
        """Where the load begins: the tail, or 0 for one that cannot be (``r5l_init_log``)."""
        tail = self.journal_tail
        return LogSector(0) if tail >= self.data_size or tail % BLOCK_SECTORS else tail


@dataclass(frozen=True, slots=True)
class PlacedPayload:
    """A descriptor and where its log pages begin."""

    payload: Payload
    pages_at: LogSector


@dataclass(frozen=True, slots=True)
class Mismatch:
    """Why a whole meta block is dropped though its own header and checksum are good."""

    reason: str
    at: LogSector  # the page, or the meta block itself for a broken descriptor


@dataclass(frozen=True, slots=True)
class StripeReplay:
    """Write these logged pages to the members at *stripe*."""

    stripe: StripeSector
    pages: tuple[tuple[int, LogSector], ...]  # (device, where the page lies in the log)


@dataclass(frozen=True, slots=True)
class ScannedMeta:
    """One meta block that the scan accepted or dropped, in the order of the log."""

    meta: MetaBlock
    payloads: tuple[PlacedPayload, ...]
    dropped: Mismatch | None
    log_sectors: int  # how far the scan moves on from here
    replays: tuple[StripeReplay, ...] = ()  # in eras that write while they scan


@dataclass(frozen=True, slots=True)
class LogEnd:
    """Where the scan stopped, the next sequence number there, and what ended it."""

    position: LogSector
    seq: int
    rejected: Rejected | None  # the check that a block failed; None: it could not be read, or
    mismatch: Mismatch | None = None  # in eras that stop at a bad page: that


class UndefinedRecovery(Exception):
    """The kernel would read or write beyond its buffers: there is no outcome to predict."""


def load_log(log: Log) -> MetaBlock | Rejected | None:
    """Read the block at the tail as ``r5l_load_log`` does.

    Anything but a `MetaBlock` means that the kernel makes a new, empty log without a word
    (``None``: the block cannot be read, and the array does not start).
    """
    block = log.read_block(log.start)
    if block is None:
        return None
    return parse_tail_block(block, seed=log.seed, position=log.start)


def next_meta(log: Log, position: LogSector, seq: int) -> MetaBlock | LogEnd:
    """Return the meta block that continues the log, or how the log ends there."""
    block = log.read_block(position)
    if block is None:
        return LogEnd(position, seq, None)
    meta = parse_meta_block(block, seed=log.seed, seq=seq, position=position)
    return LogEnd(position, seq, meta) if isinstance(meta, Rejected) else meta


def scan_log(log: Log, tail: MetaBlock) -> Generator[ScannedMeta, None, LogEnd]:
    """Yield each meta block from *tail* on, one at a time; return where and why that ended.

    For eras that verify whole meta blocks. One of which a page or a descriptor is bad is dropped
    whole, and the scan goes on one block further: the comment in
    ``r5c_recovery_analyze_meta_block`` promises that later meta blocks are examined, but what
    follows is that meta block's own first page.

    Raises:
        UndefinedRecovery: a descriptor leads this era's kernel out of the block.
    """
    position, seq = tail.position, tail.seq
    while not isinstance(meta := next_meta(log, position, seq), LogEnd):
        scanned = _scan_payloads(log, meta)
        yield scanned
        seq = (seq + 1) % 2**64
        position = log.ring.add(position, scanned.log_sectors)
    return meta


def page_fault(log: Log, page: bytes | None, wanted: int) -> str | None:
    """Say what is wrong with a logged page of which the checksum is *wanted*; ``None``: nothing."""
    if page is None:
        return "cannot be read"
    found = page_checksum(log.seed, page)
    return None if found == wanted else f"checksum is {found:#010x}, wanted {wanted:#010x}"


def stored_checksum(meta: MetaBlock, offset: int, number: int) -> int:
    """Return checksum *number* of the descriptor at *offset*, wherever that leads in the block.

    The kernel looks for it where it should be, whatever size says: with a size too small that is
    the next descriptor's bytes, or the zeroes behind the last one.

    Raises:
        UndefinedRecovery: behind the block.
    """
    at = offset + PAGE_PAYLOAD_BYTES + _WORD.size * number
    if at + _WORD.size > BLOCK_BYTES:
        raise beyond_block(meta, offset)
    return int(_WORD.unpack_from(meta.block, at)[0])


def beyond_block(meta: MetaBlock, offset: int) -> UndefinedRecovery:
    """Return the error that says at which descriptor the kernel would leave the block."""
    return UndefinedRecovery(
        f"meta block {meta.seq} at log sector {meta.position}: the descriptor at byte {offset}"
        " leads the kernel beyond the block, so its outcome cannot be told"
    )


def _scan_payloads(log: Log, meta: MetaBlock) -> ScannedMeta:
    placed: list[PlacedPayload] = []
    loaded = BLOCK_SECTORS  # grows by the pages that are loaded, not by what size announces
    pages_at = log.ring.add(meta.position, BLOCK_SECTORS)
    trusting = log.era.bounds is Bounds.NONE
    limit = BLOCK_BYTES if trusting else meta.meta_size
    offset = HEADER_BYTES
    while offset + log.era.ignored_trailing_bytes < meta.meta_size:
        parsed = parse_payload(meta.block, offset, limit, clip=trusting)
        if isinstance(parsed, BrokenPayload):
            if trusting:
                raise beyond_block(meta, offset)
            broken = Mismatch(f"descriptor at byte {parsed.offset}: {parsed.reason}", meta.position)
            return ScannedMeta(meta, tuple(placed), broken, BLOCK_SECTORS)
        payload, length = parsed
        placed.append(PlacedPayload(payload, pages_at))
        if mismatch := _verify(log, meta, offset, placed[-1]):
            return ScannedMeta(meta, tuple(placed), mismatch, BLOCK_SECTORS)
        if isinstance(payload, DataPayload | ParityPayload):
            loaded += BLOCK_SECTORS * _pages_loaded(log, payload)
            pages_at = log.ring.add(pages_at, payload.size)
        elif trusting and offset + length > BLOCK_BYTES:
            raise beyond_block(meta, offset)
        offset += length
    return ScannedMeta(meta, tuple(placed), None, loaded)


def _pages_loaded(log: Log, payload: DataPayload | ParityPayload) -> int:
    return 1 if isinstance(payload, DataPayload) else log.parities


def _verify(log: Log, meta: MetaBlock, offset: int, placed: PlacedPayload) -> Mismatch | None:
    payload = placed.payload
    if isinstance(payload, UnknownPayload):
        return Mismatch(f"descriptor at byte {offset}: type {payload.type}", placed.pages_at)
    if isinstance(payload, FlushPayload):
        if log.era.knows_flush:
            return None
        return Mismatch(f"descriptor at byte {offset}: FLUSH is not known yet", placed.pages_at)
    pages = _pages_loaded(log, payload)
    if log.era.bounds is Bounds.FIT_AND_HOLD and payload.size // BLOCK_SECTORS < pages:
        too_small = f"descriptor at byte {offset}: size {payload.size} holds no {pages} page(s)"
        return Mismatch(too_small, placed.pages_at)
    at = placed.pages_at
    for number in range(pages):
        if reason := page_fault(log, log.read_block(at), stored_checksum(meta, offset, number)):
            return Mismatch(f"page at {at}: {reason}", at)
        at = log.ring.add(at, BLOCK_SECTORS)
    return None
