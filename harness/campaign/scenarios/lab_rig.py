"""A rig on a lab machine: loop devices or scratch disks there, no guest, reached over SSH.

A power cut is what dm-log-writes can give: each disk's writes are recorded there, and what a cut
leaves is replayed onto loop files. Nothing here takes the machine itself down.
"""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from harness.campaign.lab import Session, disk_caches
from harness.campaign.lab_machine import LabMachine
from harness.campaign.scenarios.rig import Place, Rig
from harness.crash.content import DiskContent
from harness.crash.states import Loss
from harness.crash.trace import Cache
from harness.errors import BadInput, CommandFailed, DeadlineMissed, GuestVanished, HarnessError
from harness.md.array import Nodes
from harness.md.shape import JOURNAL_NAME, Shape
from harness.storage.disk_server import MARKS_EXPORT, DiskServer
from harness.vm.agent_client import AgentClient, AnswerLate, PortClosed
from harness.vm.guest import ANSWER_DEADLINE_S, Guest

_BEGINS = "a story begins"
_BENCH_DEADLINE_S = 900.0  # a limit against a hang: a cut copies and replays all disks


class LabGuest(Guest):
    """A lab machine with an agent on it, where verbs expect a guest."""

    def __init__(self, machine: LabMachine, console: Path) -> None:
        self._ssh = machine.connect()
        self.name = machine.name
        self.console = console  # stays empty: nobody reads a lab machine's console
        self.commands = []
        folder = self._ssh.run(["mktemp", "--directory"], deadline_s=60.0).output.strip()
        self._ssh.put_files({f"{folder}/{path}": text for path, text in machine.agent.items()})
        # The folder goes as soon as Python has read it all: with the agent's end, however it ends.
        argv = ["python3", "-I", "-S", "-B", "-u", f"{folder}/lab_agent.py"]
        command = f"{shlex.join(argv)}; rm --recursive --force {shlex.quote(folder)}"
        self._agent = AgentClient(self._ssh.open_command(["sh", "-c", command]))

    def call(
        self, verb: str, *, answer_within_s: float = ANSWER_DEADLINE_S, **arguments: object
    ) -> dict[str, Any]:
        """Have the agent do *verb* and return its answer.

        Raises:
            GuestVanished: the connection has ended.
            DeadlineMissed: there is no answer.
            CommandFailed: the agent answers that it could not.
        """
        try:
            return self._agent.call(verb, answer_within_s=answer_within_s, **arguments)
        except (PortClosed, OSError) as lost:
            raise GuestVanished(f"{self.name}: the connection ended while doing {verb!r}") from lost
        except AnswerLate:
            raise DeadlineMissed(
                f"{self.name}: no answer within {answer_within_s:.0f} s while doing {verb!r}"
            ) from None

    def kernel_log(self, *, since: str = "") -> list[str]:
        """Return the lines of the kernel's log, from marker *since* on, or from the story's begin.

        What a machine said before is none of the story's.
        """
        return super().kernel_log(since=since or _BEGINS)

    def qmp(self, command: str, **arguments: object) -> Any:
        """Refuse: there is no QEMU."""
        raise HarnessError(f"{self.name}: a lab machine has no QEMU to do {command} {arguments}")

    def close(self) -> None:
        """End the agent, which takes back all that it made, and the connection."""
        self._agent.close()
        self._ssh.close()


