"""A superblock is taken or refused as the kernel does, and an update changes what it means to."""

from __future__ import annotations

import struct
from itertools import combinations

import pytest

from harness.errors import BadImage
from harness.ondisk.superblock import (
    FIELDS,
    ROLE_FAULTY,
    ROLE_JOURNAL,
    ROLE_SPARE,
    SUPERBLOCK_BYTES,
    Feature,
    Superblock,
    differing_fields,
    has_good_checksum,
    has_superblock_magic,
    parse_superblock,
    stored_journal_tail,
    superblock_checksum,
    superblock_places,
    with_journal_tail,
    written_bytes,
)
from harness.ondisk.units import DeviceSector, LogSector
from testcases.independent_geometry import SuperblockFields, superblock, superblock_sector
from testcases.independent_geometry import _on_disk as independent_fields

SET_UUID = bytes(range(16))
MEMBER: SuperblockFields = {
    "set_uuid": SET_UUID, "level": 5, "layout": 2, "size": 512, "chunksize": 128, "raid_disks": 4,
    "data_offset": 2048, "data_size": 512, "dev_number": 0, "dev_roles": [0, 1, 2, 3, 0xFFFD],
}  # fmt: skip
JOURNAL: SuperblockFields = {**MEMBER, "dev_number": 4, "journal_tail": 24}

# Section 1.5, in its order: what is wrong, and what the refusal must name.
FAULTS: dict[str, tuple[SuperblockFields, str]] = {
    "magic": ({"magic": 0xA92B4EFD}, "magic is 0xa92b4efd, wanted 0xa92b4efc"),
    "major-version": ({"major_version": 2}, "major version is 0x2, wanted 0x1"),
    "max-dev": ({"max_dev": 1921}, "max_dev is 1921"),
    "super-offset": ({"super_offset": 16}, "super_offset is 0x10, wanted 0x8"),
    "feature-map": ({"feature_map": 0x2200}, "unknown bits 0x2000"),
    "sb-csum": ({"csum": 0x12345678}, "sb_csum is 0x12345678"),
    "data-size": ({"data_size": 9}, "data_size is 9"),
    "pad0": ({"pad0": 1}, "pad0"),
    "pad3": ({"pad3": bytes(27) + b"\1"}, "pad3"),
    "data-on-superblock": ({"data_offset": 8}, "overlaps the superblock"),
    "device-too-small": ({}, "truncated"),
}


def parse(fields: SuperblockFields, *, device_sectors: int = 2560) -> Superblock:
    """Parse what the independent writer makes of *fields*, at its 1.2 place."""
    return parse_superblock(
        superblock(fields), at=DeviceSector(8), minor_version=2, device_sectors=device_sectors
    )


def parse_with_faults(*names: str) -> Superblock:
    fields = MEMBER.copy()
    for name in names:
        fields |= FAULTS[name][0]
    enough = fields["data_offset"] + fields["data_size"]
    return parse(fields, device_sectors=enough - ("device-too-small" in names))


@pytest.mark.parametrize("fault", FAULTS)
def test_one_wrong_field_is_refused_by_its_own_check(fault: str) -> None:
    with pytest.raises(BadImage, match=FAULTS[fault][1]):
        parse_with_faults(fault)


@pytest.mark.parametrize(
    ("first", "second"), [pytest.param(*p, id="-then-".join(p)) for p in combinations(FAULTS, 2)]
)
def test_of_two_faults_the_kernels_first_check_refuses(first: str, second: str) -> None:
    with pytest.raises(BadImage, match=FAULTS[first][1]):
        parse_with_faults(first, second)


