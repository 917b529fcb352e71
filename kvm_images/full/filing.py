"""Write files that are acknowledged by fsync, and read them back.

Part of the full guest's agent, on the standard library alone. Files ``0``, ``1`` ... are replaced
as applications do it: written anew beside the old one, fsync, rename, fsync of the folder. The file
``log`` is only ever appended to, a record and an fsync at a time.
"""

from __future__ import annotations

import os
import random
import threading
import time
from typing import Any

Answer = dict[str, Any]

LOG = "log"
LOG_EVERY = 3  # each such operation is a record of the log
DAMAGED = -1
_RECORD_BYTES = 700  # no divisor of a block's size: records lie across blocks
_MOST_BYTES = 60_000
_JOIN_S = 60.0


def content_of(seed: int, name: str, version: int) -> bytes:
    """Return what a version of a file holds: its own description, and bytes drawn from that."""
    drawn = random.Random(f"{seed} {name} {version}")
    body = drawn.randbytes(_RECORD_BYTES if name == LOG else drawn.randrange(1, _MOST_BYTES))
    return f"{seed} {name} {version} {len(body)}\n".encode() + body


class FileWriter:
    """Writes files, one operation after another, and knows which have been acknowledged."""

    def __init__(self, folder: str, *, seed: int, names: int, first: int, records: int) -> None:
        cut_log(folder, seed=seed, records=records)
        self._folder, self._seed, self._names = folder, seed, names
        self._news = threading.Condition()
        self._acknowledged: dict[str, int] = {}  # version by name; of the log how many records
        self._next, self._records = first, records
        self._error = ""
        self._until = threading.Event()
        self._thread = threading.Thread(target=self._write_all, daemon=True)
        self._thread.start()

    def wait_for(self, operations: int, deadline_s: float) -> Answer:
        """Wait until so many operations more have been acknowledged, or one has failed."""
        with self._news:
            wanted = self._next + operations
            self._news.wait_for(lambda: self._error or self._next >= wanted, deadline_s)
            return self._answer()

    def end(self) -> Answer:
        """Let it end behind the operation that it is at."""
        self._until.set()
        self._thread.join(_JOIN_S)
        with self._news:
            return {**self._answer(), "hung": self._thread.is_alive()}

    def _answer(self) -> Answer:
        return {
            "acknowledged": dict(self._acknowledged), "next": self._next, "error": self._error,
        }  # fmt: skip

    def _write_all(self) -> None:
        while not self._until.is_set():
            number = self._next
            try:
                name, version = self._do(number)
            except OSError as error:
                with self._news:
                    self._error = f"operation {number}: {error}"
                    self._news.notify_all()
                return
            with self._news:
                self._acknowledged[name] = version
                self._next = number + 1
                self._news.notify_all()

    def _do(self, number: int) -> tuple[str, int]:
        if number % LOG_EVERY == 0:
            self._records += 1
            path = os.path.join(self._folder, LOG)
            _write(path, os.O_APPEND, content_of(self._seed, LOG, self._records))
            if self._records == 1:
                _sync_folder(self._folder)
            return LOG, self._records
        name = str(number % self._names)
        path = os.path.join(self._folder, name)
        _write(f"{path}.new", os.O_TRUNC, content_of(self._seed, name, number))
        os.rename(f"{path}.new", path)
        _sync_folder(self._folder)
        return name, number


def cut_log(folder: str, *, seed: int, records: int) -> None:
    """Take from the log's end what was never acknowledged, as whoever goes on with a log does.

    Power that went in the middle of a record may have left it whole or in part.
    """
    path = os.path.join(folder, LOG)
    kept = sum(len(content_of(seed, LOG, number + 1)) for number in range(records))
    if os.path.exists(path) and os.path.getsize(path) > kept:
        descriptor = os.open(path, os.O_WRONLY)
        try:
            os.ftruncate(descriptor, kept)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def read_files(folder: str, *, seed: int) -> dict[str, int]:
    """Return the version that each file holds, of the log how many records; -1: a damaged one.

    A record of the log that was never acknowledged may be there in part, at its end.
    """
    found: dict[str, int] = {}
    for name in sorted(os.listdir(folder)):
        if not (name.isdigit() or name == LOG):
            continue  # half-written ones, and what the file system itself put there
        with open(os.path.join(folder, name), "rb") as file:
            content = file.read()
        found[name] = _records(content, seed) if name == LOG else _version(content, name, seed)
    return found


def _version(content: bytes, name: str, seed: int) -> int:
    head = content.partition(b"\n")[0].split()
    if len(head) != 4 or not head[2].isdigit():
        return DAMAGED
    version = int(head[2])
    return version if content == content_of(seed, name, version) else DAMAGED


def _records(content: bytes, seed: int) -> int:
    count = 0
    while content:
        record = content_of(seed, LOG, count + 1)
        if not content.startswith(record):
            break
        content = content[len(record) :]
        count += 1
    return count


def _write(path: str, how: int, content: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | how, 0o644)
    try:
        while content:
            content = content[os.write(descriptor, content) :]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sync_folder(folder: str) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


_writers: list[FileWriter] = []


def start_files(*, folder: str, seed: int, names: int, first: int, records: int) -> Answer:
    """Begin to write files beside all that is asked next; *first* is the first operation's number,
    *records* how many the log has."""
    _writers.append(FileWriter(folder, seed=seed, names=names, first=first, records=records))
    return {}


def wait_for_files(*, operations: int, deadline_s: float) -> Answer:
    """Wait until so many more operations have been acknowledged; return all that have been."""
    began = time.monotonic()
    return {**_writers[-1].wait_for(operations, deadline_s), "seconds": time.monotonic() - began}


def end_files() -> Answer:
    """End what `start_files` began; return all that has been acknowledged."""
    return _writers.pop().end()


def read_all_files(*, folder: str, seed: int) -> Answer:
    """Return what `read_files` does."""
    return {"found": read_files(folder, seed=seed)}


VERBS: dict[str, Any] = {
    function.__name__: function
    for function in (start_files, wait_for_files, end_files, read_all_files)
}
