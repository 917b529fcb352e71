"""What recovery makes of a crash state that is in memory, and all that it looks at for that."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from harness.crash.content import DiskContent
from harness.crash.history import BLOCK_BYTES
from harness.errors import BadImage
from harness.ondisk.crc import uuid_checksum
from harness.ondisk.log import PayloadType
from harness.ondisk.superblock import (
    SUPERBLOCK_BYTES,
    Superblock,
    has_superblock_magic,
    parse_superblock,
    superblock_places,
)
from harness.ondisk.units import BLOCK_SECTORS, SECTOR_BYTES, ArraySector, DeviceSector, LogSector
from harness.recovery.era import Era
from harness.recovery.image_writes import ImageWrite, OutsideWrite, RecoveryWrites
from harness.recovery.log import Log
from harness.recovery.members import Array, no_longer_members, put_together, stale_members
from harness.recovery.plan import RecoveryPlan, follow_log, plan_recovery

Look = tuple[str, int]  # a disk, and the number of a block of it

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
    stale: int  # how many of them are members that it still counts on
    identity: bytes  # states with the same one are recovered alike


def predict_state(
    contents: Mapping[str, DiskContent],
    sizes_bytes: Mapping[str, int],
    era: Era,
    *,
    stripe_cache_size: int,
) -> PredictedState:
    """Predict the recovery of one crash state; see `Predictor`."""
    return Predictor(sizes_bytes, era, stripe_cache_size=stripe_cache_size).predict(contents)


class JournalGone(BadImage):
    """The array has marked its journal as faulty, or it is none of the disks."""

    def __init__(self, array: Array, stale: int) -> None:
        """Take the *array* without it, and how many *stale* members that one counts on."""
        super().__init__("the journal is none of the disks")
        self.array = array
        self.stale = stale


class Predictor:
    """Predicts recoveries, and knows a state that recovery cannot tell from one before.

    What recovery looks at next follows from what it has seen, so all predictions made so far are
    a tree: at each node the block that is looked at, below it what was found there.
    """

    def __init__(self, sizes_bytes: Mapping[str, int], era: Era, *, stripe_cache_size: int) -> None:
        """Prepare.

        Args:
            sizes_bytes: of each disk, by name.
            era: of the kernel that is to recover the states.
            stripe_cache_size: of the array, in stripes.
        """
        self._sizes = sizes_bytes
        self._era = era
        self._stripe_cache_size = stripe_cache_size
        self._known: _Node | _Made | None = None

    def predict(self, contents: Mapping[str, DiskContent]) -> PredictedState:
        """Predict the recovery of a crash state.

        Args:
            contents: of each disk, by name.

        Raises:
            JournalGone: there is no journal to recover from.
            BadImage: the disks are no array that the kernel could start.
            UndefinedRecovery, UnreadableTail, StripeCacheExhausted: as of ``plan_recovery``.
        """
        made = self._look_up(contents)
        if made is None:
            made = self._predict(contents)
            self._known = _with(self._known, made.looks, contents, made)
        before = {name: contents[name] for name in made.array.superblocks}
        after = {name: content.copy() for name, content in before.items()}
        for write in made.writes:
            after[write.label].write(write.offset, write.data)
        return PredictedState(
            array=made.array, log=made.log, plan=made.plan, outside=made.outside, before=before,
            after=after, left_out=made.left_out, stale=made.stale, identity=made.identity,
        )  # fmt: skip

    def _look_up(self, contents: Mapping[str, DiskContent]) -> _Made | None:
        at = self._known
        while isinstance(at, _Node):
            name, block = at.place
            at = at.below.get(contents[name].block(block))
        return at

    def _predict(self, contents: Mapping[str, DiskContent]) -> _Made:
        looks = _Looks(contents)
        for name in contents:  # md reads each superblock
            looks.see(name, SUPERBLOCK_AT * SECTOR_BYTES, SUPERBLOCK_BYTES)
        superblocks = superblocks_of(contents, self._sizes)
        left_out = no_longer_members(superblocks)
        array = put_together({n: s for n, s in superblocks.items() if n not in left_out})
        if array.journal is None:
            raise JournalGone(array, len(stale_members(superblocks)))
        after = {name: contents[name].copy() for name in array.superblocks}
        size_sectors = self._sizes[array.journal] // SECTOR_BYTES
        log = _log_of(array, array.journal, looks, self._era, size_sectors)

        def read_after(name: str, offset: int, length: int) -> bytes:
            looks.see(name, offset, length)
            return after[name].read(offset, length)

        recovery = RecoveryWrites(
            array, log, read_after, seed=0, stripe_cache_size=self._stripe_cache_size,
            room_sectors={
                name: self._sizes[name] // SECTOR_BYTES - superblock.data_offset
                for name, superblock in array.superblocks.items()
            },
        )  # fmt: skip
        writes = []
        for write in recovery:
            if isinstance(write, ImageWrite):
                writes.append(write)
                after[write.label].write(write.offset, write.data)
        assert recovery.plan is not None
        return _Made(
            array=array, log=log, plan=recovery.plan, outside=tuple(recovery.outside),
            left_out=left_out, stale=len(stale_members(superblocks)), writes=tuple(writes),
            looks=tuple(looks.seen), identity=looks.digest(set(left_out)),
        )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class _Made:
    """A prediction as far as it is the same for all states that recovery cannot tell apart."""

    array: Array
    log: Log
    plan: RecoveryPlan
    outside: tuple[OutsideWrite, ...]
    left_out: tuple[str, ...]
    stale: int
    writes: tuple[ImageWrite, ...]
    looks: tuple[Look, ...]  # in order
    identity: bytes


@dataclass(frozen=True, slots=True)
class _Node:
    """The block that is looked at, and what follows from what is found there."""

    place: Look
    below: dict[bytes, _Node | _Made]


def _with(
    tree: _Node | _Made | None,
    looks: Sequence[Look],
    contents: Mapping[str, DiskContent],
    made: _Made,
) -> _Node | _Made:
    """Return a tree with one more prediction in it."""
    if not looks:
        return made
    root = tree if isinstance(tree, _Node) else _Node(looks[0], {})
    at = root
    for number, (name, block) in enumerate(looks):
        found = contents[name].block(block)
        if number + 1 == len(looks):
            at.below[found] = made
            break
        below = at.below.get(found)
        if not isinstance(below, _Node):
            below = at.below[found] = _Node(looks[number + 1], {})
        at = below
    return root


def flushed_stripes(predicted: PredictedState) -> frozenset[int]:
    """Return the stripes that a FLUSH in the live log names: recovery takes them for written."""
    return frozenset(
        location
        for scanned in follow_log(predicted.log, predicted.array.geometry)
        for kind, location, _ in scanned.entries
        if kind == PayloadType.FLUSH
    )


def flushed_data_only(predicted: PredictedState) -> int:
    """Return how often the log flushes a stripe of which it has data only at that point.

    No driver does: it logs parity before it writes a stripe out, and FLUSH behind that.
    """
    geometry = predicted.array.geometry
    count = 0
    caching: set[int] = set()
    for scanned in follow_log(predicted.log, geometry):
        for kind, location, _ in scanned.entries:
            if kind == PayloadType.DATA:
                caching.add(geometry.place(ArraySector(location)).sector)
            else:
                count += kind == PayloadType.FLUSH and location in caching
                caching.discard(location)
    return count


def runs_out_of_log(plan: RecoveryPlan, log: Log) -> bool:
    """Whether the log has no room for data-only stripes logged anew and for their parity.

    The driver does not let its log become so full. ``r5l_write_stripe`` then puts stripes aside,
    for which nothing makes room, or meets BUG() where one of them is the first of the log.
    """
    if not plan.written_out:
        return False
    anew = sum(1 + len(meta.pages) for meta in plan.rewritten)
    parity = (1 + log.parities) * len(plan.rewritten)
    return (anew + parity) * BLOCK_SECTORS >= log.ring.size


def plan_of_log(
    contents: Mapping[str, DiskContent], sizes_bytes: Mapping[str, int], era: Era
) -> tuple[RecoveryPlan, Log]:
    """Return what recovery makes of a state's log alone, whatever its members hold.

    Raises:
        UndefinedRecovery, UnreadableTail, StripeCacheExhausted: as of ``plan_recovery``.
    """
    array = put_together(superblocks_of(contents, sizes_bytes))
    assert array.journal is not None
    size_sectors = sizes_bytes[array.journal] // SECTOR_BYTES
    log = _log_of(array, array.journal, _Looks(contents), era, size_sectors)
    return plan_recovery(log, array.geometry), log


def data_only_beyond(predicted: PredictedState, sizes_bytes: Mapping[str, int]) -> bool:
    """Whether a data-only stripe lies behind the end of a member's disk."""
    rooms = [
        sizes_bytes[label] // SECTOR_BYTES - superblock.data_offset
        for label, superblock in predicted.array.superblocks.items()
        if not superblock.is_journal
    ]
    end = min(rooms, default=0)
    return any(each.stripe + BLOCK_SECTORS > end for each in predicted.plan.data_only)


