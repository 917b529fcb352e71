"""The shape of an array to be tested: everything that is asked of mdadm and of the disks."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from harness.crash.disk_kinds import Bus, Discard
from harness.crash.trace import Cache
from harness.crash.workload import JournalMode
from harness.errors import BadInput
from harness.ondisk.units import SECTOR_BYTES
from harness.recovery.geometry import Geometry
from harness.recovery.layout import DEFAULT_LAYOUT, Level, layout_named, layout_of

KIB = 1024
MIB = 1024 * KIB
_OVERHEAD_BYTES = MIB  # before the data, see the next line, and to spare behind it
MEMBER_OFFSET_SECTORS = 1024 * 2  # data_offset of members, as `md.array.create` asks for it
_LEAST_MEMBERS = {Level.RAID4: 3, Level.RAID5: 3, Level.RAID6: 4}
_MOST_MEMBERS = 16  # disks that one guest is given


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """What is built. Sizes in bytes; disks are *overhead* larger than what they hold."""

    level: Level = Level.RAID5
    members: int = 3
    layout: int = 2
    chunk_bytes: int = 64 * KIB
    component_bytes: int = 16 * MIB
    journal_bytes: int = 8 * MIB
    mode: JournalMode = JournalMode.WRITE_THROUGH
    member_cache: Cache = Cache.WRITE_BACK
    journal_cache: Cache = Cache.WRITE_BACK
    journaled: bool = True  # without a journal: the control, which must show the write hole
    bus: Bus = Bus.VIRTIO
    logical_block_bytes: int = 512  # of members and journal
    discard: Discard = Discard.ARRAY
    spares: int = 0  # further disks, as large as a member's, that the array is not made of
    guard_bytes: int = 0  # of each disk, behind what the array has of it
    own_sizes: tuple[int, ...] = ()  # bytes of each disk, where they are no sum of the above

    @property
    def geometry(self) -> Geometry:
        """The arithmetic of this array."""
        return Geometry(
            layout=layout_of(self.level, self.layout),
            raid_disks=self.members,
            chunk_sectors=self.chunk_bytes // SECTOR_BYTES,
            component_sectors=self.component_bytes // SECTOR_BYTES,
        )

    @property
    def member_names(self) -> tuple[str, ...]:
        """The members' names, in order of their slots."""
        return tuple(member_name(slot) for slot in range(self.members))

    @property
    def spare_names(self) -> tuple[str, ...]:
        """The names of disks that the array is not made of."""
        return tuple(f"spare{number}" for number in range(self.spares))

    @property
    def member_disk_bytes(self) -> int:
        """Size of a member's disk."""
        return self.component_bytes + _OVERHEAD_BYTES + self.guard_bytes

    @property
    def journal_disk_bytes(self) -> int:
        """Size of the journal's disk."""
        return self.journal_bytes + _OVERHEAD_BYTES + self.guard_bytes

    @property
    def disk_sizes(self) -> dict[str, int]:
        """Bytes of each disk by its name: members by their slots, spares, the journal last."""
        names = (*self.member_names, *self.spare_names)
        sizes = dict.fromkeys(names, self.member_disk_bytes)
        sizes |= {JOURNAL_NAME: self.journal_disk_bytes} if self.journaled else {}
        return dict(zip(sizes, self.own_sizes, strict=True)) if self.own_sizes else sizes

    def __str__(self) -> str:
        """Say it in one line."""
        return (
            f"RAID-{self.level:d} {layout_of(self.level, self.layout).name}, {self.members} members"
            f" of {_in_words(self.component_bytes)}, chunk {self.chunk_bytes // KIB} KiB,"
            + (
                f" journal {self.journal_bytes // KIB} KiB {self.mode.value};"
                f" caches: members {self.member_cache.value}, journal {self.journal_cache.value}"
                if self.journaled
                else f" NO JOURNAL; caches: members {self.member_cache.value}"
            )
            + ("" if self.bus is Bus.VIRTIO else f"; {self.bus.value} disks")
            + (
                ""
                if self.logical_block_bytes == SECTOR_BYTES
                else f"; logical blocks of {self.logical_block_bytes} bytes"
            )
            + ("" if self.discard is Discard.ARRAY else f"; discard: {self.discard.value}")
            + (f"; {_in_words(self.guard_bytes)} behind it" if self.guard_bytes else "")
        )


