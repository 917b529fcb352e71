"""What runs of scenarios came to: one SQLite file, written as they end, so that a run goes on."""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from harness.errors import BadInput
from harness.verdict.verdict import Outcome

SCHEMA = 1
_TABLES = """
CREATE TABLE IF NOT EXISTS runs (
    number INTEGER PRIMARY KEY,
    key TEXT NOT NULL,              -- hash of all that was asked for
    finished INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS results (
    run INTEGER NOT NULL,
    scenario TEXT NOT NULL,
    kernel TEXT NOT NULL,           -- as it was asked for
    repeat INTEGER NOT NULL,        -- from 1 on
    outcome TEXT NOT NULL,
    reason TEXT NOT NULL,
    findings TEXT NOT NULL,         -- JSON: [oracle, what, details]
    seconds REAL NOT NULL,
    longest_step_s REAL NOT NULL,
    ended_at REAL NOT NULL,         -- since 1970
    evidence TEXT NOT NULL,         -- folder, where one was kept
    PRIMARY KEY (run, scenario, kernel, repeat)
) WITHOUT ROWID;
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """How a scenario ended on a kernel, once."""

    scenario: str
    kernel: str
    repeat: int
    outcome: Outcome
    reason: str
    findings: tuple[tuple[str, str, tuple[str, ...]], ...]  # oracle, what, details
    seconds: float
    longest_step_s: float
    evidence: str


class ResultStore:
    """The open file; used by several threads."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._lock = threading.Lock()

    def begin(self, key: str) -> int:
        """Return the number of a run: of one that was not finished, or a new one."""
        with self._lock, self._connection:
            row = self._connection.execute(
                "SELECT number FROM runs WHERE key = ? AND NOT finished", (key,)
            ).fetchone()
            if row is not None:
                return int(row[0])
            made = self._connection.execute(
                "INSERT INTO runs (key, finished) VALUES (?, 0)", (key,)
            )
            assert made.lastrowid is not None
            return made.lastrowid

    def finish(self, run: int) -> None:
        """Note that a run is done: the same one begins anew next time."""
        with self._lock, self._connection:
            self._connection.execute("UPDATE runs SET finished = 1 WHERE number = ?", (run,))

    def add(self, run: int, result: Result) -> None:
        """Write down a result."""
        with self._lock, self._connection:
            self._connection.execute(
                "INSERT OR REPLACE INTO results VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    run, result.scenario, result.kernel, result.repeat, result.outcome.value,
                    result.reason, json.dumps(result.findings), result.seconds,
                    result.longest_step_s, time.time(), result.evidence,
                ),
            )  # fmt: skip

    def of_run(self, run: int) -> list[Result]:
        """Return what is known of a run, in no particular order."""
        with self._lock:
            rows = self._connection.execute(
                "SELECT scenario, kernel, repeat, outcome, reason, findings, seconds,"
                " longest_step_s, evidence FROM results WHERE run = ?",
                (run,),
            ).fetchall()
        return [_result(row) for row in rows]

    def newest(self) -> list[Result]:
        """Return the newest result of each scenario on each kernel, over all runs."""
        with self._lock:
            rows = self._connection.execute(
                "SELECT scenario, kernel, repeat, outcome, reason, findings, seconds,"
                " longest_step_s, evidence FROM results ORDER BY ended_at"
            ).fetchall()
        found = {(row[0], row[1]): _result(row) for row in rows}
        return list(found.values())


@contextmanager
def opened_results(path: Path) -> Iterator[ResultStore]:
    """Open, or begin, the file.

    Raises:
        BadInput: it is none, or of another schema.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with closing(sqlite3.connect(path, check_same_thread=False)) as connection:
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            if version not in (0, SCHEMA):
                raise BadInput(f"{path}: results of schema {version}, wanted {SCHEMA}; remove it")
            connection.executescript(_TABLES)
            connection.execute(f"PRAGMA user_version = {SCHEMA}")
            yield ResultStore(connection)
    except sqlite3.DatabaseError as error:
        raise BadInput(f"{path}: is no file of results ({error}); remove it") from error


def _result(row: tuple[str, str, int, str, str, str, float, float, str]) -> Result:
    scenario, kernel, repeat, outcome, reason, findings, seconds, longest_s, evidence = row
    found = tuple((oracle, what, tuple(lines)) for oracle, what, lines in json.loads(findings))
    return Result(
        scenario=scenario, kernel=kernel, repeat=repeat, outcome=Outcome(outcome), reason=reason,
        findings=found,
        seconds=seconds, longest_step_s=longest_s, evidence=evidence,
    )  # fmt: skip
