"""The pages that recovery reads ahead, and what it takes for a page that is none.

Mirrors ``r5l_recovery_read_page`` and ``r5l_recovery_fetch_ra_pool``, in kernels since 4.12. An
offset inside the pool is taken down to whole pages *of the pool*; one outside has the pool filled
from that very offset on. All offsets of a journal that a driver wrote are whole blocks, and then a
page is where it is looked for. A size that is no whole number of pages leads between them.
"""

from __future__ import annotations

from collections.abc import Callable

from harness.ondisk.units import BLOCK_SECTORS, LogSector

POOL_PAGES = 256  # R5L_RECOVERY_PAGE_POOL_SIZE


class ReadAheadPool:
    """What of the log is in memory: nothing at first.

    *add* is the ring's addition; *can_read* says whether the disk has a block at an offset.
    """

    def __init__(
        self,
        ring_sectors: int,
        add: Callable[[LogSector, int], LogSector],
        can_read: Callable[[LogSector], bool],
    ) -> None:
        self._ring = ring_sectors
        self._add = add
        self._can_read = can_read
        self.reset(LogSector(0), 0)

    def reset(self, start: LogSector, pages: int) -> None:
        """Have that many pages from *start* on in memory."""
        self._start = start
        self._end = start + BLOCK_SECTORS * pages
        self._failed = False

    @property
    def is_aligned(self) -> bool:
        """Whether its pages are blocks of the log."""
        return self._start % BLOCK_SECTORS == 0 and not self._failed

    def place(self, offset: LogSector) -> LogSector | None:
        """Return where the page comes from that is got for an offset; ``None``: it cannot be read.

        Raises:
            StaleRead: it comes from an earlier fetch, after one that failed.
        """
        if not self._start <= offset < self._end:
            self._fetch(offset)
            return None if self._failed else offset
        if self._failed:
            raise StaleRead
        return LogSector(offset - (offset - self._start) % BLOCK_SECTORS)

    def pass_over(self, first: LogSector, blocks: int) -> None:
        """Read blocks one behind the other: *first* is a block of the log, as the pool's are."""
        at, left = first, blocks
        while left:
            if not self._start <= at < self._end:
                self._fetch(at)
            count = min(left, (self._end - at) // BLOCK_SECTORS)
            at = self._add(at, BLOCK_SECTORS * count)
            left -= count

    def _fetch(self, offset: LogSector) -> None:
        if offset % BLOCK_SECTORS == 0 and offset < self._ring:
            self.reset(offset, min(POOL_PAGES, (self._ring - offset) // BLOCK_SECTORS))
            return
        # Between the blocks, or behind the ring: the ring's end is stepped over and not seen.
        pages, at = 0, offset
        while pages < POOL_PAGES:
            pages += 1
            at = self._add(at, BLOCK_SECTORS)
            if at == 0:
                break
        self.reset(offset, pages)
        self._failed = not self._can_read(LogSector(offset + BLOCK_SECTORS * (pages - 1)))


class StaleRead(Exception):
    """A page is taken for read that a failed request was to bring."""
