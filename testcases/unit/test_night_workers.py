"""Workers of a night, as real processes of dask.distributed: they die, hang, and are out of disk.

No limit here is tight: what must happen is waited for, however busy the machine is.
"""

from __future__ import annotations

import contextlib
import math
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.campaign.nights.workers import Done, Workers, workers
from harness.errors import BadInput, Unavailable
from testcases.unit.night_work import begun, work
from tools.nightly import environment_lines

ROOT = Path(__file__).resolve().parents[2]
LONG_S = 120.0
INPUT_BYTES = 3 << 20

pytestmark = pytest.mark.filterwarnings("default")  # dask's own are no matter of ours


class Bench:
    """A pool, and units for it."""

    def __init__(self, pool: Workers, folder: Path) -> None:
        self.pool, self.notes = pool, folder / "notes"
        self._count = 0
        self._found: dict[str, Done] = {}
        image, initramfs = folder / "kernel", folder / "initramfs"
        image.write_bytes(os.urandom(INPUT_BYTES))
        initramfs.write_bytes(b"initramfs")
        self.inputs = pool.take_input(image), pool.take_input(initramfs)

    def submit(self, do: str, **more: Any) -> str:
        """Hand a unit over; return what it is called."""
        ticket, part = self._count, f"unit-{self._count}"
        self._count += 1
        self.pool.submit(ticket, {"do": do, "part": part, "notes": str(self.notes), **more},
                         self.inputs)  # fmt: skip
        return part

    def rest(self) -> dict[str, Done]:
        """Return all that was handed over, once it is over."""
        deadline = time.monotonic() + LONG_S
        while len(self._found) < self._count:
            assert time.monotonic() < deadline, f"only {sorted(self._found)} of {self._count}"
            if (done := self.pool.next_done(1.0)) is not None:
                self._found[f"unit-{done.ticket}"] = done
        return self._found


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where inputs come to: a cache of its own, for workers as well."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MDJOURNAL_CACHE", str(folder))
        yield folder


@pytest.fixture(scope="module")
def own() -> Iterator[Workers]:
    """Two processes, of which some die; others come in their place."""
    with workers(work, count=2, scheduler=None) as pool:
        yield pool


@pytest.fixture
def bench(own: Workers, tmp_path: Path) -> Iterator[Bench]:
    # Those that a test before this one has lost are replaced by now.
    wait_until(lambda: len(own._client.scheduler_info(n_workers=-1)["workers"]) == 2)
    own._asked = -math.inf
    yield Bench(own, tmp_path)
    own.cancel()


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LONG_S
    while not condition():
        assert time.monotonic() < deadline, "it does not come about"
        time.sleep(0.02)


def test_units_are_done_on_both_and_their_inputs_arrive(bench: Bench) -> None:
    for _ in range(6):
        bench.submit("sleep", seconds=0.2)
    found = bench.rest()
    assert all(done.result and not done.why for done in found.values())
    assert len({done.worker for done in found.values()}) == 2
    assert len({done.result["inputs"] for done in found.values() if done.result}) == 1


def test_a_killed_worker_loses_one_unit_that_is_repeated_elsewhere(bench: Bench) -> None:
    bad = bench.submit("die-once")
    others = [bench.submit("sleep", seconds=0.1) for _ in range(4)]
    found = bench.rest()
    assert all(found[part].result for part in (bad, *others))
    (_, first), (_, second) = begun(bench.notes, bad)
    assert first != second


def test_the_only_worker_that_had_the_inputs_may_die(tmp_path: Path) -> None:
    with workers(work, count=1, scheduler=None) as pool:
        bench = Bench(pool, tmp_path)
        bench.submit("sleep")
        bench.submit("die-once")
        bench.submit("sleep")
        assert all(done.result for done in bench.rest().values())


def test_a_result_that_goes_with_its_worker_is_made_again(tmp_path: Path) -> None:
    with workers(work, count=1, scheduler=None) as pool:
        bench = Bench(pool, tmp_path)
        part = bench.submit("sleep")
        wait_until(lambda: pool._open[0].future.status == "finished")
        ((_, pid),) = begun(bench.notes, part)
        os.kill(pid, signal.SIGKILL)
        assert bench.rest()[part].result is not None
        assert len(begun(bench.notes, part)) == 2


def test_a_unit_that_takes_two_workers_is_set_aside(bench: Bench) -> None:
    bad = bench.submit("die")
    good = bench.submit("sleep", seconds=0.2)
    found = bench.rest()
    assert found[good].result is not None
    assert found[bad].set_aside
    assert found[bad].result is None
    assert found[bad].why.startswith("took 2 workers with it, the last at tcp://127.0.0.1:")
    assert len(begun(bench.notes, bad)) == 2


def test_a_unit_that_hangs_is_ended_by_its_watch_and_repeated(bench: Bench) -> None:
    bad = bench.submit("hang-once")
    assert bench.rest()[bad].result is not None
    assert len(begun(bench.notes, bad)) == 2


def test_a_full_disk_of_a_worker_has_the_unit_repeated_on_another(bench: Bench) -> None:
    bad = bench.submit("fill-disk-once")
    assert bench.rest()[bad].result is not None
    (first, _), (second, _) = begun(bench.notes, bad)
    assert first != second


def test_a_disk_that_is_full_everywhere_is_told(bench: Bench) -> None:
    bad = bench.submit("fill-disk")
    done = bench.rest()[bad]
    assert not done.set_aside
    assert done.result is None
    assert done.why == "OSError: [Errno 28] No space left on device: '/full'"


