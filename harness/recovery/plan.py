"""What the kernel's recovery will write, as data: nothing is written here.

Mirrors ``r5l_load_log``, ``r5l_recovery_log`` and ``r5c_recovery_rewrite_data_only_stripes``;
format document, section 4. A page is named by the place in the log that it comes from, so a plan
stays small whatever the journal's size.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass

from harness.ondisk.log import (
    MetaBlock,
    Rejected,
    build_data_payload,
    build_meta_block,
    join_payloads,
    page_checksum,
)
from harness.ondisk.units import BLOCK_SECTORS, ArraySector, LogSector
from harness.recovery.era import DataOnly, Ending, NewLog, Unit
from harness.recovery.geometry import Geometry
from harness.recovery.log import Log, LogEnd, ScannedMeta, StripeReplay, UndefinedRecovery
from harness.recovery.metawise import DEFAULT_STRIPE_CACHE_SIZE, Analysis, DataOnlyStripe
from harness.recovery.places import Places
from harness.recovery.scan import load_log, scan_log
from harness.recovery.stripewise import scan_by_stripe

__all__ = [
    "DataOnlyStripe", "EmptyMeta", "RecoveryPlan", "RewrittenMeta", "StripeReplay",
    "UnreadableTail", "follow_log", "plan_recovery", "rewritten_block", "stream_recovery",
]  # fmt: skip

_U64 = 2**64


@dataclass(frozen=True, slots=True)
class EmptyMeta:
    """An empty meta block that recovery writes.

    Where the kernel draws the sequence number, *seq* is ``None``, and *from_drawn* says how far
    this one is from the number drawn.
    """

    position: LogSector
    seq: int | None
    from_drawn: int = 0


@dataclass(frozen=True, slots=True)
class RewrittenMeta:
    """A data-only stripe logged anew behind the end of the scan, devices descending."""

    position: LogSector
    seq: int
    pages: tuple[tuple[ArraySector, LogSector, LogSector], ...]  # (location, from, to)


@dataclass(frozen=True, slots=True, kw_only=True)
class RecoveryPlan:
    """The whole outcome of one recovery."""

    start: LogSector
    metas_accepted: int
    metas_dropped: int
    ended: LogEnd | None  # None: no scan took place
    created: Rejected | None  # the tail block was bad for this reason: a new log was made
    replays: tuple[StripeReplay, ...]  # in the order of the kernel's writes; () when streamed
    data_parity: int  # how many stripes are replayed
    data_only: tuple[DataOnlyStripe, ...]
    written_out: bool  # whether the members get the data-only stripes
    empty_metas: tuple[EmptyMeta, ...]  # the last one is where the log goes on
    rewritten: tuple[RewrittenMeta, ...]
    journal_tail: LogSector  # what the superblock has afterwards
    reported: bool  # whether the kernel's log tells of it

    @property
    def empty_meta(self) -> EmptyMeta | None:
        """The empty meta block at which the log goes on, where one is written."""
        return self.empty_metas[-1] if self.empty_metas else None

    @property
    def message(self) -> str | None:
        """What the kernel says of it in its log, behind ``md/raid:mdX: ``; ``None``: nothing."""
        if self.created is not None or not self.reported:
            return None
        if not self.data_parity and not self.data_only:
            return "starting from clean shutdown"
        return (
            f"recovering {len(self.data_only)} data-only stripes"
            f" and {self.data_parity} data-parity stripes"
        )


class UnreadableTail(Exception):
    """The block at the tail cannot be read: the kernel refuses to start the array."""


def plan_recovery(
    log: Log, geometry: Geometry, *, stripe_cache_size: int = DEFAULT_STRIPE_CACHE_SIZE
) -> RecoveryPlan:
    """Say what recovery will write, for a log and the geometry of its array.

    Args:
        log: with the era that is to be followed.
        geometry: of the array.
        stripe_cache_size: decides which stripes are written early; seen where a FLUSH follows.

    Raises:
        UnreadableTail: where the kernel fails to start the array.
        UndefinedRecovery: where the era's kernel would leave its buffers.
        StripeCacheExhausted: where the kernel gives up for want of stripes.
    """
    stream = stream_recovery(log, geometry, stripe_cache_size=stripe_cache_size)
    replays = []
    while True:
        try:
            replays.append(next(stream))
        except StopIteration as stop:
            plan: RecoveryPlan = stop.value
            return dataclasses.replace(plan, replays=tuple(replays))


def stream_recovery(
    log: Log, geometry: Geometry, *, stripe_cache_size: int = DEFAULT_STRIPE_CACHE_SIZE
) -> Generator[StripeReplay, None, RecoveryPlan]:
    """Yield each stripe's replay when the kernel would make it; return the rest of the plan.

    What is held at any time is bounded by the stripe cache, whatever the journal's size. Arguments
    and errors as of `plan_recovery`; an error can come after replays were yielded.
    """
    tail = load_log(log)
    if tail is None:
        raise UnreadableTail(f"block {log.start} of the log cannot be read")
    if isinstance(tail, Rejected):
        return _plan_new_log(log, tail)
    geometry = Places(geometry)
    outcome = _Outcome(log, geometry, stripe_cache_size)
    for scanned in _follow(log, geometry, tail, outcome, stripe_cache_size):
        outcome.take(scanned)
        yield from outcome.ready()
    data_only = outcome.finish()
    yield from outcome.ready()
    return _plan_finish(log, geometry, tail, outcome, data_only)


def follow_log(log: Log, geometry: Geometry) -> Iterator[ScannedMeta]:
    """Yield every meta block that the era's scan goes through; none where the tail is bad."""
    tail = load_log(log)
    if isinstance(tail, MetaBlock):
        yield from _follow(log, geometry, tail, None)


