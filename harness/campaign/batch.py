"""Many crash states for one restored guest, recovered one after another."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.campaign.judging import Recovered
from harness.campaign.lab import GuestImage, Say, disk_caches, nodes_by_serial
from harness.crash.content import DiskContent
from harness.crash.trace import Cache, Issue
from harness.errors import GuestLost
from harness.hosts.host import CommandResult
from harness.md.shape import JOURNAL_NAME, Shape
from harness.processes import temporary_folder
from harness.storage.bank import Bank
from harness.storage.disk_server import MARKS_EXPORT, ServedDisk, serving
from harness.storage.images import create_image
from harness.vm.guest import Guest
from harness.vm.machine import GuestDisk, MachineConfig
from harness.vm.saved import restored_guest

DEADLINE_S = 120.0  # of one request to md: a limit against a hang and no expectation
_ANSWER_S = 60.0  # besides
_START_DIRTY_DEGRADED = "/sys/module/md_mod/parameters/start_dirty_degraded"


@dataclass(frozen=True, slots=True, kw_only=True)
class StateToRecover:
    """A crash state for a guest."""

    number: int
    contents: Mapping[str, DiskContent]  # of every disk of the shape, by name
    assemble: tuple[str, ...]  # names of the disks to assemble
    by_mdadm: bool = False  # whether mdadm is asked, or md itself
    read_pages: int = 0  # of the array, from its beginning, to be read back


@dataclass(frozen=True, slots=True)
class RecoveredState:
    """What a kernel did with a state."""

    number: int
    recovered: Recovered
    writes: tuple[Issue, ...]  # up to where the recovery had come to rest
    read: tuple[int, ...] = ()  # zlib.crc32 of each page that was read back
    lost: str = ""  # how the guest was lost over it, if it was

    @property
    def ends_the_guest(self) -> bool:
        """Whether the guest is of no use any more."""
        hung = any(
            command is not None and command.missed_deadline
            for command in (self.recovered.assembled, self.recovered.stopped)
        )
        return hung or bool(self.lost)


class BankGuest:
    """A guest, and the bank that its disks are fed from."""

    def __init__(self, guest: Guest, bank: Bank, nodes: Mapping[str, str]) -> None:
        self._guest = guest
        self._bank = bank
        self._nodes = nodes

    @property
    def pid(self) -> int:
        """QEMU's process id."""
        return self._guest.pid

    def recover(self, states: Sequence[StateToRecover]) -> Iterator[RecoveredState]:
        """Yield what became of each state, up to the first that ends the guest."""
        for state in states:
            self._bank.add(state.number, state.contents)
        asked = [
            {
                "number": state.number, "by_mdadm": state.by_mdadm,
                "read_pages": state.read_pages,
                "nodes": [self._nodes[name] for name in _journal_last(state.assemble)],
            }
            for state in states
        ]  # fmt: skip
        try:
            answer = self._guest.call(
                "recover_states", marks=self._nodes[MARKS_EXPORT], states=asked,
                deadline_s=DEADLINE_S, answer_within_s=2 * DEADLINE_S * len(states) + _ANSWER_S,
            )  # fmt: skip
        except GuestLost as lost:
            yield self._lost(states, lost)
            return
        for state, result in zip(states, answer["results"], strict=False):
            writes = self._bank.take_writes(state.number)
            read = tuple(result.get("read", ()))
            done = RecoveredState(state.number, _recovered(result), writes.settled, read)
            yield done
            if done.ends_the_guest:
                return

    def _lost(self, states: Sequence[StateToRecover], lost: GuestLost) -> RecoveredState:
        """Return which state it was: the last that was begun."""
        begun = [state for state in states if self._bank.was_begun(state.number)]
        number = begun[-1].number if begun else states[0].number
        dead = CommandResult("guest", ("md", "assemble"), None, str(lost), 0.0, "see the console")
        recovered = Recovered(dead, False, None, ())  # noqa: FBT003
        return RecoveredState(number, recovered, (), (), str(lost))


@contextlib.contextmanager
def bank_guest(image: GuestImage, shape: Shape, *, say: Say) -> Iterator[BankGuest]:
    """Run a restored guest whose disks are those of a shape, all of them zeroes at first."""
    caches = disk_caches(shape)
    with temporary_folder(prefix="mdjournal-bank-") as folder:
        bank = folder / "bank"
        bank.mkdir()
        disks = []
        for name, cache in caches.items():
            path = folder / f"{name}.img"
            is_journal = name == JOURNAL_NAME
            create_image(path, shape.journal_disk_bytes if is_journal else shape.member_disk_bytes)
            disks.append(ServedDisk(name=name, image=path, cache=cache))
        with serving(disks, trace=folder / "start.mdjtrace", bank=bank) as server:
            config = MachineConfig(
                kernel_image=image.kernel_image, initramfs=image.initramfs,
                accelerator=image.accelerator, disks=_places(disks, server.socket),
            )  # fmt: skip
            with restored_guest(
                config, identity=image.identity, folder=image.saved_guests,
                console=folder / "console.log", say=say,
            ) as guest:  # fmt: skip
                guest.call("write_file", path="/sys/kernel/rcu_expedited", text="1")
                if not shape.journaled:
                    guest.call("write_file", path=_START_DIRTY_DEGRADED, text="1")
                nodes = nodes_by_serial(guest, (*caches, MARKS_EXPORT))
                yield BankGuest(guest, Bank(bank, list(caches)), nodes)


def _places(disks: Sequence[ServedDisk], socket: Path) -> tuple[GuestDisk, ...]:
    places = [GuestDisk(d.name, d.name, socket, d.cache is Cache.WRITE_BACK) for d in disks]
    return (*places, GuestDisk(MARKS_EXPORT, MARKS_EXPORT, socket, volatile_cache=False))


def _journal_last(names: Sequence[str]) -> list[str]:
    return sorted(names, key=lambda name: name == JOURNAL_NAME)


def _recovered(result: Mapping[str, object]) -> Recovered:
    """Return an agent's answer in the terms that the oracles judge."""
    stack, error = str(result["stack"]), str(result["error"])
    assembled = bool(result["assembled"])
    seconds = float(str(result.get("assemble_s", result["seconds"])))
    hangs_there = bool(stack) and not assembled
    status = None if hangs_there else int(not assembled)
    start = CommandResult(
        "guest", ("md", "assemble"), status, "" if assembled else error, seconds,
        stack if hangs_there else "",
    )  # fmt: skip
    stop = None
    if assembled:
        took = float(str(result["seconds"])) - seconds
        ended = None if stack else int(not result["stopped"])
        stop = CommandResult("guest", ("md", "stop"), ended, error, took, stack)
    lines = result["log"]
    assert isinstance(lines, list)
    return Recovered(start, bool(result["settled"]), stop, tuple(map(str, lines)))
