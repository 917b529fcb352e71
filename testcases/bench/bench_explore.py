"""How fast crash states are verified by the kernel, printed and not judged.

Run it with ``tools/mdjournal test -- testcases/bench/bench_explore.py -s``. All figures are of one
run on this machine as it is; the ratios are of figures measured right behind each other.
"""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from harness.campaign.exploring.choosing import (
    ExploreOptions,
    chosen_states,
    predictor_of,
    subject_of,
)
from harness.campaign.exploring.guest_pool import (
    AT_ONCE,
    GuestPool,
    Job,
    Judged,
    guest_pool,
    recover_and_judge,
)
from harness.campaign.exploring.oracles import EVERY, NONE, Oracles
from harness.campaign.exploring.recordings import drawn_recording
from harness.campaign.lab import disk_caches, guest_disks, nodes_by_serial, served_disk
from harness.crash.strategies import Strategy
from harness.md.shape import Shape
from harness.storage.disk_server import serving
from harness.storage.images import create_image
from harness.verdict.ordering import judge_ordering
from harness.verdict.verdict import Outcome
from harness.vm.guest import running_guest
from harness.vm.machine import MachineConfig
from testcases.bench.long_traces import ARRAY, long_trace
from testcases.lab import Lab

pytestmark = pytest.mark.guest

GUESTS = 2
SHAPE = Shape(chunk_bytes=16 << 10, journal_bytes=1 << 20)
COLD_BOOTS = 3


def jobs_of(lab: Lab, kernel: str, oracles: Oracles, folder: Path) -> tuple[list[Job], float]:
    """Return a job for each class of states of a recording, and the seconds that each took."""
    crash = lab.options(kernel, SHAPE, seed=1)
    options = ExploreOptions(crash=crash, strategy=Strategy.RANDOM, states=4000, oracles=oracles)
    recording = drawn_recording(crash, folder, print).recording
    assert recording is not None
    subject = subject_of(options, recording, predictor_of(options))
    names = [disk.name for disk in recording.trace.disks]
    jobs: dict[bytes, Job] = {}
    began = time.monotonic()
    count = 0
    for ticket, chosen in enumerate(chosen_states(options, recording, states=options.states)):
        look = subject.look_at(chosen, dict(zip(names, chosen.contents(), strict=True)), ticket)
        count += 1
        if look.job is not None and not look.job.state.by_mdadm:
            jobs.setdefault(look.identity, look.job)
    return list(jobs.values()), (time.monotonic() - began) / count


def verified(lab: Lab, kernel: str, jobs: Sequence[Job], states: int) -> tuple[float, float, float]:
    """Let guests recover so many states; return the seconds, those of guests, and CPU's of ours."""
    image = lab.options(kernel, SHAPE, seed=1).image
    work = list(itertools.islice(again(jobs), states))
    with guest_pool(image, SHAPE, recover_and_judge, guests=GUESTS, say=print) as pool:
        warm = [replace(job, state=replace(job.state, number=-n)) for n, job in
                enumerate(work[: 2 * GUESTS], start=1)]  # fmt: skip
        for first in range(0, len(warm), 2):
            wait_for(pool, warm[first : first + 2])
        before, own, began = pool.busy_s, os.times(), time.monotonic()
        done = 0
        for first in range(0, len(work), AT_ONCE):
            done += sum(1 for _ in pool.put(work[first : first + AT_ONCE]))
        while done < len(work):
            for judged in pool.next_ready():
                if judged.verdict.outcome not in (Outcome.AGREES, Outcome.KNOWN):
                    print(f"red: {judged.verdict}")
                done += 1
        seconds = time.monotonic() - began
        now = os.times()
        host_s = now.user + now.system - own.user - own.system
        return seconds, pool.busy_s - before, host_s


def wait_for(pool: GuestPool[Job, Judged], jobs: Sequence[Job]) -> None:
    done = sum(1 for _ in pool.put(jobs))
    while done < len(jobs):
        done += sum(1 for _ in pool.next_ready())


def again(jobs: Sequence[Job]) -> Iterator[Job]:
    """Yield the jobs over and over, each time under another ticket."""
    for ticket, job in enumerate(itertools.cycle(jobs)):
        yield replace(job, state=replace(job.state, number=ticket))


def test_states_a_second(lab: Lab, kernel: str, tmp_path: Path) -> None:
    jobs, looked_s = jobs_of(lab, kernel, Oracles(NONE), tmp_path)
    print(
        f"\n{len(jobs)} classes; predicted and judged without a kernel: {1 / looked_s:.0f} states/s"
    )
    rates = {}
    for states in (100, 500, 5000):
        seconds, guest_s, host_s = verified(lab, kernel, jobs, states)
        rates[states] = states / seconds
        print(
            f"{states} states, differential, available, alive, {GUESTS} guests:"
            f" {rates[states]:.1f} states/s; a guest busy {50 * guest_s / seconds:.0f} % of the"
            f" time, this process {50 * host_s / seconds:.0f} % of both cores"
        )
    every, _ = jobs_of(lab, kernel, Oracles(EVERY), tmp_path)
    seconds, _, _ = verified(lab, kernel, every, 300)
    print(
        f"300 states, all oracles but the crash states of recoveries: {300 / seconds:.1f} states/s"
    )
    cold_s = min(cold_boot(lab, kernel, jobs[0], tmp_path) for _ in range(COLD_BOOTS))
    print(
        f"one cold boot for each state: {1 / cold_s:.2f} states/s and guest, {GUESTS / cold_s:.2f}"
        f" if {GUESTS} cost each other nothing: {rates[500] * cold_s / GUESTS:.0f} times slower"
    )


def cold_boot(lab: Lab, kernel: str, job: Job, folder: Path) -> float:
    """Boot a guest, write a state to its disks, recover it there; return the seconds."""
    image = lab.options(kernel, SHAPE, seed=1).image
    place = lab.evidence().folder
    began = time.monotonic()
    disks = []
    for name in disk_caches(SHAPE):
        path = place / f"{name}.img"
        create_image(path, SHAPE.disk_sizes[name])
        content = job.state.contents[name]
        with path.open("r+b") as file:
            for block, data in content.blocks.items():
                file.seek(4096 * block)
                file.write(data)
        disks.append(served_disk(SHAPE, name, path))
    with serving(disks, trace=place / "trace") as server:
        config = MachineConfig(
            kernel_image=image.kernel_image, initramfs=image.initramfs,
            accelerator=image.accelerator, disks=guest_disks(SHAPE, disks, server.socket),
        )  # fmt: skip
        with running_guest(config, console=place / "console.log") as guest:
            guest.call("load_disk_modules")
            nodes = nodes_by_serial(guest, tuple(d.name for d in disks))
            done = guest.run(
                ["/sbin/mdadm", "--assemble", "/dev/md0", *(nodes[d.name] for d in disks)],
                deadline_s=120,
            )
            assert done.status == 0, str(done)
            guest.run(["/sbin/mdadm", "--stop", "/dev/md0"], deadline_s=120)
    return time.monotonic() - began


def test_order_of_a_million_events() -> None:
    trace, workload = long_trace(1_000_000)
    began = time.monotonic()
    judgement = judge_ordering(trace, ARRAY, workload, first=0, last=trace.events[-1].sequence)
    seconds = time.monotonic() - began
    assert judgement.findings == ()
    print(f"\norder of {len(trace.events)} events judged in {seconds:.1f} s")
    for line in judgement.compared:
        print(f"  {line}")
