"""QEMU's monitor for programs (QMP), over one connection for all commands."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from typing import Any

from qemu.qmp import QMPError
from qemu.qmp.legacy import QEMUMonitorProtocol


class Monitor:
    """A connection with an event loop of its own.

    Left to itself the library takes the thread's, which nobody closes when the thread ends.
    """

    def __init__(self, socket: Path) -> None:
        """Connect.

        Raises:
            QMPError, OSError: QEMU is not there, or said something else first.
        """
        self._loop = asyncio.new_event_loop()
        asyncio.set_event_loop(self._loop)
        try:
            self._protocol = QEMUMonitorProtocol(str(socket))
            self._protocol.connect()
        except BaseException:
            self._end_loop()
            raise
        finally:
            asyncio.set_event_loop(None)

    def command(self, name: str, **arguments: object) -> Any:
        """Have QEMU do something; return what it answers.

        Raises:
            QMPError, OSError: it does not, or is gone.
        """
        return self._protocol.cmd(name, **arguments)

    def close(self) -> None:
        """Close the connection, whether or not QEMU is still there."""
        with contextlib.suppress(QMPError, OSError):
            self._protocol.close()
        self._end_loop()

    def _end_loop(self) -> None:
        self._loop.run_until_complete(_end_tasks())
        self._loop.close()


async def _end_tasks() -> None:
    """End what a connection that broke has left in the loop."""
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
