"""The oracles on an array's contents see what is lost, mixed, or without its parity."""

from __future__ import annotations

import pytest

from harness.crash.content import DiskContent
from harness.crash.pattern import write_content
from harness.crash.trace import Mark, Trace
from harness.crash.workload import FlushStep, Workload, Write, WriteStep
from harness.ondisk.units import ArraySector, StripeSector
from harness.recovery.geometry import Geometry
from harness.recovery.layout import Level, layout_of
from harness.recovery.write_out import parity_of
from harness.verdict.durability import Members, Promises, judge_redundancy

SEED = 7
DATA_OFFSET = 16
WORKLOAD = Workload(
    SEED,
    (
        WriteStep((Write(1, ArraySector(0), 16), Write(2, ArraySector(64), 8))),
        FlushStep(),
        WriteStep((Write(3, ArraySector(8), 8),)),
    ),
)
# The flush covers writes 1 and 2 from event 20 on.
TRACE = Trace((), (Mark(10, "completed 1..2"), Mark(20, "flushed 2"), Mark(30, "completed 3..3")))


class Written:
    """An array that writes are put on, parity and all."""

    def __init__(self, level: Level = Level.RAID5, raid_disks: int = 4) -> None:
        self.geometry = Geometry(
            layout=layout_of(level, 2), raid_disks=raid_disks, chunk_sectors=16,
            component_sectors=160,
        )  # fmt: skip
        self.contents = {slot: DiskContent() for slot in range(raid_disks)}

    @property
    def members(self) -> Members:
        """The array as the judge sees it."""
        return Members(self.geometry, DATA_OFFSET, self.contents)

    def put(self, number: int, *, seed: int = SEED, sectors: int | None = None) -> Written:
        """Do a write of the workload, or its first *sectors*."""
        write = WORKLOAD.writes[number - 1]
        size = write.sectors if sectors is None else sectors
        content = write_content(seed=seed, write=number, sector=write.sector, sectors=size)
        for at in range(size):
            place = self.geometry.place(ArraySector(write.sector + at))
            offset = (DATA_OFFSET + place.sector) * 512
            self.contents[place.device].write(offset, content[at * 512 : at * 512 + 512])
        return self

    def with_parity(self) -> Written:
        """Work out the parity of every stripe."""
        for stripe in range(0, 160, 8):
            row = self.geometry.row_at(StripeSector(stripe))
            pages = {d: self.members.page(d, StripeSector(stripe)) for d in row.data}
            for device, page in parity_of(self.geometry, row, pages).items():
                self.contents[device].write((DATA_OFFSET + stripe) * 512, page)
        return self


def judged(array: Written, cut: int) -> tuple[list[str], list[str]]:
    """Return what is found to be lost, and to be mixed."""
    durability, atomicity = Promises(WORKLOAD, TRACE, array.geometry).judge(array.members, cut)
    return [f.what for f in durability.findings], [f.what for f in atomicity.findings]


def test_what_was_flushed_and_what_came_later_may_be_there() -> None:
    assert judged(Written().put(1).put(2), 25) == ([], [])
    assert judged(Written().put(1).put(2).put(3), 25) == ([], [])
    assert judged(Written(), 20) == ([], []), "nothing is promised before the flush is done"


def test_a_flushed_write_that_is_gone_is_lost() -> None:
    lost, mixed = judged(Written().put(1), 21)
    assert lost[0] == "array sector 64 holds zeroes; write 2 of it was flushed and is gone"
    assert (len(lost), mixed) == (5, [])


def test_a_part_of_a_flushed_write_is_lost_sector_by_sector() -> None:
    lost, mixed = judged(Written().put(1, sectors=15).put(2), 21)
    assert lost == ["array sector 15 holds zeroes; write 1 of it was flushed and is gone"]
    assert mixed == []


@pytest.mark.parametrize("cut", [5, 25])
def test_a_sector_that_is_mixed_is_found_acknowledged_or_not(cut: int) -> None:
    array = Written().put(1).put(2)
    array.contents[0].write((DATA_OFFSET + 0) * 512 + 100, b"other")
    _, mixed = judged(array, cut)
    assert mixed == [
        "array sector 0 holds a damaged sector of the workload, which no write put there whole"
    ]


def test_another_array_s_data_and_another_place_s_are_foreign() -> None:
    assert len(judged(Written().put(1, seed=8), 5)[1]) == 5
    array = Written().put(1).put(2)
    page = array.members.array_page(ArraySector(8))
    place = array.geometry.place(ArraySector(0))
    array.contents[place.device].write((DATA_OFFSET + place.sector) * 512, page)
    assert "holds write 1 of array sector 8" in judged(array, 5)[1][0]


@pytest.mark.parametrize(("level", "disks"), [(Level.RAID4, 3), (Level.RAID5, 4), (Level.RAID6, 5)])
def test_parity_of_every_stripe_that_was_written_to_is_judged(level: Level, disks: int) -> None:
    array = Written(level, disks).put(1).put(2).put(3).with_parity()
    promises = Promises(WORKLOAD, TRACE, array.geometry)
    assert {0, 8, 64} < set(promises.pages), "and what is beside them in the same stripes"
    assert judge_redundancy(array.members, promises.stripes).findings == ()
    row = array.geometry.row_at(StripeSector(8))
    for name, device in (("P", row.pd_idx), ("Q", row.qd_idx)):
        if device is not None:
            content = array.contents[device]
            old = content.read((DATA_OFFSET + 8) * 512 + 5, 1)
            content.write((DATA_OFFSET + 8) * 512 + 5, bytes([old[0] ^ 1]))
            findings = judge_redundancy(array.members, promises.stripes).findings
            assert [f.what for f in findings] == [f"{name} of stripe 8 is not its parity"]
            content.write((DATA_OFFSET + 8) * 512 + 5, old)
