"""Follow a log from its tail to its end.

Mirrors ``r5l_load_log``, ``r5l_recovery_read_meta_block`` and
``r5l_recovery_verify_data_checksum_for_mb``; format document, sections 4.0 and 4.1. Finding the
end is all that happens here; what recovery then does is in ``plan``.
"""

from __future__ import annotations

import struct
from collections.abc import Generator

from harness.ondisk.log import (
    HEADER_BYTES,
    PAGE_PAYLOAD_BYTES,
    BrokenPayload,
    DataPayload,
    FlushPayload,
    MetaBlock,
    ParityPayload,
    Payload,
    PayloadType,
    Rejected,
    UnknownPayload,
    page_checksum,
    parse_meta_block,
    parse_payload,
    parse_tail_block,
)
from harness.ondisk.units import BLOCK_BYTES, BLOCK_SECTORS, LogSector
from harness.recovery.era import Bounds
from harness.recovery.log import (
    Entry,
    Log,
    LogEnd,
    Mismatch,
    ScannedMeta,
    UndefinedRecovery,
)
from harness.recovery.plain_metas import read_plain_meta
from harness.recovery.read_ahead_pool import POOL_PAGES, StaleRead

_WORD = struct.Struct("<I")


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
    """Return the meta block that continues the log, or how the log ends there.

    Raises:
        UndefinedRecovery: a read failed, and what was in memory before is taken for the block.
    """
    try:
        place = _place(log, position)
    except StaleRead:
        raise UndefinedRecovery(
            f"log sector {position}: the next meta block comes from a failed read, so the outcome"
            " cannot be told"
        ) from None
    block = None if place is None else log.read_block(place)
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
    log.pool.reset(position, 0)
    while not isinstance(meta := next_meta(log, position, seq), LogEnd):
        scanned = read_meta(log, meta)
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


