"""The history, open: what nights write into it as they go, and what is asked of it.

Each result of a unit is one transaction, so a kill at any moment loses the unit that was at work
and nothing else. Readers see a state between two transactions and wait for nobody.
"""

from __future__ import annotations

import re
import sqlite3
import threading
import time
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from harness.campaign.history import queries
from harness.campaign.history.queries import LAST
from harness.campaign.history.records import (
    Case,
    Cell,
    Finding,
    FindingSeen,
    KernelSeen,
    Run,
    RunView,
    Status,
    UnitKey,
    UnitResult,
)
from harness.campaign.history.retention import runs_to_forget
from harness.campaign.history.schema import (
    DROP_FORGOTTEN,
    FORGET_RUN,
    RENEW_CELL,
    connected,
    transaction,
)
from harness.campaign.history.whats_new import WINDOW, Comparison, compare
from harness.errors import BadInput

DEFAULT_BASELINE = "default"
_LEAST_LETTERS = 4  # of a finding's id
_TAKEN_WORDS = re.compile(rf"\d+|{LAST.pattern}|")
_Cell = tuple[int, int, int]  # run, case, kernel, as their rows are numbered


class History:
    """The open file; used by several threads. Other processes may read and write it as well."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._lock = threading.RLock()

    # Writing

    def begin_run(
        self, name: str = "", *, command: str = "", plan_hash: str = "",
        budget_s: float | None = None, out: str = "", began: float | None = None,
    ) -> Run:  # fmt: skip
        """Begin a night, and return it.

        Without a *name* it is the day that it *began* (seconds since 1970, default now; UTC) on,
        and from the second of a day on ``.2`` and so forth behind it.

        Raises:
            BadInput: the name is taken, or could be taken for a number or for ``last``.
        """
        began = time.time() if began is None else began
        if name and _TAKEN_WORDS.fullmatch(name):
            raise BadInput(f"{name!r}: is no name of a run; take one that is no number, nor `last`")
        with self._lock, transaction(self._connection):
            taken = {row[0] for row in self._connection.execute("SELECT name FROM runs")}
            if name in taken:
                raise BadInput(f"{name}: there is a run of this name; take another one")
            name = name or free_name(_day(began), taken)
            made = self._connection.execute(
                "INSERT INTO runs (name, began, command, plan_hash, budget_s, out_folder)"
                " VALUES (?, ?, ?, ?, ?, ?)",
                (name, began, command, plan_hash, budget_s, out),
            )
            return queries.run_of(self._connection, int(made.lastrowid or 0))

    def end_run(self, run: Run, ended: float | None = None) -> Run:
        """Note that a night is over; *ended* in seconds since 1970, default now."""
        with self._lock, transaction(self._connection):
            self._connection.execute(
                "UPDATE runs SET ended = ? WHERE number = ?",
                (time.time() if ended is None else ended, run.number),
            )
            return queries.run_of(self._connection, run.number)

    def add_unit(self, run: Run, result: UnitResult) -> None:
        """Write down what a unit came to; one that was repeated takes its former result's place."""
        self.add_units(run, (result,))

    def add_units(self, run: Run, results: Iterable[UnitResult]) -> None:
        """Write down what units came to, all or none."""
        with self._lock, transaction(self._connection):
            touched = {self._put_unit(run, result) for result in results}
            for statement in RENEW_CELL:
                self._connection.executemany(statement, touched)

    def _put_unit(self, run: Run, result: UnitResult) -> _Cell:
        case_id = self._case_id(result.case)
        kernel_id = self._kernel_id(result.kernel, result.began)
        self._connection.execute(
            "DELETE FROM units WHERE run = ? AND case_id = ? AND kernel_id = ? AND part = ?",
            (run.number, case_id, kernel_id, result.part),
        )
        made = self._connection.execute(
            "INSERT INTO units (run, case_id, kernel_id, part, worker, began, seconds, states,"
            " outcome, reason, evidence, bundle) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                run.number, case_id, kernel_id, result.part, result.worker, result.began,
                result.seconds, result.states, result.outcome.value, result.reason,
                result.evidence, result.bundle,
            ),
        )  # fmt: skip
        for finding in result.findings:
            self._connection.execute(
                "INSERT INTO unit_findings VALUES (?, ?, ?)"
                " ON CONFLICT DO UPDATE SET count = count + excluded.count",
                (made.lastrowid, self._finding_id(finding, run, kernel_id), finding.count),
            )
        return run.number, case_id, kernel_id

    def _case_id(self, case: Case) -> int:
        key = (case.kind.value, case.name, case.shape)
        self._connection.execute(
            "INSERT INTO cases (kind, name, shape) VALUES (?, ?, ?) ON CONFLICT DO NOTHING", key
        )
        return self._one("SELECT id FROM cases WHERE kind = ? AND name = ? AND shape = ?", key)

    def _kernel_id(self, kernel: KernelSeen, now: float) -> int:
        self._connection.execute(
            "INSERT INTO kernels (name, release, version, identity, first_seen)"
            " VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
            (kernel.name, kernel.release, kernel.version, kernel.identity, now),
        )
        return self._one(
            "SELECT id FROM kernels WHERE name = ? AND identity = ?",
            (kernel.name, kernel.identity),
        )

    def _finding_id(self, finding: FindingSeen, run: Run, kernel_id: int) -> int:
        """Return a finding's row; what was done with is open again, now that it is back."""
        self._connection.execute(
            "INSERT INTO findings (signature, oracle, sentence, known_as, status, bundle,"
            " first_run, last_run, first_kernel, last_kernel)"
            " VALUES (:signature, :oracle, :sentence, :known, 'open', '', :run, :run, :kernel,"
            " :kernel) ON CONFLICT DO UPDATE SET last_run = :run, last_kernel = :kernel,"
            " status = CASE WHEN status <> 'closed' THEN status"
            " WHEN smallest <> '' THEN 'packed' ELSE 'open' END,"
            " note = CASE status WHEN 'closed' THEN '' ELSE note END",
            {
                "signature": finding.signature, "oracle": finding.oracle,
                "sentence": finding.sentence, "known": finding.known_as, "run": run.number,
                "kernel": kernel_id,
            },
        )  # fmt: skip
        return self._one("SELECT id FROM findings WHERE signature = ?", (finding.signature,))

    def _one(self, statement: str, values: tuple[str, ...]) -> int:
        (number,) = self._connection.execute(statement, values).fetchone()
        return int(number)

    def follow_finding(
        self, signature: str, status: Status, *, bundle: str | None = None,
        smallest: str | None = None, note: str | None = None, keep_closed: bool = False,
    ) -> None:  # fmt: skip
        """Note how far a finding has been followed, and what there is new of it.

        Args:
            signature: of the finding.
            status: from now on.
            bundle: whole path.
            smallest: how small it is, in words.
            note: why it is closed.
            keep_closed: that it is closed by now stays so.

        Raises:
            BadInput: no unit has met it.
        """
        with self._lock, transaction(self._connection):
            changed = self._connection.execute(
                "UPDATE findings SET"
                " status = CASE WHEN ? AND status = 'closed' THEN status ELSE ? END,"
                " bundle = coalesce(?, bundle),"
                " smallest = coalesce(?, smallest), note = coalesce(?, note) WHERE signature = ?",
                (keep_closed, status.value, bundle, smallest, note, signature),
            )
            if not changed.rowcount:
                raise BadInput(f"{signature}: no unit has met this finding")

    def find_finding(self, text: str) -> Finding:
        """Return the finding of an id, or of the first four letters of it and more, or of a known
        issue's name.

        Raises:
            BadInput: there is none, or more than one.
        """
        every = self.findings()
        found = [each for each in every if text == each.signature] or [
            each for each in every if len(text) >= _LEAST_LETTERS and each.id.startswith(text)
        ]
        if len(found) != 1:
            several = f"{len(found)} findings begin so" if found else "no finding is called so"
            raise BadInput(f"{text}: {several}; `mdjournal history findings` lists them")
        return found[0]

    def set_baseline(self, run: Run, name: str = DEFAULT_BASELINE) -> None:
        """Let a run be what later ones are compared with."""
        with self._lock, transaction(self._connection):
            self._connection.execute("REPLACE INTO baselines VALUES (?, ?)", (name, run.number))

    def forget(self, *, keep_runs: int) -> list[Run]:
        """Forget all but the newest so many runs, and return those: all of their units, cells and
        durations. Findings stay, with the names of the nights that met them first and last;
        baselines and the last good night stay whole.

        What was taken in the file is used again by later nights; `compact` gives it back.
        """
        with self._lock, transaction(self._connection):
            gone = self.would_forget(keep_runs=keep_runs)
            for run in gone:
                values = {"run": run.number, "now": time.time()}
                for statement in FORGET_RUN:
                    self._connection.execute(statement, values)
            self._connection.execute(DROP_FORGOTTEN)
        return gone

    def would_forget(self, *, keep_runs: int) -> list[Run]:
        """Return what `forget` would forget."""
        with self.snapshot():
            needed = {run.number for run in self.needed_runs()}
            return runs_to_forget(self.runs(), keep=keep_runs, needed=needed)

    def needed_runs(self) -> list[Run]:
        """Return the runs that stay whatever their age: baselines, and the last good one."""
        with self.snapshot():
            numbers = queries.needed_runs(self._connection)
            return [run for run in self.runs() if run.number in numbers]

    def compact(self) -> None:
        """Give back to the file system what forgotten runs have left empty.

        Takes the time and, for that time, the room of writing the file anew; others wait.
        """
        with self._lock:
            self._connection.execute("VACUUM")
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    # Reading

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """Have all that the block reads be of one moment, whatever is written meanwhile."""
        with self._lock:
            if self._connection.in_transaction:  # a block within such a block
                yield
                return
            self._connection.execute("BEGIN")
            try:
                yield
            finally:
                self._connection.execute("COMMIT")

    def runs(self, last: int | None = None) -> list[Run]:
        """Return every night, or the *last* so many, in order."""
        with self._lock:
            return queries.runs(self._connection, last)

    def find_run(self, text: str) -> Run:
        """Return the run of a name, a number, or ``last``, ``last-1`` and so on.

        Raises:
            BadInput: there is none; the message says which there are.
        """
        with self._lock:
            return queries.find_run(self._connection, text)

    def unfinished(self, plan_hash: str, out: str | None = None) -> Run | None:
        """Return the newest night of a plan that has not ended: it can be gone on with.

        With *out* it is the one of this folder.
        """
        mine = [
            run
            for run in self.runs()
            if run.plan_hash == plan_hash and run.ended is None and out in (None, run.out)
        ]
        return mine[-1] if mine else None

    def run_before(self, run: Run, *, good: bool = False) -> Run | None:
        """Return the newest night before *run* that has ended; a *good* one has nothing that
        DIFFERS, and something that was judged.
        """
        with self._lock:
            return queries.run_before(self._connection, run.number, good=good)

    def baseline(self, name: str = DEFAULT_BASELINE) -> Run | None:
        """Return the run that is the baseline of a name, if one is."""
        return self.baselines().get(name)

    def baselines(self) -> dict[str, Run]:
        """Return the baselines by name."""
        with self._lock:
            return queries.baselines(self._connection)

    def cells(self, runs: Iterable[Run], *, case: str = "", kernel: str = "") -> list[Cell]:
        """Return the cells of runs, in order of run, case and kernel.

        Those of cases that have *case* in their name, and of the *kernel* of this name or version.
        """
        numbers = [run.number for run in runs]
        with self._lock:
            return queries.cells(self._connection, numbers, case=case, kernel=kernel)

    def units_done(self, run: Run) -> set[UnitKey]:
        """Return which units of a run have a result."""
        with self._lock:
            return {result.key for result in queries.units(self._connection, run.number)}

    def units(self, runs: Iterable[Run]) -> Iterator[tuple[Run, UnitResult]]:
        """Yield every unit of some runs, with its findings, run by run."""
        for run in runs:
            with self._lock:
                found = list(queries.units(self._connection, run.number))
            for result in found:
                yield run, result

    def findings(self, run: Run | None = None) -> list[Finding]:
        """Return every finding, or those of a run with how often they were met in it."""
        with self._lock:
            return queries.findings(self._connection, run)

    def views(self, runs: Iterable[Run]) -> list[RunView]:
        """Return all of each run that a comparison looks at."""
        with self._lock:
            return queries.views(self._connection, list(runs))

    def comparison(
        self, before: Run, now: Run, baseline: Run | None = None, *, window: int = WINDOW
    ) -> Comparison:
        """Return what is new in the run *now*: against *before* and, where there is one, against a
        baseline; what is usual are up to *window* runs before *now*.
        """
        with self.snapshot():
            earlier = self.window(now, window + 1)[:-1]
            wanted = {run.number: run for run in (*earlier, before, now)}
            if baseline is not None:
                wanted[baseline.number] = baseline
            views = {view.run.number: view for view in self.views(wanted.values())}
        return compare(
            views[before.number],
            views[now.number],
            None if baseline is None else views[baseline.number],
            earlier=[views[run.number] for run in earlier],
        )

    def window(self, run: Run, most: int) -> list[Run]:
        """Return *run* and up to *most* - 1 before it, in order."""
        return [each for each in self.runs() if each.number <= run.number][-most:]


@contextmanager
def opened_history(path: Path, *, create: bool = True) -> Iterator[History]:
    """Open the history, or, unless it must be there already, begin one.

    Raises:
        BadInput: it is none, cannot be opened, or a newer version of this program has written it.
    """
    with connected(path, create=create) as connection:
        yield History(connection)


def _day(began: float) -> str:
    return datetime.fromtimestamp(began, UTC).strftime("%Y-%m-%d")


def free_name(wanted: str, taken: Collection[str]) -> str:
    """Return a name that is not taken yet: the one that is wanted, or with ``.2`` behind it."""
    name, number = wanted, 1
    while name in taken:
        number += 1
        name = f"{wanted}.{number}"
    return name
