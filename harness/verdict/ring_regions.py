"""What each block of a journal's ring is: of the live log, left over from before, or a stranger.

The live log is what the scan went through; format document, sections 2.1 to 2.4. The rest of the
ring, which recovery never looks at, runs from where the scan stopped around to the tail. It is
judged here block by block and in that order, so that pages are told from what a meta block before
them says, also around the end of the ring.
"""

from __future__ import annotations

import enum
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from harness.ondisk.log import (
    MAGIC,
    DataPayload,
    Fault,
    MetaBlock,
    ParityPayload,
    PayloadType,
    page_checksum,
    parse_meta_block,
    payloads_of,
)
from harness.ondisk.units import BLOCK_BYTES, BLOCK_SECTORS, LogSector
from harness.recovery.log import Ring, ScannedMeta
from harness.recovery.plan import RecoveryPlan

ZEROES = bytes(BLOCK_BYTES)
Blocks = Iterator[tuple[int, bytes | None]]  # so many blocks with this content; None: unreadable

_MAGIC = MAGIC.to_bytes(4, "little")
_U64 = 2**64
_MOST_FOUND = 1000  # meta blocks of the rest that are remembered one by one; all are counted


class Kind(enum.Enum):
    """What a block of the ring is."""

    META = "meta block"
    DATA = "data page"
    PARITY = "parity page"
    FLUSH = "meta block with FLUSH"
    EMPTY_META = "empty meta block"
    RECLAIMED = "reclaimed"
    EMPTY = "empty"
    OTHER = "other bytes"
    TORN = "torn"
    BEYOND = "beyond the end"
    FOREIGN = "foreign or damaged"
    UNREADABLE = "not in the image"


LIVE = (Kind.META, Kind.DATA, Kind.PARITY, Kind.FLUSH, Kind.EMPTY_META)
LEFT_OVER = (Kind.RECLAIMED, Kind.EMPTY, Kind.OTHER)
SUSPICIOUS = (Kind.TORN, Kind.BEYOND, Kind.FOREIGN, Kind.UNREADABLE)


@dataclass(frozen=True, slots=True)
class Region:
    """Blocks of one kind side by side; it never goes around the end of the ring."""

    position: LogSector
    sectors: int
    kind: Kind


@dataclass(frozen=True, slots=True)
class FoundMeta:
    """A meta block outside the live log, and how many blocks it takes with its pages."""

    position: LogSector
    kind: Kind
    seq: int | None  # None: it cannot be believed
    blocks: int


@dataclass(frozen=True, slots=True)
class LiveLog:
    """What the scan went through, in numbers."""

    metas: int
    sectors: int  # of the ring; a hostile log may go round twice
    flushed: int  # stripes that a FLUSH names
    first: MetaBlock | None
    last: ScannedMeta | None


def live_log(metas: Iterable[ScannedMeta], ring: Ring) -> LiveLog:
    """Go through the meta blocks of a scan once."""
    count = sectors = flushed = 0
    first: MetaBlock | None = None
    last: ScannedMeta | None = None
    for last in metas:
        first = first or last.meta
        count += 1
        sectors += last.log_sectors
        flushed += sum(kind == PayloadType.FLUSH for kind, _, _ in last.entries)
    return LiveLog(count, min(sectors, ring.size), flushed, first, last)


def live_regions(metas: Iterable[ScannedMeta], ring: Ring) -> Iterator[Region]:
    """Yield what the scan went through, from the tail on, no block twice."""
    position: LogSector | None = None
    room = ring.size
    for scanned in metas:
        if position is None:
            position = scanned.meta.position
        for kind, blocks in _runs(scanned):
            sectors = min(blocks * BLOCK_SECTORS, room)
            yield from _split(position, sectors, kind, ring)
            position = ring.add(position, sectors)
            room -= sectors
        if room == 0:
            return


def meta_kind(scanned: ScannedMeta) -> Kind:
    """Return what the block of a scanned meta block itself is."""
    if scanned.dropped is not None:
        return Kind.TORN
    if not scanned.entries:
        return Kind.EMPTY_META
    return Kind.FLUSH if scanned.has_flush else Kind.META


