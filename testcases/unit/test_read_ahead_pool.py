"""Sizes that are no whole pages lead between the blocks: what is read then is up to the pool."""

from __future__ import annotations

import struct

import pytest

from harness.ondisk.units import LogSector
from harness.recovery.era import ERAS
from harness.recovery.geometry import Geometry
from harness.recovery.layout import Level, layout_of
from harness.recovery.log import Log, Ring, UndefinedRecovery
from harness.recovery.plan import plan_recovery
from harness.recovery.read_ahead_pool import ReadAheadPool, StaleRead
from testcases.journal_writer import ArrayImages, Data, Raw, raw_crc32c
from testcases.unit.written_arrays import array_of, noise
from testcases.unit.written_logs import SEQ, U, log_of, page, ring_of, scan

RING = 4096  # sectors: more than the pool


def pool(readable: int = RING) -> ReadAheadPool:
    ring = Ring(RING)
    return ReadAheadPool(RING, ring.add, lambda at: at + 8 <= readable)


def at(offset: int) -> LogSector:
    return LogSector(offset)


def test_whole_blocks_are_where_they_are_looked_for() -> None:
    found = pool()
    assert [found.place(at(n)) for n in (0, 8, 2040, 2048, 4088, 0)] == [0, 8, 2040, 2048, 4088, 0]
    assert found.is_aligned


def test_inside_the_pool_an_offset_is_taken_down_to_its_pages() -> None:
    found = pool()
    assert found.place(at(16)) == 16
    assert found.place(at(29)) == 24
    assert found.is_aligned


def test_outside_the_pool_it_is_read_where_it_is_and_shifts_what_follows() -> None:
    found = pool(readable=2 * RING)
    assert found.place(at(0)) == 0
    assert found.place(at(2052)) == 2052
    assert not found.is_aligned
    assert found.place(at(2064)) == 2060
    assert found.place(at(8)) == 8
    assert found.is_aligned


def test_a_fetch_that_leads_out_of_the_disk_fails_and_leaves_what_was_there() -> None:
    found = pool()
    assert found.place(at(0)) == 0
    assert found.place(at(4084)) is None
    assert not found.is_aligned
    with pytest.raises(StaleRead):
        found.place(at(4092))
    assert found.place(at(0)) == 0


def test_passing_over_blocks_is_reading_them_one_by_one() -> None:
    for first in (0, 8, 1600, 2040, 4080):
        one, two = pool(), pool()
        for found in (one, two):
            found.place(at(0))
        ring = Ring(RING)
        one.pass_over(at(first), 300)
        place = at(first)
        for _ in range(300):
            two.place(place)
            place = ring.add(place, 8)
        for offset in (4085, 5, 1001):
            assert one.place(at(offset)) == two.place(at(offset))


def planned(images: ArrayImages, payloads: list[Data], era: str) -> tuple[int, int, int]:
    ring = images.ring()
    ring.append(seq=7, position=0, payloads=payloads)
    log = Log(
        read_blocks=lambda position, count: bytes(
            ring.log[position * 512 : (position + 8 * count) * 512]
        ),
        data_size=images.log_sectors, journal_tail=LogSector(0), seed=ring.seed, parities=1,
        era=ERAS[era],
    )  # fmt: skip
    geometry = Geometry(
        layout=layout_of(Level(images.level), images.layout), raid_disks=images.raid_disks,
        chunk_sectors=images.chunk_sectors, component_sectors=images.data_sectors,
    )  # fmt: skip
    plan = plan_recovery(log, geometry)
    return plan.metas_accepted, plan.metas_dropped, len(plan.data_only)


@pytest.mark.parametrize(
    ("era", "wanted"),
    [("4.11", (0, 1, 0)), ("4.12", (1, 0, 2)), ("6.1.175", (1, 0, 2)), ("6.12.117", (1, 0, 2))],
)
def test_a_size_of_a_page_and_a_half_is_one_page_since_there_is_a_pool(
    era: str, wanted: tuple[int, int, int]
) -> None:
    """Seen by fuzzing on 6.12.117: two stripes are recovered, and not the block dropped."""
    images = array_of()
    page = noise(-1)
    sums = (raw_crc32c(images.ring().seed, page),)
    payloads = [Data(0, [page], size=12, checksums=sums), Data(80, [noise(-2)])]
    assert planned(images, payloads, era) == wanted


def test_pages_follow_at_a_size_that_is_no_whole_page() -> None:
    ring = ring_of()
    ring.append(seq=SEQ, position=0, payloads=[Data(0, [page(1)], size=12), Data(8, [page(2)])])
    metas, end = scan(log_of(ring))
    assert metas[0].dropped is None
    # Sector 20 is looked for among the pages that were read ahead, and 16 is found.
    assert [at for _, _, at in metas[0].entries] == [8, 16]
    assert end.position == 24
    ring.log[20 * 512 : 28 * 512] = page(2)
    metas, end = scan(log_of(ring, era=ERAS["4.11"]))
    assert metas[0].dropped is None
    assert [at for _, _, at in metas[0].entries] == [8, 20]


def test_page_that_cannot_be_read_is_taken_for_the_one_before() -> None:
    """Its checksum is that of what is still in the buffer; then it is loaded from nowhere."""
    ring = ring_of(64)
    absurd = Data(0, [page(1)], size=8000, checksums=[raw_crc32c(U, page(1)), *[0] * 999])
    sum_of_1 = struct.pack("<I", raw_crc32c(U, page(1)))
    follows = Raw(struct.pack("<HHIQ4s", 0, 0, 8, 8, sum_of_1))
    ring.append(seq=SEQ, position=0, payloads=[absurd, follows])
    with pytest.raises(UndefinedRecovery, match="was verified and cannot be read any more"):
        scan(log_of(ring))
