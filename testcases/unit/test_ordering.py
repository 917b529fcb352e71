"""The order of writes: a driver that keeps its promises is green, each broken promise is seen."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import replace

import pytest

from harness.crash.pattern import write_content
from harness.crash.trace import (
    Cache,
    Completion,
    Event,
    Flag,
    Issue,
    Mark,
    Operation,
    Trace,
    TraceDisk,
)
from harness.crash.workload import FlushStep, Workload, Write, WriteStep
from harness.ondisk.units import ArraySector
from harness.recovery.geometry import Geometry
from harness.recovery.layout import Level, layout_of
from harness.verdict.ordering import judge_ordering
from harness.verdict.requests import NEVER, DurableTimes
from harness.verdict.traced_log import TracedArray
from testcases.journal_writer import Data, Flush, Parity, Payload, log_record, superblock
from testcases.unit.written_logs import U

GEOMETRY = Geometry(
    layout=layout_of(Level.RAID4, 0), raid_disks=3, chunk_sectors=8, component_sectors=800
)
JOURNAL, RING, OFFSET = 3, 256, 16
ARRAY = TracedArray(
    geometry=GEOMETRY, seed=U, members={0: 0, 1: 1, 2: 2}, journal=JOURNAL, member_offset=OFFSET,
    journal_offset=OFFSET, ring_sectors=RING, superblock_at=8,
)  # fmt: skip
SEED = 5
WORKLOAD = Workload(
    SEED, (WriteStep((Write(1, ArraySector(0), 8),)), FlushStep(),
           WriteStep((Write(2, ArraySector(16), 8),)), FlushStep()),
)  # fmt: skip


def page(write: int, sector: int) -> bytes:
    return write_content(seed=SEED, write=write, sector=sector, sectors=8)


class Driver:
    """A driver of a small array, whose every request goes into a trace."""

    def __init__(self, journal_cache: Cache = Cache.WRITE_BACK) -> None:
        self.events: list[Event] = []
        self._caches = (Cache.WRITE_BACK,) * 3 + (journal_cache,)
        self._seq = 100

    @property
    def trace(self) -> Trace:
        """What has happened so far."""
        disks = (TraceDisk(f"disk{n}", 1 << 20, cache, 512) for n, cache in enumerate(self._caches))
        return Trace(tuple(disks), tuple(self.events))

    def write(self, disk: int, sector: int, data: bytes, *, fua: bool = False) -> int:
        """Issue a write; return its request, which has not completed."""
        number = len(self.events) + 1
        flags = Flag.FUA if fua else Flag(0)
        self.events.append(
            Issue(number, number, disk, Operation.WRITE, flags, sector * 512, len(data), data)
        )
        return number

    def done(self, request: int) -> None:
        """Complete a request."""
        disk = next(e.disk for e in self.events if isinstance(e, Issue) and e.request == request)
        self.events.append(Completion(len(self.events) + 1, request, disk, 0))

    def flush(self, disk: int) -> None:
        """Flush a disk, and wait for it."""
        number = len(self.events) + 1
        self.events.append(Issue(number, number, disk, Operation.FLUSH, Flag(0), 0, 0, b""))
        self.done(number)

    def log(self, position: int, *payloads: Payload) -> int:
        """Issue the next record; return its request."""
        record = log_record(seed=U, seq=self._seq, position=position, payloads=payloads)
        self._seq += 1
        return self.write(JOURNAL, OFFSET + position, record)

    def member(self, slot: int, stripe: int, data: bytes) -> None:
        """Write a page of a member, and wait for it."""
        self.done(self.write(slot, OFFSET + stripe, data))

    def trim(self, disk: int, sector: int, sectors: int) -> None:
        """Trim a range of a disk, and wait for it."""
        number = len(self.events) + 1
        self.events.append(
            Issue(number, number, disk, Operation.TRIM, Flag(0), sector * 512, sectors * 512, b"")
        )
        self.done(number)

    def tail(self, position: int) -> None:
        """Write the journal's superblock, and wait for it."""
        block = superblock(
            set_uuid=bytes(range(16)), set_name=b"x", level=4, layout=0, size=800, chunksize=8,
            raid_disks=3, data_offset=OFFSET, data_size=RING, dev_roles=[0, 1, 2, 0xFFFD],
            dev_number=3, device_uuid=bytes(16), events=2, journal_tail=position,
        )  # fmt: skip
        self.done(self.write(JOURNAL, 8, block[:512], fua=True))

    def mark(self, text: str) -> None:
        """Say something."""
        self.events.append(Mark(len(self.events) + 1, text))


