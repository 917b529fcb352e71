"""Read an array back, and say which writes its sectors are of.

Part of the guest's agent, on the standard library alone.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Sequence

from harness.crash.pattern import SECTOR_BYTES, read_stamp
from kvm_images.guest.waiting import do_at_once

PAGE_BYTES = 4096
NOTHING, FOREIGN = 0, -1  # zeroes; no sector of a workload, or a damaged one


def read_stamps(
    array: str, pages: Sequence[int], deadline_s: float
) -> list[list[list[int]] | int | None]:
    """Return for each page its sectors' stamps, past the page cache.

    Returns:
        ``[write, sector, seed]`` of each sector, zeroes for what is empty and ``[-1, 0, 0]`` for
        foreign bytes; 0 for a page that is empty altogether; ``None``: it cannot be read.

    Raises:
        Hung: md does not answer.
    """
    found: list[list[list[int]] | int | None] = []
    errors = do_at_once([lambda: _read_all(array, pages, found)], deadline_s)
    if errors:
        raise errors[0]
    return found


def _read_all(array: str, pages: Sequence[int], found: list[list[list[int]] | int | None]) -> None:
    buffer = mmap.mmap(-1, PAGE_BYTES)
    descriptor = os.open(array, os.O_RDONLY | os.O_DIRECT)
    try:
        for page in pages:
            try:
                os.preadv(descriptor, [buffer], page * PAGE_BYTES)
            except OSError:
                found.append(None)
            else:
                found.append(_stamps_of(buffer[:]))
    finally:
        os.close(descriptor)


def _stamps_of(page: bytes) -> list[list[int]] | int:
    if not any(page):
        return NOTHING
    return [_stamp_of(page[at : at + SECTOR_BYTES]) for at in range(0, PAGE_BYTES, SECTOR_BYTES)]


def _stamp_of(sector: bytes) -> list[int]:
    if not any(sector):
        return [NOTHING, 0, 0]
    stamp = read_stamp(sector)
    return [FOREIGN, 0, 0] if stamp is None else [stamp.write, stamp.sector, stamp.seed]
