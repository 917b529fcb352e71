"""Eras of recovery on their way through one log: what each makes of a meta block, in numbers.

The rules are those of ``scan``, ``metawise`` and ``stripewise``, which are asked for every meta
block that is not plain; what is kept are columns and counts, never an object for each page.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from harness.ondisk.log import MetaBlock, PayloadType
from harness.ondisk.units import LogSector, StripeSector
from harness.recovery.era import Era
from harness.recovery.geometry import Geometry
from harness.recovery.log import Log, LogEnd, Ring, ScannedMeta, UndefinedRecovery
from harness.recovery.metawise import Analysis, DataOnlyStripe, StripeCacheExhausted
from harness.recovery.scan import scan_alone
from harness.recovery.stripewise import CachedRows, read_by_stripe
from harness.recovery.written_pages import LastWriters, WriteColumns

_EXAMPLES = 5


@dataclass(slots=True)
class Books:
    """What went by while a log was followed."""

    metas: int = 0
    empty_metas: int = 0
    data_pages: int = 0
    parity_pages: int = 0
    flush_payloads: int = 0
    flagged: int = 0  # meta blocks with flags that no kernel sets
    replayed: int = 0
    parity_only: int = 0
    flushed: int = 0
    flushed_pages: int = 0
    flushed_data_only: list[int] = field(default_factory=list)  # the first few
    flushed_data_only_count: int = 0
    peak_held: int = 0
    cache_size: int = 0
    early: int = 0  # replayed because the stripe cache was used up
    early_matters: list[int] = field(default_factory=list)  # the first few
    early_matters_count: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovery:
    """What recovery makes of a log, for eras that read it alike."""

    eras: tuple[Era, ...]
    first_seq: int
    accepted: int
    dropped: int
    end: LogEnd | None  # None: see failure
    failure: str | None  # why there is no outcome: the kernel gives up, or leaves its buffers
    writes: LastWriters
    pages_written: int
    data_only: tuple[DataOnlyStripe, ...]
    books: Books


class Follower:
    """Eras on their way through the log."""

    def __init__(self, log: Log, eras: tuple[Era, ...]) -> None:
        self.eras = eras
        self.books = Books()
        self.accepted = 0
        self.dropped = 0
        self.end: LogEnd | None = None
        self.failure: str | None = None
        self._log = log

    def part(self, meta: MetaBlock, plain: ScannedMeta | None) -> Iterable[Follower]:
        """Yield those that treat the next meta block alike, each its own follower."""
        raise NotImplementedError

    def take(self, meta: MetaBlock, plain: ScannedMeta | None) -> LogSector | None:
        """Take one meta block in; return where the log goes on, ``None`` at this one's end."""
        raise NotImplementedError

    def finish(self, first_seq: int) -> Recovery:
        """Return what it all came to."""
        raise NotImplementedError

    def _count(self, scanned: ScannedMeta) -> None:
        books = self.books
        books.metas += 1
        books.empty_metas += scanned.dropped is None and not scanned.entries
        kinds = [kind for kind, _, _ in scanned.entries]
        data, parity = kinds.count(PayloadType.DATA), kinds.count(PayloadType.PARITY)
        books.data_pages += data
        books.parity_pages += parity * self._log.parities
        books.flush_payloads += len(kinds) - data - parity

    def _count_flags(self, scanned: ScannedMeta) -> None:
        """Look for flags in a meta block that is not plain; a plain one has none."""
        if scanned.dropped is None:
            flags = (getattr(payload, "flags", 0) for payload in scanned.payloads)
            self.books.flagged += any(flags)


class _Bookkeeping(Analysis):
    """The list of stripes as recovery keeps it, told in columns."""

    def __init__(
        self, geometry: Geometry, ring: Ring, books: Books, *, stripe_cache_size: int
    ) -> None:
        super().__init__(geometry, ring, stripe_cache_size=stripe_cache_size)
        self.books = books
        self.columns = WriteColumns()
        self._early: set[int] = set()
        self._comes_early = False
        books.cache_size = stripe_cache_size

    def take_parity(self, location: StripeSector, at: LogSector) -> None:
        """Take in a stripe's P, and its Q behind it."""
        if self._early:
            self._see_early(location)
        super().take_parity(location, at)

    def on_replay(self, sector: StripeSector, pages: Mapping[int, LogSector]) -> None:
        self.books.replayed += 1
        self.columns.add(sector, pages)
        if self._comes_early:
            self.books.early += 1
            self._early.add(sector)

    def on_parity_only(self, sector: StripeSector) -> None:  # noqa: ARG002
        self.books.parity_only += 1

    def on_flush(
        self, sector: StripeSector, pages: Mapping[int, LogSector], *, data_only: bool
    ) -> None:
        self._see_early(sector)
        if not pages:
            return
        self.books.flushed += 1
        self.books.flushed_pages += len(pages)
        if data_only:
            self.books.flushed_data_only_count += 1
            if len(self.books.flushed_data_only) < _EXAMPLES:
                self.books.flushed_data_only.append(sector)

    def on_new_stripe(self, *, held: int, cache_size: int) -> None:
        self.books.peak_held = max(self.books.peak_held, held)
        self.books.cache_size = cache_size
        self._comes_early = False

    def on_full_cache(self) -> None:
        self._comes_early = True

    def _see_early(self, sector: StripeSector) -> None:
        """A larger cache would still hold the pages of this stripe: it would end up otherwise."""
        if sector in self._early and sector not in self._stripes:
            self._early.discard(sector)
            self.books.early_matters_count += 1
            if len(self.books.early_matters) < _EXAMPLES:
                self.books.early_matters.append(sector)


