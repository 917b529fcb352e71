"""Progress of long work: a moving line on a terminal, plain lines elsewhere."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator

import click
from rich.console import Console
from rich.filesize import decimal

from harness.storage.watching import Watch

Say = Callable[[str], None]

_AT_ONCE_S = 1
_ON_TERMINAL_S = 0.1
_ELSEWHERE_S = 10


@contextlib.contextmanager
def progress(subcommand: str) -> Iterator[Say]:
    """Give a function that takes one line for each step; all of it goes to standard error."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda line: click.echo(f"mdjournal {subcommand}: {line}", err=True)
        return
    with console.status(f"mdjournal {subcommand}") as status:
        yield lambda line: status.update(f"[bold]mdjournal {subcommand}[/bold]: {line}")


def seldom(say: Say) -> Say:
    """Return what passes lines on as often as they can be read, and drops the rest."""
    pause_s = _ON_TERMINAL_S if sys.stderr.isatty() else _ELSEWHERE_S
    due = time.monotonic() + pause_s

    def tell(line: str) -> None:
        nonlocal due
        if (now := time.monotonic()) >= due:
            due = now + pause_s
            say(line)

    return tell


@contextlib.contextmanager
def watched(subcommand: str) -> Iterator[Watch]:
    """Give a function that is told of work on images as it goes, and shows some of it.

    Nothing for what is done at once; then a line that moves, or off a terminal one now and then.
    """
    pause_s = _ON_TERMINAL_S if sys.stderr.isatty() else _ELSEWHERE_S
    due = time.monotonic() + max(pause_s, _AT_ONCE_S)
    with progress(subcommand) as say:

        def watch(words: str, done: int, whole: int) -> None:
            nonlocal due
            if (now := time.monotonic()) >= due:
                due = now + pause_s
                say(f"{words}, at {decimal(done)} of {decimal(whole)}")

        yield watch
