"""An array that is assembled and stopped again and again, without a process for each.

Part of the guest's agent, on the standard library alone. The requests are those of
``linux/raid/md_u.h`` that mdadm makes to assemble an array with 1.2 metadata: which devices there
are is all that it says, the rest is in their superblocks.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import mmap
import os
import struct
import time
import zlib
from collections.abc import Callable, Sequence
from typing import Any

from kvm_images.guest.waiting import ARRAY, Hung, Worker

SET_ARRAY_INFO = 0x40480923
ADD_NEW_DISK = 0x40140921
RUN_ARRAY = 0x400C0930
STOP_ARRAY = 0x932

DEVICE = f"/dev/{ARRAY}"
SYSFS = f"/sys/block/{ARRAY}/md"
POLL_S = 0.001
OPEN_TRIES_S = 30.0
STOP_TRIES_S = 30.0
PAGE_BYTES = 4096
_SUPERBLOCK_AT = 4096
_EVENTS, _TAIL = 200, 152  # in a superblock

_GOING = (errno.ENOENT, errno.ENXIO, errno.ENODEV, errno.EBUSY)

Run = Callable[..., dict[str, Any]]


class MdArray:
    """The one array of a guest."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._worker = Worker()
        self._buffer = mmap.mmap(-1, PAGE_BYTES)
        self._nodes: dict[str, int] = {}  # node -> descriptor
        self._array = -1

    def assemble(self, nodes: Sequence[str], deadline_s: float) -> None:
        """Assemble and start it as md does when nobody asks mdadm; *nodes*: a journal last.

        Raises:
            OSError: md refuses.
            Hung: it never answers.
        """
        self._worker.do(lambda: self._assemble(nodes), deadline_s)

    def assemble_by_mdadm(self, nodes: Sequence[str], deadline_s: float) -> dict[str, Any]:
        """Let mdadm assemble it, without ``--force``; return how it ended."""
        self.close()
        argv = ["/sbin/mdadm", "--assemble", DEVICE, *nodes]
        return self._run(argv=argv, deadline_s=deadline_s)

    def stop(self, deadline_s: float) -> None:
        """Stop it, and let its device go; one that is not there is stopped."""
        self._worker.do(self._stop, deadline_s)
        self.close()

    def stop_by_mdadm(self) -> None:
        """Let mdadm stop it."""
        ended = self._run(argv=["/sbin/mdadm", "--stop", DEVICE], deadline_s=STOP_TRIES_S)
        if ended["stack"]:
            raise Hung(ended["stack"])
        if ended["status"]:
            raise OSError(errno.EBUSY, ended["output"].strip())

    def close(self) -> None:
        """Let the device go.

        Every array has a device of its own, since later kernels do not let one be used again; and
        mdadm makes its own, and takes none that somebody has open.
        """
        if self._array >= 0:
            os.close(self._array)
            self._array = -1

    def settle(self, nodes: Sequence[str], deadline_s: float) -> bool:
        """Wait until all superblocks count the same events, and the journal's has md's tail.

        An array that md holds read-only writes no superblocks: it is as settled as it gets.
        """
        if read_attribute("array_state") == "readonly":
            return True
        deadline = time.monotonic() + deadline_s
        while time.monotonic() < deadline:
            superblocks = [self._superblock(node) for node in nodes]
            if len({events for events, _ in superblocks}) == 1:
                tail = live_tail(nodes[-1])
                if tail is None or tail == superblocks[-1][1]:
                    return True
            time.sleep(POLL_S)
        return False

    def read_pages(self, pages: Sequence[int], deadline_s: float) -> list[int]:
        """Return zlib.crc32 of each of these pages of the array, as md reads them now."""
        found: list[int] = []
        self._open()
        self._worker.do(
            lambda: found.extend(
                zlib.crc32(os.pread(self._array, PAGE_BYTES, page * PAGE_BYTES)) for page in pages
            ),
            deadline_s,
        )
        return found

    def check(self, sectors: int, deadline_s: float) -> int:
        """Have md check the redundancy of the first *sectors* of each member.

        Returns:
            What ``mismatch_cnt`` says afterwards, in sectors.
        """
        write_attribute("sync_min", "0")
        write_attribute("sync_max", str(sectors))
        write_attribute("sync_action", "check")
        deadline = time.monotonic() + deadline_s
        # A check up to sync_max stays there, waiting for the limit to be moved, until it is idle.
        while read_attribute("sync_completed").split(" ")[0] != str(sectors):
            if read_attribute("sync_action") == "idle" or time.monotonic() > deadline:
                break
            time.sleep(POLL_S)
        found = int(read_attribute("mismatch_cnt"))
        write_attribute("sync_action", "idle")
        while read_attribute("sync_action") != "idle":
            if time.monotonic() > deadline:
                raise OSError(errno.ETIMEDOUT, "the check does not end")
            time.sleep(POLL_S)
        return found

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
                self._array = os.open(DEVICE, os.O_RDWR)
            except OSError as error:
                if error.errno not in _GOING or time.monotonic() > deadline:
                    raise
                time.sleep(POLL_S)

    def _assemble(self, nodes: Sequence[str]) -> None:
        self._open()
        fcntl.ioctl(self._array, SET_ARRAY_INFO, struct.pack("<18i", 1, 2, *[0] * 16))
        for node in nodes:
            device = os.stat(node).st_rdev
            disk = struct.pack("<5i", 0, os.major(device), os.minor(device), 0, 0)
            fcntl.ioctl(self._array, ADD_NEW_DISK, disk)
        fcntl.ioctl(self._array, RUN_ARRAY, bytes(12))

    def _stop(self) -> None:
        self._open()
        deadline = time.monotonic() + STOP_TRIES_S
        while True:
            try:
                fcntl.ioctl(self._array, STOP_ARRAY)
            except OSError as error:
                if error.errno == errno.ENODEV:
                    return
                if time.monotonic() > deadline:
                    raise
                time.sleep(POLL_S)  # something just looks at it, such as a scan for partitions
            else:
                return

    def _superblock(self, node: str) -> tuple[int, int]:
        if node not in self._nodes:
            self._nodes[node] = os.open(node, os.O_RDONLY | os.O_DIRECT)
        os.preadv(self._nodes[node], [self._buffer], _SUPERBLOCK_AT)
        (events,) = struct.unpack_from("<Q", self._buffer, _EVENTS)
        (tail,) = struct.unpack_from("<Q", self._buffer, _TAIL)
        return events, tail


def live_tail(journal: str) -> int | None:
    """Return the tail that md has in memory; ``None``: this device is no journal."""
    folder = f"dev-{os.path.basename(journal)}"
    if read_attribute(f"{folder}/slot") != "journal":
        return None
    return int(read_attribute(f"{folder}/recovery_start"))


def read_attribute(name: str) -> str:
    """Return what the array's sysfs says under a name."""
    with open(f"{SYSFS}/{name}", encoding="ascii") as file:
        return file.read().strip()


def write_attribute(name: str, text: str) -> None:
    """Write one attribute of the array's sysfs."""
    _write(f"{SYSFS}/{name}", text)


def _write(path: str, text: str) -> None:
    with open(path, "w", encoding="ascii") as file:
        file.write(text)
