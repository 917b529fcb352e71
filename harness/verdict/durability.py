"""Oracles 4 and 5 on an array's contents: what was acknowledged is there, and parity fits the data.

DESIGN.md section 6. Judged on the members themselves, as they are when recovery has finished.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from harness.crash.content import DiskContent
from harness.crash.pattern import describe_sector, read_stamp
from harness.crash.trace import FLUSHED, Mark, Trace
from harness.crash.workload import Workload, Write, WriteKind, WriteStep
from harness.ondisk.units import (
    BLOCK_BYTES,
    BLOCK_SECTORS,
    SECTOR_BYTES,
    ArraySector,
    StripeSector,
)
from harness.recovery.geometry import Geometry, Place
from harness.recovery.reconstruct import recover
from harness.recovery.write_out import parity_of
from harness.verdict.reason import few_of_each_kind
from harness.verdict.verdict import Finding, Judgement

DURABILITY, ATOMICITY, REDUNDANCY = "durability", "atomicity", "redundancy"
JOURNAL_FAILED = "the journal is made to fail"  # a mark: from here on nothing is promised
_COMPLETED, _FAILED = "completed ", "failed "
_MOST_FINDINGS = 5
_NOTHING, _FOREIGN = 0, -1

_Stamps = tuple[tuple[int, int, int], ...]  # (write, array sector, seed) of each sector of a page


@dataclass(frozen=True, slots=True)
class Members:
    """Where an array's pages are; one content for each slot."""

    geometry: Geometry
    data_offset: int  # sectors
    contents: Mapping[int, DiskContent]
    # Figures on a stripe, for what is found in it: see `known`.
    facts_of: Callable[[StripeSector], Mapping[str, int]] = lambda _stripe: {}

    def page(self, device: int, sector: StripeSector) -> bytes:
        """Return a page of a member; of one that is missing, what the others make up for."""
        if device not in self.contents:
            left = {other: self.page(other, sector) for other in self.contents}
            lost = [slot for slot in range(self.geometry.raid_disks) if slot not in left]
            return recover(self.geometry, self.geometry.row_at(sector), left, lost)[device]
        block = (self.data_offset + sector) * SECTOR_BYTES // BLOCK_BYTES
        return self.contents[device].block(block)

    def page_at(self, place: Place) -> bytes:
        """Return the page at a place."""
        return self.page(place.device, place.sector)

    def array_page(self, sector: ArraySector) -> bytes:
        """Return a page of the array, as the member that has it holds it."""
        return self.page_at(self.geometry.place(sector))


def flush_marks(trace: Trace) -> list[tuple[int, int]]:
    """Return (sequence of the mark, last write that it covers) of each flush that has ended."""
    return [
        (event.sequence, int(event.text.removeprefix(FLUSHED)))
        for event in trace.events
        if isinstance(event, Mark) and event.text.startswith(FLUSHED)
    ]


class Promises:
    """What a workload was told is safe, and so which write each sector may hold, cut by cut.

    A flush promises all writes that completed before it, until the journal fails: its records, the
    only durable copy of much that was promised, are then gone, and a power cut is one loss more
    than the array is made for.
    """

    def __init__(self, workload: Workload, trace: Trace, geometry: Geometry) -> None:
        self._seed = workload.seed
        self._geometry = geometry
        marks = [event for event in trace.events if isinstance(event, Mark)]
        self._flushed = flush_marks(trace)
        self._void_from = next((m.sequence for m in marks if m.text == JOURNAL_FAILED), None)
        self._writes = {write.number: write for write in workload.writes}
        self._begun = list(_begun(workload, marks))
        self._failed = {
            write.number
            for mark in marks
            if mark.text.startswith(_FAILED)
            for burst in _bursts(workload)
            if f"{_FAILED}{burst[-1].number}:" in mark.text
            for write in burst
        }
        written = {page for write in workload.writes for page in _pages_of(write)}
        self.stripes = sorted({geometry.place(ArraySector(page)).sector for page in written})
        # Of the array, in sectors: also what nobody wrote to in the same stripes.
        self.pages = sorted(
            page
            for stripe in self.stripes
            for device in geometry.row_at(stripe).data
            if (page := geometry.array_sector(device, stripe)) is not None
        )
        self._places: dict[int, Place] = {
            page: geometry.place(ArraySector(page)) for page in self.pages
        }
        self._fine: set[tuple[int, int, int, bytes]] = set()  # judged before, and found to be so
        self._touching: dict[int, list[Write]] = {}  # by sector, in order of their numbers
        for write in workload.writes:
            for sector in range(write.sector, write.sector + write.sectors):
                self._touching.setdefault(sector, []).append(write)

    def acknowledged(self, cut: int) -> int:
        """Return the last write that is promised at event *cut*; 0: none."""
        if self._void_from is not None and cut > self._void_from:
            return 0
        return max((number for sequence, number in self._flushed if sequence < cut), default=0)

    def discarded(self, cut: int) -> frozenset[int]:
        """Return the stripes of which something may have been discarded before event *cut*."""
        begun = self._begun_by(cut)
        return frozenset(
            self._geometry.place(ArraySector(page)).sector
            for write in self._writes.values()
            if write.kind is WriteKind.DISCARD and write.number <= begun
            for page in _pages_of(write)
        )

    def _begun_by(self, cut: int) -> int:
        return max((number for sequence, number in self._begun if sequence < cut), default=0)

    def judge(self, members: Members, cut: int) -> tuple[Judgement, Judgement]:
        """Judge durability and atomicity of what the array holds after a cut."""
        promised = self.acknowledged(cut)
        begun = self._begun_by(cut)
        lost: list[Finding] = []
        mixed: list[Finding] = []
        for page in self.pages:
            content = members.page_at(self._places[page])
            key = (page, promised, begun, content)
            if key in self._fine:
                continue
            found = list(self._judge_page(page, content, promised, begun, members))
            lost += [finding for finding in found if finding.oracle == DURABILITY]
            mixed += [finding for finding in found if finding.oracle == ATOMICITY]
            if not found:
                self._fine.add(key)
        compared = f"{len(self.pages)} pages of stripes that were written to"
        promise = f"up to write {promised} of {len(self._writes)}, which a flush covered"
        return (
            Judgement(DURABILITY, (compared, promise), few_of_each_kind(lost, _MOST_FINDINGS)),
            Judgement(ATOMICITY, (compared,), few_of_each_kind(mixed, _MOST_FINDINGS)),
        )

    def _judge_page(
        self, page: int, content: bytes, promised: int, begun: int, members: Members
    ) -> Iterator[Finding]:
        stripe = self._places[page].sector
        for number, (write, sector, seed) in enumerate(page_stamps(content)):
            here = page + number
            touching = self._touching.get(here, [])
            mine = (sector, seed) == (here, self._seed) and any(
                each.number == write and each.kind is WriteKind.DATA for each in touching
            )
            if write != _NOTHING and not mine:
                holds = _described(content, number)
                what = f"array sector {here} holds {holds}, which no write put there whole"
                yield Finding(ATOMICITY, what, (), members.facts_of(stripe))
                continue
            last = max(
                (
                    each.number
                    for each in touching
                    if each.number <= promised and each.number not in self._failed
                ),
                default=0,
            )
            # Of all that may be there, the newest that what is there can be taken for.
            newest = max(
                (
                    each.number
                    for each in touching
                    if each.number <= begun
                    and (
                        each.kind is WriteKind.DISCARD
                        or (write == _NOTHING and each.kind is WriteKind.ZEROES)
                    )
                ),
                default=0,
            )
            if max(write, newest) < last:
                holds = _described(content, number)
                what = f"array sector {here} holds {holds}; write {last} of it was flushed"
                yield Finding(DURABILITY, f"{what} and is gone", (), members.facts_of(stripe))


