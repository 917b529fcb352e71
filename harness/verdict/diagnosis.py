"""What an array's journal holds, what the kernel will do with it, and what is lost without it.

Facts only, from the superblocks and from recovery as the model predicts it; what is suspicious
among them is in ``suspicions``, what to type next in ``next_steps``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from harness.ondisk.log import Rejected
from harness.ondisk.units import BLOCK_BYTES, SECTOR_BYTES
from harness.recovery.era import DataOnly, Era
from harness.recovery.era_differences import (
    EraDifference,
    era_differences,
    next_sequence,
    recovery_of,
    writes_empty_meta,
)
from harness.recovery.followers import Recovery
from harness.recovery.geometry import Geometry
from harness.recovery.leftovers import Leftovers
from harness.recovery.members import Array
from harness.recovery.plan import RecoveryPlan
from harness.recovery.write_out import needed_in_vain
from harness.recovery.written_pages import Column, columns_of, merged_ranges
from harness.verdict.array_health import Health

# Replays seen by users: linux-raid, May to July 2020 (about 19 hours, 1 to 4 MB/s).
SLOWEST_SEEN_MB_S = 1
FASTEST_SEEN_MB_S = 4
_MEGABYTE = 10**6

Ranges = tuple[tuple[int, int], ...]  # (start, length) in array sectors, sorted, apart


@dataclass(frozen=True, slots=True, kw_only=True)
class LogContents:
    """The live part of the log, and the stripes in it by kind."""

    size_sectors: int
    tail: int  # where recovery begins
    end: int | None  # where the next meta block would be; None: the log cannot be followed
    first_seq: int
    metas: int
    empty_metas: int
    dropped_metas: int
    data_pages: int
    parity_pages: int
    flush_payloads: int
    data_parity_stripes: int
    data_only_stripes: int
    parity_only_stripes: int
    flushed_stripes: int
    ended_because: str | None
    bytes_with_parity: int  # of data that recovery writes to the array
    bytes_data_only: int
    with_parity: Ranges
    data_only: Ranges
    pages_outside: int  # whose place lies beyond the array

    @property
    def live_sectors(self) -> int:
        """From the tail to the end, around the ring."""
        if self.end is None:
            return 0
        around = self.end < self.tail or (self.end == self.tail and self.metas > 0)
        return self.end - self.tail + (self.size_sectors if around else 0)

    @property
    def was_write_back(self) -> bool:
        """Whether the log holds what only write-back mode writes."""
        return bool(self.data_only_stripes or self.parity_only_stripes or self.flush_payloads)


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What recovery has to read and write, in pages of 4096 bytes."""

    pages_read: int
    pages_written: int
    peak_stripes: int
    stripe_cache_size: int
    grown_to: int
    early_replays: int

    @property
    def megabytes(self) -> float:
        """Read and written together, in units of 10^6 bytes."""
        return (self.pages_read + self.pages_written) * BLOCK_BYTES / _MEGABYTE

    @property
    def hours_seen(self) -> tuple[float, float]:
        """How long that takes at the fastest and the slowest rate that users have told of."""
        seconds = self.megabytes / FASTEST_SEEN_MB_S, self.megabytes / SLOWEST_SEEN_MB_S
        return seconds[0] / 3600, seconds[1] / 3600


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """What the kernel does with the journal."""

    era: str
    message: str | None  # in its log, behind "md/raid:mdX: "
    failure: str | None  # why it does not come to an end, or why that cannot be told
    creates_new_log: str | None  # the tail block was bad for this reason
    steps: tuple[str, ...]  # in words, in their order
    work: Work


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What was read of a journal: everything that a diagnosis needs of it."""

    ring_sectors: int
    tail: int
    recoveries: tuple[Recovery, ...] | Rejected
    new_log: RecoveryPlan | None  # where the tail block is rejected: what the era makes instead
    leftovers: Leftovers
    stripe_cache_size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalFacts:
    """A journal's contents, its recovery, and the eras that treat it otherwise."""

    contents: LogContents
    prediction: Prediction
    differences: tuple[EraDifference, ...]
    recovery: Recovery | None  # of the era; None: a new log is made
    leftovers: Leftovers
    hopeless: tuple[int, ...]  # data-only stripes that need what cannot be read


