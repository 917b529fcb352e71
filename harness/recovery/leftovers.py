"""What lies in the ring outside of the log that recovery follows.

Old generations of the log stay there until they are written over (format document, 0.3 and 6.4),
so most of what is found is harmless. What is not: meta blocks of this array that come after the
log's end, and those of another array.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from harness.ondisk.log import MAGIC, Fault, Rejected, parse_meta_block
from harness.ondisk.units import LogSector

MAGIC_BYTES = struct.pack("<I", MAGIC)
_FIELDS = struct.Struct("<8xB3xIQQ")  # version, meta_size, seq, position


@dataclass(frozen=True, slots=True)
class FoundMeta:
    """A meta block somewhere in the ring."""

    position: LogSector
    seq: int


@dataclass(slots=True)
class Leftovers:
    """Counts of meta blocks outside of the live log, and an example of each kind."""

    seed: int  # uuid_checksum of the array
    next_seq: int | None  # where the live log ends; None: there is no live log
    blocks: int = 0  # that begin as a meta block does
    older: int = 0  # of this array, from before the live log's end
    newer: int = 0  # of this array, numbered as if they came after it
    nearest: FoundMeta | None = None  # of the newer ones, the lowest seq
    newest: FoundMeta | None = None  # of all valid ones, the highest seq
    unfit: int = 0  # in their place, but their checksum is not of this array
    unfit_example: FoundMeta | None = None

    def take(self, position: LogSector, block: bytes) -> None:
        """Take a block that begins with the magic number."""
        self.blocks += 1
        version, meta_size, seq, claimed = _FIELDS.unpack_from(block)
        parsed = parse_meta_block(block, seed=self.seed, seq=None, position=position)
        found = FoundMeta(position, seq)
        if isinstance(parsed, Rejected):
            is_meta = version == 1 and 32 <= meta_size <= len(block) and claimed % 8 == 0
            if parsed.fault in (Fault.CHECKSUM, Fault.POSITION) and is_meta:
                self.unfit += 1
                self.unfit_example = self.unfit_example or found
            return
        if self.newest is None or seq > self.newest.seq:
            self.newest = found
        if self.next_seq is None or seq < self.next_seq:
            self.older += 1
            return
        self.newer += 1
        if self.nearest is None or seq < self.nearest.seq:
            self.nearest = found
