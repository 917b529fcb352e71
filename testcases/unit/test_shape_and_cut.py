"""What a person may ask of an array and of a cut, and what is refused in which words."""

from __future__ import annotations

import re
from typing import Any

import pytest

from harness.campaign.crash import CutChoice, array_uuid
from harness.campaign.steps import steps_for_agent
from harness.crash.trace import Cache
from harness.crash.workload import FlushStep, JournalMode, Write, WriteStep
from harness.errors import EXIT_MISUSE, BadInput
from harness.md.shape import KIB, MIB, Shape, build_shape
from harness.ondisk.units import ArraySector
from harness.recovery.layout import LAYOUTS, Level

ASKED: dict[str, Any] = {
    "level": 5, "members": None, "chunk_bytes": 64 * KIB, "layout": None,
    "journal_bytes": 8 * MIB, "mode": JournalMode.WRITE_THROUGH,
    "member_cache": Cache.WRITE_BACK, "journal_cache": Cache.WRITE_BACK,
}  # fmt: skip
LEAST = {4: 3, 5: 3, 6: 4}


def shape(**changes: object) -> Shape:
    return build_shape(**{**ASKED, **changes})


def refusal(**changes: object) -> str:
    with pytest.raises(BadInput) as raised:
        shape(**changes)
    assert raised.value.exit_status == EXIT_MISUSE
    said = str(raised.value)
    assert "\n" not in said
    return said


# Shapes


@pytest.mark.parametrize("level", [4, 5, 6])
def test_the_least_array_of_a_level_is_its_default(level: int) -> None:
    found = shape(level=level)
    assert (found.level, found.members) == (Level(level), LEAST[level])
    assert found.geometry.data_disks == 2
    assert found.geometry.array_sectors == 2 * 16 * MIB // 512


@pytest.mark.parametrize("level", [4, 5, 6])
def test_members_are_taken_from_the_least_to_sixteen(level: int) -> None:
    for members in range(LEAST[level], 17):
        assert shape(level=level, members=members).members == members
    for members in (-1, 0, 1, 2, LEAST[level] - 1, 17, 1000):
        said = refusal(level=level, members=members)
        assert said == f"--members {members}: RAID-{level} here takes {LEAST[level]} to 16"


@pytest.mark.parametrize("size", [4 * KIB, 8 * KIB, 64 * KIB, 512 * KIB, 8 * MIB])
def test_a_chunk_is_a_power_of_two_of_whole_pages(size: int) -> None:
    found = shape(chunk_bytes=size)
    assert found.geometry.chunk_sectors == size // 512
    assert found.geometry.member_sectors == 16 * MIB // 512, "no chunk is cut off at the end"


@pytest.mark.parametrize(
    "size", [-4096, 0, 1, 512, 2048, 4095, 4097, 12 * KIB, 96 * KIB, 16 * MIB, 2**40]
)
def test_any_other_chunk_is_refused_with_its_size(size: int) -> None:
    assert refusal(chunk_bytes=size).startswith(f"--chunk {size}: ")


@pytest.mark.parametrize("size", [64 * KIB, 68 * KIB, 8 * MIB, 2**31])
def test_a_journal_is_whole_pages(size: int) -> None:
    found = shape(journal_bytes=size)
    assert found.journal_disk_bytes - found.journal_bytes == MIB


@pytest.mark.parametrize("size", [-4096, 0, 4096, 60 * KIB, 64 * KIB + 512, 8 * MIB + 1])
def test_any_other_journal_is_refused_with_its_size(size: int) -> None:
    assert refusal(journal_bytes=size).startswith(f"--journal-size {size}: ")


@pytest.mark.parametrize(
    ("level", "name", "number"),
    [(level, layout.name, number) for (level, number), layout in LAYOUTS.items()],
    ids=[f"raid{level:d}-{layout.name}" for (level, _), layout in LAYOUTS.items()],
)
def test_every_layout_is_known_by_mdadms_name(level: Level, name: str, number: int) -> None:
    found = shape(level=int(level), layout=name, members=5)
    assert found.layout == number
    assert found.geometry.layout.name == name
    assert name in str(found)


