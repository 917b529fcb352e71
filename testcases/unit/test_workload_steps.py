"""Steps of a workload reach who does them, in their order, and are marked in the trace."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import pytest

from harness.campaign.lab import Session
from harness.campaign.steps import run_workload
from harness.crash.pattern import Fill
from harness.crash.workload import (
    Area,
    FailJournal,
    FailMember,
    FlushStep,
    JournalMode,
    Restart,
    Step,
    StopArray,
    SwitchMode,
    Workload,
    Write,
    WriteStep,
    random_workload,
)
from harness.errors import CommandFailed, StepHangs
from harness.hosts.host import CommandResult
from harness.md import array as md
from harness.ondisk.units import ArraySector
from harness.storage.disk_server import DiskServer
from harness.verdict.durability import JOURNAL_FAILED
from harness.vm.guest import Guest

NODES = md.Nodes(("/dev/vda", "/dev/vdc", "/dev/vdb"), "/dev/vdd")
FAIL = FailMember(1)
FAILS = ("/sbin/mdadm", "/dev/md0", "--fail", "/dev/vdc")
STOPS = ("/sbin/mdadm", "--stop", "/dev/md0")


class FakeGuest:
    """Does nothing and remembers all of it."""

    name = "guest"

    def __init__(self, status: int | None = 0) -> None:
        self.asked: list[tuple[str, Any]] = []
        self._status = status
        self.failed: list[int] = []
        self.hung = ""

    def call(self, verb: str, **arguments: Any) -> Any:
        """Answer as the agent does."""
        if verb == "mark":
            self.asked.append(("mark", arguments["text"]))
            return {}
        self.asked.append((verb, arguments))
        numbers = [row[0] for step in arguments["steps"] for row in step.get("writes", ())]
        last = max([arguments["last"], *numbers])
        return {"last": last, "failed": self.failed, "hung": self.hung}

    def write_text(self, path: str, text: str) -> None:
        """Write nothing."""
        self.asked.append(("write", (path, text)))

    def run(self, argv: Sequence[str], **_: Any) -> CommandResult:
        """End as it was told to."""
        self.asked.append(("run", tuple(argv)))
        return CommandResult(self.name, tuple(argv), self._status, "", 0.1)


def asked(*steps: Step, fill: Fill = Fill.STREAM, status: int | None = 0) -> list[tuple[str, Any]]:
    return asked_of(FakeGuest(status), *steps, fill=fill)


def asked_of(guest: FakeGuest, *steps: Step, fill: Fill = Fill.STREAM) -> list[tuple[str, Any]]:
    server = DiskServer(Path("nbd"), Path("trace"), 1)
    lab = Session(cast("Guest", guest), server, NODES, "/dev/vde")
    run_workload(lab, Workload(7, steps, fill))
    return guest.asked


def write(number: int) -> WriteStep:
    return WriteStep((Write(number, ArraySector(8 * number), 8),))


def workloads(found: list[tuple[str, Any]]) -> list[dict[str, Any]]:
    return [arguments for verb, arguments in found if verb == "workload"]


def test_reads_and_writes_go_to_the_agent_in_one_call() -> None:
    (only,) = asked(write(1), FlushStep(), write(2))
    assert only[0] == "workload"
    assert [step["do"] for step in only[1]["steps"]] == ["write", "flush", "write"]
    assert (only[1]["array"], only[1]["marks"], only[1]["seed"]) == ("/dev/md0", "/dev/vde", 7)


def test_a_member_fails_between_the_writes_around_it() -> None:
    found = asked(write(1), FAIL, write(2))
    assert [verb for verb, _ in found] == ["workload", "run", "mark", "workload"]
    assert found[1:3] == [("run", FAILS), ("mark", "failed member 1")]


def test_the_agent_is_told_the_last_write_so_far() -> None:
    """A flush alone acknowledges what was written before the step between them."""
    found = workloads(asked(write(4), FAIL, FlushStep(), FAIL, write(5)))
    assert [call["last"] for call in found] == [0, 4, 4]


def test_two_members_fail_one_after_the_other() -> None:
    found = asked(FailMember(0), FailMember(2))
    commands = [argument for verb, argument in found if verb == "run"]
    assert [command[-1] for command in commands] == ["/dev/vda", "/dev/vdb"]
    assert [a for v, a in found if v == "mark"] == ["failed member 0", "failed member 2"]


def test_an_array_is_stopped_with_mdadm() -> None:
    found = asked(write(1), StopArray())
    assert found[1:] == [("run", STOPS), ("mark", "stopped")]


@pytest.mark.parametrize("status", [1, None], ids=["refused", "hangs"])
@pytest.mark.parametrize("step", [FAIL, StopArray()], ids=["fail", "stop"])
def test_a_step_that_mdadm_cannot_do_ends_the_recording(step: Step, status: int | None) -> None:
    with pytest.raises((CommandFailed, StepHangs), match="mdadm"):
        asked(step, status=status)


def test_a_mode_is_switched_in_sysfs_and_marked() -> None:
    guest = FakeGuest()
    asked_of(guest, SwitchMode(JournalMode.WRITE_BACK))
    assert guest.asked == [
        ("write", ("/sys/block/md0/md/journal_mode", "write-back")),
        ("mark", "journal_mode write-back"),
    ]


def test_a_journal_that_fails_is_marked_before_it_does() -> None:
    found = asked(FailJournal())
    assert found == [
        ("mark", JOURNAL_FAILED),
        ("run", ("/sbin/mdadm", "/dev/md0", "--fail", "/dev/vdd")),
        ("mark", "the journal has failed"),
    ]


def test_a_restart_assembles_what_has_not_failed() -> None:
    found = asked(FAIL, Restart())
    assert [argument for verb, argument in found if verb == "run"] == [
        FAILS, STOPS, ("/sbin/mdadm", "--assemble", "/dev/md0", "/dev/vda", "/dev/vdb", "/dev/vdd"),
    ]  # fmt: skip
    assert found[-1] == ("mark", "stopped and assembled")


def test_a_write_may_fail_once_the_journal_has() -> None:
    guest = FakeGuest()
    guest.failed = [2]
    with pytest.raises(CommandFailed, match="write 2 of the workload failed"):
        asked_of(guest, write(2))
    asked_of(guest, FailJournal(), write(2))


def test_a_step_that_hangs_is_told_with_its_stacks() -> None:
    guest = FakeGuest()
    guest.hung = "the request:\nr5l_write_stripe"
    with pytest.raises(StepHangs, match="r5l_write_stripe"):
        asked_of(guest, write(1))


# Fills


@pytest.mark.parametrize("fill", Fill)
def test_the_agent_is_told_how_sectors_are_filled(fill: Fill) -> None:
    (call,) = workloads(asked(write(1), fill=fill))
    assert Fill(call["fill"]) is fill


def test_a_fill_changes_nothing_of_where_a_workload_writes() -> None:
    area = Area(16, 2, 1024)
    plain = random_workload(area, seed=3, steps=5, fill=Fill.PLAIN)
    stream = random_workload(area, seed=3, steps=5)
    assert (plain.fill, stream.fill) == (Fill.PLAIN, Fill.STREAM)
    assert plain.steps == stream.steps
