"""Bursts of writes: where they lie, and how they are numbered."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest

from harness.crash.bursts import Bursts, Extent, drawn_bursts
from harness.crash.workload import Area, WriteKind

AREA = Area(chunk_sectors=32, data_disks=2, array_sectors=32 * 2 * 100)


def drawn(**fields: object) -> list[list[tuple[int, int]]]:
    wanted = {"bursts": 50, "at_once": 4, "extent": Extent.MIX, "rows": 6} | fields
    bursts = drawn_bursts(Bursts(**wanted), AREA, random.Random(3), last=0)  # type: ignore[arg-type]
    return [[(write.sector, write.sectors) for write in burst.writes] for burst in bursts]


@pytest.mark.parametrize("extent", Extent)
def test_they_stay_in_their_rows_and_do_not_overlap_in_a_burst(extent: Extent) -> None:
    for burst in drawn(extent=extent):
        assert burst
        for sector, sectors in burst:
            assert sector % 8 == sectors % 8 == 0
            assert 0 <= sector < sector + sectors <= 6 * 64
        for (sector, sectors), (after, _) in pairwise(sorted(burst)):
            assert sector + sectors <= after


def test_each_extent_is_what_it_is_called() -> None:
    assert {sectors for burst in drawn(extent=Extent.BLOCK) for _, sectors in burst} == {8}
    rows = {write for burst in drawn(extent=Extent.ROW) for write in burst}
    assert {(sector % 64, sectors) for sector, sectors in rows} == {(0, 64)}
    runs = {sectors for burst in drawn(extent=Extent.RUN) for _, sectors in burst}
    assert min(runs) == 16
    assert max(runs) <= 64


def test_numbers_go_on_from_the_last_one() -> None:
    wanted = Bursts(bursts=3, at_once=2, extent=Extent.BLOCK, rows=6, kind=WriteKind.ZEROES)
    bursts = drawn_bursts(wanted, AREA, random.Random(1), last=10)
    writes = [write for burst in bursts for write in burst.writes]
    assert [write.number for write in writes] == list(range(11, 11 + len(writes)))
    assert {write.kind for write in writes} == {WriteKind.ZEROES}


def test_an_array_with_fewer_rows_than_asked_for_has_them_all() -> None:
    assert max(sector for burst in drawn(rows=10**6) for sector, _ in burst) < 6400
