"""The history's values as JSON, for every command and page that tells of them.

A value is an object of its fields, by their names: what the dataclasses of this package document.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from harness.campaign.history.records import Cell, Finding, Run, UnitResult
from harness.campaign.history.whats_new import Comparison
from harness.verdict.verdict import Outcome

SCHEMA = 1


def plain(value: Any) -> Any:
    """Return a value of this package as JSON values."""
    if is_dataclass(value):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, Mapping):
        return {plain(key): plain(each) for key, each in value.items()}
    if isinstance(value, tuple | list):
        return [plain(each) for each in value]
    return value


def cell_json(cell: Cell) -> dict[str, Any]:
    """Return a cell, with its verdict."""
    document: dict[str, Any] = plain(cell)
    return document | {"verdict": cell.outcome.value}


def run_json(run: Run, cells: Iterable[Cell]) -> dict[str, Any]:
    """Return a run, with how many of its units have each verdict, and the states of all."""
    every = list(cells)
    counts = {o.value: sum(cell.counts.get(o, 0) for cell in every) for o in Outcome}
    document: dict[str, Any] = plain(run)
    return document | {
        "verdicts": {name: count for name, count in counts.items() if count},
        "states": sum(cell.states for cell in every),
    }


def finding_json(finding: Finding) -> dict[str, Any]:
    """Return a finding; the runs that met it first and last by their names."""
    document: dict[str, Any] = plain(finding)
    first, last = finding.first_run.name, finding.last_run.name
    return document | {"id": finding.id, "first_run": first, "last_run": last}


def unit_json(run: Run, result: UnitResult) -> dict[str, Any]:
    """Return the result of a unit, with the run's number and name."""
    document: dict[str, Any] = plain(result)
    for seen, finding in zip(document["findings"], result.findings, strict=True):
        seen["signature"] = finding.signature
    return {"run": run.number, "run_name": run.name} | document


def comparison_json(comparison: Comparison) -> dict[str, Any]:
    """Return what is new as one document."""
    document: dict[str, Any] = plain(comparison)
    return {"schema": SCHEMA, "is_red": comparison.is_red} | document
