"""Known issues: reds that a listed finding explains. They are shown and counted, never green."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from harness.verdict.verdict import Finding, Outcome, Verdict

Version = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class KernelRange:
    """Kernel versions from *first* to *last*, both of them in it; ``None`` where it has no end."""

    first: Version | None
    last: Version | None

    def __contains__(self, version: Version) -> bool:
        return (self.first is None or self.first <= version) and (
            self.last is None or version <= self.last
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownIssue:
    """One listed finding; its signature is as narrow as what was found out about it."""

    name: str
    oracle: str
    says: re.Pattern[str]  # searched in the finding's sentence
    facts: Mapping[str, int]  # all must hold for the finding
    kernels: tuple[KernelRange, ...]
    shape: Mapping[str, str]  # figures of the shapes that can have it
    expected: Mapping[str, str]  # of a shape in which exploring is to show it: see `is_expected`
    reason: str
    reference: str = ""  # a public one, where there is one
    scenarios: tuple[str, ...] = ()  # only these can show it; none named: whatever runs

    def explains(self, finding: Finding) -> bool:
        """Whether *finding* is this issue and nothing else."""
        return (
            finding.oracle == self.oracle
            and self.says.search(finding.what) is not None
            and all(finding.facts.get(name) == value for name, value in self.facts.items())
        )

    def concerns(self, kernel: Version, shape: Mapping[str, str]) -> bool:
        """Whether a kernel version, on an array with these figures by name, can have it."""
        return self.shape.items() <= shape.items() and any(kernel in each for each in self.kernels)

    def is_expected(self, shape: Mapping[str, str]) -> bool:
        """Whether exploring an array of this shape is to show it, sooner or later.

        Args:
            shape: its figures by name; those that are not in *expected* do not matter. An issue
                that expects nothing takes more than one shape to be seen.
        """
        return bool(self.expected) and self.expected.items() <= shape.items()


def issue_of(finding: Finding, issues: Sequence[KnownIssue]) -> KnownIssue | None:
    """Return the first issue that explains a finding, if one does."""
    return next((issue for issue in issues if issue.explains(finding)), None)


def with_known_issues(verdict: Verdict, issues: Sequence[KnownIssue]) -> Verdict:
    """Return KNOWN(issue) in place of a DIFFERS of which every finding is explained."""
    if verdict.outcome is not Outcome.DIFFERS or not verdict.findings:
        return verdict
    names = []
    for finding in verdict.findings:
        issue = issue_of(finding, issues)
        if issue is None:
            return verdict
        names.append(issue.name)
    return replace(verdict, outcome=Outcome.KNOWN, reason=", ".join(dict.fromkeys(names)))


def unseen_issues(
    issues: Sequence[KnownIssue], shape: Mapping[str, str], seen: Sequence[str]
) -> list[str]:
    """Return the names of issues that were to be seen in a shape, and were not."""
    return [issue.name for issue in issues if issue.is_expected(shape) and issue.name not in seen]
