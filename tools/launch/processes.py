"""Children that write to a log, and locks between several starts of the launcher."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

_INTERRUPTIONS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def say(message: str) -> None:
    """Tell the person one line; stdout belongs to the subcommand."""
    print(f"mdjournal: {message}", file=sys.stderr, flush=True)


def run(
    command: Sequence[str | Path],
    *,
    log: Path,
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
    must_finish: bool = False,
) -> int:
    """Run a child with its output appended to ``log``; its exit status.

    An interruption of this process ends the child, and whatever it started, before it goes on up.
    With ``must_finish`` the child is only asked (SIGINT) and then waited for: a killed dpkg leaves
    the machine's package database half-written.
    """
    with contextlib.ExitStack() as stack:
        output = stack.enter_context(log.open("ab"))
        # One that comes inside Popen would leave a child that nobody knows of.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _INTERRUPTIONS)
        stack.callback(signal.pthread_sigmask, signal.SIG_SETMASK, before)
        child = stack.enter_context(
            subprocess.Popen(
                [str(part) for part in command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=environment,
                cwd=folder,
                # Its own session: Ctrl-C reaches us alone, and we decide how the child ends.
                start_new_session=True,
                preexec_fn=lambda: signal.pthread_sigmask(signal.SIG_SETMASK, before),
            )
        )
        try:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            return child.wait()
        except BaseException:
            if must_finish:
                child.send_signal(signal.SIGINT)
                child.wait()
            else:
                _end(child)
            raise


def _end(child: subprocess.Popen[bytes]) -> None:
    # Twice to the whole group, since the leader's end says nothing about what it started.
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(timeout=5)


@contextlib.contextmanager
def locked(path: Path, waiting_for: str) -> Iterator[None]:
    """Hold a lock among all starts of the launcher; say so when another one has it."""
    with path.open("ab") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"waiting for another start: {waiting_for} ...")
            fcntl.flock(lock, fcntl.LOCK_EX)
        # Closing the file lets go; the file itself stays, or two starts could lock two files.
        yield


def last_lines(log: Path, wanted: Callable[[str], bool], count: int) -> list[str]:
    """A log's last lines for which ``wanted`` holds, without repeats, none overlong."""
    try:
        lines = log.read_text(errors="replace").splitlines()
    except OSError:
        return []
    chosen = dict.fromkeys(line.strip()[:300] for line in lines if line.strip() and wanted(line))
    return list(chosen)[-count:]
