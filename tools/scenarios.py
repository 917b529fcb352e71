"""`tools/mdjournal scenarios`: the stories of testcases/guest, on one kernel or a grid of them."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import click

from harness.campaign.conformance import PROMISES, read_promises
from harness.campaign.exploring.alone import alone_in
from harness.campaign.known_issues import read_known_issues
from harness.campaign.reproducing.ran import note_last, write_run
from harness.campaign.scenarios.campaign import (
    Job,
    Kernel,
    jobs_of,
    run_jobs,
    run_key,
    with_shape,
)
from harness.campaign.scenarios.results import Result, opened_results
from harness.campaign.scenarios.scenario import GuestKind, Scenario, read_scenarios
from harness.errors import EXIT_AGREES, EXIT_DIFFERS, EXIT_LOST, BadInput
from harness.storage.atomic import replacing
from harness.storage.directories import results_root
from harness.verdict.verdict import Outcome
from kvm_images import debian_root
from kvm_images import store as kernel_store
from tools.conformance_page import page_of
from tools.guest_options import era_of, find_kernel, full_guest_image, guest_image, injects
from tools.lab_host import lab_kernel
from tools.progress import Say, progress
from tools.report_files import ReportFiles
from tools.report_options import report_options
from tools.run_facts import run_facts
from tools.run_options import guests_option, json_option, strict_option
from tools.run_reports import scenarios_report
from tools.scenario_grid import document_of, grid_lines
from tools.scenario_verbs import verb_lines
from tools.shape_options import changed_fields, shape_options

FOLDER = Path(__file__).resolve().parent.parent / "testcases/guest/scenarios"
CONFORMANCE = Path(__file__).resolve().parent.parent / "docs/conformance.md"
TEMPLATE = Path(__file__).with_name("scenario_template.py.txt")
_NAME = re.compile(r"[a-z][a-z0-9_]*")


@click.group()
def scenarios() -> None:
    """List and run the stories of testcases/guest, and begin a new one."""


@scenarios.command("list")
@json_option
def list_scenarios(*, as_json: bool) -> None:
    """Print each scenario's claim and its steps, a line each."""
    every = read_scenarios(FOLDER)
    if as_json:
        rows = [
            {"name": s.name, "claim": s.claim, "guest": s.guest.value, "shape": str(s.needs),
             "steps": s.sequence, "quick": s.quick, "why": s.why}
            for s in every
        ]  # fmt: skip
        click.echo(json.dumps({"schema": 1, "scenarios": rows}, indent=1))
        return
    width = max((len(s.name) for s in every), default=0)
    for scenario in every:
        click.echo(f"{scenario.name:<{width}}  {scenario.guest.value}  {scenario.sequence}")
    sequences = {scenario.sequence for scenario in every}
    click.echo(f"{len(every)} scenarios, {len(sequences)} sequences of steps", err=True)


@scenarios.command("verbs")
def list_verbs() -> None:
    """Print what a scenario's steps can be, and what each of them does."""
    for line in verb_lines():
        click.echo(line)


@scenarios.command("new")
@click.argument("name")
def new_scenario(*, name: str) -> None:
    """Write a template with the steps explained: testcases/guest/scenarios/NAME.py."""
    stem = name.replace("-", "_").removesuffix(".py")
    if not _NAME.fullmatch(stem):
        raise BadInput(f"{name}: no name of a Python file; take letters, digits and dashes")
    target = FOLDER / f"{stem}.py"
    text = TEMPLATE.read_text().replace("A-CLAIM", stem.replace("_", " "))
    text = text.replace("A-NAME", stem.replace("_", "-"))
    try:
        with target.open("x") as file:
            file.write(text)
    except FileExistsError:
        raise BadInput(f"{target}: is there already; take another name") from None
    claim = stem.replace("_", "-")
    click.echo(f"{target}\nnext: tools/mdjournal scenarios run {claim}")


