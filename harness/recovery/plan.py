"""What the kernel's recovery will write, as data: nothing is written here.

Mirrors ``r5c_recovery_analyze_meta_block``, ``r5c_recovery_flush_log`` and
``r5c_recovery_rewrite_data_only_stripes``; format document, section 4.1. A page is named by the
place in the log that it comes from, so a plan stays small whatever the journal's size.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from harness.ondisk.log import (
    DataPayload,
    FlushPayload,
    ParityPayload,
    Rejected,
    build_data_payload,
    build_meta_block,
    join_payloads,
    page_checksum,
)
from harness.ondisk.units import BLOCK_SECTORS, ArraySector, LogSector, StripeSector
from harness.recovery.geometry import Geometry
from harness.recovery.scan import Log, LogEnd, Ring, ScannedMeta, load_log, scan_log

_U64 = 2**64 - 1


@dataclass(frozen=True, slots=True)
class StripeReplay:
    """Write these logged pages to the members at *stripe*: one data-parity stripe."""

    stripe: StripeSector
    pages: tuple[tuple[int, LogSector], ...]  # (device, where the page lies in the log)


@dataclass(frozen=True, slots=True)
class DataOnlyStripe:
    """A stripe whose data is in the log and whose parity is not; pages as in `StripeReplay`."""

    stripe: StripeSector
    pages: tuple[tuple[int, LogSector], ...]


@dataclass(frozen=True, slots=True)
class EmptyMeta:
    """The meta block that ends a recovery; *seq* is ``None`` where the kernel draws it."""

    position: LogSector
    seq: int | None


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
    replays: tuple[StripeReplay, ...]  # in the order of the kernel's writes
    data_only: tuple[DataOnlyStripe, ...]
    empty_meta: EmptyMeta | None
    rewritten: tuple[RewrittenMeta, ...]
    journal_tail: LogSector  # what the superblock gets

    @property
    def message(self) -> str | None:
        """What the kernel says of it in its log, behind ``md/raid:mdX: ``; ``None``: nothing."""
        if self.created is not None:
            return None
        if not self.replays and not self.data_only:
            return "starting from clean shutdown"
        return (
            f"recovering {len(self.data_only)} data-only stripes"
            f" and {len(self.replays)} data-parity stripes"
        )


class UnreadableTail(Exception):
    """The block at the tail cannot be read: the kernel refuses to start the array."""


def plan_recovery(log: Log, geometry: Geometry) -> RecoveryPlan:
    """Say what recovery will write, for a log and the geometry of its array.

    Raises:
        UnreadableTail: where the kernel fails to start the array.
    """
    tail = load_log(log)
    if tail is None:
        raise UnreadableTail(f"block {log.start} of the log cannot be read")
    if isinstance(tail, Rejected):
        return _plan_create(tail)
    analysis = _Analysis(geometry, log.ring)
    scan = scan_log(log, tail)
    while True:
        try:
            analysis.take(next(scan))
        except StopIteration as stop:
            return _plan_finish(log, geometry, analysis, stop.value)


def _plan_create(tail: Rejected) -> RecoveryPlan:
    """Plan the path of ``r5l_load_log`` that makes a new log: nothing in it is looked at."""
    return RecoveryPlan(
        start=tail.at, metas_accepted=0, metas_dropped=0, ended=None, created=tail,
        replays=(), data_only=(), empty_meta=EmptyMeta(LogSector(0), None), rewritten=(),
        journal_tail=LogSector(0),
    )  # fmt: skip


def _plan_finish(log: Log, geometry: Geometry, analysis: _Analysis, end: LogEnd) -> RecoveryPlan:
    data_only = analysis.finish()
    seq = (end.seq + log.era.sequence_jump) & _U64
    rewritten = _plan_rewrite(log, geometry, data_only, end.position, seq)
    return RecoveryPlan(
        start=log.start, metas_accepted=analysis.accepted, metas_dropped=analysis.dropped,
        ended=end, created=None, replays=tuple(analysis.replays), data_only=data_only,
        empty_meta=None if data_only else EmptyMeta(end.position, seq), rewritten=rewritten,
        journal_tail=end.position,
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
        seq = (seq + 1) & _U64
    return tuple(rewritten)


def rewritten_block(plan: RewrittenMeta, log: Log) -> bytes:
    """Return the meta block that the kernel writes for a rewritten data-only stripe."""
    descriptors = []
    for location, source, _ in plan.pages:
        page = log.read_block(source)
        if page is None:
            raise ValueError(f"page {source} was readable during the scan")
        descriptors.append(build_data_payload(location, page_checksum(log.seed, page)))
    return build_meta_block(
        seed=log.seed, seq=plan.seq, position=plan.position, payloads=join_payloads(descriptors)
    )


@dataclass(slots=True)
class _Stripe:
    pages: dict[int, LogSector] = field(default_factory=dict)
    caching: bool = True  # STRIPE_R5C_CACHING: data only so far


class _Analysis:
    """The list of stripes that recovery keeps while it scans, in the kernel's order."""

    def __init__(self, geometry: Geometry, ring: Ring) -> None:
        self._geometry = geometry
        self._ring = ring
        self._stripes: dict[StripeSector, _Stripe] = {}
        self.replays: list[StripeReplay] = []
        self.accepted = 0
        self.dropped = 0

    def take(self, scanned: ScannedMeta) -> None:
        if scanned.dropped is not None:
            self.dropped += 1
            return
        self.accepted += 1
        for placed in scanned.payloads:
            match placed.payload:
                case FlushPayload(stripes=stripes):
                    for stripe in stripes:
                        self._stripes.pop(stripe, None)
                case DataPayload(location=location):
                    self._take_data(location, placed.pages_at)
                case ParityPayload(location=location):
                    self._take_parity(location, placed.pages_at)

    def _take_data(self, location: ArraySector, at: LogSector) -> None:
        place = self._geometry.place(location)
        stripe = self._stripes.setdefault(place.sector, _Stripe())
        if not stripe.caching and place.pd_idx in stripe.pages:
            self._replay(place.sector, stripe)
            del self._stripes[place.sector]
            stripe = self._stripes[place.sector] = _Stripe()  # moves it to the end
        stripe.pages[place.device] = at
        stripe.caching = True

    def _take_parity(self, location: StripeSector, at: LogSector) -> None:
        row = self._geometry.row_at(location)
        stripe = self._stripes.setdefault(location, _Stripe())
        stripe.pages[row.pd_idx] = at
        if row.qd_idx is not None:
            stripe.pages[row.qd_idx] = self._ring.add(at, BLOCK_SECTORS)
        stripe.caching = False

    def _replay(self, sector: StripeSector, stripe: _Stripe) -> None:
        row = self._geometry.row_at(sector)
        if any(device in row.data for device in stripe.pages):
            self.replays.append(StripeReplay(sector, tuple(sorted(stripe.pages.items()))))

    def finish(self) -> tuple[DataOnlyStripe, ...]:
        """Replay every stripe that has its parity; return those that have none."""
        data_only = []
        for sector, stripe in self._stripes.items():
            if stripe.caching:
                data_only.append(DataOnlyStripe(sector, tuple(sorted(stripe.pages.items()))))
            else:
                self._replay(sector, stripe)
        return tuple(data_only)
