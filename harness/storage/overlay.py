"""Writes that are kept beside a disk and forgotten together: a crash state stays as it was.

On the standard library alone, since the disk server's plug-in serves states with this module.

A state's file is a list of records, each a header (u32 disk, u64 offset in bytes, u32 length, all
little-endian) and *length* bytes behind it: what to write so that the state before it becomes this
one. A disk is its index in the server's configuration.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator

BLOCK_BYTES = 4096
_RECORD = struct.Struct("<IQI")

ReadBase = Callable[[int, int], bytes]  # offset, length


class Overlay:
    """What was written since the state was put there."""

    def __init__(self, read_base: ReadBase) -> None:
        self._read_base = read_base
        self._blocks: dict[int, bytearray] = {}
        self._kept: dict[int, bytes] = {}

    def forget(self) -> None:
        """Go back to the state as it was put there."""
        self._blocks.clear()

    def keep(self) -> None:
        """Keep what the disk holds now for `back`."""
        self._kept = {number: bytes(block) for number, block in self._blocks.items()}

    def back(self) -> None:
        """Go back to what was kept last."""
        self._blocks = {number: bytearray(block) for number, block in self._kept.items()}

    def write(self, offset: int, data: bytes) -> None:
        """Put *data* over the disk at *offset*."""
        at, end = offset, offset + len(data)
        while at < end:
            number, inside = divmod(at, BLOCK_BYTES)
            size = min(BLOCK_BYTES - inside, end - at)
            piece = data[at - offset : at - offset + size]
            if size == BLOCK_BYTES:
                self._blocks[number] = bytearray(piece)
            else:
                if number not in self._blocks:
                    base = self._read_base(number * BLOCK_BYTES, BLOCK_BYTES)
                    self._blocks[number] = bytearray(base)
                self._blocks[number][inside : inside + size] = piece
            at += size

    def read(self, offset: int, length: int) -> bytes:
        """Return what the disk holds with all that lies over it."""
        content = self._read_base(offset, length)
        first, last = offset // BLOCK_BYTES, (offset + length - 1) // BLOCK_BYTES
        if last - first < len(self._blocks):
            there = [number for number in range(first, last + 1) if number in self._blocks]
        else:
            there = [number for number in self._blocks if first <= number <= last]
        if not there:
            return content
        whole = bytearray(content)
        for number in there:
            start = number * BLOCK_BYTES - offset
            begin, end = max(start, 0), min(start + BLOCK_BYTES, length)
            whole[begin:end] = self._blocks[number][begin - start : end - start]
        return bytes(whole)


def encode_change(disk: int, offset: int, data: bytes) -> bytes:
    """Return one record of a state's file."""
    return _RECORD.pack(disk, offset, len(data)) + data


def decode_changes(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Yield (disk, offset, bytes) of each record of a state's file."""
    position = 0
    while position < len(data):
        disk, offset, length = _RECORD.unpack_from(data, position)
        position += _RECORD.size
        yield disk, offset, data[position : position + length]
        position += length
