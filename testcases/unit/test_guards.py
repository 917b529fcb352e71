"""What is written where nothing may be is seen, named by its place, and put down to the log."""

from __future__ import annotations

import pytest

from harness.crash.trace import Flag, Issue, Operation
from harness.ondisk.units import StripeSector
from harness.verdict.guards import Area, Guarded, inside_writes, judge_guards

MEMBER = Guarded(
    (Area("superblock", 4096, 8192), Area("data area", 1 << 20, 2 << 20)), 3 << 20, 1 << 20,
    "data area",
)  # fmt: skip
JOURNAL = Guarded(
    (Area("superblock", 4096, 8192), Area("log", 1 << 20, 2 << 20)), 3 << 20, 1 << 20, "log"
)
DISKS = ["member0", "spare0", "journal"]
GUARDED = {"member0": MEMBER, "journal": JOURNAL}


def write(offset: int, length: int = 4096, disk: int = 0, payload: bytes | None = None) -> Issue:
    data = bytes(length) if payload is None else payload
    return Issue(1, 1, disk, Operation.WRITE, Flag(0), offset, length, data)


def said(*writes: Issue, asked: tuple[int, ...] = ()) -> list[tuple[str, int]]:
    judgement = judge_guards(writes, DISKS, GUARDED, [StripeSector(a) for a in asked])
    return [(f.what, f.facts["asked_by_log"]) for f in judgement.findings]


def test_superblocks_data_and_log_may_be_written() -> None:
    assert (
        said(write(4096, 512), write(1 << 20), write((2 << 20) - 4096), write(1 << 20, disk=2))
        == []
    )


@pytest.mark.parametrize(
    ("offset", "length", "words"),
    [
        (0, 512, "byte 0 on were written to (write), 4096 bytes before the superblock"),
        (8192, 512, "0 bytes behind the superblock, before the data area"),
        ((1 << 20) - 512, 1024, "512 bytes from byte 1048064 on"),
        (2 << 20, 4096, "0 bytes behind the data area"),
        ((3 << 20) - 512, 512, "1048064 bytes behind the data area"),
    ],
)  # fmt: skip
def test_all_else_is_guarded(offset: int, length: int, words: str) -> None:
    ((what, asked),) = said(write(offset, length))
    assert words in what
    assert asked == 0


def test_a_write_that_changes_nothing_is_seen_as_well() -> None:
    assert len(said(write(2 << 20))) == 1


def test_a_trim_is_seen() -> None:
    trim = Issue(1, 1, 2, Operation.TRIM, Flag(0), 0, 4096, b"")
    ((what, _),) = said(trim)
    assert "trim" in what


def test_a_disk_of_no_part_is_guarded_altogether() -> None:
    ((what, _),) = said(write(4096, disk=1))
    assert "spare0, no part of the array" in what


def test_what_the_log_asks_for_is_told_apart() -> None:
    sector = (1 << 20) // 512
    assert [asked for _, asked in said(write(2 << 20), asked=(sector,))] == [1]
    assert [asked for _, asked in said(write((2 << 20) + 512), asked=(sector,))] == [0]
    assert [asked for _, asked in said(write((2 << 20) + 512), asked=(sector + 1,))] == [1]
    assert [asked for _, asked in said(write(2 << 20, disk=2), asked=(sector,))] == [0]


def test_what_lies_inside_is_left_to_be_compared() -> None:
    content = bytes(range(256)) * 8
    straddling = write((1 << 20) - 1024, 2048, payload=content)
    (inside,) = inside_writes([straddling, write(0)], DISKS, GUARDED)
    assert (inside.offset, inside.length) == (1 << 20, 1024)
    assert inside.payload == content[1024:]