def rewritten_block(meta: RewrittenMeta, pages: Sequence[bytes], *, seed: int) -> bytes:
    """Return the meta block that the kernel writes for a data-only stripe, of which it logs
    *pages* anew; *seed* is ``uuid_checksum(set_uuid)``.
    """
    payloads = join_payloads(
        build_data_payload(location, page_checksum(seed, page))
        for (location, _, _), page in zip(meta.pages, pages, strict=True)
    )
    return build_meta_block(seed=seed, seq=meta.seq, position=meta.position, payloads=payloads)


class _Outcome:
    """What a scan comes to, whichever way the era goes."""

    def __init__(self, log: Log, geometry: Geometry, stripe_cache_size: int) -> None:
        self._analysis: Analysis | None = None
        if log.era.unit is Unit.META_BLOCK:
            self._analysis = Analysis(geometry, log.ring, stripe_cache_size=stripe_cache_size)
        self._ready: list[StripeReplay] = []
        self.accepted = 0
        self.dropped = 0
        self.data_parity = 0
        self.end: LogEnd | None = None

    def take(self, scanned: ScannedMeta) -> None:
        if scanned.dropped is None:
            self.accepted += 1
        else:
            self.dropped += 1
        if self._analysis is not None:
            self._analysis.take(scanned)
        self._ready += scanned.replays

    def ready(self) -> Iterator[StripeReplay]:
        """Yield, once, what the kernel has replayed by now."""
        if self._analysis is not None:
            self._ready += self._analysis.replays
            self._analysis.replays.clear()
        self.data_parity += len(self._ready)
        yield from self._ready
        self._ready.clear()

    def finish(self) -> tuple[DataOnlyStripe, ...]:
        return () if self._analysis is None else self._analysis.finish()


def _follow(
    log: Log,
    geometry: Geometry,
    tail: MetaBlock,
    outcome: _Outcome | None,
    stripe_cache_size: int = DEFAULT_STRIPE_CACHE_SIZE,
) -> Iterator[ScannedMeta]:
    if log.era.unit is Unit.STRIPE:
        end = yield from scan_by_stripe(log, geometry, tail, stripe_cache_size=stripe_cache_size)
    else:
        end = yield from scan_log(log, tail)
    if outcome is not None:
        outcome.end = end


def _plan_new_log(log: Log, tail: Rejected) -> RecoveryPlan:
    """Plan the path of ``r5l_load_log`` that makes a new log: nothing in it is looked at."""
    zero = LogSector(0)
    metas: tuple[EmptyMeta, ...] = ()
    if log.era.new_log is not NewLog.NOTHING:
        metas = (EmptyMeta(zero, None),)
    if log.era.new_log is NewLog.TWO_META_BLOCKS:
        again = EmptyMeta(LogSector(BLOCK_SECTORS), None, 1 + log.era.sequence_jump)
        metas = (*metas, again)
    return RecoveryPlan(
        start=tail.at, metas_accepted=0, metas_dropped=0, ended=None, created=tail, replays=(),
        data_parity=0, data_only=(), written_out=False, empty_metas=metas, rewritten=(),
        journal_tail=metas[-1].position if metas else zero, reported=False,
    )  # fmt: skip


def _plan_finish(
    log: Log,
    geometry: Geometry,
    tail: MetaBlock,
    outcome: _Outcome,
    data_only: tuple[DataOnlyStripe, ...],
) -> RecoveryPlan:
    end = outcome.end
    assert end is not None  # the scan has run to its end
    seq = (end.seq + log.era.sequence_jump) % _U64
    writes = log.era.writes_empty_meta(Ending(tail.seq, end.seq, len(data_only)))
    rewritten = _plan_rewrite(log, geometry, data_only, end.position, seq)
    if (writes or rewritten) and end.position >= log.ring.size:
        raise UndefinedRecovery(
            f"the scan ends at log sector {end.position}, outside of the ring of {log.ring.size};"
            " the kernel would write there"
        )
    return RecoveryPlan(
        start=log.start, metas_accepted=outcome.accepted, metas_dropped=outcome.dropped,
        ended=end, created=None, replays=(), data_parity=outcome.data_parity, data_only=data_only,
        written_out=log.era.data_only is DataOnly.WRITTEN_OUT,
        empty_metas=(EmptyMeta(end.position, seq),) if writes else (), rewritten=rewritten,
        # Where nothing is written the superblock keeps what it has, even a tail that cannot be.
        journal_tail=end.position if writes or rewritten else log.journal_tail,
        reported=log.era.reports,
    )  # fmt: skip


def _plan_rewrite(
    log: Log, geometry: Geometry, stripes: tuple[DataOnlyStripe, ...], end: LogSector, seq: int
) -> tuple[RewrittenMeta, ...]:
    rewritten = []
    position = end
    for stripe in stripes:
        at = position
        pages = []
        for device, source in reversed(stripe.pages):
            at = log.ring.add(at, BLOCK_SECTORS)
            location = geometry.array_sector(device, stripe.stripe)
            if location is None:
                raise ValueError("a data-only stripe holds no parity")
            pages.append((location, source, at))
        rewritten.append(RewrittenMeta(position, seq, tuple(pages)))
        position = log.ring.add(at, BLOCK_SECTORS)
        seq = (seq + 1) % _U64
    return tuple(rewritten)
