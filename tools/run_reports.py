"""What each command's results are as a report, whatever files are made of it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from harness.campaign.crash import CrashOptions, CrashRun
from harness.campaign.exploring.store import ExploreStore
from harness.campaign.known_issues import read_known_issues
from harness.campaign.reports.exhibit import Exhibit
from harness.campaign.reports.explored import Asked, explored_cases
from harness.campaign.reports.model import Case, OracleCount, RunReport
from harness.campaign.reports.told_scenarios import scenario_cases
from harness.campaign.scenarios.results import Result
from harness.errors import BadInput, HarnessError
from harness.verdict.verdict import Outcome, Verdict
from kvm_images.kernels import Kernel
from tools.explore_summary import Summary
from tools.report_files import ReportFiles
from tools.typed_command import typed_command


def report_of(
    reports: ReportFiles,
    title: str,
    cases: Sequence[Case],
    *,
    strict: bool,
    facts: Mapping[str, str],
    command: str = "",
    oracles: Sequence[OracleCount] = (),
) -> RunReport:
    """Return the report of a run, with what is the same for every command."""
    named = {
        name
        for case in cases
        if case.verdict.outcome is Outcome.KNOWN
        for name in case.verdict.reason.split(", ")
    }
    return RunReport(
        title=title, command=command or typed_command(),
        kernels=tuple(dict.fromkeys(case.kernel for case in cases)),
        began_s=reports.began_s, seconds=reports.seconds, cases=tuple(cases), strict=strict,
        facts=facts, oracles=tuple(oracles),
        reasons={
            issue.name: " ".join(issue.reason.split())
            for issue in (read_known_issues() if named else ())
            if issue.name in named
        },
    )  # fmt: skip


@contextlib.contextmanager
def failure_reported(
    reports: ReportFiles, title: str, *, kernel: str, strict: bool
) -> Iterator[None]:
    """Write a report of a run that the harness could not bring to its end, and let it fail.

    Args:
        reports: files that are wanted.
        title: of the run.
        kernel: its name.
        strict: as of the report.
    """
    try:
        yield
    except BadInput:
        raise
    except HarnessError as error:
        if reports:
            first, *_ = str(error).splitlines()
            verdict = Verdict(Outcome.HARNESS_FAILED, reason=first)
            case = Case(
                name=title, group="the run itself", kernel=kernel, verdict=verdict,
                repeat=typed_command(),
            )  # fmt: skip
            reports.write(report_of(reports, title, [case], strict=strict, facts={}))
        raise


def crash_report(
    reports: ReportFiles,
    options: CrashOptions,
    kernel: Kernel,
    run: CrashRun,
    *,
    kept: Path | None,
    repeat: str,
    exhibit: Exhibit | None,
    strict: bool,
) -> RunReport:
    """Return the report of one crash."""
    case = Case(
        name=f"seed {options.seed}, cut before event {run.cut_event} of {run.recording.events}",
        group="crash", kernel=kernel.release, verdict=run.verdict, evidence=kept, repeat=repeat,
        exhibit=exhibit,
    )  # fmt: skip
    counts = [
        OracleCount(judgement.oracle, "run", 1, int(bool(judgement.findings)))
        for judgement in run.verdict.judgements
    ]
    facts = facts_of(options, kernel)
    return report_of(
        reports, "crash", [case], strict=strict, facts=facts, command=repeat, oracles=counts
    )


def explore_report(
    reports: ReportFiles,
    title: str,
    options: CrashOptions,
    kernel: Kernel,
    store: ExploreStore,
    summary: Summary,
    *,
    folder: Path,
    only: int | None,
    strict: bool,
) -> RunReport:
    """Return the report of an exploration or a fuzzing."""
    fuzzing = title == "fuzz"
    asked = Asked(
        kernel=kernel.release, folder=folder, only=only, repeat_all=typed_command(),
        repeat=lambda number: typed_command("--state", str(number), without=("--state",)),
        states="journals" if fuzzing else "states", with_recordings=not fuzzing,
    )  # fmt: skip
    cases = list(explored_cases(store, asked))
    return report_of(
        reports, title, cases, strict=strict, facts=facts_of(options, kernel),
        oracles=[
            OracleCount(name, of, count.judged, count.objected)
            for (name, of), count in summary.oracles.items()
        ],
    )  # fmt: skip


def scenarios_report(
    reports: ReportFiles, results: Sequence[Result], *, seed: int, strict: bool
) -> RunReport:
    """Return the report of scenarios; *seed* is of each one's first repeat."""

    def repeat(result: Result) -> str:
        return typed_command(
            result.scenario, "--kernel", result.kernel, "--seed", str(seed + result.repeat - 1),
            without=("--all", "--kernel", "--seed", "--repeat"), names=False,
        )  # fmt: skip

    cases = list(scenario_cases(results, repeat))
    return report_of(reports, "scenarios run", cases, strict=strict, facts={})


def facts_of(options: CrashOptions, kernel: Kernel) -> dict[str, str]:
    """Return what array was looked at, on which kernel."""
    replaced = "".join(f", with {path.name} replaced" for path in kernel.replaced)
    return {
        "array": str(options.shape),
        "kernel": f"{kernel.release} ({kernel.version}){replaced}",
        "recovery": f"of era {options.era.name}",
        "guests on": options.image.accelerator.upper(),
        "seed": str(options.seed),
    }
