"""A running guest: its verbs, and what is said when it does not answer."""

from __future__ import annotations

import contextlib
import re
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from qemu.qmp import QMPError

from harness.errors import CommandFailed, GuestLost, HarnessError
from harness.hosts.host import CommandResult
from harness.processes import child, runtime_folder
from harness.vm.agent_client import AgentClient, AnswerLate, PortClosed
from harness.vm.console import diagnose, has_oops, is_printing_oops
from harness.vm.machine import MachineConfig, MachineSockets, command_line
from harness.vm.monitor import Monitor

# No deadline here is tight: a machine that is busy with other guests is slow, not broken.
BOOT_DEADLINE_S = 180.0
RESTORE_DEADLINE_S = 60.0
ANSWER_DEADLINE_S = 60.0
GRACE_S = 30.0  # what the agent gets to report a command that missed its own deadline
# So many deadlines the agent waits for what keeps the disks at work (kvm_images/guest/patience.py).
MOST_PATIENCE = 5
PLUG_POLL_S = 0.05
OOPS_PRINTED_S = 20.0  # until the last line of an oops is there
_CONSOLE_POLL_S = 0.05
OOPSED_S = 60.0  # what an agent still gets once the kernel has oopsed
PORT_CLOSED_S = 2.0  # QEMU's exit follows the closing of its sockets

_GOING = re.compile("Duplicate device ID|Permission conflict on node")
_FORWARDED = re.compile(r"HOST_FORWARD\]\s+\d+\s+127\.0\.0\.1\s+(\d+)")


def answer_within(deadline_s: float) -> float:
    """Return how long the agent may take to say how something ended that has a deadline."""
    return MOST_PATIENCE * deadline_s + GRACE_S


class Guest:
    """A guest with an agent in it; a `Host` for md commands."""

    name = "guest"

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        agent: AgentClient,
        sockets: MachineSockets,
        console: Path,
    ) -> None:
        self._process = process
        self._agent = agent
        self._sockets = sockets
        self.console = console
        self._monitor: Monitor | None = None
        self._oopsed_at: float | None = None  # when that was seen
        agent.is_hopeless = self._is_hopeless
        self.commands: list[CommandResult] = []  # every command run, for the evidence

    @property
    def pid(self) -> int:
        """QEMU's process id."""
        return self._process.pid

    def call(
        self, verb: str, *, answer_within_s: float = ANSWER_DEADLINE_S, **arguments: object
    ) -> dict[str, Any]:
        """Have the agent do *verb* and return its answer.

        Raises:
            GuestLost: one of its four kinds, with the last lines of the console.
            CommandFailed: the agent answers that it could not.
        """
        try:
            answer = self._agent.call(verb, answer_within_s=answer_within_s, **arguments)
        except (PortClosed, AnswerLate) as silence:
            raise self._lost(f"doing {verb!r}", silence, answer_within_s) from None
        except CommandFailed:
            if has_oops(self.console):  # that is why
                raise self._lost(f"doing {verb!r}", AnswerLate(), answer_within_s) from None
            raise
        if has_oops(self.console):
            raise self._lost(f"doing {verb!r}", AnswerLate(), answer_within_s)
        return answer

    def run(self, argv: Sequence[str], *, deadline_s: float, stdin: str = "") -> CommandResult:
        """Run a command in the guest."""
        answer = self.call(
            "run", argv=list(argv), deadline_s=deadline_s, stdin=stdin,
            answer_within_s=answer_within(deadline_s),
        )  # fmt: skip
        result = CommandResult(
            self.name, tuple(argv), answer["status"], answer["output"], answer["seconds"],
            answer["stack"],
        )  # fmt: skip
        self.commands.append(result)
        return result

    def read_text(self, path: str) -> str:
        """Return a small text file of the guest."""
        return str(self.call("read_file", path=path)["text"])

    def write_text(self, path: str, text: str) -> None:
        """Write a small text file of the guest."""
        self.call("write_file", path=path, text=text)

    def kernel_log(self, *, since: str = "") -> list[str]:
        """Return the lines of the kernel's log, from marker *since* on."""
        return list(self.call("kernel_log", since=since)["lines"])

    def qmp(self, command: str, **arguments: object) -> Any:
        """Have QEMU itself do something, over one connection for all calls.

        An event that QEMU sends while a connection is made fails it, and connecting anew for each
        call meets the one that ends a migration now and then.
        """
        try:
            if self._monitor is None:
                self._monitor = Monitor(self._sockets.qmp)
            return self._monitor.command(command, **arguments)
        except (QMPError, OSError) as error:
            raise HarnessError(f"QEMU: {command}: {error}") from error

    def monitor(self, line: str) -> str:
        """Have QEMU do what its monitor for people takes, where it has nothing else."""
        return str(self.qmp("human-monitor-command", **{"command-line": line}))

    def plug_in(self, device: str, *, deadline_s: float) -> None:
        """Add a device, as `machine.device_of` gives it, to the running guest.

        One of the same name that was there may still be going, with its hold on the disk: QEMU
        says when it was unplugged and not when it is gone.

        Raises:
            HarnessError: QEMU refuses.
        """
        deadline = time.monotonic() + deadline_s
        while said := self.monitor(f"device_add {device}").strip():
            if not _GOING.search(said) or time.monotonic() > deadline:
                raise HarnessError(f"QEMU: device_add {device}: {said}")
            time.sleep(PLUG_POLL_S)

    def forwarded_port(self) -> int:
        """Return the port of this machine that leads to the SSH port of a full guest."""
        said = self.monitor("info usernet")
        if (found := _FORWARDED.search(said)) is None:
            raise HarnessError(f"QEMU: forwards no port: {said.strip()}")
        return int(found[1])

    def ends_within(self, deadline_s: float) -> bool:
        """Wait until QEMU has ended by itself; return whether it has."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(deadline_s)
        return self._process.poll() is not None

    def close(self) -> None:
        """Close the connection to QEMU's monitor, if there is one; QEMU stays as it is."""
        if self._monitor is not None:
            self._monitor.close()
            self._monitor = None

    def stop_cpus(self) -> None:
        """Halt the guest between two instructions; disks keep what they were given."""
        self.qmp("stop")

    def _is_hopeless(self) -> bool:
        """Whether the kernel oopsed a while ago: the agent has had its time to say what hangs."""
        if self._oopsed_at is None and has_oops(self.console):
            self._oopsed_at = time.monotonic()
        return self._oopsed_at is not None and time.monotonic() - self._oopsed_at > OOPSED_S

    def _lost(self, doing: str, silence: Exception, waited_s: float) -> GuestLost:
        # A serial line is slow, and where it went wrong comes behind that it did.
        deadline = time.monotonic() + OOPS_PRINTED_S
        while (
            is_printing_oops(self.console)
            and self._process.poll() is None
            and time.monotonic() < deadline
        ):
            time.sleep(_CONSOLE_POLL_S)
        return _diagnose(self._process, self.console, doing, silence, waited_s)


