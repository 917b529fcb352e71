"""Oracles 4 and 5 on an array's contents: what was acknowledged is there, and parity fits the data.

DESIGN.md section 6. Judged on the members themselves, as they are when recovery has finished.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from harness.crash.content import DiskContent
from harness.crash.pattern import describe_sector, read_stamp
from harness.crash.trace import Mark, Trace
from harness.crash.workload import Workload, Write
from harness.ondisk.units import (
    BLOCK_BYTES,
    BLOCK_SECTORS,
    SECTOR_BYTES,
    ArraySector,
    StripeSector,
)
from harness.recovery.geometry import Geometry
from harness.recovery.reconstruct import recover_one
from harness.recovery.write_out import parity_of
from harness.verdict.verdict import Finding, Judgement

DURABILITY, ATOMICITY, REDUNDANCY = "durability", "atomicity", "redundancy"
_FLUSHED = "flushed "
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
            return recover_one(self.geometry, self.geometry.row_at(sector), left, device)
        block = (self.data_offset + sector) * SECTOR_BYTES // BLOCK_BYTES
        return self.contents[device].block(block)

    def array_page(self, sector: ArraySector) -> bytes:
        """Return a page of the array, as the member that has it holds it."""
        place = self.geometry.place(sector)
        return self.page(place.device, place.sector)


def flush_marks(trace: Trace) -> list[tuple[int, int]]:
    """Return (sequence of the mark, last write that it covers) of each flush that has ended."""
    return [
        (event.sequence, int(event.text.removeprefix(_FLUSHED)))
        for event in trace.events
        if isinstance(event, Mark) and event.text.startswith(_FLUSHED)
    ]


class Promises:
    """What a workload was told is safe, and so which write each sector may hold, cut by cut."""

    def __init__(self, workload: Workload, trace: Trace, geometry: Geometry) -> None:
        self._seed = workload.seed
        self._flushed = flush_marks(trace)
        self._writes = workload.writes
        written = {page for write in workload.writes for page in _pages_of(write)}
        stripes = {geometry.place(ArraySector(page)).sector for page in written}
        # Of the array, in sectors: also what nobody wrote to in the same stripes.
        self.pages = sorted(
            page
            for stripe in stripes
            for device in geometry.row_at(stripe).data
            if (page := geometry.array_sector(device, stripe)) is not None
        )
        self._fine: set[tuple[int, int, bytes]] = set()  # judged before, and found to be so
        self._touching: dict[int, list[int]] = {}  # sector -> numbers of the writes, ascending
        for write in workload.writes:
            for sector in range(write.sector, write.sector + write.sectors):
                self._touching.setdefault(sector, []).append(write.number)

    def acknowledged(self, cut: int) -> int:
        """Return the last write that a flush covered before event *cut*; 0: none."""
        return max((number for sequence, number in self._flushed if sequence < cut), default=0)

    def judge(self, members: Members, cut: int) -> tuple[Judgement, Judgement]:
        """Judge durability and atomicity of what the array holds after a cut."""
        acknowledged = self.acknowledged(cut)
        lost: list[Finding] = []
        mixed: list[Finding] = []
        for page in self.pages:
            content = members.array_page(ArraySector(page))
            if (page, acknowledged, content) in self._fine:
                continue
            found = list(self._judge_page(page, content, acknowledged, members))
            lost += [finding for finding in found if finding.oracle == DURABILITY]
            mixed += [finding for finding in found if finding.oracle == ATOMICITY]
            if not found:
                self._fine.add((page, acknowledged, content))
        compared = f"{len(self.pages)} pages of stripes that were written to"
        promise = f"up to write {acknowledged} of {len(self._writes)}, which a flush covered"
        return (
            Judgement(DURABILITY, (compared, promise), tuple(lost[:_MOST_FINDINGS])),
            Judgement(ATOMICITY, (compared,), tuple(mixed[:_MOST_FINDINGS])),
        )

    def _judge_page(
        self, page: int, content: bytes, acknowledged: int, members: Members
    ) -> Iterator[Finding]:
        stripe = members.geometry.place(ArraySector(page)).sector
        for number, (write, sector, seed) in enumerate(page_stamps(content)):
            here = page + number
            touching = self._touching.get(here, [])
            holds = describe_sector(content[number * SECTOR_BYTES : (number + 1) * SECTOR_BYTES])
            if write and ((sector, seed) != (here, self._seed) or write not in touching):
                what = f"array sector {here} holds {holds}, which no write put there whole"
                yield Finding(ATOMICITY, what, (), members.facts_of(stripe))
                continue
            last = max((n for n in touching if n <= acknowledged), default=0)
            if write < last:
                what = f"array sector {here} holds {holds}; write {last} of it was flushed"
                yield Finding(DURABILITY, f"{what} and is gone", (), members.facts_of(stripe))


def judge_redundancy(members: Members, pages: Sequence[int]) -> Judgement:
    """Judge that P, and Q, of every stripe that has one of the array's *pages* fit its data."""
    geometry = members.geometry
    stripes = sorted({geometry.place(ArraySector(page)).sector for page in pages})
    findings = []
    for stripe in stripes:
        row = geometry.row_at(stripe)
        data = tuple(members.page(device, stripe) for device in row.data)
        wanted = _parity(geometry, stripe, data)
        for name, device in (("P", row.pd_idx), ("Q", row.qd_idx)):
            if device is not None and members.page(device, stripe) != wanted[device]:
                what = f"{name} of stripe {stripe} is not its parity"
                findings.append(Finding(REDUNDANCY, what, (), members.facts_of(stripe)))
    compared = f"parity of {len(stripes)} stripes that were written to"
    return Judgement(REDUNDANCY, (compared,), tuple(findings[:_MOST_FINDINGS]))


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
