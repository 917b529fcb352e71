"""`tools/mdjournal repro`: pack a red, run it again, reduce it, scrub it, write it as a script."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from harness.campaign.reproducing.bundle import Bundle
from harness.campaign.reproducing.bundle_json import load_bundle, save_bundle
from harness.campaign.reproducing.certainty import CONFIDENCE
from harness.campaign.reproducing.judging import Judgement, Standing, judge_kernel
from harness.campaign.reproducing.packing import pack, reason_in
from harness.campaign.reproducing.ran import last_of
from harness.errors import EXIT_AGREES, EXIT_DIFFERS, EXIT_LOST, BadInput
from harness.storage.bundle_file import SUFFIX
from harness.storage.directories import results_root
from harness.verdict.verdict import Outcome
from kvm_images.kernels import Kernel
from tools.bundle_kernel import bench_of, bundle_kernel_options
from tools.progress import progress
from tools.report_files import ReportFiles
from tools.report_options import report_options
from tools.repro_evidence import keep_evidence, repro_report
from tools.repro_import import import_command
from tools.repro_options import (
    bundle_argument,
    force_option,
    kib_of,
    out_option,
    require_writable,
    target_of,
)
from tools.repro_report import bundle_document, bundle_lines, judgement_lines
from tools.repro_script import script_command
from tools.repro_smaller import minimise_command, scrub_command
from tools.run_facts import kernel_facts
from tools.run_options import json_option


@click.group()
def repro() -> None:
    """Pack a red as one file, run it anywhere, reduce it, scrub it, write it as a script."""


@repro.command("pack")
@click.argument("result", metavar="RESULT|LAST")
@out_option
@force_option
def pack_command(*, result: str, out: Path | None, force: bool) -> None:
    """Make a bundle of a red: of a folder of results, or of the newest ones (LAST).

    A folder of crash, of explore or fuzz (the smallest red of the run), state-N or
    smallest-N in it, or of a scenario.
    """
    folder = last_of(results_root()) if result == "LAST" else Path(result)
    if not folder.is_dir():
        raise BadInput(f"{result}: no such folder; take one that a run has named, or LAST")
    bundle = pack(folder)
    name = folder.name if folder.parent.name.startswith(("explore-", "fuzz-")) else ""
    stem = f"{folder.parent.name}-{name}" if name else folder.name
    target = target_of(out or Path(stem + SUFFIX), force=force)
    save_bundle(target, bundle)
    for line in [f"{target}: {kib_of(target)} KiB", *bundle_lines(bundle)]:
        click.echo(line)


@repro.command("show")
@bundle_argument
@json_option
def show_command(*, path: Path, as_json: bool) -> None:
    """Tell what a bundle is about. Nothing of it is run, and nothing is written."""
    bundle = load_bundle(path)
    if as_json:
        click.echo(json.dumps(bundle_document(bundle), indent=1))
        return
    for line in bundle_lines(bundle):
        click.echo(line)


@repro.command("run")
@bundle_argument
@bundle_kernel_options
@click.option(
    "--runs", "most_runs", type=click.IntRange(1), default=30, show_default=True,
    help="At most so many, where it stays green.",
)  # fmt: skip
@click.option(
    "--save", type=click.Path(path_type=Path), metavar="FILE",
    help="Write the bundle with what was seen: how often it is red, and of an import, what for.",
)  # fmt: skip
@force_option
@json_option
@report_options
def run_command(
    *,
    path: Path,
    kernel_name: str | None,
    modules: Path | None,
    replaced: tuple[Path, ...],
    module_dir: Path | None,
    accel: str,
    most_runs: int,
    save: Path | None,
    force: bool,
    as_json: bool,
    reports: ReportFiles,
) -> int:
    """Run a bundle, on its own kernel or another one, until it is red or certainly not.

    Exit status: 1 it is red again, for the same reason; 0 it is not; 2 misuse;
    3 the guest was lost, or the outcome cannot be told.
    """
    bundle = load_bundle(path)
    if save is not None:
        target_of(save, force=force)
    require_writable(results_root())
    with progress("repro") as say:
        kernel, bench = bench_of(
            bundle, kernel_name, modules, replaced, accel, module_dir=module_dir, say=say
        )  # fmt: skip
        judged = judge_kernel(bundle, bench, confidence=CONFIDENCE, most_runs=most_runs)
    folder = keep_evidence(results_root() / f"repro-{path.stem}", bundle, judged)
    if reports:
        reports.write(repro_report(reports, path, bundle, kernel, bench, judged, folder))
    if save is not None:
        save_bundle(save, _as_seen(bundle, kernel, judged))
    if as_json:
        click.echo(json.dumps(_document(bundle, kernel, judged), indent=1))
    else:
        for line in judgement_lines(bundle, kernel, judged):
            click.echo(line)
        if folder is not None:
            click.echo(f"kept       {folder}")
    return _exit_status(judged)


def _as_seen(bundle: Bundle, kernel: Kernel, judged: Judgement) -> Bundle:
    """Return a bundle with what runs of it have shown; one that had no reason gets it."""
    seen = bundle.with_runs(judged.runs, judged.seconds)
    if judged.standing is not Standing.BAD or judged.attempt is None:
        return seen
    verdict = judged.attempt.verdict
    if bundle.reason is not None:
        return replace(seen, verdict=verdict)
    reason = reason_in(verdict, kernel_facts(kernel).told_by, bundle.shape)
    return replace(seen, verdict=verdict, reason=reason, kernel=kernel_facts(kernel))


def _exit_status(judged: Judgement) -> int:
    """Return 1 for the same red, 0 where it is not there, 3 where nothing can be said."""
    if judged.standing is Standing.BAD:
        return EXIT_DIFFERS
    if judged.attempt is None:
        return EXIT_LOST
    outcome = judged.attempt.verdict.outcome
    return EXIT_LOST if outcome in (Outcome.NOT_RUN, Outcome.HARNESS_FAILED) else EXIT_AGREES


def _document(bundle: Bundle, kernel: Kernel, judged: Judgement) -> dict[str, Any]:
    verdict = None if judged.attempt is None else judged.attempt.verdict
    return {
        "schema": 1,
        "bundle": bundle_document(bundle),
        "kernel": {"name": kernel.name, "release": kernel.release, "version": kernel.version,
                   "identity": kernel.identity},
        "red_again": judged.standing is Standing.BAD,
        "standing": judged.standing.value,
        "why": judged.why,
        "runs": judged.runs.made,
        "red": judged.runs.red,
        "verdict": None if verdict is None else verdict.outcome.value,
        "findings": [] if verdict is None else [
            {"oracle": f.oracle, "what": f.what, "details": list(f.details)}
            for f in verdict.findings
        ],
    }  # fmt: skip


for command in (minimise_command, scrub_command, script_command, import_command):
    repro.add_command(command)
