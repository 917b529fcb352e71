"""The guest's agent writes what a workload says, marks each step, and says what failed or hangs."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from harness.crash.pattern import Fill, write_content
from kvm_images.guest import working
from kvm_images.guest.waiting import Hung, Worker, do_at_once

SEED = 9


@pytest.fixture
def array(tmp_path: Path) -> Iterator[int]:
    """Give a file of 64 sectors in place of the array."""
    path = tmp_path / "array"
    path.write_bytes(bytes(64 * 512))
    descriptor = os.open(path, os.O_RDWR)
    yield descriptor
    os.close(descriptor)


def work(descriptor: int, *steps: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Do the steps; return the answer, and the marks."""
    marks: list[str] = []
    answer = working.work(
        descriptor, steps, marks.append, seed=SEED, fill=Fill.STREAM, last=0, deadline_s=60
    )
    return answer, marks


def write(*rows: tuple[int, int, int], fua: int = 0) -> dict[str, Any]:
    return {"do": "write", "writes": [[*row, "data", fua] for row in rows]}


def test_writes_at_once_reach_their_places_with_their_stamps(array: int) -> None:
    answer, marks = work(array, write((1, 8, 8), (2, 40, 16)), write((3, 2, 3)))
    content = os.pread(array, 64 * 512, 0)
    assert content[8 * 512 : 16 * 512] == write_content(seed=SEED, write=1, sector=8, sectors=8)
    assert content[40 * 512 : 56 * 512] == write_content(seed=SEED, write=2, sector=40, sectors=16)
    assert content[2 * 512 : 5 * 512] == write_content(seed=SEED, write=3, sector=2, sectors=3)
    assert not any(content[: 2 * 512] + content[5 * 512 : 8 * 512] + content[16 * 512 : 40 * 512])
    assert marks == ["completed 1..2", "completed 3..3"]
    assert answer == {"last": 3, "failed": [], "hung": "", "done": 2}


def test_a_flush_and_a_write_with_fua_are_marked_as_promises(array: int) -> None:
    _, marks = work(array, write((1, 8, 8)), {"do": "flush"}, write((2, 8, 8), fua=1))
    assert marks == ["completed 1..1", "flushed 1", "completed 2..2", "flushed 2"]


def test_a_write_that_fails_is_told_and_the_next_step_is_done(tmp_path: Path) -> None:
    (tmp_path / "array").touch()
    descriptor = os.open(tmp_path / "array", os.O_RDONLY)
    answer, marks = work(descriptor, write((1, 0, 8), (2, 8, 8)), {"do": "flush"})
    os.close(descriptor)
    assert marks == ["failed 2: EBADF", "flushed 2"]
    assert answer == {"last": 2, "failed": [2], "hung": "", "done": 2}


def test_a_step_that_is_not_known_is_refused(array: int) -> None:
    with pytest.raises(ValueError, match="unknown step 'dance'"):
        work(array, {"do": "dance"})


def test_what_does_not_come_back_is_told_with_the_stacks() -> None:
    stop = threading.Event()
    worker = Worker()
    with pytest.raises(Hung, match="the request:"):
        worker.do(stop.wait, 0.05)  # type: ignore[arg-type]
    with pytest.raises(Hung, match="the request:"):
        do_at_once([lambda: None, stop.wait], 0.05)  # type: ignore[list-item]
    stop.set()


def test_requests_of_a_step_may_end_in_any_order() -> None:
    ends = [0.05, 0.02, 0.3]  # the second is gone when the first is waited for, the third goes on
    assert do_at_once([partial(time.sleep, seconds) for seconds in ends], 60) == []


def test_what_fails_in_a_worker_fails_for_who_asked() -> None:
    worker = Worker()
    with pytest.raises(FileNotFoundError):
        worker.do(Path("/no/such/file").stat, 60)  # type: ignore[arg-type]
    worker.do(lambda: None, 60)


def test_what_goes_on_beside_all_else_does_something_before_it_is_ended(array: int) -> None:
    ended = threading.Event()
    ended.set()
    steps = [write((number, 8, 8)) for number in range(1, 20)]
    answer = working.work(
        array, steps, lambda _: None, seed=SEED, fill=Fill.STREAM, last=0, deadline_s=60,
        until=ended,
    )  # fmt: skip
    assert (answer["done"], answer["last"]) == (working.LEAST_STEPS, working.LEAST_STEPS)
