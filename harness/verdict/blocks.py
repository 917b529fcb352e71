"""Find the blocks in which two contents differ, and say in words what is there."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import numpy as np

from harness.crash.pattern import SECTOR_BYTES, describe_sector
from harness.ondisk.units import BLOCK_BYTES, StripeSector
from harness.recovery.geometry import Geometry

Read = Callable[[int, int], bytes]  # (offset, length) in bytes of one image
_CHUNK_BYTES = 1 << 20


def differing_blocks(
    left: Read, right: Read, ranges: Iterable[tuple[int, int]], *, block_bytes: int = BLOCK_BYTES
) -> Iterator[int]:
    """Yield the offset of each block that differs, over *ranges* of (offset, length) in bytes.

    Ranges begin at multiples of *block_bytes* counted from the first one's own start.
    """
    for start, length in ranges:
        for at in range(start, start + length, _CHUNK_BYTES):
            size = min(_CHUNK_BYTES, start + length - at)
            mine, yours = left(at, size), right(at, size)
            if mine == yours:
                continue
            for offset in range(0, size, block_bytes):
                if mine[offset : offset + block_bytes] != yours[offset : offset + block_bytes]:
                    yield at + offset


def count_differing_bytes(left: bytes, right: bytes) -> int:
    """Return in how many bytes two blocks of one length differ."""
    mine, yours = np.frombuffer(left, np.uint8), np.frombuffer(right, np.uint8)
    return int(np.count_nonzero(mine != yours))


def describe_difference(observed: bytes, predicted: bytes) -> tuple[str, ...]:
    """Say what is in the first differing sector of a block, on both sides."""
    for offset in range(0, len(observed), SECTOR_BYTES):
        mine, yours = observed[offset : offset + 512], predicted[offset : offset + 512]
        if mine != yours:
            return (
                f"the kernel left:     {describe_sector(mine)}",
                f"the model predicted: {describe_sector(yours)}",
                (
                    f"{count_differing_bytes(observed, predicted)} of {len(observed)} bytes"
                    f" differ, the first in sector {offset // SECTOR_BYTES} of the block"
                ),
            )
    return ("the blocks are equal",)


def describe_place(geometry: Geometry, device: int, sector: StripeSector) -> str:
    """Say what a sector of a member is for: data of which array sector, P or Q of which stripe."""
    row = geometry.row_at(sector)
    stripe = f"stripe {sector & ~7}"
    if device == row.pd_idx:
        return f"P of {stripe}"
    if device == row.qd_idx:
        return f"Q of {stripe}"
    return f"data of array sector {geometry.array_sector(device, sector)} ({stripe})"
