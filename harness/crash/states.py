"""What may be on the disks after the power went: legal crash states of a trace.

DESIGN words: a *cut* is a place in the trace, a *crash state* is what of each disk's writes is on
its medium then. Pure arithmetic on events; images are made of it in ``harness.storage``.
"""

from __future__ import annotations

import enum
import random
from collections.abc import Iterator
from dataclasses import dataclass

from harness.crash.trace import Cache, Completion, Flag, Issue, Operation, Trace

_PAGE_BYTES = 4096


class Loss(enum.Enum):
    """Which of the writes that could be lost are lost."""

    ALL = "all"  # nothing survives that was not durable
    NONE = "none"  # everything that was issued survives
    RANDOM = "random"  # a seeded choice, write by write, torn ones among them


class Fate(enum.Enum):
    """What a cut means for a write issued before it."""

    DURABLE = "durable"
    CACHED = "completed, in a volatile cache"
    IN_FLIGHT = "issued, not completed"


@dataclass(frozen=True, slots=True)
class FatedWrite:
    """A write, trim or zeroing issued before the cut, and what the cut means for it."""

    issue: Issue
    fate: Fate


Ranges = tuple[tuple[int, int], ...]  # (offset, length) in bytes of a disk


@dataclass(frozen=True, slots=True)
class Survivor:
    """What is on the medium of one write: ranges of bytes of its disk, block by block if torn."""

    issue: Issue
    ranges: Ranges


@dataclass(frozen=True, slots=True)
class CrashState:
    """One legal state of all disks after a cut."""

    cut: int  # the sequence number of the first event that did not happen
    survivors: tuple[tuple[Survivor, ...], ...]  # by disk, in order of issue
    lost_writes: int
    torn_writes: int


def fates(trace: Trace, cut: int) -> tuple[tuple[FatedWrite, ...], ...]:
    """Return for each disk its writes up to *cut*, in order of issue, each with its fate.

    A completed write is durable if its disk has no volatile cache, if it carried FUA, or if a
    flush of the same disk was issued after its completion and completed before the cut.
    """
    issues: list[list[Issue]] = [[] for _ in trace.disks]
    completed: dict[int, int] = {}
    flushes: list[list[Issue]] = [[] for _ in trace.disks]
    for event in trace.events:
        if event.sequence >= cut:
            break
        if isinstance(event, Completion):
            if event.error == 0:
                completed[event.request] = event.sequence
        elif isinstance(event, Issue):
            kind = flushes if event.operation is Operation.FLUSH else issues
            kind[event.disk].append(event)
    # All that completed before this was issued is durable: the last flush that itself completed.
    flushed = [
        max((flush.sequence for flush in of_disk if flush.request in completed), default=0)
        for of_disk in flushes
    ]
    return tuple(
        tuple(
            FatedWrite(issue, _fate(issue, completed.get(issue.request), disk.cache, before))
            for issue in of_disk
        )
        for disk, of_disk, before in zip(trace.disks, issues, flushed, strict=True)
    )


def crash_state(trace: Trace, cut: int, loss: Loss, *, seed: int) -> CrashState:
    """Return the state that *loss* chooses among the legal ones; *seed* decides for RANDOM."""
    choice = random.Random(seed)
    lost = torn = 0
    disks = []
    for disk, writes in zip(trace.disks, fates(trace, cut), strict=True):
        survivors = []
        for write in writes:
            whole: Ranges = ((write.issue.offset, write.issue.length),)
            if write.fate is Fate.DURABLE or loss is Loss.NONE:
                ranges: Ranges = whole
            elif loss is Loss.ALL:
                ranges = ()
            else:
                ranges = surviving_part(write.issue, disk.logical_block_bytes, choice)
            lost += not ranges
            torn += bool(ranges) and ranges != whole
            if ranges:
                survivors.append(Survivor(write.issue, ranges))
        disks.append(tuple(survivors))
    return CrashState(cut, tuple(disks), lost, torn)


def surviving_bytes(survivor: Survivor) -> Iterator[tuple[int, bytes | int]]:
    """Yield (offset, data) of what survived; an ``int`` stands for so many zeroes."""
    issue = survivor.issue
    for offset, length in survivor.ranges:
        if issue.operation is Operation.WRITE:
            start = offset - issue.offset
            yield offset, issue.payload[start : start + length]
        else:
            yield offset, length


def _fate(issue: Issue, completed: int | None, cache: Cache, flushed_before: int) -> Fate:
    if completed is None:
        return Fate.IN_FLIGHT
    if cache is Cache.WRITE_THROUGH or Flag.FUA in issue.flags or completed < flushed_before:
        return Fate.DURABLE
    return Fate.CACHED


def surviving_part(issue: Issue, block_bytes: int, choice: random.Random) -> Ranges:
    """Choose: a third lost, a third whole, a third torn.

    A torn write has lost its end, its beginning, or any of its pieces; the pieces are logical
    blocks or whole pages, so that a meta block often survives while pages behind it do not.
    """
    kind = choice.randrange(3)
    if kind < 2 or issue.length <= block_bytes:
        return ((issue.offset, issue.length),) if kind % 2 else ()
    return torn_part(issue, block_bytes, choice)


def torn_part(issue: Issue, block_bytes: int, choice: random.Random) -> Ranges:
    """Choose what survives of a write that is torn; it is longer than a logical block."""
    piece_bytes = choice.choice((block_bytes, max(block_bytes, _PAGE_BYTES)))
    if issue.length <= piece_bytes:
        piece_bytes = block_bytes
    end = issue.offset + issue.length
    pieces = [(at, min(piece_bytes, end - at)) for at in range(issue.offset, end, piece_bytes)]
    at = choice.randrange(1, len(pieces))
    way = choice.randrange(3)
    if way == 0:
        return tuple(pieces[:at])
    if way == 1:
        return tuple(pieces[at:])
    kept = tuple(piece for piece in pieces if choice.randrange(2))
    return kept if 0 < len(kept) < len(pieces) else tuple(pieces[:at])