def _bursts(workload: Workload) -> Iterator[tuple[Write, ...]]:
    for step in workload.steps:
        if isinstance(step, WriteStep):
            yield step.writes


def _begun(workload: Workload, marks: Sequence[Mark]) -> Iterator[tuple[int, int]]:
    """Yield (sequence, last write that may have begun by then) for each mark of a burst's end."""
    last_of = [burst[-1].number for burst in _bursts(workload)]
    following = dict(itertools.pairwise([0, *last_of, *last_of[-1:]]))
    yield 0, following.get(0, 0)
    for mark in marks:
        for word in (_COMPLETED, _FAILED, FLUSHED):
            if mark.text.startswith(word):
                ended = mark.text.removeprefix(word).partition(":")[0].rpartition("..")[2]
                if ended.isdigit() and int(ended) in following:
                    yield mark.sequence, following[int(ended)]


def _described(content: bytes, number: int) -> str:
    return describe_sector(content[number * SECTOR_BYTES : (number + 1) * SECTOR_BYTES])


def judge_redundancy(members: Members, stripes: Sequence[StripeSector]) -> Judgement:
    """Judge that P, and Q, of these stripes fit their data."""
    findings = [
        Finding(
            REDUNDANCY, f"{name} of stripe {stripe} is not its parity", (), members.facts_of(stripe)
        )
        for stripe in stripes
        for name in wrong_parities(members, stripe)
    ]
    compared = f"parity of {len(stripes)} stripes that were written to"
    return Judgement(REDUNDANCY, (compared,), few_of_each_kind(findings, _MOST_FINDINGS))


def wrong_parities(members: Members, stripe: StripeSector) -> Iterator[str]:
    """Yield "P" and "Q" where a stripe's does not fit its data."""
    row = members.geometry.row_at(stripe)
    data = tuple(members.page(device, stripe) for device in row.data)
    wanted: dict[int, bytes] | None = None
    for name, device in (("P", row.pd_idx), ("Q", row.qd_idx)):
        if device is None or device not in members.contents:
            continue
        if wanted is None:
            wanted = _parity(members.geometry, stripe, data)
        if members.page(device, stripe) != wanted[device]:
            yield name


@lru_cache(maxsize=4096)
def _parity(geometry: Geometry, stripe: StripeSector, data: tuple[bytes, ...]) -> dict[int, bytes]:
    row = geometry.row_at(stripe)
    return parity_of(geometry, row, dict(zip(row.data, data, strict=True)))


@lru_cache(maxsize=16384)
def page_stamps(page: bytes) -> _Stamps:
    """Return what each sector of a page says of itself; a damaged one is foreign."""
    found = []
    for at in range(0, BLOCK_BYTES, SECTOR_BYTES):
        content = page[at : at + SECTOR_BYTES]
        stamp = read_stamp(content)
        if stamp is not None:
            found.append((stamp.write, stamp.sector, stamp.seed))
        else:
            found.append((_FOREIGN if any(content) else _NOTHING, 0, 0))
    return tuple(found)


def _pages_of(write: Write) -> Iterator[int]:
    first = write.sector // BLOCK_SECTORS * BLOCK_SECTORS
    yield from range(first, write.sector + write.sectors, BLOCK_SECTORS)