def journal_facts(reading: Reading, array: Array, health: Health, era: Era) -> JournalFacts:
    """Return what there is to say of a journal, by the rules of *era*."""
    geometry = array.geometry
    differences = era_differences(reading.recoveries, era)
    if isinstance(reading.recoveries, Rejected):
        contents = _nothing_live(reading, str(reading.recoveries))
        prediction = _new_log(reading, era)
        return JournalFacts(
            contents=contents, prediction=prediction, differences=differences, recovery=None,
            leftovers=reading.leftovers, hopeless=(),
        )  # fmt: skip
    recovery = recovery_of(reading.recoveries, era)
    contents = _contents(reading, recovery, geometry)
    hopeless = _hopeless(recovery, array) if health.members_given else ()
    prediction = _prediction(reading, recovery, geometry, health, era)
    if failure := prediction.failure or _why_it_fails(hopeless, health, era):
        prediction = replace(prediction, message=None, failure=failure, steps=())
    return JournalFacts(
        contents=contents, prediction=prediction, differences=differences, recovery=recovery,
        leftovers=reading.leftovers, hopeless=hopeless,
    )  # fmt: skip


def _hopeless(recovery: Recovery, array: Array) -> tuple[int, ...]:
    """Return the data-only stripes of which the driver would have to read what it cannot."""
    found = []
    for stripe in recovery.data_only:
        unreadable = array.unreadable_at(stripe.stripe)
        if unreadable and needed_in_vain(
            array.geometry, array.geometry.row_at(stripe.stripe),
            [device for device, _ in stripe.pages], unreadable=unreadable,
            synced=stripe.stripe < array.resync_offset,
        ):  # fmt: skip
            found.append(int(stripe.stripe))
    return tuple(found)


def _why_it_fails(hopeless: tuple[int, ...], health: Health, era: Era) -> str | None:
    if health.refused is not None:
        return f"the array is not started: {health.refused}"
    if hopeless and era.data_only is DataOnly.WRITTEN_OUT:
        return (
            f"{len(hopeless)} data-only stripes, the first {hopeless[0]}, need a page of a member"
            " that cannot be read, and nothing computes it: assembly was seen never to end"
            " (kernels 5.10 to 7.3)"
        )
    return None


def _contents(reading: Reading, recovery: Recovery, geometry: Geometry) -> LogContents:
    books = recovery.books
    with_parity = recovery.writes.array_sectors(geometry)
    only = columns_of((s.stripe, dict(s.pages)) for s in recovery.data_only).last_writers()
    alone = only.array_sectors(geometry)
    outside = int(recovery.writes.outside(geometry).sum()) + int(only.outside(geometry).sum())
    ranges, ranges_alone = merged_ranges(with_parity), merged_ranges(alone)
    return LogContents(
        size_sectors=reading.ring_sectors, tail=reading.tail,
        end=None if recovery.end is None else recovery.end.position,
        first_seq=recovery.first_seq, metas=books.metas, empty_metas=books.empty_metas,
        dropped_metas=recovery.dropped, data_pages=books.data_pages,
        parity_pages=books.parity_pages, flush_payloads=books.flush_payloads,
        data_parity_stripes=books.replayed, data_only_stripes=len(recovery.data_only),
        parity_only_stripes=books.parity_only, flushed_stripes=books.flushed,
        ended_because=_why_ended(recovery),
        bytes_with_parity=_bytes_in(ranges), bytes_data_only=_bytes_in(ranges_alone),
        with_parity=ranges, data_only=ranges_alone, pages_outside=outside,
    )  # fmt: skip


def _nothing_live(reading: Reading, why: str) -> LogContents:
    return LogContents(
        size_sectors=reading.ring_sectors, tail=reading.tail, end=None, first_seq=0, metas=0,
        empty_metas=0, dropped_metas=0, data_pages=0, parity_pages=0, flush_payloads=0,
        data_parity_stripes=0, data_only_stripes=0, parity_only_stripes=0, flushed_stripes=0,
        ended_because=why, bytes_with_parity=0, bytes_data_only=0, with_parity=(), data_only=(),
        pages_outside=0,
    )  # fmt: skip


def _bytes_in(ranges: Ranges) -> int:
    return SECTOR_BYTES * sum(length for _, length in ranges)


def _why_ended(recovery: Recovery) -> str | None:
    if recovery.end is None:
        return None
    if recovery.end.mismatch is not None:
        return recovery.end.mismatch.reason
    if recovery.end.rejected is None:
        return f"sector {recovery.end.position}: the block cannot be read"
    return str(recovery.end.rejected)