class ByMeta(Follower):
    """Eras that verify whole meta blocks."""

    def __init__(
        self, log: Log, geometry: Geometry, eras: tuple[Era, ...], stripe_cache_size: int
    ) -> None:
        super().__init__(log, eras)
        self._geometry = geometry
        self._analysis = _Bookkeeping(
            geometry, log.ring, self.books, stripe_cache_size=stripe_cache_size
        )
        self._scanned: ScannedMeta | None = None  # of the meta block that comes next

    def part(self, meta: MetaBlock, plain: ScannedMeta | None) -> Iterable[Follower]:
        """See `Follower.part`."""
        if plain is not None:
            ways = [era.knows_flush for era in self.eras]
            if len(set(ways)) == 1 or not plain.has_flush:
                return [self]
            return [
                self._twin(tuple(e for e, w in zip(self.eras, ways, strict=True) if w is way))
                for way in (False, True)
            ]
        read: dict[tuple[object, ...], tuple[ScannedMeta | str, list[Era]]] = {}
        for era in self.eras:
            scanned = self._read(era, meta)
            alike: tuple[object, ...] = (scanned,)
            if isinstance(scanned, ScannedMeta):
                alike = (scanned.dropped is None, scanned.log_sectors, scanned.entries)
            read.setdefault(alike, (scanned, []))[1].append(era)
        parted = []
        for scanned, eras in read.values():
            one = self if len(read) == 1 else self._twin(tuple(eras))
            one.expect(scanned)
            parted.append(one)
        return parted

    def expect(self, scanned: ScannedMeta | str) -> None:
        """Take note of what the next meta block is to these eras; `str`: why that is undefined."""
        if isinstance(scanned, str):
            self.failure = scanned
        else:
            self._scanned = scanned

    def take(self, meta: MetaBlock, plain: ScannedMeta | None) -> LogSector | None:
        """See `Follower.take`."""
        scanned, self._scanned = self._scanned or plain, None
        if scanned is None:
            return None
        if plain is not None and plain.has_flush and not self.eras[0].knows_flush:
            scanned = scan_alone(self._log_of(self.eras[0]), meta)
        if plain is None:
            self._count_flags(scanned)
        self._count(scanned)
        self.accepted += scanned.dropped is None
        self.dropped += scanned.dropped is not None
        try:
            self._analysis.take(scanned)
        except StripeCacheExhausted as exhausted:
            self.failure = f"{exhausted}; the kernel gives up and the array does not start"
            return None
        return self._log.ring.add(meta.position, scanned.log_sectors)

    def finish(self, first_seq: int) -> Recovery:
        """See `Follower.finish`."""
        data_only = () if self.failure else self._analysis.finish()
        columns, self._analysis.columns = self._analysis.columns, WriteColumns()  # room to sort
        return Recovery(
            eras=self.eras, first_seq=first_seq, accepted=self.accepted, dropped=self.dropped,
            end=self.end, failure=self.failure, writes=columns.last_writers(),
            pages_written=len(columns), data_only=data_only, books=self.books,
        )  # fmt: skip

    def _read(self, era: Era, meta: MetaBlock) -> ScannedMeta | str:
        try:
            return scan_alone(self._log_of(era), meta)
        except UndefinedRecovery as undefined:
            return str(undefined)

    def _log_of(self, era: Era) -> Log:
        return replace(self._log, era=era)

    def _twin(self, eras: tuple[Era, ...]) -> ByMeta:
        kept = (self._log, self._geometry)
        twin = copy.deepcopy(self, {id(one): one for one in kept})
        twin.eras = eras
        return twin


class ByStripe(Follower):
    """Eras that write each stripe as soon as its pages are verified."""

    def __init__(
        self, log: Log, geometry: Geometry, eras: tuple[Era, ...], stripe_cache_size: int
    ) -> None:
        super().__init__(replace(log, era=eras[0]), eras)
        self._geometry = geometry
        self._rows = CachedRows(geometry, stripe_cache_size)
        self._columns = WriteColumns()

    def part(self, meta: MetaBlock, plain: ScannedMeta | None) -> Iterable[Follower]:  # noqa: ARG002
        """See `Follower.part`."""
        return [self]

    def take(self, meta: MetaBlock, plain: ScannedMeta | None) -> LogSector | None:
        """See `Follower.take`."""
        try:
            scanned = read_by_stripe(self._log, self._geometry, meta, plain, self._rows)
        except UndefinedRecovery as undefined:
            self.failure = str(undefined)
            return None
        if plain is None:
            self._count_flags(scanned)
        self._count(scanned)
        for stripe, pages in scanned.replays:
            self._columns.add(stripe, dict(pages))
        self.books.replayed += len(scanned.replays)
        if scanned.dropped is not None:
            self.dropped += 1
            self.end = LogEnd(meta.position, meta.seq, None, scanned.dropped)
            return None
        self.accepted += 1
        return self._log.ring.add(meta.position, scanned.log_sectors)

    def finish(self, first_seq: int) -> Recovery:
        """See `Follower.finish`."""
        columns, self._columns = self._columns, WriteColumns()  # room to sort
        return Recovery(
            eras=self.eras, first_seq=first_seq, accepted=self.accepted, dropped=self.dropped,
            end=self.end, failure=self.failure, writes=columns.last_writers(),
            pages_written=len(columns), data_only=(), books=self.books,
        )  # fmt: skip
