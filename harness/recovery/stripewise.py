"""Recovery as it was before 4.10: stripe by stripe, each written as soon as it is verified.

Mirrors ``r5l_recovery_flush_one_stripe`` and ``r5l_recovery_flush_one_meta``; format document,
section 4.3. The code trusts the log: where it would leave the meta block, or use a page that it
could not read, there is no outcome to predict and `UndefinedRecovery` says so. Everything else that
it reads differently from what was meant has one, and that is followed here.
"""

from __future__ import annotations

import struct
from collections import OrderedDict
from collections.abc import Generator
from dataclasses import replace

from harness.ondisk.log import HEADER_BYTES, PAGE_PAYLOAD_BYTES, MetaBlock, PayloadType
from harness.ondisk.units import BLOCK_BYTES, BLOCK_SECTORS, ArraySector, LogSector, StripeSector
from harness.recovery.geometry import Geometry
from harness.recovery.layout import Row
from harness.recovery.log import (
    Entry,
    Log,
    LogEnd,
    Mismatch,
    Ring,
    ScannedMeta,
    StripeReplay,
    UndefinedRecovery,
)
from harness.recovery.metawise import (
    DEFAULT_STRIPE_CACHE_SIZE,
    STRIPE_HASH_LOCKS,
    stripe_hash,
)
from harness.recovery.plain_metas import read_plain_meta
from harness.recovery.scan import beyond_block, next_meta, page_fault, stored_checksum

_DESCRIPTOR = struct.Struct("<HHIQ")  # type, flags, size, location


class CachedRows:
    """Where the stripes that are in the stripe cache have their parity, as far as it knows.

    A DATA whose location lies in another stripe moves ``pd_idx`` and ``qd_idx`` of the stripe that
    it is read into (``raid5_compute_sector`` sets them), and a stripe that is found again in the
    cache still has them so. Stripes are given up by hash, the one first that was used longest ago.
    """

    def __init__(self, geometry: Geometry, stripe_cache_size: int) -> None:
        self._geometry = geometry
        self._rows: list[OrderedDict[int, Row]] = [OrderedDict() for _ in range(STRIPE_HASH_LOCKS)]
        self._room = [
            stripe_cache_size // STRIPE_HASH_LOCKS
            + (number < stripe_cache_size % STRIPE_HASH_LOCKS)
            for number in range(STRIPE_HASH_LOCKS)
        ]

    def get(self, sector: StripeSector) -> Row:
        """Return a stripe's row (``raid5_get_active_stripe``)."""
        rows = self._rows[stripe_hash(sector)]
        if (row := rows.pop(sector, None)) is None:
            if len(rows) >= self._room[stripe_hash(sector)]:
                rows.popitem(last=False)
            row = self._geometry.row_at(sector)
        rows[sector] = row
        return row

    def move(self, sector: StripeSector, row: Row) -> None:
        """Take note that the stripe, got before, now has its parity as in *row*."""
        self._rows[stripe_hash(sector)][sector] = row


def scan_by_stripe(
    log: Log,
    geometry: Geometry,
    tail: MetaBlock,
    *,
    stripe_cache_size: int = DEFAULT_STRIPE_CACHE_SIZE,
) -> Generator[ScannedMeta, None, LogEnd]:
    """Yield each meta block from *tail* on with the stripes that are written for it.

    A bad page ends the scan at its own meta block; the stripes before it are written by then.

    Raises:
        UndefinedRecovery: see above.
    """
    rows = CachedRows(geometry, stripe_cache_size)
    position, seq = tail.position, tail.seq
    while not isinstance(meta := next_meta(log, position, seq), LogEnd):
        scanned = read_by_stripe(log, geometry, meta, read_plain_meta(log, meta), rows)
        yield scanned
        if scanned.dropped is not None:
            return LogEnd(position, seq, None, scanned.dropped)
        seq = (seq + 1) % 2**64
        position = log.ring.add(position, scanned.log_sectors)
    return meta


def read_by_stripe(
    log: Log, geometry: Geometry, meta: MetaBlock, plain: ScannedMeta | None, rows: CachedRows
) -> ScannedMeta:
    """Return one meta block with the stripes that are written for it.

    Args:
        log: the meta block's.
        geometry: of the array.
        meta: to be read by the rules of these eras,
        plain: unless it is plain and each of its stripes has its data and then its parity.
        rows: what the stripe cache knows by now.

    Raises:
        UndefinedRecovery: see above.
    """
    replays = None if plain is None else _closed_stripes(plain, geometry, log.ring)
    if plain is None or replays is None:
        return _Reader(log, geometry, meta, rows).read()
    for replay in replays:
        rows.get(replay.stripe)
        rows.move(replay.stripe, geometry.row_at(replay.stripe))  # its data has put it right
    return replace(plain, replays=tuple(replays))


