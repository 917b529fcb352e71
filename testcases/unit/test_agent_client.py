"""The host's end of the agent's port: the right answer to the right call, or a named silence."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.errors import CommandFailed
from harness.vm import agent_client
from harness.vm.agent_client import AgentClient, AnswerLate, PortClosed

SOON_S = 0.05
LONG_S = 20.0

Script = Callable[["FakeAgent"], None]


class FakeAgent:
    """The other end of the port, which does just what a test's script says."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._pending = b""
        self.requests: list[dict[str, Any]] = []

    def hear(self) -> dict[str, Any]:
        """Return the next request."""
        while b"\n" not in self._pending:
            chunk = self._connection.recv(1 << 16)
            assert chunk, "the client went away"
            self._pending += chunk
        line, _, self._pending = self._pending.partition(b"\n")
        request: dict[str, Any] = json.loads(line)
        self.requests.append(request)
        return request

    def say(self, *lines: bytes) -> None:
        """Send lines as they are."""
        self._connection.sendall(b"".join(line + b"\n" for line in lines))

    def say_in_pieces(self, data: bytes, *, length: int) -> None:
        """Send bytes a few at a time."""
        for at in range(0, len(data), length):
            self._connection.sendall(data[at : at + length])

    def close(self) -> None:
        """Close the port, as QEMU does when it ends."""
        self._connection.close()


def done(request: dict[str, Any], **more: object) -> bytes:
    return json.dumps({"id": request["id"], "ok": True, **more}).encode()


@pytest.fixture
def connect() -> Iterator[Callable[[Script], AgentClient]]:
    """Give what connects a client to a fake agent that runs a script in a thread of its own."""
    opened: list[tuple[AgentClient, FakeAgent, threading.Thread]] = []
    errors: list[BaseException] = []

    def start(script: Script) -> AgentClient:
        ours, theirs = socket.socketpair()
        theirs.settimeout(LONG_S)
        agent = FakeAgent(theirs)

        def body() -> None:
            try:
                script(agent)
            except BaseException as error:  # told below, in the test's own thread
                errors.append(error)

        thread = threading.Thread(target=body)
        client = AgentClient(ours)
        opened.append((client, agent, thread))
        thread.start()
        return client

    yield start
    for client, agent, thread in opened:
        thread.join(LONG_S)
        assert not thread.is_alive()
        client.close()
        agent.close()
    assert errors == []


Connect = Callable[[Script], AgentClient]


def say_nothing(_agent: FakeAgent) -> None:
    pass


def test_a_call_is_one_line_with_its_arguments_and_gets_its_answer(connect: Connect) -> None:
    heard: list[dict[str, Any]] = []

    def script(agent: FakeAgent) -> None:
        heard.append(agent.hear())
        agent.say(done(heard[0], text="raid5\n"))

    answer = connect(script).call("read_file", answer_within_s=LONG_S, path="/sys/größe")
    assert answer["text"] == "raid5\n"
    assert heard[0].pop("id") is not None
    assert heard == [{"verb": "read_file", "path": "/sys/größe"}]


def test_every_call_has_a_number_of_its_own(connect: Connect) -> None:
    numbers = []

    def script(agent: FakeAgent) -> None:
        for _ in range(3):
            request = agent.hear()
            numbers.append(request["id"])
            agent.say(done(request))

    client = connect(script)
    for _ in range(3):
        client.call("ping", answer_within_s=LONG_S)
    assert len(set(numbers)) == 3


def test_a_text_with_line_ends_stays_one_line(connect: Connect) -> None:
    def script(agent: FakeAgent) -> None:
        request = agent.hear()
        agent.say(done(request, heard=request["text"]))

    answer = connect(script).call("write_file", answer_within_s=LONG_S, text="a\nb\r\n\u2028c")
    assert answer["heard"] == "a\nb\r\n\u2028c"


