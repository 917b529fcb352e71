"""What a reproducer bundle says: one red, and all that it takes to see it again.

`docs/bundles.md` has the format. A bundle is of one of these kinds:

- a *state*: disks as the power left them, which a kernel is to recover. One that was *explored*
  comes with the recording that it was cut from, so that what was promised is known; one that was
  *fuzzed* is judged by what recovery writes and where; one that was *imported* has neither.
- a *recording*: a workload on an array; it is run anew, and cut anew.
- a *scenario*: a story, told anew.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from harness.campaign.scenarios.scenario import Scenario
from harness.crash.trace import Trace
from harness.crash.workload import Workload
from harness.md.shape import Shape
from harness.recovery.kernel_versions import is_version
from harness.storage.bundle_file import DiskImage
from harness.verdict.durability import ATOMICITY, DURABILITY, REDUNDANCY
from harness.verdict.journal_truth import KERNEL_SAID
from harness.verdict.ordering import ORACLE as ORDERING
from harness.verdict.reason import Reason
from harness.verdict.verdict import Verdict

WRITE_HOLE = "write hole"
JOURNAL_TRUTH = "journal truth"
# Oracles that judge what was written before the power went: a state shows it, and says nothing of
# the kernel that recovers it.
OF_WRITING = frozenset((DURABILITY, ATOMICITY, REDUNDANCY, ORDERING, WRITE_HOLE, JOURNAL_TRUTH))


class Kind(enum.Enum):
    """What a bundle is about, and so how it is run."""

    EXPLORED = "explored state"
    RECORDED = "recording"
    FUZZED = "fuzzed state"
    IMPORTED = "imported state"
    SCENARIO = "scenario"


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelFacts:
    """Which kernel it was. *name* is how `--kernel` takes it, where it has a name."""

    name: str
    release: str  # uname -r
    version: str  # Debian's
    identity: str  # sha256 of its packages
    module_sha256: str = ""  # of raid456.ko
    replaced: tuple[str, ...] = ()  # names of module files that stood in for the kernel's own

    @property
    def told_by(self) -> str:
        """The version that eras and known issues go by: its release where it has no other."""
        return self.version if is_version(self.version) else self.release


@dataclass(frozen=True, slots=True, kw_only=True)
class GuestFacts:
    """What it ran in."""

    kind: str  # "tiny", "full"
    accelerator: str
    mdadm: str = ""  # version of its package
    memory_mib: int = 0


@dataclass(frozen=True, slots=True)
class Runs:
    """How often it was tried, and how often it was red for the reason."""

    made: int = 0
    red: int = 0

    def __add__(self, other: Runs) -> Runs:
        return Runs(self.made + other.made, self.red + other.red)


@dataclass(frozen=True, slots=True)
class StateFacts:
    """Where a state was cut, and what was lost."""

    cut: int  # sequence number of the first event that did not happen
    lost_writes: int = 0
    torn_writes: int = 0
    number: int = 0  # of the state; without a journal it decides which member is missing


def is_of_recovery(reason: Reason) -> bool:
    """Whether a reason of journal truth is the count that the kernel gives as it recovers."""
    return reason.oracle == JOURNAL_TRUTH and reason.sentence.startswith(KERNEL_SAID)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """One reproducer."""

    kind: Kind
    made_by: str  # the command, as it can be typed again; shown, never run
    shape: Shape
    kernel: KernelFacts
    guest: GuestFacts
    seed: int
    verdict: Verdict  # as it was when it was packed
    reason: Reason | None  # None: nobody has seen it red; an import
    runs: Runs = Runs()
    seconds: float = 0.0  # that one run takes, in a guest
    workload: Workload | None = None
    trace: Trace | None = None
    state: StateFacts | None = None
    images: Mapping[str, DiskImage] = field(default_factory=dict)
    there: tuple[str, ...] = ()  # names of the disks that the array is assembled of
    scenario: Scenario | None = None
    lying: frozenset[str] = frozenset()  # disks whose flush did nothing
    jitter_us: int = 0
    notes: tuple[str, ...] = ()  # lines for who reads it: what an import can and cannot say
    texts: Mapping[str, str] = field(default_factory=dict)  # dmesg.txt, hang.txt: for the reader

    @property
    def records(self) -> bool:
        """Whether a run of it writes anew: the kernel that writes is the one that is judged."""
        if self.kind is Kind.RECORDED:
            return True
        return (
            self.kind is Kind.EXPLORED and self.workload is not None and self.reason is not None
            and self.reason.oracle in OF_WRITING and not is_of_recovery(self.reason)
        )  # fmt: skip

    @property
    def how(self) -> str:
        """What a run of it does, in words."""
        if self.kind is Kind.SCENARIO:
            return "the story is told anew"
        if self.records:
            return "the workload is written anew, and its crash states are looked at"
        return "the kernel recovers the very state"

    def with_runs(self, runs: Runs, seconds: float) -> Bundle:
        """Return it with what more runs of it have shown; *seconds* is what one of them takes."""
        return replace(self, runs=self.runs + runs, seconds=seconds or self.seconds)
