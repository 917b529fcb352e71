"""Data, P and Q lie where md puts them: all 21 layouts, both ways."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Unpack

import pytest

from harness.errors import BadInput
from harness.ondisk.superblock import parse_superblock
from harness.ondisk.units import ArraySector, DeviceSector, StripeSector
from harness.recovery.geometry import Geometry, Place, geometry_of
from harness.recovery.layout import (
    DEFAULT_LAYOUT,
    LAYOUTS,
    Level,
    QOrder,
    layout_named,
    layout_of,
)
from harness.recovery.parity import q_syndrome, xor_pages
from testcases import independent_geometry as independent
from testcases.independent_geometry import SuperblockFields, superblock

NAMES = {
    (4, 0): "parity-last",
    (5, 0): "left-asymmetric", (5, 1): "right-asymmetric", (5, 2): "left-symmetric",
    (5, 3): "right-symmetric", (5, 4): "parity-first", (5, 5): "parity-last",
    (6, 0): "left-asymmetric", (6, 1): "right-asymmetric", (6, 2): "left-symmetric",
    (6, 3): "right-symmetric", (6, 4): "parity-first", (6, 5): "parity-last",
    (6, 8): "ddf-zero-restart", (6, 9): "ddf-N-restart", (6, 10): "ddf-N-continue",
    (6, 16): "left-asymmetric-6", (6, 17): "right-asymmetric-6", (6, 18): "left-symmetric-6",
    (6, 19): "right-symmetric-6", (6, 20): "parity-first-6",
}  # fmt: skip
EVERY_LAYOUT = [
    pytest.param(level, number, id=f"raid{level}-{NAMES[level, number]}")
    for level, number in independent.LAYOUTS
]
RAID6 = [param for param in EVERY_LAYOUT if param.values[0] == 6]


def geometry(
    level: int, number: int, raid_disks: int, chunk_sectors: int = 8, rows: int = 64
) -> Geometry:
    return Geometry(
        layout=layout_of(Level(level), number), raid_disks=raid_disks,
        chunk_sectors=chunk_sectors, component_sectors=rows * chunk_sectors,
    )  # fmt: skip


def page(draw: random.Random) -> bytes:
    return draw.randbytes(4096)


# The table of section 5.1.


def test_the_layouts_are_the_documented_ones_by_number_and_name() -> None:
    mine = {(int(level), number): lay.name for (level, number), lay in LAYOUTS.items()}
    assert mine == NAMES
    assert set(NAMES) == set(independent.LAYOUTS)


@pytest.mark.parametrize(("level", "number"), EVERY_LAYOUT)
def test_layout_is_found_by_the_name_mdadm_has_for_it(level: int, number: int) -> None:
    found = layout_named(Level(level), NAMES[level, number])
    assert (found.level, found.number) == (level, number)


def test_only_the_ddf_layouts_count_devices_for_q() -> None:
    ddf = {key for key, layout in LAYOUTS.items() if layout.q_order is QOrder.BY_DEVICE}
    assert ddf == {(6, 8), (6, 9), (6, 10)}


def test_left_symmetric_is_the_default_of_raid_5_and_6() -> None:
    assert DEFAULT_LAYOUT == {4: 0, 5: 2, 6: 2}


@pytest.mark.parametrize(
    ("level", "layout", "rows"),
    [
        pytest.param(5, 0, "0 1 2 P ; 3 4 P 5 ; 6 P 7 8 ; P 9 10 11", id="raid5-la"),
        pytest.param(5, 1, "P 0 1 2 ; 3 P 4 5 ; 6 7 P 8 ; 9 10 11 P", id="raid5-ra"),
        pytest.param(5, 2, "0 1 2 P ; 4 5 P 3 ; 8 P 6 7 ; P 9 10 11", id="raid5-ls"),
        pytest.param(5, 3, "P 0 1 2 ; 5 P 3 4 ; 7 8 P 6 ; 9 10 11 P", id="raid5-rs"),
        pytest.param(
            6, 2, "Q 0 1 2 P ; 3 4 5 P Q ; 7 8 P Q 6 ; 11 P Q 9 10 ; P Q 12 13 14", id="raid6-ls"
        ),
        pytest.param(
            6, 0, "Q 0 1 2 P ; 3 4 5 P Q ; 6 7 P Q 8 ; 9 P Q 10 11 ; P Q 12 13 14", id="raid6-la"
        ),
        pytest.param(
            6, 1, "P Q 0 1 2 ; 3 P Q 4 5 ; 6 7 P Q 8 ; 9 10 11 P Q ; Q 12 13 14 P", id="raid6-ra"
        ),
        pytest.param(
            6, 9, "0 1 2 P Q ; 3 4 P Q 5 ; 6 P Q 7 8 ; P Q 9 10 11 ; Q 12 13 14 P", id="raid6-9"
        ),
        pytest.param(
            6, 10, "0 1 2 Q P ; 4 5 Q P 3 ; 8 Q P 6 7 ; Q P 9 10 11 ; P 12 13 14 Q", id="raid6-10"
        ),
        pytest.param(
            6, 18, "0 1 2 P Q ; 4 5 P 3 Q ; 8 P 6 7 Q ; P 9 10 11 Q ; 12 13 14 P Q", id="raid6-18"
        ),
    ],
)
def test_rows_are_as_documented(level: int, layout: int, rows: str) -> None:
    raid_disks = len(rows.split(";")[0].split())
    array = geometry(level, layout, raid_disks)
    for number, row in enumerate(rows.split(" ; ")):
        for device, what in enumerate(row.split()):
            sector = StripeSector(8 * number)
            found = array.row_at(sector)
            held = array.array_sector(device, sector)
            if what == "P":
                assert (found.pd_idx, held) == (device, None)
            elif what == "Q":
                assert (found.qd_idx, held) == (device, None)
            else:
                assert held == 8 * int(what)
                assert array.place(ArraySector(8 * int(what))).device == device


# Against the independent arithmetic.


@pytest.mark.parametrize(("level", "number"), EVERY_LAYOUT)
@pytest.mark.parametrize("data_disks", [2, 3, 4, 7])
def test_every_array_sector_is_placed_as_md_does_and_found_again(
    level: int, number: int, data_disks: int
) -> None:
    raid_disks = data_disks + (2 if level == 6 else 1)
    for chunk_sectors in (8, 24, 128):
        array = geometry(level, number, raid_disks, chunk_sectors)
        row_sectors = chunk_sectors * array.data_disks
        shape = {"level": level, "layout": number, "raid_disks": raid_disks}
        # Two turns of the layout; each chunk's ends and one sector that begins no page.
        chunks = range(0, 2 * raid_disks * row_sectors, chunk_sectors)
        offsets = (0, chunk_sectors // 16 * 8 + 3, chunk_sectors - 1)
        for sector in (start + offset for start in chunks for offset in offsets):
            wanted = independent.place(**shape, chunk_sectors=chunk_sectors, array_sector=sector)
            found = array.place(ArraySector(sector))
            assert found == Place(
                wanted.device, StripeSector(wanted.member_sector), wanted.pd_idx, wanted.qd_idx
            )
            assert array.array_sector(found.device, found.sector) == sector


@pytest.mark.parametrize(("level", "number"), EVERY_LAYOUT)
@pytest.mark.parametrize("sector", [2**32 - 8, 2**32, 2**40 + 5, 2**63 - 8, 2**64 - 8])
def test_absurdly_far_sectors_follow_the_same_arithmetic(
    level: int, number: int, sector: int
) -> None:
    array = geometry(level, number, 5, 128)
    wanted = independent.place(
        level=level, layout=number, raid_disks=5, chunk_sectors=128, array_sector=sector
    )
    found = array.place(ArraySector(sector))
    assert (found.device, found.sector, found.pd_idx, found.qd_idx) == wanted
    assert array.array_sector(found.device, found.sector) == sector


@pytest.mark.parametrize(("level", "number"), EVERY_LAYOUT)
def test_each_device_of_a_row_has_one_part(level: int, number: int) -> None:
    for raid_disks in (4, 5, 7):
        array = geometry(level, number, raid_disks)
        for row_number in range(3 * raid_disks):
            row = array.row_at(StripeSector(8 * row_number))
            parities = [row.pd_idx] if row.qd_idx is None else [row.pd_idx, row.qd_idx]
            assert sorted([*row.data, *parities]) == list(range(raid_disks))


@pytest.mark.parametrize(("level", "number"), EVERY_LAYOUT)
def test_parity_devices_hold_nothing_of_the_array(level: int, number: int) -> None:
    array = geometry(level, number, 6, 16)
    for row_number in range(12):
        sector = StripeSector(16 * row_number + 8)
        shape = {"level": level, "layout": number, "raid_disks": 6, "chunk_sectors": 16}
        wanted = independent.stripe_map(**shape, stripe_sector=sector)
        found = {array.array_sector(device, sector): device for device in range(6)}
        del found[None]
        assert found == {held: at.device for held, at in wanted.items()}


# P and Q: section 5.3.


@pytest.mark.parametrize(("level", "number"), RAID6)
@pytest.mark.parametrize("raid_disks", [4, 5, 6, 9])
def test_p_and_q_of_every_row_are_the_independent_ones(
    level: int, number: int, raid_disks: int
) -> None:
    array = geometry(level, number, raid_disks)
    draw = random.Random(1000 * number + raid_disks)
    for row_number in range(raid_disks):
        row = array.row_at(StripeSector(8 * row_number))
        assert row.qd_idx is not None
        data = {device: page(draw) for device in row.data}
        places = {"raid_disks": raid_disks, "pd_idx": row.pd_idx, "qd_idx": row.qd_idx}
        exponents = array.q_exponents(row)
        assert exponents == independent.q_exponents(layout=number, **places)
        q = q_syndrome({exponents[device]: content for device, content in data.items()})
        assert q == independent.q_of(data, layout=number, **places)
        assert xor_pages(data.values()) == independent.p_of(data.values())


@pytest.mark.parametrize(
    ("pages", "wanted"),
    [
        # 0x80 times 2, 4, 8, 16 modulo 0x11d: 0x1d, 0x3a, 0x74, 0xe8.
        pytest.param({0: 0x80, 1: 0x80, 2: 0x80}, 0x80 ^ 0x1D ^ 0x3A, id="md-exponents"),
        pytest.param({2: 0x80, 3: 0x80, 4: 0x80}, 0x3A ^ 0x74 ^ 0xE8, id="ddf-exponents"),
        pytest.param({254: 2}, 1, id="generator-has-order-255"),
        pytest.param({5: 0}, 0, id="zero-stays-zero"),
    ],
)
def test_q_is_the_hand_made_sum(pages: dict[int, int], wanted: int) -> None:
    assert q_syndrome({e: bytes([byte]) * 16 for e, byte in pages.items()}) == bytes([wanted]) * 16


def test_q_of_every_byte_is_the_product_in_the_field() -> None:
    every_byte = bytes(range(256))
    factor = 1
    for exponent in range(255):
        wanted = bytes(independent.gf_multiply(factor, byte) for byte in every_byte)
        assert q_syndrome({exponent: every_byte}) == wanted
        factor = independent.gf_multiply(factor, 2)


def test_p_is_the_xor_and_leaves_its_input_alone() -> None:
    first, second = b"\x0f" * 4096, b"\x3c" * 4096
    assert xor_pages([first, second]) == b"\x33" * 4096
    assert xor_pages([first]) == first == b"\x0f" * 4096


def test_q_of_nothing_is_the_callers_mistake() -> None:
    with pytest.raises(ValueError, match="one data page"):
        q_syndrome({})


def test_raid_5_has_no_q() -> None:
    array = geometry(5, 2, 4)
    row = array.row_at(StripeSector(0))
    assert row.qd_idx is None
    with pytest.raises(ValueError, match="only RAID-6"):
        array.q_exponents(row)


# From a superblock, and sizes.

FIELDS: SuperblockFields = {
    "set_uuid": bytes(16), "level": 6, "layout": 10, "size": 515, "chunksize": 128,
    "raid_disks": 5, "data_offset": 2048, "data_size": 520, "dev_number": 0, "dev_roles": [0],
}  # fmt: skip


def geometry_in(**changes: Unpack[SuperblockFields]) -> Geometry:
    raw = superblock(FIELDS, **changes)
    return geometry_of(
        parse_superblock(raw, at=DeviceSector(8), minor_version=2, device_sectors=2568)
    )


def test_geometry_comes_from_the_superblock() -> None:
    found = geometry_in()
    assert found == Geometry(
        layout=LAYOUTS[Level.RAID6, 10], raid_disks=5, chunk_sectors=128, component_sectors=515
    )
    assert (found.level, found.data_disks) == (Level.RAID6, 3)


def test_array_is_made_of_whole_chunks() -> None:
    assert geometry_in().array_sectors == 4 * 128 * 3
    assert replace(geometry_in(), component_sectors=511).array_sectors == 3 * 128 * 3


@pytest.mark.parametrize("layout", [0, 2, 5, 99])
def test_raid_4_ignores_the_layout_number(layout: int) -> None:
    assert geometry_in(level=4, layout=layout).layout == LAYOUTS[Level.RAID4, 0]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        pytest.param({"level": 1}, "level 1: .* 4, 5 or 6", id="level-1"),
        pytest.param({"level": 10}, "level 10: .* 4, 5 or 6", id="level-10"),
        pytest.param({"level": -4}, "level -4: .* 4, 5 or 6", id="level-below-zero"),
        pytest.param({"level": 5, "layout": 6}, "layout 6: RAID-5", id="raid5-layout-6"),
        pytest.param({"level": 5, "layout": 16}, "layout 16: RAID-5", id="raid5-layout-16"),
        pytest.param({"layout": 6}, "layout 6: RAID-6", id="raid6-layout-6"),
        pytest.param({"layout": 7}, "layout 7: RAID-6", id="raid6-layout-7"),
        pytest.param({"layout": 21}, "layout 21: RAID-6", id="raid6-layout-21"),
        pytest.param({"raid_disks": 3}, "3 members", id="raid6-of-three"),
        pytest.param({"level": 5, "layout": 2, "raid_disks": 1}, "1 members", id="raid5-of-one"),
        pytest.param({"raid_disks": 0}, "0 members", id="no-members"),
        pytest.param({"chunksize": 0}, "chunk of 0", id="no-chunk"),
        pytest.param({"chunksize": 12}, "chunk of 12", id="part-of-a-page"),
    ],
)
def test_impossible_shape_is_refused(changes: SuperblockFields, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        geometry_in(**changes)


def test_unknown_layout_name_is_refused_with_the_known_ones() -> None:
    with pytest.raises(BadInput, match=r"'ddf-N-restart'.*parity-first, parity-last"):
        layout_named(Level.RAID5, "ddf-N-restart")
