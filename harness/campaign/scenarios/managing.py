"""Verbs of an administrator: mdadm and sysfs."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import ClassVar

from harness.campaign.crash import array_uuid
from harness.campaign.judging import AVAILABLE, refusal
from harness.campaign.recording import WORKLOAD_BEGINS
from harness.campaign.scenarios.scenario import Verb
from harness.campaign.scenarios.stage import Stage, StoryEnds
from harness.crash.workload import JournalMode, SwitchMode
from harness.errors import CommandFailed
from harness.hosts.host import CommandResult
from harness.md import array as md
from harness.md.shape import JOURNAL_NAME
from harness.recovery.members import stale_members
from harness.verdict.durability import JOURNAL_FAILED
from harness.verdict.predicted_state import superblocks_of
from harness.verdict.verdict import Judgement

_IDLE_S = 300.0  # of a rebuild or a check: a limit against a hang


@dataclass(frozen=True, slots=True, kw_only=True)
class Create(Verb):
    """Make the array of the disks of the shape, and start it."""

    words: ClassVar[str] = "create"

    assume_clean: bool = True  # without the initial sync: the disks are zeroes
    mark: bool = True  # that what is judged on the trace begins here

    def do(self, stage: Stage) -> None:
        """Create."""
        session = stage.rig.session
        md.create(
            stage.rig.guest, stage.shape, session.nodes, uuid=array_uuid(stage.seed),
            assume_clean=self.assume_clean,
        )  # fmt: skip
        journal = [JOURNAL_NAME] if stage.shape.journaled else []
        stage.parts = [*stage.shape.member_names, *journal]
        stage.is_up = True
        if self.mark:
            stage.mark(WORKLOAD_BEGINS)


@dataclass(frozen=True, slots=True)
class Mdadm(Verb):
    """Run mdadm with arguments; ``{array}`` and ``{NAME}`` stand for nodes, of disks by name."""

    words: ClassVar[str] = "mdadm"

    arguments: str
    refused: str = ""  # it must fail, and say what this regular expression matches
    says: str = ""  # what it must say where it succeeds

    def do(self, stage: Stage) -> None:
        """Run it, and require what is expected."""
        nodes = {"array": md.ARRAY, **stage.rig.nodes}
        result = stage.run([md.MDADM, *self.arguments.format(**nodes).split()])
        wanted = self.refused or self.says
        as_wanted = (result.status != 0) == bool(self.refused)
        outcome = "is refused" if self.refused else "succeeds"
        said = re.search(wanted, result.output) is not None
        what = f"mdadm {self.arguments} {outcome}" + (f" and says {wanted!r}" if wanted else "")
        details = (f"ended with {result.status}", *result.output.splitlines())
        stage.require(as_wanted and said, what, *details)


@dataclass(frozen=True, slots=True)
class Stop(Verb):
    """Stop the array."""

    words: ClassVar[str] = "stop"

    def do(self, stage: Stage) -> None:
        """Stop it."""
        stage.rig.settle()
        result = stage.run([md.MDADM, "--stop", md.ARRAY])
        stage.require(result.status == 0, "the array stops", *result.output.splitlines())
        stage.is_up = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Assemble(Verb):
    """Assemble the array of its disks, as an administrator would."""

    words: ClassVar[str] = "assemble"

    without: tuple[str, ...] = ()  # disks that are not given
    options: str = ""  # of mdadm
    refused: str = ""  # it must not start, and mdadm says what this regular expression matches
    or_ends: bool = False  # a refusal is right as well, and the end of the story
    says: str = ""  # what the kernel's log must say

    def do(self, stage: Stage) -> None:
        """Assemble it."""
        nodes = [stage.node(name) for name in stage.parts if name not in self.without]
        stage.call("mark_kernel_log", marker="assemble")
        argv = [md.MDADM, "--assemble", md.ARRAY, *self.options.split(), *nodes]
        result = stage.run(argv)
        given = f"the array {'without ' + ', '.join(self.without) if self.without else ''}".strip()
        how = f" with {self.options}" if self.options else ""
        if self.refused:
            said = re.search(self.refused, result.output) is not None
            what = f"{given} is not assembled{how}: {self.refused!r}"
            stage.require(result.status != 0 and said, what, *result.output.splitlines())
            stage.run([md.MDADM, "--stop", md.ARRAY])  # what mdadm put together, not started
            return
        if self.or_ends and result.status != 0:
            raise StoryEnds
        if result.status != 0 and not how and not self.without:
            stage.judge(_refused_whole(stage, result))
            stage.is_refused = True
            raise StoryEnds
        what = f"{given} is assembled{how}"
        stage.require(result.status == 0, what, *result.output.splitlines())
        if result.status != 0:
            raise CommandFailed(str(result))
        stage.is_up, stage.is_refused = True, False
        if self.says:
            lines = stage.rig.guest.kernel_log(since="assemble")
            found = any(re.search(self.says, line) for line in lines)
            stage.require(found, f"the kernel says {self.says!r}", *lines)


def _refused_whole(stage: Stage, result: CommandResult) -> Judgement:
    """Object to the refusal of an array of which no device was left out, as explorations do."""
    contents = stage.rig.contents_at_end()
    given = {name: contents[name] for name in stage.parts}
    superblocks = superblocks_of(given, stage.shape.disk_sizes)
    stale = len(stale_members(superblocks))
    finding = refusal(result, superblocks.values(), stale=stale)
    return Judgement(AVAILABLE, ("assembled by mdadm without --force",), (finding,))


@dataclass(frozen=True, slots=True)
class Switch(Verb):
    """Switch the journal's mode."""

    words: ClassVar[str] = "switch mode"

    mode: JournalMode

    def do(self, stage: Stage) -> None:
        """Switch, and read it back."""
        md.set_journal_mode(stage.rig.guest, self.mode)
        stage.steps.append(SwitchMode(self.mode))
        stage.mark(f"journal_mode {self.mode.value}")
        found = md.journal_mode(stage.rig.guest)
        stage.require(found == self.mode.value, f"journal_mode is {self.mode.value}", found)


