"""The independent journal writer agrees with the format document's own check values."""

import struct
from collections.abc import Mapping

import pytest

from testcases.independent_geometry import LAYOUTS, gf_multiply, p_of, q_exponents, q_of, sb_csum
from testcases.journal_writer import (
    PAGE_BYTES,
    ArrayImages,
    Data,
    Flush,
    Parity,
    Raw,
    Ring,
    SuperblockFields,
    data_stripe,
    log_record,
    meta_block,
    place,
    raw_crc32c,
    stripe_map,
    superblock,
    superblock_sector,
    uuid_checksum,
)

SET_UUID = bytes(range(16))
U = 0x2636F714
RAMP = bytes(range(256)) * 16
ONES = b"\xff" * PAGE_BYTES
FIELDS: SuperblockFields = {
    "set_uuid": SET_UUID, "level": 5, "layout": 2, "size": 512, "chunksize": 128, "raid_disks": 4,
    "data_offset": 2048, "data_size": 512, "dev_number": 0, "dev_roles": [0, 1, 2, 3, 0xFFFD],
}  # fmt: skip


def page(byte: int) -> bytes:
    return bytes([byte]) * PAGE_BYTES


def checksum_of(block: bytes) -> int:
    return int.from_bytes(block[4:8], "little")


# The vectors of md-journal-format.md 2.5.


def test_crc_of_the_nine_digits_has_no_final_inversion() -> None:
    assert raw_crc32c(0xFFFFFFFF, b"123456789") == 0x1CF96D7C
    assert raw_crc32c(0xFFFFFFFF, b"123456789") ^ 0xFFFFFFFF == 0xE3069283


def test_uuid_checksum_is_as_documented() -> None:
    assert uuid_checksum(SET_UUID) == U


@pytest.mark.parametrize(
    ("data", "wanted"),
    [
        pytest.param(bytes(PAGE_BYTES), 0xB3304A14, id="zeros"),
        pytest.param(ONES, 0x0E08F58E, id="ones"),
        pytest.param(RAMP, 0xB7B8F5AF, id="ramp"),
    ],
)
def test_page_checksum_is_as_documented(data: bytes, wanted: int) -> None:
    assert raw_crc32c(U, data) == wanted


def test_first_empty_meta_is_as_documented() -> None:
    block = meta_block(seed=U, seq=0x12345678, position=0)
    wanted = "09c53364 64ca253a 01000000 20000000 7856341200000000 0000000000000000"
    assert block == bytes.fromhex(wanted).ljust(PAGE_BYTES, b"\0")
    assert checksum_of(block) == 0x3A25CA64


def test_second_empty_meta_is_as_documented() -> None:
    block = meta_block(seed=U, seq=0x12345678 + 10001, position=8)
    wanted = "09c53364 7eb39ad0 01000000 20000000 897d341200000000 0800000000000000"
    assert block == bytes.fromhex(wanted).ljust(PAGE_BYTES, b"\0")
    assert checksum_of(block) == 0xD09AB37E


def test_data_and_parity_meta_is_as_documented() -> None:
    payloads = [Data(2048, [RAMP]), Parity(1024, [ONES])]
    block = meta_block(seed=U, seq=7, position=16, payloads=payloads)
    assert struct.unpack_from("<I", block, 12) == (72,)
    assert checksum_of(block) == 0x94BD24E1


def test_flush_meta_is_as_documented() -> None:
    block = meta_block(seed=U, seq=8, position=40, payloads=[Flush([1024])])
    assert struct.unpack_from("<I", block, 12) == (48,)
    assert checksum_of(block) == 0x14E28F68


# The check values of 5.1.


