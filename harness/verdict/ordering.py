"""Oracle 3: the order of the driver's writes, judged on a trace alone before any kernel recovers.

DESIGN.md section 6. Five rules, each of them a promise that a power cut at the wrong moment puts
to the test: a member is written only when the record of that page is durable; the ring is written
over only where it is done with; the tail passes a record, and a FLUSH names a stripe, only when the
pages are durable on the members; a flush of the array ends only when the records of what it covers
are durable. A record is a meta block with its pages; positions are sectors of the log area.

Member writes that no record explains are not judged here: they are either resync, repair and the
like, which pass the log by, or an objection of the journal's truth.
"""

from __future__ import annotations

import itertools
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from harness.crash.history import BLOCK_BYTES
from harness.crash.trace import Issue, Operation, Trace
from harness.crash.workload import Workload, Write
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
from harness.ondisk.superblock import SUPERBLOCK_BYTES, stored_journal_tail
from harness.ondisk.units import BLOCK_SECTORS, SECTOR_BYTES, ArraySector, LogSector, StripeSector
from harness.recovery.geometry import Geometry
from harness.recovery.places import Places
from harness.verdict.durability import flush_marks, page_stamps
from harness.verdict.requests import NEVER, DurableTimes
from harness.verdict.verdict import Finding, Judgement

ORACLE = "write ordering"
_MAGIC = struct.pack("<I", MAGIC)
_MOST_FINDINGS = 5

Page = tuple[int, int]  # (stripe, device)


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
class _Record:
    meta: MetaBlock
    issued: int
    durable: int  # the event that made all of it so
    pages: dict[Page, int]  # checksum
    flushed: tuple[StripeSector, ...]


@dataclass(frozen=True, slots=True)
class _Written:
    issued: int
    durable: int
    checksum: int


def judge_ordering(
    trace: Trace, array: TracedArray, workload: Workload, *, first: int
) -> Judgement:
    """Judge every write of a trace from event *first* on, and the flushes of its workload."""
    judge = _Judge(trace, array, first)
    findings = [
        *judge.members(), *judge.ring_and_tail(), *judge.flush_records(),
        *judge.acknowledged(workload),
    ]  # fmt: skip
    compared = (
        f"{judge.member_pages} pages written to members: each behind its durable record",
        f"{len(judge.records)} records in the ring: none written over while it is live",
        f"{judge.tails} moves of the tail: none past what is not durable on the members",
        f"{judge.flushed} stripes named by FLUSH records: durable on the members before that",
        f"{judge.acknowledged_writes} writes that a flush covered: logged for good before it ended",
    )
    return Judgement(ORACLE, compared, tuple(findings[:_MOST_FINDINGS]))


