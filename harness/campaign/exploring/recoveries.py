"""Recoveries on their way to the guests, in batches, and the states that are known meanwhile."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from harness.campaign.exploring.guest_pool import AT_ONCE, GuestPool, Job, Judged
from harness.campaign.exploring.store import ExploreStore, StateRecord
from harness.campaign.lab import Say

_STATES_AT_ONCE = 100  # written down together
_TELL_EVERY_S = 2.0


@dataclass(slots=True, kw_only=True)
class Progress:
    """What this run has done so far."""

    began: float = field(default_factory=time.monotonic)
    looked_at: int = 0  # states
    known_before: int = 0  # of them, from a run before
    recovered: int = 0  # by the kernel
    red: int = 0


class Recoveries:
    """Jobs for the kernel. What becomes of them is taken as it comes, and progress told."""

    def __init__(
        self,
        pool: GuestPool[Job, Judged],
        progress: Progress,
        *,
        take: Callable[[Judged], None],
        say: Say,
        of: str,
    ) -> None:
        """Begin with none.

        Args:
            pool: of guests.
            progress: of the run, to be told.
            take: is given what became of each job; it may add others.
            say: takes a line of progress.
            of: how many states there are, and what is done to them first, in words.
        """
        self._pool = pool
        self._progress = progress
        self._take = take
        self._say = say
        self._of = of
        self._jobs: deque[Job] = deque()
        self._in_hand = 0
        self._told = 0.0

    def add(self, job: Job) -> None:
        """Have a job done some time."""
        self._jobs.append(job)

    def go_on(self) -> None:
        """Hand over what fills a batch, and take what is ready."""
        self._hand_over(least=AT_ONCE)
        self._take_all(self._pool.ready())
        self._tell()

    def finish(self) -> None:
        """Have all of them done."""
        while self._in_hand or self._jobs:
            self._hand_over(least=1)
            self._take_all(self._pool.next_ready())
            self._tell()

    def _hand_over(self, *, least: int) -> None:
        while len(self._jobs) >= least:
            batch = [self._jobs.popleft() for _ in range(min(AT_ONCE, len(self._jobs)))]
            self._in_hand += len(batch)
            self._take_all(self._pool.put(batch))

    def _take_all(self, results: Iterable[Judged]) -> None:
        for judged in results:
            self._in_hand -= 1
            self._progress.recovered += 1
            self._take(judged)

    def _tell(self) -> None:
        progress, now = self._progress, time.monotonic()
        if now - self._told > _TELL_EVERY_S:
            self._told = now
            rate = progress.recovered / (now - progress.began)
            self._say(
                f"{progress.looked_at} of {self._of},"
                f" {progress.recovered} recovered by the kernel ({rate:.1f} a second),"
                f" {self._in_hand + len(self._jobs)} waiting, {progress.red} red"
            )


class StateNotes:
    """States that are known, written down some at once."""

    def __init__(self, store: ExploreStore) -> None:
        self._store = store
        self._records: list[StateRecord] = []

    def add(self, record: StateRecord) -> None:
        """Note a state."""
        self._records.append(record)
        if len(self._records) >= _STATES_AT_ONCE:
            self.write_down()

    def write_down(self) -> None:
        """Write down what is noted."""
        self._store.add_states(self._records)
        self._records = []
