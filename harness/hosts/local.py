"""This machine as a host, through ``sh``."""

from __future__ import annotations

import io
import time
from collections.abc import Sequence
from pathlib import Path

import sh

from harness.hosts.host import CommandResult


class LocalHost:
    """Runs commands here."""

    name = "this machine"

    def run(self, argv: Sequence[str], *, deadline_s: float, stdin: str = "") -> CommandResult:
        """Run a command; 127 stands for one that does not exist, as in a shell."""
        began = time.monotonic()
        said = io.BytesIO()
        status: int | None
        try:
            sh.Command(argv[0])(
                *argv[1:], _in=stdin, _out=said, _err_to_out=True, _tty_out=False,
                _timeout=deadline_s,
            )  # fmt: skip
            status = 0
        except sh.ErrorReturnCode as ended:
            status = ended.exit_code
        except sh.CommandNotFound:
            status = 127
            said.write(f"{argv[0]}: command not found".encode())
        except sh.TimeoutException:
            status = None
        output = said.getvalue().decode(errors="replace")
        return CommandResult(
            self.name, tuple(argv), status, output, time.monotonic() - began,
            "killed at its deadline" if status is None else "",
        )  # fmt: skip

    def read_text(self, path: str) -> str:
        """Return a small text file."""
        return Path(path).read_text(errors="replace")

    def write_text(self, path: str, text: str) -> None:
        """Write a small text file."""
        Path(path).write_text(text)
