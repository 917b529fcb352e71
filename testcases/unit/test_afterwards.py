"""What md reads and counts in a recovered array is held against the members, whole and degraded."""

from __future__ import annotations

import itertools
import zlib
from dataclasses import replace

import pytest

from harness.crash.content import DiskContent
from harness.ondisk.units import ArraySector, StripeSector
from harness.recovery.geometry import Geometry
from harness.recovery.layout import Level, layout_of
from harness.recovery.write_out import parity_of
from harness.verdict.afterwards import (
    CHECK,
    DEGRADED,
    INTERRUPTED,
    judge_check,
    judge_read_back,
    judge_same_members,
)
from harness.verdict.durability import Members
from testcases.unit.written_arrays import noise

PAGES = tuple(range(12))
SECTORS = 32


def array(level: Level = Level.RAID5, disks: int = 4) -> Members:
    geometry = Geometry(
        layout=layout_of(level, 2), raid_disks=disks, chunk_sectors=16, component_sectors=160
    )
    contents = {slot: DiskContent() for slot in range(disks)}
    for stripe in range(0, SECTORS, 8):
        row = geometry.row_at(StripeSector(stripe))
        data = {device: noise(1000 * stripe + device) for device in row.data}
        for device, page in (data | parity_of(geometry, row, data)).items():
            contents[device].write((16 + stripe) * 512, page)
    return Members(geometry, 16, contents, lambda stripe: {"stripe": stripe})


def read(members: Members) -> list[int]:
    return [zlib.crc32(members.array_page(ArraySector(8 * page))) for page in PAGES]


@pytest.mark.parametrize(
    ("level", "disks", "gone"), [(Level.RAID4, 3, 1), (Level.RAID5, 4, 1), (Level.RAID6, 5, 2)]
)
def test_without_any_that_the_level_can_spare_the_array_reads_the_same(
    level: Level, disks: int, gone: int
) -> None:
    members = array(level, disks)
    wanted = read(members)
    for slots in itertools.combinations(range(disks), gone):
        left = replace(
            members, contents={s: c for s, c in members.contents.items() if s not in slots}
        )
        judgement = judge_read_back(DEGRADED, left, PAGES, wanted, without=str(slots))
        assert judgement.findings == (), slots


def test_a_page_that_is_read_otherwise_is_named() -> None:
    members = array()
    found = read(members)
    found[3] ^= 1
    judgement = judge_read_back(DEGRADED, members, PAGES, found, without="member2")
    (finding,) = judgement.findings
    assert finding.oracle == DEGRADED
    assert "array sector 24 is read otherwise without member2" in finding.what
    place = members.geometry.place(ArraySector(24))
    assert finding.facts == {"stripe": place.sector}, "for known issues to match"


def damaged(members: Members, slot: int, stripe: int) -> Members:
    contents = {s: c.copy() for s, c in members.contents.items()}
    contents[slot].write((16 + stripe) * 512 + 5, b"x")
    return replace(members, contents=contents)


def test_md_s_check_must_count_what_python_counts() -> None:
    members = array()
    wrong = damaged(damaged(members, 1, 8), 2, 24)
    for found, counted, right in ((members, 0, True), (members, 8, False), (wrong, 16, True),
                                  (wrong, 8, False), (wrong, 0, False)):  # fmt: skip
        judgement = judge_check(found, SECTORS, counted)
        assert (judgement.findings == ()) is right
        assert all(finding.oracle == CHECK for finding in judgement.findings)
    assert judge_check(damaged(wrong, 0, 24), SECTORS, 16).findings == (), "a stripe counts once"
    assert judge_check(wrong, 16, 8).findings == (), "no more is looked at than md did"


def test_members_that_came_to_another_end_are_named() -> None:
    members = array()
    assert judge_same_members(INTERRUPTED, members, array(), what="later").findings == ()
    (finding,) = judge_same_members(INTERRUPTED, damaged(members, 1, 8), members, what="x").findings
    assert finding.what.startswith("member 1: ")
    assert "stripe 8" in finding.what
    outside = {s: c.copy() for s, c in members.contents.items()}
    outside[0].write(4096, b"a superblock")
    outside[0].write((16 + 160) * 512, b"behind the end")
    same = replace(members, contents=outside)
    assert judge_same_members(INTERRUPTED, same, members, what="x").findings == ()


def test_a_member_that_is_no_longer_there_is_named() -> None:
    members = array()
    left = replace(members, contents={s: c for s, c in members.contents.items() if s != 2})
    (finding,) = judge_same_members(INTERRUPTED, left, members, what="then").findings
    assert finding.what == "member 2 is no longer part of the array then"
