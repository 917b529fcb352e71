"""Guests that work off jobs side by side, each fed by a thread of its own."""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from harness.campaign.exploring.batch import BankGuest, RecoveredState, StateToRecover, bank_guest
from harness.campaign.lab import GuestImage, Say
from harness.md.shape import Shape
from harness.verdict.predicted_state import PredictedState
from harness.verdict.verdict import Verdict

AT_ONCE = 12  # states in one request to a guest


class Done(Protocol):
    """What a guest made of a job."""

    @property
    def job(self) -> object:
        """The job."""

    @property
    def ends_the_guest(self) -> bool:
        """Whether the guest is of no use any more: the next job gets another one."""


JobT = TypeVar("JobT")
DoneT = TypeVar("DoneT", bound=Done)
# Does jobs one after another, up to the first that ends the guest; those not yielded are done anew.
Serve = Callable[[BankGuest, Sequence[JobT]], Iterator[DoneT]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A state for a guest, what class it leads, and who judges what becomes of it."""

    state: StateToRecover
    number: int  # of the state; that within state is its name on the way through a guest
    identity: bytes
    judge: Callable[[RecoveredState], Verdict]
    predicted: PredictedState | None  # None: there is nothing to predict


@dataclass(frozen=True, slots=True)
class Judged:
    """What became of a job."""

    job: Job
    done: RecoveredState
    verdict: Verdict
    seconds: float  # in the guest, its share of the request

    @property
    def ends_the_guest(self) -> bool:
        """See `Done`."""
        return self.done.ends_the_guest


def recover_and_judge(guest: BankGuest, jobs: Sequence[Job]) -> Iterator[Judged]:
    """Have states recovered, and judge each."""
    waiting = {job.state.number: job for job in jobs}
    began = time.monotonic()
    for done in guest.recover([job.state for job in jobs]):
        job = waiting[done.number]
        seconds = (time.monotonic() - began) / len(jobs)
        yield Judged(job, done, job.judge(done), seconds)


class GuestPool(Generic[JobT, DoneT]):
    """Takes jobs, gives what became of them; in whatever order the guests come to them."""

    def __init__(
        self,
        image: GuestImage,
        shape: Shape,
        serve: Serve[JobT, DoneT],
        *,
        guests: int,
        say: Say,
    ) -> None:
        self._image = image
        self._shape = shape
        self._serve = serve
        self._say = say
        self._jobs: queue.Queue[list[JobT] | None] = queue.Queue(maxsize=2 * guests)
        self._results: queue.SimpleQueue[DoneT | BaseException] = queue.SimpleQueue()
        self._stopping = False
        self._pids: dict[int, int] = {}  # of QEMU, by thread
        self._threads = [
            threading.Thread(target=self._work, args=(number,), name=f"guest {number}")
            for number in range(guests)
        ]
        self.busy_s = 0.0  # that guests had something to do, all together

    def start(self) -> None:
        """Start the guests."""
        for thread in self._threads:
            thread.start()

    def put(self, jobs: Sequence[JobT]) -> Iterator[DoneT]:
        """Hand jobs over; yield what has become of others while there is no room for them.

        Raises:
            HarnessError: no guest could be had.
        """
        while True:
            yield from self.ready()
            with contextlib.suppress(queue.Full):
                self._jobs.put(list(jobs), timeout=0.05)
                return

    def ready(self) -> Iterator[DoneT]:
        """Yield what is known by now."""
        while not self._results.empty():
            yield _checked(self._results.get())

    def next_ready(self) -> Iterator[DoneT]:
        """Wait a moment for a result, and yield it."""
        with contextlib.suppress(queue.Empty):
            yield _checked(self._results.get(timeout=0.05))

    def stop(self) -> None:
        """End everything now; what is under way is lost."""
        self._stopping = True
        with contextlib.suppress(queue.Empty):
            while True:
                self._jobs.get_nowait()
        for _ in self._threads:
            with contextlib.suppress(queue.Full):
                self._jobs.put_nowait(None)
        for pid in list(self._pids.values()):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for thread in self._threads:
            if thread.is_alive():
                thread.join()

    def _work(self, number: int) -> None:
        try:
            jobs = self._jobs.get()
            while jobs is not None and not self._stopping:
                with bank_guest(self._image, self._shape, say=self._say) as guest:
                    self._pids[number] = guest.pid
                    jobs = self._feed(guest, jobs)
                del self._pids[number]
        except BaseException as error:  # whatever it was, the main thread has to hear of it
            self._results.put(error)

    def _feed(self, guest: BankGuest, jobs: list[JobT] | None) -> list[JobT] | None:
        """Do *jobs* and all that come, until there are no more (``None``).

        A guest that has to go leaves what it has not done, maybe nothing, to the next one: one that
        is lost over a job takes what it made of those before to its grave.
        """
        while jobs is not None and not self._stopping:
            began = time.monotonic()
            left = list(jobs)
            for result in self._serve(guest, jobs):
                self._results.put(result)
                left = [job for job in left if job is not result.job]
                if result.ends_the_guest:
                    return left
            self.busy_s += time.monotonic() - began
            jobs = self._jobs.get()
        return jobs


def _checked(result: DoneT | BaseException) -> DoneT:
    if isinstance(result, BaseException):
        raise result
    return result


@contextlib.contextmanager
def guest_pool(
    image: GuestImage, shape: Shape, serve: Serve[JobT, DoneT], *, guests: int, say: Say
) -> Iterator[GuestPool[JobT, DoneT]]:
    """Give a pool of guests; nothing of it is left afterwards, however the block ends."""
    pool = GuestPool(image, shape, serve, guests=guests, say=say)
    pool.start()
    try:
        yield pool
    finally:
        pool.stop()
