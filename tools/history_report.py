"""What the history says, as text: tables of runs, and one run as a grid of cases and kernels."""

from __future__ import annotations

import io
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from harness.campaign.history.history_json import SCHEMA, cell_json, finding_json, run_json
from harness.campaign.history.records import (
    WORST_JUDGED,
    Case,
    Cell,
    Finding,
    KernelSeen,
    Run,
    place_of,
)
from harness.campaign.history.telling import case_names, shape_lines
from harness.verdict.verdict import Outcome

_GAP = 2  # columns between columns
_PIPE_COLUMNS = 1000  # where nobody sees it wrapped, nothing is
_IN_ORDER = (
    Outcome.AGREES, Outcome.KNOWN, Outcome.DIFFERS, Outcome.NOT_RUN, Outcome.HARNESS_FAILED
)  # fmt: skip


def table_lines(
    head: Sequence[str], rows: Iterable[Sequence[str]], *, width: int | None
) -> list[str]:
    """Return a table as lines, of which the first column alone is wrapped, between words.

    *width*, in columns, is the terminal's; None where there is none. What does not fit is wider.
    """
    texts = [list(head), *map(list, rows)]
    words = [word for text in texts for word in text[0].split()]
    least = [max(map(len, words), default=0)]
    least += [max(map(len, column)) for column in list(zip(*texts, strict=True))[1:]]
    table = Table(box=None, pad_edge=False, padding=(0, _GAP, 0, 0))
    for column, columns in zip(head, least, strict=True):
        table.add_column(column, min_width=columns)
    for text in texts[1:]:
        table.add_row(*map(Text, text))
    file = io.StringIO()
    fits = sum(least) + _GAP * len(least)
    console_width = _PIPE_COLUMNS if width is None else max(width, fits)
    Console(file=file, width=console_width, color_system=None).print(table)
    return [line.rstrip() for line in file.getvalue().splitlines()]


def run_rows(runs: Sequence[Run], cells: Sequence[Cell]) -> list[list[str]]:
    """Return the rows of a table of runs, below `RUN_HEAD`."""
    mine = _by_run(cells)
    return [
        [
            str(run.number), run.name, _moment(run.began), _took(run),
            counts_text(mine[run.number]), str(sum(cell.states for cell in mine[run.number])),
        ]
        for run in runs
    ]  # fmt: skip


def _by_run(cells: Iterable[Cell]) -> dict[int, list[Cell]]:
    found: dict[int, list[Cell]] = defaultdict(list)
    for cell in cells:
        found[cell.run].append(cell)
    return found


RUN_HEAD = ("run", "name", "began (UTC)", "took", "units", "states")


def run_lines(
    run: Run, cells: Sequence[Cell], findings: Sequence[Finding], *, width: int | None
) -> Iterator[str]:
    """Tell one run: its facts, its grid, its findings."""
    budget = f" of {_duration(run.budget_s)}" if run.budget_s is not None else ""
    yield f"run        {run.name} ({run.number}), began {_moment(run.began)} UTC"
    yield f"took       {_took(run)}{budget}"
    if run.command:
        yield f"command    {run.command}"
    if run.out:
        yield f"results    {run.out}"
    for kernel in _kernels(cells):
        yield f"kernel     {kernel.name}: {kernel.release} ({kernel.version})"
    yield f"units      {counts_text(cells)}; {sum(cell.states for cell in cells)} states"
    if not cells:
        return
    yield ""
    yield from _grid_lines(cells, width)
    if findings:
        yield ""
        rows = [
            [finding.signature, str(finding.count), finding.first_run.name,
             finding.first_kernel.name, finding.status.value]
            for finding in findings
        ]  # fmt: skip
        head = ("finding", "seen", "first run", "first kernel", "status")
        yield from table_lines(head, rows, width=width)


def finding_lines(findings: Sequence[Finding], *, width: int | None) -> Iterator[str]:
    """Tell how far findings have been followed."""
    head = ("id", "status", "first", "on", "last", "on", "finding")
    rows = [
        [
            each.id, each.status.value, each.first_run.name, each.first_kernel.name,
            each.last_run.name, each.last_kernel.name, each.signature,
        ]
        for each in findings
    ]  # fmt: skip
    yield from table_lines(head, rows, width=width)
    for each in findings:
        if each.bundle or each.note:
            yield ""
            yield f"{each.id}  {each.bundle or 'no bundle'}"
            yield from (f"    {line}" for line in (each.smallest, each.note) if line)


def _grid_lines(cells: Sequence[Cell], width: int | None) -> list[str]:
    kernels = list(dict.fromkeys(kernel.name for kernel in _kernels(cells)))
    cases = sorted({cell.case for cell in cells})
    by_place: dict[tuple[Case, str], list[Cell]] = {}
    for cell in cells:
        by_place.setdefault(place_of(cell), []).append(cell)
    names = case_names(cases)
    rows = [
        [names[case], *(_cell_text(by_place.get((case, kernel), [])) for kernel in kernels)]
        for case in cases
    ]
    return [*table_lines(("case", *kernels), rows, width=width), *shape_lines(names)]


def _cell_text(cells: Sequence[Cell]) -> str:
    """Return a cell's worst verdict and, of several units, how many have it."""
    if not cells:
        return "-"
    counts = counts_of(cells)
    worst = next(outcome for outcome in WORST_JUDGED if counts[outcome])
    return worst.value + (f" {counts[worst]}/{counts.total()}" if counts.total() > 1 else "")


def _kernels(cells: Sequence[Cell]) -> list[KernelSeen]:
    return sorted({cell.kernel for cell in cells}, key=lambda k: (_version_key(k.version), k))


def _version_key(version: str) -> list[int]:
    return [int(part) for part in version.partition("-")[0].split(".") if part.isdecimal()]


def counts_of(cells: Iterable[Cell]) -> Counter[Outcome]:
    """Return how many units of cells have each verdict."""
    total: Counter[Outcome] = Counter()
    for cell in cells:
        total.update(cell.counts)
    return total


def counts_text(cells: Iterable[Cell]) -> str:
    """Say how many units of cells have each verdict."""
    counts = counts_of(cells)
    return ", ".join(f"{o.value} {counts[o]}" for o in _IN_ORDER if counts[o]) or "none"


def runs_document(runs: Sequence[Run], cells: Sequence[Cell]) -> dict[str, Any]:
    """Return a table of runs as JSON values."""
    mine = _by_run(cells)
    return {"schema": SCHEMA, "runs": [run_json(run, mine[run.number]) for run in runs]}


def grid_document(run: Run, cells: Sequence[Cell], findings: Sequence[Finding]) -> dict[str, Any]:
    """Return one run as JSON values."""
    return {
        "schema": SCHEMA,
        "run": run_json(run, cells),
        "cells": [cell_json(cell) for cell in cells],
        "findings": [finding_json(finding) for finding in findings],
    }


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M")


def _took(run: Run) -> str:
    return "not ended" if run.ended is None else _duration(run.ended - run.began)


def _duration(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))
