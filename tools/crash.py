"""`tools/mdjournal crash`: cut an array's power, let a real kernel recover, compare."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path
from typing import Any

import click

from harness.campaign.crash import DEFAULT_STEPS, CrashOptions, CrashRun, CutChoice, run_crash
from harness.campaign.evidence import Evidence, keep, new_evidence, verdict_document
from harness.campaign.reports.looking import look_at
from harness.campaign.reports.scene import scene_of_crash
from harness.campaign.reproducing.ran import note_last, write_run
from harness.crash.states import Loss
from harness.crash.workload_json import encode_workload
from harness.errors import EXIT_DIFFERS, BadInput, HarnessError, Unavailable
from harness.storage.directories import results_root
from harness.verdict.verdict import Outcome, Verdict
from kvm_images.kernels import Kernel
from tools.crash_report import failure_lines, report_lines
from tools.guest_options import era_of, find_kernel, guest_image, kernel_options
from tools.progress import Say, progress
from tools.report_files import ReportFiles
from tools.report_options import report_options
from tools.run_facts import run_facts
from tools.run_options import json_option, strict_option
from tools.run_reports import crash_report, failure_reported
from tools.shape_options import chosen_shape, shape_options
from tools.typed_command import typed_command

_LEAST_FREE_BYTES = 1 << 20


class CutType(click.ParamType[Any]):
    """Where to cut: an event's number, or a share such as ``50%``."""

    name = "cut"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> CutChoice:
        """Return the choice."""
        if isinstance(value, CutChoice):
            return value
        text = str(value).strip()
        if text.isdecimal():
            return CutChoice(event=int(text))
        if text.endswith("%") and text[:-1].isdecimal() and int(text[:-1]) <= 100:
            return CutChoice(share=int(text[:-1]) / 100)
        return self.fail(
            f"{value!r} is no cut; wanted an event's number or a share like 50%", param, ctx
        )


@click.command()
@kernel_options
@shape_options()
@click.option("--seed", type=click.IntRange(0, 2**63 - 1), help="Default: by the clock.")
@click.option(
    "--cut",
    type=CutType(),
    metavar="N|P%",
    help="Cut before event N of the workload, or at a share of it. Default: by the seed.",
)
@click.option(
    "--lose",
    type=click.Choice([loss.value for loss in Loss]),
    default=Loss.ALL.value,
    show_default=True,
    help="Which of the writes that may be lost are lost.",
)
@click.option("--steps", type=click.IntRange(1, 5000), default=DEFAULT_STEPS, show_default=True)
@click.option(
    "--jitter",
    "jitter_us",
    type=click.IntRange(0, 1_000_000),
    default=0,
    metavar="US",
    help="Hold completions back by up to so many microseconds, by the seed.",
)
@click.option("--keep", "keep_always", is_flag=True, help="Keep the evidence of a green run too.")
@strict_option
@json_option
@report_options
def crash(
    *,
    reports: ReportFiles,
    kernel_name: str,
    modules: Path | None,
    replaced: tuple[Path, ...],
    accel: str,
    seed: int | None,
    cut: CutChoice | None,
    lose: str,
    steps: int,
    jitter_us: int,
    keep_always: bool,
    strict: bool,
    as_json: bool,
    **shape_given: Any,
) -> int:
    """Build an array, write to it, cut its power, let a real kernel recover, and compare.

    Exit status: 0 the kernel and the model agree, 1 they differ, 2 misuse, 3 the guest was lost.
    """
    shape = chosen_shape(**shape_given)
    seed = time.time_ns() // 1_000_000 % 10_000_000 if seed is None else seed
    repeat = typed_command("--seed", str(seed), without=("--seed",))
    name = f"crash-raid{shape.level:d}-{shape.members}-{shape.mode.value}-seed{seed}"
    with progress("crash") as say:
        kernel = find_kernel(kernel_name, modules, replaced, say=say)
        options = CrashOptions(
            shape=shape, era=era_of(kernel), image=guest_image(kernel, accel, say=say),
            seed=seed, cut=cut or CutChoice(), loss=Loss(lose), steps=steps, jitter_us=jitter_us,
        )  # fmt: skip
        with new_evidence(results_root(), name) as evidence:
            with failure_reported(reports, "crash", kernel=kernel.release, strict=strict):
                run = _run(options, kernel, evidence, repeat, say)
            verdict = run.verdict
            kept = None
            if keep_always or verdict.outcome is not Outcome.AGREES:
                facts = run_facts(
                    "crash", kernel, options.image, shape, seed=seed, made_by=repeat,
                    jitter_us=jitter_us, say=say,
                )  # fmt: skip
                write_run(evidence.folder, facts)
                evidence.write_json("workload.json", encode_workload(run.recording.workload))
                kept = keep(evidence, results_root(), name)
            note_last(results_root(), kept)
            report = None
            if reports:
                exhibit = None
                if reports.wants_pictures:  # also of a green run, while its images are there
                    words = _cut_words(options, run)
                    scene = scene_of_crash(run.recording.trace, run.state, words)
                    exhibit = look_at(evidence.folder, era=options.era, scene=scene)
                report = crash_report(
                    reports, options, kernel, run, kept=kept, repeat=repeat, exhibit=exhibit,
                    strict=strict,
                )  # fmt: skip
    if as_json:
        click.echo(
            json.dumps(
                {**_document(options, kernel, run, repeat), "evidence": kept and str(kept)},
                indent=2,
            )
        )
    else:
        for line in report_lines(options, kernel, run, kept, repeat):
            click.echo(line)
    if report is not None:  # last: a file that cannot be written any more hides no verdict
        reports.write(report)
    return EXIT_DIFFERS if strict and verdict.outcome is Outcome.KNOWN else verdict.exit_status


