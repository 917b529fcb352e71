"""The md superblock, version 1.x: ``struct mdp_superblock_1`` in md_p.h.

Format document, section 1. Only what the write journal needs is decoded into fields; the raw
bytes stay with the value, so that an update changes nothing that it does not mean to change.
"""

from __future__ import annotations

import enum
import struct
from collections.abc import Collection
from dataclasses import dataclass

from harness.errors import BadImage
from harness.ondisk.units import SECTOR_BYTES, DeviceSector, LogSector

SUPERBLOCK_BYTES = 4096  # the kernel reads this much at the superblock's place
MAGIC = 0xA92B4EFC
MAX_SB_DISKS = 1920  # MD_SB_DISKS for 1.x: 256 + 2 * 1920 == 4096

ROLE_SPARE = 0xFFFF
ROLE_FAULTY = 0xFFFE
ROLE_JOURNAL = 0xFFFD
ROLE_MAX_SLOT = 0xFF00

RESYNC_DONE = 2**64 - 1  # resync_offset of a clean array (MaxSector)

_KNOWN_FEATURES = 0x1FFF
_HEAD = struct.Struct("<IIII16s32sQiIQIIi")  # magic .. bitmap_offset, bytes 0-99
_DEVICE = struct.Struct("<QQQQII16sBBHi")  # data_offset .. bblog_offset, bytes 128-191
_STATE = struct.Struct("<QQQII")  # utime, events, resync_offset, sb_csum, max_dev, bytes 192-223
_LOGICAL_BLOCK_SIZE = struct.Struct("<I")  # byte 224, kernels above 6.18; padding before
_ROLES_AT = 256
_DATA_SIZE_AT = 136
_UNION_AT = 152  # recovery_offset of a member, journal_tail of a journal
_CSUM_AT = 216
_DEVICE_NUMBER_AT = 160


class Feature(enum.IntFlag):
    """Bits of ``feature_map`` (format document, section 1.3)."""

    BITMAP_OFFSET = 1
    RECOVERY_OFFSET = 2
    RESHAPE_ACTIVE = 4
    BAD_BLOCKS = 8
    REPLACEMENT = 16
    RESHAPE_BACKWARDS = 32
    NEW_OFFSET = 64
    RECOVERY_BITMAP = 128
    CLUSTERED = 256
    JOURNAL = 512
    PPL = 1024
    MULTIPLE_PPLS = 2048
    RAID0_LAYOUT = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Superblock:
    """One device's superblock, all tests of ``super_1_load`` passed. Sizes are in sectors."""

    raw: bytes  # SUPERBLOCK_BYTES as read
    minor_version: int  # 0, 1, 2: by its place
    at: DeviceSector
    features: Feature
    set_uuid: bytes
    set_name: bytes
    level: int
    layout: int
    size: int  # dev_sectors: sectors used of each member
    chunk_sectors: int
    raid_disks: int
    data_offset: DeviceSector
    data_size: int
    recovery_offset_or_journal_tail: int
    dev_number: int
    device_uuid: bytes
    events: int
    resync_offset: int
    roles: tuple[int, ...]
    logical_block_bytes: int  # 0 where the kernel does not record it

    @property
    def role(self) -> int:
        """This device's own entry of ``dev_roles``; a spare where the table has none."""
        if self.dev_number >= len(self.roles):
            return ROLE_SPARE
        return self.roles[self.dev_number]

    @property
    def is_journal(self) -> bool:
        """Whether this device is the array's journal, by its own superblock."""
        return self.role == ROLE_JOURNAL

    @property
    def journal_tail(self) -> LogSector:
        """Where recovery starts, in sectors from ``data_offset``; of a journal only."""
        if not self.is_journal:
            raise ValueError("only a journal's superblock has a journal_tail")
        return LogSector(self.recovery_offset_or_journal_tail)

    @property
    def recovery_offset(self) -> int | None:
        """How far a member is rebuilt, in sectors; ``None`` for one that is complete."""
        if self.is_journal or Feature.RECOVERY_OFFSET not in self.features:
            return None
        return self.recovery_offset_or_journal_tail


def superblock_places(device_sectors: int) -> tuple[tuple[int, DeviceSector], ...]:
    """Return (minor version, place) for 1.1, 1.2 and 1.0 on a device of that many sectors."""
    places = [(1, DeviceSector(0)), (2, DeviceSector(8))]
    end = (device_sectors - 16) & ~7
    if end > 0:
        places.append((0, DeviceSector(end)))
    return tuple(places)


def superblock_checksum(raw: bytes) -> int:
    """Return ``calc_sb_1_csum``: 32-bit words added, carries folded in, its own field zero."""
    max_dev = _STATE.unpack_from(raw, 192)[4]
    used = _ROLES_AT + 2 * max_dev
    covered = bytearray(raw[:used])
    covered[_CSUM_AT : _CSUM_AT + 4] = bytes(4)
    words: tuple[int, ...] = struct.unpack_from(f"<{used // 4}I", covered)
    total = sum(words)
    if used % 4:
        total += int.from_bytes(covered[-2:], "little")
    return ((total & 0xFFFFFFFF) + (total >> 32)) & 0xFFFFFFFF


