"""The interface through which commands run, whatever machine they run on."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from harness.errors import CommandFailed


@dataclass(frozen=True, slots=True)
class CommandResult:
    """How a command ended. *status* is ``None`` when it had to be left running."""

    host: str
    argv: tuple[str, ...]
    status: int | None
    output: str  # both streams in one
    seconds: float
    stack: str = ""  # in the kernel, where it missed its deadline

    @property
    def missed_deadline(self) -> bool:
        """Whether the command was ended, or left, since its time was up."""
        return self.status is None or bool(self.stack)

    def __str__(self) -> str:
        ended = "did not end" if self.status is None else f"ended with {self.status}"
        last = self.output.strip().splitlines()[-1:]
        said = f": {last[0]}" if last else ""
        return f"`{shlex.join(self.argv)}` ({self.host}) {ended} after {self.seconds:.1f} s{said}"


class Host(Protocol):
    """A machine with md: a guest, this machine, or one behind SSH."""

    @property
    def name(self) -> str:
        """How messages call it."""

    def run(self, argv: Sequence[str], *, deadline_s: float, stdin: str = "") -> CommandResult:
        """Run a command to its end or its deadline, whatever its exit status."""

    def read_text(self, path: str) -> str:
        """Return a small text file, such as one of sysfs."""

    def write_text(self, path: str, text: str) -> None:
        """Write a small text file in one call, as sysfs wants it."""


def run_checked(
    host: Host, argv: Sequence[str], *, deadline_s: float, stdin: str = ""
) -> CommandResult:
    """Run a command that must succeed.

    Raises:
        CommandFailed: with the command as one would type it, and its last line.
    """
    result = host.run(argv, deadline_s=deadline_s, stdin=stdin)
    if result.status != 0 or result.missed_deadline:
        raise CommandFailed(str(result))
    return result
