"""What a workload writes: every sector tells where it belongs and which write put it there.

On the standard library alone: the guest's agent writes with this very module, the oracles read
with it, so the two cannot disagree about a byte.
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass

SECTOR_BYTES = 512

# magic, seed, write number, array sector
_HEAD = struct.Struct("<8sQQQ")
_MAGIC = b"MDJWRITE"


@dataclass(frozen=True, slots=True)
class Stamp:
    """What a written sector says of itself."""

    seed: int
    write: int
    sector: int  # of the array


def sector_content(stamp: Stamp) -> bytes:
    """Return the 512 bytes that write *stamp.write* puts into one sector of the array.

    Behind the stamp comes a stream drawn from it, so that parity over such sectors is not
    trivially zero and a sector that is torn inside is noticed.
    """
    head = _HEAD.pack(_MAGIC, stamp.seed, stamp.write, stamp.sector)
    return head + hashlib.shake_128(head).digest(SECTOR_BYTES - _HEAD.size)


def write_content(*, seed: int, write: int, sector: int, sectors: int) -> bytes:
    """Return the content of a whole write of *sectors* sectors at array sector *sector*."""
    return b"".join(
        sector_content(Stamp(seed, write, number)) for number in range(sector, sector + sectors)
    )


def read_stamp(content: bytes) -> Stamp | None:
    """Return the stamp of one sector if all of its 512 bytes are as written, else ``None``."""
    magic, seed, write, sector = _HEAD.unpack_from(content)
    if magic != _MAGIC:
        return None
    stamp = Stamp(seed, write, sector)
    return stamp if sector_content(stamp) == content else None


def describe_sector(content: bytes) -> str:
    """Say in words what 512 bytes are: a write's, zeroes, or foreign."""
    if not any(content):
        return "zeroes"
    stamp = read_stamp(content)
    if stamp is not None:
        return f"write {stamp.write} of array sector {stamp.sector} (seed {stamp.seed})"
    if content.startswith(_MAGIC):
        return "a damaged sector of the workload"
    return f"other bytes ({content[:8].hex(' ')} ..)"