def _closed_stripes(
    plain: ScannedMeta, geometry: Geometry, ring: Ring
) -> list[StripeReplay] | None:
    replays: list[StripeReplay] = []
    pages: dict[int, LogSector] = {}
    stripe = -1
    for kind, location, at in plain.entries:
        if kind == PayloadType.DATA:
            place = geometry.place(ArraySector(location))
            if pages and place.sector != stripe:
                return None
            stripe = place.sector
            pages[place.device] = at
        elif kind != PayloadType.PARITY or not pages or location != stripe:
            return None
        else:
            row = geometry.row_at(StripeSector(stripe))
            pages[row.pd_idx] = at
            if row.qd_idx is not None:
                pages[row.qd_idx] = ring.add(at, BLOCK_SECTORS)
            replays.append(StripeReplay(StripeSector(stripe), tuple(sorted(pages.items()))))
            pages = {}
    return None if pages else replays


class _Reader:
    """Reads one meta block; the position in it moves as that of the kernel does."""

    def __init__(self, log: Log, geometry: Geometry, meta: MetaBlock, rows: CachedRows) -> None:
        self._log = log
        self._geometry = geometry
        self._meta = meta
        self._rows = rows
        self._offset = HEADER_BYTES
        self._pages_at = log.ring.add(meta.position, BLOCK_SECTORS)
        self._loaded = BLOCK_SECTORS
        self._entries: list[Entry] = []

    def read(self) -> ScannedMeta:
        replays = []
        dropped = None
        while self._offset < self._meta.meta_size and dropped is None:
            stripe = self._read_stripe()
            if isinstance(stripe, Mismatch):
                dropped = stripe
            else:
                replays.append(stripe)
        return ScannedMeta(
            self._meta, () if dropped else tuple(self._entries), dropped,
            BLOCK_SECTORS if dropped else self._loaded, tuple(replays),
        )  # fmt: skip

    def _read_stripe(self) -> StripeReplay | Mismatch:
        """Collect descriptors up to the PARITY that closes a stripe, then verify their pages."""
        # Whatever its type, the first location is taken for an array sector.
        _, _, location = self._descriptor()
        stripe = self._geometry.place(ArraySector(location)).sector
        row = self._rows.get(stripe)
        found: dict[int, tuple[LogSector, int]] = {}  # device -> page, checksum; the last one wins
        kind = -1
        while kind != PayloadType.PARITY:
            kind, size, location = self._descriptor()
            if kind == PayloadType.DATA:
                place = self._geometry.place(ArraySector(location))
                row = self._geometry.row_at(place.sector)
                self._rows.move(stripe, row)
                devices: tuple[int, ...] = (place.device,)
            else:  # everything else is read as parity, and only PARITY closes the stripe
                devices = tuple(d for d in (row.pd_idx, row.qd_idx) if d is not None)
            at = self._pages_at
            self._entries.append((min(kind, int(PayloadType.PARITY)), location, at))
            for number, device in enumerate(devices):
                found[device] = (at, stored_checksum(self._meta, self._offset, number))
                at = self._log.ring.add(at, BLOCK_SECTORS)
            self._loaded += BLOCK_SECTORS * len(devices)
            self._pages_at = self._log.ring.add(self._pages_at, size)
            self._offset += PAGE_PAYLOAD_BYTES + 4 * (size // BLOCK_SECTORS)
        return self._verified(stripe, found)

    def _descriptor(self) -> tuple[int, int, int]:
        """Return type, size and location of what lies at the offset, be it behind meta_size."""
        if self._offset + _DESCRIPTOR.size > BLOCK_BYTES:
            raise beyond_block(self._meta, self._offset)
        kind, _, size, location = _DESCRIPTOR.unpack_from(self._meta.block, self._offset)
        return kind, size, location

    def _verified(
        self, stripe: StripeSector, found: dict[int, tuple[LogSector, int]]
    ) -> StripeReplay | Mismatch:
        for _, (at, checksum) in sorted(found.items()):
            page = self._log.read_block(at)
            if page is None:
                raise UndefinedRecovery(f"page {at} of the log cannot be read; this era goes on")
            if reason := page_fault(self._log, page, checksum):
                return Mismatch(f"page at {at}: {reason}", at)
        return StripeReplay(
            stripe, tuple((device, at) for device, (at, _) in sorted(found.items()))
        )
