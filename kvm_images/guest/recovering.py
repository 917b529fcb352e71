"""Assemble crash states one after another, without a process for each: what mdadm asks of md.

Runs in the guest as part of its agent, on the standard library alone. The requests are those of
``linux/raid/md_u.h`` that mdadm makes to assemble an array with 1.2 metadata: which devices there
are is all that it says, the rest is in their superblocks. mdadm itself is asked where its own
judgement could matter (see ``by_mdadm``).
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import glob
import mmap
import os
import queue
import struct
import threading
import time
import zlib
from collections.abc import Callable
from typing import Any

SET_ARRAY_INFO = 0x40480923
ADD_NEW_DISK = 0x40140921
RUN_ARRAY = 0x400C0930
STOP_ARRAY = 0x932

ARRAY = "md0"
SYSFS = f"/sys/block/{ARRAY}/md"
POLL_S = 0.001
OPEN_TRIES_S = 30.0
STOP_TRIES_S = 30.0
READ_DEADLINE_S = 60.0
PAGE_BYTES = 4096
_SUPERBLOCK_AT = 4096
_EVENTS, _TAIL = 200, 152  # in a superblock

_GOING = (errno.ENOENT, errno.ENXIO, errno.ENODEV, errno.EBUSY)

Answer = dict[str, Any]
Run = Callable[..., Answer]


class Hung(Exception):
    """A request to md did not come back; where its thread is in the kernel."""


class _Worker:
    """A thread that does what may never come back."""

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
            raise Hung(stacks(self._thread.native_id)) from None
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


class Recoverer:
    """One array, assembled and stopped again and again."""

    def __init__(self, mark: Callable[[str], object], run: Run) -> None:
        self._mark = mark
        self._run = run
        self._worker = _Worker()
        self._kmsg = os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK)
        self._buffer = mmap.mmap(-1, 4096)
        self._nodes: dict[str, int] = {}  # node -> descriptor
        self._array = -1

    def recover(
        self,
        number: int,
        nodes: list[str],
        *,
        by_mdadm: bool,
        read_pages: int,
        deadline_s: float,
    ) -> Answer:
        """Have the state *number* put on the disks, and let md recover it.

        Args:
            number: of the state.
            nodes: what to assemble, a journal last.
            by_mdadm: whether mdadm does that.
            read_pages: so many pages are read from the array's beginning, each for its CRC-32.
            deadline_s: for each request to md.

        Returns:
            What came of it: ``assembled``, ``settled``, ``stopped``, seconds, what md said, and
            where it hangs if it does.
        """
        self._log()
        self._mark(f"state {number}")
        began = time.monotonic()
        answer: Answer = {
            "number": number, "assembled": False, "settled": False, "stopped": False,
            "error": "", "stack": "",
        }  # fmt: skip
        try:
            self._start(nodes, answer, by_mdadm=by_mdadm, deadline_s=deadline_s)
            stop = self._mdadm_stop if by_mdadm else lambda: self._worker.do(self._stop, deadline_s)
            if answer["assembled"]:
                answer["assemble_s"] = time.monotonic() - began
                answer["settled"] = self._settle(nodes, deadline_s)
                self._mark(f"settled {number}")
                answer["read"] = self._read_back(read_pages)
                stop()
                answer["stopped"] = True
            else:
                with contextlib.suppress(OSError):
                    stop()
            # Every array has a device of its own: later kernels do not let one be used again.
            self._close()
        except Hung as hung:
            answer["stack"] = str(hung)
        except OSError as error:
            answer["error"] = f"stop: {error.strerror}"
        self._mark(f"over {number}")
        answer["seconds"] = time.monotonic() - began
        answer["log"] = self._log()
        return answer

    def _open(self) -> None:
        """Have the array's device, not yet started.

        That of the array before goes some time after it was closed: until then a new one cannot be
        made, and the old one not be opened.
        """
        deadline = time.monotonic() + OPEN_TRIES_S
        while self._array < 0:
            try:
                with contextlib.suppress(FileExistsError):
                    _write("/sys/module/md_mod/parameters/new_array", ARRAY)
                self._array = os.open(f"/dev/{ARRAY}", os.O_RDWR)
            except OSError as error:
                if error.errno not in _GOING or time.monotonic() > deadline:
                    raise
                time.sleep(POLL_S)

    def _close(self) -> None:
        """Let the device go: mdadm makes its own, and takes none that somebody has open."""
        if self._array >= 0:
            os.close(self._array)
            self._array = -1

    def _start(
        self, nodes: list[str], answer: Answer, *, by_mdadm: bool, deadline_s: float
    ) -> None:
        if by_mdadm:
            self._close()
            argv = ["/sbin/mdadm", "--assemble", f"/dev/{ARRAY}", *nodes]
            ended = self._run(argv=argv, deadline_s=deadline_s)
            answer["assembled"] = ended["status"] == 0
            answer["error"] = ended["output"] if ended["status"] else ""
            answer["stack"] = ended["stack"]
            return
        try:
            self._worker.do(lambda: self._assemble(nodes), deadline_s)
        except OSError as error:
            answer["error"] = f"md: {error.strerror}"
        else:
            answer["assembled"] = True

    def _assemble(self, nodes: list[str]) -> None:
        self._open()
        fcntl.ioctl(self._array, SET_ARRAY_INFO, struct.pack("<18i", 1, 2, *[0] * 16))
        for node in nodes:
            device = os.stat(node).st_rdev
            disk = struct.pack("<5i", 0, os.major(device), os.minor(device), 0, 0)
            fcntl.ioctl(self._array, ADD_NEW_DISK, disk)
        fcntl.ioctl(self._array, RUN_ARRAY, bytes(12))

    def _read_back(self, pages: int) -> list[int]:
        found: list[int] = []
        if pages:
            self._open()
            self._worker.do(
                lambda: found.extend(
                    zlib.crc32(os.pread(self._array, PAGE_BYTES, number * PAGE_BYTES))
                    for number in range(pages)
                ),
                READ_DEADLINE_S,
            )
        return found

    def _stop(self) -> None:
        self._open()
        deadline = time.monotonic() + STOP_TRIES_S
        while True:
            try:
                fcntl.ioctl(self._array, STOP_ARRAY)
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(POLL_S)  # something just looks at it, such as a scan for partitions
            else:
                return

    def _mdadm_stop(self) -> None:
        ended = self._run(argv=["/sbin/mdadm", "--stop", f"/dev/{ARRAY}"], deadline_s=STOP_TRIES_S)
        if ended["stack"]:
            raise Hung(ended["stack"])
        if ended["status"]:
            raise OSError(errno.EBUSY, ended["output"].strip())

    def _settle(self, nodes: list[str], deadline_s: float) -> bool:
        """Wait until all superblocks count the same events, and the journal's has md's tail."""
        deadline = time.monotonic() + deadline_s
        while time.monotonic() < deadline:
            superblocks = [self._superblock(node) for node in nodes]
            if len({events for events, _ in superblocks}) == 1:
                tail = self._live_tail(nodes[-1])
                if tail is None or tail == superblocks[-1][1]:
                    return True
            time.sleep(POLL_S)
        return False

    def _superblock(self, node: str) -> tuple[int, int]:
        if node not in self._nodes:
            self._nodes[node] = os.open(node, os.O_RDONLY | os.O_DIRECT)
        os.preadv(self._nodes[node], [self._buffer], _SUPERBLOCK_AT)
        (events,) = struct.unpack_from("<Q", self._buffer, _EVENTS)
        (tail,) = struct.unpack_from("<Q", self._buffer, _TAIL)
        return events, tail

    def _live_tail(self, journal: str) -> int | None:
        """Return the tail that md has in memory; ``None``: this device is no journal."""
        folder = f"{SYSFS}/dev-{os.path.basename(journal)}"
        with open(f"{folder}/slot", encoding="ascii") as file:
            if file.read().strip() != "journal":
                return None
        with open(f"{folder}/recovery_start", encoding="ascii") as file:
            return int(file.read())

    def _log(self) -> list[str]:
        """Return what the kernel said since the last time."""
        lines: list[str] = []
        while True:
            try:
                record = os.read(self._kmsg, 8192).decode(errors="replace")
            except BlockingIOError:
                return lines
            except BrokenPipeError:  # overwritten while it was read
                continue
            lines.append(record.partition(";")[2].split("\n", 1)[0])


def stacks(thread: int | None) -> str:
    """Return where a thread of ours, and md's own threads, are in the kernel."""
    found = [f"assembling:\n{_read(f'/proc/self/task/{thread}/stack')}"]
    for path in glob.glob("/proc/[0-9]*/comm"):
        name = _read(path).strip()
        if name.startswith((ARRAY, "mdadm")):
            found.append(f"{name}:\n{_read(path.replace('comm', 'stack'))}")
    return "\n".join(found)


def _write(path: str, text: str) -> None:
    with open(path, "w", encoding="ascii") as file:
        file.write(text)


def _read(path: str) -> str:
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            return file.read().rstrip()
    except OSError as error:
        return error.strerror or "cannot be read"
