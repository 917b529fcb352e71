"""`tools/mdjournal repro minimise` and `scrub`: bundles made of bundles."""

from __future__ import annotations

import secrets
from dataclasses import replace
from pathlib import Path

import click

from harness.campaign.reproducing.bundle import Bundle
from harness.campaign.reproducing.bundle_json import load_bundle, save_bundle
from harness.campaign.reproducing.judging import measured
from harness.campaign.reproducing.minimising import (
    MISS,
    Limits,
    minimise_bundle,
    size_in_words,
    tries_for,
)
from harness.campaign.reproducing.scrub import scrub
from tools.bundle_kernel import bench_of, bundle_kernel_options
from tools.progress import progress
from tools.repro_options import (
    bundle_argument,
    derived,
    force_option,
    kib_of,
    out_option,
    target_of,
)
from tools.repro_report import bundle_lines

_RUNS_BEFORE = 5
_RUNS_OF_SMALLEST = 5


@click.command("minimise")
@bundle_argument
@bundle_kernel_options
@out_option
@force_option
@click.option(
    "--time", "limit_s", type=click.IntRange(1), default=300, show_default=True,
    metavar="SECONDS", help="For operations, and again for each smaller array.",
)  # fmt: skip
@click.option(
    "--tries", type=click.IntRange(1, 100), metavar="N",
    help="How often a candidate is run before it is taken for green. Default: by how often five"
    " runs of the bundle are red, so that 5 % of the red ones are missed, and at most 10.",
)  # fmt: skip
def minimise_command(
    *,
    path: Path,
    kernel_name: str | None,
    modules: Path | None,
    replaced: tuple[Path, ...],
    module_dir: Path | None,
    accel: str,
    out: Path | None,
    force: bool,
    limit_s: int,
    tries: int | None,
) -> None:
    """Reduce a bundle: fewest operations, earliest cut, fewest lost writes, smallest array.

    What is smallest so far is in the file at any time: Ctrl-C keeps it.
    """
    bundle = load_bundle(path)
    target = target_of(out or derived(path, "smallest"), force=force)
    with progress("repro") as say:
        _, bench = bench_of(
            bundle, kernel_name, modules, replaced, accel, module_dir=module_dir, say=say
        )  # fmt: skip
        if tries is None:
            say("seeing how often it is red")
            bundle = measured(bundle, bench, runs=_RUNS_BEFORE)
            tries = tries_for(bundle.runs)
        smallest = minimise_bundle(
            bundle, bench, Limits(limit_s=limit_s, tries=tries),
            lambda each: save_bundle(target, each),
        )  # fmt: skip
        found_by = smallest.runs  # red, or it would not be the smallest, however seldom it is
        smallest = measured(smallest, bench, runs=max(_RUNS_OF_SMALLEST, tries))
        smallest = replace(smallest, runs=found_by + smallest.runs)
        save_bundle(target, smallest)
    click.echo(f"{target}: {kib_of(target)} KiB")
    for line in _minimised_lines(bundle, smallest, tries):
        click.echo(line)
    for line in bundle_lines(smallest):
        click.echo(line)


@click.command("scrub")
@bundle_argument
@bundle_kernel_options
@out_option
@force_option
@click.option(
    "--tries", type=click.IntRange(1, 100), metavar="N",
    help="How often it may stay green, before it is given up. Default: by how often it is red.",
)  # fmt: skip
def scrub_command(
    *,
    path: Path,
    kernel_name: str | None,
    modules: Path | None,
    replaced: tuple[Path, ...],
    module_dir: Path | None,
    accel: str,
    out: Path | None,
    force: bool,
    tries: int | None,
) -> None:
    """Take all data, names and UUIDs out of a bundle, and see that it is red all the same.

    Nothing is written where it is not.
    """
    bundle = load_bundle(path)
    target = target_of(out or derived(path, "scrubbed"), force=force)
    with progress("repro") as say:
        _, bench = bench_of(
            bundle, kernel_name, modules, replaced, accel, module_dir=module_dir, say=say
        )  # fmt: skip
        say("running it without its data")
        scrubbed = scrub(
            bundle, bench, key=secrets.token_bytes(32), tries=tries or tries_for(bundle.runs)
        )
        save_bundle(target, scrubbed)
    click.echo(f"{target}: {kib_of(target)} KiB, red for the same reason")
    for line in bundle_lines(scrubbed):
        click.echo(line)


def _minimised_lines(before: Bundle, after: Bundle, tries: int) -> list[str]:
    missed = f"one that is red as often as before is missed in {MISS:.0%} of the cases"
    return [
        f"smallest   {size_in_words(after)}; before: {size_in_words(before)}",
        f"tries      {tries} of each candidate: {missed}",
    ]
