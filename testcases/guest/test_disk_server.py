"""The recording disk server, asked by another's client: order, payload, caches, marks, jitter."""

from __future__ import annotations

import contextlib
import errno
import os
import random
import signal
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harness.crash.states import Fate, Loss, crash_state, fates
from harness.crash.trace import (
    Cache,
    Completion,
    Flag,
    Issue,
    Mark,
    Operation,
    Trace,
    decode,
)
from harness.errors import HarnessError
from harness.storage.disk_server import MARKS_EXPORT, DiskServer, ServedDisk, serving
from harness.storage.images import create_image
from harness.storage.jitter import completion_delay_us
from testcases.guest.disk_client import Client, Request
from tools.launch.debian import missing_packages

pytestmark = pytest.mark.guest

SIZE = 4 << 20
END = 2**63  # a cut behind every event


@pytest.fixture(autouse=True)
def _libnbd(pytestconfig: pytest.Config) -> None:
    if "python3-libnbd" in missing_packages("test"):
        if pytestconfig.getoption("--require-guest"):
            pytest.fail("not installed: python3-libnbd", pytrace=False)
        pytest.skip("not installed: python3-libnbd")


@pytest.fixture
def served(tmp_path: Path) -> Callable[..., contextlib.AbstractContextManager[DiskServer]]:
    """Serve disks of 4 MiB by their names and caches; the trace is run.mdjtrace."""

    @contextlib.contextmanager
    def serve(jitter_us: int = 0, seed: int = 0, **caches: Cache) -> Iterator[DiskServer]:
        disks = []
        for name, cache in caches.items():
            image = tmp_path / f"{name}.img"
            create_image(image, SIZE)
            disks.append(ServedDisk(name=name, image=image, cache=cache))
        trace = tmp_path / "run.mdjtrace"
        with serving(disks, trace=trace, jitter_us=jitter_us, seed=seed) as server:
            yield server

    return serve


Serve = Callable[..., contextlib.AbstractContextManager[DiskServer]]
BACK, THROUGH = Cache.WRITE_BACK, Cache.WRITE_THROUGH


def write(export: str, offset: int, data: bytes, *, fua: bool = False) -> Request:
    return {"export": export, "what": "write", "offset": offset, "data": data.hex(), "fua": fua}


def flush(export: str) -> Request:
    return {"export": export, "what": "flush"}


def mark(text: str) -> Request:
    return write(MARKS_EXPORT, 0, text.encode().ljust(512, b"\0"))


def recorded(server: DiskServer) -> Trace:
    """Read the trace, at whose end nothing is torn."""
    trace = decode(server.trace.read_bytes())
    assert trace.torn_bytes == 0
    return trace


def issues(trace: Trace) -> list[Issue]:
    return [event for event in trace.events if isinstance(event, Issue)]


def completions(trace: Trace) -> list[Completion]:
    return [event for event in trace.events if isinstance(event, Completion)]


def fates_of(trace: Trace, disk: str, cut: int = END) -> list[Fate]:
    return [write.fate for write in fates(trace, cut)[trace.disk_index(disk)]]


