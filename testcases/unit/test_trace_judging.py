"""Up to where a recording is judged: until its array loses the journal."""

from __future__ import annotations

from dataclasses import replace

import pytest

from harness.campaign.exploring.trace_judging import last_with_journal
from harness.campaign.recording import Recording
from harness.crash.trace import Completion, Trace, TraceDisk
from harness.verdict.durability import JOURNAL_FAILED
from testcases.unit.test_bypassing import member_superblock
from testcases.unit.test_ordering import JOURNAL, OFFSET, WORKLOAD, Driver

NAMES = ("member0", "member1", "member2", "journal")


def recording(driver: Driver) -> Recording:
    disks = tuple(
        TraceDisk(name, disk.size_bytes, disk.cache, 512)
        for name, disk in zip(NAMES, driver.trace.disks, strict=True)
    )
    trace = Trace(disks, driver.trace.events)
    return Recording(WORKLOAD, trace, first_event=1, events=len(trace.events))


def failed(driver: Driver, request: int) -> None:
    driver.done(request)
    last = driver.events[-1]
    assert isinstance(last, Completion)
    driver.events[-1] = replace(last, error=5)


def busy() -> Driver:
    driver = Driver()
    driver.tail(0)
    member_superblock(driver, 0)
    driver.done(driver.write(JOURNAL, OFFSET, bytes(4096)))
    return driver


def after(driver: Driver) -> int:
    """Let some time pass; return the number of the event before it."""
    last = len(driver.events)
    driver.done(driver.write(0, OFFSET, bytes(4096)))
    return last


def test_a_journal_that_stays_is_judged_to_the_end() -> None:
    driver = busy()
    after(driver)
    assert last_with_journal(recording(driver)) == len(driver.events)


def test_a_journal_that_is_made_to_fail_ends_it() -> None:
    driver = busy()
    driver.mark(JOURNAL_FAILED)
    assert after(driver) == last_with_journal(recording(driver))


def test_a_write_that_the_journal_fails_ends_it() -> None:
    driver = busy()
    failed(driver, driver.write(JOURNAL, OFFSET + 8, bytes(4096)))
    assert after(driver) == last_with_journal(recording(driver))


def test_a_write_that_a_member_fails_does_not() -> None:
    driver = busy()
    failed(driver, driver.write(1, OFFSET + 8, bytes(4096)))
    after(driver)
    assert last_with_journal(recording(driver)) == len(driver.events)


@pytest.mark.parametrize("roles", [(0, 1, 2, 0xFFFE), (0, 1, 2, 0xFFFF)])
def test_superblocks_that_know_of_no_journal_any_more_end_it(roles: tuple[int, ...]) -> None:
    driver = busy()
    issued = len(driver.events) + 1
    member_superblock(driver, 0, roles=roles)
    after(driver)
    assert last_with_journal(recording(driver)) == issued


def test_another_journal_ends_it() -> None:
    """An array that was forced to start without its journal, and got a new one."""
    driver = busy()
    issued = len(driver.events) + 1
    member_superblock(driver, 2, roles=(0, 1, 0xFFFD, 0xFFFD))
    after(driver)
    assert last_with_journal(recording(driver)) == issued