@contextlib.contextmanager
def running_guest(
    config: MachineConfig,
    *,
    console: Path,
    saved_state: Path | None = None,
    deadline_s: float | None = None,
    began: Callable[[int], None] = lambda _pid: None,
) -> Iterator[Guest]:
    """Boot a guest, or restore it from *saved_state*; QEMU ends with the block.

    *began* is told QEMU's process id before anything is waited for.

    Yields:
        A guest whose agent has answered once.

    Raises:
        GuestLost: it did not come up; the console is in the message.
    """
    if deadline_s is None:
        deadline_s = BOOT_DEADLINE_S if saved_state is None else RESTORE_DEADLINE_S
    doing = "booting" if saved_state is None else "being restored"
    with runtime_folder() as folder, console.open("ab") as log:
        sockets = MachineSockets(folder)
        command = command_line(config, sockets, console, incoming=saved_state)
        with child(command, output=log) as process:
            began(process.pid)
            try:
                agent = AgentClient.connect(
                    sockets.agent, deadline_s=deadline_s, alive=lambda: process.poll() is None
                )
                try:
                    agent.call("ping", answer_within_s=deadline_s)
                    with contextlib.closing(Guest(process, agent, sockets, console)) as guest:
                        yield guest
                finally:
                    agent.close()
            except (PortClosed, AnswerLate) as silence:
                raise _diagnose(process, console, doing, silence, deadline_s) from None


def _diagnose(
    process: subprocess.Popen[bytes],
    console: Path,
    doing: str,
    silence: Exception,
    waited_s: float,
) -> GuestLost:
    if isinstance(silence, PortClosed):
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(PORT_CLOSED_S)
    return diagnose(console, doing=doing, ended=process.poll(), waited_s=waited_s)
