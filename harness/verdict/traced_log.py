"""Every record of an array's log and every page of its members, as a trace of its disks has them.

A record is a meta block with its pages; positions are sectors of the log area.
"""

from __future__ import annotations

import struct
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from harness.crash.history import BLOCK_BYTES
from harness.crash.trace import Issue, Operation, Trace
from harness.ondisk.log import (
    MAGIC,
    DataPayload,
    FlushPayload,
    MetaBlock,
    ParityPayload,
    page_checksum,
    parse_meta_block,
    placed_payloads,
)
from harness.ondisk.superblock import (
    SUPERBLOCK_BYTES,
    stored_device_number,
    stored_journal_tail,
    stored_roles,
)
from harness.ondisk.units import BLOCK_SECTORS, SECTOR_BYTES, ArraySector, LogSector, StripeSector
from harness.recovery.geometry import Geometry
from harness.recovery.places import Places
from harness.verdict.requests import NEVER, DurableTimes

_MAGIC = struct.pack("<I", MAGIC)

Page = tuple[int, int]  # (stripe, slot)


@dataclass(frozen=True, slots=True, kw_only=True)
class TracedArray:
    """Where in a trace an array is; everything on the disks is at the same place all the time."""

    geometry: Geometry
    seed: int  # uuid_checksum(set_uuid)
    members: Mapping[int, int]  # disk -> slot
    journal: int  # disk
    member_offset: int  # data_offset of the members, in sectors
    journal_offset: int
    ring_sectors: int
    superblock_at: int  # sectors


@dataclass(slots=True)
class Record:
    """A meta block and its pages."""

    meta: MetaBlock
    issued: int
    durable: int  # the event that made all of it so
    pages: dict[Page, int]  # checksum
    blocks: dict[int, int | None]  # of the ring that it takes: a page's checksum; None: the meta
    flushed: tuple[StripeSector, ...]


@dataclass(frozen=True, slots=True)
class MemberPage:
    """A page that was written to a member."""

    issued: int
    disk: int
    slot: int
    stripe: StripeSector
    content: bytes
    checksum: int