class _Judge:
    def __init__(self, trace: Trace, array: TracedArray, first: int) -> None:
        self._trace = trace
        self._array = array
        self._first = first
        self._places = Places(array.geometry)
        self._durable = DurableTimes(trace)
        self._log: dict[int, list[Issue]] = {}  # block of the log -> what wrote it
        self._logged_content: dict[int, bytes] = {}  # by checksum
        self._on_member: dict[Page, list[_Written]] = {}
        self.records = self._find_records()
        self._by_page: dict[Page, list[_Record]] = {}
        for record in self.records:
            for page in record.pages:
                self._by_page.setdefault(page, []).append(record)
        self.member_pages = 0
        self.tails = 0
        self.flushed = 0
        self.acknowledged_writes = 0

    def members(self) -> Iterator[Finding]:
        """Yield writes of members that came before their record was durable."""
        for issue in self._writes():
            slot = self._array.members.get(issue.disk)
            if slot is None:
                continue
            for stripe, content in self._member_pages(issue):
                checksum = page_checksum(self._array.seed, content)
                page = (stripe, slot)
                written = _Written(issue.sequence, self._durable.of(issue), checksum)
                self._on_member.setdefault(page, []).append(written)
                records = [r for r in self._by_page.get(page, ()) if r.pages[page] == checksum]
                if not records or issue.sequence < self._first:
                    continue
                self.member_pages += 1
                best = min(records, key=lambda record: record.durable)
                if best.durable > issue.sequence:
                    yield Finding(
                        ORACLE,
                        f"event {issue.sequence} writes stripe {stripe} of member {slot}, and its"
                        f" record (meta block {best.meta.seq}, event {best.issued}) is"
                        f" {_when(best.durable)}",
                    )  # fmt: skip

    def ring_and_tail(self) -> Iterator[Finding]:
        """Yield writes over what is live, and tails that moved too far; goes after `members`."""
        in_order = sorted(self.records, key=lambda record: record.issued)
        latest: dict[int, _Record] = {}  # position -> the record that lies there
        owner: dict[int, _Record] = {}  # block of the log -> the record that has it
        tails: list[tuple[int, int]] = []  # durable, and the number of the first live record
        next_record = 0
        for issue in self._writes():
            if issue.disk != self._array.journal:
                continue
            live_from = max((seq for durable, seq in tails if durable < issue.sequence), default=0)
            for block in self._log_blocks(issue):
                held = owner.get(block)
                if (
                    held is not None and held.meta.seq >= live_from > 0
                    and held.issued < issue.sequence
                ):  # fmt: skip
                    yield self._written_over(issue, held, block)
                    break
            while next_record < len(in_order) and in_order[next_record].issued <= issue.sequence:
                record = in_order[next_record]
                next_record += 1
                latest[record.meta.position] = record
                for block in self._blocks_of(record):
                    owner[block] = record
            tail = self._tail_in(issue)
            if tail is not None and (head := latest.get(tail)) is not None:
                if tails and tails[-1][1] == head.meta.seq:
                    continue
                yield from self._judge_tail(issue, tails[-1][1] if tails else 0, head)
                tails.append((self._durable.of(issue), head.meta.seq))

    def flush_records(self) -> Iterator[Finding]:
        """Yield FLUSH records that could survive a cut which what they speak of does not."""
        for record in self.records:
            if record.issued < self._first:
                continue
            for stripe in record.flushed:
                self.flushed += 1
                yield from itertools.islice(self._judge_flush(record, stripe), 1)

    def _judge_flush(self, record: _Record, stripe: StripeSector) -> Iterator[Finding]:
        for slot in range(self._array.geometry.raid_disks):
            page = (stripe, slot)
            before = [r for r in self._by_page.get(page, ()) if r.meta.seq < record.meta.seq]
            if not before:
                continue
            checksum = before[-1].pages[page]
            if not self._is_safe(page, checksum, record.issued, record):
                what = (
                    f"event {record.issued} logs that stripe {stripe} is on the members (meta"
                    f" block {record.meta.seq}), and it is not durable on member {slot}"
                    f"{self._written_at(page, checksum)}"
                )
                yield Finding(ORACLE, what)

    def acknowledged(self, workload: Workload) -> Iterator[Finding]:
        """Yield writes that a flush covered before their records were durable."""
        writes = {write.number: write for write in workload.writes}
        done = 0
        for sequence, number in flush_marks(self._trace):
            for write in (writes[n] for n in range(done + 1, number + 1)):
                self.acknowledged_writes += 1
                if (page := self._not_logged(write, sequence)) is not None:
                    what = (
                        f"event {sequence} says that write {write.number} is flushed, and array"
                        f" sector {page} of it is in no record that is durable by then"
                    )
                    yield Finding(ORACLE, what)
            done = max(done, number)

    def _not_logged(self, write: Write, at: int) -> int | None:
        for sector in range(write.sector, write.sector + write.sectors):
            aligned = sector - sector % BLOCK_SECTORS
            place = self._places.place(ArraySector(aligned))
            page = (place.sector, place.device)
            logged = (
                page_stamps(self._logged_content[record.pages[page]])[sector - aligned][0]
                for record in self._by_page.get(page, ())
                if record.durable < at and record.pages[page] in self._logged_content
            )
            if max(logged, default=0) < write.number:
                return sector
        return None

    def _judge_tail(self, issue: Issue, before: int, head: _Record) -> Iterator[Finding]:
        if issue.sequence < self._first:
            return
        self.tails += 1
        passed: dict[Page, tuple[int, _Record]] = {}
        for record in self.records:
            if before <= record.meta.seq < head.meta.seq:
                passed |= {page: (checksum, record) for page, checksum in record.pages.items()}
        for page, (checksum, record) in passed.items():
            if self._is_safe(page, checksum, issue.sequence, head):
                continue
            stripe, slot = page
            what = (
                f"event {issue.sequence} moves journal_tail to {head.meta.position}, past meta"
                f" block {record.meta.seq} (event {record.issued}), and stripe {stripe} of it is"
                f" not durable on member {slot}{self._written_at(page, checksum)}"
            )
            yield Finding(ORACLE, what)
            return

    def _is_safe(self, page: Page, checksum: int, at: int, head: _Record) -> bool:
        """Whether a page of a record that the tail has passed cannot be lost any more."""
        on_member = self._on_member.get(page, ())
        if any(w.checksum == checksum and w.durable < at for w in on_member):
            return True
        if page[1] not in self._array.members.values():
            return True  # there is no such member
        return any(  # logged once more, and that record is live
            record.meta.seq >= head.meta.seq and record.durable < at
            for record in self._by_page.get(page, ())
        )

    def _written_at(self, page: Page, checksum: int) -> str:
        found = [w for w in self._on_member.get(page, ()) if w.checksum == checksum]
        if not found:
            return ": it was never written there"
        return f": it is written there by event {found[0].issued}, {_when(found[0].durable)}"

    def _written_over(self, issue: Issue, held: _Record, block: int) -> Finding:
        return Finding(
            ORACLE,
            f"event {issue.sequence} writes over log sector {block * BLOCK_SECTORS}, which belongs"
            f" to meta block {held.meta.seq} (event {held.issued}): that is still live",
        )

    def _find_records(self) -> list[_Record]:
        metas: list[tuple[Issue, MetaBlock]] = []
        for issue in self._writes():
            if issue.disk != self._array.journal or issue.operation is not Operation.WRITE:
                continue
            for block in self._log_blocks(issue):
                self._log.setdefault(block, []).append(issue)
                content = self._content(issue, block)
                if content.startswith(_MAGIC):
                    position = LogSector(block * BLOCK_SECTORS)
                    meta = parse_meta_block(
                        content, seed=self._array.seed, seq=None, position=position
                    )
                    if isinstance(meta, MetaBlock):
                        metas.append((issue, meta))
        return sorted(
            (self._record(issue, meta) for issue, meta in metas), key=lambda r: r.meta.seq
        )

    def _record(self, issue: Issue, meta: MetaBlock) -> _Record:
        ring = self._array.ring_sectors
        pages: dict[Page, int] = {}
        durable = self._durable.of(issue)
        flushed: tuple[StripeSector, ...] = ()
        for payload, at in placed_payloads(meta, ring):
            if isinstance(payload, FlushPayload):
                flushed += payload.stripes
            if not isinstance(payload, DataPayload | ParityPayload):
                continue
            devices: tuple[int | None, ...]
            if isinstance(payload, DataPayload):
                place = self._places.place(ArraySector(payload.location))
                stripe, devices = place.sector, (place.device,)
            else:
                stripe = payload.location
                row = self._places.row_at(stripe)
                devices = (row.pd_idx, row.qd_idx)
            for number, checksum in enumerate(payload.checksums):
                device = devices[number] if number < len(devices) else None
                if device is None:
                    continue
                pages[stripe, device] = checksum
                block = (at // BLOCK_SECTORS + number) % (ring // BLOCK_SECTORS)
                durable = max(durable, self._page_durable(block, checksum, issue))
        return _Record(meta, issue.sequence, durable, pages, flushed)

    def _page_durable(self, block: int, checksum: int, meta: Issue) -> int:
        """Return when a logged page was durable, as the write nearest to its meta block has it."""
        near = sorted(self._log.get(block, ()), key=lambda i: abs(i.sequence - meta.sequence))
        for issue in near:
            content = self._content(issue, block)
            if page_checksum(self._array.seed, content) == checksum:
                self._logged_content[checksum] = content
                return self._durable.of(issue)
        return NEVER

    def _blocks_of(self, record: _Record) -> Iterator[int]:
        blocks = self._array.ring_sectors // BLOCK_SECTORS
        first = record.meta.position // BLOCK_SECTORS
        for number in range(1 + len(record.pages)):
            yield (first + number) % blocks

    def _writes(self) -> Iterator[Issue]:
        for event in self._trace.events:
            if isinstance(event, Issue) and event.operation is not Operation.FLUSH:
                yield event

    def _log_blocks(self, issue: Issue) -> Iterator[int]:
        """Yield the blocks of the ring that a request to the journal is about."""
        start = issue.offset // SECTOR_BYTES - self._array.journal_offset
        end = start + issue.length // SECTOR_BYTES
        for block in range(max(0, start) // BLOCK_SECTORS, max(0, end) // BLOCK_SECTORS):
            if block * BLOCK_SECTORS < self._array.ring_sectors:
                yield block

    def _content(self, issue: Issue, block: int) -> bytes:
        at = (self._array.journal_offset + block * BLOCK_SECTORS) * SECTOR_BYTES - issue.offset
        return issue.payload[at : at + BLOCK_BYTES]

    def _member_pages(self, issue: Issue) -> Iterator[tuple[StripeSector, bytes]]:
        if issue.operation is not Operation.WRITE:
            return
        start = issue.offset // SECTOR_BYTES - self._array.member_offset
        if start < 0:
            return
        for at in range(0, issue.length, BLOCK_BYTES):
            stripe = StripeSector(start + at // SECTOR_BYTES)
            yield stripe, issue.payload[at : at + BLOCK_BYTES]

    def _tail_in(self, issue: Issue) -> int | None:
        """Return the tail that a write of the journal's superblock carries."""
        at = self._array.superblock_at * SECTOR_BYTES
        if issue.offset != at or issue.operation is not Operation.WRITE:
            return None
        return stored_journal_tail(issue.payload.ljust(SUPERBLOCK_BYTES, b"\0"))


def _when(durable: int) -> str:
    return "never durable" if durable == NEVER else f"durable only with event {durable}"
