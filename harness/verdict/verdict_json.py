"""Judgements as JSON values, for every file that keeps a verdict."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from harness.verdict.verdict import Finding, Judgement


def encode_judgements(judgements: Iterable[Judgement]) -> list[dict[str, Any]]:
    """Return judgements as JSON values, each finding with its facts."""
    return [
        {
            "oracle": judgement.oracle,
            "compared": list(judgement.compared),
            "findings": [
                {"oracle": f.oracle, "what": f.what, "details": list(f.details),
                 "facts": dict(f.facts)}
                for f in judgement.findings
            ],
        }
        for judgement in judgements
    ]  # fmt: skip


def decode_judgements(rows: Iterable[Mapping[str, Any]]) -> tuple[Judgement, ...]:
    """Return the judgements that JSON values are of."""
    return tuple(
        Judgement(
            row["oracle"], tuple(row["compared"]),
            tuple(
                Finding(f["oracle"], f["what"], tuple(f["details"]), f["facts"])
                for f in row["findings"]
            ),
        )
        for row in rows
    )  # fmt: skip
