"""Nights that never were, as the morning shows them: for tests and for a look at the page.

``python -m testcases.made_view FOLDER`` writes one folder for each of `KINDS`.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from harness.campaign.history.records import (
    Case,
    Cell,
    Finding,
    FindingSeen,
    KernelSeen,
    Kind,
    Place,
    Run,
    RunView,
    Status,
)
from harness.campaign.history.store import History, opened_history
from harness.campaign.history.whats_new import compare
from harness.campaign.nights.view import (
    FollowedFinding,
    NightKernel,
    NightView,
    SetAside,
    Spent,
)
from harness.campaign.nights.writing import write_night
from harness.verdict.verdict import Outcome
from testcases.made_history import PARITY, TAIL, fill_history

_BEGAN = 1_795_903_200.0  # 2026-11-28 22:00 UTC
_MANY_KERNELS = ("5.10", "6.1", "6.12", "7.2", "7.3")


def made_view(wanted: str = "last") -> NightView:
    """Return a night of the made history: ``last`` is red, ``last-1`` green, ``1`` the first."""
    with opened_history(Path(":memory:")) as store:
        fill_history(store)
        return _view_of(store, store.find_run(wanted))


def _view_of(store: History, run: Run) -> NightView:
    before = store.run_before(run)
    view = store.views([run])[0]
    known = {each.name: each.identity for each in _kernels(store, before)}
    return NightView(
        run=view,
        comparison=None if before is None else store.comparison(before, run, store.baseline()),
        findings=tuple(map(_followed, store.findings(run))),
        kernels=tuple(
            NightKernel(k.name, k.release, k.version, known.get(k.name) != k.identity)
            for k in _kernels(store, run)
        ),
        set_aside=(SetAside("scenario a-member-fails on 7.3, seed 4", "it ended two workers"),),
        budget_s=3600.0, used_s=3571.0,
        spent=(Spent("fetching kernels", 12.0), Spent("units of work", 3420.0, 3500.0),
               Spent("packing findings", 139.0, 100.0)),
        states_before={
            name: tuple(_states(store, each, name) for each in store.window(run, 20)[:-1])
            for name in ("6.1", "7.3")
        },
        facts={"workers": "2", "mdadm": "4.2-5"},
    )  # fmt: skip


def _kernels(store: History, run: Run | None) -> list[KernelSeen]:
    return [] if run is None else sorted({cell.kernel for cell in store.cells([run])})


def _states(store: History, run: Run, kernel: str) -> int:
    return sum(cell.states for cell in store.cells([run], kernel=kernel))


def _followed(finding: Finding) -> FollowedFinding:
    if finding.known_as:
        return FollowedFinding(finding=finding)
    return FollowedFinding(
        finding=replace(finding, status=Status.PACKED), bundle="bundles/parity-of-stripe.mdjr",
        evidence="evidence/epochs-2/index.html",
        minimised="2 operations, 1 write lost, 3 members of 1 MiB",
    )  # fmt: skip


def many_cases(cases: int = 300, *, states: int = 100_000, reds: int = 12) -> NightView:
    """Return a night of many cases on five kernels, red and not."""
    chance = random.Random(3)
    run = _run(40)
    kernels = [KernelSeen(k, f"{k}.0-9-amd64", f"{k}.9-1", f"hash-{k}") for k in _MANY_KERNELS]
    every = [_case(number) for number in range(cases)]
    cells, findings = [], dict[Place, tuple[FindingSeen, ...]]()
    red = {chance.randrange(cases * 5) for _ in range(reds)}
    for number, case in enumerate(every):
        for on, kernel in enumerate(kernels):
            place = 5 * number + on
            outcome = _outcome(chance, is_red=place in red)
            if outcome in (Outcome.DIFFERS, Outcome.KNOWN):
                new = replace(PARITY, sentence=f"{PARITY.sentence}, of kind {place % 4}")
                findings[case, kernel.name] = (TAIL, new) if place in red else (TAIL,)
            cells.append(_cell(case, kernel, outcome, states // (cases * 5)))
    before = RunView(
        run=_run(39), cells=tuple(replace(c, run=39, counts={Outcome.AGREES: 1}) for c in cells)
    )
    view = RunView(run=run, cells=tuple(cells), findings=findings)
    met = {each.signature: each for seen in findings.values() for each in seen}
    return NightView(
        run=view, comparison=compare(before, view),
        findings=tuple(_followed(_finding(each, run, kernels[0])) for each in met.values()),
        kernels=tuple(NightKernel(k.name, k.release, k.version, k.name == "7.3") for k in kernels),
        budget_s=28800.0, used_s=28650.0,
    )  # fmt: skip


def _run(number: int) -> Run:
    return Run(
        number=number, name=f"night-{number}", began=_BEGAN + number, ended=_BEGAN + 3600,
        command="tools/mdjournal nightly --budget 8h", plan_hash="", budget_s=28800.0, out="night",
    )  # fmt: skip


def _case(number: int) -> Case:
    if number % 3:
        return Case(Kind.SCENARIO, f"a-member-fails-while-the-journal-is-full-in-story-{number}")
    shape = (
        f"RAID-{4 + number % 3} left-symmetric, {3 + number % 4} members of 16 MiB, chunk 64 KiB"
    )
    return Case(Kind.EXPLORE, f"epochs-{number}", f"{shape}, journal 1024 KiB write-back")


def _outcome(chance: random.Random, *, is_red: bool) -> Outcome:
    if is_red:
        return Outcome.DIFFERS
    drawn = chance.random()
    if drawn < 0.004:
        return Outcome.HARNESS_FAILED
    if drawn < 0.01:
        return Outcome.NOT_RUN
    return Outcome.KNOWN if drawn < 0.1 else Outcome.AGREES


def _cell(case: Case, kernel: KernelSeen, outcome: Outcome, states: int) -> Cell:
    counts = {outcome: 1}
    if outcome is not Outcome.AGREES:
        counts[Outcome.AGREES] = 3
    return Cell(
        run=40, case=case, kernel=kernel, counts=counts, states=states, seconds=21.5, pace_s=0.2
    )


def _finding(each: FindingSeen, run: Run, kernel: KernelSeen) -> Finding:
    return Finding(
        signature=each.signature, oracle=each.oracle, sentence=each.sentence,
        known_as=each.known_as, status=Status.OPEN, bundle="", first_run=run, last_run=run,
        first_kernel=kernel, last_kernel=kernel, count=each.count,
    )  # fmt: skip


KINDS: Mapping[str, Callable[[], NightView]] = {
    "red": made_view,
    "green": lambda: made_view("last-1"),
    "first": lambda: made_view("1"),
    "many": many_cases,
    "many-red": lambda: many_cases(reds=2000),
}
"""Nights to look at."""

if __name__ == "__main__":
    for name, made in KINDS.items():
        write_night(Path(sys.argv[1]) / name, made())