def encode_shape(shape: Shape) -> dict[str, Any]:
    """Return a shape as JSON values."""
    values = ((field.name, getattr(shape, field.name)) for field in fields(shape))
    return {name: value.value if isinstance(value, enum.Enum) else value for name, value in values}


def decode_shape(document: Mapping[str, Any]) -> Shape:
    """Return the shape that JSON values are of.

    Raises:
        BadInput: they are of none.
    """
    kinds = {
        "level": Level, "mode": JournalMode, "member_cache": Cache, "journal_cache": Cache,
        "journaled": bool, "bus": Bus, "discard": Discard, "own_sizes": tuple,
    }  # fmt: skip
    try:
        return Shape(**{name: kinds.get(name, int)(value) for name, value in document.items()})
    except (TypeError, ValueError) as wrong:
        raise BadInput(f"this is no shape of an array: {wrong}") from wrong


JOURNAL_NAME = "journal"


def member_name(slot: int) -> str:
    """Return the name of the member in a slot: export, serial and image file."""
    return f"member{slot}"


def build_shape(
    *,
    level: int,
    members: int | None,
    chunk_bytes: int,
    layout: str | None,
    journal_bytes: int,
    mode: JournalMode,
    member_cache: Cache | None,
    journal_cache: Cache | None,
    journaled: bool = True,
    bus: Bus = Bus.VIRTIO,
    logical_block_bytes: int = 512,
    discard: Discard = Discard.ARRAY,
) -> Shape:
    """Return a shape from what a person asked for, or say what of it cannot be.

    Raises:
        BadInput: too few or too many members, an unknown layout, sizes that md does not take.
    """
    raid = Level(level)
    count = members if members is not None else _LEAST_MEMBERS[raid]
    if not _LEAST_MEMBERS[raid] <= count <= _MOST_MEMBERS:
        raise BadInput(
            f"--members {count}: RAID-{level} here takes {_LEAST_MEMBERS[raid]} to {_MOST_MEMBERS}"
        )
    if chunk_bytes < 4 * KIB or chunk_bytes & (chunk_bytes - 1):
        raise BadInput(f"--chunk {chunk_bytes}: must be a power of two, 4 KiB or more")
    if chunk_bytes > 8 * MIB:
        raise BadInput(f"--chunk {chunk_bytes}: at most 8 MiB, members here have 16 MiB")
    if journal_bytes < 64 * KIB or journal_bytes % (4 * KIB):
        raise BadInput(f"--journal-size {journal_bytes}: must be 64 KiB or more, in 4 KiB steps")
    if chunk_bytes < logical_block_bytes:
        raise BadInput(f"--chunk {chunk_bytes}: less than a logical block of the disks")
    if bus is Bus.NVME and Cache.WRITE_BACK in (member_cache, journal_cache):
        raise BadInput(
            "--bus nvme: QEMU's NVMe disks do not pass FUA on, so a volatile cache would lose what"
            " md has made safe; take write-through caches, or --bus scsi"
        )
    if bus is Bus.NVME and discard is Discard.NONE:
        raise BadInput("--discard none: QEMU's NVMe disks always take discards; take another bus")
    cache = Cache.WRITE_THROUGH if bus is Bus.NVME else Cache.WRITE_BACK
    number = layout_named(raid, layout).number if layout else DEFAULT_LAYOUT[raid]
    return Shape(
        level=raid, members=count, layout=number, chunk_bytes=chunk_bytes,
        journal_bytes=journal_bytes, mode=mode, member_cache=member_cache or cache,
        journal_cache=journal_cache or cache, journaled=journaled, bus=bus,
        logical_block_bytes=logical_block_bytes, discard=discard,
    )  # fmt: skip


def _in_words(size_bytes: int) -> str:
    if size_bytes % MIB:
        return f"{size_bytes // KIB} KiB"
    return f"{size_bytes // MIB} MiB"
