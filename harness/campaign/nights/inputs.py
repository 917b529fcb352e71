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

from harness.errors import BadInput, HarnessError
from harness.storage.atomic import replacing
from harness.storage.directories import cache_root
from harness.storage.images import naming_full_disk

KEPT_S = 14 * 86_400.0  # that nobody has asked for a file, before it goes


class InputFile:
    """A file by the hash of its content. Unpickled, it is the same one in this machine's cache."""

    def __init__(self, path: Path, sha256: str, problem: str = "") -> None:
        self.path = path
        self.sha256 = sha256
        self.problem = problem  # why it is not there: whoever unpickles must not raise

    def __reduce_ex__(self, protocol: object) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        """Be sent as what the file holds."""
        try:
            data = PickleBuffer(self.path.read_bytes())
        except OSError as error:
            problem = self.problem or f"{self.path}: cannot be sent: {error.strerror}"
            return InputFile, (self.path, self.sha256, problem)
        return received, (self.sha256, data)


def input_of(path: Path) -> InputFile:
    """Return a file of this machine as what can be sent."""
    with path.open("rb") as file:
        return InputFile(path, hashlib.file_digest(file, "sha256").hexdigest())


def received(sha256: str, data: bytes | bytearray | memoryview) -> InputFile:
    """Put what was sent into this machine's cache, unless it is there; where that cannot be done
    the file says why.
    """
    path = cache_root() / "inputs" / sha256
    try:
        _keep(path, data)
    except (HarnessError, OSError) as error:
        return InputFile(path, sha256, problem=f"{path}: cannot be kept: {error}")
    return InputFile(path, sha256)


def _keep(path: Path, data: bytes | bytearray | memoryview) -> None:
    if path.exists():
        os.utime(path)
        return
    if hashlib.sha256(data).hexdigest() != path.name:
        raise BadInput("it came as something else")
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_old(path.parent)
    with naming_full_disk(path.parent), replacing(path) as temporary:
        temporary.write_bytes(data)


def _remove_old(folder: Path) -> None:
    for each in folder.iterdir():
        with contextlib.suppress(OSError):  # another worker may be at it
            if time.time() - each.stat().st_mtime > KEPT_S:
                each.unlink()
