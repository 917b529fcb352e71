"""Arrays with journals of gigabytes, written in seconds, for benchmarks and limits.

Nothing expects an outcome of these, so they are put together with the project's own builders; the
superblocks are the independent writer's. What a test must be able to trust comes from there alone.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from harness.ondisk.crc import uuid_checksum
from harness.ondisk.log import (
    build_data_payload,
    build_meta_block,
    build_parity_payload,
    join_payloads,
    page_checksum,
)
from harness.ondisk.units import (
    BLOCK_BYTES,
    BLOCK_SECTORS,
    SECTOR_BYTES,
    LogSector,
    StripeSector,
)
from harness.recovery.geometry import Geometry
from harness.recovery.layout import Level, layout_of
from harness.recovery.places import Places
from testcases.independent_geometry import ROLE_JOURNAL, SuperblockFields, superblock

_SET_UUID = bytes(range(16))
_DATA_OFFSET = 2048  # sectors
_FIRST_SEQ = 0xFFFF_FF00  # passes 32 bits soon
_POOL_PAGES = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class BigJournal:
    """What a journal is to hold: so many meta blocks, each with the same number of stripes."""

    level: Level = Level.RAID5
    raid_disks: int = 5
    chunk_sectors: int = 1024
    metas: int
    stripes_per_meta: int = 8
    pages_per_stripe: int | None = None  # of data; None: the whole stripe
    with_parity: bool = True
    sparse: bool = False  # every page is zeroes, and a hole in the image
    member_stripes: int | None = None  # after so many the first ones are written again
    journal_bytes: int | None = None  # None: just larger than what it holds

    @property
    def geometry(self) -> Geometry:
        """The array's."""
        wanted = -(-self._member_stripes * BLOCK_SECTORS // self.chunk_sectors)
        return Geometry(
            layout=layout_of(self.level, 0 if self.level is Level.RAID4 else 2),
            raid_disks=self.raid_disks, chunk_sectors=self.chunk_sectors,
            component_sectors=wanted * self.chunk_sectors,
        )  # fmt: skip

    @property
    def pages_per_meta(self) -> int:
        """Log pages behind each meta block."""
        return self.stripes_per_meta * (self._data_pages + self._parity_pages)

    @property
    def pages(self) -> int:
        """Log pages in all."""
        return self.metas * self.pages_per_meta

    @property
    def log_bytes(self) -> int:
        """The live log, meta blocks included."""
        return self.metas * (1 + self.pages_per_meta) * BLOCK_BYTES

    @property
    def _data_pages(self) -> int:
        whole = self.raid_disks - self.level.parities
        return whole if self.pages_per_stripe is None else self.pages_per_stripe

    @property
    def _parity_pages(self) -> int:
        return self.level.parities if self.with_parity else 0

    @property
    def _member_stripes(self) -> int:
        every_one_its_own = self.metas * self.stripes_per_meta
        return every_one_its_own if self.member_stripes is None else self.member_stripes


def write_big_array(folder: Path, journal: BigJournal, *, members: bool = True) -> list[Path]:
    """Write the images of an array that lost power with a journal full of *journal*.

    The members' data areas are holes.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    if members:
        for slot in range(journal.raid_disks):
            path = folder / f"member{slot}.img"
            _write_image(path, _fields(journal, slot), journal.geometry.component_sectors)
            paths.append(path)
    path = folder / "journal.img"
    wanted = journal.journal_bytes or journal.log_bytes + (1 << 20)
    assert wanted > journal.log_bytes, "the journal is to be larger than what it holds"
    sectors = wanted // SECTOR_BYTES // BLOCK_SECTORS * BLOCK_SECTORS
    fields = _fields(journal, journal.raid_disks)
    fields |= {"data_size": sectors, "journal_tail": 0}
    _write_image(path, fields, sectors)
    _write_log(path, journal)
    return [*paths, path]


def _fields(journal: BigJournal, number: int) -> SuperblockFields:
    geometry = journal.geometry
    return {
        "set_uuid": _SET_UUID, "set_name": b"big:0", "level": int(journal.level),
        "layout": geometry.layout.number, "size": geometry.component_sectors,
        "chunksize": geometry.chunk_sectors, "raid_disks": journal.raid_disks,
        "data_offset": _DATA_OFFSET, "data_size": geometry.component_sectors,
        "dev_roles": [*range(journal.raid_disks), ROLE_JOURNAL], "dev_number": number,
        "device_uuid": (number + 1).to_bytes(16, "big"), "events": 20,
    }  # fmt: skip


def _write_image(path: Path, fields: SuperblockFields, sectors: int) -> None:
    with path.open("wb") as file:
        file.truncate((_DATA_OFFSET + sectors) * SECTOR_BYTES)
        file.seek(BLOCK_SECTORS * SECTOR_BYTES)
        file.write(superblock(fields))


def _write_log(path: Path, journal: BigJournal) -> None:
    seed = uuid_checksum(_SET_UUID)
    pool = [bytes(BLOCK_BYTES)]
    if not journal.sparse:
        source = random.Random(1)
        pool = [source.randbytes(BLOCK_BYTES) for _ in range(_POOL_PAGES)]
    checksums = [page_checksum(seed, page) for page in pool]
    descriptor = os.open(path, os.O_WRONLY)
    try:
        position, used = 0, 0
        for number, stripes in enumerate(_batches(journal)):
            payloads, first = [], used
            for stripe in stripes:
                for made, pages in _stripe_payloads(journal, stripe, checksums, used):
                    payloads.append(made)
                    used += pages
            block = build_meta_block(
                seed=seed, seq=_FIRST_SEQ + number, position=LogSector(position),
                payloads=join_payloads(payloads),
            )  # fmt: skip
            place = (_DATA_OFFSET + position) * SECTOR_BYTES
            if journal.sparse:
                os.pwrite(descriptor, block, place)
            else:
                behind = (pool[index % len(pool)] for index in range(first, used))
                os.pwrite(descriptor, block + b"".join(behind), place)
            position += (1 + used - first) * BLOCK_SECTORS
    finally:
        os.close(descriptor)


def _batches(journal: BigJournal) -> Iterator[list[StripeSector]]:
    around = journal.geometry.component_sectors // BLOCK_SECTORS
    for meta in range(journal.metas):
        first = meta * journal.stripes_per_meta
        yield [
            StripeSector((first + n) % around * BLOCK_SECTORS)
            for n in range(journal.stripes_per_meta)
        ]


def _stripe_payloads(
    journal: BigJournal, stripe: StripeSector, checksums: list[int], used: int
) -> Iterator[tuple[bytes, int]]:
    """Yield each descriptor of a stripe, and how many pages it announces."""
    geometry = _places(journal)
    data = sorted(geometry.row_at(stripe).data)[: journal.pages_per_stripe]
    for device in data:
        location = geometry.array_sector(device, stripe)
        assert location is not None, "a data device has its place in the array"
        yield build_data_payload(location, checksums[used % len(checksums)]), 1
        used += 1
    if journal.with_parity:
        count = journal.level.parities
        own = [checksums[(used + number) % len(checksums)] for number in range(count)]
        yield build_parity_payload(stripe, own), count


_known: dict[BigJournal, Places] = {}


def _places(journal: BigJournal) -> Places:
    if journal not in _known:
        _known[journal] = Places(journal.geometry)
    return _known[journal]
