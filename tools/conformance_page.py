"""The page about promises: docs/conformance.md, from promises and results of scenarios."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from harness.campaign.conformance import (
    Promise,
    PromiseVerdict,
    count_outcomes,
    kernels_of,
    verdict_on,
)
from harness.campaign.scenarios.results import Result
from harness.verdict.known import KnownIssue
from harness.verdict.verdict import Outcome
from tools.text_template import render_text

TEMPLATE = Path(__file__).with_name("conformance_page.md.j2")
_RED = (Outcome.DIFFERS, Outcome.KNOWN, Outcome.HARNESS_FAILED)
_SHOWN = {Outcome.NOT_RUN: "not run", Outcome.HARNESS_FAILED: "no verdict"}


def page_of(
    promises: Sequence[Promise],
    results: Sequence[Result],
    issues: Sequence[KnownIssue],
    versions: Mapping[str, str],
) -> str:
    """Return the page.

    Args:
        promises: in their order.
        results: one at most of each scenario on each kernel.
        issues: the known ones, for their reasons.
        versions: of kernels, by name, as far as they are known.
    """
    kernels = kernels_of(results)
    verdicts = {
        (p.name, kernel): verdict_on(p, kernel, results, promises)
        for p in promises
        for kernel in kernels
        if p.scenarios
    }
    groups = [
        (document, [_row(p, [verdicts.get((p.name, k)) for k in kernels]) for p in mine])
        for document, mine in (
            (key, list(group)) for key, group in groupby(promises, lambda p: p.document)
        )
    ]
    reasons = {issue.name: issue.reason for issue in issues}
    return render_text(
        TEMPLATE,
        kernels=[(k, versions.get(k, k)) for k in kernels],
        counts=_counts(promises, kernels, results),
        groups=groups,
        broken=_reds(promises, kernels, verdicts, reasons, broken=True),
        others=_reds(promises, kernels, verdicts, reasons, broken=False),
        remarks=[p for p in promises if p.note],
        promises=len(promises),
        untested=sum(not p.scenarios for p in promises),
    )


def _row(promise: Promise, verdicts: Sequence[PromiseVerdict | None]) -> list[str]:
    tested = ", ".join(promise.scenarios) or f"none: {promise.untested}"
    shown = ["" if verdict is None else _cell(verdict) for verdict in verdicts]
    return [promise.name, promise.says, promise.section, tested, *shown]


def _cell(verdict: PromiseVerdict) -> str:
    text = _SHOWN.get(verdict.outcome, verdict.outcome.value)
    if verdict.outcome is Outcome.KNOWN:
        text += f"({', '.join(verdict.reasons)})"
    if verdict.not_run and verdict.outcome is not Outcome.NOT_RUN:
        text += f", {verdict.not_run} not run"
    return text


def _counts(
    promises: Sequence[Promise], kernels: Sequence[str], results: Sequence[Result]
) -> list[tuple[str, str]]:
    found = []
    for kernel in kernels:
        counts = count_outcomes(promises, kernel, results)
        words = [f"{_SHOWN.get(o, o.value)} {counts[o]}" for o in Outcome if counts[o]]
        found.append((kernel, ", ".join(words)))
    return found


def _reds(
    promises: Sequence[Promise],
    kernels: Sequence[str],
    verdicts: Mapping[tuple[str, str], PromiseVerdict],
    reasons: Mapping[str, str],
    *,
    broken: bool,
) -> list[dict[str, Any]]:
    """Return what is red: each promise, the kernels, and what is known of it.

    Args:
        promises: in their order.
        kernels: by name.
        verdicts: by promise and kernel.
        reasons: of known issues.
        broken: those that are broken; else those of which a test met something else.
    """
    found = []
    for promise in promises:
        red = {
            kernel: verdict
            for kernel in kernels
            if (verdict := verdicts.get((promise.name, kernel)))
            and verdict.outcome in _RED
            and (not set(promise.broken_by).isdisjoint(verdict.reasons)) == broken
        }
        why = dict.fromkeys(reason for verdict in red.values() for reason in verdict.reasons)
        if red:
            found.append({
                "promise": promise, "kernels": ", ".join(red),
                "why": [(r, " ".join(reasons[r].split()) if r in reasons else "") for r in why],
            })  # fmt: skip
    return found