class TracedLog:
    """What is in a trace of an array; *records* are in order of their sequence numbers."""

    def __init__(self, trace: Trace, array: TracedArray) -> None:
        self._trace = trace
        self.array = array
        self.durable = DurableTimes(trace)
        self._places = Places(array.geometry)
        self._log: dict[int, list[Issue]] = {}  # block of the log -> what wrote it
        self.logged_content: dict[int, bytes] = {}  # by checksum
        self.records = self._find_records()
        self.seqs = [record.meta.seq for record in self.records]
        self._by_page: dict[Page, list[Record]] = {}
        self._best: dict[tuple[Page, int], Record] = {}  # by page and checksum
        for record in self.records:
            for page, checksum in record.pages.items():
                self._by_page.setdefault(page, []).append(record)
                best = self._best.setdefault((page, checksum), record)
                if record.durable < best.durable:
                    self._best[page, checksum] = record
        self._gone_from = self._find_gone()

    def records_of(self, page: Page) -> list[Record]:
        """Return the records that have a page, in order of their sequence numbers."""
        return self._by_page.get(page, [])

    def record_with(self, page: Page, checksum: int) -> Record | None:
        """Return the record that has a page with that content, the first durable one."""
        return self._best.get((page, checksum))

    def is_gone(self, slot: int, at: int) -> bool:
        """Whether a member was no longer part of the array at an event, by its superblocks."""
        return at >= self._gone_from.get(slot, NEVER)

    def records_from(self, page: Page, seq: int) -> Iterator[Record]:
        """Yield those of them from a sequence number on."""
        records = self.records_of(page)
        first = bisect_left(records, seq, key=lambda record: record.meta.seq)
        for number in range(first, len(records)):
            yield records[number]

    def record_before(self, page: Page, seq: int) -> Record | None:
        """Return the last one of them before a sequence number."""
        records = self.records_of(page)
        first = bisect_left(records, seq, key=lambda record: record.meta.seq)
        return records[first - 1] if first else None

    def writes(self) -> Iterator[Issue]:
        """Yield every write, trim and zeroing of the trace."""
        for event in self._trace.events:
            if isinstance(event, Issue) and event.operation is not Operation.FLUSH:
                yield event

    def member_pages(self, issue: Issue) -> Iterator[MemberPage]:
        """Yield the pages of a member's data area that a request writes."""
        slot = self.array.members.get(issue.disk)
        start = issue.offset // SECTOR_BYTES - self.array.member_offset
        if slot is None or issue.operation is not Operation.WRITE or start < 0:
            return
        last = self.array.geometry.component_sectors
        for at in range(0, issue.length, BLOCK_BYTES):
            stripe = StripeSector(start + at // SECTOR_BYTES)
            if stripe < last:
                content = issue.payload[at : at + BLOCK_BYTES]
                checksum = page_checksum(self.array.seed, content)
                yield MemberPage(issue.sequence, issue.disk, slot, stripe, content, checksum)

    def trimmed_pages(self, issue: Issue) -> Iterator[Page]:
        """Yield the pages of a member's data area that a request discards or zeroes."""
        slot = self.array.members.get(issue.disk)
        if slot is None or issue.operation is Operation.WRITE:
            return
        start = issue.offset // SECTOR_BYTES - self.array.member_offset
        end = min(start + issue.length // SECTOR_BYTES, self.array.geometry.component_sectors)
        for stripe in range(max(0, start), end, BLOCK_SECTORS):
            yield StripeSector(stripe), slot

    def log_blocks(self, issue: Issue) -> Iterator[int]:
        """Yield the blocks of the ring that a request to the journal is about."""
        start = issue.offset // SECTOR_BYTES - self.array.journal_offset
        end = start + issue.length // SECTOR_BYTES
        for block in range(max(0, start) // BLOCK_SECTORS, max(0, end) // BLOCK_SECTORS):
            if block * BLOCK_SECTORS < self.array.ring_sectors:
                yield block

    def is_part_of(self, record: Record, issue: Issue, block: int) -> bool:
        """Whether a write puts there what the record has at that block: its own page.

        A unit that is split at the end of the ring issues the rest of its pages behind its meta.
        """
        wanted = record.blocks.get(block)
        if wanted is None or issue.operation is not Operation.WRITE:
            return False
        return page_checksum(self.array.seed, self._content(issue, block)) == wanted

    def tail_in(self, issue: Issue) -> int | None:
        """Return the tail that a write of the journal's superblock carries."""
        at = self.array.superblock_at * SECTOR_BYTES
        if issue.offset != at or issue.operation is not Operation.WRITE:
            return None
        return stored_journal_tail(issue.payload.ljust(SUPERBLOCK_BYTES, b"\0"))

    def place(self, sector: ArraySector) -> Page:
        """Return the page that an array sector is in."""
        place = self._places.place(ArraySector(sector - sector % BLOCK_SECTORS))
        return place.sector, place.device

    def _find_gone(self) -> dict[int, int]:
        """Return the first event that writes a superblock in which a slot is no longer that of the
        device that had it, by slot: it has failed, or another one has taken its place.
        """
        at = self.array.superblock_at * SECTOR_BYTES
        gone = dict.fromkeys(
            set(range(self.array.geometry.raid_disks)) - set(self.array.members.values()), 0
        )
        numbers: dict[int, int] = {}  # slot -> its device's
        for issue in self.writes():
            if issue.offset != at or issue.operation is not Operation.WRITE:
                continue
            roles = dict(enumerate(stored_roles(issue.payload)))
            number = stored_device_number(issue.payload)
            slot = self.array.members.get(issue.disk)
            if slot is not None and roles.get(number) == slot:
                numbers.setdefault(slot, number)
            if not roles:
                continue
            for slot, number in numbers.items():
                if roles.get(number) != slot:
                    gone.setdefault(slot, issue.sequence)
        return gone

    def _find_records(self) -> list[Record]:
        metas: list[tuple[Issue, MetaBlock]] = []
        for issue in self.writes():
            if issue.disk != self.array.journal or issue.operation is not Operation.WRITE:
                continue
            for block in self.log_blocks(issue):
                self._log.setdefault(block, []).append(issue)
                content = self._content(issue, block)
                if content.startswith(_MAGIC):
                    position = LogSector(block * BLOCK_SECTORS)
                    meta = parse_meta_block(
                        content, seed=self.array.seed, seq=None, position=position
                    )
                    if isinstance(meta, MetaBlock):
                        metas.append((issue, meta))
        records = (self._record(issue, meta) for issue, meta in metas)
        return sorted(records, key=lambda record: record.meta.seq)

    def _record(self, issue: Issue, meta: MetaBlock) -> Record:
        ring = self.array.ring_sectors
        pages: dict[Page, int] = {}
        blocks: dict[int, int | None] = {meta.position // BLOCK_SECTORS: None}
        durable = self.durable.of(issue)
        flushed: tuple[StripeSector, ...] = ()
        for payload, at in placed_payloads(meta, ring):
            if isinstance(payload, FlushPayload):
                flushed += payload.stripes
            if not isinstance(payload, DataPayload | ParityPayload):
                continue
            slots: tuple[int | None, ...]
            if isinstance(payload, DataPayload):
                place = self._places.place(ArraySector(payload.location))
                stripe, slots = place.sector, (place.device,)
            else:
                stripe = payload.location
                row = self._places.row_at(stripe)
                slots = (row.pd_idx, row.qd_idx)
            for number, checksum in enumerate(payload.checksums):
                slot = slots[number] if number < len(slots) else None
                if slot is None:
                    continue
                pages[stripe, slot] = checksum
                block = (at // BLOCK_SECTORS + number) % (ring // BLOCK_SECTORS)
                blocks[block] = checksum
                durable = max(durable, self._page_durable(block, checksum, issue))
        return Record(meta, issue.sequence, durable, pages, blocks, flushed)

    def _page_durable(self, block: int, checksum: int, meta: Issue) -> int:
        """Return when a logged page was durable, as the write nearest to its meta block has it."""
        for issue in _nearest(self._log.get(block, []), meta.sequence):
            content = self._content(issue, block)
            if page_checksum(self.array.seed, content) == checksum:
                self.logged_content[checksum] = content
                return self.durable.of(issue)
        return NEVER

    def _content(self, issue: Issue, block: int) -> bytes:
        at = (self.array.journal_offset + block * BLOCK_SECTORS) * SECTOR_BYTES - issue.offset
        return issue.payload[at : at + BLOCK_BYTES]


def _nearest(issues: list[Issue], sequence: int) -> Iterator[Issue]:
    """Yield requests by how far they are from an event, the nearest first."""
    right = bisect_left(issues, sequence, key=lambda issue: issue.sequence)
    left = right - 1
    while left >= 0 or right < len(issues):
        if right < len(issues) and (
            left < 0 or issues[right].sequence - sequence <= sequence - issues[left].sequence
        ):
            yield issues[right]
            right += 1
        else:
            yield issues[left]
            left -= 1
