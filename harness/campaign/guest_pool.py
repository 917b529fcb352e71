"""Guests that recover crash states side by side, each fed by a thread of its own."""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from harness.campaign.batch import BankGuest, RecoveredState, StateToRecover, bank_guest
from harness.campaign.lab import GuestImage, Say
from harness.md.shape import Shape
from harness.verdict.predicted_state import PredictedState
from harness.verdict.verdict import Verdict

AT_ONCE = 12  # states in one request to a guest


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A state for a guest, what class it leads, and who judges what becomes of it."""

    state: StateToRecover
    identity: bytes
    judge: Callable[[RecoveredState], Verdict]
    predicted: PredictedState | None  # None: there is nothing to predict

    @property
    def number(self) -> int:
        """Of the state."""
        return self.state.number


@dataclass(frozen=True, slots=True)
class Judged:
    """What became of a job."""

    job: Job
    done: RecoveredState
    verdict: Verdict
    seconds: float  # in the guest, its share of the request


class GuestPool:
    """Takes jobs, gives verdicts; in whatever order the guests come to them."""

    def __init__(self, image: GuestImage, shape: Shape, *, guests: int, say: Say) -> None:
        self._image = image
        self._shape = shape
        self._say = say
        self._jobs: queue.Queue[list[Job] | None] = queue.Queue(maxsize=2 * guests)
        self._results: queue.SimpleQueue[Judged | BaseException | None] = queue.SimpleQueue()
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

    def put(self, jobs: Sequence[Job]) -> Iterator[Judged]:
        """Hand jobs over; yield what has become of others while there is no room for them.

        Raises:
            HarnessError: no guest could be had.
        """
        while True:
            yield from self.ready()
            with contextlib.suppress(queue.Full):
                self._jobs.put(list(jobs), timeout=0.05)
                return

    def ready(self) -> Iterator[Judged]:
        """Yield what is known by now."""
        while not self._results.empty():
            if (result := self._results.get()) is not None:
                yield _checked(result)

    def finish(self) -> Iterator[Judged]:
        """Let the guests end their work; yield what becomes of it."""
        ending = len(self._threads)
        to_tell = ending
        while ending:
            if to_tell:
                with contextlib.suppress(queue.Full):
                    self._jobs.put(None, timeout=0.05)
                    to_tell -= 1
            with contextlib.suppress(queue.Empty):
                result = self._results.get(timeout=0.05)
                if result is None:
                    ending -= 1
                else:
                    yield _checked(result)

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
                    jobs = self._serve(guest, jobs)
                del self._pids[number]
        except BaseException as error:  # whatever it was, the main thread has to hear of it
            self._results.put(error)
        finally:
            self._results.put(None)

    def _serve(self, guest: BankGuest, jobs: list[Job] | None) -> list[Job] | None:
        """Do *jobs* and all that come, until there are no more (``None``).

        A guest that has to go leaves what it has not done, maybe nothing, to the next one.
        """
        while jobs is not None and not self._stopping:
            began = time.monotonic()
            waiting = {job.number: job for job in jobs}
            for done in guest.recover([job.state for job in jobs]):
                job = waiting.pop(done.number)
                seconds = (time.monotonic() - began) / len(jobs)
                self._results.put(Judged(job, done, job.judge(done), seconds))
                if done.ends_the_guest:
                    return list(waiting.values())
            self.busy_s += time.monotonic() - began
            jobs = self._jobs.get()
        return jobs


def _checked(result: Judged | BaseException) -> Judged:
    if isinstance(result, BaseException):
        raise result
    return result


@contextlib.contextmanager
def guest_pool(image: GuestImage, shape: Shape, *, guests: int, say: Say) -> Iterator[GuestPool]:
    """Give a pool of guests; nothing of it is left afterwards, however the block ends."""
    pool = GuestPool(image, shape, guests=guests, say=say)
    pool.start()
    try:
        yield pool
    finally:
        pool.stop()