class LabRig(Rig):
    """An array's disks on a lab machine."""

    records = False  # not all disks in one order

    def __init__(self, place: Place, machine: LabMachine) -> None:
        super().__init__(place)
        self._machine = machine

    def __enter__(self) -> Self:
        """Make the disks on the machine."""
        shape = self._place.shape
        guest = LabGuest(self._machine, self._place.folder / "console")
        self._stack.callback(guest.close)
        self._place.began(guest.close)
        try:
            facts = guest.call("look_at_machine", answer_within_s=_BENCH_DEADLINE_S)
            require_fit(self._machine.name, facts)
            guest.call("mark_kernel_log", marker=_BEGINS)
            disks = [
                {
                    "name": name, "size_bytes": size, "device": device,
                    "block_bytes": shape.logical_block_bytes,
                }
                for (name, size), device in zip(
                    shape.disk_sizes.items(), devices_of(self._machine, shape), strict=True
                )
            ]  # fmt: skip
            self._take(guest, guest.call(
                "bench_build", rules=self._machine.rules, disks=disks, records=can_cut(facts),
                answer_within_s=_BENCH_DEADLINE_S,
            )["nodes"])  # fmt: skip
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:  # fmt: skip
        """Take the disks back."""
        with contextlib.suppress(HarnessError):  # the connection may be what has failed
            self.guest.call("bench_down", answer_within_s=_BENCH_DEADLINE_S)
        self._close()

    def contents_at_end(self) -> dict[str, DiskContent]:
        """Return what each disk holds, read from it there."""
        found = {}
        for name in self._place.shape.disk_sizes:
            answer = self.guest.call(
                "bench_blocks", name=name, deadline_s=_BENCH_DEADLINE_S,
                answer_within_s=_BENCH_DEADLINE_S,
            )  # fmt: skip
            blocks = {number: bytes.fromhex(text) for number, text in answer["blocks"]}
            found[name] = DiskContent(blocks)
        return found

    def cut_power(self, loss: Loss, seed: int) -> None:  # noqa: ARG002  # nothing is drawn
        """Take the power away from the disks: what no flush covered is lost where one may lose it.

        ``Loss.NONE`` loses nothing that has completed.
        """
        caches = disk_caches(self._place.shape)
        volatile = [n for n, c in caches.items() if c is Cache.WRITE_BACK and loss is Loss.ALL]
        self._cuts += 1
        answer = self.guest.call("bench_cut", volatile=volatile, answer_within_s=_BENCH_DEADLINE_S)
        self._take(self.guest, answer["nodes"])

    def settle(self) -> None:
        """Wait until the machine's udev has looked at all that it has heard of."""
        self.guest.run(["udevadm", "settle"], deadline_s=_BENCH_DEADLINE_S)

    def reboot(self) -> None:
        """Refuse: the machine is not ours to be rebooted."""
        raise CommandFailed(f"{self._machine.name}: is not rebooted")

    def unplug(self, disk: str) -> None:
        """Refuse: nobody is there to pull it out."""
        raise CommandFailed(f"{self._machine.name}: {disk} cannot be pulled out")

    def _take(self, guest: Guest, nodes: Mapping[str, str]) -> None:
        self.nodes = nodes
        members = tuple(nodes[name] for name in self._place.shape.member_names)
        server = DiskServer(Path(), Path(), 0)  # nothing is served here
        self.session = Session(
            guest, server, Nodes(members, nodes.get(JOURNAL_NAME)), nodes[MARKS_EXPORT]
        )


def can_cut(facts: Mapping[str, Any]) -> bool:
    """Whether a machine can record what a power cut is made of."""
    return "log-writes" in facts["targets"]


def require_fit(name: str, facts: Mapping[str, Any]) -> None:
    """Refuse a machine that lacks what every story needs.

    Raises:
        BadInput: says what, and what to do.
    """
    if facts["user"] != 0:
        raise BadInput(
            f"--host {name}: is user {facts['user']} there, wanted root\n"
            "next: log in as root, since md and device-mapper take nobody else"
        )
    if facts["md0"]:
        raise BadInput(
            f"--host {name}: has an array md0 of its own, and stories call theirs so\n"
            "next: stop it, or take another machine"
        )
    if facts["mdadm_status"] != 0:
        raise BadInput(f"--host {name}: has no mdadm\nnext: install it there")
    if "linear" not in facts["targets"]:
        raise BadInput(
            f"--host {name}: has no device-mapper\nnext: install dmsetup there, and load dm-mod"
        )
    if not facts["raid456"]:
        raise BadInput(f"--host {name}: its kernel has no raid456\nnext: take another kernel there")


def devices_of(machine: LabMachine, shape: Shape) -> list[str]:
    """Return the disk of the machine's for each of a shape's; empty: a loop device.

    Raises:
        BadInput: there are too few.
    """
    wanted = len(shape.disk_sizes)
    if not machine.disks:
        return [""] * wanted
    if len(machine.disks) < wanted:
        raise BadInput(
            f"--disk: {len(machine.disks)} disks are named, this story takes {wanted}\n"
            f"next: name more, or none, for loop devices"
        )
    return list(machine.disks[:wanted])
