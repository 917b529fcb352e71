"""`tools/mdjournal nightly`: kernels x shapes x scenarios, and in the morning what is new."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from harness.campaign.exploring.alone import alone_in
from harness.campaign.history.records import Run
from harness.campaign.history.store import History, free_name, opened_history
from harness.campaign.history.trends import usual_paces
from harness.campaign.nights.choosing import Chooser, Past
from harness.campaign.nights.engine import Night, NightGuest, NightKernel, units_done
from harness.campaign.nights.plan import Plan, read_plan, seconds_of
from harness.campaign.nights.text import terminal_lines
from harness.campaign.nights.view import SetAside
from harness.campaign.nights.workers import Workers, workers
from harness.campaign.nights.writing import PAGE, write_night
from harness.errors import EXIT_AGREES, EXIT_DIFFERS, EXIT_LOST, BadInput, Unavailable
from tools.history import db_option, history_path, reading
from tools.nightly_kernels import Prepared, prepared
from tools.nightly_plan import needed_guests, plan_lines, repeats, spec_maker, works_of
from tools.nightly_unit import run_unit
from tools.nightly_view import Ended, view_of
from tools.progress import Say, progress
from tools.typed_command import typed_command

_NIGHTS_BEFORE = 20
_WRITING_S = 5.0  # of the budget, for the page


class BudgetType(click.ParamType[Any]):
    """A time: ``8h``, ``20m``, ``90s``."""

    name = "time"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Return the seconds."""
        try:
            return seconds_of(str(value))
        except BadInput as error:
            return self.fail(str(error), param, ctx)


@click.command()
@click.argument("plan_file", metavar="[PLAN]", required=False, type=click.Path(path_type=Path))
@click.option(
    "--budget", "budget_s", type=BudgetType(), metavar="TIME",
    help="8h, 20m, 90s; fetching and building included. Default: the plan's.",
)  # fmt: skip
@click.option("--out", type=click.Path(path_type=Path), metavar="DIR",
              help="What to fill; its name is the night's. Default: night-DATE.")  # fmt: skip
@click.option("--workers", "count", type=click.IntRange(1, 256), default=2, show_default=True,
              help="Processes of the own cluster, each with a guest.")  # fmt: skip
@click.option(
    "--scheduler", metavar="ADDRESS",
    help="A Dask cluster that is there, tcp://HOST:PORT, instead of an own one.",
)  # fmt: skip
@click.option("--dry-run", is_flag=True, help="Print the plan and what it takes; do nothing.")
@click.option("--fetch", is_flag=True, help="Fetch and build what the plan needs, and stop.")
@click.option(
    "--environment", is_flag=True,
    help="Print the variables that make this environment's dask usable in a shell.",
)  # fmt: skip
@click.option("--accel", type=click.Choice(["auto", "kvm", "tcg"]), default="auto",
              show_default=True)  # fmt: skip
@db_option
def nightly(
    *,
    plan_file: Path | None,
    budget_s: float | None,
    out: Path | None,
    count: int,
    scheduler: str | None,
    dry_run: bool,
    fetch: bool,
    environment: bool,
    accel: str,
    db: Path | None,
) -> int:
    """Run a plan within a budget, remember it, and write one page that says what is new.

    Interrupted, the same command goes on with the night.

    Exit status: 0 nothing new is red, 1 something is, 2 misuse, 3 no kernel or no worker
    could be had, or nothing could be judged, 130 interrupted.
    """
    if environment:
        for line in environment_lines():
            click.echo(line)
        return EXIT_AGREES
    began = time.monotonic()
    plan = read_plan(plan_file)
    needed_guests(plan)  # its scenarios and each mdadm are known
    with _as_lost():
        if fetch:
            return _fetch(plan)
        budget_s = budget_s or plan.budget_s
        if dry_run:
            with reading(db) as history:
                for line in plan_lines(plan, _past(history, None, ()), budget_s, count):
                    click.echo(line)
            return EXIT_AGREES
        with opened_history(history_path(db)) as history:
            folder = _folder(history, plan, out)
            with (
                alone_in(folder, "a night goes on in it; wait for it, or take another folder"),
                progress("nightly") as say,
                workers(run_unit, count=count, scheduler=scheduler) as pool,
            ):
                run = _run(history, plan, folder, budget_s)
                return _OneNight(history, run, plan, folder, began, budget_s, say).go(accel, pool)


@contextlib.contextmanager
def _as_lost() -> Iterator[None]:
    """Let what cannot be had end a night with 3: 2 is for misuse."""
    try:
        yield
    except Unavailable as error:
        error.exit_status = EXIT_LOST
        raise


def _fetch(plan: Plan) -> int:
    """Have on this machine all that a night needs; return 3 where something cannot be had.

    No guest is started, not even to see whether KVM works.
    """
    with progress("nightly") as say:
        found, lacking = prepared(plan.kernels, needed_guests(plan), "tcg", say=say)
    for name, kernel in found.items():
        click.echo(f"kernel {name}: {kernel.seen.version}, {', '.join(sorted(kernel.guests))}")
    for what, why in lacking.items():
        click.echo(f"{what} cannot be had: {why}")
    return EXIT_LOST if lacking else EXIT_AGREES


