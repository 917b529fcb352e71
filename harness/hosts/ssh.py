"""A machine behind SSH as a host, through fabric."""

from __future__ import annotations

import io
import logging
import shlex
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import fabric
import paramiko
from invoke.exceptions import CommandTimedOut, ThreadException

from harness.errors import BadInput, GuestVanished, HarnessError
from harness.hosts.host import CommandResult

CONNECT_TIMEOUT_S = 20.0
_RETRY_S = 0.2
_NO_STATUS = -1  # what paramiko has for a command whose connection ended before it did
# It logs the traceback of every connection that fails; what fails for good is told by us.
logging.getLogger("paramiko").setLevel(logging.CRITICAL)


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A key of a run's own: for who connects, or for who is connected to."""

    key: paramiko.PKey

    @property
    def private(self) -> bytes:
        """As sshd takes it for a host's key."""
        text = io.StringIO()
        self.key.write_private_key(text)
        return text.getvalue().encode()

    @property
    def public(self) -> bytes:
        """A line of ``authorized_keys``."""
        return f"{self.key.get_name()} {self.key.get_base64()}\n".encode()


def new_key() -> KeyPair:
    """Return a new key."""
    return KeyPair(paramiko.ECDSAKey.generate())


class SshHost:
    """Runs commands over one connection; close it with `close`."""

    def __init__(self, connection: fabric.Connection) -> None:
        self._connection = connection
        self.commands: list[CommandResult] = []  # every command run, for the evidence

    @property
    def name(self) -> str:
        """User and host, as one would type them."""
        return f"{self._connection.user}@{self._connection.host}"

    def run(self, argv: Sequence[str], *, deadline_s: float, stdin: str = "") -> CommandResult:
        """Run a command on the other machine.

        Raises:
            GuestVanished: the connection has ended.
        """
        began = time.monotonic()
        status: int | None
        try:
            done = self._connection.run(
                shlex.join(argv) + " 2>&1", hide=True, warn=True, timeout=deadline_s,
                in_stream=io.StringIO(stdin),  # its end reaches the command
            )  # fmt: skip
            status, output = done.exited, done.stdout
        except CommandTimedOut as late:
            status, output = None, late.result.stdout
        except (EOFError, OSError, paramiko.SSHException, ThreadException) as lost:
            raise self._lost(argv) from lost
        if status == _NO_STATUS:
            raise self._lost(argv)
        result = CommandResult(
            self.name, tuple(argv), status, output, time.monotonic() - began,
            "left at its deadline" if status is None else "",
        )  # fmt: skip
        self.commands.append(result)
        return result

    def follow(
        self, argv: Sequence[str], take: Callable[[str], None], ended: Callable[[], None]
    ) -> None:
        """Run a command beside all else until `close`; *take* gets each line that it prints.

        *ended* is called once no more can come: the command, or the connection, has ended.
        """
        channel = self.open_command(argv)
        channel.set_combine_stderr(True)  # paramiko's own

        def read() -> None:
            try:
                for line in channel.makefile("r"):
                    take(line.rstrip("\n"))
            finally:
                ended()

        threading.Thread(target=read, name=f"follows {argv[0]}", daemon=True).start()

    def open_command(self, argv: Sequence[str]) -> paramiko.Channel:
        """Begin a command; the channel returned is its standard input and output."""
        channel = self._connection.client.get_transport().open_session()
        channel.exec_command(shlex.join(argv))
        return channel

    def put_files(self, files: Mapping[str, bytes]) -> None:
        """Write files, by absolute path, their folders made as needed."""
        folders = sorted({path.rpartition("/")[0] for path in files})
        self._checked(["mkdir", "--parents", "--", *folders], "")
        for path, content in files.items():
            self._connection.put(io.BytesIO(content), path)

    def read_text(self, path: str) -> str:
        """Return a small text file of the other machine."""
        return self._checked(["cat", "--", path], "")

    def write_text(self, path: str, text: str) -> None:
        """Write a small text file of the other machine."""
        self._checked(["dd", f"of={path}", "status=none"], text)

    def close(self) -> None:
        """End the connection."""
        self._connection.close()

    def _lost(self, argv: Sequence[str]) -> GuestVanished:
        return GuestVanished(f"{self.name}: the connection ended while `{shlex.join(argv)}` ran")

    def _checked(self, argv: Sequence[str], stdin: str) -> str:
        result = self.run(argv, deadline_s=30, stdin=stdin)
        if result.status != 0:
            raise OSError(str(result))
        return result.output


def connect_to_machine(address: str, *, identity: str | None = None) -> SshHost:
    """Connect to a machine of the user's, ``user@host`` or ``user@host:port``, as `ssh` would.

    The user's own configuration, agent, keys and known hosts count; *identity* is a further key.

    Raises:
        BadInput: there is no connection; says why.
    """
    options = {} if identity is None else {"key_filename": identity}
    connection = fabric.Connection(
        address, connect_timeout=CONNECT_TIMEOUT_S, connect_kwargs=options
    )
    connection.client.load_system_host_keys()
    connection.client.set_missing_host_key_policy(paramiko.RejectPolicy())
    try:
        connection.open()
    except (OSError, EOFError, paramiko.SSHException) as error:
        connection.close()
        why = getattr(error, "strerror", None) or error
        raise BadInput(
            f"--host {address}: no connection: {why}\nnext: try `ssh {_as_typed(address)}` first"
        ) from error
    return SshHost(connection)


def _as_typed(address: str) -> str:
    host, _, port = address.partition(":")
    return f"-p {port} {host}" if port else host


def connect_to_guest(
    port: int, *, own: KeyPair, guest: KeyPair, deadline_s: float, alive: Callable[[], bool]
) -> SshHost:
    """Connect as root to a guest's sshd, as soon as it listens on this port of this machine.

    Only the key that the guest was given is taken for the guest's; nothing of the user's own
    configuration and keys is used.

    Raises:
        GuestVanished: it is not *alive* any more.
        HarnessError: there was no connection before the deadline; says why.
    """
    deadline = time.monotonic() + deadline_s
    while True:
        connection = fabric.Connection(
            "127.0.0.1", user="root", port=port, connect_timeout=CONNECT_TIMEOUT_S,
            config=fabric.Config(overrides={"load_ssh_configs": False}),
            connect_kwargs={"pkey": own.key, "allow_agent": False, "look_for_keys": False},
        )  # fmt: skip
        client = connection.client
        client.get_host_keys().add(f"[127.0.0.1]:{port}", guest.key.get_name(), guest.key)
        client.set_missing_host_key_policy(paramiko.RejectPolicy())
        try:
            connection.open()
        except (OSError, EOFError, paramiko.SSHException) as error:
            connection.close()
            if not alive():
                raise GuestVanished("guest: QEMU ended before its sshd answered") from error
            if time.monotonic() > deadline:
                raise HarnessError(f"guest: no SSH on port {port}: {error}") from error
            time.sleep(_RETRY_S)
        else:
            return SshHost(connection)
