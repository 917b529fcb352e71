"""A machine behind SSH as a host, through fabric."""

from __future__ import annotations

import io
import shlex
import time
from collections.abc import Sequence

import fabric
from invoke.exceptions import CommandTimedOut

from harness.hosts.host import CommandResult


class SshHost:
    """Runs commands over one connection; close it with `close`."""

    def __init__(self, connection: fabric.Connection) -> None:
        self._connection = connection

    @property
    def name(self) -> str:
        """User and host, as one would type them."""
        return f"{self._connection.user}@{self._connection.host}"

    def run(self, argv: Sequence[str], *, deadline_s: float, stdin: str = "") -> CommandResult:
        """Run a command on the other machine."""
        began = time.monotonic()
        status: int | None
        try:
            done = self._connection.run(
                shlex.join(argv) + " 2>&1", hide=True, warn=True, timeout=deadline_s,
                in_stream=io.StringIO(stdin),  # its end reaches the command
            )  # fmt: skip
            status, output = done.exited, done.stdout
        except CommandTimedOut as late:
            status, output = None, late.result.stdout
        return CommandResult(
            self.name, tuple(argv), status, output, time.monotonic() - began,
            "left at its deadline" if status is None else "",
        )  # fmt: skip

    def read_text(self, path: str) -> str:
        """Return a small text file of the other machine."""
        return self._checked(["cat", "--", path], "")

    def write_text(self, path: str, text: str) -> None:
        """Write a small text file of the other machine."""
        self._checked(["dd", f"of={path}", "status=none"], text)

    def close(self) -> None:
        """End the connection."""
        self._connection.close()

    def _checked(self, argv: Sequence[str], stdin: str) -> str:
        result = self.run(argv, deadline_s=30, stdin=stdin)
        if result.status != 0:
            raise OSError(str(result))
        return result.output
