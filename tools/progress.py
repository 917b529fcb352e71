"""Progress of long work: a moving line on a terminal, plain lines elsewhere."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import click
from rich.console import Console

Say = Callable[[str], None]


@contextlib.contextmanager
def progress(subcommand: str) -> Iterator[Say]:
    """Give a function that takes one line for each step; all of it goes to standard error."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda line: click.echo(f"mdjournal {subcommand}: {line}", err=True)
        return
    with console.status(f"mdjournal {subcommand}") as status:
        yield lambda line: status.update(f"[bold]mdjournal {subcommand}[/bold]: {line}")
