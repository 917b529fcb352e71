"""Writes to members without a record: what passes the log by rightly, and what a driver forgot."""

from __future__ import annotations

import pytest

from harness.ondisk.units import StripeSector
from harness.recovery.geometry import Geometry
from harness.recovery.layout import Level, layout_of
from harness.verdict.bypassing import unlogged_pages
from harness.verdict.ordering import judge_ordering
from harness.verdict.requests import NEVER
from harness.verdict.traced_log import TracedLog
from testcases.independent_geometry import SuperblockFields, p_of
from testcases.journal_writer import Data, Parity, superblock
from testcases.unit.test_ordering import ARRAY, JOURNAL, OFFSET, WORKLOAD, Driver, page
from testcases.unit.written_arrays import noise

JOURNALED, REBUILDING = 512, 2
ZEROES = bytes(4096)
STRIPE = 8  # of it devices 0 and 1 have data, 2 has parity


def member_superblock(
    driver: Driver, slot: int, *, rebuilt: int | None = None, synced: int = 2**64 - 1,
    roles: tuple[int, ...] = (0, 1, 2, 0xFFFD),
) -> None:  # fmt: skip
    """Write a member's superblock, as md does when something of the array changes."""
    own: SuperblockFields = {
        "set_uuid": bytes(range(16)), "set_name": b"x", "level": 4, "layout": 0, "size": 800,
        "chunksize": 8, "raid_disks": 3, "data_offset": OFFSET, "data_size": 800,
        "dev_roles": list(roles), "dev_number": slot, "device_uuid": bytes(16), "events": 3,
        "resync_offset": synced, "feature_map": JOURNALED,
    }  # fmt: skip
    if rebuilt is not None:
        own |= {"feature_map": JOURNALED | REBUILDING, "recovery_offset": rebuilt}
    block = superblock(own)
    driver.done(driver.write(slot, 8, block[:512], fua=True))


def written(driver: Driver) -> tuple[bytes, bytes]:
    """Log and write both data pages of the stripe and its parity; return the data."""
    first, second = noise(1), noise(2)
    parity = p_of([first, second])
    driver.tail(0)
    driver.done(driver.log(0, Data(16, [first]), Data(24, [second]), Parity(STRIPE, [parity])))
    driver.flush(JOURNAL)
    for slot, content in enumerate((first, second, parity)):
        driver.member(slot, STRIPE, content)
    return first, second


def reasons(driver: Driver, *, first: int = 0) -> list[str]:
    log = TracedLog(driver.trace, ARRAY)
    return [each.reason for each in unlogged_pages(log, first=first, last=NEVER)]


def test_what_has_a_record_is_not_asked_about() -> None:
    driver = Driver()
    written(driver)
    assert reasons(driver) == []


def test_a_data_page_that_no_record_has_is_the_driver_s_own() -> None:
    driver = Driver()
    written(driver)
    driver.member(0, STRIPE, noise(3))
    assert reasons(driver) == [""]
    said = judge_ordering(driver.trace, ARRAY, WORKLOAD, first=0, last=NEVER).findings
    assert any("and no record in the log has that page" in finding.what for finding in said)


@pytest.mark.parametrize("parity_first", [False, True])
def test_neither_half_of_a_write_that_was_not_logged_excuses_the_other(
    *, parity_first: bool
) -> None:
    """Data and parity fit each other, as a driver that skips the log would write them."""
    driver = Driver()
    _, second = written(driver)
    pages = [(0, noise(3)), (2, p_of([noise(3), second]))]
    for slot, content in reversed(pages) if parity_first else pages:
        driver.member(slot, STRIPE, content)
    assert "" in reasons(driver)
    bypassed = {"repair", "rewritten as it was"}
    assert set(reasons(driver)) <= {"", *bypassed}


def test_parity_that_is_left_out_of_a_record_is_no_repair() -> None:
    driver = Driver()
    _, second = written(driver)
    driver.done(driver.log(32, Data(16, [noise(3)])))
    driver.flush(JOURNAL)
    driver.member(0, STRIPE, noise(3))
    driver.member(2, STRIPE, p_of([noise(3), second]))
    assert reasons(driver) == [""]


def test_repair_writes_the_parity_that_the_data_has() -> None:
    driver = Driver()
    written(driver)
    begin = len(driver.events)
    driver.member(2, STRIPE + 8, ZEROES)  # fits the zeroes that nobody wrote to
    assert reasons(driver, first=begin) == ["repair"]
    driver.member(2, STRIPE + 16, noise(9))
    assert reasons(driver, first=begin) == ["repair", ""], "does not fit"


