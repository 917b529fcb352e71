"""What a worker does of a night: one unit of work, of what was sent to it.

It runs in a process of its own, maybe on another machine, that knows nothing but this module's
arguments: JSON values, and the kernel's image and the guest's initramfs, which each worker has got
once.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness.campaign.exploring.alone import alone_in
from harness.campaign.nights.inputs import InputFile
from harness.errors import BadInput
from harness.processes import temporary_folder
from tools.nightly_finding import minimised, repeated
from tools.nightly_told import Unit, image_of
from tools.nightly_work import explored, fuzzed, told

_FOLDER = "mdjournal-unit-"
_FRESH_S = 60.0
_HUNG = 70  # exit status of a worker that ends itself: its unit has hung


def run_unit(spec: Mapping[str, Any], *inputs: InputFile) -> dict[str, Any]:
    """Do a unit of work; return what it came to as plain values, a bundle of it among them.

    A unit that is there longer than its limit ends this process: whoever runs workers starts
    another one, and the unit is repeated elsewhere.

    Args:
        spec: ``do``: explore, fuzz, scenario, minimise or repro; and what that takes.
        inputs: the kernel's image, the guest's initramfs, and of a full guest its root.
    """
    watch = threading.Timer(float(spec["limit_s"]), os._exit, (_HUNG,))
    watch.daemon = True
    watch.start()
    began, clock = time.time(), time.monotonic()
    try:
        _clear_what_the_dead_left()
        with temporary_folder(prefix=_FOLDER) as folder, alone_in(folder):
            found = _DO[spec["do"]](Unit(spec, image_of(spec, *inputs), folder))
    finally:
        watch.cancel()
    return {**found, "began": began, "seconds": time.monotonic() - clock}


def _clear_what_the_dead_left() -> None:
    """Remove the folders of units whose worker was killed: nobody holds them any more."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_FOLDER}*"):
        with contextlib.suppress(BadInput, OSError):
            if time.time() - folder.stat().st_mtime > _FRESH_S:  # else it may not be held yet
                with alone_in(folder):
                    shutil.rmtree(folder, ignore_errors=True)


_DO = {
    "explore": explored, "fuzz": fuzzed, "scenario": told, "minimise": minimised,
    "repro": repeated,
}  # fmt: skip
