"""Sectors of the plain fill become small when compressed, and still tell where they belong."""

from __future__ import annotations

import lzma
import os
import struct
from pathlib import Path

import pytest

from harness.crash.pattern import Fill, Stamp, describe_sector, read_stamp, sector_content
from harness.crash.pattern import write_content as content_of
from kvm_images.guest.working import work

PLAIN = Stamp(9, 3, 77, Fill.PLAIN)


def test_a_plain_sector_is_its_stamp_again_and_again() -> None:
    assert sector_content(PLAIN) == (b"MDJPLAIN" + struct.pack("<QQQ", 9, 3, 77)) * 16


def test_a_stamp_is_read_back_with_its_fill() -> None:
    for fill in Fill:
        stamp = Stamp(7, 42, 4096, fill)
        assert read_stamp(sector_content(stamp)) == stamp
    assert Stamp(7, 42, 4096).fill is Fill.STREAM


def test_one_flipped_bit_anywhere_is_noticed() -> None:
    content = sector_content(PLAIN)
    for bit in range(512 * 8):
        damaged = bytearray(content)
        damaged[bit // 8] ^= 1 << bit % 8
        assert read_stamp(bytes(damaged)) is None, f"bit {bit}"


def test_a_sector_torn_inside_is_noticed() -> None:
    old, new = sector_content(PLAIN), sector_content(Stamp(9, 4, 77, Fill.PLAIN))
    last = max(at for at in range(512) if old[at] != new[at])
    for at in range(17, last):
        assert read_stamp(new[:at] + old[at:]) is None, at


@pytest.mark.parametrize("fill", Fill)
def test_a_sector_is_told_in_the_same_words(fill: Fill) -> None:
    content = sector_content(Stamp(9, 3, 77, fill))
    assert describe_sector(content) == "write 3 of array sector 77 (seed 9)"
    assert describe_sector(content[:-1] + b"\xff") == "a damaged sector of the workload"


def test_a_plain_write_becomes_small_and_a_stream_does_not() -> None:
    sizes = {
        fill: len(lzma.compress(content_of(seed=1, write=1, sector=0, sectors=256, fill=fill)))
        for fill in Fill
    }
    assert sizes[Fill.PLAIN] * 50 < sizes[Fill.STREAM]


def test_the_agent_writes_what_it_is_told(tmp_path: Path) -> None:
    path = tmp_path / "array"
    path.write_bytes(bytes(64 * 512))
    descriptor = os.open(path, os.O_RDWR)
    step = {"do": "write", "writes": [[1, 8, 8, "data", 0]]}
    work(descriptor, [step], print, seed=9, fill=Fill.PLAIN, last=0, deadline_s=60)
    os.close(descriptor)
    written = path.read_bytes()[8 * 512 : 16 * 512]
    assert written == content_of(seed=9, write=1, sector=8, sectors=8, fill=Fill.PLAIN)
