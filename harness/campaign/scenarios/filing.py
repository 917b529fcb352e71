"""Verbs about a file system on the array: files that fsync has acknowledged must stay."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from harness.campaign.scenarios.distribution import full_rig
from harness.campaign.scenarios.scenario import Verb
from harness.campaign.scenarios.stage import Stage
from harness.crash.states import Loss
from harness.errors import CommandFailed, StepHangs
from harness.hosts.host import run_checked
from harness.md import array as md
from harness.verdict.files import judge_files

FOLDER = "/srv/array"
_DEADLINE_S = 300.0
_NAMES = 20  # files that are replaced again and again
_MAKE = {
    "ext4": ["mkfs.ext4", "-q", "-F"],
    "xfs": ["mkfs.xfs", "-q", "-f"],
}
_LOOK = {
    "ext4": ["e2fsck", "-f", "-n"],
    "xfs": ["xfs_repair", "-n"],
}


@dataclass(frozen=True, slots=True)
class MakeFilesystem(Verb):
    """Make a file system on the array: ``ext4`` or ``xfs``; and mount it."""

    words: ClassVar[str] = "make file system"

    kind: str

    def do(self, stage: Stage) -> None:
        """Make it, as an administrator would, over SSH."""
        rig = full_rig(stage)
        rig.file_system = self.kind
        if self.kind == "xfs":
            rig.load_group("xfs")
        run_checked(rig.ssh, [*_MAKE[self.kind], md.ARRAY], deadline_s=_DEADLINE_S)
        Mount().do(stage)


@dataclass(frozen=True, slots=True)
class Mount(Verb):
    """Mount the array's file system, which replays its journal where it has to."""

    words: ClassVar[str] = "mount"

    def do(self, stage: Stage) -> None:
        """Mount it."""
        rig = full_rig(stage)
        run_checked(rig.ssh, ["mkdir", "--parents", FOLDER], deadline_s=_DEADLINE_S)
        argv = ["mount", "--types", rig.file_system, md.ARRAY, FOLDER]
        run_checked(rig.ssh, argv, deadline_s=_DEADLINE_S)


@dataclass(frozen=True, slots=True)
class MountAtBoot(Verb):
    """Have systemd mount the file system at each boot from now on, as fstab says."""

    words: ClassVar[str] = "mount at boot"

    def do(self, stage: Stage) -> None:
        """Write fstab."""
        rig = full_rig(stage)
        # The limit against a slow machine is told to systemd of Debian 12 in this place alone.
        options = "defaults,nofail,x-systemd.device-timeout=900"
        line = f"{md.ARRAY} {FOLDER} {rig.file_system} {options} 0 2\n"
        rig.files["etc/fstab"] = (line.encode(), 0o644)


@dataclass(frozen=True, slots=True)
class ExpectMounted(Verb):
    """Require that systemd has mounted the file system."""

    words: ClassVar[str] = "expect mounted"

    def do(self, stage: Stage) -> None:
        """Ask for what is mounted there."""
        found = full_rig(stage).ssh.run(["findmnt", "--noheadings", FOLDER], deadline_s=_DEADLINE_S)
        mounted = found.status == 0 and md.ARRAY in found.output
        stage.require(mounted, f"{FOLDER} is mounted from {md.ARRAY}", found.output.strip())


@dataclass(frozen=True, slots=True)
class Unmount(Verb):
    """Unmount the file system."""

    words: ClassVar[str] = "unmount"

    def do(self, stage: Stage) -> None:
        """Unmount it."""
        run_checked(full_rig(stage).ssh, ["umount", FOLDER], deadline_s=_DEADLINE_S)


@dataclass(frozen=True, slots=True, kw_only=True)
class WriteFiles(Verb):
    """Write files, each acknowledged by fsync before the next."""

    words: ClassVar[str] = "write files"

    operations: int = 40

    def do(self, stage: Stage) -> None:
        """Write them, and note what was acknowledged."""
        begin_files(stage)
        wait_for_files(stage, self.operations)
        end_files(stage)


