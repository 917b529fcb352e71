"""Child processes that cannot outlive this one."""

from __future__ import annotations

import contextlib
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO

TERMINATE_S = 5.0


_INTERRUPTIONS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextlib.contextmanager
def temporary_folder(*, prefix: str, parent: Path | None = None) -> Iterator[Path]:
    """Give a folder that is gone afterwards, whenever an interruption comes.

    Signals wait while the folder is made and while it is removed: between making it and knowing
    of it, or halfway through its files, an exception would leave it behind.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _INTERRUPTIONS)
    try:
        folder = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
        try:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            yield folder
        finally:
            signal.pthread_sigmask(signal.SIG_BLOCK, _INTERRUPTIONS)
            shutil.rmtree(folder, ignore_errors=True)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def runtime_folder() -> Iterator[Path]:
    """Give a folder for sockets: its path is short, since a socket's may have 107 bytes."""
    with temporary_folder(prefix="mdjournal-") as folder:
        yield folder


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
