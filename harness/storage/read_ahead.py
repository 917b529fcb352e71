"""Read blocks of a file one by one, fetched by the window: a log is read from front to back."""

from __future__ import annotations

import os

from harness.ondisk.units import BLOCK_BYTES, SECTOR_BYTES, LogSector

WINDOW_BYTES = 1 << 20


class ReadAhead:
    """Blocks of a log; *start* is where its sector 0 lies in the file, in bytes."""

    def __init__(self, descriptor: int, start: int) -> None:
        self._descriptor = descriptor
        self._start = start
        self._window = b""
        self._at = 0  # of the window, in bytes of the log

    def read_block(self, position: LogSector) -> bytes | None:
        """Return the block at *position*; ``None`` where the file ends before its end."""
        offset = position * SECTOR_BYTES
        inside = offset - self._at
        if inside < 0 or inside + BLOCK_BYTES > len(self._window):
            self._window = os.pread(self._descriptor, WINDOW_BYTES, self._start + offset)
            self._at = offset
            inside = 0
            if len(self._window) < BLOCK_BYTES:
                return None
        return self._window[inside : inside + BLOCK_BYTES]