def test_a_page_is_rewritten_after_a_read_error_as_it_was() -> None:
    driver = Driver()
    first, _ = written(driver)
    begin = len(driver.events)
    driver.member(1, STRIPE + 8, ZEROES)
    assert reasons(driver, first=begin) == ["rewritten as it was"]
    driver.member(0, STRIPE, first)
    assert reasons(driver, first=begin) == ["rewritten as it was"], "the log has that page"


def test_a_member_that_says_so_is_being_rebuilt() -> None:
    driver = Driver()
    first, second = written(driver)
    member_superblock(driver, 1, rebuilt=0)
    driver.member(1, STRIPE, noise(5))
    driver.member(1, STRIPE + 8, ZEROES)
    assert reasons(driver) == ["", "rebuilding"], "only what the others make up for"
    driver.member(1, STRIPE, p_of([first, p_of([first, second])]))
    assert reasons(driver) == ["", "rebuilding"], "and the log has that one"


@pytest.mark.parametrize(("synced", "reason"), [(0, "resync"), (STRIPE + 8, "repair")])
def test_an_array_that_says_so_is_in_resync(synced: int, reason: str) -> None:
    driver = Driver()
    for slot in range(3):
        member_superblock(driver, slot, synced=synced)
    driver.member(2, STRIPE, ZEROES)
    assert reasons(driver) == [reason]


def test_a_trimmed_page_counts_as_zeroes() -> None:
    driver = Driver()
    first, _ = written(driver)
    driver.trim(1, OFFSET + STRIPE, 8)
    begin = len(driver.events)
    driver.member(2, STRIPE, first)
    assert reasons(driver, first=begin) == ["repair"]


def test_a_member_that_has_failed_need_not_have_what_the_tail_passes() -> None:
    driver = Driver()
    driver.tail(0)
    for slot in range(3):
        member_superblock(driver, slot)
    driver.done(driver.log(0, Data(16, [page(1, 16)]), Parity(STRIPE, [page(9, 16)])))
    driver.flush(JOURNAL)
    member_superblock(driver, 0, roles=(0, 0xFFFE, 2, 0xFFFD))
    driver.member(0, STRIPE, page(1, 16))
    driver.member(2, STRIPE, page(9, 16))
    driver.flush(0)
    driver.flush(2)
    driver.done(driver.log(24, Data(24, [page(2, 24)]), Parity(STRIPE, [page(8, 16)])))
    driver.flush(JOURNAL)
    driver.member(2, STRIPE, page(8, 16))
    driver.flush(2)
    driver.done(driver.log(48, Data(16, [page(1, 16)]), Parity(STRIPE, [page(8, 16)])))
    driver.tail(48)
    log = TracedLog(driver.trace, ARRAY)
    assert log.is_gone(1, NEVER - 1)
    assert not log.is_gone(1, 2)
    assert not log.is_gone(0, NEVER - 1)
    said = judge_ordering(driver.trace, ARRAY, WORKLOAD, first=0, last=NEVER).findings
    assert [f.what for f in said if "moves journal_tail" in f.what] == []


def test_parity_disks_of_the_stripe_in_these_tests() -> None:
    row = Geometry(
        layout=layout_of(Level.RAID4, 0), raid_disks=3, chunk_sectors=8, component_sectors=800
    ).row_at(StripeSector(STRIPE))
    assert (row.data, row.pd_idx) == ((0, 1), 2)


@pytest.mark.parametrize(
    ("rebuilt", "syncing"), [(None, False), (0, True), (STRIPE, True), (STRIPE + 8, False)]
)
def test_a_write_of_the_drivers_own_is_told_apart_where_a_rebuild_has_yet_to_come_by(
    rebuilt: int | None, syncing: bool
) -> None:
    driver = Driver()
    written(driver)
    member_superblock(driver, 2, rebuilt=rebuilt)
    driver.member(0, STRIPE, noise(5))
    log = TracedLog(driver.trace, ARRAY)
    (bare,) = unlogged_pages(log, first=0, last=NEVER)
    assert (bare.page.slot, bare.reason, bare.is_syncing) == (0, "", syncing)
    judgement = judge_ordering(driver.trace, ARRAY, WORKLOAD, first=0, last=NEVER)
    (finding,) = [f for f in judgement.findings if "no record in the log" in f.what]
    assert finding.facts == {"being_synced": int(syncing)}


def test_a_member_whose_place_another_one_takes_is_not_judged_any_more() -> None:
    """As with --replace: the slot keeps a device, and it is a different one."""
    driver = Driver()
    member_superblock(driver, 1)
    before = len(driver.events)
    member_superblock(driver, 0, roles=(0, 0xFFFE, 2, 0xFFFD, 1))
    log = TracedLog(driver.trace, ARRAY)
    assert not log.is_gone(1, before)
    assert log.is_gone(1, before + 1)
    assert not log.is_gone(0, NEVER - 1)
