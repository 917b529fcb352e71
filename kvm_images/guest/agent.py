"""The guest's agent: answers JSON lines on a named virtio-serial port.

Runs as the first process of the tiny guest, on the standard library alone. A request is one line
``{"id": N, "verb": V, ...}``, its answer one line ``{"id": N, "ok": true, ...}`` or
``{"id": N, "ok": false, "error": "..."}``. Each public function below is a verb; its keyword
arguments are the request's fields.
"""

from __future__ import annotations

import fcntl
import glob
import json
import mmap
import os
import re
import subprocess
import sys
import threading
import time
from typing import Any

if __name__ == "__main__":  # in the guest; on a host the package's own path is used
    sys.path.insert(0, "/agent")

from harness.crash.pattern import Fill
from kvm_images.guest import (
    commands,
    loop_devices,
    pressing,
    reading,
    recovering,
    stuck,
    waiting,
    working,
)
from kvm_images.guest.patience import Patience

Answer = dict[str, Any]

PORT_NAME = "mdjournal.agent"
BLOCK_FLUSH_IOCTL = 0x1261  # BLKFLSBUF in linux/fs.h
POLL_S = 0.002
MODULES = "/modules"


def ping() -> Answer:
    """Say that the agent is there, which kernel runs, and for how long."""
    with open("/proc/uptime", encoding="ascii") as uptime:
        return {"release": os.uname().release, "uptime_s": float(uptime.read().split()[0])}


def read_file(*, path: str) -> Answer:
    """Return a small text file, such as one of sysfs."""
    with open(path, encoding="utf-8", errors="replace") as file:
        return {"text": file.read()}


def write_file(*, path: str, text: str) -> Answer:
    """Write a small text file, such as one of sysfs, in one write call."""
    descriptor = os.open(path, os.O_WRONLY)
    try:
        os.write(descriptor, text.encode())
    finally:
        os.close(descriptor)
    return {}


def list_paths(*, pattern: str) -> Answer:
    """Return the paths that a shell pattern stands for, sorted."""
    return {"paths": sorted(glob.glob(pattern))}


def read_bytes(*, path: str, offset: int, length: int) -> Answer:
    """Return *length* bytes from the medium of a block device as hexadecimal text, uncached."""
    buffer = mmap.mmap(-1, length)
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECT)
    try:
        count = os.preadv(descriptor, [buffer], offset)
    finally:
        os.close(descriptor)
    return {"hex": buffer[:count].hex()}


def write_bytes(*, path: str, offset: int, hex: str) -> Answer:  # noqa: A002
    """Write to the medium of a block device, past the page cache."""
    working.write_direct(path, offset, bytes.fromhex(hex))
    return {}


def mark_kernel_log(*, marker: str) -> Answer:
    """Write a line into the kernel's log, for `kernel_log` to start from."""
    with open("/dev/kmsg", "w", encoding="ascii") as kmsg:
        kmsg.write(f"mdjournal: {marker}\n")
    return {}


def kernel_log(*, since: str = "") -> Answer:
    """Return the kernel's log, or what came after the line of marker *since*."""
    lines: list[str] = []
    descriptor = os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK)
    try:
        while True:
            try:
                record = os.read(descriptor, 8192).decode(errors="replace")
            except BlockingIOError:
                break
            except BrokenPipeError:  # overwritten while it was read: the next one follows
                continue
            head, _, text = record.partition(";")
            microseconds = int(head.split(",")[2])
            message = text.split("\n", 1)[0]
            if since and message == f"mdjournal: {since}":
                lines.clear()
                continue
            lines.append(f"[{microseconds / 1e6:12.6f}] {message}")
    finally:
        os.close(descriptor)
    return {"lines": lines}


def load_modules(*, names: list[str]) -> Answer:
    """Load module files of the guest's image, in this order."""
    for name in names:
        subprocess.run(["/bin/busybox", "insmod", f"{MODULES}/{name}"], check=True)
    return {}


def load_disk_modules() -> Answer:
    """Load the disk drivers that the image lists for after a restore."""
    with open(f"{MODULES}/late", encoding="ascii") as late:
        return load_modules(names=late.read().split())