def well_behaved(skip: str = "", journal_cache: Cache = Cache.WRITE_BACK) -> Driver:
    """Do two stripe writes, with every step but *skip* in its place."""
    driver = Driver(journal_cache)
    second = Data(16, [page(2, 16)]), Parity(8, [page(9, 16)])
    steps: list[tuple[str, Callable[[], object]]] = [
        ("", lambda: driver.tail(0)),
        ("", lambda: driver.done(driver.log(0, Data(0, [page(1, 0)]), Parity(0, [page(9, 0)])))),
        ("flush log 1", lambda: driver.flush(JOURNAL)),
        ("", lambda: driver.member(0, 0, page(1, 0))),
        ("", lambda: driver.member(2, 0, page(9, 0))),
        ("", lambda: driver.mark("flushed 1")),
        ("", lambda: driver.done(driver.log(24, *second))),
        ("flush log 2", lambda: driver.flush(JOURNAL)),
        ("", lambda: driver.member(0, 8, page(2, 16))),
        ("", lambda: driver.member(2, 8, page(9, 16))),
        ("flush member 0", lambda: driver.flush(0)),
        ("flush member 2", lambda: driver.flush(2)),
        ("", lambda: driver.done(driver.log(48, Flush([0])))),
        ("", lambda: driver.mark("flushed 2")),
        ("", lambda: driver.tail(24)),
        ("", lambda: driver.flush(JOURNAL)),
        ("", lambda: driver.done(driver.log(0, Flush([])))),
    ]  # fmt: skip
    for name, step in steps:
        if not skip or name != skip:
            step()
    return driver


def findings(driver: Driver, *, first: int = 0) -> list[str]:
    judgement = judge_ordering(driver.trace, ARRAY, WORKLOAD, first=first, last=NEVER)
    return [finding.what for finding in judgement.findings]


@pytest.mark.parametrize("cache", Cache)
def test_a_driver_that_keeps_its_promises_is_green(cache: Cache) -> None:
    driver = well_behaved(journal_cache=cache)
    judgement = judge_ordering(driver.trace, ARRAY, WORKLOAD, first=0, last=NEVER)
    assert judgement.findings == ()
    assert [line.split()[0] for line in judgement.compared] == ["4", "4", "1", "1", "2"]


def test_a_member_write_before_its_record_is_durable_is_seen() -> None:
    said = findings(well_behaved("flush log 1"))
    assert any(
        "writes stripe 0 of member 0, and its record (meta block 100, event 3) is durable only"
        in what
        for what in said
    )
    assert any("event 9 says that write 1 is flushed" in what for what in said)
    assert findings(well_behaved("flush log 1", Cache.WRITE_THROUGH)) == [], "none is needed there"


@pytest.mark.parametrize("slot", [0, 2])
def test_a_tail_and_a_flush_record_before_the_member_is_durable_are_seen(slot: int) -> None:
    said = findings(well_behaved(f"flush member {slot}"))
    tail = [what for what in said if "moves journal_tail to 24, past meta block 100" in what]
    assert (
        f"stripe 0 of it is not durable on member {slot}: it is written there by event" in tail[0]
    )
    flush = [what for what in said if "logs that stripe 0 is on the members" in what]
    assert f"not durable on member {slot}" in flush[0]
    assert len(said) == 2


def test_writing_over_a_live_record_is_seen() -> None:
    driver = well_behaved()
    driver.done(driver.log(24, Flush([])))
    said = findings(driver)
    assert len(said) == 1
    assert "writes over log sector 24, which belongs to meta block 101" in said[0]
    assert "still live" in said[0]


@pytest.mark.parametrize("tail", [24, 0])
def test_what_lies_before_a_tail_at_the_end_of_the_log_may_be_trimmed(tail: int) -> None:
    """No record lies there yet when the tail is moved; the next one goes there."""
    driver = Driver()
    driver.done(driver.log(0, Data(0, [page(1, 0)]), Parity(0, [page(9, 0)])))
    driver.flush(JOURNAL)
    driver.tail(0)
    driver.member(0, 0, page(1, 0))
    driver.member(2, 0, page(9, 0))
    driver.flush(0)
    driver.flush(2)
    driver.tail(tail)
    driver.flush(JOURNAL)
    driver.trim(JOURNAL, OFFSET, 24)
    driver.done(driver.log(24, Flush([0])))
    said = [what for what in findings(driver) if "still live" in what]
    assert bool(said) == (tail == 0)


