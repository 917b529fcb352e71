"""`tools/mdjournal history`: what past nights said."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from harness.campaign.history.history_json import (
    SCHEMA,
    comparison_json,
    finding_json,
    plain,
)
from harness.campaign.history.records import Run, Status
from harness.campaign.history.store import DEFAULT_BASELINE, History, opened_history
from harness.campaign.history.trends import trends_of
from harness.campaign.history.whats_new import WINDOW
from harness.errors import EXIT_AGREES, EXIT_DIFFERS, BadInput
from harness.storage.atomic import replacing
from harness.storage.directories import results_root
from harness.storage.images import naming_full_disk
from tools.history_changes import comparison_lines, trend_lines
from tools.history_export import FORMATS, exported
from tools.history_prune import NightLimits, prune_lines
from tools.history_report import (
    RUN_HEAD,
    finding_lines,
    grid_document,
    run_lines,
    run_rows,
    runs_document,
    table_lines,
)
from tools.repro_options import force_option, out_option, target_of
from tools.run_options import json_option

IN_MEMORY = Path(":memory:")
Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]
db_option: Decorator = click.option(
    "--db", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE",
    help="The history.  [default: history.sqlite beside the results]",
)  # fmt: skip
EMPTY = "the history is empty: no run is in {}; `mdjournal nightly` makes one"


def history_path(db: Path | None) -> Path:
    """Return where the history is: what ``--db`` names, or its place beside the results."""
    return db if db is not None else results_root() / "history.sqlite"


@click.group()
def history() -> None:
    """Tell what past nights said: show, trend, compare, findings, export.

    A RUN is given by its name, its number, or as last, last-1 and so on.
    """


@history.command("show")
@click.argument("wanted", metavar="[RUN]", required=False)
@click.option("--last", type=click.IntRange(1), default=30, show_default=True, metavar="N",
              help="Without RUN: list so many of the newest.")  # fmt: skip
@db_option
@json_option
def show(*, wanted: str | None, last: int, db: Path | None, as_json: bool) -> None:
    """List the runs; or print one: a grid of cases and kernels, and its findings.

    A cell is its worst unit, of several with how many of them it is.
    """
    with reading(db) as store:
        if wanted is not None:
            run = store.find_run(wanted)
            cells, findings = store.cells([run]), store.findings(run)
            if as_json:
                _print_json(grid_document(run, cells, findings))
            else:
                _print(run_lines(run, cells, findings, width=_width()))
            return
        runs = store.runs(last)
        cells = store.cells(runs)
    if as_json:
        _print_json(runs_document(runs, cells))
    elif not runs:
        click.echo(EMPTY.format(history_path(db)))
    else:
        _print(table_lines(RUN_HEAD, run_rows(runs, cells), width=_width()))


@history.command("trend")
@click.option("--case", default="", metavar="TEXT", help="Only cases with this in their name.")
@click.option("--kernel", default="", help="Only the kernel of this name or version.")
@click.option("--last", type=click.IntRange(1), default=30, show_default=True, metavar="N",
              help="Over so many of the newest runs.")  # fmt: skip
@db_option
@json_option
def trend(*, case: str, kernel: str, last: int, db: Path | None, as_json: bool) -> None:
    """Tell how each case went over the last runs: how often it is red, and whether it drifts.

    Flaky is what was red on some nights and green on others, on the very same kernel.
    SLOWER is said where the newest five nights are slower than those before them by
    20 % at least, and by more than noise.
    """
    with reading(db) as store:
        runs = store.runs(last)
        trends = trends_of(runs, store.cells(runs, case=case, kernel=kernel))
    if as_json:
        _print_json({"schema": SCHEMA, "runs": [run.name for run in runs], "trends": plain(trends)})
    elif not runs:
        click.echo(EMPTY.format(history_path(db)))
    elif not trends:
        raise BadInput(f"{_asked(case, kernel)}: nothing of it ran in the last {len(runs)} runs")
    else:
        _print(trend_lines(trends, width=_width()))


def _asked(case: str, kernel: str) -> str:
    words = [f"--case {case}"] * bool(case) + [f"--kernel {kernel}"] * bool(kernel)
    return " ".join(words) or "trend"


@history.command("compare")
@click.argument("before", metavar="A")
@click.argument("now", metavar="B")
@click.option("--baseline", metavar="RUN|NAME",
              help="What to compare with besides: a run, or what was noted as a baseline.  "
                   "[default: the baseline, where one is noted]")  # fmt: skip
@click.option("--window", type=click.IntRange(1), default=WINDOW, show_default=True, metavar="N",
              help="Tell what is usual from so many runs before B.")  # fmt: skip
@db_option
@json_option
def compare_command(
    *, before: str, now: str, baseline: str | None, window: int, db: Path | None, as_json: bool
) -> int:
    """Tell what is new in run B against run A: red, fixed, flaky, slower, issues gone.

    Exit status: 0 nothing is red that was not so before, 1 something is, 2 misuse.
    """
    with reading(db) as store:
        found = store.comparison(
            store.find_run(before), store.find_run(now), _baseline(store, baseline), window=window
        )
    if as_json:
        _print_json(comparison_json(found))
    else:
        _print(comparison_lines(found))
    return EXIT_DIFFERS if found.is_red else EXIT_AGREES


def _baseline(store: History, text: str | None) -> Run | None:
    known = store.baselines()
    if text is None:
        return known.get(DEFAULT_BASELINE)
    return known[text] if text in known else store.find_run(text)


@history.command("findings")
@click.option("--all", "every", is_flag=True, help="Those that are closed, and known issues, too.")
@db_option
@json_option
def findings_command(*, every: bool, db: Path | None, as_json: bool) -> None:
    """List what was found and is followed: since when, until when, on which kernels first and last.

    An ID is the name of the finding's bundle as well.
    """
    with reading(db) as store:
        found = [each for each in store.findings() if every or each.is_followed]
    if as_json:
        _print_json({"schema": SCHEMA, "findings": [finding_json(each) for each in found]})
    elif not found:
        click.echo("nothing is followed; --all has known issues and what is closed")
    else:
        _print(finding_lines(found, width=_width()))


@history.command("close")
@click.argument("wanted", metavar="ID")
@click.option("--note", metavar="TEXT", help="Why: mended by a commit, say.")
@db_option
def close(*, wanted: str, note: str | None, db: Path | None) -> None:
    """Be done with a finding: nights run its bundle no more. Met again it is open again."""
    with opened_history(history_path(db), create=False) as store:
        found = store.find_finding(wanted)
        store.follow_finding(found.signature, Status.CLOSED, note=note)
    click.echo(f"{found.id}: closed: {found.signature}")


@history.command("baseline")
@click.argument("wanted", metavar="[RUN]", required=False)
@click.option("--name", default=DEFAULT_BASELINE, show_default=True, help="Of the baseline.")
@db_option
def baseline_command(*, wanted: str | None, name: str, db: Path | None) -> None:
    """Note RUN as what later runs are compared with; without RUN, list what is noted."""
    if wanted is None:
        with reading(db) as store:
            known = store.baselines()
        _print(f"{name}: {run.name} ({run.number})" for name, run in known.items())
        return
    with opened_history(history_path(db), create=False) as store:
        run = store.find_run(wanted)
        store.set_baseline(run, name)
    click.echo(f"{name}: {run.name} ({run.number})")


@history.command("prune")
@click.option("--keep", type=click.IntRange(1), required=True, metavar="N",
              help="Keep the newest so many runs.")  # fmt: skip
@click.option("--nights", type=click.Path(path_type=Path, file_okay=False), metavar="DIR",
              help="Remove the folders of old nights in DIR as well.")  # fmt: skip
@click.option("--keep-nights", type=click.IntRange(1), default=30, show_default=True, metavar="N",
              help="Keep the folders of the newest so many nights,")  # fmt: skip
@click.option("--max-gib", type=click.FloatRange(0), default=20.0, show_default=True, metavar="GIB",
              help="or of fewer, so that they take no more than that.")  # fmt: skip
@click.option("--compact", is_flag=True, help="Make the history's file smaller; takes a while.")
@click.option("--dry-run", is_flag=True, help="Tell what would go, and do nothing.")
@db_option
def prune(
    *, keep: int, nights: Path | None, keep_nights: int, max_gib: float, compact: bool,
    dry_run: bool, db: Path | None,
) -> None:  # fmt: skip
    """Forget old runs, with all of their units; remove old nights.

    Baselines and the last good run stay whatever their age; findings stay, with the names of the
    runs that met them first and last, and the bundles in a night's folder. compare looks at 21
    runs, trend at 30.
    """
    limits = None
    if nights is not None:
        limits = NightLimits(root=nights, keep=keep_nights, max_gib=max_gib)
    with opened_history(history_path(db), create=False) as store:
        _print(prune_lines(store, keep=keep, nights=limits, compact=compact, dry_run=dry_run))


@history.command("export")
@click.option("--format", "form", type=click.Choice(FORMATS), default="jsonl", show_default=True)
@click.option("--run", "wanted", multiple=True, metavar="RUN", help="Only this one; repeatable.")
@out_option
@force_option
@db_option
def export(
    *, form: str, wanted: tuple[str, ...], out: Path | None, force: bool, db: Path | None
) -> None:
    """Write all that is known, a row for each unit of work."""
    target = None if out is None else target_of(out, force=force)
    with reading(db) as store:
        runs = [store.find_run(text) for text in wanted] or store.runs()
        lines = exported(form, runs, store.units(runs))
        if target is None:
            _print(lines)
            return
        with (
            naming_full_disk(target),
            replacing(target) as temporary,
            temporary.open("w", newline="") as file,
        ):
            file.writelines(f"{line}\n" for line in lines)
    click.echo(f"{target}: {len(runs)} runs")


@contextmanager
def reading(db: Path | None) -> Iterator[History]:
    """Give the history as it is at this moment; one in memory where there is none yet."""
    path = history_path(db)
    if not path.exists() and db is None:
        with opened_history(IN_MEMORY) as store:
            yield store
        return
    with opened_history(path, create=False) as store, store.snapshot():
        yield store


def _width() -> int | None:
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def _print(lines: Iterable[str]) -> None:
    for line in lines:
        click.echo(line)


def _print_json(document: dict[str, Any]) -> None:
    _print([json.dumps(document, indent=1)])
