"""The other end of nbd_client.py: libnbd, in the process of a Python that has it."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Any

from harness.storage.disk_server import DiskServer

PYTHON = "/usr/bin/python3"  # which has Debian's libnbd
CLIENT = Path(__file__).with_name("nbd_client.py")

Request = dict[str, Any]
"""See ``nbd_client.Client``: export, what, and what that takes."""


class Client:
    """libnbd in a process of its own."""

    def __init__(self, server: DiskServer) -> None:
        self._process = subprocess.Popen(
            [PYTHON, str(CLIENT), str(server.socket)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None,
        _where: TracebackType | None,
    ) -> None:  # fmt: skip
        self._process.kill()
        self._process.communicate()

    def ask(self, do: str, **arguments: Any) -> dict[str, Any]:
        """Ask one thing of the client's class."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"do": do, **arguments}) + "\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer

    def connect(self, *exports: str) -> list[dict[str, Any]]:
        """Connect to exports; return what is offered for each."""
        offers = [self.ask("connect", export=export) for export in exports]
        assert not [offer for offer in offers if "error" in offer]
        return offers

    def send(self, *requests: Request) -> float:
        """Send requests at once, and expect all of them to succeed; return how long it took."""
        answer = self.ask("send", requests=requests)
        assert answer["errors"] == [0] * len(requests)
        return float(answer["seconds"])

    def read(self, export: str, offset: int, length: int) -> bytes:
        """Read a range."""
        return bytes.fromhex(self.ask("read", export=export, offset=offset, length=length)["hex"])
