"""`tools/mdjournal fuzz`: journals at random, legal and hostile, recovered by the kernel."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from harness.campaign.crash import CrashOptions, CutChoice
from harness.campaign.exploring.alone import alone_in
from harness.campaign.exploring.exploration import STORE, finish
from harness.campaign.exploring.oracles import Oracles, Sampled
from harness.campaign.exploring.store import opened_store
from harness.campaign.fuzzing.campaign import FuzzOptions, fuzz
from harness.campaign.fuzzing.shrinking import shrink_reds
from harness.campaign.known_issues import known_issues_of
from harness.campaign.reports.exploration_exhibits import exhibits_of_fuzzing
from harness.campaign.reproducing.ran import note_last, write_run
from harness.errors import BadInput
from harness.md.shape import KIB, MIB, Shape
from harness.storage.directories import results_root
from tools.explore_summary import exit_status, summarise
from tools.fuzz_report import report_lines, summary_document
from tools.guest_options import era_of, find_kernel, guest_image, kernel_options
from tools.progress import progress
from tools.report_files import ReportFiles
from tools.report_options import report_options
from tools.run_facts import run_facts
from tools.run_options import guests_option, json_option, state_option, strict_option
from tools.run_reports import explore_report, failure_reported, smallest_of_fuzzing
from tools.shape_options import chosen_shape, shape_options

_COMPONENT_BYTES = 2 * MIB  # small: its edges are near
_GUARD_BYTES = 256 * KIB
_SECOND = 0.25  # share of the states of which what recovery left is recovered once more


@click.command("fuzz")
@kernel_options
@shape_options(chunk="16K", journal_size="4M")
@click.option("--seed", type=click.IntRange(0, 2**63 - 1), default=0, show_default=True)
@click.option(
    "--states",
    type=click.IntRange(1),
    default=500,
    show_default=True,
    help="How many journals.",
)
@guests_option
@state_option("journal")
@click.option(
    "--keep",
    is_flag=True,
    help="Keep the images of every red, known or not, not just of the first five.",
)
@click.option(
    "--shrink", type=click.Choice(["new", "none"]), default="new", show_default=True,
    help="Reduce the first red of each kind that no known issue explains.",
)  # fmt: skip
@click.option(
    "--shrink-time", "shrink_s", type=click.IntRange(1), default=120, show_default=True,
    metavar="SECONDS", help="For each kind.",
)  # fmt: skip
@strict_option
@json_option
@report_options
def fuzz_command(
    *,
    reports: ReportFiles,
    kernel_name: str,
    modules: Path | None,
    replaced: tuple[Path, ...],
    accel: str,
    seed: int,
    states: int,
    guests: int,
    only: int | None,
    keep: bool,
    shrink: str,
    shrink_s: int,
    strict: bool,
    as_json: bool,
    **shape_given: Any,
) -> int:
    """Write journals at random for an array that mdadm made, and let the kernel recover each.

    The kernel must live, leave what the model predicts byte for byte, and write nowhere else.
    What is known is written down as it comes: interrupted, the same command goes on.

    Exit status: 0 all agree, 1 some differ, 2 misuse, 3 no guest could be had
    or not one state be judged, 130 interrupted.
    """
    if only is not None and only >= states:
        raise BadInput(f"--state {only}: there are {states}, from 0 on; see --states")
    shape = fuzzed_shape(chosen_shape(**shape_given))
    with progress("fuzz") as say:
        kernel = find_kernel(kernel_name, modules, replaced, say=say)
        crash = CrashOptions(
            shape=shape, era=era_of(kernel), image=guest_image(kernel, accel, say=say), seed=seed,
            cut=CutChoice(),
        )  # fmt: skip
        oracles = Oracles({Sampled.SECOND: _SECOND})
        options = FuzzOptions(crash=crash, states=states, oracles=oracles, keep=keep)
        issues = known_issues_of(crash.image.kernel_version, shape)
        folder = results_root() / f"fuzz-{options.key}"
        failure = failure_reported(reports, "fuzz", kernel=kernel.release, strict=strict)
        with alone_in(folder), failure:
            facts = run_facts("fuzz", kernel, crash.image, shape, seed=seed, say=say)
            fuzzed = fuzz(options, folder, guests=guests, issues=issues, say=say, only=only)
            write_run(folder, facts)
            note_last(results_root(), folder)
            summary = summarise(folder, journaled=True, only=only, without_kernel=())
            smallest = []
            if shrink != "none" and only is None:
                smallest = shrink_reds(options, fuzzed, issues, limit_s=shrink_s, say=say)
            with opened_store(folder / STORE) as store:
                if reports:
                    reports.write(
                        explore_report(
                            reports, "fuzz", crash, kernel, store, summary, folder=folder,
                            only=only, strict=strict, smallest=smallest_of_fuzzing(smallest),
                            look=lambda cases: exhibits_of_fuzzing(
                                options, fuzzed.ground, folder, cases
                            ),
                        )
                    )  # fmt: skip
                if only is None:
                    finish(store)
    if as_json:
        document = summary_document(options, kernel, fuzzed, summary, smallest)
        click.echo(json.dumps(document, indent=1))
    else:
        for line in report_lines(options, kernel, fuzzed, summary, smallest):
            click.echo(line)
    return exit_status(summary, strict=strict)


def fuzzed_shape(shape: Shape) -> Shape:
    """Return a shape with a small data area, whose edges are near, and guards behind all disks.

    Raises:
        BadInput: its journal is too small for anything.
    """
    if shape.journal_bytes < _GUARD_BYTES:
        raise BadInput(f"--journal-size {shape.journal_bytes}: fuzzing wants 256K or more")
    component = max(_COMPONENT_BYTES, 2 * shape.chunk_bytes)
    return replace(shape, component_bytes=component, guard_bytes=_GUARD_BYTES)