def disks(*, serials: list[str], deadline_s: float) -> Answer:
    """Return the device node of each disk by its serial, once these are there, or what there is."""
    deadline = time.monotonic() + deadline_s
    while True:
        found = {_serial(path): "/dev/" + path.split("/")[3] for path in _serials_of_disks()}
        if found.keys() >= set(serials) or time.monotonic() > deadline:
            return {"nodes": found}
        time.sleep(POLL_S)


def loops(*, nodes: list[str], block_bytes: int) -> Answer:
    """Attach a loop device to each of these disks; return the loops' nodes, in the same order."""
    return {"nodes": [loop_devices.attach(node, block_bytes) for node in nodes]}


def _serials_of_disks() -> list[str]:
    """Return the files of sysfs with serials: of virtio-blk, NVMe, SCSI."""
    patterns = ("serial", "device/serial", "device/vpd_pg80")
    return [path for each in patterns for path in glob.glob(f"/sys/block/*/{each}")]


def _serial(path: str) -> str:
    """Return a serial; SCSI's is a page with a head of four bytes (SPC, unit serial number)."""
    with open(path, "rb") as file:
        text = file.read()
    return text[4 if path.endswith("vpd_pg80") else 0 :].decode("ascii", "replace").strip()


def wait_until_gone(*, path: str, deadline_s: float) -> Answer:
    """Wait until nothing is at a path any more, such as that of a disk that was unplugged."""
    deadline = time.monotonic() + deadline_s
    while os.path.exists(path):
        if time.monotonic() > deadline:
            raise TimeoutError(f"{path} is still there")
        time.sleep(POLL_S)
    return {}


def drop_caches(*, nodes: list[str]) -> Answer:
    """Forget what the page cache holds of these block devices."""
    for node in nodes:
        descriptor = os.open(node, os.O_RDONLY)
        try:
            fcntl.ioctl(descriptor, BLOCK_FLUSH_IOCTL)
        finally:
            os.close(descriptor)
    return {}


def mark(*, node: str, text: str) -> Answer:
    """Write a mark into the trace: one sector to the marks disk, done when it has its number."""
    working.write_direct(node, 0, text.encode().ljust(working.SECTOR_BYTES, b"\0"))
    return {}


def workload(
    *,
    array: str,
    marks: str,
    seed: int,
    steps: list[Answer],
    fill: str = "stream",
    last: int = 0,
    deadline_s: float,
) -> Answer:
    """Run the steps of a workload against the array, one after another, each marked in the trace.

    ``{"do": "write", "writes": [[number, sector, sectors, kind, fua], ...]}`` issues its writes at
    once, each from a thread of its own; when all have completed comes the mark ``completed
    FIRST..LAST``, or ``failed LAST: ERRNO``. ``{"do": "flush"}`` flushes the array; the mark
    ``flushed LAST`` then says that everything up to that write is acknowledged, as it does behind a
    write with FUA. *last* is the write before these steps, *fill* what the sectors hold,
    *deadline_s* what each step may take.
    """
    descriptor = os.open(array, os.O_WRONLY | os.O_DIRECT)
    try:
        return working.work(
            descriptor, steps, lambda text: mark(node=marks, text=text),
            seed=seed, fill=Fill(fill), last=last, deadline_s=deadline_s,
        )  # fmt: skip
    finally:
        os.close(descriptor)


_loads: list[working.Load] = []


def start_load(
    *,
    array: str,
    marks: str,
    seed: int,
    steps: list[Answer],
    fill: str = "stream",
    last: int = 0,
    deadline_s: float,
) -> Answer:
    """Begin to run a workload beside all that is asked next; as `workload`, which see."""

    def work(until: threading.Event) -> Answer:
        descriptor = os.open(array, os.O_WRONLY | os.O_DIRECT)
        try:
            return working.work(
                descriptor, steps, lambda text: mark(node=marks, text=text),
                seed=seed, fill=Fill(fill), last=last, deadline_s=deadline_s, until=until,
            )  # fmt: skip
        finally:
            os.close(descriptor)

    _loads.append(working.Load(work))
    return {}


def end_load(*, deadline_s: float) -> Answer:
    """End the workload of `start_load`; return what `workload` would."""
    try:
        return _loads.pop().end(deadline_s)
    except waiting.Hung as hung:
        return {"last": 0, "failed": [], "hung": str(hung), "done": 0}


