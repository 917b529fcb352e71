"""Faults of a disk: which requests meet them, and what becomes of these."""

from __future__ import annotations

import errno
import threading

import pytest

from harness.storage.faults import HEAL, Fault, FaultKind, Faults, decode_fault, encode_fault

KIB = 1024


def fault(**fields: object) -> Fault:
    return Fault(**({"disk": "journal", "kind": FaultKind.ERROR} | fields))  # type: ignore[arg-type]


def met(faults: Faults, operation: str = "write", offset: int = 0, length: int = 4096) -> int:
    return faults.meet("journal", operation, offset, length)


def up(*every: Fault) -> Faults:
    faults = Faults()
    for each in every:
        faults.take(encode_fault(each))
    return faults


def test_a_mark_carries_all_of_a_fault() -> None:
    whole = fault(operations=("read", "trim"), skip=3, count=2, offset=5, length=7, delay_ms=9)
    assert decode_fault(encode_fault(whole)) == whole


def test_other_marks_are_none_of_its_business() -> None:
    faults = Faults()
    faults.take("workload begins")
    assert met(faults) == 0


def test_it_is_for_one_disk_until_that_is_healed() -> None:
    faults = up(fault())
    assert faults.meet("member0", "write", 0, 512) == 0
    assert met(faults) == errno.EIO
    faults.take(f"{HEAL}member0")
    assert met(faults) == errno.EIO
    faults.take(f"{HEAL}journal")
    assert met(faults) == 0


def test_it_is_for_some_operations() -> None:
    faults = up(fault(operations=("flush",)))
    assert met(faults, "write") == 0
    assert met(faults, "flush", 0, 0) == errno.EIO


@pytest.mark.parametrize(
    ("offset", "length", "hit"),
    [(0, 4 * KIB, False), (0, 8 * KIB, True), (4 * KIB, 512, True), (8 * KIB, 512, False)],
)
def test_it_is_for_what_touches_its_bytes(offset: int, length: int, hit: bool) -> None:
    assert bool(met(up(fault(offset=4 * KIB, length=4 * KIB)), "read", offset, length)) == hit


def test_without_a_length_it_goes_to_the_end_of_the_disk() -> None:
    faults = up(fault(offset=4 * KIB))
    assert met(faults, "read", 0, 4 * KIB) == 0
    assert met(faults, "read", 100 * KIB, 512) == errno.EIO


def test_it_lets_some_pass_and_ends_after_some() -> None:
    faults = up(fault(skip=1, count=2))
    assert [met(faults) for _ in range(5)] == [0, errno.EIO, errno.EIO, 0, 0]


def test_what_hangs_goes_on_when_its_disk_is_healed() -> None:
    faults = up(fault(kind=FaultKind.HANG))
    came_back = threading.Event()

    def ask() -> None:
        assert met(faults) == 0
        came_back.set()

    asking = threading.Thread(target=ask)
    asking.start()
    assert not came_back.wait(0.1)
    faults.take(f"{HEAL}journal")
    assert came_back.wait(60)
    asking.join()
