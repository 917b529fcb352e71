"""Nights that never were: results for the tests of the history."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from harness.campaign.history.records import (
    Case,
    Cell,
    FindingSeen,
    KernelSeen,
    Kind,
    Run,
    UnitResult,
)
from harness.verdict.verdict import Outcome

A_DAY_S = 86_400.0
EVENING = 1_795_903_200.0  # 2026-11-28 22:00 UTC
KERNEL = KernelSeen("6.1", "6.1.0-56-cloud-amd64", "6.1.192-2", "hash-of-6.1.192")
UPGRADED = replace(KERNEL, release="6.1.0-57-cloud-amd64", version="6.1.195-1", identity="hash-195")
OTHER_KERNEL = KernelSeen("7.3", "7.3.4-cloud-amd64", "7.3.4-1", "hash-of-7.3.4")
STORY = Case(Kind.SCENARIO, "a-member-fails")
EXPLORED = Case(Kind.EXPLORE, "epochs", "RAID-5 of 3")
KNOWN = FindingSeen("write ordering", "", "tail-before-member-flush")
NEW = FindingSeen("redundancy", "P of stripe N is not its parity")


def unit(
    case: Case = STORY, outcome: Outcome = Outcome.AGREES, *, kernel: KernelSeen = KERNEL,
    part: str = "unit 1", seconds: float = 10.0, states: int = 0, began: float = EVENING,
    findings: tuple[FindingSeen, ...] = (),
) -> UnitResult:  # fmt: skip
    return UnitResult(
        case=case, kernel=kernel, part=part, worker="worker-1", began=began, seconds=seconds,
        states=states, outcome=outcome, reason=findings[0].signature if findings else "",
        findings=findings, evidence="/kept/1" if findings else "", bundle="",
    )  # fmt: skip


def night(number: int, name: str = "") -> Run:
    began = EVENING + number * A_DAY_S
    return Run(
        number=number, name=name or f"night{number}", began=began, ended=began + 3600, command="",
        plan_hash="", budget_s=None, out="",
    )  # fmt: skip


def cell(
    run: int, outcome: Outcome = Outcome.AGREES, *, case: Case = STORY,
    kernel: KernelSeen = KERNEL, pace_s: float | None = 10.0, states: int = 0,
    counts: Mapping[Outcome, int] | None = None,
) -> Cell:  # fmt: skip
    return Cell(
        run=run, case=case, kernel=kernel, counts=counts or {outcome: 1}, states=states,
        seconds=10.0, pace_s=pace_s,
    )  # fmt: skip


def row_of(letters: str, *, kernels: Sequence[KernelSeen] = ()) -> list[Cell]:
    """Return a cell a night: X differs, k known, . agrees, ! failed, and a blank for none."""
    meaning = {
        "X": Outcome.DIFFERS, "k": Outcome.KNOWN, ".": Outcome.AGREES, "!": Outcome.HARNESS_FAILED,
    }  # fmt: skip
    return [
        cell(number, meaning[letter], kernel=kernels[number] if kernels else KERNEL)
        for number, letter in enumerate(letters)
        if letter != " "
    ]
