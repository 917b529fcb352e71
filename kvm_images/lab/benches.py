"""An array's disks on a lab machine: loop devices or disks of its own, under device-mapper.

Part of the lab's agent, on the standard library alone. Each disk is a stack::

    a file's loop device, or a disk      what holds the bytes
    mdjournal-ID-NAME-base   dm linear   exactly as large as the story wants it
    mdjournal-ID-NAME        dm          log-writes: each write goes to a log as well; else linear

A cut: all disks are suspended one after another, so that nothing on one of them can depend on what
another one did after its own; each log gets a mark there. The array is then stopped, and what the
cut leaves goes onto new loop files: of a disk with a volatile cache its log up to the mark, which
has what a flush covered and nothing else; of a disk without one what had completed.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import shutil
import tempfile
from collections.abc import Iterator
from typing import Any

from harness.crash.log_writes import LogFlag, read_entries, read_super
from kvm_images.guest import commands

Answer = dict[str, Any]

PLACE = "/var/tmp"  # noqa: S108  # on a disk; our folder in it is nobody else's
RULES = "/run/udev/rules.d/63-mdjournal.rules"
ARRAY = "/dev/md0"
MARKS = "marks"
_SECTOR = 512
_PIECE = 1 << 20
_BLOCK = 4096
_ZEROES = bytes(_PIECE)
_LOG_BYTES = 1 << 30  # sparse; a story writes some 10 MB
_MARKS_BYTES = 1 << 20
_DEADLINE_S = 120.0
_CUT = "cut"


class Failed(Exception):
    """A command of this machine's failed; the text says which, and what it said."""


class Bench:
    """The disks of one story, until `tear_down`."""

    def __init__(self, rules: str) -> None:
        self.folder = tempfile.mkdtemp(prefix="mdjournal-", dir=PLACE)
        self._prefix = os.path.basename(self.folder)
        self._records = False
        self._generation = 0
        self._disks: list[Answer] = []
        self._undo: list[list[str]] = []  # commands, the last one first
        self._own_disks: list[str] = []
        os.makedirs(os.path.dirname(RULES), exist_ok=True)
        with open(RULES, "w", encoding="ascii") as file:
            file.write(rules)
        _run("udevadm", "control", "--reload")

    def build(self, disks: list[Answer], *, records: bool) -> dict[str, str]:
        """Make the disks: ``name``, ``size_bytes``, ``device`` (empty: a file), ``block_bytes``.

        Returns:
            The node of each by name, and of ``marks``.
        """
        self._records = records
        self._disks = disks
        for disk in disks:
            if disk["device"]:
                self._own_disks.append(disk["device"])
                _wipe(disk["device"], disk["size_bytes"])
            else:
                disk["file"] = self._file(disk["name"], disk["size_bytes"])
        return self._stack()

    def cut(self, *, volatile: list[str]) -> dict[str, str]:
        """Take the power away, as far as that can be had here; see the module's own words.

        Args:
            volatile: names of the disks that lose what no flush covered.

        Returns:
            The nodes of what is left, by name.
        """
        names = [disk["name"] for disk in self._disks]
        kept: dict[str, str] = {}
        for name in names:
            _run("dmsetup", "suspend", "--noflush", "--nolockfs", self._top(name))
        for name, disk in zip(names, self._disks, strict=True):
            if name in volatile:
                _run("dmsetup", "message", self._top(name), "0", "mark", _CUT)
            else:
                kept[name] = self._copy(disk, "cut")
        for name in names:
            _run("dmsetup", "resume", self._top(name))
        if os.path.exists(f"/sys/block/{os.path.basename(ARRAY)}"):
            _run("mdadm", "--stop", ARRAY)
        before = {disk["name"]: disk for disk in self._disks}
        self._unstack()
        for name in volatile:
            kept[name] = before[name]["start"]
            _replay(before[name]["log"], kept[name])
        self._generation += 1
        self._disks = [{**disk, "device": "", "file": kept[disk["name"]]} for disk in self._disks]
        return self._stack()

    def blocks(self, name: str) -> Iterator[tuple[int, bytes]]:
        """Yield the blocks of a disk that are not all zeroes, by number."""
        disk = next(disk for disk in self._disks if disk["name"] == name)
        for at, piece in _pieces(disk["device"] or disk["file"], disk["size_bytes"]):
            for start in range(0, len(piece), _BLOCK):
                block = piece[start : start + _BLOCK]
                if block != _ZEROES[: len(block)]:
                    yield (at + start) // _BLOCK, block

    def tear_down(self) -> None:
        """Remove all of it; a disk of the machine's own is left blank."""
        with contextlib.suppress(Failed):
            if os.path.exists("/sys/block/md0"):
                _run("mdadm", "--stop", ARRAY)
        self._unstack()
        for device in self._own_disks:
            _wipe(device, _PIECE)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(RULES)
        with contextlib.suppress(Failed):
            _run("udevadm", "control", "--reload")
        shutil.rmtree(self.folder, ignore_errors=True)

    def _stack(self) -> dict[str, str]:
        nodes = {}
        for disk in self._disks:
            name, size = disk["name"], disk["size_bytes"]
            under = disk["device"] or self._loop(disk["file"], disk["block_bytes"])
            self._dm(f"{self._top(name)}-base", f"0 {size // _SECTOR} linear {under} 0")
            base = f"/dev/mapper/{self._top(name)}-base"
            table = f"0 {size // _SECTOR} linear {base} 0"
            if self._records:
                # A log goes on from this; what is first given out is blank.
                disk["start"] = (
                    self._copy(disk, "start")
                    if self._generation
                    else self._file(f"{name}-start", size)
                )
                disk["log"] = self._file(f"{name}-log", _LOG_BYTES)
                log = self._loop(disk["log"], disk["block_bytes"])
                table = f"0 {size // _SECTOR} log-writes {base} {log}"
            self._dm(self._top(name), table)
            nodes[name] = os.path.realpath(f"/dev/mapper/{self._top(name)}")
        nodes[MARKS] = self._loop(self._file(MARKS, _MARKS_BYTES), _SECTOR)
        _run("udevadm", "settle")
        return nodes

    def _unstack(self) -> None:
        _run("udevadm", "settle")  # it may be looking at one of them
        while self._undo:
            _run(*self._undo.pop())

    def _top(self, name: str) -> str:
        return f"{self._prefix}-{self._generation}-{name}"

    def _dm(self, name: str, table: str) -> None:
        _run("dmsetup", "create", name, "--table", table)
        self._undo.append(["dmsetup", "remove", "--retry", name])

    def _loop(self, path: str, block_bytes: int) -> str:
        node = _run("losetup", "--find", "--show", "--sector-size", str(block_bytes), path).strip()
        self._undo.append(["losetup", "--detach", node])
        return node

    def _file(self, name: str, size_bytes: int) -> str:
        path = os.path.join(self.folder, f"{self._generation}-{name}")
        with open(path, "wb") as file:
            file.truncate(size_bytes)
        return path

    def _copy(self, disk: Answer, kind: str) -> str:
        """Copy what a disk holds below its log, into a sparse file."""
        path = self._file(f"{disk['name']}-{kind}", disk["size_bytes"])
        with open(path, "r+b") as file:
            for at, piece in _pieces(disk["device"] or disk["file"], disk["size_bytes"]):
                file.seek(at)
                file.write(piece)
        return path