def test_inputs_that_cannot_be_kept_are_told_and_nothing_hangs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("MDJOURNAL_CACHE", str(tmp_path / "file"))  # no folder can be in it
    with workers(work, count=1, scheduler=None) as pool:
        bench = Bench(pool, tmp_path)
        bad = bench.submit("sleep")
        done = bench.rest()[bad]
    assert (done.result, done.set_aside) == (None, False)
    assert "cannot be kept: " in done.why


def test_a_worker_on_which_nothing_works_is_left_alone(tmp_path: Path) -> None:
    with workers(work, count=2, scheduler=None) as pool:
        bench = Bench(pool, tmp_path)
        for _ in range(8):
            for _ in range(2):
                bench.submit("fill-disk-of-one", worker="0")
            assert all(done.result for done in bench.rest().values())
        assert pool.count == 1
        assert len([line for line in bench.notes.read_text().split("\n") if " 0 " in line]) <= 4


def test_inputs_are_sent_to_each_worker_once(bench: Bench) -> None:
    client = bench.pool._client
    for _ in range(2):  # one for each, and none that waits: an idle worker would steal it
        bench.submit("sleep", seconds=1.0)
    bench.rest()
    for _ in range(6):
        bench.submit("sleep", seconds=0.05)
    bench.rest()
    fetched = client.run(lambda dask_worker: [
        sorted(entry["keys"]) for entry in dask_worker.transfer_incoming_log
    ])  # fmt: skip
    name = f"input-{bench.inputs[0]}"
    times = [sum(name in keys for keys in log) for log in fetched.values()]
    # One has had it from the scheduler, the other from that one.
    assert sorted(times) == [0, 1]
    held = client.who_has(  # type: ignore[no-untyped-call]
        [bench.pool._inputs[bench.inputs[0]]]
    )
    assert len(held[name]) == 2


def test_what_is_under_way_can_be_given_up(bench: Bench) -> None:
    bench.submit("sleep", seconds=30.0)
    bench.submit("sleep", seconds=30.0)
    wait_until(lambda: bool(begun(bench.notes, "unit-0") and begun(bench.notes, "unit-1")))
    assert sorted(bench.pool.cancel()) == [0, 1]
    assert bench.pool.next_done(0.2) is None
    # Nobody waits for what comes of them: the scheduler has forgotten both.
    processing = bench.pool._client.processing
    wait_until(lambda: not any(processing().values()))  # type: ignore[no-untyped-call]


def test_workers_leave_neither_process_nor_folder(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with workers(work, count=2, scheduler=None) as pool:
        bench = Bench(pool, tmp_path)
        bench.submit("sleep", seconds=600.0)
        wait_until(lambda: bench.notes.exists() and bool(begun(bench.notes, "unit-0")))
        ((_, pid),) = begun(bench.notes, "unit-0")
    wait_until(lambda: not Path(f"/proc/{pid}").exists())
    assert [each.name for each in tmp_path.iterdir() if each.name.startswith("mdj")] == []


# A cluster that is there: started as docs/nightly.md says.


@contextlib.contextmanager
def started(words: str, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Start one of Dask's own programs in a shell with what `nightly --environment` prints."""
    lines = "\n".join(environment_lines())
    with (folder / "log").open("ab") as log, subprocess.Popen(
        ["bash", "-c", f"{lines}\nexec python -m {words}"], stdout=log, stderr=log, cwd=folder,
    ) as process:  # fmt: skip
        try:
            yield process
        finally:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(10)
            process.kill()


@pytest.fixture
def address() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"tcp://127.0.0.1:{free.getsockname()[1]}"


def scheduler_words(address: str) -> str:
    port = address.rpartition(":")[2]
    return f"dask scheduler --host 127.0.0.1 --port {port} --no-dashboard"


def test_of_two_workers_started_by_hand_one_is_killed_midway(tmp_path: Path, address: str) -> None:
    worker = f"dask worker {address} --nthreads 1 --no-nanny --no-dashboard"
    with (
        started(scheduler_words(address), tmp_path),
        started(worker, tmp_path) as first,
        started(worker, tmp_path),
        workers(work, count=9, scheduler=address) as pool,
    ):
        wait_until(lambda: pool.count == 2)
        bench = Bench(pool, tmp_path)
        parts = [bench.submit("sleep", seconds=0.5) for _ in range(6)]
        wait_until(lambda: bench.notes.exists() and f" {first.pid}\n" in bench.notes.read_text())
        first.send_signal(signal.SIGKILL)
        found = bench.rest()
        assert all(found[part].result for part in parts)
        assert first.pid in [pid for part in parts for _, pid in begun(bench.notes, part)]
        assert first.pid not in [done.result["pid"] for done in found.values() if done.result]


def test_a_scheduler_that_goes_away_is_told(tmp_path: Path, address: str) -> None:
    worker = f"dask worker {address} --nthreads 1 --no-nanny --no-dashboard"
    with (
        started(scheduler_words(address), tmp_path) as scheduler,
        started(worker, tmp_path),
        workers(work, count=1, scheduler=address) as pool,
    ):
        wait_until(lambda: pool.count == 1)
        bench = Bench(pool, tmp_path)
        bench.submit("sleep", seconds=600.0)
        scheduler.send_signal(signal.SIGKILL)
        with pytest.raises(Unavailable, match="the scheduler of the workers is gone"):
            bench.rest()


def test_nobody_at_the_address_is_misuse(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.campaign.nights.workers._CONNECT_S", "1s")
    with pytest.raises(BadInput) as caught, workers(work, count=1, scheduler=address):
        pass
    assert str(caught.value) == (
        f"--scheduler {address}: nobody answers there; start one with dask scheduler"
    )
    assert caught.value.exit_status == 2
