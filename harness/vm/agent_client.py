"""The host's end of the agent's port: JSON lines, each answer waited for until a deadline."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from harness.errors import CommandFailed

CONNECT_POLL_S = 0.01
LOOK_S = 15.0  # between looks at whether an answer can still come


class PortClosed(Exception):
    """QEMU closed the agent's port."""


class AnswerLate(Exception):
    """No answer came before the deadline."""


class AgentClient:
    """One connection to one agent."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._pending = bytearray()
        self._number = 0
        # Whether no answer can come any more; asked now and then while one is waited for.
        self.is_hopeless: Callable[[], bool] = lambda: False

    @classmethod
    def connect(cls, path: Path, *, deadline_s: float, alive: Callable[[], bool]) -> AgentClient:
        """Connect to QEMU's socket as soon as it is there.

        Raises:
            PortClosed: QEMU has ended.
            AnswerLate: the socket did not come up in time.
        """
        deadline = time.monotonic() + deadline_s
        while True:
            connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                connection.connect(str(path))
            except OSError:
                connection.close()
            else:
                return cls(connection)
            if not alive():
                raise PortClosed
            if time.monotonic() > deadline:
                raise AnswerLate
            time.sleep(CONNECT_POLL_S)

    def call(self, verb: str, *, answer_within_s: float, **arguments: object) -> dict[str, Any]:
        """Ask the agent to do *verb*; return its answer.

        Raises:
            CommandFailed: the agent says that it could not.
            PortClosed, AnswerLate: the agent says nothing.
        """
        self._number += 1
        request = {"id": self._number, "verb": verb, **arguments}
        deadline = time.monotonic() + answer_within_s
        try:
            self._connection.settimeout(answer_within_s)
            self._connection.sendall(json.dumps(request).encode() + b"\n")
            answer = self._answer(deadline)
        except (BrokenPipeError, ConnectionResetError):
            raise PortClosed from None
        except TimeoutError:
            raise AnswerLate from None
        if not answer["ok"]:
            raise CommandFailed(f"guest agent: {verb}: {answer['error']}")
        return answer

    def close(self) -> None:
        """Close the connection; the agent stays where it is."""
        self._connection.close()

    def _answer(self, deadline: float) -> dict[str, Any]:
        while True:
            line = self._line(deadline)
            # Answers to calls that were given up come late and are passed over. A line that is no
            # JSON is the rest of one that was cut when an earlier connection ended.
            try:
                answer = json.loads(line)
            except ValueError:
                continue
            if isinstance(answer, dict) and answer.get("id") == self._number:
                return answer

    def _line(self, deadline: float) -> bytes:
        while b"\n" not in self._pending:
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                raise AnswerLate
            self._connection.settimeout(min(remaining, LOOK_S))
            try:
                chunk = self._connection.recv(1 << 16)
            except TimeoutError:
                if self.is_hopeless():
                    raise AnswerLate from None
                continue
            if not chunk:
                raise PortClosed
            self._pending += chunk
        line, _, rest = bytes(self._pending).partition(b"\n")
        self._pending = bytearray(rest)
        return line
