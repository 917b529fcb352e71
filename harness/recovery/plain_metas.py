"""Meta blocks that every era since 4.10 reads alike, decoded and verified in one go.

What a driver writes has descriptors of three fixed shapes that end where ``meta_size`` says. For
those there is one meaning, whichever bounds an era looks at, and none of `scan.scan_meta`'s cases
arises. Everything else is not plain and is read by the era's own rules. A journal can have millions
of pages, so this is the one place where the loop is written for speed.
"""

from __future__ import annotations

import struct

import crc32c

from harness.ondisk.log import HEADER_BYTES, MetaBlock, PayloadType
from harness.ondisk.units import BLOCK_BYTES, BLOCK_SECTORS, LogSector
from harness.recovery.log import Entry, Log, ScannedMeta

_DESCRIPTOR = struct.Struct("<HHIQ")  # type, flags, size, location or first stripe
_CHECKSUMS = {1: struct.Struct("<I"), 2: struct.Struct("<II")}
_FLUSH_BYTES = 8  # of a FLUSH with an empty list
_DATA, _PARITY, _FLUSH = (int(kind) for kind in PayloadType)
_ALL_ONES = 0xFFFFFFFF


def read_plain_meta(log: Log, meta: MetaBlock) -> ScannedMeta | None:
    """Decode a meta block and verify all its pages; ``None``: it is not plain, or a page is bad."""
    decoded = _decode(meta, log)
    if decoded is None:
        return None
    entries, checksums = decoded
    if checksums and not _pages_verified(log, meta.position, checksums):
        return None
    return ScannedMeta(meta, tuple(entries), None, BLOCK_SECTORS * (1 + len(checksums)))


def _decode(meta: MetaBlock, log: Log) -> tuple[list[Entry], list[int]] | None:
    """Return what is taken in, and the checksum of each page, in the order of the log."""
    block, offset, end = meta.block, HEADER_BYTES, meta.meta_size
    at, size_of_ring = log.ring.add(meta.position, BLOCK_SECTORS), log.ring.size
    parities = log.parities
    entries: list[Entry] = []
    checksums: list[int] = []
    descriptor, one = _DESCRIPTOR.unpack_from, _CHECKSUMS[1].unpack_from
    parity, parity_sectors = _CHECKSUMS[parities].unpack_from, BLOCK_SECTORS * parities
    data_bytes, parity_bytes = _DESCRIPTOR.size + 4, _DESCRIPTOR.size + 4 * parities
    while offset < end:
        if end - offset < _DESCRIPTOR.size:
            return None
        kind, flags, size, location = descriptor(block, offset)
        if flags:  # no kernel sets any
            return None
        if kind == _DATA and size == BLOCK_SECTORS and end - offset >= data_bytes:
            checksums += one(block, offset + 16)
            offset += data_bytes
        elif kind == _PARITY and size == parity_sectors and end - offset >= parity_bytes:
            checksums += parity(block, offset + 16)
            offset += parity_bytes
        elif kind == _FLUSH and size and not size % 8 and end - offset >= _FLUSH_BYTES + size:
            listed = struct.unpack_from(f"<{size // 8}Q", block, offset + _FLUSH_BYTES)
            entries += [(_FLUSH, stripe, at) for stripe in listed]
            offset += _FLUSH_BYTES + size
            continue
        else:
            return None
        entries.append((kind, location, at))
        moved = at + size
        at = LogSector(moved if moved < size_of_ring else moved - size_of_ring)  # Ring.add
    return entries, checksums


def _pages_verified(log: Log, meta: LogSector, checksums: list[int]) -> bool:
    """Whether the pages behind a meta block, around the end of the ring, are as announced."""
    first = log.ring.add(meta, BLOCK_SECTORS)
    before_end = (log.ring.size - first) // BLOCK_SECTORS
    if len(checksums) < before_end:
        # One more: it will be the next meta block.
        return _verified(log, log.read_blocks(first, len(checksums) + 1), checksums)
    return _verified(log, log.read_blocks(first, before_end), checksums[:before_end]) and _verified(
        log, log.read_blocks(LogSector(0), len(checksums) - before_end), checksums[before_end:]
    )


def _verified(log: Log, read: bytes | memoryview, checksums: list[int]) -> bool:
    pages = memoryview(read)
    if len(pages) < BLOCK_BYTES * len(checksums):
        return False
    checksum, start, at = crc32c.crc32c, log.seed ^ _ALL_ONES, 0  # as in kernel_crc32c
    for wanted in checksums:
        if checksum(pages[at : at + BLOCK_BYTES], start) ^ _ALL_ONES != wanted:
            return False
        at += BLOCK_BYTES
    return True
