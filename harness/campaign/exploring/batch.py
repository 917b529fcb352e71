"""A restored guest whose disks are fed from a bank: it recovers states, or does work on them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from harness.campaign.judging import Recovered, complaints_in
from harness.campaign.lab import (
    GuestImage,
    Say,
    Session,
    disk_caches,
    guest_disks,
    ready_disks,
    served_disk,
)
from harness.campaign.recording import WORKLOAD_BEGINS, WORKLOAD_ENDS
from harness.campaign.steps import run_workload
from harness.crash.content import DiskContent
from harness.crash.trace import Event, Issue
from harness.crash.workload import JournalMode, Workload
from harness.errors import GuestLost
from harness.hosts.host import CommandResult
from harness.md import array as md
from harness.md.shape import JOURNAL_NAME, Shape
from harness.processes import temporary_folder
from harness.storage.bank import Bank
from harness.storage.disk_server import MARKS_EXPORT, DiskServer, serving
from harness.storage.images import create_image
from harness.vm.guest import Guest, answer_within
from harness.vm.machine import MachineConfig
from harness.vm.saved import restored_guest

DEADLINE_S = 120.0  # of one request to md: a limit against a hang and no expectation
_START_DIRTY_DEGRADED = "/sys/module/md_mod/parameters/start_dirty_degraded"
# So that md takes discards at all; the disks here do read zeroes afterwards.


@dataclass(frozen=True, slots=True, kw_only=True)
class Looks:
    """What is looked at when a state has been recovered."""

    read_pages: tuple[int, ...] = ()  # of the array, to be read back
    check_sectors: int = 0  # of each member, for md's own check
    again: bool = False  # recover what recovery made of it
    without: tuple[tuple[str, ...], ...] = ()  # disks to leave out, and read back once more


@dataclass(frozen=True, slots=True, kw_only=True)
class StateToRecover:
    """A crash state for a guest."""

    number: int
    contents: Mapping[str, DiskContent]  # of every disk of the shape, by name
    assemble: tuple[str, ...]  # names of the disks to assemble
    by_mdadm: bool = False  # whether mdadm is asked, or md itself
    looks: Looks = Looks()
    deadline_s: float = 0.0  # of each request to md; 0: `DEADLINE_S`


@dataclass(frozen=True, slots=True)
class ReadBack:
    """What an array was read as with some of its disks left out."""

    without: tuple[str, ...]
    recovered: Recovered
    read: tuple[int, ...]  # zlib.crc32 of each page; empty where it could not be read


@dataclass(frozen=True, slots=True)
class RecoveredState:
    """What a kernel did with a state."""

    number: int
    recovered: Recovered
    writes: tuple[Issue, ...] = ()  # up to where the recovery had come to rest
    read: tuple[int, ...] = ()  # zlib.crc32 of each page that was read back
    mismatch_sectors: int | None = None  # by md's check
    second: Recovered | None = None
    writes_of_second: tuple[Issue, ...] = ()
    degraded: tuple[ReadBack, ...] = ()
    events: tuple[Event, ...] = field(default=(), repr=False)  # all of the recovery
    lost: str = ""  # how the guest was lost over it, if it was
    refused: CommandResult | None = None  # by mdadm, before md itself was asked
    stays: bool = False  # the array, whatever was tried

    @property
    def ends_the_guest(self) -> bool:
        """Whether the guest is of no use any more: also where its kernel has complained, for what
        is wrong in it then (a slab that could not be given back, say) others would pay for.
        """
        second = () if self.second is None else (self.second,)
        every = (self.recovered, *second, *(each.recovered for each in self.degraded))
        complained = any(complaints_in(recovered.kernel_log) for recovered in every)
        return self.stays or bool(self.lost) or complained


class BankGuest:
    """A guest, and the bank that its disks are fed from."""

    def __init__(
        self, guest: Guest, server: DiskServer, bank: Bank, nodes: Mapping[str, str]
    ) -> None:
        self._guest = guest
        self._server = server
        self._bank = bank
        self._nodes = nodes

    @property
    def pid(self) -> int:
        """QEMU's process id."""
        return self._guest.pid

    def recover(self, states: Sequence[StateToRecover]) -> Iterator[RecoveredState]:
        """Yield what became of each state, up to the first that ends the guest."""
        if not states:  # the guest before this one was lost over its last state
            return
        for state in states:
            self._bank.add(state.number, state.contents)
        asked = [self._asked(state) for state in states]
        deadline_s = max(state.deadline_s or DEADLINE_S for state in states)
        try:
            answer = self._guest.call(
                "recover_states", marks=self._nodes[MARKS_EXPORT], states=asked,
                deadline_s=deadline_s, answer_within_s=answer_within(2 * DEADLINE_S * len(states)),
            )  # fmt: skip
        except GuestLost as lost:
            yield self._lost(states, lost)
            return
        for state, result in zip(states, answer["results"], strict=False):
            done = self._done(state, result)
            yield done
            if done.ends_the_guest:
                return

    def record(
        self,
        number: int,
        contents: Mapping[str, DiskContent],
        mode: JournalMode,
        workload: Workload,
        *,
        last: int,
    ) -> tuple[Event, ...]:
        """Run a workload on an array that is put on the disks; return all that they were asked.

        Raises:
            HarnessError: as `run_workload`; also where the array does not stop afterwards. The
                guest is then of no use any more.
        """
        self._bank.add(number, contents)
        members = tuple(self._nodes[name] for name in contents if name != JOURNAL_NAME)
        nodes = md.Nodes(members, self._nodes.get(JOURNAL_NAME))
        marks = self._nodes[MARKS_EXPORT]
        self._guest.call(
            "put_state", marks=marks, number=number, nodes=nodes.every, deadline_s=DEADLINE_S,
            answer_within_s=answer_within(2 * DEADLINE_S),
        )  # fmt: skip
        if nodes.journal is not None:
            md.set_journal_mode(self._guest, mode)
        self._guest.call("mark", node=marks, text=WORKLOAD_BEGINS)
        run_workload(Session(self._guest, self._server, nodes, marks), workload, last=last)
        self._guest.call("mark", node=marks, text=WORKLOAD_ENDS)
        self._guest.call(
            "put_away",
            marks=marks,
            deadline_s=DEADLINE_S,
            answer_within_s=answer_within(DEADLINE_S),
        )
        return self._bank.take_trace(number).trace.events

    def _asked(self, state: StateToRecover) -> dict[str, object]:
        looks = state.looks
        return {
            "number": state.number, "by_mdadm": state.by_mdadm,
            "nodes": [self._nodes[name] for name in _journal_last(state.assemble)],
            "read_pages": looks.read_pages, "check_sectors": looks.check_sectors,
            "again": looks.again,
            "without": [[self._nodes[name] for name in names] for names in looks.without],
        }  # fmt: skip

    def _done(self, state: StateToRecover, result: Mapping[str, object]) -> RecoveredState:
        traced = self._bank.take_trace(state.number)
        second, degraded = result.get("second"), result.get("degraded", ())
        assert isinstance(degraded, Sequence)
        mismatches = result.get("mismatch_sectors")
        return RecoveredState(
            state.number, _recovered(result), traced.writes, _numbers(result.get("read", ())),
            None if mismatches is None else int(str(mismatches)),
            _recovered(second) if isinstance(second, Mapping) else None, traced.writes_of_second,
            tuple(
                ReadBack(names, _recovered(each), _numbers(each.get("read", ())))
                for names, each in zip(state.looks.without, degraded, strict=False)
            ),
            traced.recovery, refused=_refusal(result), stays=bool(result["ends_the_guest"]),
        )  # fmt: skip

    def _lost(self, states: Sequence[StateToRecover], lost: GuestLost) -> RecoveredState:
        """Return which state it was: the last that was begun."""
        begun = [state for state in states if self._bank.was_begun(state.number)]
        number = begun[-1].number if begun else states[0].number
        how, _, _ = str(lost).partition("; console (")  # of which the place is another each time
        console = "\n".join(str(lost).splitlines()[1:]) or "see the console"
        dead = CommandResult("guest", ("md", "assemble"), None, how, 0.0, console)
        recovered = Recovered(assembled=dead, settled=False, stopped=None, kernel_log=())
        return RecoveredState(number, recovered, lost=str(lost))


