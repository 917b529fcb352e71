"""Oracle 3: the order of the driver's writes, judged on a trace alone before any kernel recovers.

DESIGN.md section 6. Six rules, each of them a promise that a power cut at the wrong moment puts
to the test: a member is written only when the record of that page is durable, and never without
one unless that passes the log by rightly (``bypassing``); the ring is written over only where it is
done with; the tail passes a record, and a FLUSH names a stripe, only when the pages are durable on
the members; a flush of the array ends only when the records of what it covers are durable.
"""

from __future__ import annotations

import itertools
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from harness.crash.trace import Issue, Trace
from harness.crash.workload import Workload, Write, WriteKind
from harness.ondisk.units import BLOCK_SECTORS, ArraySector, StripeSector
from harness.verdict.bypassing import Bypassing
from harness.verdict.durability import flush_marks, page_stamps
from harness.verdict.reason import few_of_each_kind
from harness.verdict.requests import NEVER
from harness.verdict.traced_log import MemberPage, Page, Record, TracedArray, TracedLog
from harness.verdict.verdict import Finding, Judgement

ORACLE = "write ordering"
_MOST_FINDINGS = 5


def judge_ordering(
    trace: Trace, array: TracedArray, workload: Workload, *, first: int, last: int
) -> Judgement:
    """Judge every write of a trace from event *first* to *last*, and its workload's flushes."""
    judge = _Judge(TracedLog(trace, array), first, last)
    rules = (
        judge.members(), judge.ring_and_tail(), judge.flush_records(),
        judge.acknowledged(workload, flush_marks(trace)),
    )  # fmt: skip
    findings = [f for rule in rules for f in few_of_each_kind(rule, _MOST_FINDINGS)]
    bypassed = ", ".join(f"{count} by {reason}" for reason, count in sorted(judge.bypassed.items()))
    compared = (
        f"{judge.member_pages} pages written to members: each behind its durable record"
        + (f"; {bypassed} that pass the log by" if bypassed else ""),
        f"{len(judge.log.records)} records in the ring: none written over while it is live",
        f"{judge.tails} moves of the tail: none past what is not durable on the members",
        f"{judge.flushed} stripes named by FLUSH records: durable on the members before that",
        f"{judge.acknowledged_writes} writes that a flush covered: logged for good before it ended",
    )
    return Judgement(ORACLE, compared, tuple(findings))


@dataclass(frozen=True, slots=True)
class _MemberWrite:
    """When a page was written to a member, and when that could no longer be lost."""

    issued: int
    completed: int
    durable: int


