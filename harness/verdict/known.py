"""Known issues: reds that a listed finding explains. They are shown and counted, never green."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from harness.verdict.verdict import Finding, Outcome, Verdict


@dataclass(frozen=True, slots=True)
class KnownIssue:
    """One listed finding; its signature is as narrow as what was found out about it."""

    name: str
    oracle: str
    says: re.Pattern[str]  # searched in the finding's sentence
    facts: Mapping[str, int]  # all must hold for the finding
    reason: str

    def explains(self, finding: Finding) -> bool:
        """Whether *finding* is this issue and nothing else."""
        return (
            finding.oracle == self.oracle
            and self.says.search(finding.what) is not None
            and all(finding.facts.get(name) == value for name, value in self.facts.items())
        )


def with_known_issues(verdict: Verdict, issues: Sequence[KnownIssue]) -> Verdict:
    """Return KNOWN(issue) in place of a DIFFERS of which every finding is explained."""
    if verdict.outcome is not Outcome.DIFFERS or not verdict.findings:
        return verdict
    names = []
    for finding in verdict.findings:
        issue = next((issue for issue in issues if issue.explains(finding)), None)
        if issue is None:
            return verdict
        names.append(issue.name)
    return replace(verdict, outcome=Outcome.KNOWN, reason=", ".join(dict.fromkeys(names)))