@scenarios.command("run")
@click.argument("names", nargs=-1)
@click.option("--all", "every", is_flag=True, help="All of them. Default: a quick selection.")
@click.option(
    "--kernel", "kernels", multiple=True, default=("6.1",), show_default=True,
    help="A name from `mdjournal kernels list`; repeatable.",
)  # fmt: skip
@click.option(
    "--guest", type=click.Choice([kind.value for kind in GuestKind]),
    help="Where to run: those that are about a full guest, or the named ones in this one.",
)  # fmt: skip
@click.option(
    "--mdadm", default=debian_root.DEFAULT_MDADM, show_default=True,
    help="Of the guest: 4.2, 4.4 or 4.6, or a Debian suite; a full guest is all of that suite.",
)  # fmt: skip
@click.option(
    "--host", metavar="USER@MACHINE[:PORT]",
    help="Run on this machine over SSH, on its own kernel, and on no guest.",
)  # fmt: skip
@click.option("--identity", metavar="FILE", help="Of --host: a private key to log in with.")
@click.option(
    "--disk", "disks", multiple=True, metavar="DEVICE",
    help="Of --host: a scratch disk; repeatable, named twice it may carry anything. Default: loop"
         " devices.",
)  # fmt: skip
@click.option(
    "--repeat", "repeats", type=click.IntRange(1), default=1, show_default=True,
    help="Run each so often, with other seeds.",
)  # fmt: skip
@click.option("--seed", type=click.IntRange(0, 2**63 - 1), default=1, show_default=True)
@guests_option
@click.option("--accel", type=click.Choice(["auto", "kvm", "tcg"]), default="auto",
              show_default=True)  # fmt: skip
@strict_option
@json_option
@report_options
@shape_options()
def run_scenarios(
    *,
    reports: ReportFiles,
    names: tuple[str, ...],
    every: bool,
    kernels: tuple[str, ...],
    guest: str | None,
    mdadm: str,
    host: str | None,
    identity: str | None,
    disks: tuple[str, ...],
    repeats: int,
    seed: int,
    guests: int,
    accel: str,
    strict: bool,
    as_json: bool,
    **shape_given: Any,
) -> int:
    """Run scenarios to their ends, by name or a selection, and print a grid of their verdicts.

    An option of the array's shape, where one is given, takes the place of what a scenario asks for.
    What has ended is written down: interrupted, the same command goes on.

    Exit status: 0 all agree, 1 some differ, 2 misuse, 3 a guest was lost or a
    story is not possible there, 130 interrupted.
    """
    if host is None and (disks or identity):
        raise BadInput("--disk and --identity: mean nothing without --host")
    kind = GuestKind(guest) if guest is not None else None
    chosen = [
        with_shape(scenario, changed_fields(**shape_given))
        for scenario in _chosen(names, every=every, guest=kind)
    ]
    kinds = {kind or scenario.guest for scenario in chosen}
    root = results_root() / "scenarios"
    with progress("scenarios") as say:
        if host is None:
            grid = [_kernel(name, kinds, accel, mdadm, say) for name in kernels]
        else:
            smallest = max(max(each.needs.disk_sizes.values()) for each in chosen)
            grid = [lab_kernel(host, identity, disks, smallest_bytes=smallest, say=say)]
            guests = 1  # stories call their array md0, each of them
        jobs = jobs_of(chosen, grid, repeats=repeats, seed=seed, guest=kind)
        if not jobs:
            raise BadInput(f"nothing to run: {', '.join(_lacking(chosen, grid))}")
        with alone_in(root), opened_results(root / "results.sqlite") as store:
            for lacking in _lacking(chosen, grid):
                say(lacking)
            run = store.begin(run_key(jobs))
            results = []
            describe = _Describer(mdadm, say)
            for result in run_jobs(
                jobs, store, run, root, guests=guests, say=say, describe=describe
            ):
                results.append(result)
                say(_line_of(result, len(results), len(jobs)))
            if reports:
                eras = {kernel.name: kernel.era for kernel in grid}
                reports.write(
                    scenarios_report(reports, results, eras=eras, seed=seed, strict=strict)
                )
            store.finish(run)
            _note_last(results)
    if as_json:
        click.echo(json.dumps(document_of(results), indent=1))
    else:
        for line in grid_lines(results, [s.name for s in chosen], [k.name for k in grid], repeats):
            click.echo(line)
    return _exit_status(results, strict=strict)