class _Judge:
    """Judges rule by rule; `members` goes first."""

    def __init__(self, log: TracedLog, first: int, last: int) -> None:
        self.log = log
        self._array = log.array
        self._first = first
        self._last = last
        # By page and checksum: the writes to a member, in order.
        self._on_member: dict[tuple[Page, int], list[_MemberWrite]] = {}
        # Of a discard the log has a record, and the members a trim: anything may be there then.
        self._trimmed: dict[Page, list[_MemberWrite]] = {}
        self._past_the_log: set[Page] = set()  # written in the middle of a sync, without a record
        self.bypassed: Counter[str] = Counter()
        self.member_pages = 0
        self.tails = 0
        self.flushed = 0
        self.acknowledged_writes = 0

    def members(self) -> Iterator[Finding]:
        """Yield writes of members that came before their record was durable, or have none."""
        bypassing = Bypassing(self.log)
        found: list[Finding] = []
        for issue in self._writes():
            for page in self.log.member_pages(issue):
                self._take_member_page(issue, page)
                if issue.sequence >= self._first:
                    found += self._judge_member_page(page, bypassing)
            for place in self.log.trimmed_pages(issue):
                self._trimmed.setdefault(place, []).append(self._member_write(issue))
            bypassing.take(issue)
        yield from found

    def _take_member_page(self, issue: Issue, page: MemberPage) -> None:
        key = ((page.stripe, page.slot), page.checksum)
        self._on_member.setdefault(key, []).append(self._member_write(issue))

    def _member_write(self, issue: Issue) -> _MemberWrite:
        times = self.log.durable
        return _MemberWrite(issue.sequence, times.completed(issue), times.of(issue))

    def _judge_member_page(self, page: MemberPage, bypassing: Bypassing) -> Iterator[Finding]:
        best = self._record_of(page)
        here = f"event {page.issued} writes stripe {page.stripe} of member {page.slot}"
        if best is None:
            if reason := bypassing.reason(page):
                self.bypassed[reason] += 1
                return
            facts = {"being_synced": int(bypassing.is_syncing(page.stripe))}
            if facts["being_synced"]:
                self._past_the_log.add((page.stripe, page.slot))
            yield Finding(ORACLE, f"{here}, and no record in the log has that page", (), facts)
            return
        self.member_pages += 1
        if best.durable > page.issued:
            what = (
                f"{here}, and its record (meta block {best.meta.seq}, event {best.issued}) is"
                f" {_when(best.durable)}"
            )
            yield Finding(ORACLE, what)

    def _record_of(self, page: MemberPage) -> Record | None:
        """Return the record that a write of a member is of: with its content, the newest by then.

        Where records are of the same content one after another, the first durable one of these.
        """
        key = (page.stripe, page.slot)
        found = None
        for record in reversed(self.log.records_of(key)):
            if record.issued >= page.issued:
                continue
            if record.pages[key] != page.checksum:
                break
            if found is None or record.durable < found.durable:
                found = record
        return found

    def ring_and_tail(self) -> Iterator[Finding]:
        """Yield writes over what is live, and tails that moved too far."""
        in_order = sorted(self.log.records, key=lambda record: record.issued)
        latest: dict[int, Record] = {}  # position -> the record that lies there
        owner: dict[int, Record] = {}  # block of the log -> the record that has it
        tails: list[tuple[int, int]] = []  # durable, and the number of the first live record
        next_record = 0
        for issue in self._writes():
            if issue.disk != self._array.journal:
                continue
            live_from = _live_from(tails, issue.sequence)
            for block in self.log.log_blocks(issue):
                held = owner.get(block)
                if (
                    held is not None and held.meta.seq >= live_from > 0
                    and held.issued < issue.sequence
                    and not self.log.is_part_of(held, issue, block)
                ):  # fmt: skip
                    yield _written_over(issue, held, block)
                    break
            while next_record < len(in_order) and in_order[next_record].issued <= issue.sequence:
                record = in_order[next_record]
                next_record += 1
                latest[record.meta.position] = record
                owner |= dict.fromkeys(record.blocks, record)
            tail = self.log.tail_in(issue)
            before = tails[-1][1] if tails else 0
            head = None if tail is None else latest.get(tail)
            if tail is not None and before and (head is None or head.meta.seq < before):
                # Nothing is live: the tail is where the next record goes.
                later = itertools.islice(in_order, next_record, None)
                head = next((r for r in later if r.meta.position == tail), None)
            if head is not None and head.meta.seq != before:
                yield from self._judge_tail(issue, before, head)
                tails.append((self.log.durable.of(issue), head.meta.seq))

    def flush_records(self) -> Iterator[Finding]:
        """Yield FLUSH records that could survive a cut which what they speak of does not."""
        for record in self.log.records:
            if not self._first <= record.issued <= self._last:
                continue
            for stripe in record.flushed:
                self.flushed += 1
                yield from itertools.islice(self._judge_flush(record, stripe), 1)

    def _judge_flush(self, record: Record, stripe: StripeSector) -> Iterator[Finding]:
        for slot in range(self._array.geometry.raid_disks):
            page = (stripe, slot)
            before = self.log.record_before(page, record.meta.seq)
            if before is None:
                continue
            if not self._is_safe(page, before, record.issued, record):
                what = (
                    f"event {record.issued} logs that stripe {stripe} is on the members (meta"
                    f" block {record.meta.seq}), and it is not durable on member {slot}"
                    f"{self._written_at(page, before)}"
                )
                yield Finding(ORACLE, what, (), self._facts(page, before, record.issued))

    def acknowledged(self, workload: Workload, flushes: list[tuple[int, int]]) -> Iterator[Finding]:
        """Yield writes that a flush covered before their records were durable."""
        writes = {write.number: write for write in workload.writes}
        done = 0
        for sequence, number in flushes:
            if sequence > self._last:
                return
            for write in (writes[n] for n in range(done + 1, number + 1)):
                if write.kind is WriteKind.DISCARD or sequence < self._first:
                    continue  # whatever is there then will do
                self.acknowledged_writes += 1
                if (sector := self._not_logged(write, sequence)) is not None:
                    what = (
                        f"event {sequence} says that write {write.number} is flushed, and array"
                        f" sector {sector} of it is in no record that is durable by then"
                    )
                    past = int(self.log.place(ArraySector(sector)) in self._past_the_log)
                    yield Finding(ORACLE, what, (), {"being_synced": past})
            done = max(done, number)

    def _not_logged(self, write: Write, at: int) -> int | None:
        """Return a sector of a write of which no durable record has that write or a later one."""
        for sector in range(write.sector, write.sector + write.sectors):
            page = self.log.place(ArraySector(sector))
            number = sector % BLOCK_SECTORS
            if not any(
                _holds(self.log.logged_content[record.pages[page]], number, write)
                for record in reversed(self.log.records_of(page))
                if record.durable < at and record.pages[page] in self.log.logged_content
            ):
                return sector
        return None

    def _judge_tail(self, issue: Issue, before: int, head: Record) -> Iterator[Finding]:
        if issue.sequence < self._first:
            return
        self.tails += 1
        passed: dict[Page, Record] = {}
        first, end = (bisect_left(self.log.seqs, seq) for seq in (before, head.meta.seq))
        for record in self.log.records[first:end]:
            passed |= dict.fromkeys(record.pages, record)
        for page, record in passed.items():
            if self._is_safe(page, record, issue.sequence, head):
                continue
            stripe, slot = page
            what = (
                f"event {issue.sequence} moves journal_tail to {head.meta.position}, past meta"
                f" block {record.meta.seq} (event {record.issued}), and stripe {stripe} of it is"
                f" not durable on member {slot}{self._written_at(page, record)}"
            )
            yield Finding(ORACLE, what, (), self._facts(page, record, issue.sequence))
            return

    def _is_safe(self, page: Page, record: Record, at: int, head: Record) -> bool:
        """Whether a page of a record that the tail has passed cannot be lost any more."""
        if any(write.durable < at for write in self._written(page, record)):
            return True
        if self.log.is_gone(page[1], at):
            return True
        # Logged once more, and that record is live.
        return any(later.durable < at for later in self.log.records_from(page, head.meta.seq))

    def _written(self, page: Page, record: Record) -> list[_MemberWrite]:
        """Return the writes to the member that a record's page was followed by, in order."""
        writes = self._on_member.get((page, record.pages[page]), [])
        if page in self._trimmed:
            writes = sorted([*writes, *self._trimmed[page]], key=lambda write: write.issued)
        return writes[bisect_left(writes, record.issued, key=lambda write: write.issued) :]

    def _written_at(self, page: Page, record: Record) -> str:
        if not (writes := self._written(page, record)):
            return ": it was never written there"
        durable = min(write.durable for write in writes)
        return f": it is written there by event {writes[0].issued}, {_when(durable)}"

    def _facts(self, page: Page, record: Record, at: int) -> dict[str, int]:
        """Say whether the page had been written to the member, and lacked no more than a flush."""
        return {"completed": int(any(w.completed < at for w in self._written(page, record)))}

    def _writes(self) -> Iterator[Issue]:
        return itertools.takewhile(lambda i: i.sequence <= self._last, self.log.writes())


def _live_from(tails: list[tuple[int, int]], at: int) -> int:
    """Return the first live record by the newest tail that is durable before an event; 0: none."""
    for durable, seq in reversed(tails):
        if durable < at:
            return seq
    return 0


def _holds(content: bytes, number: int, write: Write) -> bool:
    """Whether a sector of a logged page holds a write or a later one."""
    found = page_stamps(content)[number][0]
    return found >= write.number or (write.kind is WriteKind.ZEROES and found == 0)


def _written_over(issue: Issue, held: Record, block: int) -> Finding:
    return Finding(
        ORACLE,
        f"event {issue.sequence} writes over log sector {block * BLOCK_SECTORS}, which belongs"
        f" to meta block {held.meta.seq} (event {held.issued}): that is still live",
    )


def _when(durable: int) -> str:
    return "never durable" if durable == NEVER else f"durable only with event {durable}"