@pytest.mark.parametrize(
    ("level", "name"),
    [(5, "left"), (5, "ddf-zero-restart"), (4, "left-symmetric"), (6, "raid6"), (5, "2"), (5, " ")],
)
def test_a_layout_that_a_level_has_not_is_refused_with_those_it_has(level: int, name: str) -> None:
    said = refusal(level=level, layout=name)
    assert repr(name) in said
    assert f"RAID-{level} " in said
    assert "parity-last" in said


def test_without_a_layout_it_is_mdadms_own() -> None:
    names = [shape(level=level).geometry.layout.name for level in (4, 5, 6)]
    assert names == ["parity-last", "left-symmetric", "left-symmetric"]


def test_what_was_asked_for_is_in_the_shape_and_in_its_line() -> None:
    found = shape(
        level=6, members=5, chunk_bytes=32 * KIB, journal_bytes=100 * KIB,
        mode=JournalMode.WRITE_BACK, member_cache=Cache.WRITE_THROUGH,
    )  # fmt: skip
    assert str(found) == (
        "RAID-6 left-symmetric, 5 members of 16 MiB, chunk 32 KiB, journal 100 KiB write-back;"
        " caches: members write-through, journal write-back"
    )
    assert found.member_names == ("member0", "member1", "member2", "member3", "member4")
    assert found.member_disk_bytes == 17 * MIB


# Cuts


@pytest.mark.parametrize("event", [0, 1, 99, 100])
def test_an_event_of_the_workload_is_taken_as_it_is(event: int) -> None:
    assert CutChoice(event=event).pick(100, seed=1) == event


@pytest.mark.parametrize("event", [101, 10**9])
def test_an_event_beyond_the_end_is_refused_with_how_many_there_are(event: int) -> None:
    with pytest.raises(BadInput) as raised:
        CutChoice(event=event).pick(100, seed=1)
    assert str(raised.value) == f"--cut {event}: the workload has 100 events here"


@pytest.mark.parametrize("events", [0, 1, 7, 100, 12345])
def test_shares_go_from_before_the_first_event_to_behind_the_last(events: int) -> None:
    assert CutChoice(share=0.0).pick(events, seed=1) == 0
    assert CutChoice(share=1.0).pick(events, seed=1) == events
    picked = [CutChoice(share=n / 100).pick(events, seed=1) for n in range(101)]
    assert picked == sorted(picked)


def test_a_share_is_of_the_events_whatever_the_seed() -> None:
    assert {CutChoice(share=0.25).pick(1000, seed=seed) for seed in range(50)} == {250}


def test_event_zero_is_not_taken_for_no_choice() -> None:
    assert CutChoice(event=0).pick(1000, seed=5) == 0
    assert CutChoice(share=0.0).pick(1000, seed=5) == 0
    assert CutChoice().pick(1000, seed=5) != 0


def test_the_same_seed_cuts_at_the_same_event() -> None:
    for seed in range(20):
        assert CutChoice().pick(1000, seed) == CutChoice().pick(1000, seed)


def test_seeds_cut_all_over_the_workload() -> None:
    picked = [CutChoice().pick(1000, seed) for seed in range(300)]
    assert all(0 <= event <= 1000 for event in picked)
    assert {event // 100 for event in picked} >= set(range(10))


# What goes into the guest


def test_a_seed_gives_its_own_array_uuid_as_mdadm_takes_it() -> None:
    assert array_uuid(1) == array_uuid(1)
    assert len({array_uuid(seed) for seed in range(100)}) == 100
    assert re.fullmatch(r"[0-9a-f]{8}(:[0-9a-f]{8}){3}", array_uuid(0))


def test_every_step_reaches_the_agent_in_its_order() -> None:
    writes = (Write(1, ArraySector(8), 16), Write(2, ArraySector(0), 8))
    assert steps_for_agent([WriteStep(writes), FlushStep(), FlushStep()]) == [
        {"do": "write", "writes": [[1, 8, 16, "data", 0], [2, 0, 8, "data", 0]]},
        {"do": "flush"}, {"do": "flush"},
    ]  # fmt: skip
