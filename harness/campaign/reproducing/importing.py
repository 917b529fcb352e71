"""Make a bundle of what a reporter sent: images of members and journal, whole or in part.

What is not there is filled in where that is sound, and the bundle says what can be concluded and
what cannot.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.campaign.reproducing.bundle import Bundle, GuestFacts, KernelFacts, Kind
from harness.campaign.reproducing.packing import disk_image
from harness.crash.content import DiskContent
from harness.errors import BadImage, BadInput
from harness.md.shape import JOURNAL_NAME, Shape, member_name
from harness.ondisk.superblock import (
    RESYNC_DONE,
    ROLE_JOURNAL,
    ROLE_MAX_SLOT,
    SUPERBLOCK_BYTES,
    Superblock,
    as_member,
    has_superblock_magic,
    parse_superblock,
    superblock_places,
    written_super_offset,
)
from harness.ondisk.units import BLOCK_SECTORS, SECTOR_BYTES, DeviceSector, StripeSector
from harness.recovery.geometry import Geometry, geometry_of
from harness.recovery.layout import Level
from harness.recovery.parity import xor_pages
from harness.storage.bundle_file import MOST_CONTENT_BYTES, DiskImage
from harness.verdict.verdict import Judgement, Outcome, Verdict

_ANY_SIZE = 1 << 60  # sectors: whether a file has all of its device is another question
_MOST_MEMBERS = 16
_MEMBER_OFFSET = 2048  # sectors: where a member's data may begin, when nobody has sent any
WHOLE = "whole: {size} bytes"
PART = (
    "the first {size} bytes of {wanted}; the rest is taken as zeroes: which stripes recovery writes"
    " and whether it ends can be concluded, what it leaves of data cannot"
)
PART_OF_LOG = (
    "the first {size} bytes of {wanted}; the log behind them is taken as zeroes, and may have gone"
    " on: what recovery does here says nothing of what it did there; send the whole journal"
)
MADE_UP = (
    "not sent; an empty one stands in its place, with a superblock made of the journal's: which"
    " stripes recovery writes and whether it ends can be concluded, what it leaves of data cannot"
)
COMPUTED = (
    "not sent; worked out from the others by parity: sound where the array was in sync, and not"
    " for the stripes that the log is about"
)
ABSENT = "not sent; the array is recovered degraded, without it"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """A file that was sent, and the device that it is of."""

    path: Path
    superblock: Superblock
    content: DiskContent  # of the device, as far as it was sent
    bytes_sent: int
    device_bytes: int

    @property
    def is_whole(self) -> bool:
        """Whether all of the device was sent."""
        return self.bytes_sent >= self.device_bytes


def import_bundle(paths: Sequence[Path], *, kernel: str, reported: str) -> Bundle:
    """Return the bundle of what was sent.

    Args:
        paths: images of members and the journal, in any order: whole ones, or the beginnings (with
            1.0 metadata the ends) of members.
        kernel: that the bundle is to run on, as ``--kernel`` takes it.
        reported: which kernel the reporter had, in their words.

    Raises:
        BadInput: it makes no array, or has no journal.
    """
    sent = _by_name([_sent(path) for path in paths])
    journal = sent[JOURNAL_NAME].superblock
    geometry = geometry_of(journal)
    if geometry.raid_disks > _MOST_MEMBERS:
        raise BadInput(f"{geometry.raid_disks} members: a guest here gets {_MOST_MEMBERS} at most")
    images, notes = _images(sent, journal, geometry)
    shape = _shape(journal, geometry, images)
    judgement = Judgement("differential", ("nothing: it has not been run",))
    return Bundle(
        kind=Kind.IMPORTED, made_by="imported from " + ", ".join(path.name for path in paths),
        shape=shape, seed=0, reason=None,
        kernel=KernelFacts(name=kernel, release="", version=reported or "not told", identity=""),
        guest=GuestFacts(kind="tiny", accelerator=""),
        verdict=Verdict(Outcome.NOT_RUN, (judgement,), "nobody has run it yet"),
        images=images, there=tuple(images), notes=tuple(notes),
    )  # fmt: skip


def _sent(path: Path) -> Sent:
    """Read one file, and find out which device it is of."""
    image, held = disk_image(path)
    if held > MOST_CONTENT_BYTES:
        raise BadInput(
            f"{path}: holds {held >> 20} MiB, a bundle takes {MOST_CONTENT_BYTES >> 20}; send the"
            " first MiB of each member, and all of the journal"
        )
    sectors = image.size_bytes // SECTOR_BYTES
    minor_version, place = _place(path, image.content, sectors)
    raw = image.content.read(place * SECTOR_BYTES, SUPERBLOCK_BYTES)
    at = DeviceSector(written_super_offset(raw) if minor_version == 0 else place)
    try:
        superblock = parse_superblock(
            raw, at=at, minor_version=minor_version, device_sectors=_ANY_SIZE
        )
    except BadImage as error:
        raise BadInput(f"{path}: {error}") from error
    shift = at - place  # of a file that is the end of a device
    content = image.content if shift == 0 else _shifted(image.content, shift // BLOCK_SECTORS)
    wanted = superblock.data_offset + superblock.data_size
    if minor_version == 0:
        wanted = max(wanted, at + 16)
    return Sent(
        path=path, superblock=superblock, content=content, bytes_sent=image.size_bytes,
        device_bytes=max(wanted * SECTOR_BYTES, image.size_bytes if shift == 0 else 0),
    )  # fmt: skip


def _place(path: Path, content: DiskContent, sectors: int) -> tuple[int, DeviceSector]:
    for minor_version, place in superblock_places(sectors):
        if has_superblock_magic(content.read(place * SECTOR_BYTES, SUPERBLOCK_BYTES)):
            return minor_version, place
    raise BadInput(
        f"{path}: no md superblock at its 1.0, 1.1 or 1.2 place; send the first MiB at least"
    )


def _shifted(content: DiskContent, blocks: int) -> DiskContent:
    return DiskContent({number + blocks: block for number, block in content.blocks.items()})


def _by_name(every: Sequence[Sent]) -> dict[str, Sent]:
    """Return what was sent by the disk's name in the array; what is of none is refused."""
    found: dict[str, Sent] = {}
    for sent in every:
        role = sent.superblock.role
        if role == ROLE_JOURNAL:
            name = JOURNAL_NAME
        elif role < ROLE_MAX_SLOT:
            name = member_name(role)
        else:
            raise BadInput(f"{sent.path}: is a spare, or a disk that had failed; leave it out")
        if name in found:
            raise BadInput(f"{sent.path}: is {name}, and so is {found[name].path}")
        found[name] = sent
    if JOURNAL_NAME not in found:
        raise BadInput("no journal among them: nothing of a recovery can be seen without its log")
    uuid = found[JOURNAL_NAME].superblock.set_uuid
    if strange := [s for s in found.values() if s.superblock.set_uuid != uuid]:
        raise BadInput(f"{strange[0].path}: is of another array than {found[JOURNAL_NAME].path}")
    return found