def read_meta(log: Log, meta: MetaBlock) -> ScannedMeta:
    """Return what the log's era makes of one meta block; see `scan_meta`."""
    plain = read_plain_meta(log, meta) if log.pool.is_aligned else None
    if plain is None or (plain.has_flush and not log.era.knows_flush):
        return scan_meta(log, meta)
    if log.era.reads_ahead and (pages := plain.log_sectors // BLOCK_SECTORS - 1):
        first = log.ring.add(meta.position, BLOCK_SECTORS)
        log.pool.pass_over(first, pages)  # verified
        log.pool.pass_over(first, pages)  # loaded
    return plain


def scan_meta(log: Log, meta: MetaBlock) -> ScannedMeta:
    """Go through a meta block descriptor by descriptor, by the rules of the log's era.

    Raises:
        UndefinedRecovery: a descriptor leads this era's kernel out of the block.
    """
    announced: list[tuple[Payload, LogSector]] = []
    loaded = BLOCK_SECTORS  # grows by the pages that are loaded, not by what size announces
    pages_at = log.ring.add(meta.position, BLOCK_SECTORS)
    trusting = log.era.bounds is Bounds.NONE
    limit = BLOCK_BYTES if trusting else meta.meta_size
    offset = HEADER_BYTES
    buffer = _Buffer(log, meta)
    while offset + log.era.ignored_trailing_bytes < meta.meta_size:
        parsed = parse_payload(meta.block, offset, limit, clip=trusting)
        if isinstance(parsed, BrokenPayload):
            if trusting:
                raise beyond_block(meta, offset)
            broken = Mismatch(f"descriptor at byte {parsed.offset}: {parsed.reason}", meta.position)
            return ScannedMeta(meta, (), broken, BLOCK_SECTORS)
        payload, length = parsed
        if mismatch := _verify(buffer, offset, payload, pages_at):
            return ScannedMeta(meta, (), mismatch, BLOCK_SECTORS)
        announced.append((payload, pages_at))
        if isinstance(payload, DataPayload | ParityPayload):
            loaded += BLOCK_SECTORS * _pages_loaded(log, payload)
            pages_at = log.ring.add(pages_at, payload.size)
        elif trusting and offset + length > BLOCK_BYTES:
            raise beyond_block(meta, offset)
        offset += length
    entries = [entry for payload, at in announced for entry in _loaded(buffer, payload, at)]
    return ScannedMeta(meta, tuple(entries), None, loaded)


def scan_alone(log: Log, meta: MetaBlock) -> ScannedMeta:
    """Do what `scan_meta` does, as if nothing had been read before this block.

    That matters only for sizes that are no whole pages, more than a MiB behind the last fetch.
    """
    blocks = (log.ring.size - meta.position) // BLOCK_SECTORS
    log.pool.reset(meta.position, min(POOL_PAGES, blocks))
    return scan_meta(log, meta)


class _Buffer:
    """The page into which recovery reads what it verifies: it keeps what a failed read left."""

    def __init__(self, log: Log, meta: MetaBlock) -> None:
        self.log = log
        self.meta = meta
        self._page: bytes | None = None

    def read(self, offset: LogSector) -> bytes | None:
        """Return the page for an offset, or what was read before; ``None``: nothing was."""
        place = self.place(offset)
        page = None if place is None else self.log.read_block(place)
        if page is not None or not self.log.era.reads_ahead:
            self._page = page
        return self._page

    def place(self, offset: LogSector) -> LogSector | None:
        """Return where the page for an offset comes from.

        Raises:
            UndefinedRecovery: from a read before one that failed.
        """
        try:
            return _place(self.log, offset)
        except StaleRead:
            raise self.untold(f"the page at {offset} comes from a failed read") from None

    def untold(self, why: str) -> UndefinedRecovery:
        """Return the error that says why the outcome cannot be told."""
        at = f"meta block {self.meta.seq} at log sector {self.meta.position}"
        return UndefinedRecovery(f"{at}: {why}, so its outcome cannot be told")


def _place(log: Log, offset: LogSector) -> LogSector | None:
    """Return where the block comes from that recovery gets for an offset."""
    return log.pool.place(offset) if log.era.reads_ahead else offset


def _loaded(buffer: _Buffer, payload: Payload, pages_at: LogSector) -> list[Entry]:
    """Return what recovery takes in of a verified descriptor, when it reads the pages once more.

    Raises:
        UndefinedRecovery: it gets none, or P and Q that are not neighbours.
    """
    if not isinstance(payload, DataPayload | ParityPayload):
        return entries_of(payload, pages_at)
    log = buffer.log
    if not log.era.reads_ahead:
        return entries_of(payload, pages_at)
    place = buffer.place(pages_at)
    if place is None:
        raise buffer.untold(f"the page at {pages_at} was verified and cannot be read any more")
    if _pages_loaded(log, payload) > 1:
        other = buffer.place(log.ring.add(pages_at, BLOCK_SECTORS))
        if other != log.ring.add(place, BLOCK_SECTORS):
            raise buffer.untold(f"P is read at {place}, and Q not behind it")
    return entries_of(payload, place)


def entries_of(payload: Payload, pages_at: LogSector) -> list[Entry]:
    """Return what recovery takes in of one descriptor whose pages begin at *pages_at*."""
    match payload:
        case DataPayload(location=location):
            return [(PayloadType.DATA, location, pages_at)]
        case ParityPayload(location=stripe):
            return [(PayloadType.PARITY, stripe, pages_at)]
        case FlushPayload(stripes=stripes):
            return [(PayloadType.FLUSH, stripe, pages_at) for stripe in stripes]
        case _:
            return []


def _pages_loaded(log: Log, payload: DataPayload | ParityPayload) -> int:
    return 1 if isinstance(payload, DataPayload) else log.parities


def _verify(buffer: _Buffer, offset: int, payload: Payload, pages_at: LogSector) -> Mismatch | None:
    log, meta = buffer.log, buffer.meta
    if isinstance(payload, UnknownPayload):
        return Mismatch(f"descriptor at byte {offset}: type {payload.type}", pages_at)
    if isinstance(payload, FlushPayload):
        if log.era.knows_flush:
            return None
        return Mismatch(f"descriptor at byte {offset}: FLUSH is not known yet", pages_at)
    pages = _pages_loaded(log, payload)
    if log.era.bounds is Bounds.FIT_AND_HOLD and payload.size // BLOCK_SECTORS < pages:
        too_small = f"descriptor at byte {offset}: size {payload.size} holds no {pages} page(s)"
        return Mismatch(too_small, pages_at)
    at = pages_at
    for number in range(pages):
        if reason := page_fault(log, buffer.read(at), stored_checksum(meta, offset, number)):
            return Mismatch(f"page at {at}: {reason}", at)
        at = log.ring.add(at, BLOCK_SECTORS)
    return None
