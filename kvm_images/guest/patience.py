"""Tell what hangs from what is slow: a deadline that waits while the disks are at work.

Part of the guest's agent, on the standard library alone.
"""

from __future__ import annotations

import time

MOST = 5  # so many deadlines, and no more, is waited for what keeps the disks at work
QUIET = 0.25  # of a deadline without an answer from any disk: nothing is going on
LOOK_S = 0.5  # between looks at the disks
_DISKSTATS = "/proc/diskstats"
# Of a line: the name, and what has completed: reads, writes, discards, flushes.
_NAME, _COMPLETED = 2, (3, 7, 14, 18)


class Patience:
    """Begins when it is made; over behind the deadline, once the disks have been idle a while."""

    def __init__(self, deadline_s: float) -> None:
        self._quiet_s = QUIET * deadline_s
        self._soft = time.monotonic() + deadline_s
        self._hard = time.monotonic() + MOST * deadline_s
        self._look_at = self._soft - self._quiet_s
        self._quiet_since = self._look_at
        self._seen = -1

    def is_over(self) -> bool:
        """Whether what is waited for hangs."""
        now = time.monotonic()
        if now >= self._look_at:
            self._look_at = now + LOOK_S
            seen = completed_requests()
            if seen != self._seen:
                self._seen, self._quiet_since = seen, now
        return now >= self._hard or (now >= self._soft and now - self._quiet_since >= self._quiet_s)

    def left_s(self) -> float:
        """Return how long may be waited at most before it is to be asked again."""
        return max(0.0, min(LOOK_S, self._hard - time.monotonic()))


def completed_requests() -> int:
    """Return how many requests all disks but md's have completed so far."""
    try:
        with open(_DISKSTATS, encoding="ascii") as file:
            lines = [line.split() for line in file]
    except OSError:
        return 0
    return sum(
        int(fields[at])
        for fields in lines
        if not fields[_NAME].startswith("md")
        for at in _COMPLETED
        if at < len(fields)
    )
