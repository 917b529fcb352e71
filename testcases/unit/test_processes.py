"""No child process outlives its block, nor the process that started it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

import pytest

from harness import processes
from harness.processes import child, runtime_folder

ROOT = Path(__file__).resolve().parents[2]
LONG_S = 20.0
SOCKET_PATH_BYTES = 107  # sun_path of unix(7), its end byte off

# Starts a child that tells its process id, then waits for ever.
PARENT = """\
import signal
import sys
from pathlib import Path
from harness.processes import child
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
with Path(sys.argv[1]).open("wb") as output:
    with child(["/bin/sh", "-c", "echo $$; exec sleep 1000"], output=output) as process:
        process.wait()
"""
STUBBORN = "trap '' TERM; echo $$; while :; do sleep 0.01; done"


@pytest.fixture
def output(tmp_path: Path) -> Iterator[IO[bytes]]:
    with (tmp_path / "output").open("wb") as file:
        yield file


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LONG_S
    while not condition():
        assert time.monotonic() < deadline, "it does not come about"
        time.sleep(0.002)


def is_gone(pid: int) -> bool:
    """Whether a process has ended, whoever has to reap it."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return True
    return state in "ZX"


def first_number(path: Path) -> int:
    """Wait for the process id that a program prints."""
    wait_until(lambda: path.exists() and path.read_text().endswith("\n"))
    return int(path.read_text())


# The end of a block


def test_a_child_runs_while_the_block_lasts(output: IO[bytes]) -> None:
    with child(["sleep", "1000"], output=output) as process:
        assert process.poll() is None
    assert process.returncode == -signal.SIGTERM
    assert is_gone(process.pid)


def test_a_child_is_ended_when_the_block_fails(output: IO[bytes]) -> None:
    seen: list[subprocess.Popen[bytes]] = []

    def block() -> None:
        with child(["sleep", "1000"], output=output) as process:
            seen.append(process)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        block()
    assert seen[0].returncode == -signal.SIGTERM


def test_a_child_that_ended_before_keeps_its_status(output: IO[bytes]) -> None:
    with child(["/bin/sh", "-c", "exit 7"], output=output) as process:
        process.wait(LONG_S)
    assert process.returncode == 7


def test_a_child_that_ignores_sigterm_is_killed(
    output: IO[bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "TERMINATE_S", 0.1)
    with child(["/bin/sh", "-c", STUBBORN], output=output) as process:
        first_number(tmp_path / "output")  # from here on it ignores SIGTERM
    assert process.returncode == -signal.SIGKILL
    assert is_gone(process.pid)


def test_a_child_is_given_time_to_end_in_order(output: IO[bytes], tmp_path: Path) -> None:
    text = "trap 'echo bye; exit 3' TERM; echo ready; while :; do sleep 0.01; done"
    with child(["/bin/sh", "-c", text], output=output) as process:
        wait_until(lambda: (tmp_path / "output").read_text() == "ready\n")
    assert process.returncode == 3
    assert (tmp_path / "output").read_text() == "ready\nbye\n"


def test_ending_a_process_twice_is_no_error(output: IO[bytes]) -> None:
    with child(["sleep", "1000"], output=output) as process:
        processes.end(process)
        processes.end(process)
    assert process.returncode == -signal.SIGTERM


# What a child gets


def test_both_streams_go_to_the_output_and_nothing_is_read_from_here(
    output: IO[bytes], tmp_path: Path
) -> None:
    with child(["/bin/sh", "-c", "cat; echo out; echo err >&2"], output=output) as process:
        assert process.wait(LONG_S) == 0
    assert (tmp_path / "output").read_text() == "out\nerr\n"


def test_a_child_has_just_the_environment_that_it_is_given(
    output: IO[bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FROM_HERE", "1")
    given = {"PATH": os.environ["PATH"], "GIVEN": "2"}
    show = ["/bin/sh", "-c", 'echo "$FROM_HERE:$GIVEN"']
    with child(show, output=output, environment=given) as process:
        process.wait(LONG_S)
    with child(show, output=output) as process:
        process.wait(LONG_S)
    assert (tmp_path / "output").read_text() == ":2\n1:\n"


def test_the_terminals_ctrl_c_does_not_reach_a_child(output: IO[bytes]) -> None:
    """It goes to the terminal's foreground group, of a session that a child is not in."""
    with child(["sleep", "1000"], output=output) as process:
        assert os.getsid(process.pid) == process.pid
        assert os.getpgid(process.pid) == process.pid


def test_a_command_that_is_not_there_says_so_and_ends(output: IO[bytes], tmp_path: Path) -> None:
    with child(["/nonexistent/qemu"], output=output) as process:
        assert process.wait(LONG_S) != 0
    assert "/nonexistent/qemu" in (tmp_path / "output").read_text()


# The end of the parent


@contextlib.contextmanager
def a_parent(told: Path) -> Iterator[subprocess.Popen[bytes]]:
    parent = subprocess.Popen(
        [sys.executable, "-S", "-B", "-c", PARENT, str(told)],
        env={"PYTHONPATH": str(ROOT), "PATH": os.environ["PATH"]},
        stderr=subprocess.DEVNULL,
    )
    try:
        yield parent
    finally:
        parent.kill()
        parent.wait(LONG_S)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT], ids=["killed", "interrupted"])
def test_a_parent_that_ends_in_whatever_way_takes_its_child_along(
    tmp_path: Path, number: signal.Signals
) -> None:
    told = tmp_path / "told"
    with a_parent(told) as parent:
        pid = first_number(told)
        assert not is_gone(pid)
        parent.send_signal(number)
        parent.wait(LONG_S)
    wait_until(lambda: is_gone(pid))


# The folder for sockets


def test_a_runtime_folder_is_private_short_and_gone_afterwards() -> None:
    with runtime_folder() as folder, runtime_folder() as other:
        assert folder != other
        assert folder.stat().st_mode & 0o777 == 0o700
        (folder / "below").mkdir()
        (folder / "below/file").write_text("x")
    assert not folder.exists()
    assert not other.exists()


def test_a_socket_in_a_runtime_folder_has_a_path_that_fits() -> None:
    with runtime_folder() as folder:
        assert len(os.fsencode(folder / "a-long-name-of-a-socket")) <= SOCKET_PATH_BYTES


def test_a_runtime_folder_is_removed_when_the_block_fails() -> None:
    seen: list[Path] = []

    def block() -> None:
        with runtime_folder() as folder:
            seen.append(folder)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        block()
    assert not seen[0].exists()


def test_a_runtime_folder_that_somebody_removed_is_no_error() -> None:
    with runtime_folder() as folder:
        folder.rmdir()
