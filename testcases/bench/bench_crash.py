"""How long the walking path takes, printed and not judged.

Run it with ``tools/mdjournal test -- testcases/bench/bench_crash.py -s``. Each figure is the
median of several runs on this machine as it is, smallest and largest beside it.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harness.campaign.lab import session
from harness.crash.trace import Cache
from harness.md.shape import JOURNAL_NAME, Shape
from harness.storage.disk_server import ServedDisk, serving
from harness.storage.images import create_image
from harness.vm.guest import running_guest
from harness.vm.machine import GuestDisk, MachineConfig
from harness.vm.saved import saved_state
from testcases.lab import Lab

pytestmark = pytest.mark.guest

REPOSITORY = Path(__file__).resolve().parent.parent.parent
SYSTEM_PYTHON = "/usr/bin/python3"  # has Debian's libnbd bindings
WRITES = 2000
WRITE_BYTES = 16384


def test_crash_from_start_to_verdict_with_everything_cached(kernel: str) -> None:
    command = [str(REPOSITORY / "tools/mdjournal"), "crash", "--kernel", kernel, "--seed", "1"]
    subprocess.run(command, check=True, capture_output=True)
    report("crash, start to verdict", lambda: run_quietly(command), runs=5)


def test_restore_of_a_saved_guest_to_its_first_answer(lab: Lab, kernel: str) -> None:
    shape = Shape()
    options = lab.options(kernel, shape, seed=1)

    def restore_with_disks() -> None:
        evidence = lab.evidence()
        names = (*shape.member_names, JOURNAL_NAME)
        images = {name: evidence.path(f"{name}.img") for name in names}
        for path in images.values():
            create_image(path, shape.member_disk_bytes)
        began = time.monotonic()
        with session(
            options.image, shape, images, trace=evidence.path("trace"),
            console=evidence.path("console.log"), say=print,
        ):  # fmt: skip
            times.append(time.monotonic() - began)

    times: list[float] = []
    restore_with_disks()  # may have to boot and save the guest first
    times.clear()
    for _ in range(7):
        restore_with_disks()
    show("disk server start, restore, disk drivers, disks found", times)
    places = tuple(GuestDisk(f"place{number}") for number in range(len(shape.member_names) + 2))
    config = MachineConfig(
        kernel_image=options.image.kernel_image, initramfs=options.image.initramfs,
        accelerator=options.image.accelerator, disks=places,
    )  # fmt: skip
    state = saved_state(
        config, identity=options.image.identity, folder=options.image.saved_guests, say=print
    )

    def restore_alone() -> None:
        console = lab.evidence().path("console.log")
        with running_guest(config, console=console, saved_state=state):
            alone.append(time.monotonic() - began)

    alone: list[float] = []
    for _ in range(7):
        began = time.monotonic()
        restore_alone()
    show("restore of the saved guest to its first answer", alone)


def test_recording_overhead_against_a_plain_file(tmp_path: Path) -> None:
    """The same writes by one libnbd client: to our server, and to nbdkit's own file plug-in."""
    image = tmp_path / "plain.img"
    create_image(image, 64 << 20)
    for _ in range(3):
        recorded = tmp_path / f"recorded{len(list(tmp_path.iterdir()))}.img"
        create_image(recorded, 64 << 20)
        disk = ServedDisk(name="disk", image=recorded, cache=Cache.WRITE_BACK)
        with serving([disk], trace=recorded.with_suffix(".trace")) as server:
            ours = client_seconds(f"nbd+unix:///disk?socket={server.socket}")
        plain = client_seconds(["nbdkit", "--exit-with-parent", "file", str(image)])
        print(
            f"\n{WRITES} writes of {WRITE_BYTES} bytes: recorded {ours:.2f} s, plain file"
            f" {plain:.2f} s, ratio {ours / plain:.1f}",
            end="",
        )
    print()


def client_seconds(target: str | list[str]) -> float:
    connect = f"h.connect_uri({target!r})" if isinstance(target, str) else (
        f"h.connect_command({[*target[:1], '-s', *target[1:]]!r})"
    )  # fmt: skip
    program = (
        "import nbd, time; h = nbd.NBD(); " + connect + "; b = b'x' * " + str(WRITE_BYTES) + "; "
        "t = time.monotonic(); "
        f"[h.pwrite(b, i * {WRITE_BYTES} % (32 << 20)) for i in range({WRITES})]; "
        "h.flush(); print(time.monotonic() - t)"
    )
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    done = subprocess.run(
        [SYSTEM_PYTHON, "-c", program], check=True, capture_output=True, text=True, env=environment
    )
    return float(done.stdout)


def run_quietly(command: list[str]) -> None:
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def report(name: str, act: Callable[[], None], *, runs: int) -> None:
    show(name, list(timed(act, runs)))


def timed(act: Callable[[], None], runs: int) -> Iterator[float]:
    for _ in range(runs):
        began = time.monotonic()
        act()
        yield time.monotonic() - began


def show(name: str, seconds: list[float]) -> None:
    print(
        f"\n{name}: median {statistics.median(seconds):.2f} s"
        f" ({min(seconds):.2f} to {max(seconds):.2f}, {len(seconds)} runs)",
        file=sys.stdout,
    )
