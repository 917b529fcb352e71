"""The recording disk server's plug-in, run inside nbdkit's Python.

N disks and one export for marks in one process, so that one counter orders them all. Needs
``nbdkit`` (imported there, not installed here) and the standard library; the trace's format comes
from ``harness.crash.trace``, the jitter and the overlay from ``harness.storage``, which have no
other needs either.

Parameter ``config=FILE``: JSON with ``trace``, ``disks`` (name, path, size_bytes, cache,
logical_block_bytes), ``marks`` (the export's name), ``jitter_us``, ``seed`` and ``bank``: null, or
a folder of crash states. With a bank only the mark ``state N`` writes to the disks' files: it
puts the state of file N there, and what a guest writes lies over it until the next one. Each state
has a trace of its own, N.mdjtrace beside it. The mark ``settled N`` keeps what the disks hold then,
and ``back N`` goes back to that.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import json
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nbdkit

from harness.crash.trace import (
    Cache,
    Completion,
    Event,
    Flag,
    Issue,
    Mark,
    Operation,
    TraceDisk,
    encode_event,
    encode_header,
)
from harness.storage.faults import Faults
from harness.storage.jitter import completion_delay_us
from harness.storage.overlay import Overlay, decode_changes

API_VERSION = 2
MARKS_BYTES = 65536

_ZEROES = bytes(1 << 20)
_PUNCH_HOLE_KEEP_SIZE = 0x02 | 0x01  # FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE
_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True)
class _Disk:
    index: int
    name: str
    size_bytes: int
    cache: Cache
    descriptor: int
    overlay: Overlay | None  # in a bank
    order: threading.Lock = field(default_factory=threading.Lock)


@dataclass(frozen=True)
class _Request:
    operation: Operation
    flags: Flag
    offset: int
    length: int
    data: bytes


class _Recorder:
    """The trace file and the one counter; whoever holds the lock writes the next record."""

    def __init__(self, path: str, disks: list[TraceDisk], *, jitter_us: int, seed: int) -> None:
        self._lock = threading.Lock()
        self._sequence = 0
        self._request = 0
        self._jitter_us = jitter_us
        self._seed = seed
        self._disks = disks
        self._file = -1
        self._size = 0
        self.go_on_in(path)

    def go_on_in(self, path: str) -> None:
        """Write what follows into a new file."""
        with self._lock:
            if self._file >= 0:
                os.close(self._file)
            self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o644)
            self._size = 0
            self._append(encode_header(self._disks))

    def issue(self, disk: _Disk, request: _Request) -> int:
        with self._lock:
            self._sequence += 1
            self._request += 1
            self._append_event(
                Issue(
                    self._sequence, self._request, disk.index, request.operation, request.flags,
                    request.offset, request.length, request.data,
                )
            )  # fmt: skip
            return self._request

    def complete(self, disk: _Disk, request: int, error: int) -> None:
        if self._jitter_us:
            delay_us = completion_delay_us(
                seed=self._seed, request=request, jitter_us=self._jitter_us
            )
            time.sleep(delay_us / 1e6)
        with self._lock:
            self._sequence += 1
            self._append_event(Completion(self._sequence, request, disk.index, error))

    def mark(self, text: str) -> None:
        with self._lock:
            self._sequence += 1
            self._append_event(Mark(self._sequence, text))

    def _append_event(self, event: Event) -> None:
        self._append(encode_event(event))

    def _append(self, record: bytes) -> None:
        if os.write(self._file, record) != len(record):
            # A reader stops at a torn record: one in the middle would hide all that follow.
            os.ftruncate(self._file, self._size)
            raise OSError(errno.ENOSPC, "the trace cannot grow")
        self._size += len(record)


_config: dict[str, Any] = {}
_disks: dict[str, _Disk] = {}
_faults = Faults()
_recorder: _Recorder


def thread_model() -> int:
    """Requests of all disks overlap, as a machine's disks do."""
    return int(nbdkit.THREAD_MODEL_PARALLEL)


def config(key: str, value: str) -> None:
    """Take ``config=FILE``."""
    if key != "config":
        raise RuntimeError(f"unknown parameter {key}")
    _config.update(json.loads(Path(value).read_text()))


def get_ready() -> None:
    """Open the disks' files and begin the trace."""
    global _recorder
    header = []
    for index, disk in enumerate(_config["disks"]):
        descriptor = os.open(disk["path"], os.O_RDWR)
        cache = Cache(disk["cache"])
        overlay = Overlay(_reader(descriptor)) if _config["bank"] else None
        _disks[disk["name"]] = _Disk(
            index, disk["name"], disk["size_bytes"], cache, descriptor, overlay
        )
        header.append(
            TraceDisk(disk["name"], disk["size_bytes"], cache, disk["logical_block_bytes"])
        )
    _recorder = _Recorder(
        _config["trace"], header, jitter_us=_config["jitter_us"], seed=_config["seed"]
    )


def open(_readonly: bool) -> _Disk | None:
    """Return the disk that a client names; ``None`` stands for the marks' export."""
    name = nbdkit.export_name()
    if name == _config["marks"]:
        return None
    if name not in _disks:
        nbdkit.set_error(errno.ENOENT)
        raise RuntimeError(f"no disk is called {name!r}")
    return _disks[name]


def get_size(disk: _Disk | None) -> int:
    """Return the size in bytes."""
    return MARKS_BYTES if disk is None else disk.size_bytes


def _has_volatile_cache(disk: _Disk | None) -> bool:
    return disk is not None and disk.cache is Cache.WRITE_BACK


can_flush = _has_volatile_cache


