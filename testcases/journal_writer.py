"""An independent writer of md arrays with a write journal, as images in memory.

Written from md-journal-format.md alone (section numbers below are that document's) and importing
nothing of the project, so that it shares no mistake with the parser it feeds. Whatever a test asks
for is written, lies included; what cannot be written at all is an AssertionError.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import ClassVar, TypedDict, Unpack

from testcases.independent_geometry import (
    PAGE_BYTES,
    PAGE_SECTORS,
    ROLE_FAULTY,
    ROLE_JOURNAL,
    ROLE_SPARE,
    ArraySector,
    Contents,
    LogSector,
    StripeSector,
    SuperblockFields,
    little_endian,
    place,
    stripe_map,
    superblock,
    superblock_sector,
    whole_stripe,
    zero_contents,
)

__all__ = [
    "PAGE_BYTES", "PAGE_SECTORS", "ArrayImages", "Contents", "Data", "Flush", "MetaOverrides",
    "Parity", "Payload", "Raw", "Ring", "SuperblockFields", "data_stripe", "log_record",
    "meta_block", "place", "raw_crc32c", "stripe_map", "superblock", "superblock_sector",
    "uuid_checksum", "whole_stripe",
]  # fmt: skip

SECTOR_BYTES = 512
META_MAGIC = 0x6433C509


def _crc_of_byte(byte: int) -> int:
    for _ in range(8):
        byte = (byte >> 1) ^ (0x82F63B78 if byte & 1 else 0)
    return byte


_CRC_TABLE = tuple(_crc_of_byte(byte) for byte in range(256))


@lru_cache(maxsize=2048)
def raw_crc32c(seed: int, data: bytes) -> int:
    """CRC-32C with the register set to `seed` and no final inversion (2.5)."""
    assert 0 <= seed <= 0xFFFFFFFF, f"seed {seed:#x} does not fit 32 bits"
    register = seed
    for byte in data:
        register = (register >> 8) ^ _CRC_TABLE[(register ^ byte) & 0xFF]
    return register


def uuid_checksum(set_uuid: bytes) -> int:
    """U, the seed of every checksum in the log (2.5); `set_uuid` as stored in the superblock."""
    assert len(set_uuid) == 16, f"set_uuid has 16 bytes, got {len(set_uuid)}"
    return raw_crc32c(0xFFFFFFFF, set_uuid)


@dataclass(frozen=True, slots=True)
class Payload:
    """A descriptor inside a meta block, and the log pages behind the block (2.3)."""

    def _descriptor(self, seed: int) -> bytes:
        raise NotImplementedError

    def _log_pages(self) -> Sequence[bytes]:
        return ()


@dataclass(frozen=True, slots=True)
class _Pages(Payload):
    """DATA and PARITY differ in the type and in what `location` counts (2.3)."""

    TYPE: ClassVar[int]
    location: int  # sectors
    pages: Sequence[bytes]  # 4096 bytes each
    size: int | None = field(default=None, kw_only=True)  # sectors; None: what `pages` take
    checksums: Sequence[int] | None = field(default=None, kw_only=True)  # None: the right ones
    flags: int = field(default=0, kw_only=True)

    def __post_init__(self) -> None:
        for page in self.pages:
            assert isinstance(page, bytes), f"a page is bytes, got {page!r}"
            assert len(page) == PAGE_BYTES, f"a page has {PAGE_BYTES} bytes, got {len(page)}"

    def _log_pages(self) -> Sequence[bytes]:
        return self.pages

    def _descriptor(self, seed: int) -> bytes:
        size = PAGE_SECTORS * len(self.pages) if self.size is None else self.size
        sums = self.checksums
        if sums is None:
            sums = [raw_crc32c(seed, page) for page in self.pages]
        head = little_endian("H", self.TYPE, "type") + little_endian("H", self.flags, "flags")
        head += little_endian("I", size, "size") + little_endian("Q", self.location, "location")
        return head + b"".join(little_endian("I", one, "page checksum") for one in sums)


@dataclass(frozen=True, slots=True)
class Data(_Pages):
    """A DATA payload (2.3): `location` is an ArraySector."""

    TYPE: ClassVar[int] = 0


@dataclass(frozen=True, slots=True)
class Parity(_Pages):
    """A PARITY payload (2.3): `location` is a StripeSector; pages are P, or P and Q."""

    TYPE: ClassVar[int] = 1


@dataclass(frozen=True, slots=True)
class Flush(Payload):
    """A FLUSH payload (2.3): stripes (StripeSectors) that need no replay; no log pages."""

    stripes: Sequence[StripeSector]
    size: int | None = field(default=None, kw_only=True)  # bytes; None: 8 for each stripe
    flags: int = field(default=0, kw_only=True)

    def _descriptor(self, seed: int) -> bytes:  # noqa: ARG002
        size = 8 * len(self.stripes) if self.size is None else self.size
        head = little_endian("H", 2, "type") + little_endian("H", self.flags, "flags")
        head += little_endian("I", size, "size")
        return head + b"".join(little_endian("Q", stripe, "stripe") for stripe in self.stripes)


@dataclass(frozen=True, slots=True)
class Raw(Payload):
    """Any bytes in a descriptor's place (unknown types, cut descriptors), and any pages."""

    data: bytes
    pages: Sequence[bytes] = field(default=(), kw_only=True)

    def _descriptor(self, seed: int) -> bytes:  # noqa: ARG002
        return self.data

    def _log_pages(self) -> Sequence[bytes]:
        return self.pages


