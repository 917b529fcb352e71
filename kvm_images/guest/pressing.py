"""Take the guest's memory away from all others.

Part of the guest's agent, on the standard library alone.
"""

from __future__ import annotations

import mmap

PAGE_BYTES = 4096
MIB = 1 << 20

_taken: list[mmap.mmap] = []


def take(leave_mib: int) -> int:
    """Take memory in pieces of 1 MiB until only *leave_mib* is available; return how much, in MiB.

    Every page of it is written to: memory that is only mapped is nobody's loss.
    """
    before = len(_taken)
    while _available_mib() > leave_mib:
        piece = mmap.mmap(-1, MIB)
        for at in range(0, MIB, PAGE_BYTES):
            piece[at] = 1
        _taken.append(piece)
    return len(_taken) - before


def give_back() -> None:
    """Give all of it back."""
    while _taken:
        _taken.pop().close()


def _available_mib() -> int:
    with open("/proc/meminfo", encoding="ascii") as meminfo:
        for line in meminfo:
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) // 1024
    raise OSError("/proc/meminfo does not say what is available")
