"""Write to an array as a workload says, each step marked in the trace.

Part of the guest's agent, on the standard library alone.
"""

from __future__ import annotations

import errno
import fcntl
import functools
import mmap
import os
import struct
import threading
from collections.abc import Callable, Sequence
from typing import Any

from harness.crash.pattern import Fill, write_content
from kvm_images.guest.patience import Patience
from kvm_images.guest.waiting import Hung, do_at_once, stacks

SECTOR_BYTES = 512
# linux/fs.h
BLKDISCARD = 0x1277
BLKZEROOUT = 0x127F

Answer = dict[str, Any]
Mark = Callable[[str], object]

LEAST_STEPS = 1  # of what is written beside all else: what has hardly begun is no load


def work(
    descriptor: int,
    steps: Sequence[Answer],
    mark: Mark,
    *,
    seed: int,
    fill: Fill,
    last: int,
    deadline_s: float,
    until: threading.Event | None = None,
) -> Answer:
    """Do the steps one after another; see `agent.workload`.

    Args:
        descriptor: of the array.
        steps: to do.
        mark: writes a mark into the trace.
        seed: of the writes' contents.
        fill: what their sectors hold.
        last: number of the write before these.
        deadline_s: of each step.
        until: ends the work before its last step once it is set, and something was done.

    Returns:
        ``last``, the last write; ``failed``: numbers of the bursts' last writes that ended with
        an error; ``hung``: stacks, where a step did not end before its deadline; ``done``, how many
        steps were done.
    """
    failed: list[int] = []
    done_steps = 0
    try:
        for step in steps:
            if until is not None and until.is_set() and done_steps >= LEAST_STEPS:
                break
            acts: list[Callable[[], None]]
            if step["do"] == "write":
                rows = step["writes"]
                acts = [functools.partial(_do_write, descriptor, seed, fill, *row) for row in rows]
                done = f"completed {rows[0][0]}..{rows[-1][0]}"
                last = rows[-1][0]
                safe = any(row[4] for row in rows)
            elif step["do"] == "flush":
                acts, done, safe = [functools.partial(os.fsync, descriptor)], "", True
            else:
                raise ValueError(f"unknown step {step['do']!r}")
            errors = do_at_once(acts, deadline_s)
            done_steps += 1
            if errors:
                if not isinstance(errors[0], OSError):
                    raise errors[0]
                failed.append(last)
                number = errors[0].errno or 0
                mark(f"failed {last}: {errno.errorcode.get(number, number)}")
                continue
            if done:
                mark(done)
            if safe:
                mark(f"flushed {last}")
    except Hung as hung:
        return {"last": last, "failed": failed, "hung": str(hung), "done": done_steps}
    return {"last": last, "failed": failed, "hung": "", "done": done_steps}


class Load:
    """A workload that runs beside all else, until it is ended."""

    def __init__(self, work: Callable[[threading.Event], Answer]) -> None:
        self._until = threading.Event()
        self._answer: Answer = {}
        self._error: Exception | None = None
        self._work = work
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def end(self, deadline_s: float) -> Answer:
        """Let it end behind the step that it is at; return what `work` said.

        Raises:
            Exception: as the work did.
            Hung: it is still at it.
        """
        self._until.set()
        patience = Patience(deadline_s)
        while self._thread.is_alive():
            self._thread.join(patience.left_s())
            if patience.is_over() and self._thread.is_alive():
                raise Hung(stacks([self._thread]))
        if self._error is not None:
            raise self._error
        return self._answer

    def _run(self) -> None:
        try:
            self._answer = self._work(self._until)
        except Exception as error:  # whatever it was: who ends the load has to hear of it
            self._error = error


def write_direct(node: str, offset: int, content: bytes) -> None:
    """Write to a device past the page cache."""
    descriptor = os.open(node, os.O_WRONLY | os.O_DIRECT)
    try:
        pwrite_aligned(descriptor, offset, content)
    finally:
        os.close(descriptor)


def pwrite_aligned(descriptor: int, offset: int, content: bytes, flags: int = 0) -> None:
    """Write all of *content*, from memory that O_DIRECT takes."""
    buffer = mmap.mmap(-1, len(content))  # whole pages
    buffer[: len(content)] = content
    with memoryview(buffer) as view, view[: len(content)] as part:
        done = os.pwritev(descriptor, [part], offset, flags)
    if done != len(content):
        raise OSError(0, f"wrote {done} of {len(content)} bytes at {offset}")


def _do_write(
    descriptor: int,
    seed: int,
    fill: Fill,
    number: int,
    sector: int,
    sectors: int,
    kind: str,
    fua: int,
) -> None:
    offset, length = sector * SECTOR_BYTES, sectors * SECTOR_BYTES
    if kind == "data":
        content = write_content(seed=seed, write=number, sector=sector, sectors=sectors, fill=fill)
        pwrite_aligned(descriptor, offset, content, os.RWF_DSYNC if fua else 0)
    else:
        request = {"zeroes": BLKZEROOUT, "discard": BLKDISCARD}[kind]
        fcntl.ioctl(descriptor, request, struct.pack("<QQ", offset, length))