@pytest.mark.parametrize("own", [True, False], ids=["its-own-page", "something-else"])
def test_a_unit_that_is_split_at_the_end_of_the_ring_does_not_write_over_itself(
    *, own: bool
) -> None:
    """Its meta block and first page lie at the end, the rest at the beginning and comes later."""
    driver = Driver(Cache.WRITE_THROUGH)
    driver.tail(0)
    first = log_record(seed=U, seq=99, position=0, payloads=(Flush([]),))
    driver.done(driver.write(JOURNAL, OFFSET, first))
    driver.done(driver.log(8, Flush([])))
    driver.tail(8)
    at = RING - 16
    record = log_record(
        seed=U, seq=101, position=at, payloads=(Data(0, [page(1, 0)]), Parity(0, [page(9, 0)]))
    )
    driver.done(driver.write(JOURNAL, OFFSET + at, record[:8192]))
    driver.done(driver.write(JOURNAL, OFFSET, record[8192:] if own else page(8, 0)))
    said = [what for what in findings(driver) if "writes over" in what]
    assert len(said) == (0 if own else 1)


def test_what_happened_before_the_workload_is_not_judged() -> None:
    driver = well_behaved("flush log 1")
    assert len(findings(driver)) > 0
    assert [what for what in findings(driver, first=10) if "of member 0" in what] == []


def test_a_write_that_is_acknowledged_and_not_logged_is_seen() -> None:
    driver = Driver()
    driver.mark("flushed 1")
    (said,) = findings(driver)
    assert said.startswith(
        "event 1 says that write 1 is flushed, and array sector 0 of it is in no"
    )


def test_durable_is_what_no_cut_can_lose() -> None:
    driver = Driver()
    plain = driver.write(0, 0, bytes(512))
    fua = driver.write(0, 1, bytes(512), fua=True)
    early = driver.write(0, 2, bytes(512))
    driver.done(plain)
    driver.done(fua)
    driver.flush(0)
    driver.done(early)
    issues = {e.request: e for e in driver.trace.events if isinstance(e, Issue)}
    times = DurableTimes(driver.trace)
    assert times.of(issues[plain]) == 7, "the end of the flush"
    assert times.of(issues[fua]) == 5, "its own end"
    assert times.of(issues[early]) == NEVER
    assert times.of(replace(issues[plain], disk=1)) == NEVER, "another disk's flush is no help"


def content_that_comes_back(*, missing: str = "", trimmed: bool = False) -> list[str]:
    """Log and write stripe 0 as A, B and A again, but for what is *missing*; then move the tail."""
    driver = Driver(Cache.WRITE_THROUGH)
    driver.tail(0)
    for number, write in enumerate((1, 2, 1)):
        position = 24 * number
        record = Data(0, [page(write, 0)]), Parity(0, [page(9, 0)])
        steps: list[tuple[str, Callable[[], object]]] = [
            (f"log {number}", functools.partial(lambda *a: driver.done(driver.log(*a)), position,
                                                *record)),
            (f"member {number}", functools.partial(driver.member, 0, 0, page(write, 0))),
            (f"parity {number}", functools.partial(driver.member, 2, 0, page(9, 0))),
        ]  # fmt: skip
        for name, step in steps:
            if name != missing:
                step()
    if trimmed:
        driver.trim(0, OFFSET, 8)
    driver.flush(0)
    driver.flush(2)
    driver.done(driver.log(72, Flush([])))
    driver.tail(72)
    return findings(driver)


def test_a_page_whose_content_comes_back_needs_a_record_and_a_write_of_its_own() -> None:
    assert content_that_comes_back() == []
    assert any("writes stripe 0 of member 0" in w for w in content_that_comes_back(missing="log 2"))
    (lost,) = content_that_comes_back(missing="member 2")
    assert "stripe 0 of it is not durable on member 0: it was never written there" in lost
    assert content_that_comes_back(missing="member 2", trimmed=True) == [], "discarded instead"
