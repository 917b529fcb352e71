"""Every structure is read a second time, by dissect.cstruct from declarations of its own.

The names of fields and their order are the kernel's interface (md_p.h); sizes and meaning follow
the format document, sections 1.2, 2.2 and 2.3. What the project decodes must be the same number,
field by field, over the journals that real kernels wrote and over generated ones.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from dissect.cstruct import cstruct

from harness.ondisk.log import (
    MAGIC,
    BrokenPayload,
    DataPayload,
    FlushPayload,
    MetaBlock,
    ParityPayload,
    UnknownPayload,
    parse_meta_block,
    parse_payload,
)
from harness.ondisk.superblock import FIELDS, Superblock, parse_superblock, superblock_places
from harness.ondisk.units import LogSector
from testcases.independent_geometry import SUPERBLOCK_MAGIC
from testcases.journal_writer import uuid_checksum
from testcases.unit.written_cases import hostile, legal

DECLARATIONS = """
struct mdp_superblock_1 {
    // what every device of an array has in common
    uint32 magic;
    uint32 major_version;
    uint32 feature_map;
    uint32 pad0;
    uint8  set_uuid[16];
    char   set_name[32];
    uint64 ctime;
    int32  level;
    uint32 layout;
    uint64 size;
    uint32 chunksize;
    uint32 raid_disks;
    int32  bitmap_offset;        // or two 16-bit numbers about a partial parity log
    // a change of shape under way
    uint32 new_level;
    uint64 reshape_position;
    uint32 delta_disks;
    uint32 new_layout;
    uint32 new_chunk;
    int32  new_offset;
    // this very device
    uint64 data_offset;
    uint64 data_size;
    uint64 super_offset;
    uint64 journal_tail;         // of a member: recovery_offset
    uint32 dev_number;
    uint32 cnt_corrected_read;
    uint8  device_uuid[16];
    uint8  devflags;
    uint8  bblog_shift;
    uint16 bblog_size;
    int32  bblog_offset;
    // the array's state
    uint64 utime;
    uint64 events;
    uint64 resync_offset;
    uint32 sb_csum;
    uint32 max_dev;
    uint32 logical_block_size;   // padding on older kernels
    uint8  pad3[28];
    uint16 dev_roles[max_dev];
};

struct r5l_meta_block {
    uint32 magic;
    uint32 checksum;
    uint8  version;
    uint8  pad_1;
    uint16 pad_2;
    uint32 meta_size;
    uint64 seq;
    uint64 position;
};

struct r5l_payload_header {
    uint16 type;
    uint16 flags;
};

struct payload_size {             // what data, parity and flush begin with
    r5l_payload_header header;
    uint32 size;
};

struct r5l_payload_data_parity {
    r5l_payload_header header;
    uint32 size;                 // sectors
    uint64 location;
    uint32 checksum[size / 8];   // one for each page
};

struct r5l_payload_flush {
    r5l_payload_header header;
    uint32 size;                 // bytes
    uint64 flush_stripes[size / 8];
};
"""
CORPUS = sorted((Path(__file__).parents[1] / "corpus").glob("*/images.tar.xz"))


@cache
def second() -> Any:
    return cstruct(endian="<").load(DECLARATIONS)


def in_archive(archive: Path) -> dict[str, bytes]:
    """Return the journal before recovery and the beginning of a member; the rest is not unpacked.

    Files that follow are many times larger, and zeroes mostly.
    """
    found: dict[str, bytes] = {}
    with tarfile.open(archive, "r|xz") as tar:
        for entry in tar:
            if not entry.isfile():
                continue
            file = tar.extractfile(entry)
            assert file is not None
            if entry.name == "before/journal.img":
                found["journal"] = file.read()
            elif entry.name.startswith("before/member"):
                found["member"] = file.read(16384)
            if len(found) == 2:
                break
    return found


def superblock_in(image: bytes, *, device_sectors: int | None = None) -> Superblock:
    sectors = len(image) // 512 if device_sectors is None else device_sectors
    for minor_version, at in superblock_places(sectors):
        raw = image[at * 512 :][:4096].ljust(4096, b"\0")
        if raw[:4] == SUPERBLOCK_MAGIC.to_bytes(4, "little"):
            return parse_superblock(raw, at=at, minor_version=minor_version, device_sectors=sectors)
    raise AssertionError("no superblock")


def judge_superblock(mine: Superblock) -> None:
    theirs = second().mdp_superblock_1(mine.raw)
    same = {
        "feature_map": int(mine.features), "set_uuid": list(mine.set_uuid), "level": mine.level,
        "layout": mine.layout, "size": mine.size, "chunksize": mine.chunk_sectors,
        "raid_disks": mine.raid_disks, "data_offset": mine.data_offset,
        "data_size": mine.data_size, "super_offset": mine.at,
        "journal_tail": mine.recovery_offset_or_journal_tail, "dev_number": mine.dev_number,
        "device_uuid": list(mine.device_uuid), "events": mine.events,
        "resync_offset": mine.resync_offset, "max_dev": len(mine.roles),
        "logical_block_size": mine.logical_block_bytes,
    }  # fmt: skip
    for name, value in same.items():
        found = getattr(theirs, name)
        assert (list(found) if isinstance(value, list) else found) == value, name
    assert theirs.set_name.rstrip(b"\0") == mine.set_name
    assert tuple(theirs.dev_roles) == mine.roles


def metas_in(log: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield place and bytes of each block that begins as a meta block, live or not."""
    for at in range(0, len(log) - 4095, 4096):
        if log[at : at + 4] == MAGIC.to_bytes(4, "little"):
            yield at // 512, log[at : at + 4096]


