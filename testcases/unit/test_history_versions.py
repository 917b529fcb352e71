"""Histories of other versions, of other programs, and new ones."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from harness.campaign.history.schema import APPLICATION_ID, LADDER, _Median
from harness.campaign.history.store import opened_history
from harness.errors import BadInput
from harness.verdict.verdict import Outcome
from testcases.unit.made_nights import KERNEL, STORY, unit

ROOT = Path(__file__).resolve().parents[2]

OF_VERSION_1 = """
PRAGMA journal_mode = WAL;
CREATE TABLE kernels (id INTEGER PRIMARY KEY, name TEXT NOT NULL, release TEXT NOT NULL,
    version TEXT NOT NULL, identity TEXT NOT NULL, first_seen REAL NOT NULL,
    UNIQUE (name, identity));
CREATE TABLE runs (number INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE,
    began REAL NOT NULL, ended REAL, command TEXT NOT NULL, plan_hash TEXT NOT NULL,
    budget_s REAL, out_folder TEXT NOT NULL);
CREATE TABLE cases (id INTEGER PRIMARY KEY, kind TEXT NOT NULL, name TEXT NOT NULL,
    shape TEXT NOT NULL, UNIQUE (kind, name, shape));
CREATE TABLE units (id INTEGER PRIMARY KEY,
    run INTEGER NOT NULL REFERENCES runs ON DELETE CASCADE,
    case_id INTEGER NOT NULL REFERENCES cases, kernel_id INTEGER NOT NULL REFERENCES kernels,
    part TEXT NOT NULL, worker TEXT NOT NULL, began REAL NOT NULL, seconds REAL NOT NULL,
    states INTEGER NOT NULL, outcome TEXT NOT NULL, reason TEXT NOT NULL,
    evidence TEXT NOT NULL, bundle TEXT NOT NULL, UNIQUE (run, case_id, kernel_id, part));
CREATE TABLE findings (id INTEGER PRIMARY KEY, signature TEXT NOT NULL UNIQUE,
    oracle TEXT NOT NULL, sentence TEXT NOT NULL, known_as TEXT NOT NULL, status TEXT NOT NULL,
    bundle TEXT NOT NULL, first_run INTEGER NOT NULL REFERENCES runs,
    last_run INTEGER NOT NULL REFERENCES runs, first_kernel INTEGER NOT NULL REFERENCES kernels,
    last_kernel INTEGER NOT NULL REFERENCES kernels);
CREATE TABLE unit_findings (unit INTEGER NOT NULL REFERENCES units ON DELETE CASCADE,
    finding INTEGER NOT NULL REFERENCES findings, count INTEGER NOT NULL,
    PRIMARY KEY (unit, finding)) WITHOUT ROWID;
CREATE INDEX unit_findings_by_finding ON unit_findings (finding);
CREATE TABLE baselines (name TEXT PRIMARY KEY,
    run INTEGER NOT NULL REFERENCES runs ON DELETE CASCADE) WITHOUT ROWID;
