"""Verbs of what a distribution does by itself: udev assembles, systemd shuts down and boots."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

from harness.campaign.scenarios.full_rig import EVENT_DEADLINE_S, FullRig
from harness.campaign.scenarios.scenario import Verb
from harness.campaign.scenarios.stage import Stage
from harness.crash.states import Loss
from harness.errors import BadInput
from harness.hosts.device_events import DeviceEvent
from harness.hosts.host import run_checked
from harness.md import array as md

UP = "^(clean|active|write-pending|active-idle|read-auto)$"  # array_state of one that takes writes
_RULES = "etc/udev/rules.d/64-md-raid-assembly.rules"
_COMMAND_S = 120.0
_STATE = f"{md.SYSFS}/array_state"
_LAST_RESORT_S = 600.0  # a limit against a hang; udev's timer takes 30 s of the guest's


def full_rig(stage: Stage) -> FullRig:
    """Return the rig of a story that is about a full guest.

    Raises:
        BadInput: it runs in another one.
    """
    if not isinstance(stage.rig, FullRig):
        raise BadInput("this scenario has steps of a full guest; say guest=GuestKind.FULL in it")
    return stage.rig


@dataclass(frozen=True, slots=True)
class PlugIn(Verb):
    """A disk is put back into the running machine; udev gets to see it."""

    words: ClassVar[str] = "plug in"

    disk: str

    def do(self, stage: Stage) -> None:
        """Put it in, and wait until udev is done with it."""
        full_rig(stage).plug_in(self.disk)


@dataclass(frozen=True, slots=True)
class UnplugAll(Verb):
    """All disks of the array are taken out, one after another."""

    words: ClassVar[str] = "unplug all"

    def do(self, stage: Stage) -> None:
        """Take them out."""
        rig = full_rig(stage)
        for disk in [name for name in stage.parts if name not in rig.unplugged]:
            rig.unplug(disk)


@dataclass(frozen=True, slots=True)
class StopUdevAssembling(Verb):
    """Have udev put no array together from now on: the story does, by mdadm's own commands.

    mdadm opens the members of an array that it refuses to start for writing. Once it has closed
    them udev looks at them anew, and would add them to the array behind the story's back.
    """

    words: ClassVar[str] = "stop udev assembling"

    def do(self, stage: Stage) -> None:
        """Put an empty file in the place of its rules."""
        rig = full_rig(stage)
        rig.files[_RULES] = (b"", 0o644)
        run_checked(rig.ssh, ["touch", f"/{_RULES}"], deadline_s=_COMMAND_S)
        run_checked(rig.ssh, ["udevadm", "control", "--reload"], deadline_s=_COMMAND_S)


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitForArray(Verb):
    """Wait for udev's word that the array is up, put together by nobody but udev."""

    words: ClassVar[str] = "wait for array"

    degraded: int = 0
    last_resort: bool = False  # it is started by the timer, for a disk is missing

    def do(self, stage: Stage) -> None:
        """Wait, and read back what it is."""
        rig = full_rig(stage)
        rig.events.wait_for(
            "the array is up", lambda e: is_up(e, rig.uuid), since=rig.array_since,
            deadline_s=_LAST_RESORT_S if self.last_resort else EVENT_DEADLINE_S,
        )  # fmt: skip
        stage.is_up = True
        state = stage.read_attribute("array_state")
        stage.require(re.search(UP, state) is not None, "the array takes writes", state)
        degraded = stage.read_attribute("degraded")
        stage.require(degraded == str(self.degraded), f"degraded is {self.degraded}", degraded)


@dataclass(frozen=True, slots=True)
class ExpectNoArray(Verb):
    """Require that udev, done with all disks that there are, has not started the array."""

    words: ClassVar[str] = "expect no array"

    def do(self, stage: Stage) -> None:
        """Let udev settle, and look."""
        full_rig(stage).settle()
        said = stage.call("run", argv=["cat", _STATE], deadline_s=10.0, stdin="")
        state = said["output"].strip()
        what = "the array is not started"
        stage.require(said["status"] != 0 or state in ("inactive", "clear"), what, state)


@dataclass(frozen=True, slots=True)
class ExpectNoWrites(Verb):
    """Require that the array is not started, or takes no writes."""

    words: ClassVar[str] = "expect no writes"

    def do(self, stage: Stage) -> None:
        """Look at its state."""
        said = stage.call("run", argv=["cat", _STATE], deadline_s=10.0, stdin="")
        state = said["output"].strip()
        met = said["status"] != 0 or state in ("inactive", "clear", "readonly", "read-auto")
        stage.require(met, "the array takes no writes", state)


@dataclass(frozen=True, slots=True, kw_only=True)
class CutPowerWithout(Verb):
    """Take the power away, and boot without some disks: they come later, or never."""

    words: ClassVar[str] = "cut power without"

    disks: tuple[str, ...]
    loss: Loss = Loss.ALL

    def do(self, stage: Stage) -> None:
        """Cut, and boot."""
        full_rig(stage).unplugged.update(self.disks)
        stage.cut_power(self.loss)


@dataclass(frozen=True, slots=True)
class WaitForLastResort(Verb):
    """Wait until udev's timer has had its say about an array that is not complete."""

    words: ClassVar[str] = "wait for last resort"

    def do(self, stage: Stage) -> None:
        """Wait for the end of the service that the timer starts."""
        unit = f"mdadm-last-resort@{md.ARRAY.rpartition('/')[2]}.service"
        stage.run(
            ["timeout", f"{_LAST_RESORT_S:.0f}", "sh", "/mdjournal/wait_for_unit.sh", unit],
            deadline_s=_LAST_RESORT_S + 30,
        )


@dataclass(frozen=True, slots=True)
class ShutDown(Verb):
    """Have systemd shut the machine down, and boot it again: ``reboot`` or ``poweroff``."""

    words: ClassVar[str] = "shut down"

    how: str = "reboot"

    def do(self, stage: Stage) -> None:
        """Shut down, and boot."""
        full_rig(stage).shut_down(self.how)
        stage.is_up = False


def waits_for_last_resort(steps: Iterable[Verb]) -> bool:
    """Whether steps are about udev's timer."""
    return any(
        isinstance(step, WaitForLastResort) or (isinstance(step, WaitForArray) and step.last_resort)
        for step in steps
    )


def is_up(event: DeviceEvent, uuid: str) -> bool:
    """Whether an event says that the array of this uuid is up."""
    return event.uuid == uuid and re.search(UP, event.state) is not None
