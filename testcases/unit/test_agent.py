"""The guest's agent, run here: whatever it is asked it answers in one line, and in time."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from kvm_images.guest import agent, commands

SOON_S = 0.1
LONG_S = 20.0


def ask(line: bytes) -> dict[str, Any]:
    """Return the answer to a line; it must be one line itself."""
    said = agent.answer(line)
    assert said.endswith(b"\n")
    assert said.count(b"\n") == 1
    document = json.loads(said)
    assert isinstance(document, dict)
    return document


def request(verb: str, number: object = 7, **arguments: object) -> bytes:
    return json.dumps({"id": number, "verb": verb, **arguments}).encode()


def shell(text: str, *, deadline_s: float = LONG_S, stdin: str = "") -> dict[str, Any]:
    return commands.run(argv=["/bin/sh", "-c", text], deadline_s=deadline_s, stdin=stdin)


def python(text: str, *, deadline_s: float = LONG_S, stdin: str = "") -> dict[str, Any]:
    argv = [sys.executable, "-I", "-S", "-c", text]
    return commands.run(argv=argv, deadline_s=deadline_s, stdin=stdin)


def is_gone(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return True
    return state == "Z"


# Lines in, lines out


def test_an_answer_has_the_number_of_its_request() -> None:
    assert ask(request("ping", 41))["id"] == 41
    assert ask(request("ping", 41))["ok"] is True
    assert ask(request("ping", "a word"))["id"] == "a word"


def test_ping_says_which_kernel_runs() -> None:
    pong = ask(request("ping"))
    assert pong["release"] == os.uname().release
    assert pong["uptime_s"] > 0


@pytest.mark.parametrize(
    "line",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"no json", id="no-json"),
        pytest.param(b'{"id": 1, "verb": "ping"', id="cut-off"),
        pytest.param(b"\xff\xfe\x00", id="no-text"),
        pytest.param(b"[1, 2]", id="list"),
        pytest.param(b"null", id="null"),
        pytest.param(b'{"verb": "ping"}', id="without-number"),
        pytest.param(b"[" * 100_000, id="too-deep"),
    ],
)
def test_a_line_that_is_no_request_is_answered_without_a_number(line: bytes) -> None:
    answer = ask(line)
    assert (answer["id"], answer["ok"]) == (None, False)
    assert answer["error"]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        pytest.param(request("reboot"), "reboot", id="unknown-verb"),
        pytest.param(request("_write_all", data="", port=1), "_write_all", id="private-function"),
        pytest.param(request("answer", line=""), "answer", id="no-verb-function"),
        pytest.param(request("run"), "argv", id="missing-argument"),
        pytest.param(request("ping", loud=True), "loud", id="surplus-argument"),
        pytest.param(request("read_file", path="/nonexistent"), "/nonexistent", id="no-file"),
        pytest.param(request("run", argv=[], deadline_s=1), "IndexError", id="no-command"),
        pytest.param(request("run", argv=["a\0b"], deadline_s=1), "null byte", id="null-byte"),
    ],
)
def test_what_cannot_be_done_is_answered_with_its_reason(line: bytes, said: str) -> None:
    answer = ask(line)
    assert (answer["id"], answer["ok"]) == (7, False)
    assert said in answer["error"]


# Commands


def test_status_and_both_streams_in_their_order_come_back() -> None:
    done = shell("echo out; echo err >&2; echo out again; exit 3")
    assert (done["status"], done["output"]) == (3, "out\nerr\nout again\n")
    assert 0 < done["seconds"] < LONG_S
    assert done["stack"] == ""


def test_a_command_that_a_signal_ended_has_a_negative_status() -> None:
    assert shell("kill -TERM $$")["status"] == -signal.SIGTERM


def test_a_command_that_is_not_there_is_127_as_in_a_shell() -> None:
    done = commands.run(argv=["/nonexistent/mdadm"], deadline_s=1)
    assert done["status"] == 127
    assert done["output"] == "/nonexistent/mdadm: No such file or directory"
    assert ask(request("run", argv=["/nonexistent"], deadline_s=1))["ok"] is True


def test_stdin_is_fed_and_then_ends() -> None:
    assert (
        commands.run(argv=["/bin/cat"], deadline_s=LONG_S, stdin="größe\n")["output"] == "größe\n"
    )
    assert commands.run(argv=["/bin/cat"], deadline_s=LONG_S)["output"] == ""


def test_stdin_that_nobody_reads_is_no_error() -> None:
    assert shell("exit 4", stdin="unread\n")["status"] == 4
    assert shell("exec <&-; sleep 0.05; exit 4", stdin="x" * 200_000)["status"] == 4


def test_output_larger_than_a_pipe_comes_whole() -> None:
    done = python("import sys; sys.stdout.write('0123456789' * 200_000)")
    assert (done["status"], done["output"]) == (0, "0123456789" * 200_000)


def test_stdin_larger_than_a_pipe_goes_through_a_command_that_answers_at_once() -> None:
    text = "0123456789abcdef" * 20_000
    done = commands.run(argv=["/bin/cat"], deadline_s=LONG_S, stdin=text)
    assert (done["status"], done["output"] == text) == (0, True)


def test_output_that_is_no_text_is_told_with_marks() -> None:
    done = shell(r"printf 'a\377b'")
    assert done["output"] == "a\N{REPLACEMENT CHARACTER}b"
    assert ask(request("run", argv=["/bin/sh", "-c", r"printf '\377'"], deadline_s=9))["ok"]


# Deadlines


def test_a_command_that_takes_too_long_is_killed_at_its_deadline() -> None:
    done = shell("echo begun; exec sleep 1000", deadline_s=SOON_S)
    assert (done["status"], done["output"]) == (-signal.SIGKILL, "begun\n")
    assert SOON_S <= done["seconds"] < 2
    assert done["stack"], "a missed deadline is known by its stack"


def test_a_command_that_ignores_sigterm_is_killed_all_the_same() -> None:
    done = shell(
        "trap '' TERM HUP INT; echo begun; while :; do sleep 0.01; done", deadline_s=SOON_S
    )
    assert done["status"] == -signal.SIGKILL


def test_what_a_late_command_started_is_killed_with_it() -> None:
    done = shell("sleep 1000 & echo $!; wait", deadline_s=SOON_S)
    begun = time.monotonic()
    while not is_gone(int(done["output"])):
        assert time.monotonic() - begun < LONG_S
        time.sleep(0.005)


def test_a_command_that_talks_without_end_misses_its_deadline_too() -> None:
    done = shell("exec yes talk", deadline_s=SOON_S)
    assert done["status"] == -signal.SIGKILL
    assert done["seconds"] < 2
    assert done["output"].startswith("talk\n")


def test_stdin_that_is_never_read_holds_no_deadline_up() -> None:
    done = shell("exec sleep 1000", deadline_s=SOON_S, stdin="x" * 200_000)
    assert done["status"] == -signal.SIGKILL
    assert done["seconds"] < 2


def test_a_deadline_of_nothing_is_missed_at_once() -> None:
    assert shell("exec sleep 1000", deadline_s=0)["stack"]


@pytest.fixture
def left_behind() -> Iterator[list[int]]:
    pids: list[int] = []
    yield pids
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def test_a_grandchild_that_keeps_the_pipe_open_does_not_keep_the_answer(
    left_behind: list[int],
) -> None:
    done = shell("sleep 1000 & echo $!; exit 5")
    left_behind.append(int(done["output"]))
    assert (done["status"], done["stack"]) == (5, "")
    assert done["seconds"] < 2


def test_a_grandchild_that_talks_without_end_does_not_keep_the_answer(
    left_behind: list[int],
) -> None:
    done = shell("yes talk & echo $!; exit 5")
    left_behind.append(int(next(line for line in done["output"].split() if line.isdigit())))
    assert done["status"] == 5
    assert done["seconds"] < 2


# Files


def test_a_file_is_read_whatever_is_in_it(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"raid5\n\xff")
    text = agent.read_file(path=str(tmp_path / "file"))["text"]
    assert text == "raid5\n\N{REPLACEMENT CHARACTER}"


def test_a_file_is_written_in_one_call() -> None:
    """As sysfs wants it: into a pipe of packets, which keeps what each call wrote apart."""
    reader, writer = os.pipe2(os.O_DIRECT)
    assert ask(request("write_file", path=f"/proc/self/fd/{writer}", text="write-back\n"))["ok"]
    assert os.read(reader, 100) == b"write-back\n"
    os.close(reader)
    os.close(writer)


def test_a_file_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    assert not ask(request("write_file", path=str(tmp_path / "new"), text="x"))["ok"]
    assert list(tmp_path.iterdir()) == []


def test_paths_of_a_pattern_come_sorted(tmp_path: Path) -> None:
    for name in ("b2", "b10", "a", "b1"):
        (tmp_path / name).touch()
    found = agent.list_paths(pattern=f"{tmp_path}/b*")["paths"]
    assert found == [f"{tmp_path}/{name}" for name in ("b1", "b10", "b2")]
    assert agent.list_paths(pattern=f"{tmp_path}/c*") == {"paths": []}


# The port


@pytest.fixture
def port(monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """Give the host's end of a port that the agent serves, until the test ends."""
    ours, theirs = socket.socketpair()

    def end(_seconds: float) -> None:
        raise SystemExit  # at the end of file, where the agent would wait for another host

    monkeypatch.setattr("kvm_images.guest.agent.time", SimpleNamespace(sleep=end))
    served = threading.Thread(target=serve_until_closed, args=(theirs,))
    served.start()
    ours.settimeout(LONG_S)
    yield ours
    ours.close()
    served.join(LONG_S)
    assert not served.is_alive()
    theirs.close()


