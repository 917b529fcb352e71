"""Writes to members that rightly have no record in the log, told from the driver's own.

md logs what it writes for a request from above. What makes a stripe's redundancy whole passes the
log by: resync, the rebuilding of a member, repair, and the rewriting of a page that could not be
read (format document, 3.1). Which of them a write is shows in the trace: a member that is being
rebuilt says so in its superblock, and so does an array that is not in sync; repair and rewriting
put there what the other members make up for, or what is there already, in a stripe whose newest
record has its parity as well.

A write for a request that finds its stripe in the middle of a sync is not logged either
(`r5l_write_stripe`, STRIPE_SYNCING). Nothing makes that right; it is told apart as a finding.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from harness.crash.history import BLOCK_BYTES
from harness.crash.trace import Issue, Operation
from harness.errors import BadImage
from harness.ondisk.superblock import (
    RESYNC_DONE,
    SUPERBLOCK_BYTES,
    Feature,
    Superblock,
    parse_superblock,
)
from harness.ondisk.units import BLOCK_SECTORS, SECTOR_BYTES, DeviceSector, StripeSector
from harness.recovery.reconstruct import Unrecoverable, recover
from harness.verdict.traced_log import MemberPage, TracedLog

_ZEROES = bytes(BLOCK_BYTES)
_HUGE_SECTORS = 2**50  # where the size of a disk does not matter


class Bypassing:
    """Goes through a trace's writes in order, and knows what each disk holds by then."""

    def __init__(self, log: TracedLog) -> None:
        self._log = log
        self._geometry = log.array.geometry
        self._content: dict[tuple[int, int], bytes] = {}  # (stripe, disk)
        self._superblocks: dict[int, Superblock] = {}  # of each disk, as last written
        self._disks = {slot: disk for disk, slot in log.array.members.items()}

    def take(self, issue: Issue) -> None:
        """Take note of a write, behind having judged it."""
        at = self._log.array.superblock_at
        if issue.offset == at * SECTOR_BYTES and issue.operation is Operation.WRITE:
            self._take_superblock(issue)
        for page in self._log.member_pages(issue):
            self._content[page.stripe, page.disk] = page.content
        if issue.operation in (Operation.TRIM, Operation.ZEROES):
            start = issue.offset // SECTOR_BYTES - self._log.array.member_offset
            for stripe in range(start, start + issue.length // SECTOR_BYTES, BLOCK_SECTORS):
                self._content.pop((stripe, issue.disk), None)

    def reason(self, page: MemberPage) -> str | None:
        """Return why a page rightly has no record; ``None``: it is the driver's own write."""
        own = self._superblocks.get(page.disk)
        made_up = self._made_up(page)
        if own is not None and Feature.RECOVERY_OFFSET in own.features:
            return "rebuilding" if page.content == made_up else None
        row = self._geometry.row_at(page.stripe)
        if page.slot in row.data:
            same = page.content == self._content.get((page.stripe, page.disk), _ZEROES)
            return "rewritten as it was" if same else None
        if page.content != made_up:
            return None
        if (
            own is not None
            and own.resync_offset != RESYNC_DONE
            and page.stripe >= own.resync_offset
        ):
            return "resync"
        return "repair" if self._parity_is_logged(page) else None

    def is_syncing(self, stripe: StripeSector) -> bool:
        """Whether a resync or a rebuild has a stripe still to come, by the newest superblocks."""
        return any(
            stripe >= superblock.resync_offset
            or (superblock.recovery_offset is not None and stripe >= superblock.recovery_offset)
            for superblock in self._superblocks.values()
        )

    def _parity_is_logged(self, page: MemberPage) -> bool:
        """Whether no record of the stripe's data so far is newer than its parity's."""
        row = self._geometry.row_at(page.stripe)
        newest = max((self._newest(page, slot) for slot in row.data), default=0)
        return newest <= self._newest(page, row.pd_idx)

    def _newest(self, page: MemberPage, slot: int) -> int:
        """Return the number of a slot's newest record at the time of the write; 0: it has none."""
        records = reversed(self._log.records_of((page.stripe, slot)))
        return next((r.meta.seq for r in records if r.issued < page.issued), 0)

    def _made_up(self, page: MemberPage) -> bytes | None:
        """Return what the other members make up for in place of a page."""
        left = {
            slot: self._content.get((page.stripe, disk), _ZEROES)
            for slot, disk in self._disks.items()
            if slot != page.slot
        }
        row = self._geometry.row_at(page.stripe)
        lost = [slot for slot in range(self._geometry.raid_disks) if slot not in left]
        try:
            return recover(self._geometry, row, left, lost)[page.slot]
        except Unrecoverable:
            return None

    def _take_superblock(self, issue: Issue) -> None:
        try:
            self._superblocks[issue.disk] = parse_superblock(
                issue.payload[:SUPERBLOCK_BYTES].ljust(SUPERBLOCK_BYTES, b"\0"),
                at=DeviceSector(self._log.array.superblock_at), minor_version=2,
                device_sectors=_HUGE_SECTORS,
            )  # fmt: skip
        except BadImage:  # not for us to judge: what was there before goes on to hold
            return


@dataclass(frozen=True, slots=True)
class UnloggedPage:
    """A page of a member that was written without a record of that content in the log."""

    page: MemberPage
    reason: str  # why that is right; empty: it is the driver's own write
    is_syncing: bool  # a resync or a rebuild had yet to come by the stripe


def unlogged_pages(log: TracedLog, *, first: int, last: int) -> Iterator[UnloggedPage]:
    """Yield each page of a member that has no record with its content, from event *first* to
    *last*.
    """
    bypassing = Bypassing(log)
    for issue in log.writes():
        if issue.sequence > last:
            return
        for page in log.member_pages(issue):
            key = (page.stripe, page.slot)
            if issue.sequence >= first and log.record_with(key, page.checksum) is None:
                reason = bypassing.reason(page) or ""
                yield UnloggedPage(page, reason, bypassing.is_syncing(page.stripe))
        bypassing.take(issue)
