"""Numbers of a diagnosis, from small cases that are worked out by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from harness.ondisk.units import LogSector
from harness.recovery.era import NEWEST_ERA
from harness.recovery.geometry import Geometry
from harness.recovery.layout import LAYOUTS
from harness.recovery.leftovers import Leftovers
from harness.recovery.written_pages import (
    WriteColumns,
    array_sectors_of,
    changes_between,
    columns_of,
    merged_ranges,
)
from harness.storage.array_files import opened_log, read_journaled
from harness.storage.images import read_superblocks
from harness.storage.ring_survey import survey
from harness.verdict.array_health import DeviceState, JournalState, assess
from harness.verdict.diagnosis import Work, bytes_in_words
from testcases.independent_geometry import SuperblockFields, place, stripe_map
from testcases.journal_writer import meta_block
from testcases.unit.written_arrays import SEQ, WrittenArray, array_of, noise, store

PAGE = 8


# Columns


def test_the_last_writer_of_a_place_is_kept() -> None:
    columns = columns_of([(8, {0: 100, 1: 108}), (0, {1: 200}), (8, {1: 300})])
    last = columns.last_writers()
    assert len(columns) == 4
    assert list(zip(last.sectors.tolist(), last.devices.tolist(), last.sources.tolist(),
                    strict=True)) == [(0, 1, 200), (8, 0, 100), (8, 1, 300)]  # fmt: skip


def test_nothing_written_is_nothing() -> None:
    last = WriteColumns().last_writers()
    assert len(last) == 0
    assert not changes_between(last, last)
    assert merged_ranges(np.empty(0, np.int64)) == ()


def test_changes_are_counted_each_way() -> None:
    mine = columns_of([(0, {0: 1, 1: 2}), (8, {0: 3})]).last_writers()
    other = columns_of([(0, {0: 1, 1: 9}), (16, {0: 4}), (24, {0: 5})]).last_writers()
    changes = changes_between(mine, other)
    assert (changes.more, changes.fewer, changes.other_pages) == (1, 2, 1)
    assert changes.stripes == (0, 8, 16)
    assert not changes_between(mine, mine)


def test_sectors_near_the_end_of_64_bits_are_outside_and_no_error() -> None:
    geometry = Geometry(
        layout=next(iter(LAYOUTS.values())), raid_disks=4, chunk_sectors=16, component_sectors=160
    )
    last = columns_of([(2**64 - 8, {0: 8}), (152, {1: 16}), (153, {1: 24})]).last_writers()
    assert last.outside(geometry).tolist() == [False, True, True]


@pytest.mark.parametrize(("level", "layout"), LAYOUTS)
def test_array_sectors_are_those_of_the_independent_geometry(level: int, layout: int) -> None:
    shape = {"level": level, "layout": layout, "raid_disks": 5, "chunk_sectors": 16}
    found = LAYOUTS[(level, layout)]  # type: ignore[index]
    geometry = Geometry(layout=found, raid_disks=5, chunk_sectors=16, component_sectors=640)
    wanted, sectors, devices = [], [], []
    for stripe in range(0, 640, PAGE):
        for array_sector in stripe_map(**shape, stripe_sector=stripe):
            device, member_sector, _, _ = place(**shape, array_sector=array_sector)
            wanted.append(array_sector)
            sectors.append(member_sector)
            devices.append(device)
        _, _, parity, _ = place(
            **shape, array_sector=min(stripe_map(**shape, stripe_sector=stripe))
        )
        sectors.append(stripe)
        devices.append(parity)
    got = array_sectors_of(np.array(sectors, np.uint64), np.array(devices, np.uint32), geometry)
    assert got.tolist() == sorted(wanted)


@pytest.mark.parametrize(
    ("sectors", "ranges"),
    [
        ([0], ((0, 8),)),
        ([0, 8, 16], ((0, 24),)),
        ([0, 16], ((0, 8), (16, 8))),
        ([0, 3, 8, 100], ((0, 16), (100, 8))),
    ],
    ids=["one", "touching", "apart", "overlapping"],
)
def test_pages_are_merged_into_ranges(
    sectors: list[int], ranges: tuple[tuple[int, int], ...]
) -> None:
    assert merged_ranges(np.array(sectors, np.int64)) == ranges


# The rest of the ring


def leftovers_of(
    paths: list[Path], live: tuple[int, int] | None, next_seq: int | None
) -> Leftovers:
    files = read_journaled(paths)
    with opened_log(files, NEWEST_ERA) as log:
        left = Leftovers(log.seed, next_seq)
        survey(files, log, live, left)
    return left


def ring_with_metas(array: WrittenArray, *places: tuple[int, int]) -> None:
    for position, seq in places:
        block = meta_block(seed=array.ring.seed, seq=seq, position=position)
        array.ring.put_block(position=position, block=block)


@pytest.mark.parametrize("data_offset", [16, 40])
def test_meta_blocks_around_the_live_log_are_found(data_offset: int, tmp_path: Path) -> None:
    array = WrittenArray(array_of(journal_data_offset=data_offset))
    ring_with_metas(array, (0, SEQ), (80, SEQ + 5), (248, SEQ + 9))
    left = leftovers_of(array.store(tmp_path), (0, 8), SEQ + 7)
    assert (left.older, left.newer) == (1, 1)
    assert left.newest is not None
    assert (left.newest.position, left.newest.seq) == (248, SEQ + 9)


def test_a_live_log_around_the_rings_end_leaves_its_middle(tmp_path: Path) -> None:
    array = WrittenArray(array_of())
    ring_with_metas(array, (0, SEQ + 2), (80, SEQ), (240, SEQ + 1))
    left = leftovers_of(array.store(tmp_path), (240, 8), SEQ + 3)
    assert (left.blocks, left.older) == (1, 1)


def test_data_that_happens_to_begin_like_a_meta_block_is_not_counted(tmp_path: Path) -> None:
    array = WrittenArray(array_of())
    array.ring.put_block(position=80, block=bytes.fromhex("09c53364") + b"\xff" * 4092)
    left = leftovers_of(array.store(tmp_path), None, None)
    assert (left.blocks, left.older, left.newer, left.unfit) == (1, 0, 0, 0)


def test_a_meta_block_in_another_place_is_unfit() -> None:
    left = Leftovers(array_of().ring().seed, 5)
    left.take(LogSector(16), meta_block(seed=left.seed, seq=9, position=8))
    assert (left.unfit, left.newer) == (1, 0)


# Health


def test_health_tells_stale_faulty_and_absent_apart(tmp_path: Path) -> None:
    array = WrittenArray(array_of(6, 2, 6, failed_slots=[3], missing_slots=[5]))
    array.write({0: noise(-1)})
    health, found = assess(read_superblocks(array.store(tmp_path)))
    states = {device.slot: device.state for device in health.devices}
    assert states[3] is DeviceState.STALE
    assert (health.absent, health.not_given, health.without_data) == ((3, 5), (), (3, 5))
    assert health.journal is JournalState.PRESENT
    assert found.journal is not None


def test_a_journal_that_the_members_gave_up_is_faulty(tmp_path: Path) -> None:
    array = WrittenArray(array_of())
    array.log()
    roles = [0, 1, 2, 3, 4, 0xFFFE]
    fields: dict[int, SuperblockFields] = {slot: {"dev_roles": roles} for slot in range(5)}
    images = {f"m{n}": image for n, image in array.images.member_images(fields).items()}
    alone, _ = assess(read_superblocks(store(tmp_path / "a", images)))
    assert alone.journal is JournalState.FAULTY
    images["journal"] = array.images.journal_image(array.ring)
    health, _ = assess(read_superblocks(store(tmp_path / "b", images)))
    assert (health.journal, health.events_ahead) == (JournalState.FAULTY, 0)


# Words


def test_hours_follow_from_what_users_saw() -> None:
    work = Work(
        pages_read=10**6, pages_written=10**6, peak_stripes=1, stripe_cache_size=256, grown_to=256,
        early_replays=0,
    )  # fmt: skip
    assert work.megabytes == 8192.0
    assert work.hours_seen == (8192 / 4 / 3600, 8192 / 3600)


@pytest.mark.parametrize(
    ("count", "words"),
    [(0, "0 bytes"), (1023, "1023 bytes"), (4096, "4.0 KiB"), (3 * 2**20, "3.0 MiB"),
     (5 * 2**50, "5120.0 TiB")],
)  # fmt: skip
def test_bytes_are_told_in_the_unit_that_fits(count: int, words: str) -> None:
    assert bytes_in_words(count) == words
