"""What a workload writes: every sector tells where it belongs and which write put it there.

On the standard library alone: the guest's agent writes with this very module, the oracles read
with it, so the two cannot disagree about a byte.
"""

from __future__ import annotations

import enum
import hashlib
import struct
from dataclasses import dataclass

SECTOR_BYTES = 512

# magic, seed, write number, array sector
_HEAD = struct.Struct("<8sQQQ")


class Fill(enum.Enum):
    """What a sector holds behind its stamp."""

    # Drawn from the stamp, so that every byte of a parity page matters.
    STREAM = "stream"
    # The stamp again and again: images that are kept for long become small when compressed.
    PLAIN = "plain"


_MAGIC = {Fill.STREAM: b"MDJWRITE", Fill.PLAIN: b"MDJPLAIN"}
_FILL = {magic: fill for fill, magic in _MAGIC.items()}


@dataclass(frozen=True, slots=True)
class Stamp:
    """What a written sector says of itself."""

    seed: int
    write: int
    sector: int  # of the array
    fill: Fill = Fill.STREAM


def sector_content(stamp: Stamp) -> bytes:
    """Return the 512 bytes that write *stamp.write* puts into one sector of the array.

    A sector that is torn inside is noticed, whatever its fill.
    """
    head = _HEAD.pack(_MAGIC[stamp.fill], stamp.seed, stamp.write, stamp.sector)
    if stamp.fill is Fill.PLAIN:
        return head * (SECTOR_BYTES // _HEAD.size)
    return head + hashlib.shake_128(head).digest(SECTOR_BYTES - _HEAD.size)


def write_content(
    *, seed: int, write: int, sector: int, sectors: int, fill: Fill = Fill.STREAM
) -> bytes:
    """Return the content of a whole write of *sectors* sectors at array sector *sector*."""
    return b"".join(
        sector_content(Stamp(seed, write, number, fill))
        for number in range(sector, sector + sectors)
    )


def read_stamp(content: bytes) -> Stamp | None:
    """Return the stamp of one sector if all of its 512 bytes are as written, else ``None``."""
    magic, seed, write, sector = _HEAD.unpack_from(content)
    if magic not in _FILL:
        return None
    stamp = Stamp(seed, write, sector, _FILL[magic])
    return stamp if sector_content(stamp) == content else None


def describe_sector(content: bytes) -> str:
    """Say in words what 512 bytes are: a write's, zeroes, or foreign."""
    if not any(content):
        return "zeroes"
    stamp = read_stamp(content)
    if stamp is not None:
        return f"write {stamp.write} of array sector {stamp.sector} (seed {stamp.seed})"
    if content.startswith(tuple(_FILL)):
        return "a damaged sector of the workload"
    return f"other bytes ({content[:8].hex(' ')} ..)"