def test_what_the_agent_could_not_do_is_told_with_its_verb(connect: Connect) -> None:
    def script(agent: FakeAgent) -> None:
        number = agent.hear()["id"]
        agent.say(json.dumps({"id": number, "ok": False, "error": "OSError: no disk"}).encode())

    with pytest.raises(CommandFailed) as raised:
        connect(script).call("disks", answer_within_s=LONG_S)
    assert str(raised.value) == "guest agent: disks: OSError: no disk"


# Answers that do not come, or come late


def test_no_answer_before_the_deadline_is_late(connect: Connect) -> None:
    begun = time.monotonic()
    with pytest.raises(AnswerLate):
        connect(say_nothing).call("ping", answer_within_s=SOON_S)
    assert SOON_S <= time.monotonic() - begun < 2


def test_an_answer_that_cannot_come_any_more_is_not_waited_for(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agent_client, "LOOK_S", 0.05)
    client = connect(say_nothing)
    looks = iter([False, False, True])
    client.is_hopeless = lambda: next(looks)
    with pytest.raises(AnswerLate):
        client.call("ping", answer_within_s=1000)
    assert next(looks, None) is None, "it was asked until it said so"


def test_a_late_answer_to_a_call_that_was_given_up_is_passed_over(connect: Connect) -> None:
    given_up = threading.Event()

    def script(agent: FakeAgent) -> None:
        first = agent.hear()
        assert given_up.wait(LONG_S)
        agent.say(done(first, text="late"))
        agent.say(done(agent.hear(), text="in time"))

    client = connect(script)
    with pytest.raises(AnswerLate):
        client.call("read_file", answer_within_s=SOON_S)
    given_up.set()
    assert client.call("read_file", answer_within_s=LONG_S)["text"] == "in time"


def test_an_answer_of_which_half_came_in_time_is_passed_over_as_well(connect: Connect) -> None:
    given_up = threading.Event()

    def script(agent: FakeAgent) -> None:
        line = done(agent.hear(), text="late") + b"\n"
        agent.say_in_pieces(line[:9], length=9)
        assert given_up.wait(LONG_S)
        agent.say_in_pieces(line[9:], length=len(line))
        agent.say(done(agent.hear(), text="in time"))

    client = connect(script)
    with pytest.raises(AnswerLate):
        client.call("read_file", answer_within_s=SOON_S)
    given_up.set()
    assert client.call("read_file", answer_within_s=LONG_S)["text"] == "in time"


def test_noise_without_end_misses_the_deadline(connect: Connect) -> None:
    stop = threading.Event()

    def script(agent: FakeAgent) -> None:
        while not stop.is_set():
            agent.say(b'{"id": 0, "ok": true}')
            time.sleep(0.001)

    client = connect(script)
    begun = time.monotonic()
    with pytest.raises(AnswerLate):
        client.call("ping", answer_within_s=SOON_S)
    assert time.monotonic() - begun < 2
    stop.set()


@pytest.mark.parametrize(
    "line",
    [
        pytest.param(b'"text": "the rest of a line"}', id="rest-of-a-line"),
        pytest.param(b"", id="empty"),
        pytest.param(b"\xff\xfe\x80", id="no-text"),
        pytest.param(b"[1, 2]", id="list"),
        pytest.param(b"17", id="number"),
        pytest.param(b"null", id="null"),
        pytest.param(b'{"ok": true}', id="without-number"),
        pytest.param(b'{"id": null, "ok": false, "error": "ValueError"}', id="answer-to-garbage"),
        pytest.param(b'{"id": "1", "ok": true}', id="number-as-text"),
    ],
)
def test_a_line_that_is_no_answer_is_passed_over(connect: Connect, line: bytes) -> None:
    def script(agent: FakeAgent) -> None:
        request = agent.hear()
        agent.say(line, done(request, text="found"))

    assert connect(script).call("ping", answer_within_s=LONG_S)["text"] == "found"


# Pieces