def serve_until_closed(connection: socket.socket) -> None:
    with contextlib.suppress(SystemExit):
        agent.serve(connection.fileno())


def answers(port: socket.socket, count: int) -> list[dict[str, Any]]:
    data = b""
    while data.count(b"\n") < count:
        chunk = port.recv(1 << 16)
        assert chunk
        data += chunk
    assert data.endswith(b"\n")
    return [json.loads(line) for line in data.splitlines()]


def test_several_requests_in_one_piece_are_answered_in_their_order(port: socket.socket) -> None:
    port.sendall(b"".join(request("ping", n) + b"\n" for n in (1, 2, 3)))
    assert [answer["id"] for answer in answers(port, 3)] == [1, 2, 3]


def test_a_request_in_many_pieces_is_one_request(port: socket.socket) -> None:
    for byte in request("ping", 5) + b"\n":
        port.sendall(bytes([byte]))
    assert answers(port, 1)[0]["id"] == 5


def test_a_line_longer_than_any_read_is_one_request(port: socket.socket, tmp_path: Path) -> None:
    text = "x" * 300_000
    (tmp_path / "file").touch()
    port.sendall(request("write_file", path=str(tmp_path / "file"), text=text) + b"\n")
    assert answers(port, 1)[0]["ok"]
    assert (tmp_path / "file").read_text() == text
    port.sendall(request("read_file", 8, path=str(tmp_path / "file")) + b"\n")
    assert answers(port, 1)[0]["text"] == text


def test_nonsense_between_requests_is_answered_and_survived(port: socket.socket) -> None:
    port.sendall(b"nonsense\n\n" + request("ping", 2) + b"\n")
    found = answers(port, 3)
    assert [(answer["id"], answer["ok"]) for answer in found] == [
        (None, False), (None, False), (2, True),
    ]  # fmt: skip
