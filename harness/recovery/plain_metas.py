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

_ONE_PAGE = struct.Struct("<HHIQI")  # type, flags, size, location, checksum
_TWO_PAGES = struct.Struct("<HHIQII")  # PARITY on RAID-6: P and Q
_FLUSH_HEAD = struct.Struct("<HHI")
_DATA, _PARITY, _FLUSH = (int(kind) for kind in PayloadType)
_ALL_ONES = 0xFFFFFFFF
_AT_ONCE = 15  # pages that are read and verified at once: few enough to stay in a core's cache


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
    block, offset, end = memoryview(meta.block), HEADER_BYTES, meta.meta_size
    at, ring = log.ring.add(meta.position, BLOCK_SECTORS), log.ring.size
    highest = _PARITY if log.parities == 1 else _DATA  # of the types with one page
    entries: list[Entry] = []
    checksums: list[int] = []
    while offset < end:
        alike = (end - offset) // _ONE_PAGE.size * _ONE_PAGE.size
        rows = _ONE_PAGE.iter_unpack(block[offset : offset + alike])
        for kind, flags, size, location, checksum in rows:
            if kind > highest or flags or size != BLOCK_SECTORS:
                break
            entries.append((kind, location, at))
            checksums.append(checksum)
            offset += _ONE_PAGE.size
            moved = at + BLOCK_SECTORS
            at = LogSector(moved if moved < ring else moved - ring)  # Ring.add
        if offset == end:
            break
        other = _other(block[offset:end], log, at, checksums)
        if other is None:
            return None
        found, length, sectors = other
        entries += found
        offset += length
        at = log.ring.add(at, sectors)
    return entries, checksums


def _other(
    rest: memoryview, log: Log, at: LogSector, checksums: list[int]
) -> tuple[list[Entry], int, int] | None:
    """Return what the descriptor of another length at the start of *rest* gives, its length in
    bytes, and the sectors of its pages; ``None``: it is not plain.
    """
    if len(rest) < _FLUSH_HEAD.size:
        return None
    kind, flags, size = _FLUSH_HEAD.unpack_from(rest)
    if kind == _PARITY and log.parities == 2 and len(rest) >= _TWO_PAGES.size:
        _, _, _, stripe, p, q = _TWO_PAGES.unpack_from(rest)
        checksums += (p, q)
        plain = not flags and size == 2 * BLOCK_SECTORS
        return ([(kind, stripe, at)], _TWO_PAGES.size, size) if plain else None
    length = _FLUSH_HEAD.size + size
    if kind != _FLUSH or flags or not size or size % 8 or length > len(rest):
        return None
    stripes = struct.unpack_from(f"<{size // 8}Q", rest, _FLUSH_HEAD.size)
    return [(kind, stripe, at) for stripe in stripes], length, 0


def _pages_verified(log: Log, meta: LogSector, checksums: list[int]) -> bool:
    """Whether the pages behind a meta block, around the end of the ring, are as announced."""
    at, done = log.ring.add(meta, BLOCK_SECTORS), 0
    while done < len(checksums):
        before_end = (log.ring.size - at) // BLOCK_SECTORS
        count = min(_AT_ONCE, before_end, len(checksums) - done)
        # One more where there is one: behind the last page it will be the next meta block.
        pages = log.read_blocks(at, min(count + 1, before_end))
        if not _verified(log, pages, checksums[done : done + count]):
            return False
        done += count
        at = log.ring.add(at, count * BLOCK_SECTORS)
    return True


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
