"""What scenarios came to, as cases of a report."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from harness.campaign.reports.looking import look_at
from harness.campaign.reports.model import Case
from harness.campaign.reports.scene import Scene
from harness.campaign.scenarios.results import Result
from harness.crash.trace import BadTrace, decode
from harness.recovery.era import Era
from harness.verdict.verdict import Finding, Judgement, Verdict

SCENARIOS = "scenarios"


def scenario_cases(results: Sequence[Result], repeat: Callable[[Result], str]) -> Iterator[Case]:
    """Yield a case for each result, in order of the scenarios' names.

    Args:
        results: of a run.
        repeat: returns the command that runs one of them again.
    """
    for result in sorted(results, key=lambda r: (r.kernel, r.scenario, r.repeat)):
        again = f", repeat {result.repeat}" if result.repeat > 1 else ""
        yield Case(
            name=f"{result.scenario}{again}", group=SCENARIOS, kernel=result.kernel,
            verdict=verdict_of_result(result), seconds=result.seconds,
            evidence=Path(result.evidence) if result.evidence else None, repeat=repeat(result),
        )  # fmt: skip


def verdict_of_result(result: Result) -> Verdict:
    """Return the verdict that a result was written down for, as far as it was."""
    oracles = dict.fromkeys(oracle for oracle, _, _ in result.findings)
    judgements = (
        Judgement(
            name, (), tuple(Finding(o, what, lines) for o, what, lines in result.findings
                            if o == name)
        )
        for name in oracles
    )  # fmt: skip
    return Verdict(result.outcome, tuple(judgements), result.reason)


def with_exhibit(case: Case, era: Era) -> Case:
    """Return a red story's case with what its folder has: its last guest's disks and their trace.

    Args:
        case: of a story.
        era: of the kernel that it ran on.
    """
    if case.evidence is None or not case.evidence.is_dir() or not case.is_red:
        return case
    scene = None
    traces = sorted((case.evidence / "live").glob("trace-*.mdjtrace"))
    if traces:
        with contextlib.suppress(BadTrace, OSError):
            trace = decode(traces[-1].read_bytes())
            scene = Scene(trace=trace, cut=None, words="the end of what the last guest did")
    return replace(case, exhibit=look_at(case.evidence, era=era, scene=scene))
