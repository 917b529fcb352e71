"""`tools/mdjournal bisect`: which kernel broke it."""

from __future__ import annotations

import json
import subprocess
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from harness.campaign.reproducing.bundle import Bundle
from harness.campaign.reproducing.bundle_json import load_bundle
from harness.campaign.reproducing.certainty import CONFIDENCE, MOST_RUNS, greens_wanted
from harness.campaign.reproducing.judging import Judgement, Standing, first_line, judge_kernel
from harness.errors import BadInput, HarnessError
from harness.recovery.kernel_versions import parse_version
from kvm_images.kernels import CATALOGUE, OWN_BUILD, Kernel
from tools.bundle_kernel import bench_of, bundle_kernel_options
from tools.progress import Say, progress
from tools.repro_options import bundle_argument
from tools.run_options import json_option

EXIT_GOOD, EXIT_BAD, EXIT_SKIP = 0, 1, 125  # as `git bisect run` takes them
EXIT_STOP = 128  # it takes whatever else is below this for bad
_MOST_BUILD_LINES = 20
_SKIP = "skip"

_confidence_option = click.option(
    "--confidence", type=click.FloatRange(0.5, 1, max_open=True), default=CONFIDENCE,
    show_default=True, help="With which good is to be certain.",
)  # fmt: skip
_runs_option = click.option(
    "--runs", "most_runs", type=click.IntRange(1), default=MOST_RUNS, show_default=True,
    help="At most so many of a kernel; where that is not enough, it cannot be told.",
)  # fmt: skip


class _Stop(click.UsageError):
    """Misuse, while git bisects."""

    exit_code = EXIT_STOP


