"""The command line: every end of a subcommand is a status and a line, and where things are kept."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import click
import pytest

from harness.errors import GuestLost, Unavailable
from harness.storage.directories import cache_root, results_root
from tools import cli

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [signal.getsignal(number) for number in numbers]
    yield
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)


# The end of a subcommand


def fails_with(error: BaseException) -> Callable[[], None]:
    def body() -> None:
        raise error

    return body


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        pytest.param(lambda: None, 0, "", id="done"),
        pytest.param(lambda: 1, 1, "", id="differs"),
        pytest.param(
            fails_with(Unavailable("no disk")), 2, "mdjournal dump: no disk\n", id="unavailable"
        ),
        pytest.param(fails_with(GuestLost("gone")), 3, "mdjournal dump: gone\n", id="guest-lost"),
        pytest.param(
            fails_with(OSError(errno.ENOSPC, "No space left on device", "out.img")),
            2,
            "mdjournal dump: out.img: No space left on device\n",
            id="disk-full",
        ),
        pytest.param(fails_with(KeyboardInterrupt()), 130, "", id="interrupted"),
    ],
)
def test_an_end_of_a_subcommand_is_a_status_and_a_line(
    body: Callable[[], int | None],
    status: int,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    module = ModuleType("stand_in")
    module.command = click.Command("dump", callback=body)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "stand_in", module)
    monkeypatch.setitem(cli.SUBCOMMANDS, "dump", ("stand_in:command", ""))
    assert cli.run(["dump"]) == status
    assert capsys.readouterr() == ("", said)


def test_misuse_is_explained(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["crahs"]) == 2
    assert "No such command 'crahs'" in capsys.readouterr().err


def test_help_imports_no_subcommand() -> None:
    program = (
        "import sys; from tools import cli; assert cli.run(['--help']) == 0;"
        "print(*(place.partition(':')[0] in sys.modules for place, _ in cli.SUBCOMMANDS.values()))"
    )
    said = run_python("-c", program).stdout
    assert all(f"  {name} " in said for name in cli.SUBCOMMANDS)
    assert set(said.splitlines()[-1].split()) == {"False"}


def test_nobody_reading_is_no_traceback() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    ended = run_python("-m", "tools.cli", "--help", stdout=writer)
    os.close(writer)
    assert (ended.returncode, ended.stderr) == (128 + signal.SIGPIPE, "")


def run_python(*arguments: str, stdout: int = subprocess.PIPE) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-P", *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[..., object]], None]:
    """Give what puts a function in the place of `mdjournal dump`."""

    def put(body: Callable[..., object]) -> None:
        module = ModuleType("stand_in")
        module.command = click.Command("dump", callback=body)  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "stand_in", module)
        monkeypatch.setitem(cli.SUBCOMMANDS, "dump", ("stand_in:command", ""))

    return put


Put = Callable[[Callable[..., object]], None]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_ends_a_subcommand_with_all_its_cleaning_up(
    stand_in: Put, number: signal.Signals, capsys: pytest.CaptureFixture[str]
) -> None:
    cleaned = []

    def body() -> None:
        try:
            signal.raise_signal(number)
        finally:
            cleaned.append(number)

    # A process may inherit that it is to ignore one of them, as below nohup.
    default = signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
    before = signal.signal(number, default)
    stand_in(body)
    try:
        assert cli.run(["dump"]) == 130
    finally:
        signal.signal(number, before)
    assert cleaned == [number]
    assert capsys.readouterr() == ("", "")


def test_a_lost_terminal_does_not_end_what_was_started_with_nohup(stand_in: Put) -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    stand_in(lambda: signal.raise_signal(signal.SIGHUP))
    assert cli.run(["dump"]) == 0


def test_a_signal_that_the_launcher_held_back_is_heard(stand_in: Put) -> None:
    stand_in(lambda: None)
    signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGTERM,))
    try:
        signal.raise_signal(signal.SIGTERM)
        assert cli.run(["dump"]) == 130
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGTERM,))


def test_a_fault_of_our_own_is_not_hidden(stand_in: Put) -> None:
    for error in (OSError(errno.EINVAL, "Invalid argument"), ValueError("ours"), KeyError("x")):
        stand_in(fails_with(error))
        with pytest.raises(type(error)):
            cli.run(["dump"])


def test_an_error_of_the_system_without_a_file_is_a_line_all_the_same(
    stand_in: Put, capsys: pytest.CaptureFixture[str]
) -> None:
    stand_in(fails_with(OSError(errno.EACCES, "Permission denied")))
    assert cli.run(["dump"]) == 2
    assert capsys.readouterr().err == "mdjournal dump: Permission denied\n"


@pytest.mark.parametrize(("returned", "status"), [(None, 0), (0, 0), (1, 1), (3, 3), ("text", 0)])
def test_what_a_subcommand_returns_is_its_status_if_it_is_a_number(
    stand_in: Put, returned: object, status: int
) -> None:
    stand_in(lambda: returned)
    assert cli.run(["dump"]) == status


def test_a_place_that_holds_no_command_is_a_fault_of_our_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(cli.SUBCOMMANDS, "dump", ("harness.errors:HarnessError", ""))
    with pytest.raises(TypeError, match="no click command"):
        cli.run(["dump"])


def test_help_and_version_are_done(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["--version"]) == 0
    assert capsys.readouterr().out == f"mdjournal, version {cli.VERSION}\n"
    assert cli.run(["--help"]) == 0
    assert "Usage: mdjournal" in capsys.readouterr().out


@pytest.mark.parametrize("name", cli.SUBCOMMANDS)
def test_every_subcommand_is_where_it_is_said_to_be(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run([name, "--help"]) == 0
    assert capsys.readouterr().out.startswith(f"Usage: mdjournal {name} ")


# Directories


def test_own_variables_come_before_xdg(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MDJOURNAL_CACHE", "MDJOURNAL_RESULTS", "XDG_CACHE_HOME", "XDG_STATE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_root() == tmp_path / ".cache/mdjournal"
    assert results_root() == tmp_path / ".local/state/mdjournal/results"
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg/cache")
    monkeypatch.setenv("XDG_STATE_HOME", "/xdg/state")
    assert cache_root() == Path("/xdg/cache/mdjournal")
    assert results_root() == Path("/xdg/state/mdjournal/results")
    monkeypatch.setenv("MDJOURNAL_CACHE", "/own/cache")
    monkeypatch.setenv("MDJOURNAL_RESULTS", "/own/results")
    assert cache_root() == Path("/own/cache")
    assert results_root() == Path("/own/results")


def test_a_relative_xdg_variable_is_ignored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MDJOURNAL_CACHE", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert cache_root() == tmp_path / ".cache/mdjournal"