def read_stamps(*, array: str, pages: list[int], deadline_s: float) -> Answer:
    """Read pages of the array past the page cache; say of each sector which write put it there."""
    try:
        return {"stamps": reading.read_stamps(array, pages, deadline_s), "hung": ""}
    except waiting.Hung as hung:
        return {"stamps": [], "hung": str(hung)}


def look_at_hang() -> Answer:
    """Return what shows where the guest hangs, by path; what does not answer says so."""
    return {"texts": stuck.look()}


def wait_for_text(*, path: str, pattern: str, deadline_s: float) -> Answer:
    """Wait until a small file's text matches a regular expression; return the text that it has."""
    patience = Patience(deadline_s)
    while True:
        try:
            with open(path, encoding="utf-8", errors="replace") as file:
                text = file.read().strip()
        except OSError as error:
            text = f"{path}: {error.strerror}"
        if (found := re.search(pattern, text) is not None) or patience.is_over():
            return {"text": text, "found": found}
        time.sleep(POLL_S)


def use_memory(*, leave_mib: int) -> Answer:
    """Take memory, all but so much of what is available, from now on; return how much, in MiB."""
    return {"taken_mib": pressing.take(leave_mib)}


def give_memory_back() -> Answer:
    """Give back what `use_memory` took."""
    pressing.give_back()
    return {}


_recoverers: dict[str, recovering.Recoverer] = {}


def _recoverer(marks: str) -> recovering.Recoverer:
    if marks not in _recoverers:
        _recoverers[marks] = recovering.Recoverer(
            lambda text: mark(node=marks, text=text), commands.run
        )
    return _recoverers[marks]


def recover_states(*, marks: str, states: list[Answer], deadline_s: float) -> Answer:
    """Recover crash states of a bank one after another, up to one that stays.

    Each of *states* is what `recovering.Recoverer.recover` takes.
    """
    results: list[Answer] = []
    for state in states:
        results.append(_recoverer(marks).recover(state, deadline_s))
        results[-1]["ends_the_guest"] = recovering.ends_the_guest(results[-1])
        if results[-1]["ends_the_guest"]:
            break
    return {"results": results}


def put_state(*, marks: str, number: int, nodes: list[str], deadline_s: float) -> Answer:
    """Put a state of a bank on the disks and start its array."""
    _recoverer(marks).put(number, nodes, deadline_s)
    return {}


def put_away(*, marks: str, deadline_s: float) -> Answer:
    """Stop the array of `put_state`."""
    _recoverer(marks).put_away(deadline_s)
    return {}


VERBS = {
    function.__name__: function
    for function in (
        ping, commands.run, read_file, write_file, list_paths, read_bytes, write_bytes,
        mark_kernel_log, kernel_log,
        load_modules, load_disk_modules, disks, loops, wait_until_gone, drop_caches, mark, workload,
        start_load, end_load, read_stamps, look_at_hang, wait_for_text,
        use_memory, give_memory_back,
        recover_states, put_state, put_away,
    )
}  # fmt: skip


def answer(line: bytes) -> bytes:
    """Return the answer to one request line; never raises."""
    number: object = None
    try:
        request = json.loads(line)
        number = request.pop("id")
        verb = VERBS[request.pop("verb")]
        reply = {"id": number, "ok": True, **verb(**request)}
    except Exception as error:  # whatever it was, the host is told and the agent lives on
        reply = {"id": number, "ok": False, "error": f"{type(error).__name__}: {error}"}
    return json.dumps(reply).encode() + b"\n"


def open_port() -> int:
    """Return a descriptor of the virtio-serial port with the agent's name."""
    for path in glob.glob("/sys/class/virtio-ports/*/name"):
        with open(path, encoding="ascii") as name:
            if name.read().strip() == PORT_NAME:
                return os.open("/dev/" + path.split("/")[4], os.O_RDWR)
    raise FileNotFoundError(f"no virtio-serial port is called {PORT_NAME}")


def serve(port: int) -> None:
    """Answer requests for ever; end of file means only that no host is connected just now."""
    pending = bytearray()
    while True:
        chunk = os.read(port, 65536)
        if not chunk:
            time.sleep(POLL_S)
            continue
        pending += chunk
        while b"\n" in pending:
            line, _, rest = bytes(pending).partition(b"\n")
            pending = bytearray(rest)
            _write_all(port, answer(line))


def _write_all(port: int, data: bytes) -> None:
    while data:
        data = data[os.write(port, data) :]


if __name__ == "__main__":
    serve(open_port())
