"""Every meta block that was ever written to a journal during a trace, with its pages.

The ring is written over and over; the trace has it all. Oracles judge the log with this.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from harness.crash.history import BLOCK_BYTES, DiskHistory
from harness.ondisk.log import (
    HEADER_BYTES,
    MAGIC,
    DataPayload,
    MetaBlock,
    ParityPayload,
    Rejected,
    page_checksum,
    parse_meta_block,
    placed_payloads,
)
from harness.ondisk.units import BLOCK_SECTORS, SECTOR_BYTES, LogSector

_MAGIC = struct.pack("<I", MAGIC)


@dataclass(frozen=True, slots=True)
class LoggedMeta:
    """A meta block, and the sequence number of the event that issued it."""

    issued: int
    meta: MetaBlock


@dataclass(frozen=True, slots=True)
class Stray:
    """A block in the log that does not belong there."""

    issued: int
    position: LogSector
    reason: str


def page_places(meta: MetaBlock, ring_sectors: int) -> Iterator[tuple[LogSector, int]]:
    """Yield place in the ring and checksum of each page that a meta block tells of."""
    for payload, at in placed_payloads(meta, ring_sectors):
        if isinstance(payload, DataPayload | ParityPayload):
            for number, checksum in enumerate(payload.checksums):
                yield LogSector((at + number * BLOCK_SECTORS) % ring_sectors), checksum


class LogHistory:
    """The log area of a journal through a trace; positions count from its data_offset."""

    def __init__(self, history: DiskHistory, *, data_offset: int, seed: int) -> None:
        self._history = history
        self._first_block = data_offset * SECTOR_BYTES // BLOCK_BYTES
        self._seed = seed

    def metas(self, *, before: int) -> list[LoggedMeta]:
        """Return the meta blocks issued before sequence *before*, by their own seq.

        Units with a flush may reach the disk behind later ones, so the order of issue is not that
        of the log. A meta block that was written twice, to the same place, counts once.
        """
        found = {meta.meta.seq: meta for meta in self._all() if meta.issued < before}
        return [found[seq] for seq in sorted(found)]

    def page(self, position: LogSector, *, near: int) -> Iterator[bytes]:
        """Yield what was written as that block of the log, the nearest to event *near* first."""
        block = self._first_block + position * SECTOR_BYTES // BLOCK_BYTES
        written = sorted(self._history.written(block), key=lambda item: abs(item[0] - near))
        yield from (content for _, content in written)

    def strays(self, *, ring_sectors: int, before: int) -> Iterator[Stray]:
        """Yield each block written to the log before *before* that no meta block explains.

        A block is explained by being a meta block itself, or a page that some meta block of the
        whole trace has at that place with that checksum: in a unit that is split at the end of
        the ring, pages are issued before their meta block.
        """
        pages: dict[LogSector, set[int]] = {}
        for logged in self._all():
            for position, checksum in page_places(logged.meta, ring_sectors):
                pages.setdefault(position, set()).add(checksum)
        for block in self._history.blocks():
            position = LogSector((block - self._first_block) * BLOCK_BYTES // SECTOR_BYTES)
            if position < 0:
                continue
            for issued, content in self._history.written(block):
                if issued < before and (
                    reason := self._why_stray(position, content, ring_sectors, pages)
                ):
                    yield Stray(issued, position, reason)

    def _why_stray(
        self,
        position: LogSector,
        content: bytes,
        ring_sectors: int,
        pages: Mapping[LogSector, set[int]],
    ) -> str | None:
        if position >= ring_sectors:
            return "it lies behind the ring"
        if page_checksum(self._seed, content) in pages.get(position, ()):
            return None
        if not content.startswith(_MAGIC):
            return "no meta block has it as a page"
        meta = parse_meta_block(content, seed=self._seed, seq=None, position=position)
        if isinstance(meta, Rejected):
            return f"it begins as a meta block, and its {meta}"
        return None

    def _all(self) -> Iterator[LoggedMeta]:
        for block in self._history.blocks():
            position = LogSector((block - self._first_block) * BLOCK_BYTES // SECTOR_BYTES)
            for issued, content in self._history.written(block):
                if position < 0 or not content.startswith(_MAGIC):
                    continue
                meta = parse_meta_block(content, seed=self._seed, seq=None, position=position)
                if isinstance(meta, MetaBlock) and meta.meta_size >= HEADER_BYTES:
                    yield LoggedMeta(issued, meta)