class _ForGit(click.Command):
    """Never ends with a status that git would take for a verdict which it is not."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, args)
        except click.UsageError as error:
            if _git_bisects():
                raise _Stop(error.message, error.ctx) from None
            raise

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except HarnessError as error:
            if _git_bisects():
                error.exit_status = EXIT_STOP
            raise
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except Exception:  # Python would end with 1
            traceback.print_exc()
            return EXIT_STOP


def _git_bisects() -> bool:
    """Return whether a bisection is under way where we are."""
    command = ["git", "rev-parse", "--git-path", "BISECT_START"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        return False
    return done.returncode == 0 and Path(done.stdout.removesuffix("\n")).exists()


@click.group()
def bisect() -> None:
    """Judge one kernel for `git bisect run`, or walk the packaged ones."""


@bisect.command("run", cls=_ForGit)
@bundle_argument
@click.option(
    "--build", metavar="CMD",
    help="A shell command that builds what is to be judged, here; where it fails, 125.",
)  # fmt: skip
@bundle_kernel_options
@_confidence_option
@_runs_option
def run_command(
    *,
    path: Path,
    build: str | None,
    kernel_name: str | None,
    modules: Path | None,
    replaced: tuple[Path, ...],
    module_dir: Path | None,
    accel: str,
    confidence: float,
    most_runs: int,
) -> int:
    """Judge the kernel that stands here now by a bundle: what `git bisect run` wants to hear.

    Exit status: 0 good, 1 bad, 125 cannot be tested: it does not build or boot, is red
    for something else, or --runs are too few to tell. Misuse, which holds for every commit,
    is 2, and 128 while git bisects: that ends its run.
    """
    bundle = _with_reason(load_bundle(path), path)
    if build is not None and (failed := _build(build)):
        click.echo(f"{_SKIP:<15} {failed}")
        return EXIT_SKIP
    with progress("bisect") as say:
        try:
            kernel, bench = bench_of(
                bundle, kernel_name, modules, replaced, accel, module_dir=module_dir, say=say
            )  # fmt: skip
            judged = judge_kernel(bundle, bench, confidence=confidence, most_runs=most_runs)
        except HarnessError as error:  # what stands here cannot be used
            click.echo(f"{_SKIP:<15} {first_line(error)}")
            return EXIT_SKIP
    click.echo(_line(kernel, judged))
    return {Standing.GOOD: EXIT_GOOD, Standing.BAD: EXIT_BAD}.get(judged.standing, EXIT_SKIP)


@dataclass(frozen=True, slots=True)
class _Walked:
    kernel: Kernel
    judged: Judgement


@bisect.command("kernels")
@bundle_argument
@click.option(
    "--kernel", "names", multiple=True, metavar="NAME",
    help="Only these, in this order; repeatable. Default: all packaged ones, oldest first.",
)  # fmt: skip
@click.option("--accel", type=click.Choice(["auto", "kvm", "tcg"]), default="auto",
              show_default=True)  # fmt: skip
@_confidence_option
@_runs_option
@json_option
def kernels_command(
    *,
    path: Path,
    names: tuple[str, ...],
    accel: str,
    confidence: float,
    most_runs: int,
    as_json: bool,
) -> int:
    """Run a bundle on the packaged kernels, and print the first bad one and the last good one.

    Exit status: 0 done, 3 not one kernel could be judged.
    """
    bundle = _with_reason(load_bundle(path), path)
    if strange := [name for name in names if name not in CATALOGUE]:
        raise BadInput(f"--kernel {strange[0]}: there are {', '.join(CATALOGUE)}")
    with progress("bisect") as say:
        say(
            f"good is certain to {confidence:.0%} after {greens_wanted(bundle.runs, confidence)}"
            " greens in a row"
        )
        walked = [
            each for name in names or packaged()
            if (each := _walk(bundle, name, accel, confidence, most_runs, say)) is not None
        ]  # fmt: skip
    if as_json:
        click.echo(json.dumps(_document(walked), indent=1))
    else:
        for each in walked:
            click.echo(_line(each.kernel, each.judged))
        for line in summary_lines([(e.kernel.version, e.judged.standing) for e in walked]):
            click.echo(line)
    told = any(each.judged.standing is not Standing.UNTOLD for each in walked)
    return 0 if told else 3


def packaged() -> list[str]:
    """Return the names of the catalogue, oldest first; those that move stand for one of them."""
    fixed = [name for name, entry in CATALOGUE.items() if not entry.moving]
    return sorted(fixed, key=parse_version)


def summary_lines(walked: list[tuple[str, Standing]]) -> list[str]:
    """Return the last good and the first bad of kernels in their order."""
    bad = [number for number, (_, standing) in enumerate(walked) if standing is Standing.BAD]
    good = [number for number, (_, standing) in enumerate(walked) if standing is Standing.GOOD]
    if not bad:
        return ["first bad  none of them"]
    lines = [f"first bad  {walked[bad[0]][0]}"]
    before = [number for number in good if number < bad[0]]
    lines.append(f"last good  {walked[before[-1]][0] if before else 'none before it'}")
    between = range(before[-1] + 1 if before else 0, bad[0])
    if untold := [walked[number][0] for number in between]:
        lines.append(f"not told   {', '.join(untold)} between them")
    if after := [walked[number][0] for number in good if number > bad[0]]:
        lines.append(f"good again {', '.join(after)}")
    return lines


def _walk(
    bundle: Bundle, name: str, accel: str, confidence: float, most_runs: int, say: Say
) -> _Walked | None:
    say(f"kernel {name}")
    try:
        kernel, bench = bench_of(bundle, name, None, (), accel, say=say)
    except HarnessError as error:  # it cannot be fetched, say: the others are judged all the same
        say(f"{name} cannot be had: {first_line(error)}")
        return None
    return _Walked(kernel, judge_kernel(bundle, bench, confidence=confidence, most_runs=most_runs))


def _line(kernel: Kernel, judged: Judgement) -> str:
    version = kernel.release if kernel.version == OWN_BUILD else kernel.version
    return f"{judged.standing.value:<15} {version:<22} {judged.why}"


def _document(walked: list[_Walked]) -> dict[str, object]:
    return {
        "schema": 1,
        "kernels": [
            {"name": each.kernel.name, "version": each.kernel.version,
             "standing": each.judged.standing.value, "why": each.judged.why,
             "runs": each.judged.runs.made, "red": each.judged.runs.red}
            for each in walked
        ],
    }  # fmt: skip


def _build(command: str) -> str:
    """Run the person's own command; return what went wrong, or nothing."""
    done = subprocess.run(
        command, shell=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        errors="replace", check=False,
    )  # fmt: skip
    if done.returncode == 0:
        return ""
    for line in done.stdout.splitlines()[-_MOST_BUILD_LINES:]:
        click.echo(f"           {line}", err=True)
    return f"--build ended with {done.returncode}"


def _with_reason(bundle: Bundle, path: Path) -> Bundle:
    if bundle.reason is None:
        raise BadInput(
            f"{path}: does not say what it is red for; take what `repro run --save FILE` leaves"
        )
    return bundle
