"""Files that units read, the same for many of them: sent to each worker once, by what they hold.

What goes to a worker is the content; what a worker keeps in its memory is the path of a file in its
own cache. A root of 250 MB costs it no memory, and is no part of a unit.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
from collections.abc import Callable
from pathlib import Path
from pickle import PickleBuffer
from typing import Any

from harness.storage.atomic import replacing
from harness.storage.directories import cache_root
from harness.storage.images import naming_full_disk

KEPT_S = 14 * 86_400.0  # that nobody has asked for a file, before it goes
_BLOCK_BYTES = 1 << 20


class InputFile:
    """A file by the hash of its content. Unpickled, it is the same one in this machine's cache."""

    def __init__(self, path: Path, sha256: str) -> None:
        self.path = path
        self.sha256 = sha256

    def __reduce_ex__(self, protocol: object) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        """Be sent as what the file holds."""
        return received, (self.sha256, PickleBuffer(self.path.read_bytes()))


def input_of(path: Path) -> InputFile:
    """Return a file of this machine as what can be sent."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
    return InputFile(path, digest.hexdigest())


def received(sha256: str, data: bytes | bytearray | memoryview) -> InputFile:
    """Put what was sent into this machine's cache, unless it is there.

    Raises:
        Unavailable: the disk is full.
        ValueError: it is not what was sent.
    """
    folder = cache_root() / "inputs"
    path = folder / sha256
    if path.exists():
        os.utime(path)
        return InputFile(path, sha256)
    if hashlib.sha256(data).hexdigest() != sha256:
        raise ValueError(f"an input came as something else than {sha256}")
    folder.mkdir(parents=True, exist_ok=True)
    _remove_old(folder)
    with naming_full_disk(folder), replacing(path) as temporary:
        temporary.write_bytes(data)
    return InputFile(path, sha256)


def _remove_old(folder: Path) -> None:
    for each in folder.iterdir():
        with contextlib.suppress(OSError):  # another worker may be at it
            if time.time() - each.stat().st_mtime > KEPT_S:
                each.unlink()
