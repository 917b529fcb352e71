"""Where an exploration writes down what it knows, as it goes: one SQLite file.

Killed at any moment, it goes on from there. States that recovery cannot tell apart share a *class*,
of which the kernel recovers one.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from harness.verdict.verdict import Finding, Judgement, Outcome, Verdict

SCHEMA = 1
_TABLES = """
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS classes (
    identity BLOB PRIMARY KEY,
    leader INTEGER NOT NULL,        -- the number of the state that was recovered
    outcome TEXT NOT NULL,
    verdict TEXT NOT NULL,          -- JSON
    seconds REAL NOT NULL           -- in the guest
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS states (
    number INTEGER PRIMARY KEY,
    cut INTEGER NOT NULL,           -- the sequence number of the first event that did not happen
    lost_writes INTEGER NOT NULL,
    torn_writes INTEGER NOT NULL,
    identity BLOB NOT NULL,
    outcome TEXT NOT NULL,          -- of the oracles that need no kernel
    verdict TEXT NOT NULL           -- JSON; '' where all agree
);
CREATE INDEX IF NOT EXISTS states_by_identity ON states (identity);
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class StateRecord:
    """One state and what the oracles without a kernel say of it."""

    number: int
    cut: int
    lost_writes: int
    torn_writes: int
    identity: bytes
    verdict: Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassRecord:
    """A class of states, and what became of its leader."""

    identity: bytes
    leader: int
    verdict: Verdict
    seconds: float


class ExploreStore:
    """The open file; used by one thread."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def fact(self, name: str) -> str | None:
        """Return what was noted under a name."""
        row = self._connection.execute("SELECT value FROM facts WHERE name = ?", (name,)).fetchone()
        return None if row is None else str(row[0])

    def note(self, facts: Mapping[str, str]) -> None:
        """Note something under a name each."""
        with self._connection:
            self._connection.executemany("REPLACE INTO facts VALUES (?, ?)", facts.items())

    def add_states(self, records: list[StateRecord]) -> None:
        """Write states down, all or none."""
        rows = [
            (r.number, r.cut, r.lost_writes, r.torn_writes, r.identity, r.verdict.outcome.value,
             "" if r.verdict.outcome is Outcome.AGREES else encode_verdict(r.verdict))
            for r in records
        ]  # fmt: skip
        with self._connection:
            self._connection.executemany("REPLACE INTO states VALUES (?,?,?,?,?,?,?)", rows)

    def add_class(self, record: ClassRecord) -> None:
        """Write a class down."""
        row = (
            record.identity, record.leader, record.verdict.outcome.value,
            encode_verdict(record.verdict), record.seconds,
        )  # fmt: skip
        with self._connection:
            self._connection.execute("REPLACE INTO classes VALUES (?,?,?,?,?)", row)

    def known_states(self) -> set[int]:
        """Return the numbers of the states that are written down."""
        return {row[0] for row in self._connection.execute("SELECT number FROM states")}

    def known_classes(self) -> set[bytes]:
        """Return the classes of which the kernel has recovered one."""
        return {row[0] for row in self._connection.execute("SELECT identity FROM classes")}

    def class_records(self) -> Iterator[ClassRecord]:
        """Yield every class, in order of its leader."""
        rows = self._connection.execute(
            "SELECT identity, leader, verdict, seconds FROM classes ORDER BY leader"
        )
        for identity, leader, verdict, seconds in rows:
            yield ClassRecord(
                identity=identity, leader=leader, verdict=decode_verdict(verdict), seconds=seconds
            )

    def red_states(self) -> Iterator[tuple[int, bytes, Verdict]]:
        """Yield number, class and verdict of states with which an oracle without a kernel
        disagrees.
        """
        rows = self._connection.execute(
            "SELECT number, identity, verdict FROM states WHERE outcome != ? ORDER BY number",
            (Outcome.AGREES.value,),
        )
        for number, identity, verdict in rows:
            yield number, identity, decode_verdict(verdict)

    def states_of_classes(self) -> dict[bytes, int]:
        """Return how many states each class stands for."""
        rows = self._connection.execute("SELECT identity, count(*) FROM states GROUP BY identity")
        return dict(rows.fetchall())


@contextmanager
def opened_store(path: Path) -> Iterator[ExploreStore]:
    """Open an exploration's file, or begin one."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.executescript(_TABLES)
        yield ExploreStore(connection)


def encode_verdict(verdict: Verdict) -> str:
    """Return a verdict as JSON text."""
    return json.dumps(
        {
            "outcome": verdict.outcome.value,
            "reason": verdict.reason,
            "judgements": [
                {
                    "oracle": judgement.oracle,
                    "compared": judgement.compared,
                    "findings": [
                        {"oracle": f.oracle, "what": f.what, "details": f.details,
                         "facts": dict(f.facts)}
                        for f in judgement.findings
                    ],
                }
                for judgement in verdict.judgements
            ],
        }
    )  # fmt: skip


def decode_verdict(text: str) -> Verdict:
    """Return the verdict that a JSON text is of."""
    document = json.loads(text)
    judgements = tuple(
        Judgement(
            each["oracle"], tuple(each["compared"]),
            tuple(
                Finding(f["oracle"], f["what"], tuple(f["details"]), f["facts"])
                for f in each["findings"]
            ),
        )
        for each in document["judgements"]
    )  # fmt: skip
    return Verdict(Outcome(document["outcome"]), judgements, document["reason"])