def _new_log(reading: Reading, era: Era) -> Prediction:
    plan = reading.new_log
    assert plan is not None
    written = len(plan.empty_metas)
    work = Work(
        pages_read=1, pages_written=written, peak_stripes=0,
        stripe_cache_size=reading.stripe_cache_size, grown_to=reading.stripe_cache_size,
        early_replays=0,
    )  # fmt: skip
    steps = (
        "make a new, empty log without a word; nothing of what the old one holds is looked at",
        f"write {era.new_log.value}",
        f"set journal_tail to {plan.journal_tail} at the next superblock write",
    )
    return Prediction(
        era=era.name, message=None, failure=None, creates_new_log=str(reading.recoveries),
        steps=steps, work=work,
    )  # fmt: skip


def _prediction(
    reading: Reading, recovery: Recovery, geometry: Geometry, health: Health, era: Era
) -> Prediction:
    failure = recovery.failure
    message = None
    if failure is None and era.reports:
        message = "starting from clean shutdown"
        if recovery.books.replayed or recovery.data_only:
            message = (
                f"recovering {len(recovery.data_only)} data-only stripes"
                f" and {recovery.books.replayed} data-parity stripes"
            )
    steps = () if failure else tuple(_steps(recovery, era))
    return Prediction(
        era=era.name, message=message, failure=failure, creates_new_log=None, steps=steps,
        work=_work(reading, recovery, geometry, health, era),
    )  # fmt: skip


def _steps(recovery: Recovery, era: Era) -> list[str]:
    end, books = recovery.end, recovery.books
    assert end is not None
    blocks = books.metas + books.data_pages + books.parity_pages
    steps = [f"read {books.metas} meta blocks and their pages, {blocks} blocks in all"]
    if recovery.dropped:
        steps.append(f"drop {recovery.dropped} meta blocks with a bad page or descriptor, whole")
    if books.flushed:
        steps.append(f"forget {books.flushed} stripes that a FLUSH says are on the members")
    if books.replayed:
        steps.append(
            f"write {books.replayed} data-parity stripes ({recovery.pages_written} pages) to the"
            " members"
        )
    if books.parity_only:
        steps.append(f"skip {books.parity_only} stripes of which the log holds parity only")
    seq = next_sequence(recovery, era)
    if recovery.data_only:
        count = len(recovery.data_only)
        steps.append(
            f"log {count} data-only stripes anew from sector {end.position} on, seq {seq} and up,"
            + (" then write them to the members with new parity"
               if era.data_only is DataOnly.WRITTEN_OUT else " and leave them in the stripe cache")
        )  # fmt: skip
    elif writes_empty_meta(recovery, era):
        steps.append(f"write an empty meta block at sector {end.position}, seq {seq}")
    if recovery.data_only or writes_empty_meta(recovery, era):
        steps.append(f"set journal_tail to {end.position} at the next superblock write")
    else:
        steps.append("leave the log and journal_tail as they are")
    return steps


def _work(
    reading: Reading, recovery: Recovery, geometry: Geometry, health: Health, era: Era
) -> Work:
    books = recovery.books
    there = _copies_of(recovery.writes.devices, recovery.pages_written, health)
    only = sum(len(stripe.pages) for stripe in recovery.data_only)
    again = len(recovery.data_only) + only if recovery.data_only else 1
    out = 0
    if era.data_only is DataOnly.WRITTEN_OUT:
        # To the log: parity; to the members: data and parity.
        out = only + 2 * len(recovery.data_only) * geometry.level.parities
    return Work(
        pages_read=books.metas + books.data_pages + books.parity_pages,
        pages_written=there + again + out,
        peak_stripes=books.peak_held, stripe_cache_size=reading.stripe_cache_size,
        grown_to=max(books.cache_size, reading.stripe_cache_size), early_replays=books.early,
    )  # fmt: skip


def _copies_of(devices: Column, pages: int, health: Health) -> int:
    """Return how many of the pages have a member to go to; those for absent slots are skipped."""
    if not len(devices) or not health.absent:
        return pages
    gone = int(np.isin(devices, list(health.absent)).sum())
    return max(0, pages - gone)


def sectors_in_words(sectors: int) -> str:
    """Return a length in bytes as people say it."""
    return bytes_in_words(sectors * SECTOR_BYTES)


def bytes_in_words(count: int) -> str:
    """Return a number of bytes as people say it: 4096 bytes, 3.2 MiB."""
    value = float(count)
    for unit in ("bytes", "KiB", "MiB", "GiB", "TiB"):
        if value < 1024 or unit == "TiB":
            return f"{count} bytes" if unit == "bytes" else f"{value:.1f} {unit}"
        value /= 1024
    raise AssertionError("TiB is the last")