def environment_lines() -> Iterator[str]:
    """Yield what a shell needs to start a scheduler and workers of this environment."""
    root = Path(__file__).resolve().parent.parent
    yield f'export PATH="{Path(sys.executable).parent}:$PATH" PYTHONPATH="{root}"'
    yield 'dask() { python -m dask "$@"; }'
    yield "# dask scheduler --host 127.0.0.1 --port 8786"
    yield "# dask worker tcp://127.0.0.1:8786 --nthreads 1"
    yield "export DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES=1"
    yield "export DASK_DISTRIBUTED__WORKER__DAEMON=False"


@dataclass(slots=True)
class _OneNight:
    """A night from its kernels to its page."""

    history: History
    run: Run
    plan: Plan
    folder: Path
    began: float
    budget_s: float
    say: Say

    def go(self, accel: str, pool: Workers) -> int:
        """Do it; return the exit status."""
        needed = needed_guests(self.plan)
        kernels, lacking = prepared(self.plan.kernels, needed, accel, say=self.say)
        fetched_s = time.monotonic() - self.began
        self.say(f"{pool.count} workers")
        account = self._night(kernels, pool).go(pool)
        run = self.history.end_run(self.run)
        ended = Ended(
            run=run, account=account, folder=self.folder, budget_s=self.budget_s,
            used_s=time.monotonic() - self.began, prepared_s=fetched_s,
            lacking=tuple(SetAside(what, why) for what, why in lacking.items()),
            new_kernels=self._new(kernels),
        )  # fmt: skip
        view = view_of(self.history, ended, [each.seen for each in kernels.values()])
        write_night(self.folder, view)
        for line in terminal_lines(view):
            click.echo(line)
        click.echo(f"page       {self.folder / PAGE}")
        if not view.judged:
            return EXIT_LOST
        return EXIT_DIFFERS if view.is_red else EXIT_AGREES

    def _night(self, kernels: Mapping[str, Prepared], pool: Workers) -> Night:
        ready = {name: night_kernel(each, pool) for name, each in kernels.items()}
        works = [*repeats(self.history.findings(), kernels), *works_of(self.plan, kernels)]
        past = _past(self.history, self.run, self._new(kernels))
        chooser = Chooser(works, past, units_done(self.history, self.run))
        return Night(
            history=self.history, run=self.run, chooser=chooser, kernels=ready,
            spec_of=spec_maker(kernels, self.run.number), folder=self.folder, say=self.say,
            deadline=self.began + self.budget_s - _WRITING_S,
        )  # fmt: skip

    def _new(self, kernels: Mapping[str, Prepared]) -> frozenset[str]:
        """Return the names of kernels that no night before has had."""
        before = [run for run in self.history.runs() if run.number != self.run.number]
        known = {cell.kernel.identity for cell in self.history.cells(before)}
        return frozenset(n for n, each in kernels.items() if each.seen.identity not in known)


def night_kernel(kernel: Prepared, pool: Workers) -> NightKernel:
    """Return a kernel as the engine has it, its files ready for workers."""

    def taken(paths: Iterable[Path]) -> tuple[str, ...]:
        return tuple(pool.take_input(path) for path in paths)

    return NightKernel(
        seen=kernel.seen, facts=kernel.facts,
        guests={
            name: NightGuest(facts=guest.facts, inputs=taken((kernel.kernel_image, *guest.files)))
            for name, guest in kernel.guests.items()
        },
    )  # fmt: skip


def _past(history: History, run: Run | None, new: frozenset[str] | tuple[()]) -> Past:
    number = None if run is None else run.number
    before = [each for each in history.runs(last=_NIGHTS_BEFORE + 1) if each.number != number]
    cells = history.cells(before)
    return Past.of(cells, usual_paces(cells), new)


def _folder(history: History, plan: Plan, out: Path | None) -> Path:
    """Return the folder of the night, made if need be: without ``--out`` that of the night of this
    plan that was interrupted, or today's.
    """
    if out is None:
        interrupted = history.unfinished(plan.hash)
        today = time.strftime("%Y-%m-%d", time.gmtime())
        out = Path(interrupted.out if interrupted is not None else f"night-{today}")
    folder = out.absolute()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInput(f"--out {folder}: cannot be made: {error.strerror}") from error
    return folder


def _run(history: History, plan: Plan, folder: Path, budget_s: float) -> Run:
    """Begin a night, or go on with the one that was interrupted in this folder."""
    interrupted = history.unfinished(plan.hash, str(folder))
    if interrupted is not None:
        return interrupted
    if (folder / PAGE).exists():
        raise BadInput(f"--out {folder}: has a night that is over; take another folder")
    name = free_name(folder.name, {run.name for run in history.runs()})
    return history.begin_run(
        name, command=typed_command(), plan_hash=plan.hash, budget_s=budget_s, out=str(folder)
    )