def can_fua(disk: _Disk | None) -> int:
    """FUA reaches the plug-in as a flag where there is a cache to pass by."""
    return int(nbdkit.FUA_NATIVE if _has_volatile_cache(disk) else nbdkit.FUA_NONE)


def can_trim(disk: _Disk | None) -> bool:
    """Trim is offered on disks."""
    return disk is not None


can_zero = can_trim


def can_multi_conn(_disk: _Disk | None) -> bool:
    """A flush on one connection covers what completed on any: there is one cache per disk."""
    return True


def pread(disk: _Disk | None, buffer: bytearray, offset: int, _flags: int) -> None:
    """Read: cache and medium are one file here; what a power cut loses is judged on the trace."""
    if disk is None:
        buffer[:] = bytes(len(buffer))
        return
    if error := _faults.meet(disk.name, "read", offset, len(buffer)):
        raise _failed(error)
    if disk.overlay is not None:
        with disk.order:
            buffer[:] = disk.overlay.read(offset, len(buffer))
        return
    view = memoryview(buffer)
    while view:
        count = os.preadv(disk.descriptor, [view], offset)
        if count == 0:
            raise OSError(errno.EIO, "the disk's file is too short")
        view, offset = view[count:], offset + count


def pwrite(disk: _Disk | None, buffer: bytes | bytearray, offset: int, flags: int) -> None:
    """Write; on the marks' export the text up to the first NUL becomes a mark."""
    data = bytes(buffer)
    if disk is None:
        _take_mark(data.split(b"\0", 1)[0].decode(errors="replace"))
        return
    request = _Request(Operation.WRITE, _flags(flags), offset, len(data), data)
    _perform(disk, request, lambda: _put(disk, data, offset))


def flush(disk: _Disk, _flags: int) -> None:
    """Flush this disk's cache, and no other's."""
    _perform(disk, _Request(Operation.FLUSH, Flag(0), 0, 0, b""), lambda: None)


def trim(disk: _Disk, count: int, offset: int, flags: int) -> None:
    """Discard a range; it reads as zeroes afterwards."""
    request = _Request(Operation.TRIM, _flags(flags), offset, count, b"")
    _perform(disk, request, lambda: _clear(disk, offset, count))


def zero(disk: _Disk, count: int, offset: int, flags: int) -> None:
    """Write zeroes."""
    request = _Request(Operation.ZEROES, _flags(flags), offset, count, b"")
    _perform(disk, request, lambda: _clear(disk, offset, count))


def _flags(flags: int) -> Flag:
    result = Flag(0)
    if flags & nbdkit.FLAG_FUA:
        result |= Flag.FUA
    if flags & nbdkit.FLAG_MAY_TRIM:
        result |= Flag.MAY_TRIM
    return result


def _perform(disk: _Disk, request: _Request, act: Callable[[], None]) -> None:
    """Record a request, do it, and record that it is done.

    What one disk is asked takes effect in the order of issue, so that its file is what the trace
    says even where requests overlap. They complete in any order.
    """
    operation = request.operation.name.lower()
    error = _faults.meet(disk.name, operation, request.offset, request.length)
    with disk.order:
        number = _recorder.issue(disk, request)
        try:
            if not error:
                act()
        except OSError as failed:
            error = failed.errno or errno.EIO
    _recorder.complete(disk, number, error)
    if error:
        raise _failed(error)


def _failed(error: int) -> OSError:
    nbdkit.set_error(error)
    return OSError(error, os.strerror(error))


def _take_mark(text: str) -> None:
    _faults.take(text)
    if not _config["bank"]:
        _recorder.mark(text)
        return
    word, _, number = text.partition(" ")
    with contextlib.ExitStack() as stack:
        for disk in _disks.values():  # nothing is half done, and nothing comes in between
            stack.enter_context(disk.order)
        if word == "state":
            _put_state(Path(_config["bank"]) / number)
        for overlay in (disk.overlay for disk in _disks.values()):
            assert overlay is not None
            if word == "settled":
                overlay.keep()
            elif word == "back":
                overlay.back()
        _recorder.mark(text)


def _put_state(path: Path) -> None:
    by_index = {disk.index: disk for disk in _disks.values()}
    for disk in by_index.values():
        assert disk.overlay is not None
        disk.overlay.forget()
    for index, offset, data in decode_changes(path.read_bytes()):
        _write_all(by_index[index].descriptor, data, offset)
    _recorder.go_on_in(f"{path}.mdjtrace")


def _put(disk: _Disk, data: bytes, offset: int) -> None:
    if disk.overlay is not None:
        disk.overlay.write(offset, data)
    else:
        _write_all(disk.descriptor, data, offset)


def _clear(disk: _Disk, offset: int, count: int) -> None:
    if disk.overlay is not None:
        disk.overlay.write(offset, bytes(count))
    else:
        _punch_hole(disk.descriptor, offset, count)


def _reader(descriptor: int) -> Callable[[int, int], bytes]:
    return lambda offset, length: os.pread(descriptor, length, offset)


def _write_all(descriptor: int, data: bytes, offset: int) -> None:
    view = memoryview(data)
    while view:
        count = os.pwrite(descriptor, view, offset)
        view, offset = view[count:], offset + count


def _punch_hole(descriptor: int, offset: int, count: int) -> None:
    done = _libc.fallocate(
        descriptor, _PUNCH_HOLE_KEEP_SIZE, ctypes.c_long(offset), ctypes.c_long(count)
    )
    if done != 0:  # a file system without holes
        for written in range(0, count, len(_ZEROES)):
            _write_all(descriptor, _ZEROES[: count - written], offset + written)
