"""Workers of a night, by dask.distributed: an own cluster of processes, or one that is there.

A worker that dies, hangs or runs out of disk loses the unit that it was at, which is repeated
elsewhere; a unit that takes two workers with it is set aside.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import queue
import signal
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dask
from distributed import Client, Future, KilledWorker, LocalCluster, Worker, WorkerPlugin

from harness.campaign.nights.inputs import InputFile, input_of
from harness.errors import BadInput, HarnessError, Unavailable
from harness.processes import temporary_folder

_DEATHS = 2  # of workers over a unit, before it is set aside
_UNWELL = 3  # units that failed on a worker one after another: others are preferred to it
_CONNECT_S = "20s"
_FETCH_S = "10s"  # a result from its worker
_AGAIN_S = 0.05
_ASK_EVERY_S = 0.5  # the scheduler which workers there are
_SILENT = logging.CRITICAL + 1
_SETTINGS = {
    # How many workers may die over a task before it is given up, less one.
    "distributed.scheduler.allowed-failures": _DEATHS - 1,
    "distributed.worker.daemon": False,  # a unit runs QEMU
    "distributed.admin.large-graph-warning-threshold": "1GB",
    # A result on a worker that is gone is waited for no longer; then its unit is repeated.
    "distributed.comm.timeouts.connect": "5s",
    "distributed.worker.memory.terminate": False,  # guests are not the worker's own memory
    "distributed.worker.memory.pause": False,
    # What a worker has to say is in what its unit came to.
    "distributed.nanny.pre-spawn-environ.DASK_LOGGING__DISTRIBUTED": "CRITICAL",
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


@dataclass(frozen=True, slots=True)
class _Open:
    """A unit under way."""

    future: Future[Any]
    spec: Mapping[str, Any]
    inputs: Sequence[str]
    worker: str  # it was meant for


class Workers:
    """Takes units, gives what became of them as it comes."""

    def __init__(self, client: Client, run: Run) -> None:
        self._client = client
        self._run = run
        self._name = uuid.uuid4().hex  # another night may have the same scheduler
        self._names: dict[Path, str] = {}  # hashes of what was taken
        self._inputs: dict[str, Future[Any]] = {}  # by hash: held, so that workers keep theirs
        self._news: queue.SimpleQueue[tuple[int, Future[Any]]] = queue.SimpleQueue()
        self._open: dict[int, _Open] = {}
        self._tried: dict[int, set[str]] = {}  # workers on which a unit has failed
        self._has: dict[str, tuple[str, ...]] = {}  # workers and their units, when last asked
        self._asked = -math.inf
        self._failed: Counter[str] = Counter()  # units on a worker since one was well there

    @property
    def count(self) -> int:
        """How many there are now that are of use."""
        return len(self._loads())

    def take_input(self, path: Path) -> str:
        """Have a file ready for workers; each gets it once. Return its hash.

        It goes as a task that returns it: should the one worker that has it die, the scheduler
        has it still, which is not so with what is scattered.
        """
        if path in self._names:  # a root is for many kernels, a kernel for many guests
            return self._names[path]
        made = input_of(path)
        name = self._names[path] = made.sha256
        if name not in self._inputs:
            self._inputs[name] = self._client.submit(_given, made, pure=False, key=f"input-{name}")
        return name

    def submit(self, ticket: int, spec: Mapping[str, Any], inputs: Sequence[str]) -> None:
        """Hand a unit over, with the hashes of its inputs in the order in which it takes them."""
        tried = self._tried.setdefault(ticket, set())
        loads = self._loads()
        worker = min(loads, key=lambda each: (each in tried, loads[each]), default="")
        where = {"workers": [worker], "allow_other_workers": True} if worker else {}
        files = [self._inputs[name] for name in inputs]
        key = f"unit-{self._name}-{ticket}-{len(tried)}"
        future = self._client.submit(self._run, spec, *files, pure=False, key=key, **where)
        self._open[ticket] = _Open(future, spec, inputs, worker)
        self._listen(ticket, future)

    def _listen(self, ticket: int, future: Future[Any]) -> None:
        future.add_done_callback(  # type: ignore[no-untyped-call]
            lambda done: self._news.put((ticket, done))
        )

    def next_done(self, timeout_s: float) -> Done | None:
        """Wait for a unit; ``None``: none has come.

        Raises:
            Unavailable: the scheduler is gone.
        """
        try:
            ticket, future = self._news.get(timeout=max(timeout_s, 0.01))
        except queue.Empty:
            return None
        if ticket not in self._open or future is not self._open[ticket].future:
            return None  # cancelled
        return self._done(ticket, future)

    def cancel(self) -> list[int]:
        """Give up all that is under way; return the tickets."""
        left = list(self._open)
        with contextlib.suppress(Exception):  # the scheduler may be gone
            self._client.cancel(  # type: ignore[no-untyped-call]
                [each.future for each in self._open.values()], force=True
            )
        self._open.clear()
        return left

    def _loads(self) -> dict[str, int]:
        """Return how many units each worker has, of those that are of use."""
        if (now := time.monotonic()) - self._asked > _ASK_EVERY_S:
            try:
                self._has = self._client.processing()  # type: ignore[no-untyped-call]
            except (OSError, TimeoutError) as error:
                raise Unavailable(_GONE) from error
            self._asked = now
        at = {key: worker for worker, keys in self._has.items() for key in keys}
        well = [worker for worker in self._has if self._failed[worker] < _UNWELL]
        loads = dict.fromkeys(well or self._has, 0)
        for each in self._open.values():
            worker = at.get(str(each.future.key), each.worker)
            if worker in loads:
                loads[worker] += 1
        return loads

    def _done(self, ticket: int, future: Future[Any]) -> Done | None:
        if future.status == "finished":
            try:
                result = future.result(timeout=_FETCH_S)
            except TimeoutError:
                self._listen(ticket, future)  # its worker is gone, and so is its result
                return None
            del self._open[ticket]
            worker = str(result["worker"])
            self._failed[worker] = 0
            return Done(ticket, result["result"], worker=worker)
        if future.status in ("pending", "lost"):  # a dead worker had its result: it is done again
            time.sleep(_AGAIN_S)
            self._listen(ticket, future)
            return None
        if future.status != "error":  # cancelled, though nobody has
            raise Unavailable(_GONE)
        error = future.exception()  # type: ignore[no-untyped-call]
        if isinstance(error, KilledWorker):
            del self._open[ticket]
            why = f"took {_DEATHS} workers with it, the last at {error.last_worker.address}"
            return Done(ticket, None, why, set_aside=True)
        unit = self._open.pop(ticket)
        if isinstance(error, _Failed):
            self._failed[error.worker] += 1
            if len(self._tried[ticket]) < _DEATHS - 1:
                self._tried[ticket].add(error.worker)  # elsewhere it may be well
                self._asked = -math.inf  # who was there may be gone
                self.submit(ticket, unit.spec, unit.inputs)
                return None
        why = str(error).splitlines()[0] if str(error) else type(error).__name__
        return Done(ticket, None, why)


_GONE = "the scheduler of the workers is gone; the same command goes on with the night"


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

    def __call__(self, spec: Mapping[str, Any], *inputs: InputFile) -> dict[str, Any]:
        """Run it."""
        from distributed import get_worker  # on the worker alone

        worker = get_worker().address
        if problems := [each.problem for each in inputs if each.problem]:
            raise _Failed(problems[0], worker)
        try:
            return {"result": self.run(spec, *inputs), "worker": worker}
        except (HarnessError, OSError) as error:
            raise _Failed(f"{type(error).__name__}: {error}", worker) from None


def _given(file: InputFile) -> InputFile:
    return file


class _DeafToCtrlC(WorkerPlugin):
    """A terminal's Ctrl-C comes to own workers as well; the night itself ends them."""

    def setup(self, worker: Worker) -> None:  # noqa: ARG002
        signal.signal(signal.SIGINT, signal.SIG_IGN)