class MetaOverrides(TypedDict, total=False):
    """Header fields of a meta block that a test may set wrong (2.2)."""

    meta_size: int  # bytes; absent: 32 and the descriptors, without tail_bytes
    magic: int
    version: int
    checksum: int  # absent: the right one for all the other bytes
    pad8: int
    pad16: int
    tail_bytes: bytes  # what follows the last descriptor; zeros after it


def meta_block(
    *,
    seed: int,
    seq: int,
    position: LogSector,
    payloads: Sequence[Payload] = (),
    **overrides: Unpack[MetaOverrides],
) -> bytes:
    """Build the 4096 bytes of a meta block (2.2); `seed` is U. No payloads: an empty meta."""
    assert overrides.keys() <= MetaOverrides.__annotations__.keys(), f"no such in {overrides}"
    descriptors = b"".join(payload._descriptor(seed) for payload in payloads)
    front = little_endian("I", overrides.get("magic", META_MAGIC), "magic")
    back = little_endian("B", overrides.get("version", 1), "version")
    back += little_endian("B", overrides.get("pad8", 0), "pad8")
    back += little_endian("H", overrides.get("pad16", 0), "pad16")
    back += little_endian("I", overrides.get("meta_size", 32 + len(descriptors)), "meta_size")
    back += little_endian("Q", seq, "seq") + little_endian("Q", position, "position")
    back += descriptors + overrides.get("tail_bytes", b"")
    assert 8 + len(back) <= PAGE_BYTES, f"{8 + len(back)} bytes do not fit a meta block"
    back = back.ljust(PAGE_BYTES - 8, b"\0")
    checksum = overrides.get("checksum")
    if checksum is None:
        checksum = raw_crc32c(seed, front + bytes(4) + back)
    return front + little_endian("I", checksum, "checksum") + back


def log_record(
    *,
    seed: int,
    seq: int,
    position: LogSector,
    payloads: Sequence[Payload] = (),
    **overrides: Unpack[MetaOverrides],
) -> bytes:
    """A meta block and the pages behind it, in descriptor order (2.4)."""
    meta = meta_block(seed=seed, seq=seq, position=position, payloads=payloads, **overrides)
    return meta + b"".join(page for payload in payloads for page in payload._log_pages())


