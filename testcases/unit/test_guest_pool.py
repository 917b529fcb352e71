"""A guest that is lost leaves all that it has not told of to the next one."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from harness.campaign.exploring import guest_pool as module
from harness.campaign.exploring.guest_pool import guest_pool
from harness.campaign.lab import GuestImage
from harness.md.shape import Shape

IMAGE = GuestImage(
    kernel_image=Path("k"), kernel_version="6.1", initramfs=Path("i"), identity="i",
    accelerator="tcg", saved_guests=Path("s"),
)  # fmt: skip


@dataclass(frozen=True)
class Done:
    """What became of a job."""

    job: int
    ends_the_guest: bool
    guest: int


def test_jobs_before_the_one_that_ends_the_guest_are_done_anew(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A guest answers for all jobs of a request at once, or for none but the one that killed it."""
    guests = 0

    @contextlib.contextmanager
    def bank_guest(*_: object, **__: object) -> Iterator[Any]:
        nonlocal guests
        guests += 1
        yield SimpleNamespace(pid=2**30, number=guests)

    def serve(guest: Any, jobs: Sequence[int]) -> Iterator[Done]:
        deadly = next((job for job in jobs if job % 5 == 4), None)
        if deadly is not None:
            yield Done(deadly, ends_the_guest=True, guest=guest.number)
            return
        for job in jobs:
            yield Done(job, ends_the_guest=False, guest=guest.number)

    monkeypatch.setattr(module, "bank_guest", bank_guest)
    done: list[Done] = []
    with guest_pool(IMAGE, Shape(), cast("Any", serve), guests=1, say=print) as pool:
        done += pool.put(list(range(7)))
        done += pool.put(list(range(7, 12)))
        while len(done) < 12:
            done += pool.next_ready()
    assert sorted(each.job for each in done) == list(range(12))
    assert [each.job for each in done if each.ends_the_guest] == [4, 9]
    assert guests == 3