@dataclass(frozen=True, slots=True)
class Set(Verb):
    """Write an attribute of the array's sysfs."""

    words: ClassVar[str] = "set"

    name: str
    value: str
    refused: bool = False

    def do(self, stage: Stage) -> None:
        """Write it."""
        error = ""
        try:
            stage.rig.guest.write_text(f"{md.SYSFS}/{self.name}", self.value)
        except CommandFailed as failed:
            error = str(failed)
        what = f"{self.value!r} is {'refused' if self.refused else 'taken'} by {self.name}"
        stage.require(bool(error) == self.refused, what, error)


@dataclass(frozen=True, slots=True)
class Expect(Verb):
    """Require what the array's sysfs says under a name."""

    words: ClassVar[str] = "expect"

    name: str
    pattern: str  # a regular expression

    def do(self, stage: Stage) -> None:
        """Read it."""
        found = stage.read_attribute(self.name)
        met = re.search(self.pattern, found) is not None
        stage.require(met, f"{self.name} is {self.pattern!r}", f"it is {found!r}")


@dataclass(frozen=True, slots=True)
class ExpectStatus(Verb):
    """Require what /proc/mdstat says."""

    words: ClassVar[str] = "expect status"

    pattern: str  # a regular expression

    def do(self, stage: Stage) -> None:
        """Read it."""
        found = md.status(stage.rig.guest)
        met = re.search(self.pattern, found) is not None
        stage.require(met, f"/proc/mdstat says {self.pattern!r}", *found.splitlines())


@dataclass(frozen=True, slots=True)
class ExpectLog(Verb):
    """Require that the kernel has said something, or that it has not."""

    words: ClassVar[str] = "expect log"

    pattern: str  # a regular expression
    never: bool = False

    def do(self, stage: Stage) -> None:
        """Read its log."""
        lines = [line for line in stage.rig.guest.kernel_log() if re.search(self.pattern, line)]
        verb = "never says" if self.never else "says"
        stage.require(bool(lines) != self.never, f"the kernel {verb} {self.pattern!r}", *lines[:3])


@dataclass(frozen=True, slots=True)
class Fail(Verb):
    """Mark a disk of the array as faulty."""

    words: ClassVar[str] = "fail"

    disk: str

    def do(self, stage: Stage) -> None:
        """Fail it."""
        if self.disk == JOURNAL_NAME:
            stage.mark(JOURNAL_FAILED)
        md.fail_member(stage.rig.guest, stage.node(self.disk))


@dataclass(frozen=True, slots=True)
class Remove(Verb):
    """Remove a faulty disk from the array."""

    words: ClassVar[str] = "remove"

    disk: str

    def do(self, stage: Stage) -> None:
        """Remove it; md lets it go once nothing is under way on it."""
        node = stage.node(self.disk)
        state = f"{md.SYSFS}/dev-{node.rpartition('/')[2]}/state"
        stage.wait_for(state, "faulty")
        Mdadm(f"{{array}} --remove {{{self.disk}}}").do(stage)
        stage.parts.remove(self.disk)


@dataclass(frozen=True, slots=True, kw_only=True)
class Add(Verb):
    """Add a disk to the array: as a spare, as before (``re``), or as its ``journal``."""

    words: ClassVar[str] = "add"

    disk: str
    how: str = "--add"
    refused: str = ""

    def do(self, stage: Stage) -> None:
        """Add it."""
        Mdadm(f"{{array}} {self.how} {{{self.disk}}}", refused=self.refused).do(stage)
        if not self.refused:
            stage.parts = [*(part for part in stage.parts if part != self.disk), self.disk]


@dataclass(frozen=True, slots=True)
class WaitUntilIdle(Verb):
    """Wait until a rebuild, a resync or a check has ended."""

    words: ClassVar[str] = "wait until idle"

    def do(self, stage: Stage) -> None:
        """Wait."""
        stage.wait_for(f"{md.SYSFS}/sync_action", "^(idle|frozen)$", deadline_s=_IDLE_S)


@dataclass(frozen=True, slots=True, kw_only=True)
class Check(Verb):
    """Have md check the redundancy of the whole array, or repair it."""

    words: ClassVar[str] = "check"

    repair: bool = False
    mismatches: bool = False  # whether there are any to be found

    def do(self, stage: Stage) -> None:
        """Check, wait, and read what was found."""
        Set("sync_action", "repair" if self.repair else "check").do(stage)
        WaitUntilIdle().do(stage)
        found = int(stage.read_attribute("mismatch_cnt"))
        wanted = "finds stripes that are not in parity" if self.mismatches else "finds none"
        stage.require((found > 0) == self.mismatches, f"md's check {wanted}", f"{found} sectors")