def test_writes_to_two_disks_at_once_get_one_order(served: Serve, tmp_path: Path) -> None:
    draw = random.Random(1)
    requests = [
        write("ab"[number % 2], number * 8192, draw.randbytes(512 * draw.randint(1, 16)))
        for number in range(120)
    ]
    with served(a=BACK, b=BACK, jitter_us=2000, seed=1) as server, Client(server) as client:
        client.connect("a", "b")
        client.send(*requests)
    trace = recorded(server)
    assert [event.sequence for event in trace.events] == list(range(1, 241))
    assert Counter(type(event) for event in trace.events) == {Issue: 120, Completion: 120}
    issued = {issue.request: issue for issue in issues(trace)}
    assert sorted(issued) == list(range(1, 121))
    for completion in completions(trace):
        issue = issued.pop(completion.request)
        assert (completion.error, completion.disk) == (0, issue.disk)
        assert issue.sequence < completion.sequence
    assert not issued
    sent = {(each["export"], each["offset"], each["data"]) for each in requests}
    kept = {(trace.disks[i.disk].name, i.offset, i.payload.hex()) for i in issues(trace)}
    assert kept == sent
    assert all(issue.length == len(issue.payload) for issue in issues(trace))
    for export, offset, data in sent:
        image = (tmp_path / f"{export}.img").read_bytes()
        assert image[offset : offset + len(data) // 2].hex() == data


def test_requests_of_two_disks_are_in_flight_together(served: Serve) -> None:
    jitter_us = 300_000
    seed = next(
        seed
        for seed in range(10_000)
        if all(
            completion_delay_us(seed=seed, request=request, jitter_us=jitter_us) > 200_000
            for request in (1, 2, 3, 4)
        )
    )
    with served(a=BACK, b=BACK, jitter_us=jitter_us, seed=seed) as server:
        with Client(server) as client:
            client.connect("a", "b")
            client.send(
                write("a", 0, b"1" * 512), write("b", 0, b"2" * 512),
                write("a", 512, b"3" * 512), write("b", 512, b"4" * 512),
            )  # fmt: skip
        events = recorded(server).events
    assert [type(event) for event in events] == [Issue] * 4 + [Completion] * 4


@pytest.mark.parametrize("flushed", ["a", "b"])
def test_flush_of_one_disk_makes_nothing_durable_on_another(served: Serve, flushed: str) -> None:
    with served(a=BACK, b=BACK) as server, Client(server) as client:
        client.connect("a", "b")
        client.send(write("a", 0, b"1" * 512), write("b", 0, b"2" * 512))
        client.send(flush(flushed))
    trace = recorded(server)
    other = "ab".replace(flushed, "")
    before = next(i.sequence for i in issues(trace) if i.operation is Operation.FLUSH)
    assert fates_of(trace, "a", before) == fates_of(trace, "b", before) == [Fate.CACHED]
    assert fates_of(trace, flushed) == [Fate.DURABLE]
    assert fates_of(trace, other) == [Fate.CACHED]
    state = crash_state(trace, END, Loss.ALL, seed=0)
    assert [len(survivors) for survivors in state.survivors] == [flushed == "a", flushed == "b"]


def test_flush_covers_what_completed_before_it_and_no_more(served: Serve) -> None:
    with served(a=BACK) as server, Client(server) as client:
        client.connect("a")
        client.send(write("a", 0, b"1" * 512))
        client.send(flush("a"))
        client.send(write("a", 512, b"2" * 512))
    assert fates_of(recorded(server), "a") == [Fate.DURABLE, Fate.CACHED]


def test_requests_are_recorded_as_what_they_are(served: Serve) -> None:
    place: Request = {"export": "a", "offset": 65536, "length": 8192}
    requests: list[Request] = [
        write("a", 4096, b"1" * 1024),
        write("a", 8192, b"2" * 512, fua=True),
        flush("a"),
        {**place, "what": "trim"},
        {**place, "what": "trim", "fua": True},
        {**place, "what": "zero"},
        {**place, "what": "zero", "no_hole": True},
        {**place, "what": "zero", "no_hole": True, "fua": True},
    ]
    with served(a=BACK) as server, Client(server) as client:
        (offer,) = client.connect("a")
        for request in requests:
            client.send(request)
    assert offer == {
        "size_bytes": SIZE, "flush": True, "fua": True, "trim": True, "zero": True,
        "multi_conn": True,
    }  # fmt: skip
    trace = recorded(server)
    assert [(i.operation, i.flags, i.offset, i.length, i.payload) for i in issues(trace)] == [
        (Operation.WRITE, Flag(0), 4096, 1024, b"1" * 1024),
        (Operation.WRITE, Flag.FUA, 8192, 512, b"2" * 512),
        (Operation.FLUSH, Flag(0), 0, 0, b""),
        (Operation.TRIM, Flag(0), 65536, 8192, b""),
        (Operation.TRIM, Flag.FUA, 65536, 8192, b""),
        (Operation.ZEROES, Flag.MAY_TRIM, 65536, 8192, b""),
        (Operation.ZEROES, Flag(0), 65536, 8192, b""),
        (Operation.ZEROES, Flag.FUA, 65536, 8192, b""),
    ]
    assert [completion.error for completion in completions(trace)] == [0] * 8


def test_fua_is_durable_without_a_flush_and_takes_nothing_with_it(served: Serve) -> None:
    with served(a=BACK) as server, Client(server) as client:
        client.connect("a")
        client.send(write("a", 0, b"1" * 512))
        client.send(write("a", 512, b"2" * 512, fua=True))
    assert fates_of(recorded(server), "a") == [Fate.CACHED, Fate.DURABLE]


def test_write_through_disk_has_no_flush_and_keeps_what_completed(served: Serve) -> None:
    with served(a=THROUGH, b=BACK) as server, Client(server) as client:
        through, _ = client.connect("a", "b")
        assert not through["flush"]
        assert not through["fua"]
        client.send(write("a", 0, b"1" * 512), write("b", 0, b"2" * 512))
    trace = recorded(server)
    assert [disk.cache for disk in trace.disks] == [THROUGH, BACK]
    assert fates_of(trace, "a") == [Fate.DURABLE]
    assert fates_of(trace, "b") == [Fate.CACHED]


def test_marks_have_a_place_in_the_order(served: Serve) -> None:
    with served(a=BACK) as server, Client(server) as client:
        _, offer = client.connect("a", MARKS_EXPORT)
        assert not offer["trim"]
        client.send(write("a", 0, b"1" * 512))
        client.send(mark("after the write"))
        client.send(flush("a"))
        client.send(mark("flushed ü"))
    trace = recorded(server)
    assert [type(event) for event in trace.events] == [
        Issue, Completion, Mark, Issue, Completion, Mark,
    ]  # fmt: skip
    assert trace.mark("after the write").sequence == 3
    assert trace.mark("flushed ü").sequence == 6
    assert fates_of(trace, "a", 3) == [Fate.CACHED]
    assert fates_of(trace, "a", 6) == [Fate.DURABLE]


@pytest.mark.parametrize("attempt", [1, 2])
def test_seed_decides_how_long_completions_are_held_back(served: Serve, attempt: int) -> None:
    # A server with other delays would be faster than these at one of 16 requests, all but surely.
    jitter_us, seed = 60_000, 8812
    with served(a=BACK, jitter_us=jitter_us, seed=seed) as server, Client(server) as client:
        client.connect("a")
        took = [client.send(write("a", n * 512, b"1" * 512)) for n in range(16)]
    for request, seconds in enumerate(took, start=1):
        delay_us = completion_delay_us(seed=seed, request=request, jitter_us=jitter_us)
        assert seconds * 1e6 >= delay_us


def test_what_was_written_is_read_back_and_trimmed_space_is_given_back(
    served: Serve, tmp_path: Path
) -> None:
    data = random.Random(2).randbytes(2 << 20)
    image = tmp_path / "a.img"
    with served(a=BACK) as server, Client(server) as client:
        client.connect("a")
        assert image.stat().st_blocks == 0
        client.send(write("a", 1 << 20, data))
        assert client.read("a", 1 << 20, 2 << 20) == data
        assert client.read("a", (1 << 20) - 512, 1024) == bytes(512) + data[:512]
        full = image.stat().st_blocks * 512
        assert full >= 2 << 20
        client.send({"export": "a", "what": "trim", "offset": 1 << 20, "length": 1 << 20})
        client.send({"export": "a", "what": "zero", "offset": 2 << 20, "length": 1 << 19})
        assert image.stat().st_blocks * 512 <= full - (3 << 19)
        left = data[(3 << 19) :]
        assert client.read("a", 0, SIZE) == bytes(5 << 19) + left + bytes(1 << 20)
    assert image.stat().st_size == SIZE


def test_killed_server_leaves_a_trace_that_reads(served: Serve) -> None:
    with served(a=BACK, jitter_us=50_000, seed=3) as server, Client(server) as client:
        client.connect("a")
        client.send(write("a", 0, b"1" * 4096))
        client.send(flush("a"))
        requests = [write("a", n * 65536, bytes([n]) * 65536) for n in range(1, 60)]
        client.ask("send", requests=requests, wait=False)
        os.kill(server.pid, signal.SIGKILL)
    data = server.trace.read_bytes()
    trace = decode(data)
    assert [event.sequence for event in trace.events] == list(range(1, len(trace.events) + 1))
    assert fates_of(trace, "a")[0] is Fate.DURABLE
    assert trace.torn_bytes < 70_000
    for torn in (1, 30, 4000):  # and so wherever the tear is
        assert trace.events[: len(decode(data[:-torn]).events)] == decode(data[:-torn]).events


@pytest.mark.parametrize("ending", ["well", "by-an-error"])
def test_nothing_is_left_running(served: Serve, ending: str) -> None:
    with contextlib.suppress(ZeroDivisionError), served(a=BACK) as server, Client(server) as client:
        client.connect("a")
        if ending == "by-an-error":
            raise ZeroDivisionError
    with pytest.raises(ProcessLookupError):
        os.kill(server.pid, 0)
    assert not server.socket.parent.exists()
    assert recorded(server).events == ()


def test_unknown_export_is_refused_and_harms_no_other(served: Serve) -> None:
    with served(a=BACK) as server, Client(server) as client:
        assert "error" in client.ask("connect", export="nosuch")
        client.connect("a")
        client.send(write("a", 0, b"1" * 512))
    assert len(issues(recorded(server))) == 1


def test_earlier_trace_is_not_written_over(served: Serve, tmp_path: Path) -> None:
    (tmp_path / "run.mdjtrace").write_text("precious")
    with pytest.raises(HarnessError, match=r"nbdkit does not start: .*File exists"):
        served(a=BACK).__enter__()
    assert (tmp_path / "run.mdjtrace").read_text() == "precious"


@pytest.fixture
def small_folder(tmp_path: Path, pytestconfig: pytest.Config) -> Iterator[Path]:
    """A folder on a file system of 1 MiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1M", "tmpfs", str(folder)]
    if subprocess.run(mount, check=False).returncode:
        if pytestconfig.getoption("--require-guest"):
            pytest.fail("cannot mount a tmpfs; it takes root", pytrace=False)
        pytest.skip("cannot mount a tmpfs; it takes root")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_failed_write_is_recorded_with_its_error(small_folder: Path, tmp_path: Path) -> None:
    image = small_folder / "a.img"
    create_image(image, SIZE)
    disks = [ServedDisk(name="a", image=image, cache=BACK)]
    with serving(disks, trace=tmp_path / "run.mdjtrace") as server, Client(server) as client:
        client.connect("a")
        answer = client.ask("send", requests=[write("a", 0, b"1" * (2 << 20))])
        assert answer["errors"] == [errno.ENOSPC]
        client.send(flush("a"))
    trace = recorded(server)
    assert [completion.error for completion in completions(trace)] == [errno.ENOSPC, 0]
    assert fates_of(trace, "a") == [Fate.IN_FLIGHT]


def test_trace_on_a_full_disk_has_no_tear_in_its_middle(small_folder: Path, tmp_path: Path) -> None:
    image, filler = tmp_path / "a.img", small_folder / "filler"
    create_image(image, SIZE)
    filler.write_bytes(bytes(512 << 10))
    disks = [ServedDisk(name="a", image=image, cache=BACK)]
    with serving(disks, trace=small_folder / "run.mdjtrace") as server, Client(server) as client:
        client.connect("a")
        client.send(write("a", 0, b"1" * 4096))
        answer = client.ask("send", requests=[write("a", 4096, b"2" * (1 << 20))])
        assert answer["errors"] != [0]
        filler.unlink()
        client.send(write("a", 0, b"3" * 4096))
        trace = recorded(server)
    assert [issue.payload[:1] for issue in issues(trace)] == [b"1", b"3"]
    assert image.read_bytes()[4096:8192] == bytes(4096)