def has_superblock_magic(raw: bytes) -> bool:
    """Whether *raw* begins as a 1.x superblock does; says nothing about its health."""
    return len(raw) >= 8 and struct.unpack_from("<II", raw) == (MAGIC, 1)


def parse_superblock(
    raw: bytes, *, at: DeviceSector, minor_version: int, device_sectors: int
) -> Superblock:
    """Decode one superblock.

    Mirrors ``super_1_load``: the same tests in the same order (format document, section 1.5).

    Raises:
        BadImage: with the first test that failed, what was found and what was wanted.
    """
    if len(raw) != SUPERBLOCK_BYTES:
        raise ValueError(f"a superblock is {SUPERBLOCK_BYTES} bytes, got {len(raw)}")
    (magic, major, features, pad0, set_uuid, set_name, _ctime, level, layout, size, chunk,
     raid_disks, _bitmap) = _HEAD.unpack_from(raw)  # fmt: skip
    (data_offset, data_size, super_offset, union, dev_number, _corrected, device_uuid,
     _devflags, _shift, _bblog_size, _bblog) = _DEVICE.unpack_from(raw, 128)  # fmt: skip
    _utime, events, resync_offset, checksum, max_dev = _STATE.unpack_from(raw, 192)
    _require("magic", magic, MAGIC)
    _require("major version", major, 1)
    if max_dev > MAX_SB_DISKS:
        raise BadImage(f"superblock: max_dev is {max_dev}, at most {MAX_SB_DISKS} can be")
    _require("super_offset", super_offset, at)
    if unknown := features & ~_KNOWN_FEATURES:
        raise BadImage(f"superblock: feature_map has unknown bits {unknown:#x}")
    _require("sb_csum", checksum, superblock_checksum(raw))
    if data_size < 10:
        raise BadImage(f"superblock: data_size is {data_size} sectors, at least 10 are needed")
    _require("pad0", pad0, 0)
    if any(raw[228:256]):
        raise BadImage("superblock: pad3 (bytes 228 to 255) is not zero")
    # sb_size of super_1_load, for logical blocks of 512 bytes: the least that can be.
    own_sectors = -(-(_ROLES_AT + 2 * max_dev) // SECTOR_BYTES)
    if minor_version > 0 and data_offset < at + own_sectors:
        raise BadImage(f"superblock: data_offset {data_offset} overlaps the superblock at {at}")
    _require_room(data_offset, data_size, at, minor_version, device_sectors)
    roles = struct.unpack_from(f"<{max_dev}H", raw, _ROLES_AT)
    return Superblock(
        raw=raw, minor_version=minor_version, at=at, features=Feature(features),
        set_uuid=set_uuid, set_name=set_name.rstrip(b"\0"), level=level, layout=layout, size=size,
        chunk_sectors=chunk, raid_disks=raid_disks, data_offset=DeviceSector(data_offset),
        data_size=data_size, recovery_offset_or_journal_tail=union, dev_number=dev_number,
        device_uuid=device_uuid, events=events, resync_offset=resync_offset, roles=roles,
        logical_block_bytes=_LOGICAL_BLOCK_SIZE.unpack_from(raw, 224)[0],
    )  # fmt: skip


# Every byte of a superblock by the name of its field: (name, offset, length). The roles follow.
FIELDS = (
    ("magic", 0, 4), ("major_version", 4, 4), ("feature_map", 8, 4), ("pad0", 12, 4),
    ("set_uuid", 16, 16), ("set_name", 32, 32), ("ctime", 64, 8), ("level", 72, 4),
    ("layout", 76, 4), ("size", 80, 8), ("chunksize", 88, 4), ("raid_disks", 92, 4),
    ("bitmap_offset", 96, 4), ("new_level", 100, 4), ("reshape_position", 104, 8),
    ("delta_disks", 112, 4), ("new_layout", 116, 4), ("new_chunk", 120, 4),
    ("new_offset", 124, 4), ("data_offset", 128, 8), ("data_size", 136, 8),
    ("super_offset", 144, 8), ("recovery_offset or journal_tail", 152, 8),
    ("dev_number", 160, 4), ("cnt_corrected_read", 164, 4), ("device_uuid", 168, 16),
    ("devflags", 184, 1), ("bblog_shift", 185, 1), ("bblog_size", 186, 2),
    ("bblog_offset", 188, 4), ("utime", 192, 8), ("events", 200, 8), ("resync_offset", 208, 8),
    ("sb_csum", 216, 4), ("max_dev", 220, 4), ("logical_block_size", 224, 4), ("pad3", 228, 28),
    ("dev_roles", 256, SUPERBLOCK_BYTES - 256),
)  # fmt: skip


def differing_fields(left: bytes, right: bytes) -> tuple[str, ...]:
    """Return the names of the fields in which two superblocks differ."""
    return tuple(
        name
        for name, offset, length in FIELDS
        if left[offset : offset + length] != right[offset : offset + length]
    )


def with_journal_tail(superblock: Superblock, tail: LogSector) -> bytes:
    """Return the superblock's bytes with another ``journal_tail`` and the checksum to it."""
    if not superblock.is_journal:
        raise ValueError("only a journal's superblock has a journal_tail")
    raw = bytearray(superblock.raw)
    struct.pack_into("<Q", raw, _UNION_AT, tail)
    struct.pack_into("<I", raw, _CSUM_AT, superblock_checksum(bytes(raw)))
    return bytes(raw)


def with_log(superblock: Superblock, *, tail: int, data_size: int) -> bytes:
    """Return a journal's superblock with another tail, and another size of its log area."""
    if not superblock.is_journal:
        raise ValueError("only a journal's superblock has a log")
    raw = bytearray(superblock.raw)
    struct.pack_into("<Q", raw, _UNION_AT, tail)
    struct.pack_into("<Q", raw, _DATA_SIZE_AT, data_size)
    struct.pack_into("<I", raw, _CSUM_AT, superblock_checksum(bytes(raw)))
    return bytes(raw)


def with_identity(
    superblock: Superblock, *, set_uuid: bytes, set_name: bytes, device_uuid: bytes
) -> bytes:
    """Return a superblock's bytes for another array: its UUIDs and name, and no times."""
    raw = bytearray(superblock.raw)
    raw[16:64] = set_uuid + set_name.ljust(32, b"\0")
    raw[168:184] = device_uuid
    for ctime_or_utime in (64, 192):
        raw[ctime_or_utime : ctime_or_utime + 8] = bytes(8)
    raw[written_bytes(superblock) :] = bytes(len(raw) - written_bytes(superblock))
    struct.pack_into("<I", raw, _CSUM_AT, superblock_checksum(bytes(raw)))
    return bytes(raw)


def bad_block_log(superblock: Superblock) -> tuple[int, int]:
    """Return where on its device the list of bad blocks is, as (sector, sectors); 0 where none."""
    (size,) = struct.unpack_from("<H", superblock.raw, 186)
    (offset,) = struct.unpack_from("<i", superblock.raw, 188)
    return superblock.at + offset, size


def with_roles_after_assembly(
    superblock: Superblock, newest: Superblock, present: Collection[int]
) -> bytes:
    """Return the superblock's bytes with the roles that md writes once the array is up again.

    They are those of the *newest* superblock for the devices that are *present*, by their
    ``dev_number``; every other entry is then a spare's (``super_1_sync``).
    """
    raw = bytearray(superblock.raw)
    roles = (role if number in present else ROLE_SPARE for number, role in enumerate(newest.roles))
    struct.pack_into(f"<{len(newest.roles)}H", raw, _ROLES_AT, *roles)
    return bytes(raw)


def stored_journal_tail(raw: bytes) -> LogSector:
    """Return the ``journal_tail`` field of a journal's superblock, whatever else is wrong in it."""
    return LogSector(int.from_bytes(raw[_UNION_AT : _UNION_AT + 8], "little"))


def stored_roles(raw: bytes) -> tuple[int, ...]:
    """Return the role of each device number in a superblock; of no superblock none."""
    if not has_superblock_magic(raw) or len(raw) < _ROLES_AT:
        return ()
    count = min(_STATE.unpack_from(raw, 192)[4], (len(raw) - _ROLES_AT) // 2)
    return struct.unpack_from(f"<{count}H", raw, _ROLES_AT)


def stored_device_number(raw: bytes) -> int:
    """Return the number that a superblock has for its own device, whatever else is wrong in it."""
    return int.from_bytes(raw[_DEVICE_NUMBER_AT : _DEVICE_NUMBER_AT + 4], "little")


def has_good_checksum(raw: bytes) -> bool:
    """Whether the stored ``sb_csum`` is that of the bytes; ``False`` for an absurd ``max_dev``."""
    _, _, _, stored, max_dev = _STATE.unpack_from(raw, 192)
    return max_dev <= MAX_SB_DISKS and bool(stored == superblock_checksum(raw))


def written_bytes(superblock: Superblock) -> int:
    """Return how many bytes of a superblock mean something: 256 and two for each role."""
    return _ROLES_AT + 2 * len(superblock.roles)


def _require(field: str, found: int, wanted: int) -> None:
    if found != wanted:
        raise BadImage(f"superblock: {field} is {found:#x}, wanted {wanted:#x}")


def _require_room(
    data_offset: int, data_size: int, at: DeviceSector, minor_version: int, device_sectors: int
) -> None:
    room = device_sectors - data_offset
    if minor_version == 0:  # the kernel looks no further than at the superblock behind the data
        room = min(room, at)
    if room < data_size:
        found = device_sectors * SECTOR_BYTES
        wanted = (data_offset + data_size) * SECTOR_BYTES
        raise BadImage(f"device is truncated: {found} bytes, its superblock tells of {wanted}")