class _Describer:
    """Writes down what ran, for `mdjournal repro pack`."""

    def __init__(self, mdadm: str, say: Say) -> None:
        self._mdadm = mdadm
        self._say = say

    def __call__(self, job: Job, folder: Path) -> None:
        """Write it into the folder of a story that is not green; a lab host's cannot be packed."""
        if job.image.machine is not None:
            return
        facts = run_facts(
            "scenarios", find_kernel(job.kernel.name, None, (), say=self._say), job.image,
            job.scenario.needs, seed=job.seed, mdadm=self._mdadm, say=self._say,
            made_by=f"tools/mdjournal scenarios run {job.scenario.name}"
            f" --kernel {job.kernel.name} --seed {job.seed} --guest {job.guest.value}",
        )  # fmt: skip
        write_run(folder, facts)


def _note_last(results: Sequence[Result]) -> None:
    """Note the first red, the worst of them, as the newest result."""
    for outcome in (Outcome.DIFFERS, Outcome.KNOWN):
        for result in results:
            if result.outcome is outcome and result.evidence:
                note_last(results_root(), Path(result.evidence))
                return
    note_last(results_root(), None)


@scenarios.command("conformance")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), default=CONFORMANCE,
              help="Where to.  [default: docs/conformance.md]")  # fmt: skip
def write_conformance(*, out: Path) -> None:
    """Write the page of what documents promise, with the newest verdict of each kernel."""
    promises = read_promises(PROMISES, {each.name for each in read_scenarios(FOLDER)})
    with opened_results(results_root() / "scenarios/results.sqlite") as store:
        results = store.newest()
    versions = {name: f.kernel.version for f in kernel_store.fetched() for name in f.names}
    with replacing(out) as temporary:
        temporary.write_text(page_of(promises, results, read_known_issues(), versions))
    click.echo(f"{out}: {len(promises)} promises, {len(results)} results of scenarios")


def find_scenario(name: str) -> Scenario:
    """Return the scenario of a name.

    Raises:
        BadInput: there is none.
    """
    found = next((each for each in read_scenarios(FOLDER) if each.name == name), None)
    if found is None:
        raise BadInput(f"no scenario is called {name}; `mdjournal scenarios list` shows them")
    return found


def _chosen(names: Sequence[str], *, every: bool, guest: GuestKind | None) -> list[Scenario]:
    """Return what is to run; a full guest alone is asked for: all that is about it."""
    if names and every:
        raise BadInput("--all: means nothing beside names of scenarios")
    known = read_scenarios(FOLDER)
    if names:
        chosen = [find_scenario(name) for name in names]
    elif guest is GuestKind.FULL and not every:
        chosen = [each for each in known if each.guest is guest]
    else:
        chosen = [each for each in known if every or guest is not None or each.quick]
    if guest is not GuestKind.TINY:
        return chosen
    if names and (about := [each.name for each in chosen if each.guest is not guest]):
        raise BadInput(f"--guest tiny: {about[0]} is about a full guest; leave --guest away")
    return [each for each in chosen if each.guest is guest]


def _kernel(name: str, kinds: Collection[GuestKind], accel: str, mdadm: str, say: Say) -> Kernel:
    kernel = find_kernel(name, None, (), say=say)
    images = {}
    if GuestKind.TINY in kinds:
        images[GuestKind.TINY] = guest_image(kernel, accel, mdadm, say=say)
    if GuestKind.FULL in kinds:
        images[GuestKind.FULL] = full_guest_image(kernel, accel, mdadm, say=say)
    return Kernel(name, images, era_of(kernel), injects(name, kernel))


def _lacking(chosen: Sequence[Scenario], grid: Sequence[Kernel]) -> list[str]:
    """Say what is not run, and why; the grid shows a dash for it."""
    needing = sum(scenario.injects for scenario in chosen)
    plain = [kernel.name for kernel in grid if not kernel.injects]
    if not needing or not plain:
        return []
    return [f"{needing} need a debug kernel and are not run on {', '.join(plain)}"]


def _line_of(result: Result, number: int, count: int) -> str:
    why = f": {result.reason}" if result.reason else ""
    return f"{number} of {count}: {result.scenario} on {result.kernel}: {result.outcome.value}{why}"


def _exit_status(results: Sequence[Result], *, strict: bool) -> int:
    outcomes = {result.outcome for result in results}
    if outcomes & {Outcome.HARNESS_FAILED, Outcome.NOT_RUN}:
        return EXIT_LOST
    if Outcome.DIFFERS in outcomes or (strict and Outcome.KNOWN in outcomes):
        return EXIT_DIFFERS
    return EXIT_AGREES


__all__ = ["FOLDER", "Job", "find_scenario", "scenarios"]
