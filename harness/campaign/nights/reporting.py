"""A night as the reports of any run, and as one document for programs: pure."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from harness.campaign.history.history_json import comparison_json, finding_json, plain
from harness.campaign.history.records import FindingSeen, Run
from harness.campaign.nights.telling import repro_command, states_of, summary_of, work_of
from harness.campaign.nights.view import FollowedFinding, NightCell, NightView
from harness.campaign.reports.model import Case, RunReport
from harness.verdict.verdict import Finding, Judgement, Outcome, Verdict

SCHEMA = 1


def night_report(view: NightView) -> RunReport:
    """Return a night as a report: a case for each case on a kernel, as its worst unit is.

    A known issue counts as in the reports of other commands: there and named, and no failure.
    """
    run = view.run.run
    return RunReport(
        title="nightly", command=run.command, kernels=view.kernel_names, began_s=run.began,
        seconds=view.used_s or _lasted(run), cases=_cases(view),
        facts={
            "night": run.name, "verdict": summary_of(view).sentence,
            **{f"kernel {k.name}": f"{k.release} ({k.version})" for k in view.kernels},
            **view.facts,
        },
    )  # fmt: skip


def _lasted(run: Run) -> float:
    return 0.0 if run.ended is None else run.ended - run.began


def _cases(view: NightView) -> tuple[Case, ...]:
    new = {(change.case, change.kernel.name) for change in view.new_reds}
    return tuple(_case(view, cell, is_new=place in new) for place, cell in view.cells.items())


def _case(view: NightView, cell: NightCell, *, is_new: bool) -> Case:
    folder = view.run.run.out
    found = view.run.findings.get((cell.case, cell.kernel), ())
    followed = [view.followed(each.signature) for each in found]
    evidence = next((each.evidence for each in followed if each and each.evidence), "")
    commands = (repro_command(each, folder) for each in followed)
    shape = f": {cell.case.shape}" if cell.case.shape else ""
    return Case(
        name=f"{cell.case.name}{shape}", group=cell.case.kind.value, kernel=cell.kernel,
        verdict=_verdict(cell, found, is_new=is_new), seconds=cell.seconds,
        evidence=Path(folder) / evidence if evidence else None,
        repeat=next(filter(None, commands), ""),
    )  # fmt: skip


def _verdict(cell: NightCell, found: tuple[FindingSeen, ...], *, is_new: bool) -> Verdict:
    outcome = cell.outcome
    units = ", ".join(f"{o.value} {cell.counts[o]}" for o in Outcome if cell.counts.get(o))
    details = (f"units: {units}", f"{cell.states} states") if cell.states else (f"units: {units}",)
    names = {each.signature: each for each in found if outcome is Outcome.DIFFERS or each.known_as}
    findings = tuple(
        Finding(each.oracle, each.sentence or each.known_as, (f"met {each.count} times", *details))
        for each in names.values()
    )
    by_oracle = tuple(Judgement(each.oracle, (), (each,)) for each in findings)
    if outcome is Outcome.AGREES:
        return Verdict(outcome)
    if outcome is Outcome.DIFFERS:
        new = "new: " if is_new else ""
        reason = f"{new}{'; '.join(cell.unexplained) or 'differs'}"
    elif outcome is Outcome.KNOWN:
        reason = ", ".join(dict.fromkeys(each.known_as for each in names.values()))
    else:
        reason = units
    return Verdict(outcome, by_oracle, reason)


def night_document(view: NightView) -> dict[str, Any]:
    """Return all of a night as JSON values; `docs/nightly-page.md` says what is in it."""
    summary = summary_of(view)
    return {
        "schema": SCHEMA, "kind": "night", "verdict": summary.sentence, "is_red": view.is_red,
        "judged": view.judged, "remarks": list(summary.remarks), "run": plain(view.run.run),
        "kernels": plain(view.kernels),
        "budget": {
            "planned_s": view.budget_s, "used_s": view.used_s, "spent": plain(view.spent),
            "workers_s": work_of(view),
        },
        "comparison": None if view.comparison is None else comparison_json(view.comparison),
        "new_reds": plain(view.new_reds),
        "set_aside": plain(view.set_aside),
        "cells": [_cell_document(view, cell) for cell in view.cells.values()],
        "findings": [_finding_document(view, each) for each in view.findings_in_order],
        "states": plain(states_of(view)),
        "facts": dict(view.facts),
    }  # fmt: skip


def _cell_document(view: NightView, cell: NightCell) -> dict[str, Any]:
    return {
        "case": plain(cell.case), "kernel": cell.kernel, "seen": plain(cell.seen),
        "verdict": cell.outcome.value, "units": plain(cell.counts), "states": cell.states,
        "seconds": round(cell.seconds, 3),
        "findings": [
            {"signature": each.signature, "count": each.count}
            for each in view.run.findings.get((cell.case, cell.kernel), ())
        ],
    }  # fmt: skip


def _finding_document(view: NightView, each: FollowedFinding) -> dict[str, Any]:
    signature = each.finding.signature
    return finding_json(each.finding) | {
        "bundle": each.bundle, "evidence": each.evidence, "minimised": each.minimised,
        "first_bad": view.first_bad(signature), "met": dict(view.met.get(signature, {})),
        "repeat": repro_command(each, view.run.run.out),
    }  # fmt: skip
