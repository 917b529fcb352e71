"""Do in the guest what may never come back, and say where it hangs if it does not.

Part of the guest's agent, on the standard library alone.
"""

from __future__ import annotations

import glob
import os
import queue
import threading
from collections.abc import Callable, Sequence

from kvm_images.guest.patience import Patience

ARRAY = "md0"


class Hung(Exception):
    """A request to md did not come back; the text has the stacks of all that wait."""


class Worker:
    """A thread for requests that may hang; one that does takes its worker with it."""

    def __init__(self) -> None:
        self._todo: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._done: queue.SimpleQueue[Exception | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def do(self, act: Callable[[], None], deadline_s: float) -> None:
        """Do it.

        Raises:
            Exception: as *act* did.
            Hung: it is still at it.
        """
        self._todo.put(act)
        patience = Patience(deadline_s)
        while True:
            try:
                error = self._done.get(timeout=patience.left_s())
            except queue.Empty:
                if patience.is_over() or _was_killed(self._thread):
                    raise Hung(stacks([self._thread])) from None
            else:
                break
        if error is not None:
            raise error

    def _serve(self) -> None:
        while True:
            act = self._todo.get()
            try:
                act()
            except Exception as error:  # whatever it was: who asked must not take it for a hang
                self._done.put(error)
            else:
                self._done.put(None)


def _was_killed(thread: threading.Thread) -> bool:
    """Whether the kernel ended a thread of ours, as it does when a system call oopses.

    Asked in this order: one that ends by itself is not alive before the kernel has it no more.
    """
    return not os.path.exists(f"/proc/self/task/{thread.native_id}") and thread.is_alive()


def do_at_once(acts: Sequence[Callable[[], None]], deadline_s: float) -> list[Exception]:
    """Do each in a thread of its own, all at once; return the errors of those that failed.

    Raises:
        Hung: some are still at it.
    """
    errors: list[Exception] = []

    def do(act: Callable[[], None]) -> None:
        try:
            act()
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=do, args=(act,), daemon=True) for act in acts]
    for thread in threads:
        thread.start()
    patience = Patience(deadline_s)
    while waiting := threads_alive(threads):
        waiting[0].join(patience.left_s())
        if patience.is_over() or any(map(_was_killed, waiting)):
            break
    if waiting := threads_alive(threads):
        raise Hung(stacks(waiting))
    return errors


def threads_alive(threads: Sequence[threading.Thread]) -> list[threading.Thread]:
    """Return those that have not ended, as far as Python knows."""
    return [thread for thread in threads if thread.is_alive()]


def stacks(threads: Sequence[threading.Thread]) -> str:
    """Return where threads of ours, and md's own, are in the kernel; never empty."""
    found = [
        f"the request:\n{_read(f'/proc/self/task/{thread.native_id}/stack')}" for thread in threads
    ]
    for path in sorted(glob.glob("/proc/[0-9]*/comm")):
        name = _read(path).strip()
        if name.startswith((ARRAY, "mdadm")):
            found.append(f"{name}:\n{_read(path.replace('comm', 'stack'))}")
    return "\n".join(found)


def _read(path: str) -> str:
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            return file.read().rstrip()
    except OSError as error:
        return error.strerror or "cannot be read"