@dataclass(frozen=True, slots=True, kw_only=True)
class CutPowerUnderFiles(Verb):
    """Write files all the time, and take the power away in the middle of one."""

    words: ClassVar[str] = "cut power under files"

    operations: int = 40  # acknowledged before
    loss: Loss = Loss.ALL

    def do(self, stage: Stage) -> None:
        """Write, cut, and boot."""
        begin_files(stage)
        wait_for_files(stage, self.operations)
        stage.cut_power(self.loss)


@dataclass(frozen=True, slots=True)
class DuringFiles(Verb):
    """Write files all the time while other steps are done."""

    words: ClassVar[str] = "during files"

    steps: tuple[Verb, ...]
    may_fail: bool = False  # the files, with an error that their writer gets to see

    def do(self, stage: Stage) -> None:
        """Write, do, and stop writing."""
        begin_files(stage)
        wait_for_files(stage, 5)
        for step in self.steps:
            step.do(stage)
        if not self.may_fail:
            wait_for_files(stage, 5)
        end_files(stage, may_fail=self.may_fail)


@dataclass(frozen=True, slots=True)
class ReadFiles(Verb):
    """Read all files: none that was acknowledged may be gone, older or damaged."""

    words: ClassVar[str] = "read files"

    def do(self, stage: Stage) -> None:
        """Read them, from the array and not from the page cache, and judge."""
        rig = full_rig(stage)
        rig.guest.write_text("/proc/sys/vm/drop_caches", "3")
        found = stage.call(
            "read_all_files", folder=FOLDER, seed=stage.seed, answer_within_s=_DEADLINE_S
        )["found"]
        when = f"at step {len(stage.judgements) + 1}"
        stage.judge(judge_files(rig.acknowledged_files, found, when=when))


@dataclass(frozen=True, slots=True)
class Fsck(Verb):
    """Have the file system's own check look at it, changing nothing: it must find nothing."""

    words: ClassVar[str] = "fsck"

    def do(self, stage: Stage) -> None:
        """Check it, unmounted."""
        rig = full_rig(stage)
        argv = [*_LOOK[rig.file_system], md.ARRAY]
        found = rig.ssh.run(argv, deadline_s=_DEADLINE_S)
        if found.missed_deadline:
            raise StepHangs(str(found))
        what = f"{argv[0]} finds nothing"
        stage.require(found.status == 0, what, f"ended with {found.status}",
                      *found.output.splitlines())  # fmt: skip


def begin_files(stage: Stage) -> None:
    """Begin to write files beside all that follows."""
    files = full_rig(stage).acknowledged_files
    stage.call(
        "start_files", folder=FOLDER, seed=stage.seed, names=_NAMES,
        first=files.next_operation, records=files.records,
    )  # fmt: skip


def wait_for_files(stage: Stage, operations: int) -> None:
    """Wait until so many more have been acknowledged, and note all that have been.

    Raises:
        CommandFailed: one failed.
        StepHangs: they do not come.
    """
    answer = stage.call(
        "wait_for_files", operations=operations, deadline_s=_DEADLINE_S,
        answer_within_s=2 * _DEADLINE_S,
    )  # fmt: skip
    before = full_rig(stage).acknowledged_files.next_operation
    full_rig(stage).acknowledged_files.take(answer["acknowledged"], next_operation=answer["next"])
    if answer["error"]:
        raise CommandFailed(f"guest: writing files: {answer['error']}")
    if answer["next"] < before + operations:
        raise StepHangs(f"guest: an fsync of a file does not come back in {_DEADLINE_S:.0f} s")


def end_files(stage: Stage, *, may_fail: bool = False) -> None:
    """End what `begin_files` began, and note all that was acknowledged."""
    answer = stage.call("end_files", answer_within_s=2 * _DEADLINE_S)
    full_rig(stage).acknowledged_files.take(answer["acknowledged"], next_operation=answer["next"])
    if answer["hung"]:
        raise StepHangs("guest: an fsync of a file does not come back")
    if answer["error"] and not may_fail:
        raise CommandFailed(f"guest: writing files: {answer['error']}")
