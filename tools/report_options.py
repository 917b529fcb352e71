"""Options for report files, alike for every command that runs something."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from tools.report_files import FORMATS, ReportFiles

_WHAT = {
    "junit": "JUnit XML, for continuous integration",
    "ktap": "KTAP, as kernel tests have it",
    "jsonl": "JSON lines: the run, then each case",
    "html": "a page with the evidence of what is red",
}


def report_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``--junit``, ``--ktap``, ``--jsonl`` and ``--html``; the command takes `ReportFiles`.

    Whatever cannot be written is refused before the command begins. It is given the keyword
    *reports*, and has to call ``reports.write`` once there is something to report.
    """

    @functools.wraps(command)
    def with_reports(**given: Any) -> Any:
        targets = {name: given.pop(name) for name in FORMATS}
        reports = ReportFiles({name: path for name, path in targets.items() if path is not None})
        reports.require_writable()
        return command(reports=reports, **given)

    for name in reversed([*FORMATS]):
        with_reports = click.option(
            f"--{name}", metavar="FILE", type=click.Path(path_type=Path),
            help=f"Write a report into FILE as well: {_WHAT[name]}.",
        )(with_reports)  # fmt: skip
    return with_reports
