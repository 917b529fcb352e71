"""What recovery makes of a crash state that is in memory, and all that it looks at for that."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from harness.crash.content import DiskContent
from harness.crash.history import BLOCK_BYTES
from harness.errors import BadImage
from harness.ondisk.crc import uuid_checksum
from harness.ondisk.log import PayloadType
from harness.ondisk.superblock import SUPERBLOCK_BYTES, Superblock, parse_superblock
from harness.ondisk.units import SECTOR_BYTES, DeviceSector, LogSector
from harness.recovery.era import Era
from harness.recovery.image_writes import ImageWrite, OutsideWrite, RecoveryWrites
from harness.recovery.log import Log
from harness.recovery.members import Array, no_longer_members, put_together
from harness.recovery.plan import RecoveryPlan, follow_log

SUPERBLOCK_AT = DeviceSector(8)  # the arrays that are built here have 1.2 metadata


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictedState:
    """A crash state's array, its recovery, and what the disks hold afterwards; by disk's name."""

    array: Array
    log: Log
    plan: RecoveryPlan
    outside: tuple[OutsideWrite, ...]
    before: Mapping[str, DiskContent]  # of the disks that take part
    after: Mapping[str, DiskContent]
    left_out: tuple[str, ...]  # disks that the array goes on without
    identity: bytes  # states with the same one are recovered alike


def predict_state(
    contents: Mapping[str, DiskContent],
    sizes_bytes: Mapping[str, int],
    era: Era,
    *,
    stripe_cache_size: int,
) -> PredictedState:
    """Predict the recovery of a crash state.

    Args:
        contents: of each disk, by name.
        sizes_bytes: of each disk.
        era: of the kernel that is to recover it.
        stripe_cache_size: of the array, in stripes.

    Raises:
        BadImage: the disks are no array with a journal that the kernel could start.
        UndefinedRecovery, UnreadableTail, StripeCacheExhausted: as of ``plan_recovery``.
    """
    superblocks = superblocks_of(contents, sizes_bytes)
    left_out = no_longer_members(superblocks)
    array = put_together({n: s for n, s in superblocks.items() if n not in left_out})
    if array.journal is None:
        raise BadImage("the journal is none of the disks")
    before = {name: contents[name] for name in array.superblocks}
    after = {name: content.copy() for name, content in before.items()}
    looks = _Looks(before)
    log = _log_of(array, array.journal, looks, era)

    def read_after(name: str, offset: int, length: int) -> bytes:
        looks.see(name, offset, length)
        return after[name].read(offset, length)

    writes = RecoveryWrites(array, log, read_after, seed=0, stripe_cache_size=stripe_cache_size)
    for write in writes:
        if isinstance(write, ImageWrite):
            after[write.label].write(write.offset, write.data)
    assert writes.plan is not None
    for name in before:  # md reads each superblock
        looks.see(name, SUPERBLOCK_AT * SECTOR_BYTES, SUPERBLOCK_BYTES)
    return PredictedState(
        array=array, log=log, plan=writes.plan, outside=tuple(writes.outside), before=before,
        after=after, left_out=left_out, identity=looks.digest(),
    )  # fmt: skip


def flushed_stripes(predicted: PredictedState) -> frozenset[int]:
    """Return the stripes that a FLUSH in the live log names: recovery takes them for written."""
    return frozenset(
        location
        for scanned in follow_log(predicted.log, predicted.array.geometry)
        for kind, location, _ in scanned.entries
        if kind == PayloadType.FLUSH
    )


def superblocks_of(
    contents: Mapping[str, DiskContent], sizes_bytes: Mapping[str, int]
) -> dict[str, Superblock]:
    """Return the superblock of each disk."""
    at = SUPERBLOCK_AT * SECTOR_BYTES
    return {
        name: parse_superblock(
            content.read(at, SUPERBLOCK_BYTES), at=SUPERBLOCK_AT, minor_version=2,
            device_sectors=sizes_bytes[name] // SECTOR_BYTES,
        )
        for name, content in contents.items()
    }  # fmt: skip


class _Looks:
    """Contents, and which blocks of them were looked at."""

    def __init__(self, contents: Mapping[str, DiskContent]) -> None:
        self._contents = contents
        self._seen: set[tuple[str, int]] = set()

    def see(self, name: str, offset: int, length: int) -> None:
        """Take note that these bytes are looked at."""
        for block in range(offset // BLOCK_BYTES, (offset + length - 1) // BLOCK_BYTES + 1):
            self._seen.add((name, block))

    def read(self, name: str, offset: int, length: int) -> bytes:
        """Read them, and take note of it."""
        self.see(name, offset, length)
        return self._contents[name].read(offset, length)

    def digest(self) -> bytes:
        """Return a hash of all that was seen."""
        digest = hashlib.blake2b(digest_size=16)
        for name, block in sorted(self._seen):
            digest.update(f"{name} {block} ".encode())
            digest.update(self._contents[name].block(block))
        return digest.digest()


def _log_of(array: Array, journal: str, looks: _Looks, era: Era) -> Log:
    superblock = array.superblocks[journal]
    start, size = superblock.data_offset, superblock.data_size

    def read_blocks(position: LogSector, count: int) -> bytes:
        there = max(0, min(count, (size - position) * SECTOR_BYTES // BLOCK_BYTES))
        if not there:
            return b""
        return looks.read(journal, (start + position) * SECTOR_BYTES, there * BLOCK_BYTES)

    return Log(
        read_blocks=read_blocks, data_size=size, journal_tail=superblock.journal_tail,
        seed=uuid_checksum(array.set_uuid), parities=array.geometry.level.parities, era=era,
    )  # fmt: skip
