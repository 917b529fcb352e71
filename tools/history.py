"""`tools/mdjournal history`: what past nights said."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from harness.campaign.history.store import History, opened_history
from harness.storage.directories import results_root
from tools.history_report import (
    RUN_HEAD,
    grid_document,
    run_lines,
    run_rows,
    runs_document,
    table_lines,
)
from tools.run_options import json_option

IN_MEMORY = Path(":memory:")
Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]
db_option: Decorator = click.option(
    "--db", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE",
    help="The history.  [default: history.sqlite beside the results]",
)  # fmt: skip
EMPTY = "the history is empty: no run is in {}; `mdjournal nightly` makes one"


def history_path(db: Path | None) -> Path:
    """Return where the history is: what ``--db`` names, or its place beside the results."""
    return db if db is not None else results_root() / "history.sqlite"


@click.group()
def history() -> None:
    """Tell what past nights said: show, trend, compare, export.

    A RUN is given by its name, its number, or as last, last-1 and so on.
    """


@history.command("show")
@click.argument("wanted", metavar="[RUN]", required=False)
@click.option("--last", type=click.IntRange(1), default=30, show_default=True, metavar="N",
              help="Without RUN: list so many of the newest.")  # fmt: skip
@db_option
@json_option
def show(*, wanted: str | None, last: int, db: Path | None, as_json: bool) -> None:
    """List the runs; or print one: a grid of cases and kernels, and its findings.

    A cell is its worst unit, of several with how many of them it is.
    """
    with _reading(db) as store:
        if wanted is not None:
            run = store.find_run(wanted)
            cells, findings = store.cells([run]), store.findings(run)
            if as_json:
                _print_json(grid_document(run, cells, findings))
            else:
                _print(run_lines(run, cells, findings, width=_width()))
            return
        runs = store.runs(last)
        cells = store.cells(runs)
    if as_json:
        _print_json(runs_document(runs, cells))
    elif not runs:
        click.echo(EMPTY.format(history_path(db)))
    else:
        _print(table_lines(RUN_HEAD, run_rows(runs, cells), width=_width()))


@contextmanager
def _reading(db: Path | None) -> Iterator[History]:
    """Give the history as it is at this moment; one in memory where there is none yet."""
    path = history_path(db)
    if not path.exists() and db is None:
        with opened_history(IN_MEMORY) as store:
            yield store
        return
    with opened_history(path, create=False) as store, store.snapshot():
        yield store


def _width() -> int | None:
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def _print(lines: Iterable[str]) -> None:
    for line in lines:
        click.echo(line)


def _print_json(document: dict[str, Any]) -> None:
    _print([json.dumps(document, indent=1)])
