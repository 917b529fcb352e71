"""Every meta block that was ever written to a journal during a trace, with its pages.

The ring is written over and over; the trace has it all. Oracles judge the log with this.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from harness.crash.history import BLOCK_BYTES, DiskHistory
from harness.ondisk.log import HEADER_BYTES, MAGIC, MetaBlock, parse_meta_block
from harness.ondisk.units import SECTOR_BYTES, LogSector

_MAGIC = struct.pack("<I", MAGIC)


@dataclass(frozen=True, slots=True)
class LoggedMeta:
    """A meta block, and the sequence number of the event that issued it."""

    issued: int
    meta: MetaBlock


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

    def _all(self) -> Iterator[LoggedMeta]:
        for block in self._history.blocks():
            position = LogSector((block - self._first_block) * BLOCK_BYTES // SECTOR_BYTES)
            for issued, content in self._history.written(block):
                if position < 0 or not content.startswith(_MAGIC):
                    continue
                meta = parse_meta_block(content, seed=self._seed, seq=None, position=position)
                if isinstance(meta, MetaBlock) and meta.meta_size >= HEADER_BYTES:
                    yield LoggedMeta(issued, meta)
