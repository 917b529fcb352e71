"""Child processes that cannot outlive this one."""

from __future__ import annotations

import contextlib
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO

TERMINATE_S = 5.0


@contextlib.contextmanager
def runtime_folder() -> Iterator[Path]:
    """Give a folder for sockets: its path is short, since a socket's may have 107 bytes."""
    with tempfile.TemporaryDirectory(prefix="mdjournal-") as name:
        yield Path(name)


@contextlib.contextmanager
def child(
    command: Sequence[str], *, output: IO[bytes], environment: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """Run *command* while the block lasts; then end it, and wait until it has ended.

    A session of its own keeps the terminal's Ctrl-C away, so that the block's owner ends it in
    order; the parent-death signal ends it should the owner be killed.
    """
    process = subprocess.Popen(
        ["setpriv", "--pdeathsig", "KILL", "--", *command],
        stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
        start_new_session=True, env=None if environment is None else dict(environment),
    )  # fmt: skip
    try:
        yield process
    finally:
        end(process)


def end(process: subprocess.Popen[bytes]) -> None:
    """Terminate a process, kill it where that does not help, and reap it."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(TERMINATE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
