"""Where an exploration writes down what it knows, as it goes: one SQLite file.

Killed at any moment, it goes on from there. States that recovery cannot tell apart share a *class*,
of which the kernel recovers one.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from harness.errors import BadInput
from harness.verdict.verdict import Outcome, Verdict
from harness.verdict.verdict_json import decode_judgements, encode_judgements

SCHEMA = 3
_TABLES = """
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS recordings (
    number INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    events INTEGER NOT NULL,        -- of the workload; 0: it could not be recorded
    writes INTEGER NOT NULL,
    verdict TEXT NOT NULL           -- JSON: on the trace alone, or of what hung
);
CREATE TABLE IF NOT EXISTS classes (
    identity BLOB PRIMARY KEY,
    leader INTEGER NOT NULL,        -- the number of the state that was recovered
    child INTEGER NOT NULL,         -- of its recovery's crash states; -1: the state itself
    outcome TEXT NOT NULL,
    verdict TEXT NOT NULL,          -- JSON
    seconds REAL NOT NULL,          -- in the guest
    complete INTEGER NOT NULL       -- 0: its own crash states are still to be looked at
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS states (
    number INTEGER PRIMARY KEY,
    recording INTEGER NOT NULL,
    cut INTEGER NOT NULL,           -- the sequence number of the first event that did not happen
    lost_writes INTEGER NOT NULL,
    torn_writes INTEGER NOT NULL,
    identity BLOB NOT NULL,
    outcome TEXT NOT NULL,          -- of the oracles that need no kernel
    verdict TEXT NOT NULL           -- JSON; '' where all agree
);
CREATE TABLE IF NOT EXISTS children (
    parent INTEGER NOT NULL,        -- the state of whose recovery this is a crash state
    number INTEGER NOT NULL,
    cut INTEGER NOT NULL,
    identity BLOB NOT NULL,
    outcome TEXT NOT NULL,
    verdict TEXT NOT NULL,          -- JSON; '' where all agree
    PRIMARY KEY (parent, number)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS states_by_identity ON states (identity);
CREATE INDEX IF NOT EXISTS states_by_recording ON states (recording);
"""
ITSELF = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordingRecord:
    """A recording and what its trace alone says; one that failed has no events."""

    number: int
    name: str
    events: int
    writes: int
    verdict: Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class StateRecord:
    """One state and what the oracles without a kernel say of it."""

    number: int
    recording: int
    cut: int
    lost_writes: int
    torn_writes: int
    identity: bytes
    verdict: Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildRecord:
    """A crash state of the recovery of another state, and whether it comes to the same end."""

    parent: int
    number: int
    cut: int
    identity: bytes
    verdict: Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassRecord:
    """A class of states, and what became of its leader."""

    identity: bytes
    leader: int
    child: int = ITSELF
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

    def add_recording(self, record: RecordingRecord) -> None:
        """Write a recording down."""
        row = (
            record.number, record.name, record.events, record.writes,
            encode_verdict(record.verdict),
        )  # fmt: skip
        with self._connection:
            self._connection.execute("REPLACE INTO recordings VALUES (?,?,?,?,?)", row)

    def add_states(self, records: list[StateRecord]) -> None:
        """Write states down, all or none."""
        rows = [
            (r.number, r.recording, r.cut, r.lost_writes, r.torn_writes, r.identity,
             r.verdict.outcome.value, _text_unless_agrees(r.verdict))
            for r in records
        ]  # fmt: skip
        with self._connection:
            self._connection.executemany("REPLACE INTO states VALUES (?,?,?,?,?,?,?,?)", rows)

    def add_class(self, record: ClassRecord, *, complete: bool) -> None:
        """Write a class down; *complete*: no crash states of its recovery are to follow."""
        row = (
            record.identity, record.leader, record.child, record.verdict.outcome.value,
            encode_verdict(record.verdict), record.seconds, int(complete),
        )  # fmt: skip
        with self._connection:
            self._connection.execute("REPLACE INTO classes VALUES (?,?,?,?,?,?,?)", row)

    def add_children(self, parent_identity: bytes, records: Sequence[ChildRecord]) -> None:
        """Write down the crash states of a class's recovery, which makes it complete."""
        rows = [
            (r.parent, r.number, r.cut, r.identity, r.verdict.outcome.value,
             _text_unless_agrees(r.verdict))
            for r in records
        ]  # fmt: skip
        with self._connection:
            self._connection.executemany("REPLACE INTO children VALUES (?,?,?,?,?,?)", rows)
            self._connection.execute(
                "UPDATE classes SET complete = 1 WHERE identity = ?", (parent_identity,)
            )

    def recordings(self) -> list[RecordingRecord]:
        """Return every recording, in order."""
        rows = self._connection.execute(
            "SELECT number, name, events, writes, verdict FROM recordings ORDER BY number"
        )
        return [
            RecordingRecord(
                number=number, name=name, events=events, writes=writes,
                verdict=decode_verdict(verdict),
            )
            for number, name, events, writes, verdict in rows
        ]  # fmt: skip

    def known_states(self) -> set[int]:
        """Return the numbers of the states that are written down."""
        return {row[0] for row in self._connection.execute("SELECT number FROM states")}

    def known_classes(self) -> set[bytes]:
        """Return the classes of which the kernel has recovered one, and that are complete: the
        crash states of their recoveries have been recovered in their turn.
        """
        rows = self._connection.execute(
            "SELECT identity FROM classes WHERE complete AND leader NOT IN (SELECT parent FROM"
            " children WHERE outcome != ? AND identity NOT IN (SELECT identity FROM classes))",
            (Outcome.NOT_RUN.value,),
        )
        return {row[0] for row in rows}

    def class_records(self) -> Iterator[ClassRecord]:
        """Yield every class, in order of its leader."""
        rows = self._connection.execute(
            "SELECT identity, leader, child, verdict, seconds FROM classes ORDER BY leader, child"
        )
        for identity, leader, child, verdict, seconds in rows:
            yield ClassRecord(
                identity=identity, leader=leader, child=child, verdict=decode_verdict(verdict),
                seconds=seconds,
            )  # fmt: skip

    def state_records(self, *, red: bool = False) -> Iterator[StateRecord]:
        """Yield every state, or those with which an oracle without a kernel disagrees."""
        rows = self._connection.execute(
            "SELECT number, recording, cut, lost_writes, torn_writes, identity, verdict FROM states"
            + (f" WHERE outcome != '{Outcome.AGREES.value}'" if red else "")
            + " ORDER BY number"
        )
        for number, recording, cut, lost, torn, identity, verdict in rows:
            yield StateRecord(
                number=number, recording=recording, cut=cut, lost_writes=lost, torn_writes=torn,
                identity=identity, verdict=_verdict_or_agrees(verdict),
            )  # fmt: skip

    def child_records(self) -> Iterator[ChildRecord]:
        """Yield every crash state of a recovery."""
        rows = self._connection.execute(
            "SELECT parent, number, cut, identity, verdict FROM children ORDER BY parent, number"
        )
        for parent, number, cut, identity, verdict in rows:
            yield ChildRecord(
                parent=parent, number=number, cut=cut, identity=identity,
                verdict=_verdict_or_agrees(verdict),
            )  # fmt: skip


def _text_unless_agrees(verdict: Verdict) -> str:
    return "" if verdict.outcome is Outcome.AGREES else encode_verdict(verdict)


def _verdict_or_agrees(text: str) -> Verdict:
    return decode_verdict(text) if text else Verdict(Outcome.AGREES)


@contextmanager
def opened_store(path: Path) -> Iterator[ExploreStore]:
    """Open an exploration's file, or begin one.

    Raises:
        BadInput: it is damaged, or its file system is full.
    """
    try:
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")
            connection.executescript(_TABLES)
            yield ExploreStore(connection)
    except sqlite3.OperationalError as error:
        raise BadInput(f"{path}: {error}; free some space, or give MDJOURNAL_RESULTS") from error
    except sqlite3.DatabaseError as error:
        raise BadInput(f"{path}: {error}; remove {path.parent} to begin anew") from error


def encode_verdict(verdict: Verdict) -> str:
    """Return a verdict as JSON text."""
    return json.dumps(
        {
            "outcome": verdict.outcome.value,
            "reason": verdict.reason,
            "judgements": encode_judgements(verdict.judgements),
        }
    )


def decode_verdict(text: str) -> Verdict:
    """Return the verdict that a JSON text is of."""
    document = json.loads(text)
    judgements = decode_judgements(document["judgements"])
    return Verdict(Outcome(document["outcome"]), judgements, document["reason"])
