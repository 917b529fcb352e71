"""Workloads as JSON values, for what is kept of a red and recorded or judged again elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from harness.crash.pattern import Fill
from harness.crash.workload import (
    FailJournal,
    FailMember,
    FlushStep,
    JournalMode,
    Restart,
    Step,
    StopArray,
    SwitchMode,
    Workload,
    Write,
    WriteKind,
    WriteStep,
)
from harness.errors import BadInput
from harness.ondisk.units import ArraySector

_PLAIN: dict[str, Step] = {
    "flush": FlushStep(), "fail journal": FailJournal(), "stop": StopArray(), "restart": Restart(),
}  # fmt: skip
_NAMES = {type(step): name for name, step in _PLAIN.items()}


def encode_workload(workload: Workload) -> dict[str, Any]:
    """Return a workload as JSON values."""
    return {
        "seed": workload.seed,
        "fill": workload.fill.value,
        "steps": [_encode_step(step) for step in workload.steps],
    }


def decode_workload(document: Mapping[str, Any]) -> Workload:
    """Return the workload that JSON values are of.

    Raises:
        BadInput: they are of none.
    """
    try:
        steps = tuple(_decode_step(each) for each in document["steps"])
        return Workload(int(document["seed"]), steps, Fill(document["fill"]))
    except (KeyError, TypeError, ValueError) as wrong:
        raise BadInput(f"this is no workload: {wrong!r}") from wrong


def _encode_step(step: Step) -> dict[str, Any]:
    match step:
        case WriteStep(writes=writes):
            rows = [[w.number, w.sector, w.sectors, w.kind.value, w.fua] for w in writes]
            return {"do": "write", "writes": rows}
        case SwitchMode(mode=mode):
            return {"do": "switch mode", "mode": mode.value}
        case FailMember(slot=slot):
            return {"do": "fail member", "slot": slot}
        case other:
            return {"do": _NAMES[type(other)]}


def _decode_step(document: Mapping[str, Any]) -> Step:
    match document["do"]:
        case "write":
            return WriteStep(
                tuple(
                    Write(int(n), ArraySector(int(at)), int(sectors), WriteKind(kind), bool(fua))
                    for n, at, sectors, kind, fua in document["writes"]
                )
            )
        case "switch mode":
            return SwitchMode(JournalMode(document["mode"]))
        case "fail member":
            return FailMember(int(document["slot"]))
        case name:
            return _PLAIN[name]