@contextlib.contextmanager
def bank_guest(image: GuestImage, shape: Shape, *, say: Say) -> Iterator[BankGuest]:
    """Run a restored guest whose disks are those of a shape, all of them zeroes at first."""
    caches = disk_caches(shape)
    with temporary_folder(prefix="mdjournal-bank-") as folder:
        bank = folder / "bank"
        bank.mkdir()
        disks = []
        for name in caches:
            path = folder / f"{name}.img"
            create_image(path, shape.disk_sizes[name])
            disks.append(served_disk(shape, name, path))
        with serving(disks, trace=folder / "start.mdjtrace", bank=bank) as server:
            config = MachineConfig(
                kernel_image=image.kernel_image, initramfs=image.initramfs,
                accelerator=image.accelerator, disks=guest_disks(shape, disks, server.socket),
                memory_mib=image.memory_mib,
            )  # fmt: skip
            with restored_guest(
                config, identity=image.identity, folder=image.saved_guests,
                console=folder / "console.log", say=say,
            ) as guest:  # fmt: skip
                guest.call("write_file", path="/sys/kernel/rcu_expedited", text="1")
                if not shape.journaled:
                    guest.call("write_file", path=_START_DIRTY_DEGRADED, text="1")
                nodes = ready_disks(guest, shape, tuple(caches))
                yield BankGuest(guest, server, Bank(bank, list(caches)), nodes)


def _journal_last(names: Sequence[str]) -> list[str]:
    return sorted(names, key=lambda name: name == JOURNAL_NAME)


def _refusal(result: Mapping[str, object]) -> CommandResult | None:
    if not (said := str(result["refused"])):
        return None
    return CommandResult("guest", ("mdadm", "--assemble"), 1, said, 0.0)


def _numbers(values: object) -> tuple[int, ...]:
    assert isinstance(values, Sequence)
    return tuple(map(int, values))


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
        doing = str(result["doing"])
        ended = None if stack else int(not result["stopped"])
        stop = CommandResult("guest", ("md", doing), ended, error, took, stack)
    lines = result["log"]
    assert isinstance(lines, list)
    return Recovered(start, bool(result["settled"]), stop, tuple(map(str, lines)))
