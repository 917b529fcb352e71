"""A run as JSON lines: the run itself in the first, then a line for each case."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from harness.campaign.reports.model import Case, RunReport

SCHEMA = 1


def jsonl_text(report: RunReport) -> str:
    """Return the report as text; all of it is ASCII."""
    return "".join(f"{_encoded(each)}\n" for each in _documents(report))


def _encoded(document: dict[str, Any]) -> str:
    """Return a document as ASCII, with question marks for lone halves: not all read them."""
    text = json.dumps(document, ensure_ascii=False).encode(errors="replace").decode()
    return json.dumps(json.loads(text))


def _documents(report: RunReport) -> Iterator[dict[str, Any]]:
    yield {
        "schema": SCHEMA, "kind": "run", "title": report.title, "command": report.command,
        "kernels": list(report.kernels), "began_s": round(report.began_s, 3),
        "seconds": round(report.seconds, 3), "strict": report.strict,
        "verdict": report.outcome.value,
        "verdicts": {outcome.value: n for outcome, n in report.outcomes.items() if n},
        "facts": dict(report.facts),
    }  # fmt: skip
    for case in report.cases:
        yield _case_document(case)


def _case_document(case: Case) -> dict[str, Any]:
    verdict = case.verdict
    return {
        "kind": "case", "name": case.name, "group": case.group, "kernel": case.kernel,
        "verdict": verdict.outcome.value, "reason": verdict.reason,
        "findings": [
            {"oracle": f.oracle, "what": f.what, "details": list(f.details), "facts": dict(f.facts)}
            for f in verdict.findings
        ],
        "seconds": round(case.seconds, 3), "stands_for": case.stands_for,
        "evidence": None if case.evidence is None else str(case.evidence),
        "repeat": case.repeat,
    }  # fmt: skip
