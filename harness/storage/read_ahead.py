"""Read a log's blocks from its image: from front to back, so some are read ahead."""

from __future__ import annotations

import os
from collections.abc import Callable

from harness.ondisk.units import BLOCK_BYTES, SECTOR_BYTES, LogSector

LEAST_BYTES = 1 << 16


class ReadAhead:
    """Blocks of a log.

    *start* is where its sector 0 lies in the file, in bytes; *watch* is told where it is read.
    """

    def __init__(self, descriptor: int, start: int, watch: Callable[[int], None]) -> None:
        self._descriptor = descriptor
        self._watch = watch
        self._start = start
        self._buffer = bytearray(LEAST_BYTES)
        self._view = memoryview(self._buffer)
        self._at = 0  # in bytes of the log: what the buffer begins with
        self._held = 0  # bytes of it that were read

    def read_blocks(self, position: LogSector, count: int) -> memoryview:
        """Return *count* blocks from *position* on, fewer where the file ends before.

        They are good until the next call.
        """
        wanted = count * BLOCK_BYTES
        inside = position * SECTOR_BYTES - self._at
        if inside < 0 or inside + wanted > self._held:
            self._fill(position * SECTOR_BYTES, wanted)
            inside = 0
        whole = (self._held - inside) // BLOCK_BYTES * BLOCK_BYTES
        return self._view[inside : inside + min(wanted, whole)]

    def _fill(self, offset: int, wanted: int) -> None:
        if wanted > len(self._buffer):
            self._buffer = bytearray(wanted)
            self._view = memoryview(self._buffer)
        self._watch(offset)
        self._at, self._held = offset, 0
        into = self._view[: max(wanted, LEAST_BYTES)]
        self._held = os.preadv(self._descriptor, [into], self._start + offset)
