"""Units of no guest, for the tests of a night's workers: what they do is in their text.

Workers import this module by its name, as they import the real one.
"""

from __future__ import annotations

import errno
import hashlib
import os
import signal
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from distributed import get_worker

from harness.campaign.nights.inputs import InputFile


def work(spec: Mapping[str, Any], *inputs: InputFile) -> dict[str, Any]:
    """Do what a unit says: return, die, hang, or have no space left."""
    name = str(get_worker().name)
    began, clock = time.time(), time.monotonic()
    with Path(spec["notes"]).open("a") as notes:
        notes.write(f"{spec['part']} {name} {os.getpid()}\n")
    _DO[spec["do"]](spec)
    both = hashlib.sha256(b"".join(each.path.read_bytes() for each in inputs)).hexdigest()
    return {
        "part": spec["part"], "pid": os.getpid(), "inputs": both, "began": began,
        "seconds": time.monotonic() - clock,
    }  # fmt: skip


def _sleep(spec: Mapping[str, Any]) -> None:
    time.sleep(spec.get("seconds", 0.0))


def _die_once(spec: Mapping[str, Any]) -> None:
    if tries(spec) == 1:
        os.kill(os.getpid(), signal.SIGKILL)


def _die(_: Mapping[str, Any]) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _hang_once(spec: Mapping[str, Any]) -> None:
    """Hang; the watch that real units have ends the process."""
    if tries(spec) == 1:
        watch = threading.Timer(0.3, os._exit, (70,))
        watch.daemon = True
        watch.start()
        time.sleep(600)


def _fill_disk_once(spec: Mapping[str, Any]) -> None:
    if tries(spec) == 1:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/full")


def _fill_disk(_: Mapping[str, Any]) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/full")


def _fill_disk_of_one(spec: Mapping[str, Any]) -> None:
    if str(get_worker().name) == spec["worker"]:
        _fill_disk(spec)


def tries(spec: Mapping[str, Any]) -> int:
    """Return how often a unit has been begun."""
    return len(begun(Path(spec["notes"]), spec["part"]))


def begun(notes: Path, part: str) -> list[tuple[str, int]]:
    """Return on which workers, and in which processes, a unit has been begun."""
    lines = [line.split() for line in notes.read_text().splitlines()] if notes.exists() else []
    return [(name, int(pid)) for each, name, pid in lines if each == part]


_DO = {
    "sleep": _sleep, "die-once": _die_once, "die": _die, "hang-once": _hang_once,
    "fill-disk-once": _fill_disk_once, "fill-disk": _fill_disk,
    "fill-disk-of-one": _fill_disk_of_one,
}  # fmt: skip
