"""The history's tables, and how a file of an older version becomes one of this.

`PRAGMA user_version` says which version a file has. Each step of the ladder is one transaction: a
kill between two leaves a file of a version in between, and the next opening goes on. A step that
has been released is never changed; what is new is a step more.
"""

from __future__ import annotations

import sqlite3
import statistics
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from harness.errors import BadInput, Unavailable

APPLICATION_ID = 0x6D646A68  # "mdjh": other SQLite files of this project have versions as well
_BUSY_S = 60.0  # a writer waits so long for another one

_FIRST = (
    """CREATE TABLE kernels (
        id INTEGER PRIMARY KEY,
        name TEXT NOT NULL,             -- as it was asked for
        release TEXT NOT NULL,
        version TEXT NOT NULL,
        identity TEXT NOT NULL,         -- hash
        first_seen REAL NOT NULL,       -- since 1970
        UNIQUE (name, identity)
    )""",
    """CREATE TABLE runs (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        name TEXT NOT NULL UNIQUE,
        began REAL NOT NULL,
        ended REAL,                     -- NULL: it goes on, or was killed
        command TEXT NOT NULL,
        plan_hash TEXT NOT NULL,
        budget_s REAL,
        out_folder TEXT NOT NULL
    )""",
    """CREATE TABLE cases (
        id INTEGER PRIMARY KEY,
        kind TEXT NOT NULL CHECK (kind IN ('explore', 'scenario', 'fuzz', 'crash', 'repro')),
        name TEXT NOT NULL,
        shape TEXT NOT NULL,
        UNIQUE (kind, name, shape)
    )""",
    """CREATE TABLE units (
        id INTEGER PRIMARY KEY,
        run INTEGER NOT NULL REFERENCES runs ON DELETE CASCADE,
        case_id INTEGER NOT NULL REFERENCES cases,
        kernel_id INTEGER NOT NULL REFERENCES kernels,
        part TEXT NOT NULL,             -- seed, range
        worker TEXT NOT NULL,
        began REAL NOT NULL,
        seconds REAL NOT NULL,
        states INTEGER NOT NULL,
        outcome TEXT NOT NULL
            CHECK (outcome IN ('AGREES', 'DIFFERS', 'KNOWN', 'NOT_RUN', 'HARNESS_FAILED')),
        reason TEXT NOT NULL,
        evidence TEXT NOT NULL,         -- folder
        bundle TEXT NOT NULL,           -- path
        UNIQUE (run, case_id, kernel_id, part)
    )""",
    """CREATE TABLE findings (
        id INTEGER PRIMARY KEY,
        signature TEXT NOT NULL UNIQUE,
        oracle TEXT NOT NULL,
        sentence TEXT NOT NULL,
        known_as TEXT NOT NULL,
        status TEXT NOT NULL CHECK (status IN ('open', 'packed', 'closed')),
        bundle TEXT NOT NULL,
        first_run INTEGER NOT NULL REFERENCES runs,
        last_run INTEGER NOT NULL REFERENCES runs,
        first_kernel INTEGER NOT NULL REFERENCES kernels,
        last_kernel INTEGER NOT NULL REFERENCES kernels
    )""",
    """CREATE TABLE unit_findings (
        unit INTEGER NOT NULL REFERENCES units ON DELETE CASCADE,
        finding INTEGER NOT NULL REFERENCES findings,
        count INTEGER NOT NULL,
        PRIMARY KEY (unit, finding)
    ) WITHOUT ROWID""",
    "CREATE INDEX unit_findings_by_finding ON unit_findings (finding)",
    """CREATE TABLE baselines (
        name TEXT PRIMARY KEY,
        run INTEGER NOT NULL REFERENCES runs ON DELETE CASCADE
    ) WITHOUT ROWID""",
)

# What becomes of the units of a cell. The pace is the median unit's time for one state, or for all
# of it where it is no matter of states: nights that a budget ends have not the same states. A unit
# that is red and not known has its own reasons to be slow.
_CELLS = """
    SELECT run, case_id, kernel_id,
        sum(outcome = 'AGREES'), sum(outcome = 'DIFFERS'), sum(outcome = 'KNOWN'),
        sum(outcome = 'NOT_RUN'), sum(outcome = 'HARNESS_FAILED'), sum(states), sum(seconds),
        median(CASE WHEN outcome IN ('AGREES', 'KNOWN') THEN seconds / max(states, 1) END)
    FROM units"""
_CELL_FINDINGS = """
    SELECT run, case_id, kernel_id, finding, sum(count)
    FROM units JOIN unit_findings ON unit = units.id"""
_SECOND = (
    """CREATE TABLE cells (             -- of units: what nights are looked at by
        run INTEGER NOT NULL REFERENCES runs ON DELETE CASCADE,
        case_id INTEGER NOT NULL REFERENCES cases,
        kernel_id INTEGER NOT NULL REFERENCES kernels,
        agrees INTEGER NOT NULL,
        differs INTEGER NOT NULL,
        known INTEGER NOT NULL,
        not_run INTEGER NOT NULL,
        harness_failed INTEGER NOT NULL,
        states INTEGER NOT NULL,
        seconds REAL NOT NULL,
        pace_s REAL,
        PRIMARY KEY (run, case_id, kernel_id)
    ) WITHOUT ROWID""",
    """CREATE TABLE cell_findings (     -- of unit_findings, as cells are of units
        run INTEGER NOT NULL REFERENCES runs ON DELETE CASCADE,
        case_id INTEGER NOT NULL REFERENCES cases,
        kernel_id INTEGER NOT NULL REFERENCES kernels,
        finding INTEGER NOT NULL REFERENCES findings,
        count INTEGER NOT NULL,
        PRIMARY KEY (run, case_id, kernel_id, finding)
    ) WITHOUT ROWID""",
    f"INSERT INTO cells {_CELLS} GROUP BY run, case_id, kernel_id",
    f"INSERT INTO cell_findings {_CELL_FINDINGS} GROUP BY run, case_id, kernel_id, finding",
)

