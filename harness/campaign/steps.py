"""Run a workload on an array: reads and writes by the guest's agent, all else from here."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from harness.campaign.lab import Session
from harness.crash.workload import (
    FailJournal,
    FailMember,
    FlushStep,
    Restart,
    Step,
    StopArray,
    SwitchMode,
    Workload,
    WriteStep,
)
from harness.errors import CommandFailed, StepHangs
from harness.hosts.host import CommandResult
from harness.md import array as md
from harness.verdict.durability import JOURNAL_FAILED
from harness.vm.guest import answer_within

# Of each step: a limit against a hang and no expectation.
STEP_DEADLINE_S = 120.0

_ForAgent = WriteStep | FlushStep


def run_workload(lab: Session, workload: Workload, *, last: int = 0) -> None:
    """Run the steps one after another; what is done to the array is marked in the trace as well.

    Args:
        lab: with the array up.
        workload: what to do.
        last: number of the write before these.

    Raises:
        CommandFailed: a step could not be done, or a write failed while the journal was there.
        StepHangs: a step never came back.
    """
    gone: set[str] = set()
    without_journal = False
    for is_for_agent, group in groupby(workload.steps, lambda s: isinstance(s, _ForAgent)):
        steps = list(group)
        if is_for_agent:
            done = lab.guest.call(
                "workload", array=md.ARRAY, marks=lab.marks, seed=workload.seed,
                steps=steps_for_agent(steps), fill=workload.fill.value, last=last,
                deadline_s=STEP_DEADLINE_S,
                answer_within_s=answer_within(STEP_DEADLINE_S * (len(steps) + 1)),
            )  # fmt: skip
            last = done["last"]
            if done["hung"]:
                raise StepHangs(f"guest: a step of the workload hangs\n{done['hung']}")
            if done["failed"] and not without_journal:
                raise CommandFailed(f"guest: write {done['failed'][0]} of the workload failed")
        else:
            for step in steps:
                without_journal |= isinstance(step, FailJournal)
                lab.guest.call("mark", node=lab.marks, text=_do(lab, step, gone))


def steps_for_agent(steps: Sequence[Step]) -> list[dict[str, object]]:
    """Return a workload's steps as the guest's agent takes them."""
    result: list[dict[str, object]] = []
    for step in steps:
        match step:
            case WriteStep(writes=writes):
                rows = [[w.number, w.sector, w.sectors, w.kind.value, int(w.fua)] for w in writes]
                result.append({"do": "write", "writes": rows})
            case FlushStep():
                result.append({"do": "flush"})
    return result


def _do(lab: Session, step: Step, gone: set[str]) -> str:
    """Do a step that is mdadm's or sysfs's; return what the trace's mark says of it.

    *gone* has the nodes that have failed, and takes those that fail here.
    """
    match step:
        case FailMember(slot=slot):
            gone.add(lab.nodes.members[slot])
            md.fail_member(lab.guest, lab.nodes.members[slot])
            return f"failed member {slot}"
        case FailJournal():
            assert lab.nodes.journal is not None
            # Before it is so: what is promised while it fails is not counted on.
            lab.guest.call("mark", node=lab.marks, text=JOURNAL_FAILED)
            gone.add(lab.nodes.journal)
            md.fail_member(lab.guest, lab.nodes.journal)
            return "the journal has failed"
        case SwitchMode(mode=mode):
            md.set_journal_mode(lab.guest, mode)
            return f"journal_mode {mode.value}"
        case StopArray():
            _require(md.stop(lab.guest))
            return "stopped"
        case Restart():
            _require(md.stop(lab.guest))
            _require(md.assemble(lab.guest, [n for n in lab.nodes.every if n not in gone]))
            return "stopped and assembled"
        case other:
            raise ValueError(f"{other} is a step for the agent")


def _require(result: CommandResult) -> None:
    if result.missed_deadline:
        raise StepHangs(f"{result}\n{result.stack}")
    if result.status != 0:
        raise CommandFailed(str(result))
