"""Verbs for what a document promises, and for the places that only documents speak of."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import ClassVar

from harness.campaign.crash import array_uuid
from harness.campaign.scenarios.scenario import Verb
from harness.campaign.scenarios.stage import STEP, Stage, StoryEnds
from harness.campaign.steps import STEP_DEADLINE_S
from harness.crash.states import Fate, fates
from harness.crash.trace import FLUSHED, Mark
from harness.errors import CommandFailed, StepHangs
from harness.hosts.host import CommandResult
from harness.md import array as md
from harness.verdict.verdict import Finding, Judgement

CONFIGURATION = "/etc/mdadm.conf"
_BUSYBOX = "/bin/busybox"
_PARAMETERS = "/sys/module/md_mod/parameters"
_SOON_S = 30.0  # for what md does by itself within a second or so
_WRITES = (4, 6)  # of /sys/block/*/stat: requests and sectors written
_RUNNING = "clean|active|active-idle|read-auto|readonly|write-pending|broken"


@dataclass(frozen=True, slots=True)
class Promised(Verb):
    """Do a step whose expectation is a document's, and go on where it is not met.

    What the step objects to is said with the promise before it, so that a known issue can name it.
    """

    words: ClassVar[str] = "promised"

    says: str  # the promise
    step: Verb

    def do(self, stage: Stage) -> None:
        """Do it; a command that failed breaks the promise, a hang ends the story as ever."""
        before = len(stage.judgements)
        try:
            self.step.do(stage)
        except CommandFailed as error:
            first, *rest = str(error).splitlines()
            stage.judge(Judgement(STEP, (self.says,), (Finding(STEP, first, tuple(rest)),)))
        except StoryEnds:
            if not stage.is_refused:  # it ends well; an objection ends the step, and no more
                raise
        except StepHangs as hang:
            raise StepHangs(f"promised: {self.says}: {hang}") from hang
        stage.judgements[before:] = map(self._named, stage.judgements[before:])

    def _named(self, judgement: Judgement) -> Judgement:
        findings = (
            replace(finding, what=f"promised: {self.says}: {finding.what}")
            for finding in judgement.findings
        )
        return replace(judgement, findings=tuple(findings))


@dataclass(frozen=True, slots=True)
class Exits(Verb):
    """Run mdadm with arguments, and require its exit status; ``{NAME}`` stands for nodes."""

    words: ClassVar[str] = "mdadm exits"

    arguments: str
    status: int

    def do(self, stage: Stage) -> None:
        """Run it."""
        nodes = {"array": md.ARRAY, **stage.rig.nodes}
        result = stage.run([md.MDADM, *self.arguments.format(**nodes).split()])
        stage.require(
            result.status == self.status, f"mdadm {self.arguments} exits with {self.status}",
            f"it exits with {result.status}", *result.output.splitlines()[-3:],
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Untouched(Verb):
    """Do a step in which nothing is written to the disks named."""

    words: ClassVar[str] = "untouched"

    disks: tuple[str, ...]
    step: Verb

    def do(self, stage: Stage) -> None:
        """Compare the kernel's own counts of each disk's writes before and after."""
        before = {disk: self._written(stage, disk) for disk in self.disks}
        self.step.do(stage)
        after = {disk: self._written(stage, disk) for disk in self.disks}
        details = [
            f"{disk}: {after[disk][0] - before[disk][0]} writes,"
            f" {after[disk][1] - before[disk][1]} sectors"
            for disk in self.disks
            if after[disk] != before[disk]
        ]
        what = f"nothing is written to {', '.join(self.disks)} by: {self.step.words}"
        stage.require(not details, what, *details)

    def _written(self, stage: Stage, disk: str) -> tuple[int, ...]:
        name = stage.node(disk).rpartition("/")[2]
        fields = stage.rig.guest.read_text(f"/sys/block/{name}/stat").split()
        return tuple(int(fields[n]) for n in _WRITES)


@dataclass(frozen=True, slots=True)
class ExpectOnMembers(Verb):
    """Require that what members were given up to the last flush's end was durable by then.

    Read off the trace: a power cut right there cannot be a step, since the disks are flushed again
    as soon as whoever wrote closes the array.
    """

    words: ClassVar[str] = "expect on members"

    def do(self, stage: Stage) -> None:
        """Look for writes that were in the volatile cache of a member at that moment."""
        trace = stage.rig.trace()
        flushed = [e for e in trace.events if isinstance(e, Mark) and e.text.startswith(FLUSHED)]
        members = set(stage.shape.member_names)
        details = [
            f"{disk.name}: {disk_cached} writes"
            for disk, of_disk in zip(trace.disks, fates(trace, flushed[-1].sequence), strict=True)
            if disk.name in members
            and (disk_cached := sum(write.fate is Fate.CACHED for write in of_disk))
        ]
        what = "no write was in a member's volatile cache when the flush ended"
        stage.require(not details, what, *details)


@dataclass(frozen=True, slots=True)
class SetParameter(Verb):
    """Set a parameter of the md module."""

    words: ClassVar[str] = "set parameter"

    name: str
    value: str

    def do(self, stage: Stage) -> None:
        """Set it."""
        stage.rig.guest.write_text(f"{_PARAMETERS}/{self.name}", self.value)


@dataclass(frozen=True, slots=True)
class Present(Verb):
    """Require that the array's sysfs has an attribute."""

    words: ClassVar[str] = "attribute is present"

    name: str

    def do(self, stage: Stage) -> None:
        """Look for it."""
        found = stage.call("list_paths", pattern=f"{md.SYSFS}/{self.name}")["paths"]
        stage.require(bool(found), f"there is a file {self.name}")