@pytest.mark.parametrize(
    ("level", "layout", "raid_disks", "rows"),
    [
        (5, 0, 4, "0 1 2 P ; 3 4 P 5 ; 6 P 7 8 ; P 9 10 11"),
        (5, 1, 4, "P 0 1 2 ; 3 P 4 5 ; 6 7 P 8 ; 9 10 11 P"),
        (5, 2, 4, "0 1 2 P ; 4 5 P 3 ; 8 P 6 7 ; P 9 10 11"),
        (5, 3, 4, "P 0 1 2 ; 5 P 3 4 ; 7 8 P 6 ; 9 10 11 P"),
        (6, 2, 5, "Q 0 1 2 P ; 3 4 5 P Q ; 7 8 P Q 6 ; 11 P Q 9 10 ; P Q 12 13 14"),
        (6, 0, 5, "Q 0 1 2 P ; 3 4 5 P Q ; 6 7 P Q 8 ; 9 P Q 10 11 ; P Q 12 13 14"),
        (6, 1, 5, "P Q 0 1 2 ; 3 P Q 4 5 ; 6 7 P Q 8 ; 9 10 11 P Q ; Q 12 13 14 P"),
        (6, 9, 5, "0 1 2 P Q ; 3 4 P Q 5 ; 6 P Q 7 8 ; P Q 9 10 11 ; Q 12 13 14 P"),
        (6, 10, 5, "0 1 2 Q P ; 4 5 Q P 3 ; 8 Q P 6 7 ; Q P 9 10 11 ; P 12 13 14 Q"),
        (6, 18, 5, "0 1 2 P Q ; 4 5 P 3 Q ; 8 P 6 7 Q ; P 9 10 11 Q ; 12 13 14 P Q"),
    ],
)
def test_rows_are_as_documented(level: int, layout: int, raid_disks: int, rows: str) -> None:
    drawn = []
    for row in range(len(rows.split(";"))):
        stripe = stripe_map(
            level=level,
            layout=layout,
            raid_disks=raid_disks,
            chunk_sectors=8,
            stripe_sector=8 * row,
        )
        slots = ["Q"] * raid_disks
        for array_sector, at in stripe.items():
            slots[at.device] = str(array_sector // 8)
            slots[at.pd_idx] = "P"
        drawn.append(" ".join(slots))
    assert " ; ".join(drawn) == rows


def test_there_are_21_layouts() -> None:
    assert len(LAYOUTS) == len(set(LAYOUTS)) == 21


@pytest.mark.parametrize(("level", "layout"), LAYOUTS)
@pytest.mark.parametrize("raid_disks", [4, 5, 7])
def test_no_two_array_sectors_share_a_place(level: int, layout: int, raid_disks: int) -> None:
    dd = raid_disks - (2 if level == 6 else 1)
    places = [
        place(
            level=level, layout=layout, raid_disks=raid_disks, chunk_sectors=16, array_sector=sector
        )
        for sector in range(0, 16 * dd * raid_disks * 2, 8)
    ]
    taken = {(at.device, at.member_sector) for at in places}
    taken |= {(at.pd_idx, at.member_sector) for at in places}
    taken |= {(at.qd_idx, at.member_sector) for at in places if at.qd_idx is not None}
    assert taken == {
        (device, sector)
        for device in range(raid_disks)
        for sector in range(0, 16 * raid_disks * 2, 8)
    }


def test_sector_inside_a_page_keeps_its_offset() -> None:
    at = place(level=5, layout=2, raid_disks=4, chunk_sectors=16, array_sector=16 * 3 + 11)
    assert at == (3, 16 + 11, 2, None)


# P and Q, by hand: 5.3.


def test_gf_product_wraps_at_the_documented_polynomial() -> None:
    assert gf_multiply(0x80, 2) == 0x1D
    assert gf_multiply(0x80, 4) == 0x3A
    assert gf_multiply(0x53, 1) == 0x53


def test_p_is_the_xor() -> None:
    assert p_of([page(0x0F), page(0x3C), page(0x80)]) == page(0xB3)


@pytest.mark.parametrize(
    ("layout", "slots", "pd_idx", "qd_idx", "wanted"),
    [
        # 0x80 times 1, 2, 4 is 0x80, 0x1d, 0x3a; times 8, 16 it is 0x74, 0xe8.
        pytest.param(2, (1, 2, 3), 4, 0, 0x80 ^ 0x1D ^ 0x3A, id="md-starts-after-q"),
        pytest.param(8, (2, 3, 4), 0, 1, 0x3A ^ 0x74 ^ 0xE8, id="ddf-counts-devices"),
    ],
)
def test_q_is_the_hand_made_sum(
    layout: int, slots: tuple[int, ...], pd_idx: int, qd_idx: int, wanted: int
) -> None:
    pages = dict.fromkeys(slots, page(0x80))
    assert q_of(pages, layout=layout, raid_disks=5, pd_idx=pd_idx, qd_idx=qd_idx) == page(wanted)


def test_q_exponents_walk_around_the_end_and_skip_p() -> None:
    exponents = q_exponents(layout=3, raid_disks=6, pd_idx=2, qd_idx=3)
    assert exponents == {4: 0, 5: 1, 0: 2, 1: 3}


# The superblock: 1.1, 1.2, 1.4.


@pytest.mark.parametrize(
    ("body", "wanted"),
    [
        pytest.param("01000000 02000000", 3, id="plain-sum"),
        # ffffffff + ffffffff + 3 = 2_00000001; 1 + 2 = 3
        pytest.param("ffffffff ffffffff 03000000", 3, id="carries-come-back"),
        pytest.param("01000000 0201", 0x103, id="two-bytes-left"),
    ],
)
def test_sb_csum_follows_the_rule(body: str, wanted: int) -> None:
    assert sb_csum(bytes.fromhex(body)) == wanted


def test_sb_csum_of_a_whole_superblock_is_the_hand_made_sum() -> None:
    block = superblock(
        set_uuid=bytes(16), level=5, layout=2, size=512, chunksize=128, raid_disks=4,
        data_offset=2048, data_size=512, dev_number=0, max_dev=3, dev_roles=[0, 1, 0xFFFD],
    )  # fmt: skip
    # In the order of table 1.2; resync_offset is two words of ones; roles 0 and 1 make one word,
    # the third is the two bytes left. Sum 2_a92d5d8f (hexadecimal); the carry 2 comes back.
    words = [0xA92B4EFC, 1, 512, 5, 2, 512, 128, 4, 2048, 512, 8, 1]
    words += [0xFFFFFFFF, 0xFFFFFFFF, 3, 0x10000, 0xFFFD]
    assert sum(words) == 0x2A92D5D8F
    assert struct.unpack_from("<I", block, 216) == (0xA92D5D91,)


def test_every_superblock_byte_up_to_the_roles_has_a_field_at_its_place() -> None:
    layout = struct.Struct("<IIII16s32sQiIQIIiIQIIIIQQQQII16sBBHiQQQIII28s")
    block = superblock(
        FIELDS, set_name=b"n:0", ctime=1, bitmap_offset=-2, new_level=3, reshape_position=4,
        delta_disks=5, new_layout=6, new_chunk=7, new_offset=8, recovery_offset=9,
        cnt_corrected_read=10, device_uuid=b"d" * 16, devflags=11, bblog_shift=12, bblog_size=13,
        bblog_offset=-14, utime=15, events=16, resync_offset=17, csum=18, max_dev=19, pad0=20,
        logical_block_size=21, pad3=b"p" * 28, feature_map=22,
    )  # fmt: skip
    assert layout.size == 256
    assert layout.unpack_from(block) == (
        0xA92B4EFC, 1, 22, 20, SET_UUID, b"n:0".ljust(32, b"\0"), 1, 5, 2, 512, 128, 4, -2, 3, 4,
        5, 6, 7, 8, 2048, 512, 8, 9, 0, 10, b"d" * 16, 11, 12, 13, -14, 15, 16, 17, 18, 19, 21,
        b"p" * 28,
    )  # fmt: skip
    assert struct.unpack_from("<19H", block, 256) == (0, 1, 2, 3, 0xFFFD) + (0xFFFF,) * 14
    assert not any(block[256 + 2 * 19 :])


def test_union_fields_share_their_bytes_and_exclude_each_other() -> None:
    assert superblock(FIELDS, journal_tail=24)[152:160] == struct.pack("<Q", 24)
    assert superblock(FIELDS, ppl_offset=-8, ppl_size=9)[96:100] == struct.pack("<hH", -8, 9)
    with pytest.raises(AssertionError, match="shares its bytes"):
        superblock(FIELDS, journal_tail=24, recovery_offset=24)


@pytest.mark.parametrize(
    ("minor_version", "device_sectors", "sector"),
    [(0, 4096, 4080), (0, 4103, 4080), (0, 4104, 4088), (1, 4096, 0), (2, 4096, 8)],
)
def test_superblock_sector_follows_the_minor_version(
    minor_version: int, device_sectors: int, sector: int
) -> None:
    found = superblock_sector(minor_version=minor_version, device_sectors=device_sectors)
    assert found == sector


def test_superblock_refuses_what_would_not_be_stored_as_asked() -> None:
    with pytest.raises(AssertionError, match=r"a superblock has no \['evnts'\]"):
        superblock(FIELDS, evnts=5)  # type: ignore[call-arg]
    with pytest.raises(AssertionError, match="not given"):
        superblock(level=5)
    with pytest.raises(AssertionError, match="does not fit 32 bits"):
        superblock(FIELDS, feature_map=1 << 32)
    with pytest.raises(AssertionError, match="device_uuid has 16 bytes"):
        superblock(FIELDS, device_uuid=b"short")


# Descriptors, records and the ring: 2.1 to 2.4.


def test_descriptors_are_packed_as_tabled() -> None:
    payloads = [Data(8, [RAMP], flags=1), Parity(16, [RAMP, ONES]), Flush([24, 32]), Raw(b"raw!")]
    block = meta_block(seed=U, seq=1, position=0, payloads=payloads)
    wanted = struct.pack("<HHIQI", 0, 1, 8, 8, 0xB7B8F5AF)
    wanted += struct.pack("<HHIQII", 1, 0, 16, 16, 0xB7B8F5AF, 0x0E08F58E)
    wanted += struct.pack("<HHIQQ", 2, 0, 16, 24, 32) + b"raw!"
    assert block[32:] == wanted.ljust(PAGE_BYTES - 32, b"\0")
    assert struct.unpack_from("<I", block, 12) == (32 + len(wanted),)


def test_lies_are_written_as_asked() -> None:
    data = Data(8, [RAMP], size=4, checksums=[1, 2])
    ring = Ring(size_sectors=64, seed=U)
    after = ring.append(
        seq=1, position=0, payloads=[data], meta_size=5000, magic=3, version=4, checksum=5,
        pad8=6, pad16=7, tail_bytes=b"tail",
    )  # fmt: skip
    assert after == 16
    assert struct.unpack_from("<IIBBHIQQ", ring.log) == (3, 5, 4, 6, 7, 5000, 1, 0)
    assert ring.log[32:60] == struct.pack("<HHIQII4s", 0, 0, 4, 8, 1, 2, b"tail")


def test_record_wraps_at_the_end_of_the_ring() -> None:
    ring = Ring(size_sectors=40, seed=U)
    payloads = [Data(0, [page(1)]), Parity(0, [page(2)])]
    assert ring.append(seq=9, position=32, payloads=payloads) == 16
    record = log_record(seed=U, seq=9, position=32, payloads=payloads)
    assert bytes(ring.log[32 * 512 :]) == record[:PAGE_BYTES]
    assert bytes(ring.log[: 16 * 512]) == page(1) + page(2)
    assert not any(ring.log[16 * 512 : 32 * 512])
    assert ring.append(seq=10, position=16) == 24
    assert ring.put_block(position=32, block=ONES) == 0


# Stripes and images.


def test_data_comes_by_ascending_slot_with_parity_of_the_new_contents() -> None:
    shape = {"level": 6, "layout": 2, "raid_disks": 5, "chunk_sectors": 8}
    # Row 2 is "7 8 P Q 6": chunk 8 precedes chunk 6, chunk 7 is not written.
    new: Mapping[int, bytes] = {48: page(0x80), 64: page(0x01)}
    payloads = data_stripe(**shape, new=new, old=lambda sector: page(sector // 8))
    assert [(type(one), one.location) for one in payloads] == [(Data, 64), (Data, 48), (Parity, 16)]
    # Exponents start after Q: slot 4 (chunk 6) 0, slot 0 (chunk 7) 1, slot 1 (chunk 8) 2.
    p, q = 0x80 ^ 0x07 ^ 0x01, 0x80 ^ 0x0E ^ 0x04
    assert [*payloads[-1].pages] == [page(p), page(q)]


def test_pages_of_two_stripes_are_refused() -> None:
    with pytest.raises(AssertionError, match="one stripe holds"):
        data_stripe(
            level=5, layout=2, raid_disks=4, chunk_sectors=16, new={0: ONES, 8: ONES}
        )  # fmt: skip


@pytest.mark.parametrize("minor_version", [0, 1, 2])
@pytest.mark.parametrize(("level", "layout"), [(4, 0), (5, 2), (6, 10)])
def test_image_holds_contents_parity_and_superblock(
    minor_version: int, level: int, layout: int
) -> None:
    images = ArrayImages(
        level=level, layout=layout, raid_disks=5, chunk_sectors=16, data_sectors=160,
        log_sectors=131, minor_version=minor_version, contents=lambda sector: page(sector // 8),
    )  # fmt: skip
    members = images.member_images()
    start = 0 if minor_version == 0 else 2048
    assert sorted(members) == [0, 1, 2, 3, 4]
    for sector in range(0, 160 * (3 if level == 6 else 4), 8):
        at = place(**images.shape, array_sector=sector)
        offset = (start + at.member_sector) * 512
        assert members[at.device][offset : offset + PAGE_BYTES] == page(sector // 8)
        column = [image[offset] for slot, image in members.items() if slot != at.qd_idx]
        assert p_of(page(byte) for byte in column) == bytes(PAGE_BYTES)
    for number, image in (*members.items(), (5, images.journal_image(journal_tail=16))):
        sector = superblock_sector(minor_version=minor_version, device_sectors=len(image) // 512)
        block = image[sector * 512 :][:PAGE_BYTES]
        data_size, super_offset, tail, dev_number = struct.unpack_from("<QQQI", block, 136)
        assert struct.unpack_from("<II", block) == (0xA92B4EFC, 1)
        assert struct.unpack_from("<Q", block, 80) == (160,)
        assert (super_offset, dev_number) == (sector, number)
        assert (data_size, tail) == ((131, 16) if number == 5 else (160, 0))
        assert struct.unpack_from("<7H", block, 256) == (0, 1, 2, 3, 4, 0xFFFD, 0xFFFF)
    assert images.ring().size_sectors == 128


def test_missing_and_failed_slots_show_in_roles_and_events() -> None:
    images = ArrayImages(
        level=6, layout=2, raid_disks=4, chunk_sectors=8, data_sectors=32, log_sectors=64,
        data_offset=16, journal_data_offset=24, missing_slots=[1], failed_slots=[2],
        dev_numbers={3: 5},
    )  # fmt: skip
    members = images.member_images({0: {"events": 99}})
    ring = images.ring()
    ring.append(seq=3, position=0)
    members[9] = images.journal_image(ring)
    blocks = {slot: image[PAGE_BYTES : 2 * PAGE_BYTES] for slot, image in members.items()}
    roles = {slot: struct.unpack_from("<6H", block, 256) for slot, block in blocks.items()}
    events = {slot: struct.unpack_from("<Q", block, 200)[0] for slot, block in blocks.items()}
    fresh = (0, 0xFFFF, 0xFFFE, 0xFFFF, 0xFFFD, 3)
    assert roles == {0: fresh, 2: (0, 0xFFFF, 2, 0xFFFF, 0xFFFD, 3), 3: fresh, 9: fresh}
    assert events == {0: 99, 2: 10, 3: 20, 9: 20}
    assert members[9][24 * 512 :] == bytes(ring.log)
