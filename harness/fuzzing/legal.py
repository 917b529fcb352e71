"""Stripes logged as the driver logs them (md-journal-format.md, section 3), with account kept."""

from __future__ import annotations

import random
from collections.abc import Sequence

from harness.fuzzing.journal import Journal, LooseBlock, WrittenMeta
from harness.fuzzing.payloads import Flush, Payload, log_pages
from harness.fuzzing.site import FuzzedArray, any_noise, noise, ring_add, stripe_payloads
from harness.ondisk.units import BLOCK_SECTORS

WRITE_BACK, WRITE_THROUGH = "write-back", "write-through"


class DriverLog:
    """Writes stripes as the driver does, and knows what is where."""

    def __init__(
        self,
        array: FuzzedArray,
        journal: Journal,
        draw: random.Random,
        seq: int,
        *,
        write_back: bool,
    ) -> None:
        self._array = array
        self._journal = journal
        self._draw = draw
        self._write_back = write_back
        self._seq = seq
        self._position = journal.tail
        self._used = 0
        self._cached: dict[int, list[int]] = {}  # stripe -> sectors in the log without parity
        self._logged: dict[int, bytes] = {}  # what the array holds, log included
        self._flushable: set[int] = set()
        self._before: dict[int, bytes] = {}  # what recovery would leave without the last meta
        journal.words.append(WRITE_BACK if write_back else WRITE_THROUGH)

    def run(self, steps: int) -> None:
        """Log that many meta blocks, as far as they fit, and maybe tear the last."""
        if self._draw.random() < 0.4:
            self._log("empty meta", [])
        for _ in range(steps):
            if self._write_back:
                self._draw.choice([self._cache, self._cache, self._write_out, self._flush])()
            else:
                self._write_through()
        if not self._journal.metas:
            self._log("empty meta", [])
        if len(self._journal.metas) > 1 and self._draw.random() < 0.3:
            self._tear()
        self._journal.end = self._position

    def _new_pages(self, stripe: int, count: int) -> dict[int, bytes]:
        at = list(self._array.sectors_of(stripe))
        some = self._draw.sample(at, min(count, len(at)))
        return {sector: any_noise(self._draw) for sector in some}

    def _any_stripe(self) -> int:
        return self._draw.randrange(self._array.member_sectors // BLOCK_SECTORS) * BLOCK_SECTORS

    def _holds(self, sector: int) -> bytes:
        return self._logged.get(sector, self._array.contents(sector))

    def _log(self, what: str, payloads: Sequence[Payload]) -> bool:
        sectors = BLOCK_SECTORS * (1 + sum(len(log_pages(each)) for each in payloads))
        if self._array.ring_sectors <= self._used + sectors:
            return False
        meta = WrittenMeta(seq=self._seq, position=self._position, payloads=tuple(payloads))
        self._before = dict(self._journal.recovered)
        self._journal.metas.append(meta)
        self._journal.words.append(f"meta {self._seq} at {self._position}: {what}")
        self._position = meta.end(self._array)
        self._used += sectors
        self._seq += 1
        return True

    def _write_through(self) -> None:
        payloads: list[Payload] = []
        stripes = sorted({self._any_stripe() for _ in range(self._draw.randint(1, 2))})
        new: dict[int, bytes] = {}
        for stripe in stripes:
            pages = self._new_pages(stripe, self._draw.randint(1, 4))
            payloads += stripe_payloads(self._array, pages, self._holds)
            new |= pages
        if self._log(f"{len(new)} pages and parity of {stripes}", payloads):
            self._logged |= new
            self._journal.recovered |= new

    def _cache(self) -> None:
        stripe = self._any_stripe()
        if stripe in self._flushable:  # it says that it is on the members before it goes on (3.4)
            return self._flush()
        pages = self._new_pages(stripe, self._draw.randint(1, 2))
        data = stripe_payloads(self._array, pages, self._holds)[:-1]
        if self._log(f"{len(pages)} pages of {stripe}", data):
            self._logged |= pages
            self._journal.recovered |= pages
            self._cached.setdefault(stripe, []).extend(pages)
        return None

    def _write_out(self) -> None:
        if not self._cached:
            return self._cache()
        stripe = self._draw.choice(sorted(self._cached))
        pages = {sector: self._holds(sector) for sector in self._cached[stripe]}
        parity = stripe_payloads(self._array, pages, self._holds)[-1]
        if self._log(f"parity of {stripe}", [parity]):
            del self._cached[stripe]
            self._flushable.add(stripe)
        return None

    def _flush(self) -> None:
        if not self._flushable:
            return self._write_out()
        stripes = sorted(self._flushable)
        if self._log(f"FLUSH of {stripes}", [Flush(stripes=(stripe,)) for stripe in stripes]):
            self._flushable.clear()
            for stripe in stripes:
                for sector in self._array.sectors_of(stripe):
                    self._journal.on_members[sector] = self._holds(sector)
        return None

    def _tear(self) -> None:
        """Lose the last meta's own block, as a power cut does: its content never was."""
        last = self._journal.metas.pop()
        for number, page in enumerate([noise(0), *last.pages(self._array)]):
            at = ring_add(self._array, last.position, BLOCK_SECTORS * number)
            self._journal.loose.append(LooseBlock(at, page))
        self._journal.recovered = self._before
        self._position = last.position
        self._journal.tricks.append("torn")
        self._journal.words.append(f"torn: the block at {last.position} is not a meta")