@dataclass(frozen=True, slots=True)
class ExpectSoon(Verb):
    """Require what the array's sysfs says under a name within half a minute."""

    words: ClassVar[str] = "expect soon"

    name: str
    pattern: str  # a regular expression

    def do(self, stage: Stage) -> None:
        """Read it until it does."""
        _require_soon(stage, self.name, self.name, self.pattern)


@dataclass(frozen=True, slots=True)
class ExpectOfDisk(Verb):
    """Require what the array's sysfs says of one of its disks within half a minute."""

    words: ClassVar[str] = "expect of disk"

    disk: str
    name: str
    pattern: str  # a regular expression

    def do(self, stage: Stage) -> None:
        """Read it until it does."""
        place = f"{_folder(stage, self.disk)}/{self.name}"
        _require_soon(stage, place, f"{self.name} of {self.disk}", self.pattern)


@dataclass(frozen=True, slots=True)
class SetOfDisk(Verb):
    """Write an attribute of one of the array's disks."""

    words: ClassVar[str] = "set of disk"

    disk: str
    name: str
    value: str

    def do(self, stage: Stage) -> None:
        """Write it."""
        path = f"{md.SYSFS}/{_folder(stage, self.disk)}/{self.name}"
        stage.rig.guest.write_text(path, self.value)


@dataclass(frozen=True, slots=True)
class Clear(Verb):
    """Stop the array by the word that does it in its state."""

    words: ClassVar[str] = "clear"

    def do(self, stage: Stage) -> None:
        """Stop it."""
        stage.rig.guest.write_text(f"{md.SYSFS}/array_state", "clear")
        stage.is_up = False


@dataclass(frozen=True, slots=True)
class Configure(Verb):
    """Write mdadm.conf: lines of its own, or what mdadm prints with arguments, or both.

    ``{uuid}`` stands for the array's, ``{NAME}`` for nodes.
    """

    words: ClassVar[str] = "configure"

    lines: tuple[str, ...] = ()
    printed_by: str = ""  # arguments of mdadm

    def do(self, stage: Stage) -> None:
        """Write it."""
        nodes = {"array": md.ARRAY, "uuid": _uuid(stage), **stage.rig.nodes}
        lines = [line.format(**nodes) for line in self.lines]
        if self.printed_by:
            argv = [md.MDADM, *self.printed_by.format(**nodes).split()]
            lines += stage.run(argv).output.splitlines()
        text = "".join(f"{line}\n" for line in lines)
        _with_stdin(stage, [_BUSYBOX, "mkdir", "-p", CONFIGURATION.rpartition("/")[0]], "")
        _with_stdin(stage, [_BUSYBOX, "tee", CONFIGURATION], text)


@dataclass(frozen=True, slots=True)
class Starts(Verb):
    """Run mdadm with arguments, and require whether the array runs then."""

    words: ClassVar[str] = "start"

    arguments: str
    runs: bool = True

    def do(self, stage: Stage) -> None:
        """Run it."""
        nodes = {"array": md.ARRAY, **stage.rig.nodes}
        result = stage.run([md.MDADM, *self.arguments.format(**nodes).split()])
        state = _state(stage)
        stage.is_up = re.fullmatch(_RUNNING, state) is not None
        what = f"the array {'runs' if self.runs else 'does not run'} after mdadm {self.arguments}"
        details = (f"array_state is {state!r}", *result.output.splitlines())
        stage.require(stage.is_up == self.runs, what, *details)


@dataclass(frozen=True, slots=True, kw_only=True)
class Incremental(Verb):
    """Give mdadm one disk, as a hot-plug system does, and require whether the array runs then."""

    words: ClassVar[str] = "incremental"

    disk: str
    runs: bool = False
    options: str = ""

    def do(self, stage: Stage) -> None:
        """Give it."""
        Starts(f"--incremental {self.options} {{{self.disk}}}", runs=self.runs).do(stage)


@dataclass(frozen=True, slots=True)
class HotRemove(Verb):
    """Tell mdadm that a disk has gone, by its kernel's name, as a hot-plug system does."""

    words: ClassVar[str] = "hot remove"

    disk: str

    def do(self, stage: Stage) -> None:
        """Tell it."""
        name = stage.node(self.disk).rpartition("/")[2]
        result = stage.run([md.MDADM, "--incremental", "--fail", name])
        what = f"mdadm --incremental --fail takes {self.disk} out"
        stage.require(result.status == 0, what, *result.output.splitlines())
        stage.parts.remove(self.disk)


def _state(stage: Stage) -> str:
    if not stage.call("list_paths", pattern=f"{md.SYSFS}/array_state")["paths"]:
        return "not there"
    return stage.read_attribute("array_state")


def _require_soon(stage: Stage, name: str, subject: str, pattern: str) -> None:
    answer = stage.call(
        "wait_for_text", path=f"{md.SYSFS}/{name}", pattern=pattern, deadline_s=_SOON_S,
        answer_within_s=2 * _SOON_S,
    )  # fmt: skip
    what = f"{subject} is {pattern!r} before long"
    stage.require(answer["found"], what, f"it is {answer['text']!r}")


def _folder(stage: Stage, disk: str) -> str:
    return f"dev-{stage.node(disk).rpartition('/')[2]}"


def _uuid(stage: Stage) -> str:
    return array_uuid(stage.seed)


def _with_stdin(stage: Stage, argv: list[str], text: str) -> CommandResult:
    """Run a command of the guest that must succeed, with a text to read."""
    result = stage.rig.guest.run(argv, deadline_s=STEP_DEADLINE_S, stdin=text)
    if result.status != 0:
        raise CommandFailed(str(result))
    return result