INSERT INTO kernels VALUES (1, '6.1', '6.1.0-56-cloud-amd64', '6.1.192-2', 'hash-of-6.1.192', 9.0);
INSERT INTO runs VALUES (1, 'old', 10.0, 20.0, 'nightly', 'h', NULL, '/out');
INSERT INTO runs VALUES (2, 'older than it', 30.0, NULL, 'nightly', 'h', 60.0, '/out2');
INSERT INTO cases VALUES (1, 'scenario', 'a-member-fails', '');
INSERT INTO units VALUES (1, 1, 1, 1, 'seed 1', 'w', 11.0, 4.0, 0, 'AGREES', '', '', '');
INSERT INTO units VALUES (2, 1, 1, 1, 'seed 2', 'w', 12.0, 6.0, 0, 'KNOWN', 'r', '/e', '');
INSERT INTO units VALUES (3, 2, 1, 1, 'seed 1', 'w', 31.0, 5.0, 0, 'DIFFERS', 'r', '/e', '/b');
INSERT INTO findings VALUES (1, 'stop-hangs', 'alive', '', 'stop-hangs', 'open', '', 1, 2, 1, 1);
INSERT INTO findings VALUES (2, 'o: s', 'o', 's', '', 'packed', 'bundles/x.mdjr', 1, 2, 1, 1);
INSERT INTO unit_findings VALUES (2, 1, 3);
INSERT INTO baselines VALUES ('default', 1);
"""


def write_version_1(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.executescript(OF_VERSION_1)
    connection.executescript(f"PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = 1;")
    connection.close()


def test_a_file_of_version_1_is_climbed_up_with_all_that_it_has(tmp_path: Path) -> None:
    write_version_1(tmp_path / "h")
    with opened_history(tmp_path / "h", create=False) as store:
        old, newer = store.runs()
        first, second = store.cells(store.runs())
        assert (old.name, newer.budget_s, store.baseline()) == ("old", 60.0, old)
        assert (first.run, first.case, first.kernel) == (1, STORY, KERNEL)
        assert first.counts == {Outcome.AGREES: 1, Outcome.KNOWN: 1}
        assert (first.seconds, first.pace_s) == (10.0, 5.0)
        assert (second.counts, second.pace_s) == ({Outcome.DIFFERS: 1}, None)
        assert [each.count for each in store.findings(old)] == [3]
        store.add_unit(newer, unit(part="seed 2"))
        assert store.cells([newer])[0].counts == {Outcome.DIFFERS: 1, Outcome.AGREES: 1}
    assert version_of(tmp_path / "h") == len(LADDER)


def test_a_step_that_fails_leaves_the_file_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_version_1(tmp_path / "h")
    broken = (*LADDER[:1], (*LADDER[1], "CREATE TABLE runs (again)"))
    monkeypatch.setattr("harness.campaign.history.schema.LADDER", broken)
    with pytest.raises(BadInput, match="already exists"), opened_history(tmp_path / "h"):
        pass
    monkeypatch.undo()
    assert version_of(tmp_path / "h") == 1
    with opened_history(tmp_path / "h") as store:
        assert len(store.cells(store.runs())) == 2


def test_a_new_file_has_the_same_tables_as_one_that_climbed(tmp_path: Path) -> None:
    write_version_1(tmp_path / "old")
    columns = []
    for name in ("old", "new"):
        with opened_history(tmp_path / name):
            pass
        connection = sqlite3.connect(tmp_path / name)
        columns.append(
            connection.execute(
                "SELECT m.type, m.name, c.name, c.type, c.pk FROM sqlite_master m"
                " LEFT JOIN pragma_table_info(m.name) c ORDER BY m.name, c.cid"
            ).fetchall()
        )
        connection.close()
    assert columns[0] == columns[1]


def version_of(path: Path) -> int:
    connection = sqlite3.connect(path)
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    connection.close()
    return int(version)


def test_two_processes_begin_the_same_file_at_once(tmp_path: Path) -> None:
    words = "import sys; from pathlib import Path\n"
    words += "from harness.campaign.history.store import opened_history\n"
    words += "with opened_history(Path(sys.argv[1])) as s: print(s.begin_run().name)\n"
    command = [sys.executable, "-c", words, str(tmp_path / "h")]
    writers = [
        subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, env=os.environ, text=True)
        for _ in range(3)
    ]
    said = [writer.communicate()[0] for writer in writers]
    assert [writer.returncode for writer in writers] == [0, 0, 0]
    assert len(set(said)) == 3


def test_a_file_of_a_later_version_is_told(tmp_path: Path) -> None:
    with opened_history(tmp_path / "h"):
        pass
    connection = sqlite3.connect(tmp_path / "h")
    connection.execute(f"PRAGMA user_version = {len(LADDER) + 1}")
    connection.close()
    with pytest.raises(BadInput, match="newer mdjournal"), opened_history(tmp_path / "h"):
        pass


def test_a_database_of_something_else_is_told_and_left_alone(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "h")
    connection.executescript("CREATE TABLE results (run); PRAGMA user_version = 1;")
    connection.close()
    before = (tmp_path / "h").read_bytes()
    with pytest.raises(BadInput, match="something else"), opened_history(tmp_path / "h"):
        pass
    assert (tmp_path / "h").read_bytes() == before


@pytest.mark.parametrize("content", [b"not a database, by its first bytes" * 100, None])
def test_a_file_that_is_no_database_is_told(tmp_path: Path, content: bytes | None) -> None:
    if content is None:
        (tmp_path / "h").mkdir()
    else:
        (tmp_path / "h").write_bytes(content)
    with pytest.raises(BadInput, match=str(tmp_path / "h")), opened_history(tmp_path / "h"):
        pass


def test_a_history_that_must_be_there_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no history"), opened_history(tmp_path / "h", create=False):
        pass
    assert not (tmp_path / "h").exists()


@pytest.mark.parametrize("version", [1, 2])
def test_a_file_of_an_older_version_can_forget_its_runs(tmp_path: Path, version: int) -> None:
    path = tmp_path / "h"
    write_version_1(path)
    connection = sqlite3.connect(path)
    connection.create_aggregate("median", 1, _Median)  # type: ignore[arg-type]
    for step in LADDER[1:version]:
        for statement in step:
            connection.execute(statement)
    connection.execute(f"PRAGMA user_version = {version}")
    connection.commit()
    connection.close()
    with opened_history(path, create=False) as store:
        assert [run.name for run in store.runs()] == ["old", "older than it"]
        assert store.forget(keep_runs=1) == []  # the first is the baseline, and the last good one
        store.set_baseline(store.runs()[1])
        newest = store.begin_run("newest")
        store.add_unit(newest, unit())
        store.end_run(newest)
        assert [run.name for run in store.forget(keep_runs=1)] == ["old"]
        finding, packed = store.findings()
        assert packed.bundle == "/out/bundles/x.mdjr"  # it had its night's folder before it
        assert (finding.first_run.name, finding.last_run.name) == ("old", "older than it")
    assert version_of(path) == len(LADDER)
