"""Recovery as it was before 4.10: stripe by stripe, each written as soon as it is verified.

Mirrors ``r5l_recovery_flush_one_stripe`` and ``r5l_recovery_flush_one_meta``; format document,
section 4.3. The code trusts the log: where it would leave the meta block, or use a page that it
could not read, there is no outcome to predict and `UndefinedRecovery` says so.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import replace

from harness.ondisk.log import (
    HEADER_BYTES,
    BrokenPayload,
    DataPayload,
    MetaBlock,
    ParityPayload,
    PayloadType,
    parse_payload,
)
from harness.ondisk.units import BLOCK_BYTES, BLOCK_SECTORS, ArraySector, LogSector, StripeSector
from harness.recovery.geometry import Geometry
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
from harness.recovery.plain_metas import read_plain_meta
from harness.recovery.scan import (
    beyond_block,
    entries_of,
    next_meta,
    page_fault,
    stored_checksum,
)


def scan_by_stripe(
    log: Log, geometry: Geometry, tail: MetaBlock
) -> Generator[ScannedMeta, None, LogEnd]:
    """Yield each meta block from *tail* on with the stripes that are written for it.

    A bad page ends the scan at its own meta block; the stripes before it are written by then.

    Raises:
        UndefinedRecovery: see above.
    """
    position, seq = tail.position, tail.seq
    while not isinstance(meta := next_meta(log, position, seq), LogEnd):
        scanned = read_by_stripe(log, geometry, meta, read_plain_meta(log, meta))
        yield scanned
        if scanned.dropped is not None:
            return LogEnd(position, seq, None, scanned.dropped)
        seq = (seq + 1) % 2**64
        position = log.ring.add(position, scanned.log_sectors)
    return meta


def read_by_stripe(
    log: Log, geometry: Geometry, meta: MetaBlock, plain: ScannedMeta | None
) -> ScannedMeta:
    """Return one meta block with the stripes that are written for it.

    Args:
        log: the meta block's.
        geometry: of the array.
        meta: to be read by the rules of these eras,
        plain: unless it is plain and each of its stripes has its data and then its parity.

    Raises:
        UndefinedRecovery: see above.
    """
    replays = None if plain is None else _closed_stripes(plain, geometry, log.ring)
    if plain is None or replays is None:
        return _Reader(log, geometry, meta).read()
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

    def __init__(self, log: Log, geometry: Geometry, meta: MetaBlock) -> None:
        self._log = log
        self._geometry = geometry
        self._meta = meta
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
        stripe: StripeSector | None = None
        row = self._geometry.row_at(StripeSector(0))
        found: dict[int, tuple[LogSector, int]] = {}  # device -> page, checksum; the last one wins
        for offset, payload in self._payloads():
            if stripe is None:
                # Whatever its type, the first location is taken for an array sector.
                stripe = self._geometry.place(ArraySector(payload.location)).sector
                row = self._geometry.row_at(stripe)
            if isinstance(payload, DataPayload):
                place = self._geometry.place(payload.location)
                # raid5_compute_sector also moves the parity of the stripe that it is given.
                row = self._geometry.row_at(place.sector)
                devices: tuple[int, ...] = (place.device,)
            else:
                devices = tuple(d for d in (row.pd_idx, row.qd_idx) if d is not None)
            at = self._pages_at
            for number, device in enumerate(devices):
                found[device] = (at, stored_checksum(self._meta, offset, number))
                at = self._log.ring.add(at, BLOCK_SECTORS)
            self._loaded += BLOCK_SECTORS * len(devices)
            self._pages_at = self._log.ring.add(self._pages_at, payload.size)
            if isinstance(payload, ParityPayload):
                return self._verified(stripe, found)
        raise beyond_block(self._meta, self._offset)

    def _payloads(self) -> Iterator[tuple[int, DataPayload | ParityPayload]]:
        while self._offset < self._meta.meta_size:
            parsed = parse_payload(self._meta.block, self._offset, BLOCK_BYTES, clip=True)
            if isinstance(parsed, BrokenPayload):
                raise beyond_block(self._meta, self._offset)
            payload, length = parsed
            if not isinstance(payload, DataPayload | ParityPayload) or payload.size < BLOCK_SECTORS:
                raise UndefinedRecovery(
                    f"meta block {self._meta.seq} at log sector {self._meta.position}: this era's"
                    f" kernel misreads the descriptor at byte {self._offset}, so its outcome"
                    " cannot be told"
                )
            self._entries += entries_of(payload, self._pages_at)
            offset = self._offset
            self._offset += length
            yield offset, payload

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
