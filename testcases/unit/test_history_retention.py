"""A history forgets: what goes, what stays, and that nothing else is changed by it."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.campaign.history.retention import runs_to_forget
from harness.campaign.history.store import History, opened_history
from harness.errors import BadInput
from harness.verdict.verdict import Outcome
from testcases.made_history import NIGHTS, write_history
from testcases.unit.made_nights import KNOWN, NEW, night, unit
from tools.cli import run as run_cli


@pytest.fixture
def made(tmp_path: Path) -> Path:
    write_history(tmp_path / "h")
    return tmp_path / "h"


@pytest.fixture
def store(made: Path) -> Iterator[History]:
    with opened_history(made, create=False) as opened:
        yield opened


def rows(path: Path, table: str) -> int:
    connection = sqlite3.connect(path)
    (count,) = connection.execute(f"SELECT count(*) FROM {table}").fetchone()
    connection.close()
    return int(count)


def test_newest_and_needed_runs_stay() -> None:
    runs = [night(n) for n in range(1, 8)]
    gone = runs_to_forget(runs, keep=3, needed={2})
    assert [run.number for run in gone] == [1, 3, 4]
    assert runs_to_forget(runs, keep=7, needed=()) == []
    assert runs_to_forget([], keep=1, needed=()) == []
    with pytest.raises(ValueError, match="newest"):
        runs_to_forget(runs, keep=0, needed=())


def test_baseline_and_last_good_run_are_never_forgotten(store: History) -> None:
    gone = store.forget(keep_runs=1)
    # The newest, 20, is red; 19 is the last good one, and 2 the baseline.
    assert [run.number for run in store.runs()] == [2, 19, 20]
    assert len(gone) == NIGHTS - 3
    assert store.baseline() == store.runs()[0]
    last_good = store.run_before(store.runs()[-1], good=True)
    assert last_good == store.runs()[1]


def test_last_good_run_stays_whatever_comes_after_it(tmp_path: Path) -> None:
    with opened_history(tmp_path / "h") as store:
        for outcome in (Outcome.AGREES, Outcome.AGREES, *[Outcome.DIFFERS] * 5):
            run = store.begin_run()
            store.add_unit(run, unit(outcome=outcome, findings=(NEW,)))
            store.end_run(run)
        store.forget(keep_runs=2)
        assert [run.number for run in store.runs()] == [2, 6, 7]


def test_units_and_cells_go_and_findings_stay(made: Path, store: History) -> None:
    before = {finding.signature: finding for finding in store.findings()}
    store.forget(keep_runs=1)
    assert rows(made, "units") == 3 * 30
    assert rows(made, "cells") == 3 * 12
    after = {finding.signature: finding for finding in store.findings()}
    assert after == before  # with their first nights, of which only the names are left
    assert rows(made, "runs") < NIGHTS


def test_forgotten_run_is_nowhere_but_in_findings(store: History) -> None:
    forgotten = store.forget(keep_runs=5)
    names = {run.name for run in forgotten}
    assert store.findings()[0].first_run.name in names
    assert not names & {run.name for run in store.runs()}
    assert store.run_before(store.find_run("last-4")) == store.find_run("2")
    with pytest.raises(BadInput, match="no run is called so"):
        store.find_run(forgotten[0].name)


def test_names_that_no_finding_needs_go(tmp_path: Path) -> None:
    with opened_history(tmp_path / "h") as store:
        for name in ("first", "second", "third"):
            run = store.begin_run(name)
            store.add_unit(run, unit(outcome=Outcome.KNOWN, findings=(KNOWN,)))
            store.end_run(run)
        store.forget(keep_runs=1)
        assert rows(tmp_path / "h", "runs") == 2  # the first, which met the finding, and the third
        store.begin_run("second")  # may be taken again


def test_what_is_within_the_window_is_compared_as_before(store: History) -> None:
    now, before = store.find_run("last"), store.find_run("last-1")
    whole = store.comparison(before, now, store.baseline(), window=5)
    store.forget(keep_runs=6)
    assert store.comparison(before, now, store.baseline(), window=5) == whole


def test_forgetting_twice_forgets_nothing_more(store: History) -> None:
    assert store.forget(keep_runs=3)
    assert store.forget(keep_runs=3) == []


def test_room_is_used_again_or_given_back(made: Path, store: History) -> None:
    store.compact()
    size = made.stat().st_size
    store.forget(keep_runs=1)
    store.compact()
    assert made.stat().st_size < size


# The command


def test_prune_tells_what_goes(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["history", "prune", "--keep", "18", "--db", str(made)]
    assert run_cli([*words, "--dry-run"]) == 0
    assert capsys.readouterr().out == "run 2026-11-08 (1): would be forgotten\n"
    assert rows(made, "cells") == NIGHTS * 12
    assert run_cli([*words, "--compact"]) == 0
    assert capsys.readouterr().out == "run 2026-11-08 (1): forgotten\n"
    assert rows(made, "cells") == (NIGHTS - 1) * 12
    assert run_cli(words) == 0
    assert capsys.readouterr().out == "nothing is old enough to go\n"


def test_prune_removes_nights_but_those_that_are_needed(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "nights"
    for number in range(1, NIGHTS + 1):  # as the made runs say; 2 is the baseline, 19 the last good
        (root / str(number)).mkdir(parents=True)
        (root / str(number) / "night.json").write_text("{}")
        os.utime(root / str(number) / "night.json", (number, number))
    words = ["history", "prune", "--keep", "99", "--db", str(made), "--nights", str(root)]
    words += ["--keep-nights", "3"]
    assert run_cli([*words, "--dry-run"]) == 0
    assert capsys.readouterr().out.startswith("night 1: would be removed, 0 MiB\nnight 3: would")
    assert len(list(root.iterdir())) == NIGHTS
    assert run_cli([*words, "--max-gib", "0"]) == 0
    assert {path.name for path in root.iterdir()} == {"2", "19", "20"}
    assert "are left, more than --max-gib" in capsys.readouterr().out


def test_prune_keeps_one_run_at_least(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_cli(["history", "prune", "--keep", "0", "--db", str(made)]) == 2
    assert "--keep" in capsys.readouterr().err
