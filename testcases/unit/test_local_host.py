"""Commands on this machine and behind SSH end alike: with a status, their output, or a deadline."""

from __future__ import annotations

import io
import shlex
from pathlib import Path
from typing import Any, cast

import pytest
from invoke.exceptions import CommandTimedOut
from invoke.runners import Result

from harness.errors import EXIT_LOST, CommandFailed
from harness.hosts.host import CommandResult, Host, run_checked
from harness.hosts.local import LocalHost
from harness.hosts.ssh import SshHost

SOON_S = 0.1
LONG_S = 20.0


def shell(text: str, *, deadline_s: float = LONG_S, stdin: str = "") -> CommandResult:
    return LocalHost().run(["/bin/sh", "-c", text], deadline_s=deadline_s, stdin=stdin)


# How a result reads


RESULT = CommandResult("guest", ("mdadm", "--name=a b"), 2, "one\nmdadm: two\n\n", 0.25)


def test_a_result_reads_as_the_command_and_its_last_line() -> None:
    assert str(RESULT) == "`mdadm '--name=a b'` (guest) ended with 2 after 0.2 s: mdadm: two"


def test_a_silent_result_reads_without_a_line() -> None:
    quiet = CommandResult("guest", ("true",), 0, " \n", 1.0)
    assert str(quiet) == "`true` (guest) ended with 0 after 1.0 s"


def test_a_command_that_did_not_end_says_so() -> None:
    left = CommandResult("guest", ("mdadm", "--stop"), None, "", 120.0, "md_stop+0x10")
    assert str(left) == "`mdadm --stop` (guest) did not end after 120.0 s"
    assert left.missed_deadline


def test_a_command_that_was_killed_at_its_deadline_missed_it() -> None:
    assert CommandResult("guest", ("sleep",), -9, "", 1.0, "not in the kernel").missed_deadline
    assert not RESULT.missed_deadline


class FixedHost:
    """A host on which every command ends alike."""

    name = "guest"

    def __init__(self, result: CommandResult) -> None:
        self.result = result
        self.asked: list[object] = []

    def run(self, argv: object, *, deadline_s: float, stdin: str = "") -> CommandResult:
        """Return the result."""
        self.asked.append((argv, deadline_s, stdin))
        return self.result

    def read_text(self, path: str) -> str:
        """Return the path."""
        return path

    def write_text(self, path: str, text: str) -> None:
        """Remember what was written."""
        self.asked.append((path, text))


@pytest.mark.parametrize(
    "result",
    [
        RESULT,
        CommandResult("guest", ("a",), -9, "", 1.0, "stack"),
        CommandResult("guest", ("a",), None, "", 1.0),
        CommandResult("guest", ("a",), 0, "", 1.0, "stack"),
    ],
    ids=["status", "killed", "left", "zero-but-late"],
)
def test_a_command_that_must_succeed_fails_with_its_own_words(result: CommandResult) -> None:
    with pytest.raises(CommandFailed) as raised:
        run_checked(FixedHost(result), ["x"], deadline_s=1)
    assert str(raised.value) == str(result)
    assert raised.value.exit_status == EXIT_LOST


def test_a_command_that_succeeds_gives_its_result() -> None:
    fine = CommandResult("guest", ("a",), 0, "said", 1.0)
    host = FixedHost(fine)
    assert run_checked(host, ["a"], deadline_s=7, stdin="x") is fine
    assert host.asked == [(["a"], 7, "x")]


# This machine


def test_status_and_both_streams_come_back() -> None:
    done = shell("echo out; echo err >&2; exit 3")
    assert (done.status, done.output) == (3, "out\nerr\n")
    assert done.argv == ("/bin/sh", "-c", "echo out; echo err >&2; exit 3")
    assert done.host == "this machine"
    assert 0 < done.seconds < LONG_S
    assert not done.missed_deadline


def test_arguments_reach_a_command_as_they_are() -> None:
    argv = ["printf", "%s|", "a b", "$HOME", "*", "", "'", "größe", "--x=1"]
    assert LocalHost().run(argv, deadline_s=LONG_S).output == "a b|$HOME|*||'|größe|--x=1|"


def test_stdin_is_fed_and_then_ends() -> None:
    assert shell("cat; echo end", stdin="größe\ntwo\n").output == "größe\ntwo\nend\n"
    assert shell("cat; echo end").output == "end\n"


def test_a_command_that_is_not_there_is_127_as_in_a_shell() -> None:
    done = LocalHost().run(["mdadm-that-is-not-there", "--stop"], deadline_s=LONG_S)
    assert (done.status, done.output) == (127, "mdadm-that-is-not-there: command not found")
    assert LocalHost().run(["/nonexistent/mdadm"], deadline_s=LONG_S).status == 127


def test_a_command_that_a_signal_ended_has_a_negative_status() -> None:
    assert shell("kill -TERM $$").status == -15


def test_a_command_that_takes_too_long_is_ended_at_its_deadline() -> None:
    done = shell("echo begun; exec sleep 1000", deadline_s=SOON_S)
    assert done.missed_deadline
    assert SOON_S <= done.seconds < 5
    assert done.output == "begun\n"