def _run(
    options: CrashOptions, kernel: Kernel, evidence: Evidence, repeat: str, say: Say
) -> CrashRun:
    """Run, and have a lost guest keep its evidence too: the message then names the folder."""
    try:
        run = run_crash(options, evidence, say=say)
    except BadInput:
        raise
    except HarnessError as error:
        if shutil.disk_usage(evidence.folder).free < _LEAST_FREE_BYTES:
            # Whatever failed, this is why: the disks' images and the trace could not grow.
            raise Unavailable(
                f"{results_root()}: no space left on that file system; free some, or set"
                " MDJOURNAL_RESULTS"
            ) from error
        verdict = Verdict(Outcome.HARNESS_FAILED, reason=str(error).splitlines()[0])
        evidence.write_json("verdict.json", verdict_document(verdict))
        unfinished = str(evidence.folder)
        kept = keep(evidence, results_root(), f"lost-seed{options.seed}")
        message = str(error).replace(unfinished, str(kept))
        raise type(error)("\n".join(failure_lines(message, kept))) from error
    evidence.write_json("verdict.json", _document(options, kernel, run, repeat))
    return run


def _cut_words(options: CrashOptions, run: CrashRun) -> str:
    return (
        f"before event {run.state.cut} of the trace, {run.cut_event} of {run.recording.events} of"
        f" the workload; {run.state.lost_writes} writes lost, {run.state.torn_writes} torn"
        f" (--lose {options.loss.value})"
    )


def _document(options: CrashOptions, kernel: Kernel, run: CrashRun, repeat: str) -> dict[str, Any]:
    plan = run.replayed.plan
    return {
        "schema": 1,
        **verdict_document(run.verdict),
        "shape": str(options.shape),
        "kernel": {"release": kernel.release, "version": kernel.version,
                   "identity": kernel.identity},
        "era": options.era.name,
        "accelerator": options.image.accelerator,
        "seed": options.seed,
        "cut": {"event": run.cut_event, "of": run.recording.events, "sequence": run.state.cut,
                "lose": options.loss.value, "lost_writes": run.state.lost_writes,
                "torn_writes": run.state.torn_writes},
        "plan": {"metas": plan.metas_accepted, "dropped": plan.metas_dropped,
                 "data_parity_stripes": plan.data_parity, "data_only_stripes": len(plan.data_only),
                 "journal_tail": plan.journal_tail, "message": plan.message},
        "repeat": repeat,
    }  # fmt: skip
