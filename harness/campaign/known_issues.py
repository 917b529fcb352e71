"""Read the list of known issues."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from harness.verdict.known import KnownIssue

KNOWN_ISSUES = Path(__file__).with_name("known_issues.toml")


def read_known_issues(path: Path = KNOWN_ISSUES) -> tuple[KnownIssue, ...]:
    """Return the issues in a file; its format is explained at its head."""
    with path.open("rb") as file:
        document = tomllib.load(file)
    return tuple(
        KnownIssue(
            name=issue["name"],
            oracle=issue["oracle"],
            says=re.compile(issue["says"]),
            facts=issue["facts"],
            reason=issue["reason"].strip(),
        )
        for issue in document["issue"]
    )