@pytest.mark.parametrize("length", [1, 7, 4096])
def test_an_answer_in_many_pieces_is_put_together(connect: Connect, length: int) -> None:
    text = "größe\n" * (200 if length < 4096 else 50_000)

    def script(agent: FakeAgent) -> None:
        agent.say_in_pieces(done(agent.hear(), text=text) + b"\n", length=length)

    assert connect(script).call("read_file", answer_within_s=LONG_S)["text"] == text


def test_an_answer_that_comes_with_the_rest_of_an_earlier_one_is_found(connect: Connect) -> None:
    def script(agent: FakeAgent) -> None:
        request = agent.hear()
        agent.say(b'{"id": -1, "ok": true}', done(request, text="first"), b'{"id": -2}')
        agent.say(done(agent.hear(), text="second"))

    client = connect(script)
    assert client.call("read_file", answer_within_s=LONG_S)["text"] == "first"
    assert client.call("read_file", answer_within_s=LONG_S)["text"] == "second"


def test_a_request_larger_than_the_socket_takes_at_once_arrives(connect: Connect) -> None:
    def script(agent: FakeAgent) -> None:
        request = agent.hear()
        agent.say(done(request, length=len(request["text"])))

    text = "x" * 2_000_000
    assert connect(script).call("write_file", answer_within_s=LONG_S, text=text)["length"] == len(
        text
    )


def test_a_request_that_nobody_takes_is_late(connect: Connect) -> None:
    with pytest.raises(AnswerLate):
        connect(say_nothing).call("w", answer_within_s=SOON_S, text="x" * 2_000_000)


# The port's end


def test_a_port_that_closes_instead_of_answering_is_closed(connect: Connect) -> None:
    def script(agent: FakeAgent) -> None:
        agent.hear()
        agent.close()

    with pytest.raises(PortClosed):
        connect(script).call("ping", answer_within_s=LONG_S)


def test_a_port_that_closes_in_the_middle_of_an_answer_is_closed(connect: Connect) -> None:
    def script(agent: FakeAgent) -> None:
        line = done(agent.hear())
        agent.say_in_pieces(line, length=len(line))
        agent.close()

    with pytest.raises(PortClosed):
        connect(script).call("ping", answer_within_s=LONG_S)


def test_a_port_that_was_closed_before_is_closed(connect: Connect) -> None:
    closed = threading.Event()

    def script(agent: FakeAgent) -> None:
        agent.close()
        closed.set()

    client = connect(script)
    assert closed.wait(LONG_S)
    for _ in range(2):
        with pytest.raises(PortClosed):
            client.call("ping", answer_within_s=LONG_S)


def test_a_port_that_closes_with_a_request_unread_is_closed(connect: Connect) -> None:
    def script(agent: FakeAgent) -> None:
        assert agent._connection.recv(3)
        agent.close()

    with pytest.raises(PortClosed):
        connect(script).call("ping", answer_within_s=LONG_S, text="x" * 1000)


# Connecting


def test_the_socket_is_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "agent"
    server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    asked: list[None] = []

    def alive() -> bool:
        asked.append(None)
        if len(asked) == 2:
            server.bind(str(path))
            server.listen()
        return True

    AgentClient.connect(path, deadline_s=LONG_S, alive=alive).close()
    assert len(asked) == 2
    server.close()


def test_a_qemu_that_ends_before_it_listens_is_a_closed_port(tmp_path: Path) -> None:
    begun = time.monotonic()
    with pytest.raises(PortClosed):
        AgentClient.connect(tmp_path / "agent", deadline_s=LONG_S, alive=lambda: False)
    assert time.monotonic() - begun < 2


def test_a_socket_that_nobody_listens_on_is_late(tmp_path: Path) -> None:
    path = tmp_path / "agent"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server:
        server.bind(str(path))  # and does not listen
        with pytest.raises(AnswerLate):
            AgentClient.connect(path, deadline_s=SOON_S, alive=lambda: True)