class Rest:
    """The ring outside the live log: give its blocks in order, from `position` on.

    What was found is in *metas* and *found* once `regions` has been gone through.
    """

    def __init__(self, live: LiveLog, plan: RecoveryPlan, ring: Ring, *, seed: int) -> None:
        self.live = live
        self.position = ring.add(plan.start, live.sectors)
        self.sectors = ring.size - live.sectors
        self.metas: Counter[Kind] = Counter()
        self.found: list[FoundMeta] = []
        self._ring = ring
        self._seed = seed
        self._end = plan.ended
        # Checksums that the pages of the last meta block should have; None: that is not known.
        self._announced: deque[int | None] = deque()
        self._owner = Kind.OTHER
        if live.last is not None and live.last.dropped is not None:
            self._owner = Kind.TORN
            self._announced.extend(_announced(live.last.meta))

    def regions(self, blocks: Blocks) -> Iterator[Region]:
        """Yield what *blocks*, those of this part of the ring, are."""
        start, sectors, kind = self.position, 0, Kind.EMPTY
        for count, found in self._judged(blocks):
            if found is not kind:
                yield from _split(start, sectors, kind, self._ring)
                start, sectors, kind = self._ring.add(start, sectors), 0, found
            sectors += count * BLOCK_SECTORS
        yield from _split(start, sectors, kind, self._ring)

    def _judged(self, blocks: Blocks) -> Iterator[tuple[int, Kind]]:
        position = self.position
        for count, block in blocks:
            left = count
            while left and (self._announced or count == 1):
                yield 1, self._judge(position, block)
                position = self._ring.add(position, BLOCK_SECTORS)
                left -= 1
            if left:
                yield left, Kind.UNREADABLE if block is None else Kind.EMPTY
                position = self._ring.add(position, left * BLOCK_SECTORS)

    def _judge(self, position: LogSector, block: bytes | None) -> Kind:
        if block is None:
            self._announced.clear()
            return Kind.UNREADABLE
        if block[:4] == _MAGIC:
            return self._judge_meta(position, block)
        if self._announced:
            return self._judge_page(block, self._announced.popleft())
        return Kind.EMPTY if block == ZEROES else Kind.OTHER

    def _judge_page(self, block: bytes, wanted: int | None) -> Kind:
        if wanted is None:
            return Kind.EMPTY if block == ZEROES else self._owner
        if page_checksum(self._seed, block) == wanted:
            return self._owner
        # What was reclaimed may have been discarded since; anything else was never written whole.
        discarded = block == ZEROES and self._owner is Kind.RECLAIMED
        return Kind.EMPTY if discarded else Kind.TORN

    def _judge_meta(self, position: LogSector, block: bytes) -> Kind:
        meta = parse_meta_block(block, seed=self._seed, seq=None, position=position)
        if isinstance(meta, MetaBlock):
            seq: int | None = meta.seq
            self._owner = self._age(meta.seq)
            self._announced = deque(_announced(meta))
        elif self._is_next(position, meta.fault):
            assert self._end is not None
            seq, self._owner = self._end.seq, Kind.TORN
            self._announced.clear()
        else:
            seq, self._owner = None, Kind.FOREIGN
            size = int.from_bytes(block[12:16], "little")
            unproven = MetaBlock(seq=0, position=position, meta_size=size, block=block)
            # One for another place cannot have its pages here.
            trusted = meta.fault is Fault.CHECKSUM and size <= BLOCK_BYTES
            self._announced = deque(None for _ in _announced(unproven) if trusted)
        self.metas[self._owner] += 1
        if len(self.found) < _MOST_FOUND:
            self.found.append(FoundMeta(position, self._owner, seq, 1 + len(self._announced)))
        return self._owner

    def _is_next(self, position: LogSector, fault: Fault) -> bool:
        """Say whether this is the meta block that would have continued the log, half written."""
        end = self._end
        if end is None or end.rejected is None or position != end.position:
            return False
        return end.rejected.fault is Fault.CHECKSUM is fault

    def _age(self, seq: int) -> Kind:
        if self._end is None:  # nothing was scanned, so nothing is known to be done with
            return Kind.BEYOND
        return Kind.BEYOND if (seq - self._end.seq) % _U64 < _U64 // 2 else Kind.RECLAIMED


def _runs(scanned: ScannedMeta) -> Iterator[tuple[Kind, int]]:
    """Yield the blocks of one meta block and its pages as (kind, how many), never none."""
    yield meta_kind(scanned), 1
    left = scanned.log_sectors // BLOCK_SECTORS - 1
    kind, blocks = Kind.DATA, 0
    for payload in scanned.payloads if left else ():
        if not isinstance(payload, DataPayload | ParityPayload):
            continue
        its = Kind.DATA if isinstance(payload, DataPayload) else Kind.PARITY
        if its is not kind:
            if blocks:
                yield kind, blocks
            kind, blocks = its, 0
        pages = min(payload.size // BLOCK_SECTORS, left)
        blocks += pages
        left -= pages
    if blocks:
        yield kind, blocks
    if left:  # a descriptor that announces no page for the one that the scan counts
        yield Kind.OTHER, left


def _announced(meta: MetaBlock) -> Iterator[int]:
    """Yield the checksums of the pages that should lie behind a meta block."""
    for payload in payloads_of(meta):
        if isinstance(payload, DataPayload | ParityPayload):
            yield from payload.checksums


def _split(position: LogSector, sectors: int, kind: Kind, ring: Ring) -> Iterator[Region]:
    """Yield a stretch as one region, or as two where it goes around the end of the ring."""
    ahead = min(sectors, ring.size - position)
    if ahead:
        yield Region(position, ahead, kind)
    if sectors > ahead:
        yield Region(LogSector(0), sectors - ahead, kind)
