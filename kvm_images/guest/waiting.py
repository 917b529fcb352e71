"""Do in the guest what may never come back, and say where it hangs if it does not.

Part of the guest's agent, on the standard library alone.
"""

from __future__ import annotations

import glob
import queue
import threading
from collections.abc import Callable, Sequence

ARRAY = "md0"


class Hung(Exception):
    """A request to md did not come back; the text has the stacks of all that wait."""


class Worker:
    """A thread for requests that may hang; one that does takes its worker with it."""

    def __init__(self) -> None:
        self._todo: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._done: queue.SimpleQueue[OSError | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def do(self, act: Callable[[], None], deadline_s: float) -> None:
        """Do it.

        Raises:
            OSError: as *act* did.
            Hung: it is still at it.
        """
        self._todo.put(act)
        try:
            error = self._done.get(timeout=deadline_s)
        except queue.Empty:
            raise Hung(stacks([self._thread])) from None
        if error is not None:
            raise error

    def _serve(self) -> None:
        while True:
            act = self._todo.get()
            try:
                act()
            except OSError as error:
                self._done.put(error)
            else:
                self._done.put(None)


def do_at_once(acts: Sequence[Callable[[], None]], deadline_s: float) -> list[OSError]:
    """Do each in a thread of its own, all at once; return the errors of those that failed.

    Raises:
        Hung: some are still at it.
    """
    errors: list[OSError] = []

    def do(act: Callable[[], None]) -> None:
        try:
            act()
        except OSError as error:
            errors.append(error)

    threads = [threading.Thread(target=do, args=(act,), daemon=True) for act in acts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(deadline_s)
    if waiting := [thread for thread in threads if thread.is_alive()]:
        raise Hung(stacks(waiting))
    return errors


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
