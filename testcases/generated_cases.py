"""Journals of `harness.fuzzing`, as images that the independent writer makes.

The generator is told of an array by `WrittenArrayFacts`, which shares no arithmetic with the code
under test; its meta blocks are written a second time, by ``journal_writer``.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from harness.fuzzing import generator, payloads
from harness.fuzzing.journal import Journal, WrittenMeta
from harness.fuzzing.site import Contents, noise
from testcases.independent_geometry import (
    LAYOUTS,
    PAGE_BYTES,
    PAGE_SECTORS,
    SuperblockFields,
    data_disks,
    place,
    stripe_map,
    whole_stripe,
)
from testcases.journal_writer import (
    ArrayImages,
    Data,
    Flush,
    MetaOverrides,
    Parity,
    Payload,
    Raw,
    Ring,
    meta_block,
    raw_crc32c,
    uuid_checksum,
)

_WITH_CHECKSUM = 8  # the field ends there


def first_contents(sector: int) -> bytes:
    """Contents of every array before its log is written."""
    return noise(sector // PAGE_SECTORS)


@dataclass(frozen=True, slots=True)
class WrittenArrayFacts:
    """What the generator must know of an array: see `harness.fuzzing.site.FuzzedArray`."""

    images: ArrayImages

    @property
    def level(self) -> int:
        return self.images.level

    @property
    def chunk_sectors(self) -> int:
        return self.images.chunk_sectors

    @property
    def array_sectors(self) -> int:
        images = self.images
        across = data_disks(level=images.level, raid_disks=images.raid_disks)
        return across * images.data_sectors

    @property
    def member_sectors(self) -> int:
        return self.images.data_sectors

    @property
    def ring_sectors(self) -> int:
        return self.images.log_sectors // PAGE_SECTORS * PAGE_SECTORS

    @property
    def log_sectors(self) -> int:
        return self.images.log_sectors

    @property
    def room_sectors(self) -> int:
        return self.images.data_sectors  # the images end where the data does

    @property
    def seed(self) -> int:
        return uuid_checksum(self.images.set_uuid)

    @property
    def in_words(self) -> Sequence[str]:
        images = self.images
        return (
            f"RAID-{images.level} layout {images.layout} of {images.raid_disks}",
            f"chunk {images.chunk_sectors}, metadata 1.{images.minor_version}",
            f"log of {images.log_sectors} sectors",
            *([f"without slots {sorted(images.missing_slots)}"] if images.missing_slots else []),
        )

    def stripe_of(self, array_sector: int) -> int:
        return place(**self.images.shape, array_sector=array_sector).member_sector

    def sectors_of(self, stripe: int) -> Sequence[int]:
        return list(stripe_map(**self.images.shape, stripe_sector=stripe))

    def parity_of(self, stripe: int, contents: Contents) -> tuple[bytes, ...]:
        at = place(**self.images.shape, array_sector=self.sectors_of(stripe)[0])
        pages = whole_stripe(**self.images.shape, stripe_sector=stripe, contents=contents)
        return tuple(pages[slot] for slot in (at.pd_idx, at.qd_idx) if slot is not None)

    def contents(self, array_sector: int) -> bytes:
        return self.images.contents(array_sector)

    def checksum(self, page: bytes) -> int:
        return raw_crc32c(self.seed, page)


@dataclass(slots=True)
class WrittenCase:
    """An array with a journal, and what is special about it."""

    images: ArrayImages
    ring: Ring
    fields: SuperblockFields  # of the journal's superblock
    journal: Journal
    description: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        """What it is called."""
        return self.journal.name

    @property
    def words(self) -> str:
        """All that is in it, in one line."""
        return f"{self.name}: " + "; ".join(self.description)

    @property
    def metas(self) -> list[WrittenMeta]:
        """Its meta blocks, in order."""
        return self.journal.metas

    @property
    def end(self) -> int:
        """Where the last meta's pages end."""
        return self.journal.end

    @property
    def is_write_through(self) -> bool:
        """Whether every stripe has data and parity in one meta block, and none is flushed."""
        return "write-through" in self.journal.words

    @property
    def has_flush(self) -> bool:
        """Whether a FLUSH is logged."""
        return self.journal.has_flush

    def files(self) -> dict[str, bytes]:
        """Return every device's image by file name, as the crash leaves it."""
        members = self._members(self.journal.on_members)
        return members | {"journal.img": self.images.journal_image(self.ring, **self.fields)}

    def members_after(self) -> dict[str, bytes]:
        """Return the members' images after recovery; of a legal case."""
        return self._members(self.journal.on_members | self.journal.recovered)

    def store(self, folder: Path) -> list[Path]:
        """Write all images and the description into *folder*; return the images' paths."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "description.txt").write_text("\n".join([self.name, *self.description]) + "\n")
        paths = []
        for name, image in self.files().items():
            paths.append(folder / name)
            paths[-1].write_bytes(image)
        return paths

    def _members(self, updates: Mapping[int, bytes]) -> dict[str, bytes]:
        def contents(sector: int) -> bytes:
            return updates.get(sector, self.images.contents(sector))

        after = replace(self.images, contents=contents).member_images()
        return {f"member{slot}.img": image for slot, image in after.items()}


def any_array(draw: random.Random) -> ArrayImages:
    """Return a small array of any level, layout, metadata version and alignment."""
    level, layout = draw.choice(LAYOUTS)
    least = 4 if level == 6 else 3
    minor = draw.randrange(3)
    chunk = draw.choice([8, 16, 24])
    return ArrayImages(
        level=level, layout=layout, raid_disks=least + draw.randrange(3), chunk_sectors=chunk,
        data_sectors=chunk * draw.randint(2, 4), log_sectors=draw.choice([160, 256, 391]),
        minor_version=minor, data_offset=draw.choice([(0, 16), (8, 24), (16, 32)][minor]),
        journal_data_offset=draw.choice([16, 40]), set_uuid=draw.randbytes(16),
        contents=first_contents,
    )  # fmt: skip


def legal(seed: int, images: ArrayImages | None = None) -> WrittenCase:
    """Return what the driver could leave: write-through or write-back, wrapped, torn or whole."""
    draw = random.Random(f"legal case {seed}")
    write_back = draw.random() < 0.5
    if images is None:
        # A degraded array is never in write-back mode (3.4).
        images = any_array(draw) if write_back else _maybe_degraded(any_array(draw), draw)
    facts = WrittenArrayFacts(images)
    return written(images, generator.legal(seed, facts, write_back=write_back))


def hostile(seed: int, images: ArrayImages | None = None) -> WrittenCase:
    """Return a journal that no driver writes, its checksums valid unless the words say else."""
    draw = random.Random(f"hostile case {seed}")
    images = images or _maybe_degraded(any_array(draw), draw)
    make = generator.patched if draw.random() < 0.2 else generator.hostile
    return written(images, make(seed, WrittenArrayFacts(images)))


def written(images: ArrayImages, journal: Journal) -> WrittenCase:
    """Return a journal as the independent writer has it."""
    ring = images.ring()
    for meta in journal.metas:
        pages = b"".join(page for each in meta.payloads for page in payloads.log_pages(each))
        room = ring.size_sectors * 512 - PAGE_BYTES
        if meta.pages_written is not None:
            room = min(room, meta.pages_written * PAGE_BYTES)
        block = written_block(meta, ring.seed) + pages[:room]
        ring.put_block(position=meta.position, block=block)
    for loose in journal.loose:
        ring.put_block(position=loose.position, block=loose.block)
    facts = WrittenArrayFacts(images)
    description = [*facts.in_words, *journal.words]
    return WrittenCase(images, ring, {"journal_tail": journal.tail}, journal, description)


def written_block(meta: WrittenMeta, seed: int) -> bytes:
    """Return one meta block by the independent writer."""
    lies = meta.lies
    overrides = MetaOverrides(pad8=lies.pad8, pad16=lies.pad16, tail_bytes=lies.noise)
    if lies.magic is not None:
        overrides["magic"] = lies.magic
    if lies.version is not None:
        overrides["version"] = lies.version
    if lies.meta_size is not None:
        overrides["meta_size"] = lies.meta_size
    if lies.checksum is not None:
        overrides["checksum"] = lies.checksum
    seq, position = lies.seq, lies.position
    own_seed = seed if meta.seed is None else meta.seed
    block = meta_block(
        seed=own_seed, seq=meta.seq if seq is None else seq,
        position=meta.position if position is None else position,
        payloads=[_payload(each) for each in meta.payloads], **overrides,
    )  # fmt: skip
    for offset, data in lies.patches:
        block = block[:offset] + data + block[offset + len(data) :]
        if lies.checksum is None:
            unsealed = block[:4] + bytes(4) + block[_WITH_CHECKSUM:]
            checksum = raw_crc32c(own_seed, unsealed)
            block = block[:4] + checksum.to_bytes(4, "little") + block[_WITH_CHECKSUM:]
    return block


def _payload(payload: payloads.Payload) -> Payload:
    match payload:
        case payloads.Raw(data=data):
            return Raw(data)
        case payloads.Flush(stripes=stripes, size=size, flags=flags):
            return Flush(stripes, size=size, flags=flags)
    kind = Data if isinstance(payload, payloads.Data) else Parity
    return kind(
        payload.location, payload.pages, size=payload.size, checksums=payload.checksums,
        flags=payload.flags,
    )  # fmt: skip


def _maybe_degraded(images: ArrayImages, draw: random.Random) -> ArrayImages:
    count = draw.choice([0, 0, 1, images.level - 4 or 1])
    return replace(images, missing_slots=draw.sample(range(images.raid_disks), min(count, 2)))
