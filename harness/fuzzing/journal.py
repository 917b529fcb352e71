"""A journal as it was written for an array: block by block, and what is special about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from harness.fuzzing.payloads import TRUE, Flush, Lies, Payload, log_pages, meta_block
from harness.fuzzing.site import FuzzedArray, ring_add
from harness.ondisk.units import BLOCK_BYTES, BLOCK_SECTORS


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenMeta:
    """A meta block as it was written, with the pages behind it."""

    seq: int
    position: int
    payloads: tuple[Payload, ...] = ()
    lies: Lies = TRUE
    pages_written: int | None = None  # None: all of them, as far as the ring has room
    seed: int | None = None  # None: the array's own

    def blocks(self, array: FuzzedArray) -> list[bytes]:
        """Return the block itself and its pages."""
        block = meta_block(
            seed=array.seed if self.seed is None else self.seed, seq=self.seq,
            position=self.position, payloads=self.payloads, lies=self.lies,
        )  # fmt: skip
        return [block, *self.pages(array)]

    def pages(self, array: FuzzedArray) -> list[bytes]:
        """Return the pages that are really written behind it."""
        pages = [page for payload in self.payloads for page in log_pages(payload)]
        room = array.ring_sectors // BLOCK_SECTORS - 1
        return pages[: room if self.pages_written is None else min(room, self.pages_written)]

    def end(self, array: FuzzedArray) -> int:
        """Return where the next one would be, if the sizes told the truth."""
        pages = sum(len(log_pages(payload)) for payload in self.payloads)
        room = array.ring_sectors // BLOCK_SECTORS - 1
        return ring_add(array, self.position, BLOCK_SECTORS * (1 + min(room, pages)))


@dataclass(frozen=True, slots=True)
class LooseBlock:
    """A block that is no meta block of the log, whatever it looks like."""

    position: int
    block: bytes


@dataclass(slots=True)
class Journal:
    """Everything that is written for one array, in order: what comes later lies on top."""

    name: str
    kind: str  # "legal", "hostile", ...
    words: list[str]
    tail: int  # as the superblock is to say
    metas: list[WrittenMeta] = field(default_factory=list)
    loose: list[LooseBlock] = field(default_factory=list)
    end: int = 0  # where the last meta's pages end
    on_members: dict[int, bytes] = field(default_factory=dict)  # by array sector; there already
    recovered: dict[int, bytes] = field(default_factory=dict)  # known of legal ones only
    tricks: list[str] = field(default_factory=list)  # by name
    lies: list[str] = field(default_factory=list)  # fields that do not hold what they should

    @property
    def has_flush(self) -> bool:
        """Whether a FLUSH is logged."""
        return any(isinstance(each, Flush) for meta in self.metas for each in meta.payloads)

    def blocks(self, array: FuzzedArray) -> dict[int, bytes]:
        """Return the log area's blocks by position."""
        found: dict[int, bytes] = {}
        for meta in self.metas:
            for number, block in enumerate(meta.blocks(array)):
                found[ring_add(array, meta.position, BLOCK_SECTORS * number)] = block
        for loose in self.loose:
            found[loose.position] = loose.block
        assert all(len(block) == BLOCK_BYTES for block in found.values())
        return found


def in_words(journal: Journal, array: FuzzedArray) -> list[str]:
    """Say everything about a journal, a line each."""
    return [f"{journal.name}: {', '.join(array.in_words)}", *journal.words]


def pages_by_stripe(
    pages: Mapping[int, bytes], array: FuzzedArray
) -> Mapping[int, Mapping[int, bytes]]:
    """Return pages of an array, known by their array sector, for each stripe."""
    stripes: dict[int, dict[int, bytes]] = {}
    for at, page in sorted(pages.items()):
        stripes.setdefault(array.stripe_of(at), {})[at] = page
    return stripes