def test_large_output_comes_whole() -> None:
    done = shell("yes 0123456789 | head --lines=30000")
    assert (done.status, done.output) == (0, "0123456789\n" * 30_000)


def test_output_that_is_no_text_is_told_with_marks() -> None:
    assert shell(r"printf 'a\377b'").output == "a\N{REPLACEMENT CHARACTER}b"


def test_a_command_does_not_believe_itself_on_a_terminal() -> None:
    done = shell(r"test -t 1 && echo terminal; printf 'a\nb\r\n'; echo err >&2")
    assert (done.status, done.output) == (0, "a\nb\r\nerr\n")


def test_small_files_are_read_and_written(tmp_path: Path) -> None:
    path = tmp_path / "journal_mode"
    LocalHost().write_text(str(path), "write-back")
    assert LocalHost().read_text(str(path)) == "write-back"
    path.write_bytes(b"\xff\n")
    assert LocalHost().read_text(str(path)) == "\N{REPLACEMENT CHARACTER}\n"
    with pytest.raises(FileNotFoundError):
        LocalHost().read_text(str(tmp_path / "none"))


# Behind SSH


class FakeConnection:
    """Stands in for a connection of fabric: keeps what it is asked, answers what it is told."""

    user, host = "root", "lab7"

    def __init__(self, *, status: int = 0, output: str = "", late: bool = False) -> None:
        self._result = Result(stdout=output, exited=status)
        self._late = late
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.closed = False

    def run(self, command: str, **options: Any) -> Result:
        """Answer as fabric's run does with ``warn=True``."""
        assert options.pop("warn") is True, "a status is no exception"
        assert options.pop("hide") is True, "nothing is printed here"
        self.asked.append((command, options))
        if self._late:
            raise CommandTimedOut(self._result, timeout=int(options["timeout"]))
        return self._result

    def close(self) -> None:
        """Remember it."""
        self.closed = True

    @property
    def stdin(self) -> str | None:
        """What the last command was fed; ``None`` where its stdin never ends."""
        stream = self.asked[-1][1]["in_stream"]
        assert stream is False or isinstance(stream, io.StringIO)
        return None if stream is False else stream.getvalue()


def behind(connection: FakeConnection) -> SshHost:
    return SshHost(cast("Any", connection))


def test_a_command_is_quoted_for_the_other_shell() -> None:
    connection = FakeConnection(status=3, output="out\nerr\n")
    argv = ["mdadm", "--name=a b", "$HOME", "it's", ""]
    done = behind(connection).run(argv, deadline_s=7.5)
    command, options = connection.asked[0]
    assert shlex.split(command.removesuffix(" 2>&1")) == argv
    assert command.endswith(" 2>&1"), "both streams in one"
    assert options["timeout"] == 7.5
    assert (done.status, done.output, done.argv) == (3, "out\nerr\n", tuple(argv))
    assert (done.host, done.missed_deadline) == ("root@lab7", False)


def test_a_command_behind_ssh_that_takes_too_long_keeps_what_it_said() -> None:
    done = behind(FakeConnection(output="begun\n", late=True)).run(["sleep", "9"], deadline_s=1)
    assert (done.status, done.output, done.missed_deadline) == (None, "begun\n", True)


@pytest.mark.parametrize("stdin", ["", "yes\n", "größe"])
def test_stdin_behind_ssh_is_fed_and_then_ends(stdin: str) -> None:
    """A stream, were it empty, is closed at its end; none at all is left open."""
    connection = FakeConnection()
    behind(connection).run(["cat"], deadline_s=1, stdin=stdin)
    assert connection.stdin == stdin


def test_small_files_behind_ssh_are_read_and_written() -> None:
    connection = FakeConnection(output="raid5\n")
    assert behind(connection).read_text("/sys/a b") == "raid5\n"
    assert connection.asked[-1][0] == "cat -- '/sys/a b' 2>&1"
    behind(connection).write_text("/sys/a b", "write-back")
    assert shlex.split(connection.asked[-1][0])[:2] == ["dd", "of=/sys/a b"]
    assert connection.stdin == "write-back"
    behind(connection).write_text("/sys/x", "")
    assert connection.stdin == ""


@pytest.mark.parametrize("late", [False, True], ids=["failed", "late"])
def test_a_file_behind_ssh_that_cannot_be_had_is_an_error_with_its_reason(late: bool) -> None:
    connection = FakeConnection(status=1, output="cat: /x: No such file", late=late)
    with pytest.raises(OSError, match=r"root@lab7.*No such file"):
        behind(connection).read_text("/x")
    with pytest.raises(OSError, match=r"root@lab7.*No such file"):
        behind(connection).write_text("/x", "y")


def test_closing_ends_the_connection() -> None:
    connection = FakeConnection()
    behind(connection).close()
    assert connection.closed


def test_all_hosts_have_the_same_verbs() -> None:
    hosts: list[Host] = [LocalHost(), behind(FakeConnection()), FixedHost(RESULT)]
    assert [host.name for host in hosts] == ["this machine", "root@lab7", "guest"]