def superblocks_of(
    contents: Mapping[str, DiskContent], sizes_bytes: Mapping[str, int]
) -> dict[str, Superblock]:
    """Return the superblock of each disk that has one: what has none is not of any array."""
    found = {}
    for name, content in contents.items():
        sectors = sizes_bytes[name] // SECTOR_BYTES
        for minor_version, at in superblock_places(sectors):
            raw = content.read(at * SECTOR_BYTES, SUPERBLOCK_BYTES)
            if has_superblock_magic(raw):
                found[name] = parse_superblock(
                    raw, at=at, minor_version=minor_version, device_sectors=sectors
                )
                break
    return found


class _Looks:
    """Contents, and which blocks of them were looked at, in order."""

    def __init__(self, contents: Mapping[str, DiskContent]) -> None:
        self._contents = contents
        self.seen: dict[Look, None] = {}

    def see(self, name: str, offset: int, length: int) -> None:
        """Take note that these bytes are looked at."""
        for block in range(offset // BLOCK_BYTES, (offset + length - 1) // BLOCK_BYTES + 1):
            self.seen[name, block] = None

    def read(self, name: str, offset: int, length: int) -> bytes:
        """Read them, and take note of it."""
        self.see(name, offset, length)
        return self._contents[name].read(offset, length)

    def digest(self, left_out: set[str]) -> bytes:
        """Return a hash of all that was seen, but of disks that the array goes on without."""
        digest = hashlib.blake2b(digest_size=16)
        for name, block in sorted(self.seen):
            if name not in left_out:
                digest.update(f"{name} {block} ".encode())
                digest.update(self._contents[name].block(block))
        return digest.digest()


def _log_of(array: Array, journal: str, looks: _Looks, era: Era, size_sectors: int) -> Log:
    superblock = array.superblocks[journal]
    start = superblock.data_offset
    size = size_sectors - start  # that can be read: to the disk's end, whatever the log's is

    def read_blocks(position: LogSector, count: int) -> bytes:
        there = max(0, min(count, (size - position) * SECTOR_BYTES // BLOCK_BYTES))
        if not there:
            return b""
        return looks.read(journal, (start + position) * SECTOR_BYTES, there * BLOCK_BYTES)

    return Log(
        read_blocks=read_blocks, data_size=superblock.data_size,
        journal_tail=superblock.journal_tail, seed=uuid_checksum(array.set_uuid),
        parities=array.geometry.level.parities, era=era,
    )  # fmt: skip
