"""What the history costs with a million units in it, printed.

``tools/mdjournal test -- testcases/bench/bench_history.py -s`` needs 400 MiB of disk and no guest.
The million: 100 nights of 100 cases on 5 kernels, 20 units each, a third of which met something.
Each figure is the median of five, smallest and largest beside it; questions are asked through a
connection that was just opened.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harness.campaign.history.records import (
    Case,
    FindingSeen,
    KernelSeen,
    Kind,
    Run,
    UnitResult,
)
from harness.campaign.history.store import History, opened_history
from harness.campaign.history.trends import trends_of
from harness.verdict.verdict import Outcome

REPOSITORY = Path(__file__).resolve().parent.parent.parent
NIGHTS, CASES, PARTS = 100, 100, 20
KERNELS = [
    KernelSeen(name, f"{name}.1-cloud-amd64", f"{name}.1-1", f"hash-of-{name}")
    for name in ("5.10", "6.1", "6.12", "7.2", "7.3")
]
KNOWN = FindingSeen("write ordering", "", "tail-before-member-flush-order")
RARE = FindingSeen("redundancy", "P of stripe N is not its parity")
TIMES = 5


@pytest.fixture(scope="module")
def million(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("million") / "history.sqlite"
    began = time.perf_counter()
    with opened_history(path) as store:
        for night in range(NIGHTS):
            run = store.begin_run(f"night {night + 1}", began=night * 86400.0)
            store.add_units(run, units_of(night))
            store.end_run(run, night * 86400.0 + 28800)
    took_s = time.perf_counter() - began
    units = NIGHTS * CASES * PARTS * len(KERNELS)
    print(f"\n{units} units written, a transaction a night: {units / took_s:.0f} a second,", end="")
    print(f" {path.stat().st_size / 2**20:.0f} MiB", end="")
    return path


def units_of(night: int) -> Iterator[UnitResult]:
    for number in range(CASES * PARTS * len(KERNELS)):
        case, rest = divmod(number, PARTS * len(KERNELS))
        kernel, part = divmod(rest, PARTS)
        drawn = (night * 7919 + number * 104_729) % 3001 / 3001
        outcome = Outcome.KNOWN if case % 3 == 0 else Outcome.AGREES
        findings = (KNOWN,) if outcome is Outcome.KNOWN else ()
        if drawn < 0.0004:
            outcome, findings = Outcome.DIFFERS, (*findings, RARE)
        yield UnitResult(
            case=Case(Kind.EXPLORE, f"case {case}", "RAID-5 of 3"), kernel=KERNELS[kernel],
            part=f"states {part * 100}-{part * 100 + 99}", worker=f"worker {part % 4}",
            began=night * 86400.0 + number, seconds=9 + 2 * drawn, states=100, outcome=outcome,
            reason=findings[0].signature if findings else "", findings=findings,
        )  # fmt: skip


def show_runs(store: History) -> None:
    store.cells(store.runs(30))


def show_run(store: History) -> None:
    run = store.find_run("last")
    assert len(store.cells([run])) == CASES * len(KERNELS)
    store.findings(run)


def trend(store: History) -> None:
    runs = store.runs(30)
    assert len(trends_of(runs, store.cells(runs))) == CASES * len(KERNELS)


def trend_of_all_nights(store: History) -> None:
    runs = store.runs()
    trends_of(runs, store.cells(runs))


def compare(store: History) -> None:
    store.comparison(store.find_run("last-1"), store.find_run("last"), store.find_run("1"))


def units_of_a_night(store: History) -> None:
    assert len(list(store.units([store.find_run("last")]))) == CASES * PARTS * len(KERNELS)


def good_night_before(store: History) -> None:
    store.run_before(store.find_run("last"), good=True)


QUESTIONS: dict[str, Callable[[History], None]] = {
    "show: the last 30 runs": show_runs,
    "show last: grid and findings": show_run,
    "trend: 500 lines over 30 runs": trend,
    "trend: over all 100 runs": trend_of_all_nights,
    "compare last-1 last, with a baseline": compare,
    "which units of a night are done (10,000)": units_of_a_night,
    "the last good night": good_night_before,
}


@pytest.mark.parametrize("name", QUESTIONS)
def test_question(name: str, million: Path) -> None:
    figures = []
    for _ in range(TIMES):
        with opened_history(million, create=False) as store:
            began = time.perf_counter()
            QUESTIONS[name](store)
            figures.append(time.perf_counter() - began)
    show(name, "ms", [1000 * each for each in figures])


COMMANDS = [("--help",), ("show", "last"), ("trend",), ("compare", "last-1", "last")]


@pytest.mark.parametrize("words", COMMANDS, ids=str)
def test_command(words: tuple[str, ...], million: Path) -> None:
    db = () if words[0].startswith("-") else ("--db", str(million))
    command = [sys.executable, "-m", "tools.cli", "history", *words, *db]
    figures = []
    for _ in range(TIMES):
        began = time.perf_counter()
        done = subprocess.run(command, cwd=REPOSITORY, check=False, capture_output=True)
        figures.append(time.perf_counter() - began)
        assert done.returncode in (0, 1)
    show(f"history {' '.join(words)}, with the start of Python", "ms", [1000 * f for f in figures])


def test_a_unit_written_alone_as_nights_do(million: Path) -> None:
    with opened_history(million) as store:
        run = store.begin_run(f"alone {os.getpid()}")
        figures = [_written_s(store, run, unit) for unit, _ in zip(units_of(0), range(300))]  # noqa: B905
    show("one unit, durable on the medium", "ms", [1000 * each for each in figures])


def _written_s(store: History, run: Run, unit: UnitResult) -> float:
    began = time.perf_counter()
    store.add_unit(run, unit)
    return time.perf_counter() - began


def show(name: str, unit: str, values: list[float]) -> None:
    middle, low, high = statistics.median(values), min(values), max(values)
    digits = 0 if middle >= 100 else 1
    print(f"\n{name}: {middle:.{digits}f} {unit} ({low:.{digits}f} to {high:.{digits}f})", end="")
