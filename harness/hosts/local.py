"""This machine as a host, through ``sh``."""

from __future__ import annotations

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
        status: int | None
        try:
            output = sh.Command(argv[0])(
                *argv[1:], _in=stdin, _err_to_out=True, _timeout=deadline_s
            )
            status = 0
        except sh.ErrorReturnCode as ended:
            status, output = ended.exit_code, ended.stdout.decode(errors="replace")
        except sh.CommandNotFound:
            status, output = 127, f"{argv[0]}: command not found"
        except sh.TimeoutException:
            status, output = None, ""
        return CommandResult(
            self.name, tuple(argv), status, str(output), time.monotonic() - began,
            "killed at its deadline" if status is None else "",
        )  # fmt: skip

    def read_text(self, path: str) -> str:
        """Return a small text file."""
        return Path(path).read_text(errors="replace")

    def write_text(self, path: str, text: str) -> None:
        """Write a small text file."""
        Path(path).write_text(text)