def test_every_decoded_field_is_what_the_writer_wrote() -> None:
    found = parse(
        MEMBER
        | {
            "set_name": b"host:7", "recovery_offset": 77, "feature_map": 512 | 2,
            "device_uuid": b"d" * 16, "events": 5, "resync_offset": 88, "size": 511,
            "logical_block_size": 4096, "dev_number": 2, "dev_roles": [0, 1, 2, 0xFFFE, 0xFFFD],
        }
    )  # fmt: skip
    assert (found.level, found.layout, found.size, found.chunk_sectors) == (5, 2, 511, 128)
    assert (found.raid_disks, found.data_offset, found.data_size) == (4, 2048, 512)
    assert (found.set_uuid, found.set_name) == (SET_UUID, b"host:7")
    assert found.device_uuid == b"d" * 16
    assert (found.dev_number, found.role, found.events, found.resync_offset) == (2, 2, 5, 88)
    assert found.features == Feature.JOURNAL | Feature.RECOVERY_OFFSET
    assert found.roles[:6] == (0, 1, 2, ROLE_FAULTY, ROLE_JOURNAL, ROLE_SPARE)
    assert len(found.roles) == 128
    assert found.logical_block_bytes == 4096
    assert (found.minor_version, found.at) == (2, 8)


@pytest.mark.parametrize("bit", [1 << n for n in range(13)], ids=lambda bit: Feature(bit).name)
def test_each_documented_feature_bit_is_known(bit: int) -> None:
    assert parse(MEMBER | {"feature_map": bit}).features == bit


@pytest.mark.parametrize("bit", [1 << n for n in range(13, 32)])
def test_each_other_feature_bit_is_refused(bit: int) -> None:
    with pytest.raises(BadImage, match=f"unknown bits {bit:#x}"):
        parse(MEMBER | {"feature_map": 512 | bit})


@pytest.mark.parametrize("offset", range(228, 256))
def test_each_byte_of_pad3_must_be_zero(offset: int) -> None:
    pad = bytearray(28)
    pad[offset - 228] = 0x80
    with pytest.raises(BadImage, match="pad3"):
        parse(MEMBER | {"pad3": bytes(pad)})


def test_logical_block_size_is_no_padding() -> None:
    assert parse(MEMBER | {"logical_block_size": 512}).logical_block_bytes == 512


# Limits that are just kept.


@pytest.mark.parametrize("max_dev", [5, 127, 128, 1919, 1920])
def test_every_number_of_roles_up_to_the_most_is_taken(max_dev: int) -> None:
    assert len(parse(MEMBER | {"max_dev": max_dev}).roles) == max_dev


def test_ten_sectors_of_data_are_enough() -> None:
    assert parse(MEMBER | {"data_size": 10}).data_size == 10


def test_device_that_ends_with_its_data_is_whole() -> None:
    assert parse(MEMBER, device_sectors=2048 + 512).data_size == 512


@pytest.mark.parametrize("data_size", [4080, 4081], ids=["up-to-superblock", "into-superblock"])
def test_metadata_at_the_end_bounds_the_data(data_size: int) -> None:
    fields = MEMBER | {
        "data_offset": 0, "data_size": data_size, "minor_version": 0, "device_sectors": 4096,
    }  # fmt: skip
    block = superblock(fields)
    if data_size == 4080:
        found = parse_superblock(
            block, at=DeviceSector(4080), minor_version=0, device_sectors=4096
        )  # fmt: skip
        assert (found.minor_version, found.at, found.data_size) == (0, 4080, 4080)
    else:
        with pytest.raises(BadImage, match="truncated"):
            parse_superblock(block, at=DeviceSector(4080), minor_version=0, device_sectors=4096)


# Places: section 1.1.


@pytest.mark.parametrize("device_sectors", [4096, 4097, 4103, 4104, 2**40 + 5])
def test_places_are_those_of_the_three_versions(device_sectors: int) -> None:
    assert dict(superblock_places(device_sectors)) == {
        minor: superblock_sector(minor_version=minor, device_sectors=device_sectors)
        for minor in (0, 1, 2)
    }


@pytest.mark.parametrize("device_sectors", [0, 1, 15, 16, 23])
def test_device_too_small_for_the_end_has_no_place_there(device_sectors: int) -> None:
    assert 0 not in dict(superblock_places(device_sectors))


