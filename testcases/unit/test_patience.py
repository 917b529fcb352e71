"""What hangs is told from what is slow by whether the disks are at work."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.vm import guest
from kvm_images.guest import patience

DEADLINE_S = 100.0


class World:
    """A clock and disks that do as the test says."""

    def __init__(self) -> None:
        self.now_s = 1000.0
        self.completed = 0

    def monotonic(self) -> float:
        """Return the time in seconds."""
        return self.now_s


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    found = World()
    monkeypatch.setattr(patience, "time", found)
    monkeypatch.setattr(patience, "completed_requests", lambda: found.completed)
    return found


def over_after(world: World, *, busy_until_s: float) -> float:
    """Return when patience is over, looked at each second, in seconds from its beginning."""
    began = world.now_s
    each = patience.Patience(DEADLINE_S)
    while not each.is_over():
        world.now_s += 1
        if world.now_s - began <= busy_until_s:
            world.completed += 1
    return world.now_s - began


def test_idle_disks_get_the_deadline_and_no_more(world: World) -> None:
    assert over_after(world, busy_until_s=0) == DEADLINE_S
    assert over_after(world, busy_until_s=70) == DEADLINE_S


@pytest.mark.parametrize("busy_s", [99, 150, 400])
def test_disks_at_work_are_waited_for_and_a_quarter_of_it_behind_that(
    world: World, busy_s: int
) -> None:
    assert over_after(world, busy_until_s=busy_s) == busy_s + 0.25 * DEADLINE_S


def test_what_goes_on_for_ever_hangs_as_well(world: World) -> None:
    assert over_after(world, busy_until_s=10**6) == patience.MOST * DEADLINE_S


def test_the_host_waits_longer_than_the_guest() -> None:
    assert guest.MOST_PATIENCE == patience.MOST
    assert guest.answer_within(DEADLINE_S) > patience.MOST * DEADLINE_S


def test_requests_are_those_of_all_disks_but_mds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the kernel's Documentation/admin-guide/iostats.rst: 17 figures behind the name."""
    stats = tmp_path / "diskstats"
    stats.write_text(
        " 254  0 vda 100 0 0 0  20 0 0 0  0 0 0  3 0 0 0  4 0\n"
        "   9  0 md0 999 0 0 0 999 0 0 0  0 0 0 99 0 0 0 99 0\n"
        "   7  0 loop0 1 0 0 0 2 0 0 0 0 0 0\n"  # of an older kernel
    )
    monkeypatch.setattr(patience, "_DISKSTATS", str(stats))
    assert patience.completed_requests() == 130