def fits(block: bytes, offset: int, limit: int) -> bool:
    """Whether a payload ends before *limit*, by its declaration and the size that it tells."""
    begins = second().payload_size
    if offset + begins.size > limit:
        return False
    found = begins(block[offset:])
    if found.header.type in (0, 1):
        checksums_at = second().r5l_payload_data_parity.fields["checksum"].offset
        return bool(offset + checksums_at + found.size // 8 * 4 <= limit)
    if found.header.type == 2:
        return bool(offset + begins.size + found.size <= limit)
    return True  # of an unknown type: nothing is known of what follows


def judge_meta(block: bytes, position: int, seed: int, *, whole: bool) -> bool:
    """Compare one meta block and all its payloads; whether it was one.

    In a *whole* one each payload must fit; otherwise both must agree on which one does not.
    """
    theirs = second().r5l_meta_block(block)
    mine = parse_meta_block(block, seed=seed, seq=None, position=LogSector(position))
    if not isinstance(mine, MetaBlock):
        return False
    assert (theirs.seq, theirs.position) == (mine.seq, mine.position) == (mine.seq, position)
    assert (theirs.meta_size, theirs.version) == (mine.meta_size, 1)
    offset = second().r5l_meta_block.size
    while offset < mine.meta_size:
        parsed = parse_payload(block, offset, mine.meta_size)
        broken = isinstance(parsed, BrokenPayload)
        assert broken != fits(block, offset, mine.meta_size)
        if isinstance(parsed, BrokenPayload):
            assert not whole, f"payload at byte {offset}: {parsed.reason}"
            break
        payload, length = parsed
        if isinstance(payload, UnknownPayload):
            head = second().r5l_payload_header(block[offset:])
            assert (head.type, head.flags) == (payload.type, payload.flags)
            break
        assert length == judge_payload(payload, block[offset:])
        offset += length
    return True


def judge_payload(payload: DataPayload | ParityPayload | FlushPayload, at: bytes) -> int:
    """Compare one payload; return how long it is by the second opinion."""
    kind = {DataPayload: 0, ParityPayload: 1, FlushPayload: 2}[type(payload)]
    if isinstance(payload, FlushPayload):
        flush = second().r5l_payload_flush(at)
        assert (flush.header.type, flush.header.flags) == (kind, payload.flags)
        assert (flush.size, tuple(flush.flush_stripes)) == (payload.size, payload.stripes)
        return 8 + int(flush.size)
    theirs = second().r5l_payload_data_parity(at)
    assert (theirs.header.type, theirs.header.flags) == (kind, payload.flags)
    assert (theirs.size, theirs.location) == (payload.size, payload.location)
    assert tuple(theirs.checksum) == payload.checksums
    return len(theirs.dumps())


@pytest.mark.parametrize("archive", CORPUS, ids=lambda path: path.parent.name)
def test_what_a_kernel_wrote_is_read_the_same(archive: Path) -> None:
    images = in_archive(archive)
    journal = superblock_in(images["journal"])
    judge_superblock(journal)
    judge_superblock(superblock_in(images["member"], device_sectors=1 << 30))
    start = journal.data_offset * 512
    log = images["journal"][start : start + journal.data_size * 512]
    seed = uuid_checksum(journal.set_uuid)
    assert sum(judge_meta(block, at, seed, whole=True) for at, block in metas_in(log)) > 0


@pytest.mark.parametrize("number", range(10))
@pytest.mark.parametrize("make", [legal, hostile], ids=["legal", "hostile"])
def test_what_was_generated_is_read_the_same(make: Any, number: int) -> None:
    case = make(number)
    for image in case.files().values():
        judge_superblock(superblock_in(image))
    for at, block in metas_in(bytes(case.ring.log)):
        judge_meta(block, at, case.ring.seed, whole=make is legal)


def test_fields_of_the_superblock_are_named_and_placed_as_declared() -> None:
    declared = second().mdp_superblock_1.fields
    names = {"journal_tail": "recovery_offset or journal_tail"}
    places = [(names.get(name, name), field.offset) for name, field in declared.items()]
    assert places == [(name, offset) for name, offset, _ in FIELDS]
