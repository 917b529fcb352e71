"""Where a journal is being written: its array, its ring, and how far the pages of a block go."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Protocol

from harness.fuzzing.payloads import Data, Parity, Payload, log_pages
from harness.ondisk.units import BLOCK_BYTES, BLOCK_SECTORS

_POOL = 24  # pages that contents are made of; few, so that their checksums are counted once

Contents = Callable[[int], bytes]  # the page at an array sector


class FuzzedArray(Protocol):
    """What must be known of an array to write journals for it.

    Tests have one of their own that shares no arithmetic with the model.
    """

    @property
    def level(self) -> int:
        """4, 5 or 6."""

    @property
    def chunk_sectors(self) -> int:
        """Size of a chunk."""

    @property
    def array_sectors(self) -> int:
        """Size of the md device."""

    @property
    def member_sectors(self) -> int:
        """Size of each member's data area."""

    @property
    def ring_sectors(self) -> int:
        """Size of the log area, in whole blocks."""

    @property
    def log_sectors(self) -> int:
        """Size of the log area as the superblock states it."""

    @property
    def room_sectors(self) -> int:
        """From the beginning of each member's data area to the end of its disk."""

    @property
    def seed(self) -> int:
        """``uuid_checksum(set_uuid)``."""

    @property
    def in_words(self) -> Sequence[str]:
        """What it is."""

    def stripe_of(self, array_sector: int) -> int:
        """Return the sector of each member that goes with a sector of the array, never rounded."""

    def sectors_of(self, stripe: int) -> Sequence[int]:
        """Return the sectors of the array that lie at a sector of the members, by their devices."""

    def parity_of(self, stripe: int, contents: Contents) -> tuple[bytes, ...]:
        """Return P, or P and Q, of a stripe."""

    def contents(self, array_sector: int) -> bytes:
        """Return what the array holds there before the log is written."""

    def checksum(self, page: bytes) -> int:
        """Return what a descriptor states of a page."""


@cache
def noise(number: int) -> bytes:
    """Return one of a few pages of noise."""
    return random.Random(number % _POOL).randbytes(BLOCK_BYTES)


def any_noise(draw: random.Random) -> bytes:
    """Return one of them."""
    return noise(draw.randrange(_POOL))


def ring_add(array: FuzzedArray, position: int, sectors: int) -> int:
    """Return where so many sectors further is; any number of rounds."""
    return (position + sectors) % array.ring_sectors


class Site:
    """Where a meta block is being written."""

    def __init__(self, draw: random.Random, array: FuzzedArray) -> None:
        self.draw = draw
        self.array = array
        self.seq = 0
        self.pages_at = 0  # where the next payload's pages will lie

    def move_to(self, position: int, seq: int) -> None:
        """Begin a meta block."""
        self.seq = seq
        self.pages_at = ring_add(self.array, position, BLOCK_SECTORS)

    def log(self, payloads: Sequence[Payload]) -> None:
        """Take note of the pages that payloads bring."""
        pages = sum(len(log_pages(payload)) for payload in payloads)
        self.pages_at = ring_add(self.array, self.pages_at, BLOCK_SECTORS * pages)

    @property
    def parities(self) -> int:
        """Pages of parity of each stripe."""
        return 2 if self.array.level == 6 else 1

    def page(self) -> bytes:
        """Return any page."""
        return any_noise(self.draw)

    def page_of_array(self) -> int:
        """Return where some page of the md device begins."""
        return self.draw.randrange(self.array.array_sectors // BLOCK_SECTORS) * BLOCK_SECTORS

    def stripe_of_array(self) -> int:
        """Return some stripe sector."""
        return self.draw.randrange(self.array.member_sectors // BLOCK_SECTORS) * BLOCK_SECTORS

    def data(self, at: int) -> Data:
        """Return a DATA of one page of noise."""
        return Data(location=at, pages=(self.page(),))

    def parity(self, stripe: int) -> Parity:
        """Return a PARITY of noise, of as many pages as the level has."""
        return Parity(location=stripe, pages=tuple(self.page() for _ in range(self.parities)))

    def stripe(self, at: int) -> tuple[Data, Parity]:
        """Return what a driver logs of a write to one page of a stripe."""
        data, parity = stripe_payloads(self.array, {at: self.page()}, self.array.contents)
        assert isinstance(data, Data)
        assert isinstance(parity, Parity)
        return data, parity


def stripe_payloads(
    array: FuzzedArray, new: Mapping[int, bytes], old: Contents
) -> tuple[Data | Parity, ...]:
    """Return what a driver logs of one stripe's write: DATA by ascending devices, then PARITY.

    Args:
        array: that the stripe is of.
        new: pages of it by their array sector.
        old: gives the pages that are not written.
    """
    stripe = array.stripe_of(min(new))
    sectors = array.sectors_of(stripe)
    parity = array.parity_of(stripe, lambda at: new[at] if at in new else old(at))
    data = [Data(location=at, pages=(new[at],)) for at in sectors if at in new]
    return (*data, Parity(location=stripe, pages=parity))
