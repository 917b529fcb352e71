"""What each command's results are as a report, whatever files are made of it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from harness.campaign.crash import CrashOptions, CrashRun
from harness.campaign.exploring.smallest import Smallest as ShrunkState
from harness.campaign.exploring.store import ExploreStore
from harness.campaign.fuzzing.shrinking import Smallest as ShrunkJournal
from harness.campaign.known_issues import read_known_issues
from harness.campaign.reports.exhibit import Exhibit
from harness.campaign.reports.exploration_exhibits import exhibit_of_smallest, with_exhibits
from harness.campaign.reports.explored import Asked, explored_cases
from harness.campaign.reports.model import Case, OracleCount, RunReport, Smallest
from harness.campaign.reports.told_scenarios import scenario_cases, with_exhibit
from harness.campaign.scenarios.results import Result
from harness.errors import BadInput, HarnessError
from harness.recovery.era import Era
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
    smallest: Sequence[Smallest] = (),
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
        facts=facts, oracles=tuple(oracles), smallest=tuple(smallest),
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
    look: Callable[[Sequence[Case]], Mapping[str, Exhibit]],
    smallest: Sequence[Smallest],
) -> RunReport:
    """Return the report of an exploration or a fuzzing; *look* returns exhibits by cases' names."""
    fuzzing = title == "fuzz"
    asked = Asked(
        kernel=kernel.release, folder=folder, only=only, repeat_all=typed_command(),
        repeat=lambda number: typed_command("--state", str(number), without=("--state",)),
        states="journals" if fuzzing else "states", with_recordings=not fuzzing,
    )  # fmt: skip
    cases = list(explored_cases(store, asked))
    if reports.wants_pictures:
        cases = with_exhibits(cases, look(cases))
    return report_of(
        reports, title, cases, strict=strict, facts=facts_of(options, kernel),
        oracles=[
            OracleCount(name, of, count.judged, count.objected)
            for (name, of), count in summary.oracles.items()
        ],
        smallest=[
            replace(each, exhibit=exhibit_of_smallest(each.folder, options.era))
            if each.folder is not None and reports.wants_pictures else each
            for each in smallest
        ],
    )  # fmt: skip


def smallest_of_exploration(found: Sequence[ShrunkState]) -> list[Smallest]:
    """Return what shrinking the reds of an exploration came to."""
    return [
        Smallest(
            name=each.reason, folder=each.folder, steps=each.steps,
            words="it did not show again in a new recording" if each.folder is None else
            f"{each.operations} of {each.operations_before} operations, {each.events} events before"
            f" the cut, {each.lost_writes} lost writes",
        )
        for each in found
    ]  # fmt: skip


def smallest_of_fuzzing(found: Sequence[ShrunkJournal]) -> list[Smallest]:
    """Return what shrinking the reds of a fuzzing came to."""
    return [
        Smallest(
            name=each.reason, folder=each.folder, steps=tuple(each.words),
            words=f"{each.pieces} of {each.pieces_before} blocks and payloads",
        )
        for each in found
    ]  # fmt: skip


def scenarios_report(
    reports: ReportFiles,
    results: Sequence[Result],
    *,
    eras: Mapping[str, Era],
    seed: int,
    strict: bool,
) -> RunReport:
    """Return the report of scenarios.

    Args:
        reports: that are wanted.
        results: of all that was run.
        eras: of the kernels, by name.
        seed: of each scenario's first repeat.
        strict: whether known issues are failures.
    """

    def repeat(result: Result) -> str:
        return typed_command(
            result.scenario, "--kernel", result.kernel, "--seed", str(seed + result.repeat - 1),
            without=("--all", "--kernel", "--seed", "--repeat"), names=False,
        )  # fmt: skip

    cases = list(scenario_cases(results, repeat))
    if reports.wants_pictures:
        cases = [with_exhibit(case, eras[case.kernel]) for case in cases]
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