class Ring:
    """A log area of `size_sectors` (2.1), zero at first; `log` is its bytes, free to edit."""

    def __init__(self, *, size_sectors: int, seed: int) -> None:
        assert size_sectors >= PAGE_SECTORS, f"a log of {size_sectors} sectors"
        assert size_sectors % PAGE_SECTORS == 0, f"{size_sectors} sectors are not whole blocks"
        self.size_sectors = size_sectors
        self.seed = seed
        self.log = bytearray(size_sectors * SECTOR_BYTES)

    def add(self, position: LogSector, sectors: int) -> LogSector:
        """Ring arithmetic of 2.1: the size is taken off once at most."""
        assert 0 <= sectors <= self.size_sectors, f"{sectors} of {self.size_sectors} sectors"
        ahead = position + sectors
        return ahead if ahead < self.size_sectors else ahead - self.size_sectors

    def put_block(self, *, position: LogSector, block: bytes) -> LogSector:
        """Write whole blocks at `position`, around the end if need be; return what follows."""
        assert 0 <= position < self.size_sectors, f"position {position} is outside the log"
        assert position % PAGE_SECTORS == 0, f"position {position} is inside a block"
        assert block, "nothing to write"
        assert len(block) % PAGE_BYTES == 0, f"{len(block)} bytes are not whole blocks"
        assert len(block) <= len(self.log), f"{len(block)} bytes do not fit the log"
        before_end = min(len(block), len(self.log) - position * SECTOR_BYTES)
        start = position * SECTOR_BYTES
        self.log[start : start + before_end] = block[:before_end]
        self.log[: len(block) - before_end] = block[before_end:]
        return self.add(position, len(block) // SECTOR_BYTES)

    def append(
        self,
        *,
        seq: int,
        position: LogSector,
        payloads: Sequence[Payload] = (),
        **overrides: Unpack[MetaOverrides],
    ) -> LogSector:
        """Write a record; return the position after the pages really written, not those claimed."""
        record = log_record(
            seed=self.seed, seq=seq, position=position, payloads=payloads, **overrides
        )
        return self.put_block(position=position, block=record)


def data_stripe(
    *,
    level: int,
    layout: int,
    raid_disks: int,
    chunk_sectors: int,
    new: Mapping[ArraySector, bytes],
    old: Contents = zero_contents,
) -> tuple[Data | Parity, ...]:
    """Log one stripe's write as the kernel does (2.3): DATA by ascending slot, then PARITY.

    `new` maps the first array sector of each written page to its 4096 bytes; all of them must lie
    in one stripe. `old` gives the pages not written, which count in P and Q but are not logged.
    What write-back mode logs first is the result without its last payload.
    """
    shape = {"level": level, "layout": layout, "raid_disks": raid_disks}
    shape["chunk_sectors"] = chunk_sectors
    assert new, "a stripe's write has a page at least"
    assert all(sector % PAGE_SECTORS == 0 for sector in new), f"{sorted(new)} are not page starts"
    _, stripe_sector, pd_idx, qd_idx = place(**shape, array_sector=min(new))
    stripe = stripe_map(**shape, stripe_sector=stripe_sector)
    assert set(new) <= set(stripe), f"one stripe holds {sorted(stripe)}, got {sorted(new)}"
    payloads = [Data(at, (new[at],)) for at in stripe if at in new]
    after = {at: new[at] if at in new else old(at) for at in stripe}
    pages = whole_stripe(**shape, stripe_sector=stripe_sector, contents=after.__getitem__)
    parity_slots = [pd_idx] if qd_idx is None else [pd_idx, qd_idx]
    return (*payloads, Parity(stripe_sector, [pages[slot] for slot in parity_slots]))


@dataclass(frozen=True, slots=True, kw_only=True)
class ArrayImages:
    """A journalled array as one image per device (sections 1 and 5).

    Member data follows `contents`, with parity to match. A missing slot has no image, and its role
    is spare. A failed slot has an image with an older event count, whose superblock has no failed
    slot yet; in the others its role is faulty. Overridden superblock fields never move anything.
    """

    level: int
    layout: int
    raid_disks: int  # journal not counted
    chunk_sectors: int
    data_sectors: int  # superblock "size", and each member's data_size
    log_sectors: int  # the journal's data_size; the log is this rounded down to whole blocks (2.1)
    minor_version: int = 2
    data_offset: int | None = None  # device sectors; None: 0 for metadata 1.0, otherwise 2048
    journal_data_offset: int | None = None  # device sectors; None: as the members'
    set_uuid: bytes = bytes(range(16))
    contents: Contents = zero_contents
    missing_slots: Collection[int] = ()
    failed_slots: Collection[int] = ()
    # slot: dev_number where they differ; the journal counts as slot raid_disks here (1.6)
    dev_numbers: Mapping[int, int] = field(default_factory=dict)
    events: int = 20

    def __post_init__(self) -> None:
        place(**self.shape, array_sector=0)  # asserts the shape
        assert self.data_sectors > 0, f"member data of {self.data_sectors} sectors"
        assert self.data_sectors % self.chunk_sectors == 0, "member data is not whole chunks"
        assert all(0 <= slot <= self.raid_disks for slot in self.dev_numbers), "no such slot"
        slots = {*self.missing_slots, *self.failed_slots}
        assert slots <= set(range(self.raid_disks)), f"no such slot among {sorted(slots)}"
        assert not set(self.missing_slots) & set(self.failed_slots), "missing and failed at once"
        self._roles(failed=True)

    @property
    def shape(self) -> dict[str, int]:
        """The arguments that `place`, `stripe_map` and `data_stripe` share."""
        return {
            "level": self.level, "layout": self.layout, "raid_disks": self.raid_disks,
            "chunk_sectors": self.chunk_sectors,
        }  # fmt: skip

    @property
    def first_sector(self) -> int:
        """The members' data_offset, in sectors."""
        by_version = 0 if self.minor_version == 0 else 2048
        return by_version if self.data_offset is None else self.data_offset

    def ring(self) -> Ring:
        """Make an all-zero log of this array's size and seed (2.1)."""
        size_sectors = self.log_sectors // PAGE_SECTORS * PAGE_SECTORS
        return Ring(size_sectors=size_sectors, seed=uuid_checksum(self.set_uuid))

    def stripe(
        self, new: Mapping[ArraySector, bytes], *, old: Contents | None = None
    ) -> tuple[Data | Parity, ...]:
        """`data_stripe` for this array; `old` is the initial contents unless given."""
        return data_stripe(**self.shape, new=new, old=old or self.contents)

    def data_areas(self) -> list[bytes]:
        """Data and parity of every slot, the missing ones too, from data_offset on."""
        areas = [bytearray() for _ in range(self.raid_disks)]
        for at in range(0, self.data_sectors, PAGE_SECTORS):
            pages = whole_stripe(**self.shape, stripe_sector=at, contents=self.contents)
            for slot, page in pages.items():
                areas[slot] += page
        return [bytes(area) for area in areas]

    def member_images(self, fields: dict[int, SuperblockFields] | None = None) -> dict[int, bytes]:
        """Image of each slot that is not missing; `fields` overrides superblocks by slot."""
        images = {}
        for slot, area in enumerate(self.data_areas()):
            if slot in self.missing_slots:
                continue
            own: SuperblockFields = {
                "dev_number": self.dev_numbers.get(slot, slot),
                "dev_roles": self._roles(failed=slot not in self.failed_slots),
                "events": self.events - (10 if slot in self.failed_slots else 0),
            }
            images[slot] = self._image(area, own | (fields or {}).get(slot, {}), self.first_sector)
        return images

    def journal_image(self, ring: Ring | None = None, **fields: Unpack[SuperblockFields]) -> bytes:
        """Image of the journal: `ring` (else zeros), and a superblock with tail 0 and `fields`."""
        log = bytes((ring or self.ring()).log).ljust(self.log_sectors * SECTOR_BYTES, b"\0")
        assert len(log) == self.log_sectors * SECTOR_BYTES, "the ring is not of this array's size"
        slot = self.raid_disks
        own: SuperblockFields = {"dev_number": self.dev_numbers.get(slot, slot), "journal_tail": 0}
        at = self.first_sector if self.journal_data_offset is None else self.journal_data_offset
        return self._image(log, own | fields, at)

    def _roles(self, *, failed: bool) -> list[int]:
        by_slot = {slot: slot for slot in range(self.raid_disks)}
        by_slot |= dict.fromkeys(self.failed_slots, ROLE_FAULTY) if failed else {}
        by_slot |= dict.fromkeys(self.missing_slots, ROLE_SPARE) | {self.raid_disks: ROLE_JOURNAL}
        roles = {self.dev_numbers.get(slot, slot): role for slot, role in by_slot.items()}
        assert len(roles) == len(by_slot), f"a dev_number is given twice in {self.dev_numbers}"
        return [roles.get(number, ROLE_SPARE) for number in range(max(roles) + 1)]

    def _image(self, area: bytes, fields: SuperblockFields, data_offset: int) -> bytes:
        assert data_offset % PAGE_SECTORS == 0, f"data_offset {data_offset} is not whole pages"
        minor = self.minor_version
        assert data_offset >= (0, 8, 16)[minor], "data overlaps the superblock"
        area_sectors = len(area) // SECTOR_BYTES
        device_sectors = data_offset + area_sectors
        if minor == 0:
            device_sectors = (device_sectors + 7) // 8 * 8 + 16
        base: SuperblockFields = {
            "set_uuid": self.set_uuid, "set_name": b"writer:0", "level": self.level,
            "layout": self.layout, "size": self.data_sectors, "chunksize": self.chunk_sectors,
            "raid_disks": self.raid_disks, "data_offset": data_offset,
            "data_size": area_sectors, "dev_roles": self._roles(failed=True),
            "device_uuid": (fields["dev_number"] + 1).to_bytes(16, "big"),
            "events": self.events, "minor_version": minor, "device_sectors": device_sectors,
        }  # fmt: skip
        block = superblock(base, **fields)
        at = SECTOR_BYTES * superblock_sector(minor_version=minor, device_sectors=device_sectors)
        image = bytearray(device_sectors * SECTOR_BYTES)
        start = data_offset * SECTOR_BYTES
        image[start : start + len(area)] = area
        image[at : at + len(block)] = block
        return bytes(image)
