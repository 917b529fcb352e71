"""Run a command in the guest, to its end or its deadline.

Part of the guest's agent, on the standard library alone.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import time
from typing import IO, Any

from kvm_images.guest.patience import Patience

POLL_S = 0.002
PIPE_BYTES = 65536  # all that a pipe holds

Answer = dict[str, Any]


def run(*, argv: list[str], deadline_s: float, stdin: str = "") -> Answer:
    """Run a command; return exit status, output (both streams in one) and duration.

    A command that hangs behind its deadline (`Patience`) is killed with its whole process group.
    One that cannot be killed, since it sleeps in the kernel, is left: the answer has its stack.
    """
    began = time.monotonic()
    try:
        process = subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            start_new_session=True, bufsize=0,
        )  # fmt: skip
    except OSError as error:
        return _ended(127, f"{argv[0]}: {error.strerror}", 0.0)
    assert process.stdin is not None
    assert process.stdout is not None
    output = bytearray()
    stack = ""
    with process.stdin, process.stdout:
        if not _collect(process, stdin.encode(), output, Patience(deadline_s)):
            stack = _stack_of(process.pid)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(1.0)
    said = output.decode(errors="replace")
    return _ended(process.poll(), said, time.monotonic() - began, stack)


def _ended(status: int | None, output: str, seconds: float, stack: str = "") -> Answer:
    return {"status": status, "output": output, "seconds": seconds, "stack": stack}


def _collect(
    process: subprocess.Popen[bytes], stdin: bytes, output: bytearray, patience: Patience
) -> bool:
    """Feed and drain a process until it has ended; False when patience did first."""
    assert process.stdin is not None
    assert process.stdout is not None
    pipe = process.stdout.fileno()
    os.set_blocking(pipe, False)
    os.set_blocking(process.stdin.fileno(), False)
    while True:
        ended = process.poll() is not None
        stdin = _feed(process.stdin, stdin)
        chunk = b""
        if select.select([pipe], [], [], 0 if ended else POLL_S)[0]:
            chunk = os.read(pipe, PIPE_BYTES)
            output += chunk
        # What it left is in that one read; a child of its own may keep the pipe open, and talk.
        if ended:
            return True
        if patience.is_over():
            return False
        if not chunk:
            time.sleep(POLL_S)


def _feed(sink: IO[bytes], data: bytes) -> bytes:
    """Write what the pipe takes just now, and close it behind the end; return what is left."""
    if sink.closed:
        return b""
    try:
        data = data[os.write(sink.fileno(), data) :]
    except BlockingIOError:
        return data
    except BrokenPipeError:
        data = b""
    if not data:
        sink.close()
    return data


def _stack_of(pid: int) -> str:
    """Return where a process is in the kernel; never empty."""
    try:
        with open(f"/proc/{pid}/stack", encoding="ascii", errors="replace") as stack:
            return stack.read().strip() or "not in the kernel"
    except OSError as error:
        return f"no stack: {error.strerror}"