# A run that was forgotten has no units and cells. Its row stays as long as a finding was met in it
# first or last; nothing else shows it.
_THIRD = ("ALTER TABLE runs ADD COLUMN forgotten REAL",)  # since 1970; NULL: it is not

# What is known of a finding besides; and its bundle's whole path, which once began at its night's.
_FOURTH = (
    "ALTER TABLE findings ADD COLUMN smallest TEXT NOT NULL DEFAULT ''",  # in words
    "ALTER TABLE findings ADD COLUMN note TEXT NOT NULL DEFAULT ''",  # why it is closed
    """UPDATE findings
        SET bundle = (SELECT out_folder FROM runs WHERE number = first_run) || '/' || bundle
        WHERE bundle <> '' AND bundle NOT LIKE '/%'""",
)

LADDER = (_FIRST, _SECOND, _THIRD, _FOURTH)
"""What makes a file of version N one of version N + 1."""

_OF_THE_CELL = "WHERE run = ? AND case_id = ? AND kernel_id = ?"
RENEW_CELL = (
    f"DELETE FROM cell_findings {_OF_THE_CELL}",
    f"REPLACE INTO cells {_CELLS} {_OF_THE_CELL} GROUP BY run, case_id, kernel_id",
    f"INSERT INTO cell_findings {_CELL_FINDINGS} {_OF_THE_CELL} GROUP BY finding",
)
"""What makes one cell fit its units again; each is given run, case and kernel."""


FORGET_RUN = (
    "DELETE FROM cell_findings WHERE run = :run",
    "DELETE FROM cells WHERE run = :run",
    "DELETE FROM units WHERE run = :run",
    "UPDATE runs SET forgotten = :now WHERE number = :run",
)
"""What takes all of a run but its name out of the file."""

DROP_FORGOTTEN = (
    "DELETE FROM runs WHERE forgotten IS NOT NULL AND NOT EXISTS ("
    "SELECT 1 FROM findings WHERE number IN (first_run, last_run))"
)
"""What takes out the names that no finding needs any more."""


class _Median:
    """SQL's aggregate ``median``; of nothing it is NULL."""

    def __init__(self) -> None:
        self._values: list[float] = []

    def step(self, value: float | None) -> None:
        """Take one value in."""
        if value is not None:
            self._values.append(value)

    def finalize(self) -> float | None:
        """Return the median."""
        return statistics.median(self._values) if self._values else None


@contextmanager
def connected(path: Path, *, create: bool) -> Iterator[sqlite3.Connection]:
    """Open the file, of whatever version it is; it is of this one afterwards.

    Raises:
        BadInput: it is not there and is not to be made, is none of ours, or of a later version.
    """
    if not create and not path.is_file():
        raise BadInput(f"{path}: no history is there; `mdjournal nightly` begins one")
    try:
        if create:
            path.parent.mkdir(parents=True, exist_ok=True)
        with closing(
            sqlite3.connect(path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False)
        ) as connection:
            connection.execute("PRAGMA foreign_keys = ON")
            connection.create_aggregate("median", 1, _Median)  # type: ignore[arg-type]
            climb(connection, path)
            yield connection
    except sqlite3.OperationalError as error:
        is_full = getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL
        kind = Unavailable if is_full else BadInput
        raise kind(f"{path}: {error}; free some space, or name another with --db") from error
    except sqlite3.DatabaseError as error:
        if isinstance(error, sqlite3.IntegrityError):
            raise
        raise BadInput(f"{path}: is no history that can be read: {error}") from error


def climb(connection: sqlite3.Connection, path: Path) -> None:
    """Make a file one of the newest version, step by step.

    Raises:
        BadInput: it is of something else, or of a later version than this program knows.
    """
    while True:
        version = _version(connection, path)
        if version == len(LADDER):
            break
        if version == 0:
            connection.execute("PRAGMA journal_mode = WAL")  # stays with the file
        with transaction(connection):
            if _version(connection, path) != version:
                continue  # another process was here first
            for statement in LADDER[version]:
                connection.execute(statement)
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {version + 1}")
    # A unit took seconds: to have it on the medium for good costs nothing beside that.
    connection.execute("PRAGMA synchronous = FULL")


def _version(connection: sqlite3.Connection, path: Path) -> int:
    """Return which version the file is of; 0 is an empty one."""
    alone = not connection.in_transaction
    if alone:
        connection.execute("BEGIN")  # all three of one moment: another process may be climbing
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (owner,) = connection.execute("PRAGMA application_id").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if alone:
        connection.execute("COMMIT")
    if owner != APPLICATION_ID and (owner or version or tables):
        raise BadInput(f"{path}: is a database of something else; name the history with --db")
    if version > len(LADDER):
        raise BadInput(
            f"{path}: is a history of version {version}, wanted up to {len(LADDER)};\n"
            "  a newer mdjournal has written it: take that one"
        )
    return int(version)


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Do all of the block or nothing; nobody else writes meanwhile."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        if connection.in_transaction:  # SQLite has ended it itself where the disk is full
            connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")