@pytest.mark.parametrize(("minor", "data_offset"), [(0, 0), (1, 2048), (2, 2048)])
def test_superblock_is_taken_at_its_own_place_only(minor: int, data_offset: int) -> None:
    fields = MEMBER | {
        "data_offset": data_offset, "minor_version": minor, "device_sectors": 4096,
    }  # fmt: skip
    for at_minor, at in superblock_places(4096):
        if at_minor == minor:
            found = parse_superblock(
                superblock(fields), at=at, minor_version=minor, device_sectors=4096
            )
            assert found.at == at
        else:
            with pytest.raises(BadImage, match="super_offset"):
                parse_superblock(
                    superblock(fields), at=at, minor_version=at_minor, device_sectors=4096
                )


# Checksum: section 1.4.


@pytest.mark.parametrize("max_dev", [5, 6, 7, 128, 129, 1919, 1920])
def test_checksum_is_the_writers_for_even_and_odd_numbers_of_roles(max_dev: int) -> None:
    block = superblock(MEMBER | {"max_dev": max_dev, "events": 2**64 - 1})
    assert superblock_checksum(block) == struct.unpack_from("<I", block, 216)[0]
    assert has_good_checksum(block)


def test_checksum_folds_its_carry_and_adds_the_odd_role() -> None:
    block = superblock(
        set_uuid=bytes(16), level=5, layout=2, size=512, chunksize=128, raid_disks=4,
        data_offset=2048, data_size=512, dev_number=0, max_dev=3, dev_roles=[0, 1, 0xFFFD],
    )  # fmt: skip
    # The words of table 1.2 add up to 2_a92d5d8f by hand; the carry 2 comes back.
    assert superblock_checksum(block) == 0xA92D5D91


@pytest.mark.parametrize("max_dev", [5, 6])
def test_checksum_covers_every_byte_up_to_the_last_role(max_dev: int) -> None:
    block = superblock(MEMBER | {"max_dev": max_dev})
    used = 256 + 2 * max_dev
    for offset in (*range(220), *range(224, used)):  # 220 is max_dev, which says what is covered
        changed = bytearray(block)
        changed[offset] ^= 0x10
        assert not has_good_checksum(bytes(changed)), f"byte {offset}"
    for offset in range(used, SUPERBLOCK_BYTES, 101):
        changed = bytearray(block)
        changed[offset] ^= 0x10
        assert has_good_checksum(bytes(changed)), f"byte {offset}"


def test_absurd_number_of_roles_is_a_bad_checksum() -> None:
    assert not has_good_checksum(superblock(MEMBER | {"max_dev": 0xFFFFFFFF}))


# Roles and the union field: sections 1.2 and 1.6.


@pytest.mark.parametrize(
    ("dev_number", "role"),
    [(0, 0), (3, 3), (4, ROLE_JOURNAL), (5, ROLE_SPARE), (128, ROLE_SPARE), (2**31, ROLE_SPARE)],
)
def test_role_is_looked_up_by_device_number(dev_number: int, role: int) -> None:
    found = parse(MEMBER | {"dev_number": dev_number})
    assert found.role == role
    assert found.is_journal == (role == ROLE_JOURNAL)


def test_journal_tail_needs_no_feature_bit() -> None:
    found = parse(JOURNAL)
    assert found.journal_tail == 24
    assert found.recovery_offset is None
    assert stored_journal_tail(found.raw) == 24


def test_recovery_offset_counts_only_with_its_feature_bit() -> None:
    assert parse(MEMBER | {"recovery_offset": 24}).recovery_offset is None
    assert parse(MEMBER | {"recovery_offset": 24, "feature_map": 514}).recovery_offset == 24


def test_member_has_no_journal_tail() -> None:
    member = parse(MEMBER)
    with pytest.raises(ValueError, match="only a journal"):
        _ = member.journal_tail
    with pytest.raises(ValueError, match="only a journal"):
        with_journal_tail(member, LogSector(8))


# Update of the tail.


