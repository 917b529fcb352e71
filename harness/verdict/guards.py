"""Guards: what of each disk recovery has no business with, and nothing may be written to.

Judged on the writes themselves, so that one is seen that puts there what was there before.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from harness.crash.trace import Issue, Operation
from harness.ondisk.superblock import SUPERBLOCK_BYTES, Superblock
from harness.ondisk.units import BLOCK_SECTORS, SECTOR_BYTES, StripeSector
from harness.recovery.log import ring_of
from harness.recovery.members import Array
from harness.verdict.reason import few_of_each_kind
from harness.verdict.verdict import Finding, Judgement

ORACLE = "guards"


@dataclass(frozen=True, slots=True)
class Area:
    """A range of bytes of a disk that may be written to."""

    name: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Guarded:
    """A disk: what may be written to, in order; everything else is guarded."""

    areas: tuple[Area, ...]
    size_bytes: int
    data_at: int  # where its data, or the log, begins
    kind: str  # "data area" or "log"

    def inside(self, write: Issue) -> list[tuple[int, int]]:
        """Return what of a write lies where it may, as (offset, length)."""
        start, end = write.offset, write.offset + write.length
        pieces = ((max(start, a.start), min(end, a.end)) for a in self.areas)
        return [(first, last - first) for first, last in pieces if first < last]

    def outside(self, write: Issue) -> list[tuple[int, int]]:
        """Return what of a write lies elsewhere, as (offset, length)."""
        found, at, end = [], write.offset, write.offset + write.length
        for offset, length in sorted(self.inside(write)):
            if at < offset:
                found.append((at, offset - at))
            at = offset + length
        return [*found, (at, end - at)] if at < end else found

    def place(self, offset: int) -> str:
        """Say where a guarded byte is."""
        before = [a for a in self.areas if a.end <= offset]
        if not before:
            return f"{self.areas[0].start - offset} bytes before the {self.areas[0].name}"
        last = before[-1]
        words = f"{offset - last.end} bytes behind the {last.name}"
        following = [a for a in self.areas if a.start > offset]
        return words + (f", before the {following[0].name}" if following else "")


def guarded_disks(array: Array, sizes_bytes: Mapping[str, int]) -> dict[str, Guarded]:
    """Return each disk of an array by its label: superblock and data area, or log, are md's."""
    member_sectors = array.geometry.member_sectors
    return {
        label: _guarded(superblock, sizes_bytes[label], member_sectors)
        for label, superblock in array.superblocks.items()
    }


def _guarded(superblock: Superblock, size_bytes: int, member_sectors: int) -> Guarded:
    at = superblock.at * SECTOR_BYTES
    start = superblock.data_offset * SECTOR_BYTES
    log = superblock.is_journal
    sectors = ring_of(superblock.data_size).size if log else member_sectors
    kind = "log" if log else "data area"
    areas = (
        Area("superblock", at, at + SUPERBLOCK_BYTES),
        Area(kind, start, start + sectors * SECTOR_BYTES),
    )
    return Guarded(tuple(sorted(areas, key=lambda a: a.start)), size_bytes, start, kind)


def inside_writes(
    writes: Iterable[Issue], disks: Sequence[str], guarded: Mapping[str, Guarded]
) -> Iterator[Issue]:
    """Yield what of the writes went where it may.

    Args:
        writes: of a recovery.
        disks: labels, by their index in the trace.
        guarded: see `guarded_disks`; a write to any other disk is guarded altogether.
    """
    for write in writes:
        disk = guarded.get(disks[write.disk])
        if disk is None:
            continue
        for offset, length in disk.inside(write):
            payload = write.payload
            if write.operation is Operation.WRITE:
                first = offset - write.offset
                payload = payload[first : first + length]
            yield replace(write, offset=offset, length=length, payload=payload)


def judge_guards(
    writes: Iterable[Issue],
    disks: Sequence[str],
    guarded: Mapping[str, Guarded],
    asked: Collection[StripeSector],
) -> Judgement:
    """Judge that nothing was written but to superblocks, data areas and the log.

    Args:
        writes: of a recovery, from the trace.
        disks: labels, by their index in the trace.
        guarded: see `guarded_disks`.
        asked: sectors behind the members' data areas to which the log itself asks to write.
    """
    findings = []
    for write in writes:
        name = disks[write.disk]
        disk = guarded.get(name)
        if disk is None:
            what = f"{name}, no part of the array: byte {write.offset} on was written to"
            findings.append(Finding(ORACLE, what, facts={"asked_by_log": 0}))
            continue
        for offset, length in disk.outside(write):
            what = (
                f"{name}: {length} bytes from byte {offset} on were written to"
                f" ({write.operation.name.lower()}), {disk.place(offset)}"
            )
            facts = {
                "asked_by_log": int(disk.kind != "log" and _asked(disk, offset, length, asked))
            }
            findings.append(Finding(ORACLE, what, facts=facts))
    guarded_bytes = sum(
        disk.size_bytes - sum(a.end - a.start for a in disk.areas) for disk in guarded.values()
    )
    compared = (f"{guarded_bytes} bytes of {len(guarded)} disks that are not md's: not written to",)
    return Judgement(ORACLE, compared, few_of_each_kind(findings, 3))


def _asked(disk: Guarded, offset: int, length: int, asked: Collection[StripeSector]) -> bool:
    """Whether the log asks for all of it: every sector lies in a page that it names."""
    start, rest = divmod(offset - disk.data_at, SECTOR_BYTES)
    if rest or length % SECTOR_BYTES:
        return False
    pages = sorted(asked)
    return all(
        any(page <= sector < page + BLOCK_SECTORS for page in pages)
        for sector in range(start, start + length // SECTOR_BYTES)
    )
