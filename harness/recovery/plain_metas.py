"""Meta blocks that every era since 4.10 reads alike, decoded in one go.

What a driver writes has descriptors of three fixed shapes that end where ``meta_size`` says. For
those there is one meaning, whichever bounds an era looks at, and none of `scan.scan_log`'s cases
arises. Everything else is not plain and has to be read by the era's own rules. A plain meta block
holds numbers only, since a journal can have millions of pages.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass

from harness.ondisk.crc import kernel_crc32c
from harness.ondisk.log import HEADER_BYTES, MetaBlock, PayloadType
from harness.ondisk.units import BLOCK_BYTES, BLOCK_SECTORS, LogSector
from harness.recovery.scan import Log

ReadBlocks = Callable[[LogSector, int], bytes]  # so many blocks, fewer where they cannot be read

_DESCRIPTOR = struct.Struct("<HHIQ")  # type, flags, size, location or first stripe
_SMALLEST = 8  # a FLUSH of an empty list
_DATA, _PARITY, _FLUSH = PayloadType.DATA, PayloadType.PARITY, PayloadType.FLUSH


@dataclass(frozen=True, slots=True)
class PlainMeta:
    """Descriptors as (type, location) in their order; each stripe of a FLUSH stands alone."""

    meta: MetaBlock
    payloads: tuple[tuple[int, int], ...]
    pages: int
    has_flush: bool
    has_flags: bool

    @property
    def log_sectors(self) -> int:
        """How far the scan moves on from here."""
        return BLOCK_SECTORS * (1 + self.pages)


def read_plain_meta(log: Log, read_blocks: ReadBlocks, meta: MetaBlock) -> PlainMeta | None:
    """Decode a meta block and verify all its pages; ``None``: it is not plain, or a page is bad."""
    decoded = _decode(meta, log.parities)
    if decoded is None:
        return None
    plain, checksums = decoded
    if checksums:
        pages = memoryview(_read_ring(log, read_blocks, meta.position, len(checksums)))
        if len(pages) < BLOCK_BYTES * len(checksums):
            return None
        seed, at = log.seed, 0
        for wanted in checksums:
            if kernel_crc32c(seed, pages[at : at + BLOCK_BYTES]) != wanted:
                return None
            at += BLOCK_BYTES
    return plain


def _read_ring(log: Log, read_blocks: ReadBlocks, meta: LogSector, count: int) -> bytes:
    first = log.ring.add(meta, BLOCK_SECTORS)
    before_end = min(count, (log.ring.size - first) // BLOCK_SECTORS)
    pages = read_blocks(first, before_end)
    if before_end < count:
        pages += read_blocks(LogSector(0), count - before_end)
    return pages


def _decode(meta: MetaBlock, parities: int) -> tuple[PlainMeta, list[int]] | None:
    block, offset, end = meta.block, HEADER_BYTES, meta.meta_size
    payloads: list[tuple[int, int]] = []
    checksums: list[int] = []
    has_flush = has_flags = False
    while offset < end:
        if end - offset < _DESCRIPTOR.size:
            return None
        kind, flags, size, value = _DESCRIPTOR.unpack_from(block, offset)
        has_flags = has_flags or flags != 0
        if kind == _FLUSH:
            length = _SMALLEST + size
            if size % 8 or not size:
                return None
            has_flush = True
        else:
            pages = 1 if kind == _DATA else parities
            length = _DESCRIPTOR.size + 4 * pages
            if kind not in (_DATA, _PARITY) or size != BLOCK_SECTORS * pages:
                return None
        if length > end - offset:
            return None
        if kind == _FLUSH:
            stripes = struct.unpack_from(f"<{size // 8}Q", block, offset + _SMALLEST)
            payloads += [(_FLUSH, stripe) for stripe in stripes]
        else:
            payloads.append((kind, value))
            checksums += struct.unpack_from(f"<{pages}I", block, offset + _DESCRIPTOR.size)
        offset += length
    return PlainMeta(meta, tuple(payloads), len(checksums), has_flush, has_flags), checksums
