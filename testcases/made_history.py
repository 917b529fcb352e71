"""A history of nights that never were, for the tests, the documents and a look at the commands.

``python -m testcases.made_history FILE`` writes it. Twenty nights: a case that is flaky, one that
became slow, a known issue that an upgrade takes away, and in the last night a new red.
"""

from __future__ import annotations

import random
import sys
from pathlib import Path

from harness.campaign.history.records import Case, FindingSeen, KernelSeen, Kind, UnitResult
from harness.campaign.history.store import History, opened_history
from harness.verdict.verdict import Outcome

NIGHTS = 20
_FIRST = 1_794_175_200.0  # 2026-11-08 22:00 UTC
_DAY_S = 86_400.0
_UPGRADE = 18  # the night on which 7.3 became another kernel
KERNELS = {
    "6.1": KernelSeen("6.1", "6.1.0-56-cloud-amd64", "6.1.192-2", "5b0c"),
    "7.3": KernelSeen("7.3", "7.3.3-cloud-amd64", "7.3.3-1", "9e41"),
}
_UPGRADED = KernelSeen("7.3", "7.3.4-cloud-amd64", "7.3.4-1", "c7d2")
_SHAPE = "RAID-5 left-symmetric, 3 members of 16 MiB, chunk 16 KiB, journal 1024 KiB"
EPOCHS = Case(Kind.EXPLORE, "epochs", f"{_SHAPE} write-through")
WRITE_BACK = Case(Kind.EXPLORE, "epochs", f"{_SHAPE} write-back")
SWITCH = Case(Kind.SCENARIO, "a-dirty-cache-is-read-the-same-after-the-switch")
STOP = Case(Kind.SCENARIO, "a-stop-writes-the-cache-out")
REBUILD = Case(Kind.SCENARIO, "a-member-is-rebuilt-while-the-journal-is-in-use")
HOSTILE = Case(Kind.FUZZ, "hostile", f"{_SHAPE} write-through")
TAIL = FindingSeen("write ordering", "", "tail-before-member-flush-order")
DIRTY = FindingSeen("read back", "", "dirty-cache-after-a-switch")
HANGS = FindingSeen("alive", "", "stop-hangs")
PARITY = FindingSeen("redundancy", "P of stripe N is not its parity")


def write_history(path: Path, nights: int = NIGHTS) -> None:
    """Write so many nights; the second one is the baseline."""
    with opened_history(path) as store:
        fill_history(store, nights)


def fill_history(store: History, nights: int = NIGHTS) -> None:
    """Write them into a history that is open."""
    chance = random.Random(7)
    for night in range(nights):
        began = _FIRST + night * _DAY_S
        run = store.begin_run(
            began=began, command="tools/mdjournal nightly --budget 1h", plan_hash="made",
            budget_s=3600.0, out=f"nights/{night + 1}",
        )  # fmt: skip
        results = [
            result
            for name in KERNELS
            for case in (EPOCHS, WRITE_BACK, SWITCH, STOP, REBUILD, HOSTILE)
            for result in _results(case, name, night, nights, began, chance)
        ]
        store.add_units(run, results)
        store.end_run(run, began + sum(result.seconds for result in results) / 2)
        if night == 1:
            store.set_baseline(run)


def _results(
    case: Case, name: str, night: int, nights: int, began: float, chance: random.Random
) -> list[UnitResult]:
    explores = case.kind is not Kind.SCENARIO
    made = []
    for number in range(4 if explores else 1):
        findings = _findings(case, name, night, nights, number, chance)
        outcome = Outcome.AGREES
        if findings:
            known = all(finding.known_as for finding in findings)
            outcome = Outcome.KNOWN if known else Outcome.DIFFERS
        slower = 1.6 if case == REBUILD and name == "6.1" and night >= nights - 4 else 1.0
        states = 250 if explores else 0
        made.append(
            UnitResult(
                case=case, kernel=_kernel(name, night), worker=f"worker-{number % 2 + 1}",
                part=f"states {250 * number}-{250 * number + 249}" if explores else "seed 1",
                began=began + 60 * number, outcome=outcome, states=states,
                seconds=round(slower * chance.lognormvariate(3.5 if explores else 2.5, 0.06), 2),
                reason=findings[0].signature if findings else "", findings=findings,
                evidence=f"nights/{night + 1}/{case.name}-{number}" if findings else "",
            )
        )  # fmt: skip
    return made


def _kernel(name: str, night: int) -> KernelSeen:
    return _UPGRADED if name == "7.3" and night >= _UPGRADE else KERNELS[name]


def _findings(
    case: Case, name: str, night: int, nights: int, number: int, chance: random.Random
) -> tuple[FindingSeen, ...]:
    last = night == nights - 1
    if case == WRITE_BACK and name == "7.3" and last and number == 2:
        return (TAIL, PARITY)
    if case.kind is Kind.EXPLORE:
        return (TAIL,)
    if case == SWITCH and name == "7.3" and night < _UPGRADE:
        return (DIRTY,)
    if case == STOP and name == "6.1" and chance.random() < 0.2:
        return (HANGS,)
    return ()


if __name__ == "__main__":
    write_history(Path(sys.argv[1]))
