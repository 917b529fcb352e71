"""Run a workload on an array: reads and writes by the guest's agent, all else from here."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from harness.campaign.lab import Session
from harness.crash.workload import FailMember, FlushStep, Step, StopArray, Workload, WriteStep
from harness.errors import CommandFailed
from harness.md import array as md

WORKLOAD_DEADLINE_S = 600.0

_ForAgent = WriteStep | FlushStep


def run_workload(lab: Session, workload: Workload) -> None:
    """Run the steps one after another; what is done to the array is marked in the trace as well.

    Raises:
        CommandFailed: a step could not be done, or the array did not stop.
    """
    last = 0
    for is_for_agent, steps in groupby(workload.steps, lambda s: isinstance(s, _ForAgent)):
        if is_for_agent:
            done = lab.guest.call(
                "workload", array=md.ARRAY, marks=lab.marks, seed=workload.seed,
                steps=steps_for_agent(list(steps)), fill=workload.fill.value, last=last,
                answer_within_s=WORKLOAD_DEADLINE_S,
            )  # fmt: skip
            last = done["last"]
        else:
            for step in steps:
                lab.guest.call("mark", node=lab.marks, text=_do(lab, step))


def steps_for_agent(steps: Sequence[Step]) -> list[dict[str, object]]:
    """Return a workload's steps as the guest's agent takes them."""
    result: list[dict[str, object]] = []
    for step in steps:
        match step:
            case WriteStep(writes=writes):
                rows = [[w.number, w.sector, w.sectors] for w in writes]
                result.append({"do": "write", "writes": rows})
            case FlushStep():
                result.append({"do": "flush"})
    return result


def _do(lab: Session, step: Step) -> str:
    """Do a step that is mdadm's; return what the trace's mark says of it."""
    match step:
        case FailMember(slot=slot):
            md.fail_member(lab.guest, lab.nodes.members[slot])
            return f"failed member {slot}"
        case StopArray():
            stopped = md.stop(lab.guest)
            if stopped.status != 0 or stopped.missed_deadline:
                raise CommandFailed(str(stopped))
            return "stopped"
        case other:
            raise ValueError(f"{other} is a step for the agent")
