"""Recovery since 4.10: whole meta blocks are verified, stripes gathered, and written at the end.

Mirrors ``r5c_recovery_analyze_meta_block`` and what it calls; format document, section 4.1 step 4.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from harness.ondisk.log import PayloadType
from harness.ondisk.units import BLOCK_SECTORS, ArraySector, LogSector, StripeSector
from harness.recovery.geometry import Geometry
from harness.recovery.layout import Row
from harness.recovery.log import Ring, ScannedMeta, StripeReplay

DEFAULT_STRIPE_CACHE_SIZE = 256  # NR_STRIPES
MAX_STRIPE_CACHE_SIZE = 32768  # raid5_set_cache_size refuses more
STRIPE_HASH_LOCKS = 8  # NR_STRIPE_HASH_LOCKS
_DATA, _PARITY = int(PayloadType.DATA), int(PayloadType.PARITY)


class StripeCacheExhausted(Exception):
    """The stripe cache cannot grow any further: the kernel gives up with -ENOMEM."""


@dataclass(frozen=True, slots=True)
class DataOnlyStripe:
    """A stripe whose data is in the log and whose parity is not."""

    stripe: StripeSector
    pages: tuple[tuple[int, LogSector], ...]  # (device, where the page lies in the log)


@dataclass(slots=True)
class _Stripe:
    row: Row
    pages: dict[int, LogSector] = field(default_factory=dict)
    caching: bool = True  # STRIPE_R5C_CACHING: data only so far


class StripeCache:
    """How many stripes recovery can hold: free ones are kept by hash, one list for each lock.

    Mirrors ``get_free_stripe`` and ``grow_one_stripe`` as far as recovery meets them. raid5d gives
    released stripes back at some time of its own; here they are back at once.
    """

    def __init__(self, size: int) -> None:
        self._size = 0
        self._free = [0] * STRIPE_HASH_LOCKS
        self._grow_to(size)

    @property
    def size(self) -> int:
        """Stripes that it has by now."""
        return self._size

    def take(self, sector: StripeSector) -> bool:
        """Take a free stripe for *sector*, or say that its list is empty."""
        if not self._free[stripe_hash(sector)]:
            return False
        self._free[stripe_hash(sector)] -= 1
        return True

    def give_back(self, sector: StripeSector) -> None:
        """Take note that the stripe of *sector* is free."""
        self._free[stripe_hash(sector)] += 1

    def double(self) -> None:
        """Grow as recovery asks for.

        Raises:
            StripeCacheExhausted: beyond what md allows.
        """
        if 2 * self._size > MAX_STRIPE_CACHE_SIZE:
            raise StripeCacheExhausted(f"the stripe cache cannot grow beyond {self._size} stripes")
        self._grow_to(2 * self._size)

    def _grow_to(self, size: int) -> None:
        for number in range(self._size, size):
            self._free[number % STRIPE_HASH_LOCKS] += 1
        self._size = size


class Analysis:
    """The list of stripes that recovery keeps while it scans, in the kernel's order.

    The methods named `on_...` are told what happens, for whoever wants to keep other books.
    """

    def __init__(self, geometry: Geometry, ring: Ring, *, stripe_cache_size: int) -> None:
        self._geometry = geometry
        self._ring = ring
        self._cache = StripeCache(stripe_cache_size)
        self._stripes: dict[StripeSector, _Stripe] = {}
        self.replays: list[StripeReplay] = []

    def take(self, scanned: ScannedMeta) -> None:
        """Take in one meta block; one that was dropped has nothing to take."""
        for kind, location, at in scanned.entries:
            if kind == _DATA:
                self.take_data(ArraySector(location), at)
            elif kind == _PARITY:
                self.take_parity(StripeSector(location), at)
            else:
                self.take_flush(StripeSector(location))

    def take_flush(self, sector: StripeSector) -> None:
        """Take in that a stripe needs no replay: what was gathered of it is dropped."""
        held = self._stripes.get(sector)
        self.on_flush(sector, held.pages if held else {}, data_only=bool(held and held.caching))
        self._forget(sector)

    def finish(self) -> tuple[DataOnlyStripe, ...]:
        """Replay every stripe that has its parity; return those that have none."""
        self._replay_complete()
        return tuple(
            DataOnlyStripe(sector, tuple(sorted(stripe.pages.items())))
            for sector, stripe in self._stripes.items()
        )

    def on_replay(self, sector: StripeSector, pages: Mapping[int, LogSector]) -> None:
        """A stripe is written to the members; *pages* by device."""
        self.replays.append(StripeReplay(sector, tuple(sorted(pages.items()))))

    def on_parity_only(self, sector: StripeSector) -> None:
        """A stripe holds no data, and is not written."""

    def on_flush(
        self, sector: StripeSector, pages: Mapping[int, LogSector], *, data_only: bool
    ) -> None:
        """A FLUSH names a stripe; *pages* is what the list holds of it, maybe nothing."""

    def on_new_stripe(self, *, held: int, cache_size: int) -> None:
        """A stripe is new on the list, which holds that many now."""

    def on_full_cache(self) -> None:
        """The stripe cache is used up: the replays up to the next new stripe come early."""

    def take_data(self, location: ArraySector, at: LogSector) -> None:
        """Take in one page of data."""
        place = self._geometry.place(location)
        stripe = self._stripes.get(place.sector) or self._add(place.sector)
        if not stripe.caching and place.pd_idx in stripe.pages:
            self._replay(place.sector, stripe)
            stripe.pages.clear()
            self._stripes[place.sector] = self._stripes.pop(place.sector)  # to the end
        stripe.pages[place.device] = at
        stripe.caching = True

    def take_parity(self, location: StripeSector, at: LogSector) -> None:
        """Take in a stripe's P, and its Q behind it."""
        stripe = self._stripes.get(location) or self._add(location)
        row = stripe.row
        stripe.pages[row.pd_idx] = at
        if row.qd_idx is not None:
            stripe.pages[row.qd_idx] = self._ring.add(at, BLOCK_SECTORS)
        stripe.caching = False

    def _add(self, sector: StripeSector) -> _Stripe:
        if not self._cache.take(sector):
            self.on_full_cache()
            self._replay_complete()
            while not self._cache.take(sector):
                self._cache.double()
        stripe = self._stripes[sector] = _Stripe(self._geometry.row_at(sector))
        self.on_new_stripe(held=len(self._stripes), cache_size=self._cache.size)
        return stripe

    def _forget(self, sector: StripeSector) -> None:
        if self._stripes.pop(sector, None) is not None:
            self._cache.give_back(sector)

    def _replay_complete(self) -> None:
        """Replay and forget all that have parity (``r5c_recovery_replay_stripes``)."""
        for sector, stripe in list(self._stripes.items()):
            if not stripe.caching:
                self._replay(sector, stripe)
                self._forget(sector)

    def _replay(self, sector: StripeSector, stripe: _Stripe) -> None:
        parities = (stripe.row.pd_idx in stripe.pages) + (stripe.row.qd_idx in stripe.pages)
        if len(stripe.pages) > parities:
            self.on_replay(sector, stripe.pages)
        else:
            self.on_parity_only(sector)


def stripe_hash(sector: StripeSector) -> int:
    """Return which of the stripe cache's lists a stripe is on (``stripe_hash_locks_hash``)."""
    return sector // BLOCK_SECTORS % STRIPE_HASH_LOCKS
