"""What runs of scenarios came to, as text: a grid of scenarios and kernels, and each red."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from typing import Any

from harness.campaign.scenarios.results import Result
from harness.verdict.verdict import Outcome

# The worst first: a cell of several repeats shows the worst of them.
_WORST = (
    Outcome.HARNESS_FAILED, Outcome.DIFFERS, Outcome.KNOWN, Outcome.NOT_RUN, Outcome.AGREES
)  # fmt: skip
_CONFIDENCE = 0.95
_MOST_DETAILS = 12


def grid_lines(
    results: Sequence[Result], scenarios: Sequence[str], kernels: Sequence[str], repeats: int
) -> list[str]:
    """Return the grid, what is red in it, and what the repeats can have missed."""
    cells = {
        (scenario, kernel): _cell(results, scenario, kernel)
        for scenario in scenarios
        for kernel in kernels
    }
    width = max(len(name) for name in scenarios)
    columns = [max(len(k), *(len(cells[s, k]) for s in scenarios)) for k in kernels]
    lines = [f"{'':<{width}}  " + "  ".join(map(str.ljust, kernels, columns))]
    lines += [
        f"{name:<{width}}  "
        + "  ".join(
            cells[name, kernel].ljust(c) for kernel, c in zip(kernels, columns, strict=True)
        )
        for name in scenarios
    ]
    lines += ["", *_reds(results)]
    lines += _summary(results, repeats)
    return [line.rstrip() for line in lines]


def _cell(results: Sequence[Result], scenario: str, kernel: str) -> str:
    mine = [r for r in results if (r.scenario, r.kernel) == (scenario, kernel)]
    if not mine:
        return "-"
    worst = min(mine, key=lambda r: _WORST.index(r.outcome))
    same = sum(r.outcome is worst.outcome for r in mine)
    return worst.outcome.value + (f" {same}/{len(mine)}" if len(mine) > 1 else "")


def _reds(results: Sequence[Result]) -> list[str]:
    lines = []
    for result in sorted(results, key=lambda r: (r.scenario, r.kernel, r.repeat)):
        if result.outcome is Outcome.AGREES:
            continue
        again = f" (repeat {result.repeat})" if result.repeat > 1 else ""
        lines.append(f"{result.outcome.value} {result.scenario} on {result.kernel}{again}")
        if result.outcome is Outcome.KNOWN:
            lines.append(f"    {result.reason}")
            continue
        for oracle, what, details in result.findings:
            lines.append(f"    {oracle}: {what}")
            lines += [f"        {line}" for line in details[:_MOST_DETAILS]]
        if not result.findings:
            lines.append(f"    {result.reason}")
        lines.append(f"    kept in {result.evidence}")
    return lines


def _summary(results: Sequence[Result], repeats: int) -> list[str]:
    counts = Counter(result.outcome for result in results)
    verdicts = ", ".join(f"{o.value} {counts[o]}" for o in _WORST[::-1] if counts[o])
    seconds = sum(result.seconds for result in results)
    longest = max((result.longest_step_s for result in results), default=0.0)
    lines = [f"verdicts   {verdicts}; {seconds:.0f} s of guests, the longest step {longest:.1f} s"]
    if repeats > 1:
        lines.append(f"missed     {missed_rate(repeats)}")
    return lines


def missed_rate(repeats: int) -> str:
    """Say how often something may happen that was not seen in so many repeats, at 95 %.

    A failure of rate p stays unseen in n tries with (1 - p)^n; that is 5 % at p = 1 - 0.05^(1/n).
    """
    rate = 1 - (1 - _CONFIDENCE) ** (1 / repeats)
    return (
        f"what was green in each of {repeats} repeats happens, at 95 %, in less than"
        f" {rate:.1%} of runs"
    )


def document_of(results: Sequence[Result]) -> dict[str, Any]:
    """Return the results as JSON values."""
    return {
        "schema": 1,
        "results": [
            {
                "scenario": r.scenario, "kernel": r.kernel, "repeat": r.repeat,
                "verdict": r.outcome.value, "reason": r.reason,
                "findings": json.loads(json.dumps(r.findings)), "seconds": round(r.seconds, 2),
                "longest_step_s": round(r.longest_step_s, 2), "evidence": r.evidence,
            }
            for r in results
        ],
    }  # fmt: skip