@pytest.mark.parametrize("max_dev", [5, 128, 1919, 1920])
@pytest.mark.parametrize("tail", [0, 8, 2**33, 2**64 - 8])
def test_new_tail_changes_the_tail_and_its_checksum_only(tail: int, max_dev: int) -> None:
    fields = JOURNAL | {
        "max_dev": max_dev, "set_name": b"n", "ctime": 1, "bitmap_offset": -2, "new_level": 3,
        "reshape_position": 4, "delta_disks": 5, "new_layout": 6, "new_chunk": 7, "new_offset": 8,
        "cnt_corrected_read": 10, "device_uuid": b"d" * 16, "devflags": 11, "bblog_shift": 12,
        "bblog_size": 13, "bblog_offset": -14, "utime": 15, "events": 2**63,
        "logical_block_size": 512,
    }  # fmt: skip
    changed = with_journal_tail(parse(fields), LogSector(tail))
    assert changed == superblock(fields | {"journal_tail": tail})
    assert stored_journal_tail(changed) == tail


def test_new_tail_keeps_what_lies_behind_the_roles() -> None:
    noise = bytes(range(1, 251)) * 14
    block = superblock(JOURNAL)[: SUPERBLOCK_BYTES - len(noise)] + noise
    found = parse_superblock(block, at=DeviceSector(8), minor_version=2, device_sectors=2560)
    changed = with_journal_tail(found, LogSector(4000))
    wanted = superblock(JOURNAL | {"journal_tail": 4000})
    assert changed == wanted[: SUPERBLOCK_BYTES - len(noise)] + noise
    assert written_bytes(found) == 512


# The table of fields.


def test_every_byte_has_one_field() -> None:
    position = 0
    for _, offset, length in sorted(FIELDS, key=lambda field: field[1]):
        assert offset == position
        position = offset + length
    assert position == SUPERBLOCK_BYTES
    assert len({name for name, _, _ in FIELDS}) == len(FIELDS)


def test_fields_lie_where_the_writer_puts_them() -> None:
    mine = {
        (offset, struct.calcsize("<" + code))
        for name, (offset, code) in independent_fields().items()
        if not name.startswith("ppl_")  # shares the bytes of bitmap_offset
    }
    assert mine | {(256, SUPERBLOCK_BYTES - 256)} == {(at, length) for _, at, length in FIELDS}


def test_changed_byte_is_told_by_the_name_of_its_field() -> None:
    names = {}
    for offset in range(SUPERBLOCK_BYTES):
        other = bytearray(SUPERBLOCK_BYTES)
        other[offset] = 1
        (names[offset],) = differing_fields(bytes(SUPERBLOCK_BYTES), bytes(other))
    for name, (offset, code) in independent_fields().items():
        wanted = {
            "journal_tail": "recovery_offset or journal_tail",
            "recovery_offset": "recovery_offset or journal_tail",
            "csum": "sb_csum", "ppl_offset": "bitmap_offset", "ppl_size": "bitmap_offset",
        }.get(name, name)  # fmt: skip
        told = {names[at] for at in range(offset, offset + struct.calcsize("<" + code))}
        assert told == {wanted}
    assert names[256] == names[4095] == "dev_roles"


@pytest.mark.parametrize(
    ("raw", "wanted"),
    [
        pytest.param(superblock(MEMBER), True, id="whole"),
        pytest.param(superblock(MEMBER | {"csum": 1}), True, id="bad-checksum"),
        pytest.param(superblock(MEMBER | {"magic": 1}), False, id="other-magic"),
        pytest.param(superblock(MEMBER | {"major_version": 0}), False, id="other-version"),
        pytest.param(superblock(MEMBER)[:7], False, id="too-short"),
    ],
)
def test_magic_says_that_a_superblock_is_meant(raw: bytes, *, wanted: bool) -> None:
    assert has_superblock_magic(raw) is wanted


@pytest.mark.parametrize("length", [0, 512, 4095, 4097])
def test_other_than_a_whole_superblock_is_the_callers_mistake(length: int) -> None:
    with pytest.raises(ValueError, match=f"got {length}"):
        parse_superblock(bytes(length), at=DeviceSector(8), minor_version=2, device_sectors=99)
