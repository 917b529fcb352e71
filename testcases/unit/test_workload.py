"""A workload writes where it may, what it says, and all of it again from its seed."""

from __future__ import annotations

import hashlib
import struct
from itertools import combinations

import pytest

from harness.crash.pattern import (
    Stamp,
    describe_sector,
    read_stamp,
    sector_content,
    write_content,
)
from harness.crash.trace import Cache
from harness.crash.workload import (
    Area,
    FlushStep,
    JournalMode,
    Workload,
    Write,
    WriteStep,
    random_workload,
)
from harness.errors import BadInput
from harness.md.shape import KIB, Shape, build_shape
from harness.recovery.geometry import Geometry
from harness.recovery.layout import LAYOUTS, Level

STEPS = 24
SEEDS = range(12)


def area_of(geometry: Geometry) -> Area:
    return Area(geometry.chunk_sectors, geometry.data_disks, geometry.array_sectors)


def asked(level: int, members: int, chunk_bytes: int) -> Area:
    shape = build_shape(
        level=level, members=members, chunk_bytes=chunk_bytes, layout=None,
        journal_bytes=8 << 20, mode=JournalMode.WRITE_BACK, member_cache=Cache.WRITE_BACK,
        journal_cache=Cache.WRITE_BACK,
    )  # fmt: skip
    return area_of(shape.geometry)


AREAS = {
    "raid5-of-three": asked(5, 3, 64 * KIB),
    "raid4-of-sixteen": asked(4, 16, 64 * KIB),
    "raid6-of-four": asked(6, 4, 64 * KIB),
    "raid6-of-sixteen": asked(6, 16, 4 * KIB),
    "smallest-chunk": asked(5, 3, 4 * KIB),
    "largest-chunk": asked(5, 3, 8192 * KIB),
    "one-data-disk": Area(8, 1, 8 * 100),
    "one-row": Area(128, 2, 256),
    "two-rows": Area(16, 3, 96),
    "one-block": Area(8, 1, 8),
}


@pytest.fixture(params=list(AREAS.values()), ids=list(AREAS))
def area(request: pytest.FixtureRequest) -> Area:
    found: Area = request.param
    return found


def drawn(area: Area, *, seed: int = 1, steps: int = STEPS) -> Workload:
    return random_workload(area, seed=seed, steps=steps)


def overlap(one: Write, two: Write) -> bool:
    sectors = set(range(one.sector, one.sector + one.sectors))
    return not sectors.isdisjoint(range(two.sector, two.sector + two.sectors))


# Where it writes


def test_the_same_seed_is_the_same_workload(area: Area) -> None:
    assert drawn(area, seed=5) == drawn(area, seed=5)


def test_other_seeds_are_other_workloads() -> None:
    area = AREAS["raid5-of-three"]
    assert len({drawn(area, seed=seed).steps for seed in range(50)}) == 50


def test_a_longer_workload_begins_as_the_shorter_one(area: Area) -> None:
    short = drawn(area, steps=5).steps[:-1]
    assert drawn(area, steps=9).steps[: len(short)] == short


def test_every_write_is_of_whole_blocks_inside_the_array(area: Area) -> None:
    for seed in SEEDS:
        for write in drawn(area, seed=seed).writes:
            assert write.sectors > 0
            assert write.sector % 8 == write.sectors % 8 == 0
            assert write.sector >= 0
            assert write.sector + write.sectors <= area.array_sectors


def test_writes_issued_at_once_never_overlap(area: Area) -> None:
    small = area if area.row_sectors < 4096 else AREAS["raid5-of-three"]
    for seed in SEEDS:
        for step in drawn(small, seed=seed).steps:
            if isinstance(step, WriteStep):
                assert not any(overlap(*pair) for pair in combinations(step.writes, 2))


def test_numbers_ascend_from_one_without_a_gap(area: Area) -> None:
    for seed in SEEDS:
        numbers = [write.number for write in drawn(area, seed=seed).writes]
        assert numbers == list(range(1, len(numbers) + 1))


def test_every_step_writes_something_and_the_last_is_a_flush(area: Area) -> None:
    for seed in SEEDS:
        steps = drawn(area, seed=seed).steps
        bursts = [step for step in steps if isinstance(step, WriteStep)]
        assert len(bursts) == STEPS
        assert all(1 <= len(burst.writes) <= 6 for burst in bursts)
        assert isinstance(steps[-1], FlushStep)


def test_no_steps_are_a_flush_alone() -> None:
    assert drawn(AREAS["one-row"], steps=0).steps == (FlushStep(),)


@pytest.mark.parametrize(
    "layout", LAYOUTS.values(), ids=lambda lay: f"raid{lay.level:d}-{lay.name}"
)
def test_where_it_writes_does_not_depend_on_the_layout(layout: object) -> None:
    levels = {key: lay for key, lay in LAYOUTS.items() if lay is layout}
    ((level, number),) = levels
    geometry = Shape(level=level, layout=number, members=5).geometry
    data_disks = 3 if level is Level.RAID6 else 4
    assert drawn(area_of(geometry)) == drawn(Area(128, data_disks, 32768 * data_disks))


def test_what_is_no_shape_has_no_workload() -> None:
    with pytest.raises(BadInput):
        asked(5, 2, 64 * KIB)


# What it writes


