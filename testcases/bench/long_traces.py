"""A trace as long as wanted, of a driver of a small array that keeps its promises."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from functools import cache

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
from harness.crash.workload import FlushStep, Step, Workload, Write, WriteStep
from harness.ondisk.log import (
    build_data_payload,
    build_meta_block,
    build_parity_payload,
    page_checksum,
)
from harness.ondisk.units import ArraySector, LogSector, StripeSector
from harness.recovery.geometry import Geometry
from harness.recovery.layout import Level, layout_of
from harness.verdict.traced_log import TracedArray
from testcases.journal_writer import superblock, uuid_checksum

UUID = bytes(range(16))
SEED = 5
OFFSET, RING, JOURNAL = 16, 8 * 1024, 3
STRIPES = 400
_BATCH = 40  # stripes between two moves of the tail

GEOMETRY = Geometry(
    layout=layout_of(Level.RAID4, 0), raid_disks=3, chunk_sectors=8, component_sectors=8 * STRIPES
)
ARRAY = TracedArray(
    geometry=GEOMETRY, seed=uuid_checksum(UUID), members={0: 0, 1: 1, 2: 2}, journal=JOURNAL,
    member_offset=OFFSET, journal_offset=OFFSET, ring_sectors=RING, superblock_at=8,
)  # fmt: skip


def long_trace(events: int) -> tuple[Trace, Workload]:
    """Return a trace of at least so many events, and the workload that it is of."""
    made = list(itertools.islice(_Driver().events(), events))
    while not isinstance(made[-1], Mark):  # end between two writes
        made.pop()
    disks = tuple(TraceDisk(f"disk{n}", 1 << 30, Cache.WRITE_BACK, 512) for n in range(4))
    writes = sum(isinstance(event, Mark) for event in made)
    steps: list[Step] = []
    for number in range(1, writes + 1):
        steps += [WriteStep((Write(number, _sector(number), 8),)), FlushStep()]
    return Trace(disks, tuple(made)), Workload(SEED, tuple(steps))


def _sector(number: int) -> ArraySector:
    return ArraySector(16 * (number % STRIPES))


def _record(
    seq: int, position: LogSector, sector: ArraySector, stripe: StripeSector, page: bytes
) -> bytes:
    """Return a record of one data page and its parity, which is the same page here."""
    checksum = page_checksum(ARRAY.seed, page)
    payloads = build_data_payload(sector, checksum) + build_parity_payload(stripe, [checksum])
    meta = build_meta_block(seed=ARRAY.seed, seq=seq, position=position, payloads=payloads)
    return meta + page + page


@cache
def _superblock(position: int) -> bytes:
    block = superblock(
        set_uuid=UUID, set_name=b"x", level=4, layout=0, size=8 * STRIPES, chunksize=8,
        raid_disks=3, data_offset=OFFSET, data_size=RING, dev_roles=[0, 1, 2, 0xFFFD],
        dev_number=3, device_uuid=bytes(16), events=2, journal_tail=position,
    )  # fmt: skip
    return block[:512]


class _Driver:
    def __init__(self) -> None:
        self._sequence = 0

    def events(self) -> Iterator[Event]:
        position = 0
        yield from self._tail(0)
        for number in itertools.count(1):
            stripe = 8 * (number % STRIPES)
            sector = _sector(number)
            page = write_content(seed=SEED, write=number, sector=sector, sectors=8)
            record = _record(100 + number, LogSector(position), sector, StripeSector(stripe), page)
            begun = position
            position += len(record) // 512
            yield from self._write(JOURNAL, OFFSET + begun, record)
            yield from self._flush(JOURNAL)
            yield from self._write(0, OFFSET + stripe, page)
            yield from self._write(2, OFFSET + stripe, page)
            self._sequence += 1
            yield Mark(self._sequence, f"flushed {number}")
            if number % _BATCH == 0 or position + 24 > RING:
                for disk in (0, 2):
                    yield from self._flush(disk)
                yield from self._tail(begun)
            if position + 24 > RING:
                position = 0

    def _write(self, disk: int, sector: int, data: bytes) -> Iterator[Event]:
        yield from self._done(disk, Operation.WRITE, Flag(0), sector * 512, data)

    def _flush(self, disk: int) -> Iterator[Event]:
        yield from self._done(disk, Operation.FLUSH, Flag(0), 0, b"")

    def _tail(self, position: int) -> Iterator[Event]:
        at = 8 * 512
        yield from self._done(JOURNAL, Operation.WRITE, Flag.FUA, at, _superblock(position))

    def _done(
        self, disk: int, operation: Operation, flags: Flag, offset: int, data: bytes
    ) -> Iterator[Event]:
        self._sequence += 1
        request = self._sequence
        yield Issue(request, request, disk, operation, flags, offset, len(data), data)
        self._sequence += 1
        yield Completion(self._sequence, request, disk, 0)
