"""`mdjournal history`: what it prints of a made history, of none, and of what is not there."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from harness.campaign.history.store import opened_history
from testcases.made_history import NIGHTS, write_history
from tools.cli import run
from tools.history_report import table_lines


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
    (row,) = (line for line in text.splitlines() if line.endswith("DIFFERS 1/4"))
    assert row.split() == ["explore", "epochs", "[1]", "KNOWN", "4/4", "DIFFERS", "1/4"]
    assert "explore epochs [1]: RAID-5 left-symmetric, 3 members of 16 MiB" in text
    assert "redundancy: P of stripe N is not its parity" in text
    grid = document(capsys, "show", "last", db=made)
    assert {cell["kernel"]["version"] for cell in grid["cells"]} == {"6.1.192-2", "7.3.4-1"}
    assert grid["cells"][0]["case"]["kind"] == "explore"
    assert [finding["count"] for finding in grid["findings"]] == [16, 1]


def test_trend_names_what_is_flaky_and_what_drifts(made: Path, capsys: Printed) -> None:
    lines = asked(capsys, "trend", db=made).splitlines()
    (flaky,) = (line for line in lines if line.endswith("flaky"))
    assert flaky.split()[:4] == ["scenario", "a-stop-writes-the-cache-out", "6.1",
                                 "k...k......k.....k.."]  # fmt: skip
    assert "4/20" in flaky
    assert "8.1% .. 41.6%" in flaky, "Wilson's interval of 4 in 20"
    (slower,) = (line for line in lines if "SLOWER" in line)
    assert "a-member-is-rebuilt-while-the-journal-is-in-use  6.1" in slower
    (switch,) = (line for line in lines if "kkkkkkkkkkkkkkkkkk.." in line)
    assert "flaky" not in switch, "an upgrade has mended it"


def test_trend_of_some_cases_kernels_and_nights(made: Path, capsys: Printed) -> None:
    trends = document(capsys, "trend", "--case", "stop", "--kernel", "6.1", "--last", "3", db=made)
    (only,) = trends["trends"]
    assert (only["case"]["name"], only["kernel"]) == ("a-stop-writes-the-cache-out", "6.1")
    assert (only["outcomes"], only["rate"]["judged"], only["drift"]) == ("k..", 3, None)
    assert trends["runs"] == ["2026-11-25", "2026-11-26", "2026-11-27"]
    by_version = document(capsys, "trend", "--kernel", "7.3.4-1", db=made)
    assert {each["outcomes"][:18] for each in by_version["trends"]} == {"-" * 18}
    said = refused(capsys, "trend", "--case", "nope", "--kernel", "6.1", db=made)
    assert "--case nope --kernel 6.1: nothing of it ran in the last 20 runs" in said


@pytest.mark.parametrize("width", [20, 100, 400, None])
def test_a_narrow_terminal_loses_nothing_of_a_table(width: int | None) -> None:
    row = ["scenario a-member-is-rebuilt", "k...k......k.....k..", "8.1% .. 41.6%"]
    lines = table_lines(("case", "nights", "between"), [row], width=width)
    text = " ".join(" ".join(lines).split())
    assert [text.count(cell) for cell in row[1:]] == [1, 1]
    assert all(word in text.split() for word in row[0].split())
    assert len(lines) == (2 if width is None or width >= 100 else 3)


def test_compare_exits_1_for_what_is_newly_red(made: Path, capsys: Printed) -> None:
    text = asked(capsys, "compare", "last-1", "last", db=made, status=1)
    assert "NEW RED     explore epochs on 7.3: was KNOWN" in text
    assert "    redundancy: P of stripe N is not its parity\n" in text
    assert "SLOWER      scenario a-member-is-rebuilt-while-the-journal-is-in-use on 6.1" in text
    assert "with the baseline 2026-11-09 (2)" in text
    assert text.splitlines()[-1].split() == ["verdict", "1", "new", "red"]
    found = document(capsys, "compare", "19", "20", db=made, status=1)
    assert found["is_red"]
    assert found["baseline"]["number"] == 2


def test_compare_exits_0_where_nothing_is_newly_red(made: Path, capsys: Printed) -> None:
    text = asked(capsys, "compare", "18", "19", db=made)
    assert "ISSUE GONE  dirty-cache-after-a-switch on 7.3: was on 18 of 18 nights" in text
    assert "NOT SEEN    stop-hangs on 6.1" in text
    assert text.splitlines()[-1].split() == ["verdict", "nothing", "new", "is", "red"]
    same = asked(capsys, "compare", "last", "last", db=made)
    assert "NEW RED     explore epochs on 7.3: since the baseline" in same
    assert "nothing new is red; 1 red since the baseline" in same


def test_compare_takes_a_baseline_by_name_or_run(tmp_path: Path, capsys: Printed) -> None:
    path = tmp_path / "h"
    write_history(path, nights=4)
    assert "default: 2026-11-09 (2)" in asked(capsys, "baseline", db=path)
    asked(capsys, "baseline", "last-1", "--name", "release", db=path)
    assert asked(capsys, "baseline", db=path).splitlines()[-1] == "release: 2026-11-10 (3)"
    for text in ("release", "3", "2026-11-10"):
        compared = document(capsys, "compare", "1", "2", "--baseline", text, db=path)
        assert compared["baseline"]["number"] == 3
    assert "no run is called so" in refused(capsys, "compare", "1", "2", "--baseline", "x", db=path)


def test_findings_are_listed_and_closed(tmp_path: Path, capsys: Printed) -> None:
    db = tmp_path / "history.sqlite"
    write_history(db)
    (found,) = document(capsys, "findings", db=db)["findings"]
    assert found["signature"] == "redundancy: P of stripe N is not its parity"
    assert found["id"] in asked(capsys, "findings", db=db)
    assert "tail-before-member-flush-order" in asked(capsys, "findings", "--all", db=db)
    said = asked(capsys, "close", found["id"][:6], "--note", "mended in 7.4", db=db)
    assert said == f"{found['id']}: closed: {found['signature']}\n"
    assert asked(capsys, "findings", db=db).startswith("nothing is followed")
    assert "mended in 7.4" in asked(capsys, "findings", "--all", db=db)
    assert "no finding is called so" in refused(capsys, "close", "zzz", db=db)


def test_export_has_every_unit_in_every_format(made: Path, capsys: Printed, tmp_path: Path) -> None:
    with opened_history(made, create=False) as store:
        units = [(run.number, unit.part, unit.seconds) for run, unit in store.units(store.runs())]
    assert len(units) == NIGHTS * 30
    rows = list(csv.DictReader(asked(capsys, "export", "--format", "csv", db=made).splitlines()))
    assert [(int(r["run"]), r["part"], float(r["seconds"])) for r in rows] == units
    assert rows[-1]["kernel"] == "7.3"
    lines = asked(capsys, "export", "--format", "jsonl", db=made).splitlines()
    assert [(u["run"], u["part"], u["seconds"]) for u in map(json.loads, lines)] == units
    whole = json.loads(asked(capsys, "export", "--format", "json", db=made))
    assert whole["units"] == [json.loads(line) for line in lines]
    assert len(whole["runs"]) == NIGHTS
    red = next(u for u in whole["units"] if u["outcome"] == "DIFFERS")
    assert [each["signature"] for each in red["findings"]] == [
        "tail-before-member-flush-order", "redundancy: P of stripe N is not its parity"
    ]  # fmt: skip
    out = tmp_path / "out.jsonl"
    asked(capsys, "export", "--run", "last", "--out", str(out), db=made)
    assert out.read_text().splitlines() == lines[-30:]
    assert "is there already" in refused(capsys, "export", "--out", str(out), db=made)
    asked(capsys, "export", "--out", str(out), "--force", db=made)


def test_no_history_yet_is_said_and_is_no_failure(
    tmp_path: Path, capsys: Printed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MDJOURNAL_RESULTS", str(tmp_path))
    assert "the history is empty" in asked(capsys, "show", db=None)
    assert "the history is empty" in asked(capsys, "trend", db=None)
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
