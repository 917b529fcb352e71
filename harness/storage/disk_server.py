"""Run the recording disk server: one nbdkit for all disks of a guest."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.crash.trace import Cache
from harness.errors import HarnessError
from harness.processes import child, runtime_folder

PLUGIN = Path(__file__).resolve().parent / "nbdkit_plugin.py"
REPOSITORY = PLUGIN.parent.parent.parent
MARKS_EXPORT = "marks"
START_DEADLINE_S = 60.0
_POLL_S = 0.005


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedDisk:
    """A disk to serve: an image file and how its cache behaves. *name* is export and serial."""

    name: str
    image: Path
    cache: Cache
    logical_block_bytes: int = 512


@dataclass(frozen=True, slots=True)
class DiskServer:
    """A server that is up."""

    socket: Path
    trace: Path
    pid: int


@contextlib.contextmanager
def serving(
    disks: Sequence[ServedDisk],
    *,
    trace: Path,
    jitter_us: int = 0,
    seed: int = 0,
    bank: Path | None = None,
) -> Iterator[DiskServer]:
    """Serve *disks* and the marks' export on one socket while the block lasts.

    Args:
        disks: their images exist and have their full size.
        trace: a new file; every event is appended to it as it happens.
        jitter_us: completions are held back by up to so many microseconds, drawn from *seed*.
        seed: of the jitter.
        bank: a folder of crash states, which the mark ``state N`` puts on the disks one by one.

    Raises:
        HarnessError: nbdkit does not start, with its own last words.
    """
    log_path = trace.with_suffix(".server.log")
    with runtime_folder() as folder, log_path.open("ab") as log:
        socket, ready = folder / "nbd", folder / "ready"
        config = folder / "config.json"
        config.write_text(_config(disks, trace, jitter_us, seed, bank))
        # fmt: off
        command = [
            "nbdkit",
            "--foreground",
            "--unix", str(socket),
            "--pidfile", str(ready),  # written once the socket listens
            "--threads", "32",
            "python", str(PLUGIN),
            f"config={config}",
        ]
        # fmt: on
        environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "PYTHONDONTWRITEBYTECODE": "1"}
        with child(command, output=log, environment=environment) as process:
            _wait_until_up(process, ready, log_path)
            yield DiskServer(socket, trace, process.pid)


def _config(
    disks: Sequence[ServedDisk], trace: Path, jitter_us: int, seed: int, bank: Path | None
) -> str:
    return json.dumps(
        {
            "trace": str(trace),
            "marks": MARKS_EXPORT,
            "jitter_us": jitter_us,
            "seed": seed,
            "bank": None if bank is None else str(bank),
            "disks": [
                {
                    "name": disk.name,
                    "path": str(disk.image),
                    "size_bytes": disk.image.stat().st_size,
                    "cache": disk.cache.value,
                    "logical_block_bytes": disk.logical_block_bytes,
                }
                for disk in disks
            ],
        }
    )


def _wait_until_up(process: subprocess.Popen[bytes], ready: Path, log: Path) -> None:
    deadline = time.monotonic() + START_DEADLINE_S
    while not ready.exists():
        if process.poll() is not None or time.monotonic() > deadline:
            last = log.read_text(errors="replace").strip().splitlines()[-2:]
            raise HarnessError(f"nbdkit does not start: {' / '.join(last) or 'it says nothing'}")
        time.sleep(_POLL_S)
