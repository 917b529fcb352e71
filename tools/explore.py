"""`tools/mdjournal explore`: every legal way in which the power can go, recovered by the kernel."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from harness.campaign.crash import CrashOptions, CutChoice
from harness.campaign.exploring.alone import alone_in
from harness.campaign.exploring.choosing import ExploreOptions
from harness.campaign.exploring.exploration import STORE, explore, finish
from harness.campaign.exploring.oracles import Oracles
from harness.campaign.exploring.smallest import shrink_reds
from harness.campaign.exploring.store import opened_store
from harness.campaign.known_issues import known_issues_of
from harness.campaign.lab import disk_caches
from harness.campaign.reports.exploration_exhibits import exhibits_of_exploration
from harness.campaign.reproducing.ran import note_last, write_run
from harness.campaign.scenarios.campaign import with_shape
from harness.crash.strategies import Strategy
from harness.crash.trace import Cache
from harness.errors import BadInput
from harness.md.shape import Shape
from harness.storage.directories import results_root
from tools.explore_report import report_lines, summary_document
from tools.explore_summary import exit_status, summarise
from tools.guest_options import era_of, find_kernel, guest_image, kernel_options
from tools.oracle_option import HELP, OraclesType
from tools.progress import progress
from tools.report_files import ReportFiles
from tools.report_options import report_options
from tools.run_facts import run_facts
from tools.run_options import guests_option, json_option, state_option, strict_option
from tools.run_reports import explore_report, failure_reported, smallest_of_exploration
from tools.scenarios import find_scenario
from tools.shape_options import changed_fields, chosen_shape, shape_options

_DEFAULT_STEPS = 12


@click.command("explore")
@kernel_options
@shape_options(chunk="16K", journal_size="1M")
@click.option(
    "--no-journal",
    is_flag=True,
    help="The control: no journal, and one member missing. It must show the write hole: exit 1.",
)
@click.option("--seed", type=click.IntRange(0, 2**63 - 1), default=0, show_default=True)
@click.option(
    "--states",
    type=click.IntRange(1),
    default=1000,
    show_default=True,
    help="How many crash states to look at.",
)
@click.option(
    "--strategy",
    type=click.Choice([one.value for one in Strategy]),
    default=Strategy.EPOCHS.value,
    show_default=True,
    help="Which of the legal states.",
)
@click.option(
    "--lying-disk",
    "lying",
    multiple=True,
    metavar="NAME",
    help="A disk whose flush and FUA do nothing: member0, journal; repeatable.",
)
@click.option(
    "--exhaustive",
    type=click.IntRange(1, 3),
    default=None,
    metavar="LENGTH",
    help="Instead of a drawn workload every sequence of up to 2 operations, in both modes; with 3"
    " also a sample of the longer ones.",
)
@click.option(
    "--scenario",
    "scenario_name",
    metavar="NAME",
    help="Instead of a drawn workload a story: see `mdjournal scenarios list`. The array is its"
    " own, but for what other options change.",
)
@click.option("--oracles", type=OraclesType(), default="some", show_default=True, help=HELP)
@click.option("--steps", type=click.IntRange(1, 5000), default=_DEFAULT_STEPS, show_default=True)
@click.option(
    "--jitter",
    "jitter_us",
    type=click.IntRange(0, 1_000_000),
    default=0,
    metavar="US",
    help="Hold completions back by up to so many microseconds, by the seed.",
)
@guests_option
@state_option("state")
@click.option(
    "--shrink", type=click.Choice(["new", "all", "none"]), default="new", show_default=True,
    help="Reduce the first red of each kind, and keep the smallest: those that no known issue"
    " explains, all, or none.",
)  # fmt: skip
@click.option(
    "--shrink-time", "shrink_s", type=click.IntRange(1), default=60, show_default=True,
    metavar="SECONDS", help="For each kind.",
)  # fmt: skip
@strict_option
@json_option
@report_options
def explore_command(
    *,
    reports: ReportFiles,
    kernel_name: str,
    modules: Path | None,
    replaced: tuple[Path, ...],
    accel: str,
    no_journal: bool,
    seed: int,
    states: int,
    strategy: str,
    lying: tuple[str, ...],
    exhaustive: int | None,
    scenario_name: str | None,
    oracles: Oracles,
    steps: int,
    jitter_us: int,
    guests: int,
    only: int | None,
    shrink: str,
    shrink_s: int,
    strict: bool,
    as_json: bool,
    **shape_given: Any,
) -> int:
    """Record a workload once, then recover every crash state that a strategy chooses.

    What is known is written down as it comes: interrupted, the same command goes on.

    Exit status: 0 all agree, 1 some differ, 2 misuse, 3 no guest could be had
    or not one state be judged, 130 interrupted.
    """
    if scenario_name is None:
        scenario = None
        shape = chosen_shape(**shape_given, journaled=not no_journal)
    else:
        scenario = with_shape(find_scenario(scenario_name), changed_fields(**shape_given))
        shape = scenario.needs
        refuse_given("no_journal", "exhaustive", "steps", with_option="--scenario")
    require_disks(shape, lying)
    if no_journal:
        refuse_given("mode", "journal_cache", "journal_size", with_option="--no-journal")
    if no_journal and exhaustive:
        raise BadInput("--exhaustive: journals fail in it; leave --no-journal out")
    with progress("explore") as say:
        kernel = find_kernel(kernel_name, modules, replaced, say=say)
        crash = CrashOptions(
            shape=shape, era=era_of(kernel), image=guest_image(kernel, accel, say=say), seed=seed,
            cut=CutChoice(), steps=steps, jitter_us=jitter_us,
        )  # fmt: skip
        options = ExploreOptions(
            crash=crash, strategy=Strategy(strategy), states=states, lying=frozenset(lying),
            oracles=oracles, exhaustive=exhaustive or 0, scenario=scenario,
        )  # fmt: skip
        issues = known_issues_of(crash.image.kernel_version, shape)
        folder = results_root() / f"explore-{options.key}"
        failure = failure_reported(reports, "explore", kernel=kernel.release, strict=strict)
        with alone_in(folder), failure:
            facts = run_facts(
                "explore", kernel, crash.image, shape, seed=seed, jitter_us=jitter_us,
                lying=options.lying, say=say,
            )  # fmt: skip
            explored = explore(options, folder, guests=guests, issues=issues, say=say, only=only)
            write_run(folder, facts)
            note_last(results_root(), folder)
            summary = summarise(folder, journaled=shape.journaled, only=only)
            smallest = []
            with opened_store(folder / STORE) as store:
                if shrink != "none" and only is None:
                    smallest = shrink_reds(
                        options, folder, store, issues,
                        known=shrink == "all", limit_s=shrink_s, say=say,
                    )  # fmt: skip
                if reports:
                    reports.write(
                        explore_report(
                            reports, "explore", crash, kernel, store, summary, folder=folder,
                            only=only, strict=strict, smallest=smallest_of_exploration(smallest),
                            look=lambda cases: exhibits_of_exploration(
                                options, folder, cases, guests=guests, say=say
                            ),
                        )
                    )  # fmt: skip
                if only is None:
                    finish(store)
    if as_json:
        document = summary_document(options, kernel, explored, summary, smallest, issues)
        click.echo(json.dumps(document, indent=1))
    else:
        for line in report_lines(options, kernel, explored, summary, smallest, issues):
            click.echo(line)
    return exit_status(summary, strict=strict)


def require_disks(shape: Shape, names: Sequence[str]) -> None:
    """Require that all names are of disks with volatile caches.

    Raises:
        BadInput: naming the first that is not, and those that are.
    """
    known = list(shape.disk_sizes)
    for name in names:
        if name not in known:
            raise BadInput(f"--lying-disk {name}: no such disk; there are: {', '.join(known)}")
        if disk_caches(shape)[name] is Cache.WRITE_THROUGH:
            raise BadInput(f"--lying-disk {name}: has no volatile cache to lie about")


def refuse_given(*names: str, with_option: str) -> None:
    """Refuse options that were given and mean nothing beside another one.

    Raises:
        BadInput: naming the first.
    """
    for name in names:
        if click.get_current_context().get_parameter_source(name) is ParameterSource.COMMANDLINE:
            raise BadInput(f"--{name.replace('_', '-')}: means nothing with {with_option}")
