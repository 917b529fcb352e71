"""What is asked of a history: each question a function of the open connection."""

from __future__ import annotations

import re
import sqlite3
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

from harness.campaign.history.records import (
    Case,
    Cell,
    Finding,
    FindingSeen,
    KernelSeen,
    Kind,
    Place,
    Run,
    RunView,
    Status,
    UnitResult,
)
from harness.errors import BadInput
from harness.verdict.verdict import Outcome

LAST = re.compile(r"last(?:-(\d+))?")
_MOST_NAMED = 8
_RUN = "number, name, began, ended, command, plan_hash, budget_s, out_folder"
_OUTCOMES = (
    Outcome.AGREES, Outcome.DIFFERS, Outcome.KNOWN, Outcome.NOT_RUN, Outcome.HARNESS_FAILED
)  # fmt: skip
_CASE_AND_KERNEL = (
    "cases.kind, cases.name, cases.shape,"
    " kernels.name, kernels.release, kernels.version, kernels.identity"
)


def runs(connection: sqlite3.Connection, last: int | None = None) -> list[Run]:
    """Return every run, or the *last* so many, in order; what was forgotten is none."""
    rows = connection.execute(
        f"SELECT {_RUN} FROM runs WHERE forgotten IS NULL ORDER BY number DESC LIMIT ?",
        (-1 if last is None else last,),
    )
    return [_run(row) for row in rows][::-1]


def run_of(connection: sqlite3.Connection, number: int) -> Run:
    """Return the run of a number; it must be there."""
    row = connection.execute(f"SELECT {_RUN} FROM runs WHERE number = ?", (number,)).fetchone()
    return _run(row)


def find_run(connection: sqlite3.Connection, text: str) -> Run:
    """Return the run of a name, a number, or ``last``, ``last-1`` and so on.

    Raises:
        BadInput: there is none.
    """
    every = runs(connection)
    if match := LAST.fullmatch(text):
        back = int(match[1] or 0)
        if back < len(every):
            return every[-1 - back]
    found = [run for run in every if text == run.name or text == str(run.number)]
    if found:
        return found[0]
    if not every:
        raise BadInput(f"{text}: no run is in the history yet; `mdjournal nightly` makes one")
    named = ", ".join(f"{run.name} ({run.number})" for run in every[-_MOST_NAMED:])
    more = f"{len(every) - _MOST_NAMED} older ones, " if len(every) > _MOST_NAMED else ""
    raise BadInput(f"{text}: no run is called so;\n  there are {more}{named}; or say last, last-1")


def run_before(connection: sqlite3.Connection, number: int, *, good: bool) -> Run | None:
    """Return the newest run before a number that has ended, and where it must be good is."""
    is_good = (
        " AND EXISTS (SELECT 1 FROM cells WHERE run = number AND agrees + known)"
        " AND NOT EXISTS (SELECT 1 FROM cells WHERE run = number AND differs)"
    )
    row = connection.execute(
        f"SELECT {_RUN} FROM runs WHERE number < ? AND ended IS NOT NULL AND forgotten IS NULL"
        f"{is_good if good else ''} ORDER BY number DESC LIMIT 1",
        (number,),
    ).fetchone()
    return None if row is None else _run(row)


def needed_runs(connection: sqlite3.Connection) -> set[int]:
    """Return the numbers of runs that others are held against: baselines, and the last good one."""
    numbers = {run.number for run in baselines(connection).values()}
    (after_all,) = connection.execute("SELECT coalesce(max(number), 0) + 1 FROM runs").fetchone()
    good = run_before(connection, after_all, good=True)
    return numbers | ({good.number} if good is not None else set())


def baselines(connection: sqlite3.Connection) -> dict[str, Run]:
    """Return the baselines by name."""
    rows = connection.execute(
        f"SELECT baselines.name, {_prefixed('runs')} FROM baselines"
        " JOIN runs ON runs.number = baselines.run ORDER BY baselines.name"
    )
    return {row[0]: _run(row[1:]) for row in rows}


def cells(
    connection: sqlite3.Connection, numbers: Sequence[int], *, case: str = "", kernel: str = ""
) -> list[Cell]:
    """Return the cells of runs, in order of run, case and kernel."""
    rows = connection.execute(
        "SELECT run, agrees, differs, known, not_run, harness_failed, states, seconds, pace_s,"
        f" {_CASE_AND_KERNEL} FROM cells"
        " JOIN cases ON cases.id = case_id JOIN kernels ON kernels.id = kernel_id"
        f" WHERE run IN ({_marks(numbers)}) AND instr(cases.name, ?)"
        " AND ? IN ('', kernels.name, kernels.version)"
        " ORDER BY run, cases.kind, cases.name, cases.shape, kernels.id",
        (*numbers, case, kernel),
    )
    known: dict[tuple[str, ...], tuple[Case, KernelSeen]] = {}
    found = []
    for run, *figures in rows:
        key = tuple(figures[8:])
        if key not in known:
            known[key] = _case_and_kernel(key)
        which, on = known[key]
        counts = {o: n for o, n in zip(_OUTCOMES, figures[:5], strict=True) if n}
        states, seconds, pace_s = figures[5:8]
        found.append(
            Cell(
                run=run, case=which, kernel=on, counts=counts, states=states, seconds=seconds,
                pace_s=pace_s,
            )
        )  # fmt: skip
    return found


