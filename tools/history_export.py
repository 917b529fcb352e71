"""A history as a file for other programs: a row for each unit."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator
from typing import Any

from harness.campaign.history.history_json import SCHEMA, plain, unit_json
from harness.campaign.history.records import Run, UnitResult
from tools.json_lines import json_lines

FORMATS = ("csv", "json", "jsonl")
Units = Iterable[tuple[Run, UnitResult]]
COLUMNS = (
    "run", "run_name", "kind", "case", "shape", "kernel", "release", "version", "identity", "part",
    "worker", "began", "seconds", "states", "verdict", "reason", "findings", "evidence", "bundle",
)  # fmt: skip


def exported(form: str, runs: Iterable[Run], units: Units) -> Iterator[str]:
    """Yield the lines of a history in one of `FORMATS`; findings in a CSV are parted by " | "."""
    if form == "json":
        yield from json_lines(
            {
                "schema": SCHEMA,
                "runs": [plain(run) for run in runs],
                "units": (unit_json(run, result) for run, result in units),
            }
        )
    elif form == "jsonl":
        for run, result in units:
            yield json.dumps(unit_json(run, result))
    else:
        yield _csv_line(COLUMNS)
        for run, result in units:
            yield _csv_line(_row(run, result))


def _row(run: Run, result: UnitResult) -> list[Any]:
    case, kernel = result.case, result.kernel
    return [
        run.number, run.name, case.kind.value, case.name, case.shape, kernel.name, kernel.release,
        kernel.version, kernel.identity, result.part, result.worker, result.began, result.seconds,
        result.states, result.outcome.value, result.reason,
        " | ".join(each.signature for each in result.findings), result.evidence, result.bundle,
    ]  # fmt: skip


def _csv_line(values: Iterable[Any]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="").writerow(values)
    return text.getvalue()