@pytest.mark.parametrize(
    "name", ["raid5-of-three", "raid6-of-four", "raid4-of-sixteen", "two-rows"]
)
def test_every_kind_of_write_occurs(name: str) -> None:
    area = AREAS[name]
    seen = set()
    for seed in SEEDS:
        earlier: list[Write] = []
        workload = drawn(area, seed=seed)
        for write in workload.writes:
            if write.sectors == 8:
                seen.add("single block")
            elif write.sector % area.row_sectors == 0 and write.sectors == area.row_sectors:
                seen.add("whole row")
            else:
                seen.add("run")
                if write.sector // area.chunk_sectors != (
                    (write.sector + write.sectors - 1) // area.chunk_sectors
                ):
                    seen.add("run over a chunk's end")
            if any(overlap(write, other) for other in earlier):
                seen.add("overlap with an earlier one")
            earlier.append(write)
        flushes = sum(isinstance(step, FlushStep) for step in workload.steps)
        seen.add("flushed in between" if flushes > 1 else "flushed at the end")
        if any(isinstance(s, WriteStep) and len(s.writes) > 1 for s in workload.steps):
            seen.add("several at once")
        pairs = zip(workload.steps, workload.steps[1:], strict=False)
        if any(isinstance(a, WriteStep) and isinstance(b, WriteStep) for a, b in pairs):
            seen.add("no flush between")
    assert seen >= {
        "single block", "run", "run over a chunk's end", "whole row", "flushed in between",
        "overlap with an earlier one", "several at once", "no flush between",
    }  # fmt: skip


def test_writes_stay_close_enough_to_meet_again() -> None:
    area = AREAS["raid5-of-three"]
    for seed in SEEDS:
        assert max(w.sector + w.sectors for w in drawn(area, seed=seed).writes) <= 6 * 256


# The pattern


def test_a_stamp_is_read_back_from_its_sector() -> None:
    for stamp in (Stamp(0, 1, 0), Stamp(7, 42, 4096), Stamp(2**63 - 1, 2**64 - 1, 2**64 - 1)):
        content = sector_content(stamp)
        assert len(content) == 512
        assert read_stamp(content) == stamp


def test_a_sector_is_laid_out_as_its_documentation_says() -> None:
    head = b"MDJWRITE" + struct.pack("<QQQ", 9, 3, 77)
    stream = hashlib.shake_128(head).digest(480)
    assert sector_content(Stamp(9, 3, 77)) == head + stream


def test_a_write_is_its_sectors_one_after_another() -> None:
    content = write_content(seed=9, write=3, sector=16, sectors=8)
    assert len(content) == 4096
    stamps = [read_stamp(content[at : at + 512]) for at in range(0, 4096, 512)]
    assert stamps == [Stamp(9, 3, sector) for sector in range(16, 24)]
    assert write_content(seed=9, write=3, sector=16, sectors=0) == b""


def test_one_flipped_bit_anywhere_is_noticed() -> None:
    content = sector_content(Stamp(9, 3, 77))
    for bit in range(512 * 8):
        damaged = bytearray(content)
        damaged[bit // 8] ^= 1 << bit % 8
        assert read_stamp(bytes(damaged)) is None, f"bit {bit}"


def test_a_sector_torn_inside_is_noticed() -> None:
    old, new = sector_content(Stamp(9, 3, 77)), sector_content(Stamp(9, 4, 77))
    for at in range(17, 512):  # the write number begins at byte 16 and differs in its first byte
        assert read_stamp(new[:at] + old[at:]) is None, at


def test_no_two_sectors_have_the_same_stream() -> None:
    stamps = [Stamp(s, w, n) for s in (1, 2) for w in (1, 2) for n in (0, 1, 8)]
    assert len({sector_content(stamp)[32:] for stamp in stamps}) == len(stamps)


def test_xor_of_two_sectors_of_one_write_is_no_sector_and_not_zero() -> None:
    one, two = sector_content(Stamp(9, 3, 0)), sector_content(Stamp(9, 3, 128))
    parity = bytes(a ^ b for a, b in zip(one, two, strict=True))
    assert read_stamp(parity) is None
    assert parity.count(0) < 64


@pytest.mark.parametrize("length", [511, 513, 1024])
def test_a_piece_of_another_size_is_no_sector(length: int) -> None:
    content = (sector_content(Stamp(9, 3, 0)) + sector_content(Stamp(9, 3, 1)))[:length]
    assert read_stamp(content) is None


@pytest.mark.parametrize(
    ("content", "words"),
    [
        pytest.param(
            sector_content(Stamp(9, 3, 77)), "write 3 of array sector 77 (seed 9)", id="write"
        ),
        pytest.param(bytes(512), "zeroes", id="zeroes"),
        pytest.param(
            sector_content(Stamp(9, 3, 77))[:-1] + b"\0", "a damaged sector of the workload",
            id="damaged-stream",
        ),
        pytest.param(
            b"MDJWRITE" + bytes(504), "a damaged sector of the workload", id="only-the-magic"
        ),
        pytest.param(bytes(511) + b"\x01", "other bytes (00 00 00 00 00 00 00 00 ..)", id="late"),
        pytest.param(
            b"\xfc\x4e\x2b\xa9" + bytes(508), "other bytes (fc 4e 2b a9 00 00 00 00 ..)", id="md"
        ),
        pytest.param(
            b"mdjwrite" + bytes(504), "other bytes (6d 64 6a 77 72 69 74 65 ..)", id="small-letters"
        ),
    ],
)  # fmt: skip
def test_a_sector_is_told_in_words(content: bytes, words: str) -> None:
    assert describe_sector(content) == words
