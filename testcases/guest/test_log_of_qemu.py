"""A dm-log-writes log that QEMU's blklogwrites wrote, a writer that is not ours, is read right."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from harness.crash.log_writes import import_log
from harness.crash.trace import Completion, Flag, Issue, Operation
from harness.storage.images import create_image

pytestmark = pytest.mark.guest

COMMANDS = """\
qemu-io logged "write -P 0x11 4096 8192"
qemu-io logged "write -P 0x22 -f 16384 4096"
qemu-io logged "discard 65536 8192"
qemu-io logged "write -z 32768 4096"
qemu-io logged flush
quit
"""


@pytest.mark.parametrize("sector_bytes", [512, 4096])
def test_log_of_qemu_is_read(tmp_path: Path, sector_bytes: int) -> None:
    disk, log = tmp_path / "disk.img", tmp_path / "log.img"
    create_image(disk, 1 << 20)
    create_image(log, 1 << 20)
    logged = "driver=blklogwrites,file=disk,log=log,node-name=logged,discard=unmap"
    # fmt: off
    command = [
        "qemu-system-x86_64", "-machine", "none", "-nodefaults", "-display", "none", "-S",
        "-monitor", "stdio",
        "-blockdev", f"driver=file,filename={disk},node-name=disk,discard=unmap",
        "-blockdev", f"driver=file,filename={log},node-name=log",
        "-blockdev", f"{logged},log-sector-size={sector_bytes}",
    ]
    # fmt: on
    subprocess.run(command, input=COMMANDS, text=True, check=True, timeout=60, capture_output=True)
    trace = import_log(log.read_bytes(), name="disk", size_bytes=1 << 20)
    assert trace.disks[0].logical_block_bytes == sector_bytes
    found = [
        (event.operation, event.offset, event.length, event.payload)
        for event in trace.events
        if isinstance(event, Issue)
    ]
    # It emulates FUA with a flush, and flushes once more when it ends.
    assert found[:6] == [
        (Operation.WRITE, 4096, 8192, b"\x11" * 8192),
        (Operation.WRITE, 16384, 4096, b"\x22" * 4096),
        (Operation.FLUSH, 0, 0, b""),
        (Operation.TRIM, 65536, 8192, b""),
        (Operation.WRITE, 32768, 4096, bytes(4096)),
        (Operation.FLUSH, 0, 0, b""),
    ]
    assert all(each == (Operation.FLUSH, 0, 0, b"") for each in found[6:])
    assert all(event.flags == Flag(0) for event in trace.events if isinstance(event, Issue))
    assert sum(isinstance(event, Completion) for event in trace.events) == len(found)