def _images(
    sent: Mapping[str, Sent], journal: Superblock, geometry: Geometry
) -> tuple[dict[str, DiskImage], list[str]]:
    """Return every disk, and what is to be said of it."""
    images, notes = {}, []
    lacking = [name for name in map(member_name, range(geometry.raid_disks)) if name not in sent]
    for slot in range(geometry.raid_disks):
        name = member_name(slot)
        if name in sent:
            images[name] = _as_image(sent[name])
            notes.append(f"{name}: {_words(sent[name])}")
            continue
        made, words = _fill(slot, lacking, sent, journal, geometry)
        notes.append(f"{name}: {words}")
        if made is not None:
            images[name] = made
    images[JOURNAL_NAME] = _as_image(sent[JOURNAL_NAME])
    notes.append(f"journal: {_words(sent[JOURNAL_NAME], PART_OF_LOG)}")
    return images, notes


def _as_image(sent: Sent) -> DiskImage:
    return DiskImage(size_bytes=sent.device_bytes, content=sent.content)


def _words(sent: Sent, part: str = PART) -> str:
    words = WHOLE if sent.is_whole else part
    return words.format(size=sent.bytes_sent, wanted=sent.device_bytes)


def _fill(
    slot: int, lacking: Sequence[str], sent: Mapping[str, Sent], journal: Superblock,
    geometry: Geometry,
) -> tuple[DiskImage | None, str]:  # fmt: skip
    """Return what stands in a missing member's place, and in words what that is worth."""
    roles = [number for number, role in enumerate(journal.roles) if role == slot]
    if not roles:
        return None, "the array was without it"
    members = [each for name, each in sent.items() if name != JOURNAL_NAME]
    offset = members[0].superblock.data_offset if members else _MEMBER_OFFSET
    whole = bool(members) and all(each.is_whole for each in members)
    if whole and len(lacking) <= geometry.level.parities:
        is_synced = journal.resync_offset == RESYNC_DONE
        if len(lacking) > 1 or geometry.level is Level.RAID6 or not is_synced:
            return None, ABSENT
    raw = as_member(
        journal, dev_number=roles[0], device_uuid=hashlib.sha256(b"%d" % slot).digest()[:16],
        data_offset=offset,
    )  # fmt: skip
    content = DiskContent()
    if whole and len(lacking) == 1:
        content = _computed(slot, sent, geometry, offset)
    content.write(8 * SECTOR_BYTES, raw)
    size = (offset + journal.size) * SECTOR_BYTES
    size = max([size, *(each.device_bytes for each in members)])
    words = COMPUTED if whole and len(lacking) == 1 else MADE_UP
    return DiskImage(size_bytes=size, content=content), words


def _computed(slot: int, sent: Mapping[str, Sent], geometry: Geometry, offset: int) -> DiskContent:
    """Return a member of RAID-4 or 5 as the others make it out."""
    others = {int(name.removeprefix("member")): each
              for name, each in sent.items() if name != JOURNAL_NAME}  # fmt: skip
    content = DiskContent()
    held: set[int] = set()
    for other in others.values():
        first = other.superblock.data_offset // BLOCK_SECTORS
        held |= {number - first for number in other.content.blocks}
    for block in sorted(held):
        if not 0 <= block * BLOCK_SECTORS < geometry.member_sectors:
            continue
        row = geometry.row_at(StripeSector(block * BLOCK_SECTORS))
        assert slot in (*row.data, row.pd_idx)
        page = xor_pages(
            other.content.block(other.superblock.data_offset // BLOCK_SECTORS + block)
            for other in others.values()
        )
        content.blocks[offset // BLOCK_SECTORS + block] = page
    return content


def _shape(journal: Superblock, geometry: Geometry, images: Mapping[str, DiskImage]) -> Shape:
    largest = max(image.size_bytes for image in images.values())
    names = (*map(member_name, range(geometry.raid_disks)), JOURNAL_NAME)
    sizes = tuple(images[n].size_bytes if n in images else largest for n in names)
    return Shape(
        level=geometry.level, members=geometry.raid_disks, layout=journal.layout,
        chunk_bytes=geometry.chunk_sectors * SECTOR_BYTES,
        component_bytes=geometry.component_sectors * SECTOR_BYTES,
        journal_bytes=journal.data_size * SECTOR_BYTES,
        logical_block_bytes=journal.logical_block_bytes or 512, own_sizes=sizes,
    )  # fmt: skip