def units(connection: sqlite3.Connection, run: int) -> Iterator[UnitResult]:
    """Yield the results of a run's units, case by case."""
    met = _findings_by_unit(connection, run)
    rows = connection.execute(
        "SELECT units.id, part, worker, began, seconds, states, outcome, reason, evidence, bundle,"
        f" {_CASE_AND_KERNEL} FROM units"
        " JOIN cases ON cases.id = case_id JOIN kernels ON kernels.id = kernel_id"
        " WHERE run = ?"
        " ORDER BY cases.kind, cases.name, cases.shape, kernels.id, units.id",
        (run,),
    )
    for number, *result, kind, name, shape, kernel, release, version, identity in rows:
        part, worker, began, seconds, states, outcome, reason, evidence, bundle = result
        yield UnitResult(
            case=Case(Kind(kind), name, shape),
            kernel=KernelSeen(kernel, release, version, identity),
            part=part, worker=worker, began=began, seconds=seconds, states=states,
            outcome=Outcome(outcome), reason=reason,
            findings=tuple(met.get(number, ())), evidence=evidence, bundle=bundle,
        )  # fmt: skip


def _findings_by_unit(connection: sqlite3.Connection, run: int) -> dict[int, list[FindingSeen]]:
    rows = connection.execute(
        "SELECT units.id, oracle, sentence, known_as, count FROM units"
        " JOIN unit_findings ON unit = units.id JOIN findings ON findings.id = finding"
        " WHERE run = ? ORDER BY units.id, findings.id",
        (run,),
    )
    found: dict[int, list[FindingSeen]] = defaultdict(list)
    for unit, *finding in rows:
        found[unit].append(FindingSeen(*finding))
    return found


def views(connection: sqlite3.Connection, wanted: Sequence[Run]) -> list[RunView]:
    """Return all of each run that a comparison looks at, in the order given."""
    numbers = [run.number for run in wanted]
    in_run: dict[int, list[Cell]] = defaultdict(list)
    for cell in cells(connection, numbers):
        in_run[cell.run].append(cell)
    found = _findings_by_place(connection, numbers)
    return [
        RunView(run=run, cells=tuple(in_run[run.number]), findings=found.get(run.number, {}))
        for run in wanted
    ]


def _findings_by_place(
    connection: sqlite3.Connection, numbers: Sequence[int]
) -> dict[int, dict[Place, tuple[FindingSeen, ...]]]:
    """Return what was found in each cell of runs, with how often in all of its units."""
    rows = connection.execute(
        "SELECT run, cases.kind, cases.name, cases.shape, kernels.name,"
        " oracle, sentence, known_as, sum(count) FROM cell_findings"
        " JOIN findings ON findings.id = finding"
        " JOIN cases ON cases.id = case_id JOIN kernels ON kernels.id = kernel_id"
        f" WHERE run IN ({_marks(numbers)})"
        " GROUP BY run, case_id, kernels.name, findings.id ORDER BY run, findings.id",
        tuple(numbers),
    )
    found: dict[int, dict[Place, tuple[FindingSeen, ...]]] = defaultdict(dict)
    for run, kind, name, shape, kernel, *finding in rows:
        place = Case(Kind(kind), name, shape), kernel
        found[run][place] = (*found[run].get(place, ()), FindingSeen(*finding))
    return found


def findings(connection: sqlite3.Connection, run: Run | None) -> list[Finding]:
    """Return every finding in order of appearance, or those of a run with their counts in it."""
    of_run = "SELECT finding, sum(count) FROM cell_findings WHERE run = ? GROUP BY finding"
    count = {} if run is None else dict(connection.execute(of_run, (run.number,)))
    rows = connection.execute(
        "SELECT id, signature, oracle, sentence, known_as, status, bundle, first_run, last_run,"
        " first_kernel, last_kernel, smallest, note FROM findings ORDER BY id"
    )
    wanted = [row for row in rows if run is None or row[0] in count]
    every_run = {row[0]: _run(row) for row in connection.execute(f"SELECT {_RUN} FROM runs")}
    kernels = {
        row[0]: KernelSeen(*row[1:])
        for row in connection.execute("SELECT id, name, release, version, identity FROM kernels")
    }
    return [
        Finding(
            signature=signature, oracle=oracle, sentence=sentence, known_as=known_as,
            status=Status(status), bundle=bundle, first_run=every_run[first],
            last_run=every_run[last], first_kernel=kernels[first_kernel],
            last_kernel=kernels[last_kernel], count=count.get(number, 0), smallest=smallest,
            note=note,
        )
        for number, signature, oracle, sentence, known_as, status, bundle, first, last,
            first_kernel, last_kernel, smallest, note in wanted
    ]  # fmt: skip


def _run(row: Sequence[Any]) -> Run:
    number, name, began, ended, command, plan_hash, budget_s, out = row
    return Run(
        number=number, name=name, began=began, ended=ended, command=command,
        plan_hash=plan_hash, budget_s=budget_s, out=out,
    )  # fmt: skip


def _case_and_kernel(row: Sequence[str]) -> tuple[Case, KernelSeen]:
    kind, name, shape, *kernel = row
    return Case(Kind(kind), name, shape), KernelSeen(*kernel)


def _prefixed(table: str) -> str:
    return ", ".join(f"{table}.{column}" for column in _RUN.split(", "))


def _marks(numbers: Sequence[int]) -> str:
    return ", ".join("?" * len(numbers))
