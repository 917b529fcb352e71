"""Files that were acknowledged by fsync, against those that a file system has after all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from harness.verdict.verdict import Finding, Judgement

ORACLE = "files"
LOG = "log"  # the file that is only appended to
_MOST_FINDINGS = 5


@dataclass(slots=True)
class AcknowledgedFiles:
    """The newest version of each file whose fsync came back; of the log, how many records."""

    versions: dict[str, int] = field(default_factory=dict)
    next_operation: int = 0

    def take(self, acknowledged: Mapping[str, int], *, next_operation: int) -> None:
        """Note what a writer says."""
        self.versions |= acknowledged
        self.next_operation = max(self.next_operation, next_operation)

    @property
    def records(self) -> int:
        """How many records the log has been given."""
        return self.versions.get(LOG, 0)


def judge_files(
    acknowledged: AcknowledgedFiles, found: Mapping[str, int], *, when: str
) -> Judgement:
    """Judge that nothing that was acknowledged is gone, and that every file is whole.

    Args:
        acknowledged: what was promised.
        found: version of each file, -1 for one that is none's; of the log its whole records.
        when: in words, for a finding.
    """
    findings = []
    for name, version in sorted(acknowledged.versions.items()):
        if name not in found:
            findings.append(f"file {name}: version {version} was acknowledged, it is not there")
        elif found[name] < 0:
            findings.append(f"file {name}: is no version of it, {version} was acknowledged")
        elif found[name] < version:
            what = "records" if name == LOG else "version"
            findings.append(f"file {name}: has {what} {found[name]}, {version} was acknowledged")
    findings += [
        f"file {name}: is no version of it"
        for name, version in sorted(found.items())
        if version < 0 and name not in acknowledged.versions
    ]
    compared = (
        f"{len(found)} files {when}: {len(acknowledged.versions)} acknowledged by fsync,"
        f" {acknowledged.records} records of a log"
    )
    shown = tuple(Finding(ORACLE, f"{what}, {when}") for what in findings[:_MOST_FINDINGS])
    return Judgement(ORACLE, (compared,), shown)
