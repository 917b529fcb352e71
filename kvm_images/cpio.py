"""Write a cpio archive in the kernel's "newc" format, the same bytes for the same input.

Documentation/driver-api/early-userspace/buffer-format.rst. Owners are root, times are zero,
inode numbers count up, and the order is that of the names.
"""

from __future__ import annotations

import stat
from collections.abc import Mapping
from dataclasses import dataclass

_MAGIC = b"070701"
_TRAILER = "TRAILER!!!"


@dataclass(frozen=True, slots=True)
class Entry:
    """One file system object: *mode* has its type bits, *device* is for device nodes."""

    mode: int
    content: bytes = b""
    device: tuple[int, int] = (0, 0)


def file_entry(content: bytes, *, executable: bool = False) -> Entry:
    """Return a regular file."""
    return Entry(stat.S_IFREG | (0o755 if executable else 0o644), content)


def symlink_entry(target: str) -> Entry:
    """Return a symbolic link."""
    return Entry(stat.S_IFLNK | 0o777, target.encode())


def character_device_entry(major: int, minor: int) -> Entry:
    """Return a character device node."""
    return Entry(stat.S_IFCHR | 0o600, device=(major, minor))


def write_archive(entries: Mapping[str, Entry]) -> bytes:
    """Return an archive of *entries* by path (without leading slash), folders made as needed."""
    whole = dict(entries)
    for path in entries:
        parts = path.split("/")[:-1]
        for depth in range(1, len(parts) + 1):
            whole.setdefault("/".join(parts[:depth]), Entry(stat.S_IFDIR | 0o755))
    members = [
        _member(number, path, whole[path]) for number, path in enumerate(sorted(whole), start=1)
    ]
    members.append(_member(0, _TRAILER, Entry(0)))
    return b"".join(members)


def _member(inode: int, path: str, entry: Entry) -> bytes:
    name = path.encode() + b"\0"
    links = 2 if stat.S_ISDIR(entry.mode) else 1
    fields = (
        inode, entry.mode, 0, 0, links, 0, len(entry.content), 0, 0, *entry.device, len(name), 0,
    )  # fmt: skip
    head = _MAGIC + "".join(f"{field:08X}" for field in fields).encode()
    return _padded(head + name) + _padded(entry.content)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)
