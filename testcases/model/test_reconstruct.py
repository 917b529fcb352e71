"""One and two lost blocks of a stripe come back, of any layout, with data or parity lost.

Stripes and their parity are the independent writer's.
"""

from __future__ import annotations

from itertools import combinations

import pytest

from harness.ondisk.units import StripeSector
from harness.recovery.geometry import Geometry
from harness.recovery.layout import Level, Row, layout_of
from harness.recovery.reconstruct import Unrecoverable, recover, recover_one, recover_two
from testcases.independent_geometry import LAYOUTS, p_of, q_of, whole_stripe
from testcases.unit.written_arrays import noise

CHUNK = 8
RAID6_LAYOUTS = [layout for level, layout in LAYOUTS if level == 6]


def geometry_of(level: int, layout: int, raid_disks: int) -> Geometry:
    return Geometry(
        layout=layout_of(Level(level), layout), raid_disks=raid_disks, chunk_sectors=CHUNK,
        component_sectors=160,
    )  # fmt: skip


def stripe_of(geometry: Geometry, row_number: int) -> tuple[Row, dict[int, bytes]]:
    """Return one stripe's row, and its blocks by device as the independent writer has them."""
    pages = whole_stripe(
        level=geometry.level, layout=geometry.layout.number, raid_disks=geometry.raid_disks,
        chunk_sectors=CHUNK, stripe_sector=row_number * CHUNK, contents=noise,
    )  # fmt: skip
    return geometry.row_at(StripeSector(row_number * CHUNK)), pages


def without(pages: dict[int, bytes], *lost: int) -> dict[int, bytes]:
    return {device: page for device, page in pages.items() if device not in lost}


@pytest.mark.parametrize(("level", "layout"), LAYOUTS)
def test_any_one_lost_block_comes_back(level: int, layout: int) -> None:
    geometry = geometry_of(level, layout, 5)
    for row_number in range(5):
        row, pages = stripe_of(geometry, row_number)
        for lost in pages:
            assert recover_one(geometry, row, without(pages, lost), lost) == pages[lost]


@pytest.mark.parametrize("layout", RAID6_LAYOUTS)
@pytest.mark.parametrize("raid_disks", [4, 6])
def test_any_two_lost_blocks_of_raid_6_come_back(layout: int, raid_disks: int) -> None:
    geometry = geometry_of(6, layout, raid_disks)
    for row_number in range(0, raid_disks, 2):
        row, pages = stripe_of(geometry, row_number)
        for one, two in combinations(pages, 2):
            left = without(pages, one, two)
            assert recover_two(geometry, row, left, (one, two)) == (pages[one], pages[two])
            assert recover_two(geometry, row, left, (two, one)) == (pages[two], pages[one])


@pytest.mark.parametrize("layout", RAID6_LAYOUTS)
def test_lost_data_is_what_the_wrong_parity_left_makes_of_it(layout: int) -> None:
    """Which parity is used shows where one is wrong: P for data alone, Q where P is lost too."""
    geometry = geometry_of(6, layout, 5)
    row, pages = stripe_of(geometry, 1)
    assert row.qd_idx is not None
    lost = row.data[1]
    wrong_q = pages | {row.qd_idx: noise(1)}
    assert recover_one(geometry, row, without(wrong_q, lost), lost) == pages[lost]
    wrong_p = without(pages | {row.pd_idx: noise(2)}, lost)
    assert recover_one(geometry, row, wrong_p, lost) != pages[lost]
    by_q = recover_two(geometry, row, without(wrong_p, row.pd_idx), (lost, row.pd_idx))
    assert by_q == (pages[lost], pages[row.pd_idx])


@pytest.mark.parametrize("layout", RAID6_LAYOUTS)
def test_lost_parity_is_that_of_the_data_whatever_it_was(layout: int) -> None:
    geometry = geometry_of(6, layout, 5)
    row, _ = stripe_of(geometry, 2)
    assert row.qd_idx is not None
    data = {device: noise(50 + device) for device in row.data}
    found = recover(geometry, row, data, (row.pd_idx, row.qd_idx))
    assert found == {
        row.pd_idx: p_of(data.values()),
        row.qd_idx: q_of(data, layout=layout, raid_disks=5, pd_idx=row.pd_idx, qd_idx=row.qd_idx),
    }


def test_wide_array_has_its_two_lost_blocks_back() -> None:
    geometry = geometry_of(6, 2, 64)
    row, pages = stripe_of(geometry, 7)
    lost = (row.data[0], row.data[-1])
    left = without(pages, *lost)
    assert recover_two(geometry, row, left, lost) == (pages[lost[0]], pages[lost[1]])


@pytest.mark.parametrize(("level", "lost"), [(4, 2), (5, 2), (6, 3)])
def test_more_than_the_level_stands_is_refused(level: int, lost: int) -> None:
    geometry = geometry_of(level, 0, 5)
    row, pages = stripe_of(geometry, 0)
    some = tuple(pages)[:lost]
    with pytest.raises(Unrecoverable, match="too many for this level"):
        recover(geometry, row, without(pages, *some), some)


def test_block_that_is_neither_left_nor_asked_for_is_named() -> None:
    geometry = geometry_of(6, 2, 5)
    row, pages = stripe_of(geometry, 0)
    with pytest.raises(Unrecoverable, match=r"devices \[2\] are neither"):
        recover_one(geometry, row, without(pages, 1, 2), 1)
