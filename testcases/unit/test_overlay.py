"""A state comes back as it was put there, whatever was written over it."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from harness.crash.content import DiskContent
from harness.crash.trace import (
    Cache,
    Event,
    Flag,
    Issue,
    Mark,
    Operation,
    TraceDisk,
    encode_event,
    encode_header,
)
from harness.storage.bank import Bank
from harness.storage.overlay import Overlay, decode_changes, encode_change

SIZE = 40 * 4096


@pytest.mark.parametrize("seed", range(4))
def test_what_lies_over_a_disk_is_read_and_can_be_forgotten(seed: int) -> None:
    draw = random.Random(seed)
    base = draw.randbytes(SIZE)
    overlay = Overlay(lambda offset, length: base[offset : offset + length])
    for _ in range(2):
        plain = bytearray(base)
        for _ in range(100):
            length = draw.choice([1, 512, 4096, 10000])
            offset = draw.randrange(SIZE - length)
            plain[offset : offset + length] = data = draw.randbytes(length)
            overlay.write(offset, data)
            at = draw.randrange(SIZE - 9000)
            assert overlay.read(at, 9000) == plain[at : at + 9000]
        overlay.forget()
        assert overlay.read(0, SIZE) == base


def test_a_bank_s_files_lead_from_one_state_to_the_next(tmp_path: Path) -> None:
    draw = random.Random(1)
    bank = Bank(tmp_path, ["one", "two"])
    disks = {"one": bytearray(SIZE), "two": bytearray(SIZE)}
    contents = {name: DiskContent() for name in disks}
    for number in range(10):
        contents = {name: content.copy() for name, content in contents.items()}
        for _ in range(5):
            content = contents[draw.choice(["one", "two"])]
            if draw.random() < 0.3:
                content.clear(4096 * draw.randrange(30), 8192)
            else:
                content.write(draw.randrange(SIZE - 6000), draw.randbytes(6000))
        bank.add(number, contents)
        for index, offset, data in decode_changes((tmp_path / str(number)).read_bytes()):
            disks[["one", "two"][index]][offset : offset + len(data)] = data
        assert {n: bytes(d) for n, d in disks.items()} == {
            name: content.read(0, SIZE) for name, content in contents.items()
        }


def test_only_what_differs_is_written_down(tmp_path: Path) -> None:
    bank = Bank(tmp_path, ["one"])
    content = DiskContent()
    content.write(4096, bytes([1]) * 8192)
    bank.add(0, {"one": content})
    other = content.copy()
    other.write(8192 + 7, b"x")
    bank.add(1, {"one": other})
    assert len((tmp_path / "0").read_bytes()) == 2 * len(encode_change(0, 0, bytes(4096)))
    ((disk, offset, data),) = decode_changes((tmp_path / "1").read_bytes())
    assert (disk, offset, data) == (0, 8192, bytes([1]) * 7 + b"x" + bytes([1]) * 4088)


def test_writes_of_a_state_are_told_apart_by_the_mark(tmp_path: Path) -> None:
    bank = Bank(tmp_path, ["one"])
    bank.add(3, {"one": DiskContent()})
    assert not bank.was_begun(3)

    def issue(sequence: int, operation: Operation = Operation.WRITE) -> Issue:
        data = b"" if operation is Operation.FLUSH else bytes(512)
        return Issue(sequence, sequence, 0, operation, Flag(0), 0, len(data), data)

    events: list[Event] = [
        Mark(1, "state 3"), issue(2), issue(3, Operation.FLUSH), issue(4), Mark(5, "settled 3"),
        issue(6), Mark(7, "over 3"), Mark(8, "back 3"), issue(9), Mark(10, "settled-again 3"),
        issue(11), Mark(12, "back 3"), issue(13),
    ]  # fmt: skip
    header = encode_header([TraceDisk("one", SIZE, Cache.WRITE_BACK, 512)])
    trace = header + b"".join(encode_event(event) for event in events)
    (tmp_path / "3.mdjtrace").write_bytes(trace)
    assert bank.was_begun(3)
    traced = bank.take_trace(3)
    assert [issue.sequence for issue in traced.writes] == [2, 4]
    assert [event.sequence for event in traced.recovery] == [2, 3, 4]
    assert [issue.sequence for issue in traced.writes_of_second] == [9]
    assert list(tmp_path.iterdir()) == []


def test_what_was_kept_comes_back_as_often_as_wanted() -> None:
    overlay = Overlay(lambda _, length: bytes(length))
    overlay.write(0, b"recovered")
    overlay.keep()
    for text in (b"degraded", b"again"):
        overlay.write(4, text)
        overlay.back()
        assert overlay.read(0, 12) == b"recovered\0\0\0"
    overlay.forget()
    assert overlay.read(0, 12) == bytes(12)
