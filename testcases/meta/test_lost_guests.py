"""A guest that is lost is told apart by how it was lost, and is never a verdict about recovery."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from harness.campaign.lab import Session, session
from harness.errors import (
    CommandFailed,
    DeadlineMissed,
    GuestOopsed,
    GuestPanicked,
    GuestVanished,
)
from harness.hosts.host import CommandResult, Host, run_checked
from harness.md import array as md
from harness.md.shape import JOURNAL_NAME, Shape
from harness.storage.images import create_image
from harness.vm.guest import Guest
from testcases.lab import Lab
from tools.cli import run as run_command

pytestmark = pytest.mark.guest

SYSRQ = "/proc/sysrq-trigger"


@pytest.fixture
def guest_session(lab: Lab, kernel: str) -> Iterator[Session]:
    shape = Shape()
    options = lab.options(kernel, shape, seed=1)
    evidence = lab.evidence()
    images = {name: evidence.path(f"{name}.img") for name in (*shape.member_names, JOURNAL_NAME)}
    for path in images.values():
        create_image(path, shape.member_disk_bytes)
    with session(
        options.image, shape, images, trace=evidence.path("trace"),
        console=evidence.path("console.log"), say=print,
    ) as lab_session:  # fmt: skip
        yield lab_session


def test_a_panic_is_told_with_the_last_console_lines(guest_session: Session) -> None:
    with pytest.raises(GuestPanicked, match="Kernel panic - not syncing"):
        guest_session.guest.write_text(SYSRQ, "c")


def test_a_guest_that_does_not_answer_misses_its_deadline(guest_session: Session) -> None:
    guest_session.guest.stop_cpus()
    with pytest.raises(DeadlineMissed, match="no answer within 2 s"):
        guest_session.guest.call("ping", answer_within_s=2.0)


def test_a_qemu_that_is_killed_has_vanished(guest_session: Session) -> None:
    os.kill(guest_session.guest.pid, signal.SIGKILL)
    with pytest.raises(GuestVanished, match="ended with status -9"):
        guest_session.guest.call("ping")


def test_an_oops_on_the_console_is_told_though_the_guest_answers(guest_session: Session) -> None:
    """The line is made here, by the guest's own kernel log: a packaged kernel cannot be told to."""
    line = "<0>BUG: unable to handle page fault for address: 0000000000000042\n"
    with pytest.raises(GuestOopsed, match="BUG: unable to handle page fault"):
        guest_session.guest.write_text("/dev/kmsg", line)


def test_a_command_that_misses_its_deadline_is_ended_and_says_so(guest_session: Session) -> None:
    result = guest_session.guest.run(["/bin/busybox", "sleep", "1000"], deadline_s=0.5)
    assert result.missed_deadline
    with pytest.raises(CommandFailed, match="busybox sleep 1000"):
        run_checked(guest_session.guest, ["/bin/busybox", "sleep", "1000"], deadline_s=0.5)


def test_a_command_that_fails_prints_itself(guest_session: Session) -> None:
    result = guest_session.guest.run([md.MDADM, "--examine", "/dev/vda"], deadline_s=60)
    assert result.status == 1
    assert "`/sbin/mdadm --examine /dev/vda` (guest) ended with 1" in str(result)
    assert guest_session.guest.run(["/no/such"], deadline_s=10).status == 127


def panic(guest: Guest) -> None:
    guest.write_text(SYSRQ, "c")


def hang(guest: Guest) -> None:
    guest.stop_cpus()
    guest.call("ping", answer_within_s=2.0)


def vanish(guest: Guest) -> None:
    os.kill(guest.pid, signal.SIGKILL)


@pytest.mark.parametrize(
    ("lose", "reason"),
    [
        pytest.param(panic, "its kernel panicked", id="panics"),
        pytest.param(hang, "no answer within", id="hangs"),
        pytest.param(vanish, "QEMU ended", id="vanishes"),
    ],
)
def test_crash_with_a_guest_that_is_lost_in_recovery_exits_3_and_keeps_its_evidence(
    lose: Callable[[Guest], None],
    reason: str,
    kernel: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    real_assemble = md.assemble

    def assemble(host: Host, nodes: Sequence[str]) -> CommandResult:
        assert isinstance(host, Guest)
        lose(host)
        return real_assemble(host, nodes)

    monkeypatch.setattr(md, "assemble", assemble)
    monkeypatch.setenv("MDJOURNAL_RESULTS", str(tmp_path))
    status = run_command(["crash", "--kernel", kernel, "--seed", "1", "--steps", "2"])
    said = capsys.readouterr().err
    assert status == 3
    assert reason in said
    assert "no verdict about recovery" in said
    (kept,) = tmp_path.iterdir()
    assert str(kept) in said
    verdict = json.loads((kept / "verdict.json").read_text())
    assert verdict["verdict"] == "HARNESS_FAILED"
    assert reason in verdict["reason"]
    assert (kept / "console-recovery.log").exists()
    assert (kept / "trace.mdjtrace").stat().st_size > 0