def _client(count: int, scheduler: str | None, stack: contextlib.ExitStack) -> Client:
    """Return what speaks to workers; own ones are killed behind the block, whatever they are at."""
    client: Client
    if scheduler is not None:
        client = Client(scheduler, timeout=_CONNECT_S)  # type: ignore[no-untyped-call]
        stack.enter_context(client)
        return client
    # What units leave in their folders when they are killed goes with this one.
    folder = stack.enter_context(temporary_folder(prefix="mdj-"))
    stack.enter_context(dask.config.set({"temporary-directory": str(folder)}))
    cluster = stack.enter_context(LocalCluster(  # type: ignore[no-untyped-call]
        n_workers=count, threads_per_worker=1, processes=True, host="127.0.0.1",
        dashboard_address="127.0.0.1:0", silence_logs=_SILENT, local_directory=str(folder),
        env={"TMPDIR": str(folder)},
    ))  # fmt: skip
    stack.callback(_kill, cluster)
    client = stack.enter_context(Client(cluster))  # type: ignore[no-untyped-call]
    client.register_plugin(_DeafToCtrlC())
    return client


def _kill(cluster: LocalCluster) -> None:
    """End the processes of a cluster at once: to close it waits for what they are at."""
    for nanny in cluster.workers.values():
        nanny.auto_restart = False
        if nanny.pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(nanny.pid, signal.SIGKILL)


@contextlib.contextmanager
def _silenced() -> Iterator[None]:
    """Have nothing said on the terminal by what is told as a unit's result anyway."""
    logger = logging.getLogger("distributed")
    before = logger.level
    logger.setLevel(_SILENT)
    try:
        yield
    finally:
        logger.setLevel(before)


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
    with dask.config.set(_SETTINGS), _silenced(), contextlib.ExitStack() as stack:
        try:
            client = _client(count, scheduler, stack)
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