def _replay(log: str, onto: str) -> None:
    """Write the entries of a log up to the mark of the cut."""
    with open(log, "rb") as file, open(onto, "r+b") as disk:
        text = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
        sector = read_super(text[:_SECTOR]).sector_bytes
        for entry in read_entries(memoryview(text)):
            if LogFlag.MARK in entry.flags:
                if entry.data.rstrip(b"\0").decode(errors="replace") == _CUT:
                    return
                continue
            if entry.sectors:
                disk.seek(entry.sector * sector)
                disk.write(entry.data or bytes(entry.sectors * sector))
    raise Failed(f"{log}: has no mark of the cut")


def _pieces(path: str, size_bytes: int) -> Iterator[tuple[int, bytes]]:
    """Yield what is not zeroes of a file, or of a device past its page cache, and where it is."""
    is_file = os.path.isfile(path)
    buffer = mmap.mmap(-1, _PIECE)
    descriptor = os.open(path, os.O_RDONLY | (0 if is_file else os.O_DIRECT))
    try:
        at = 0
        while at < size_bytes:
            if is_file:
                try:
                    at = os.lseek(descriptor, at, os.SEEK_DATA) // _BLOCK * _BLOCK
                except OSError:  # nothing but a hole up to the end
                    return
            count = min(os.preadv(descriptor, [buffer], at), size_bytes - at)
            if count <= 0:
                return
            piece = buffer[:count]
            if piece != _ZEROES[:count]:
                yield at, piece
            at += count
    finally:
        os.close(descriptor)


def _wipe(device: str, size_bytes: int) -> None:
    """Write zeroes over the beginning of a device."""
    with open(device, "r+b") as file:
        file.writelines(bytes(min(_PIECE, size_bytes - at)) for at in range(0, size_bytes, _PIECE))
        file.flush()
        os.fsync(file.fileno())


def _run(*argv: str) -> str:
    done = commands.run(argv=list(argv), deadline_s=_DEADLINE_S)
    if done["status"] != 0 or done["stack"]:
        raise Failed(f"`{' '.join(argv)}` ended with {done['status']}: {done['output'].strip()}")
    return str(done["output"])
