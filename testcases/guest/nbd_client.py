"""A client of the disk server for its tests: JSON lines in, JSON lines out.

Run by the system's Python, since libnbd's module is Debian's and not in the virtual environment:
``nbd_client.py SOCKET``. Each line asks one thing and gets one line back: ``{"error": text}``, or
what the asked function returns.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import nbd

DEADLINE_S = 60.0


class Client:
    """One connection for each export."""

    def __init__(self, socket: str) -> None:
        self._socket = socket
        self._handles: dict[str, Any] = {}

    def connect(self, *, export: str) -> dict[str, Any]:
        """Open an export; return its size and what the server offers for it."""
        handle = nbd.NBD()
        handle.set_export_name(export)
        handle.connect_unix(self._socket)
        self._handles[export] = handle
        return {
            "size_bytes": handle.get_size(),
            "flush": handle.can_flush(),
            "fua": handle.can_fua(),
            "trim": handle.can_trim(),
            "zero": handle.can_zero(),
            "multi_conn": handle.can_multi_conn(),
        }

    def send(self, *, requests: list[dict[str, Any]], wait: bool = True) -> dict[str, Any]:
        """Send requests without waiting in between; return each one's error number, 0 for none.

        Without *wait* they are left in flight, once all of them are on their way.
        """
        begun = time.monotonic()
        cookies = [self._start(**request) for request in requests]
        exports = {request["export"] for request in requests}
        while not wait and any(self._is_sending(export) for export in exports):
            self._poll(exports, begun)
        if not wait:
            return {}
        errors = [-1] * len(cookies)
        while -1 in errors:
            self._poll(exports, begun)
            for number, (export, cookie) in enumerate(cookies):
                if errors[number] == -1:
                    errors[number] = self._result(export, cookie)
        return {"errors": errors, "seconds": time.monotonic() - begun}

    def read(self, *, export: str, offset: int, length: int) -> dict[str, Any]:
        """Return a range as hexadecimal text."""
        return {"hex": self._handles[export].pread(length, offset).hex()}

    def _start(
        self,
        *,
        export: str,
        what: str,
        offset: int = 0,
        length: int = 0,
        data: str = "",
        fua: bool = False,
        no_hole: bool = False,
    ) -> tuple[str, int]:
        handle = self._handles[export]
        flags = (nbd.CMD_FLAG_FUA if fua else 0) | (nbd.CMD_FLAG_NO_HOLE if no_hole else 0)
        if what == "write":
            buffer = nbd.Buffer.from_bytearray(bytearray.fromhex(data))
            return export, handle.aio_pwrite(buffer, offset, flags=flags)
        if what == "flush":
            return export, handle.aio_flush()
        start = {"trim": handle.aio_trim, "zero": handle.aio_zero}[what]
        return export, start(length, offset, flags=flags)

    def _is_sending(self, export: str) -> bool:
        return bool(self._handles[export].aio_get_direction() & nbd.AIO_DIRECTION_WRITE)

    def _poll(self, exports: set[str], begun: float) -> None:
        if time.monotonic() > begun + DEADLINE_S:
            raise TimeoutError(f"no answer within {DEADLINE_S:.0f} s")
        for export in exports:
            if self._handles[export].aio_in_flight():
                self._handles[export].poll(1)

    def _result(self, export: str, cookie: int) -> int:
        try:
            return 0 if self._handles[export].aio_command_completed(cookie) else -1
        except nbd.Error as error:
            return int(error.errnum)


def main() -> None:
    """Answer until there is no more input."""
    client = Client(sys.argv[1])
    for line in sys.stdin:
        request = json.loads(line)
        function = getattr(client, request.pop("do"))
        try:
            answer = function(**request)
        except (nbd.Error, TimeoutError) as error:
            answer = {"error": str(error)}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
