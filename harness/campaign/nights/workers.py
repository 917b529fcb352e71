"""Workers of a night, by dask.distributed: an own cluster of processes, or one that is there.

A worker that dies, hangs or runs out of disk loses the unit that it was at, which is repeated
elsewhere; a unit that takes two workers with it is set aside.
"""

from __future__ import annotations

import contextlib
import hashlib
import queue
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dask
from distributed import Client, Future, KilledWorker, LocalCluster

from harness.errors import BadInput, HarnessError, Unavailable

_DEATHS = 2  # of workers over a unit, before it is set aside
_CONNECT_S = "20s"
_SETTINGS = {
    # How many workers may die over a task before it is given up, less one.
    "distributed.scheduler.allowed-failures": _DEATHS - 1,
    "distributed.worker.daemon": False,  # a unit runs QEMU
    "distributed.admin.large-graph-warning-threshold": "100MB",
    "distributed.comm.timeouts.connect": _CONNECT_S,
    "distributed.worker.memory.terminate": False,  # guests are not the worker's own memory
    "distributed.worker.memory.pause": False,
}
Run = Callable[..., dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Done:
    """What became of a unit."""

    ticket: int
    result: dict[str, Any] | None  # None: it was not done
    why: str = ""  # it was not done
    set_aside: bool = False  # it took workers with it
    worker: str = ""


class Workers:
    """Takes units, gives what became of them as it comes."""

    def __init__(self, client: Client, run: Run) -> None:
        self._client = client
        self._run = run
        self._inputs: dict[str, Future[Any]] = {}  # by hash: held, so that workers keep theirs
        self._news: queue.SimpleQueue[tuple[int, Future[Any]]] = queue.SimpleQueue()
        self._open: dict[int, tuple[Future[Any], Mapping[str, Any], tuple[str, str]]] = {}
        self._tried: dict[int, set[str]] = {}  # workers on which a unit has failed

    @property
    def count(self) -> int:
        """How many there are now."""
        return len(self._client.scheduler_info(n_workers=-1)["workers"])

    @property
    def in_hand(self) -> int:
        """How many units are under way or waiting."""
        return len(self._open)

    def take_input(self, path: Path) -> str:
        """Have a file ready for workers; each gets it once. Return its hash."""
        data = path.read_bytes()
        name = hashlib.sha256(data).hexdigest()
        if name not in self._inputs:
            (self._inputs[name],) = self._client.scatter(  # type: ignore[no-untyped-call]
                [data], hash=False
            )
        return name

    def submit(self, ticket: int, spec: Mapping[str, Any], inputs: tuple[str, str]) -> None:
        """Hand a unit over, with the hashes of its kernel's image and its initramfs."""
        tried = self._tried.setdefault(ticket, set())
        others: dict[str, Any] = {}
        if tried:
            every = set(self._client.scheduler_info(n_workers=-1)["workers"])
            if elsewhere := sorted(every - tried):
                others = {"workers": elsewhere, "allow_other_workers": True}
        kernel, initramfs = (self._inputs[name] for name in inputs)
        future = self._client.submit(
            self._run, spec, kernel, initramfs, pure=False, key=f"unit-{ticket}-{len(tried)}",
            **others,
        )  # fmt: skip
        self._open[ticket] = (future, spec, inputs)
        future.add_done_callback(  # type: ignore[no-untyped-call]
            lambda done, ticket=ticket: self._news.put((ticket, done))
        )

    def next_done(self, timeout_s: float) -> Done | None:
        """Wait for a unit; ``None``: none has come."""
        try:
            ticket, future = self._news.get(timeout=max(timeout_s, 0.01))
        except queue.Empty:
            return None
        if ticket not in self._open or future is not self._open[ticket][0]:
            return None  # cancelled
        return self._done(ticket, future)

    def cancel(self) -> list[int]:
        """Give up all that is under way; return the tickets."""
        left = list(self._open)
        with contextlib.suppress(Exception):  # the scheduler may be gone
            self._client.cancel(  # type: ignore[no-untyped-call]
                [future for future, _, _ in self._open.values()], force=True
            )
        self._open.clear()
        return left

    def _done(self, ticket: int, future: Future[Any]) -> Done | None:
        _, spec, inputs = self._open[ticket]
        if future.status == "finished":
            del self._open[ticket]
            result = future.result()
            return Done(ticket, result["result"], worker=str(result["worker"]))
        failed = future.status == "error"
        error = future.exception() if failed else None  # type: ignore[no-untyped-call]
        if isinstance(error, KilledWorker):
            del self._open[ticket]
            why = f"took {_DEATHS} workers with it, the last {error.last_worker}"
            return Done(ticket, None, why, set_aside=True)
        why = str(error).splitlines()[0] if str(error) else type(error).__name__
        if isinstance(error, _Failed) and len(self._tried[ticket]) < _DEATHS - 1:
            self._tried[ticket].add(error.worker)  # elsewhere it may be well
            self.submit(ticket, spec, inputs)
            return None
        del self._open[ticket]
        return Done(ticket, None, why)


class _Failed(HarnessError):
    """A unit failed on a worker."""

    def __init__(self, words: str, worker: str = "") -> None:
        super().__init__(words, worker)
        self.words, self.worker = words, worker

    def __str__(self) -> str:
        return self.words


@dataclass(frozen=True, slots=True)
class Guarded:
    """Runs a unit on a worker, so that what fails names the worker, and can be sent."""

    run: Run

    def __call__(
        self, spec: Mapping[str, Any], kernel_image: bytes, initramfs: bytes
    ) -> dict[str, Any]:
        """Run it."""
        from distributed import get_worker  # on the worker alone

        worker = get_worker().address
        try:
            return {"result": self.run(spec, kernel_image, initramfs), "worker": worker}
        except (HarnessError, OSError) as error:
            raise _Failed(f"{type(error).__name__}: {error}", worker) from None


def _client(count: int, scheduler: str | None, stack: contextlib.ExitStack) -> Client:
    if scheduler is not None:
        return Client(scheduler, timeout=_CONNECT_S)  # type: ignore[no-untyped-call]
    cluster = LocalCluster(  # type: ignore[no-untyped-call]
        n_workers=count, threads_per_worker=1, processes=True, dashboard_address=None,
        host="127.0.0.1", silence_logs="ERROR",
    )  # fmt: skip
    return Client(stack.enter_context(cluster))  # type: ignore[no-untyped-call]


@contextlib.contextmanager
def workers(run: Run, *, count: int, scheduler: str | None) -> Iterator[Workers]:
    """Give workers; own ones are gone afterwards, others are left as they are.

    Args:
        run: does a unit; it must be importable where workers run.
        count: of own workers.
        scheduler: address of a cluster that is there; ``None``: an own one.

    Raises:
        BadInput: nobody answers at that address.
        Unavailable: no own cluster can be had.
    """
    with dask.config.set(_SETTINGS), contextlib.ExitStack() as stack:
        try:
            client = stack.enter_context(_client(count, scheduler, stack))
        except (OSError, TimeoutError, ValueError, RuntimeError) as error:
            if scheduler is None:
                raise Unavailable(f"no workers can be started: {error}") from error
            raise BadInput(
                f"--scheduler {scheduler}: nobody answers there; start one with dask scheduler"
            ) from error
        pool = Workers(client, Guarded(run))
        try:
            yield pool
        finally:
            pool.cancel()
