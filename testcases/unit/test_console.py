"""What a console log says of a lost guest, and that a person can use the message."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from harness.errors import (
    EXIT_LOST,
    DeadlineMissed,
    GuestLost,
    GuestOopsed,
    GuestPanicked,
    GuestVanished,
)
from harness.vm.console import LAST_LINES, diagnose, has_oops, is_printing_oops, last_lines

BOOT = """\
[    0.000000] Linux version 6.1.0-37-cloud-amd64 (debian-kernel@lists.debian.org)
[    1.231000] md/raid:md0: raid level 5 active with 3 out of 3 devices, algorithm 2
[    1.232000] md0: detected capacity change from 0 to 65536
"""
PANIC = "[    2.500000] Kernel panic - not syncing: Attempted to kill init! exitcode=0x00000009\n"
OOPS = "[    2.400000] BUG: kernel NULL pointer dereference, address: 0000000000000008\n"

OOPSES = {
    "null-pointer": OOPS,
    "page-fault": "[    9.1] BUG: unable to handle page fault for address: ffffc90000a3d000\n",
    "older-page-fault": "[    9.1] unable to handle kernel paging request at 0000000000000042\n",
    "oops": "[    9.1] Oops: 0002 [#1] PREEMPT SMP NOPTI\n",
    "bug-in-a-file": "[    9.1] kernel BUG at drivers/md/raid5-cache.c:2042!\n",
    "general-protection": "[    9.1] general protection fault, maybe for address 0x1: 0000 [#1]\n",
    "kasan": "[    9.1] BUG: KASAN: slab-use-after-free in r5l_write_stripe+0x1a3/0x5d0\n",
    "kasan-null": "[    9.1] Oops: general protection fault, probably for non-canonical address\n",
    "lockup": "[    9.1] watchdog: BUG: soft lockup - CPU#0 stuck for 26s! [md0_raid5:211]\n",
    "list": "[    9.1][  T211] BUG: kernel list corruption\n",
}


def console_with(folder: Path, text: str) -> Path:
    path = folder / "console.log"
    path.write_text(text)
    return path


def lost(console: Path, *, ended: int | None = None, waited_s: float = 60.0) -> GuestLost:
    return diagnose(console, doing="doing 'run'", ended=ended, waited_s=waited_s)


# The four kinds


def test_a_panic_is_a_panic_whatever_else_happened(tmp_path: Path) -> None:
    console = console_with(tmp_path, BOOT + OOPS + PANIC)
    for ended in (None, 0, -9):
        found = lost(console, ended=ended)
        assert type(found) is GuestPanicked
        assert "(Kernel panic - not syncing: Attempted to kill init!" in str(found)


@pytest.mark.parametrize("line", OOPSES.values(), ids=OOPSES)
def test_every_kind_of_oops_is_an_oops(tmp_path: Path, line: str) -> None:
    console = console_with(tmp_path, BOOT + line + "[   10.0] ---[ end trace ]---\n")
    assert has_oops(console)
    for ended in (None, 1):
        assert type(lost(console, ended=ended)) is GuestOopsed


def test_the_first_oops_is_the_one_that_is_quoted(tmp_path: Path) -> None:
    console = console_with(tmp_path, BOOT + OOPS + OOPSES["oops"])
    assert "oopsed (BUG: kernel NULL pointer dereference, address: 0" in str(lost(console))


def test_an_oops_says_in_which_function_of_the_kernel_it_was(tmp_path: Path) -> None:
    rip = (
        "[ 9.2] RIP: 0010:r5c_flush_stripe+0x22/0x50 [raid456]\n[ 9.3] RIP: 0010:do_exit+0x8/0x9\n"
    )
    console = console_with(tmp_path, BOOT + OOPSES["bug-in-a-file"] + rip)
    assert "oopsed (kernel BUG at drivers/md/raid5-cache.c:2042! in r5c_flush_stripe) while" in str(
        lost(console)
    )
    user = console_with(tmp_path, BOOT + OOPSES["oops"] + "[ 9.2] RIP: 0033:0x5ae19b\n")
    assert "SMP NOPTI) while" in str(lost(user))


def test_a_quiet_console_of_a_running_qemu_is_a_missed_deadline(tmp_path: Path) -> None:
    found = lost(console_with(tmp_path, BOOT), waited_s=2.0)
    assert type(found) is DeadlineMissed
    assert str(found).startswith("guest: no answer within 2 s while doing 'run'; console (")


@pytest.mark.parametrize("ended", [0, 1, 127])
def test_an_ended_qemu_has_vanished_even_with_status_zero(tmp_path: Path, ended: int) -> None:
    found = lost(console_with(tmp_path, BOOT), ended=ended)
    assert type(found) is GuestVanished
    assert f"QEMU ended with status {ended} while doing 'run'" in str(found)


def test_a_qemu_that_a_signal_ended_names_it(tmp_path: Path) -> None:
    found = lost(console_with(tmp_path, BOOT), ended=-signal.SIGKILL)
    assert type(found) is GuestVanished
    assert "SIGKILL" in str(found)


def test_a_signal_without_a_name_is_still_told(tmp_path: Path) -> None:
    assert "-63" in str(lost(console_with(tmp_path, BOOT), ended=-63))


def test_every_kind_ends_a_program_as_lost(tmp_path: Path) -> None:
    for text, ended in ((PANIC, None), (OOPS, None), (BOOT, 1), (BOOT, None)):
        assert lost(console_with(tmp_path, text), ended=ended).exit_status == EXIT_LOST


@pytest.mark.parametrize(
    "line",
    [
        pytest.param("[    1.0] DEBUG: nothing happened\n", id="debug"),
        pytest.param("[    1.0] md0: bitmap file: LOOPS: 3\n", id="loops"),
        pytest.param("[    1.0] WARNING: CPU: 0 PID: 1 at fs/inode.c:1\n", id="warning"),
        pytest.param("[    1.0] This architecture does not have kernel memory protection.\n",
                     id="protection"),
        pytest.param("[    1.0] debugfs: BUG-free\n", id="bug-free"),
    ],
)  # fmt: skip
def test_a_line_that_only_looks_like_an_oops_is_none(tmp_path: Path, line: str) -> None:
    console = console_with(tmp_path, BOOT + line)
    assert not has_oops(console)
    assert type(lost(console)) is DeadlineMissed


def test_a_panic_long_ago_is_still_seen(tmp_path: Path) -> None:
    noise = "".join(f"[    3.{n:06}] rcu: line {n}\n" for n in range(5000))
    assert type(lost(console_with(tmp_path, PANIC + noise))) is GuestPanicked


# The message


def test_the_message_has_the_last_lines_and_where_all_of_them_are(tmp_path: Path) -> None:
    lines = [f"[    1.{n:06}] line {n}" for n in range(50)]
    console = console_with(tmp_path, "\n".join(lines) + "\n")
    head, *shown = str(lost(console)).splitlines()
    assert str(console) in head
    assert shown == [f"  | {line}" for line in lines[-LAST_LINES:]]


def test_a_console_without_a_line_says_so(tmp_path: Path) -> None:
    assert str(lost(console_with(tmp_path, "\n\r\n"))).splitlines()[1:] == ["  | (nothing)"]


def test_a_console_that_is_not_there_is_like_an_empty_one(tmp_path: Path) -> None:
    missing = tmp_path / "console.log"
    assert last_lines(missing) == []
    assert not has_oops(missing)
    assert type(lost(missing)) is DeadlineMissed
    assert type(lost(missing, ended=1)) is GuestVanished


def test_a_quoted_line_loses_its_time_and_nothing_else(tmp_path: Path) -> None:
    line = "[    2.5][   T12] BUG: unable to handle page fault [0x10] in md0 [raid5]\n"
    said = str(lost(console_with(tmp_path, line)))
    assert "(BUG: unable to handle page fault [0x10] in md0 [raid5])" in said


def test_a_quoted_line_without_a_time_is_whole(tmp_path: Path) -> None:
    line = "BUG: unable to handle page fault [0x10] in md0\n"
    said = str(lost(console_with(tmp_path, line)))
    assert "(BUG: unable to handle page fault [0x10] in md0)" in said


# The last lines


def test_last_lines_are_without_empty_ones_and_line_ends(tmp_path: Path) -> None:
    console = console_with(tmp_path, "one\r\n\r\n  \ntwo  \nthree")
    assert last_lines(console) == ["one", "two", "three"]
    assert last_lines(console, 2) == ["two", "three"]


def test_bytes_that_are_no_text_do_no_harm(tmp_path: Path) -> None:
    console = tmp_path / "console.log"
    console.write_bytes(b"\xff\xfe garbage\n\x00\x1b[2J" + PANIC.encode())
    assert type(lost(console)) is GuestPanicked


def test_an_oops_is_named_by_its_own_function_and_not_by_that_of_a_warning_before(
    tmp_path: Path,
) -> None:
    console = tmp_path / "console.log"
    lines = [
        "WARNING: CPU: 0 PID: 1 at drivers/md/raid5-cache.c:2131 r5l_start+0xc30/0x10d0 [raid456]",
        "RIP: 0010:r5l_start+0xc30/0x10d0 [raid456]",
        "kernel BUG at drivers/md/raid5-cache.c:1072!",
        "RIP: 0010:r5l_write_stripe+0x1/0x2 [raid456]",
    ]
    console.write_text("\n".join(lines))
    lost = diagnose(console, doing="'recover_states'", ended=None, waited_s=1.0)
    assert "(kernel BUG at drivers/md/raid5-cache.c:1072! in r5l_write_stripe)" in str(lost)


@pytest.mark.parametrize(
    ("lines", "prints"),
    [
        (["md: hello"], False),
        (["kernel BUG at drivers/md/raid5-cache.c:453!", "Oops: invalid opcode"], True),
        (["Oops: 0000 [#1]", "RIP: 0010:r5l_start+0x1/0x2", "---[ end trace 00 ]---"], False),
        (["---[ end trace 00 ]---", "Oops: 0000 [#2]"], True),
    ],
)
def test_an_oops_is_over_with_its_last_line(lines: list[str], prints: bool, tmp_path: Path) -> None:
    console = tmp_path / "console.log"
    console.write_text("\n".join(lines))
    assert is_printing_oops(console) is prints
