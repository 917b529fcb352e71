"""Read the list of known issues, as far as it is about the kernel that runs."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path

from harness.md.shape import Shape
from harness.recovery.kernel_versions import parse_version
from harness.verdict.known import KernelRange, KnownIssue, Version, with_known_issues
from harness.verdict.verdict import Verdict

KNOWN_ISSUES = Path(__file__).with_name("known_issues.toml")


@dataclass(frozen=True, slots=True)
class KnownIssues:
    """What is listed for one kernel."""

    issues: tuple[KnownIssue, ...]

    def apply(self, verdict: Verdict) -> Verdict:
        """Return KNOWN(issue) in place of a DIFFERS that the list explains altogether."""
        return with_known_issues(verdict, self.issues)


def known_issues_of(
    kernel_version: str, shape: Shape, path: Path = KNOWN_ISSUES, *, scenario: str = ""
) -> KnownIssues:
    """Return what is listed for a kernel, by its version or that of its package, a shape, and,
    where one is run, a scenario.
    """
    version, facts = parse_version(kernel_version), shape_facts(shape)
    return KnownIssues(
        tuple(
            issue
            for issue in read_known_issues(path)
            if issue.concerns(version, facts)
            and (not issue.scenarios or scenario in issue.scenarios)
        )
    )


def issues_of_any_kernel(shape: Shape, *, scenario: str = "") -> KnownIssues:
    """Return what is listed for a shape and a scenario, whichever kernel it is about.

    A red that is known on one kernel is the same red on another one.
    """
    facts = shape_facts(shape)
    return KnownIssues(
        tuple(
            issue
            for issue in read_known_issues()
            if issue.shape.items() <= facts.items()
            and (not issue.scenarios or scenario in issue.scenarios)
        )
    )


def shape_facts(shape: Shape) -> dict[str, str]:
    """Return the figures of a shape that known issues speak of."""
    return {
        "journaled": "yes" if shape.journaled else "no",
        "mode": shape.mode.value,
        "member_cache": shape.member_cache.value,
        "journal_cache": shape.journal_cache.value,
        "level": str(int(shape.level)),
    }


def read_known_issues(path: Path = KNOWN_ISSUES) -> tuple[KnownIssue, ...]:
    """Return all issues in a file; its format is explained at its head."""
    with path.open("rb") as file:
        document = tomllib.load(file)
    return tuple(
        KnownIssue(
            name=issue["name"],
            oracle=issue["oracle"],
            says=re.compile(issue["says"]),
            facts=issue["facts"],
            kernels=tuple(map(_kernel_range, issue["kernels"])),
            shape=issue.get("shape", {}),
            expected=issue["expected"],
            reason=issue["reason"].strip(),
            reference=issue.get("reference", ""),
            scenarios=tuple(issue.get("scenarios", ())),
        )
        for issue in document["issue"]
    )


def _kernel_range(text: str) -> KernelRange:
    """Return what ``FIRST..LAST`` stands for; either may be missing."""
    first, dots, last = text.partition("..")
    if not dots:
        raise ValueError(f"kernels {text!r}: wanted FIRST..LAST, either of them may be missing")
    return KernelRange(_version(first), _version(last))


def _version(text: str) -> Version | None:
    return parse_version(text) if text else None
