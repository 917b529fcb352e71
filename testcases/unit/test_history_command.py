"""`mdjournal history`: what it prints of a made history, of none, and of what is not there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from harness.campaign.history.store import opened_history
from testcases.made_history import NIGHTS, write_history
from tools.cli import run


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("made") / "history.sqlite"
    write_history(path)
    return path


Printed = pytest.CaptureFixture[str]


def asked(capsys: Printed, *words: str, db: Path | None, status: int = 0) -> str:
    assert run(["history", *words, *(() if db is None else ("--db", str(db)))]) == status
    return capsys.readouterr().out


def document(capsys: Printed, *words: str, db: Path | None, status: int = 0) -> Any:
    return json.loads(asked(capsys, *words, "--json", db=db, status=status))


def refused(capsys: Printed, *words: str, db: Path | None = None) -> str:
    assert run(["history", *words, *(() if db is None else ("--db", str(db)))]) == 2
    return capsys.readouterr().err


def test_show_lists_the_runs(made: Path, capsys: Printed) -> None:
    lines = asked(capsys, "show", db=made).splitlines()
    assert len(lines) == 1 + NIGHTS
    assert lines[-1].split()[:3] == ["20", "2026-11-27", "2026-11-27"]
    assert lines[-1].endswith("AGREES 14, KNOWN 15, DIFFERS 1  6000")
    assert all(line == line.rstrip() for line in lines)
    assert len(asked(capsys, "show", "--last", "3", db=made).splitlines()) == 4
    runs = document(capsys, "show", db=made)
    assert runs["schema"] == 1
    assert runs["runs"][-1]["verdicts"] == {"AGREES": 14, "KNOWN": 15, "DIFFERS": 1}


def test_show_of_a_run_is_its_grid_and_its_findings(made: Path, capsys: Printed) -> None:
    text = asked(capsys, "show", "last", db=made)
    assert asked(capsys, "show", "20", db=made) == text
    assert asked(capsys, "show", "2026-11-27", db=made) == text
    cells = {line.rsplit("  ", 2)[0].strip(): line for line in text.splitlines()}
    (row,) = (line for line in cells.values() if line.endswith("DIFFERS 1/4"))
    assert row.startswith("explore epochs: RAID-5 left-symmetric")
    assert "KNOWN 4/4" in row
    assert "redundancy: P of stripe N is not its parity" in text
    grid = document(capsys, "show", "last", db=made)
    assert {cell["kernel"]["version"] for cell in grid["cells"]} == {"6.1.192-2", "7.3.4-1"}
    assert grid["cells"][0]["case"]["kind"] == "explore"
    assert [finding["count"] for finding in grid["findings"]] == [16, 1]


def test_no_history_yet_is_said_and_is_no_failure(
    tmp_path: Path, capsys: Printed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MDJOURNAL_RESULTS", str(tmp_path))
    assert "the history is empty" in asked(capsys, "show", db=None)
    assert document(capsys, "show", db=None) == {"schema": 1, "runs": []}
    assert not (tmp_path / "history.sqlite").exists(), "looking makes none"
    with opened_history(tmp_path / "history.sqlite"):
        pass
    assert "the history is empty" in asked(capsys, "show", db=None)
    assert "no run is in the history yet" in refused(capsys, "show", "last")


def test_a_run_that_is_not_there_is_told_with_those_that_are(made: Path, capsys: Printed) -> None:
    said = refused(capsys, "show", "night1", db=made)
    assert said.startswith("mdjournal history: night1: no run is called so;\n  there are ")
    assert said.endswith("2026-11-27 (20); or say last, last-1\n")
    assert said.count("\n") == 2


def test_a_history_that_is_named_must_be_there(tmp_path: Path, capsys: Printed) -> None:
    assert "no history is there" in refused(capsys, "show", db=tmp_path / "none")
    (tmp_path / "text").write_text("no database, by its first bytes" * 100)
    assert "no history that can be read" in refused(capsys, "show", db=tmp_path / "text")
