"""What a night's engine costs, how its workers scale, and how big its page is; nothing is judged.

Run it with ``tools/mdjournal test -- testcases/bench/bench_nightly.py -s``. Units that sleep need
no processor, so what they lose is the engine's; real guests need one each, so four workers are
more than two cores can serve.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from harness.campaign.history.records import Case, KernelSeen, Kind
from harness.campaign.history.store import opened_history
from harness.campaign.nights.choosing import Chooser, Past, Work, part_of
from harness.campaign.nights.engine import Night, NightGuest, NightKernel
from harness.campaign.nights.html import night_page
from harness.campaign.nights.inputs import InputFile
from harness.campaign.nights.plan import plan_of
from harness.campaign.nights.workers import workers
from testcases.made_view import many_cases
from tools.nightly import night_kernel
from tools.nightly_kernels import Prepared, prepared
from tools.nightly_plan import needed_guests, spec_maker, works_of
from tools.nightly_unit import run_unit

pytestmark = pytest.mark.filterwarnings("default")

INPUT_BYTES = 20 << 20  # of each of two
GUEST_UNITS = 4
PLAN = """
kernels = ["{kernel}"]
[[explore]]
name = "raid5"
states = 60
steps = 5
units = {units}
"""


def sleeping(spec: Mapping[str, Any], *_: InputFile) -> dict[str, Any]:
    """Be a unit that takes its time and does nothing."""
    time.sleep(spec["sleep_s"])
    return {
        "outcome": "AGREES", "reason": "", "states": 1, "findings": [], "bundle": None,
        "began": time.time(), "seconds": float(spec["sleep_s"]),
    }  # fmt: skip


def show(what: str, count: int, units: int, took_s: float, each_s: float) -> None:
    ideal_s = units * each_s / count
    print(
        f"\n{what}, {count} workers: {units} units in {took_s:.1f} s,"
        f" {1000 * (took_s - ideal_s) * count / units:.1f} ms of a worker beside each unit's own"
        f" time, efficiency {ideal_s / took_s:.0%}; load {os.getloadavg()[0]:.1f}",
        end="",
    )


@pytest.mark.parametrize(("sleep_s", "units"), [(0.0, 400), (1.0, 40)])
@pytest.mark.parametrize("count", [1, 2, 4])
def test_units_that_sleep(tmp_path: Path, count: int, sleep_s: float, units: int) -> None:
    kernel = KernelSeen("none", "0", "0", "none")
    paths = tmp_path / "kernel", tmp_path / "initramfs"
    for path in paths:
        path.write_bytes(os.urandom(INPUT_BYTES))
    case = Case(Kind.EXPLORE, "sleeping")
    work = Work(case=case, kernel="none", line=None, most=units, states=1)
    with (
        opened_history(tmp_path / "history.sqlite") as history,
        workers(sleeping, count=count, scheduler=None) as pool,
    ):
        guest = NightGuest(facts={}, inputs=tuple(pool.take_input(path) for path in paths))

        def night(number: int, most: int) -> float:
            several = [Work(case=case, kernel="none", line=None, most=most, states=1)]
            made = Night(
                history=history, run=history.begin_run(f"night {number}"),
                chooser=Chooser(several, Past(pace_s={work.place: 1.0})),
                kernels={"none": NightKernel(seen=kernel, facts={}, guests={"": guest})},
                spec_of=lambda _, n: {"do": "explore", "part": part_of(n), "sleep_s": sleep_s},
                folder=tmp_path, deadline=time.monotonic() + 600, say=lambda _: None,
            )  # fmt: skip
            began = time.monotonic()
            made.go(pool)
            return time.monotonic() - began

        first_s = night(1, 4 * count)  # inputs travel
        took_s = night(2, units)
    show(f"units of {sleep_s:.0f} s", count, units, took_s, sleep_s)
    print(f"; the first {4 * count} with 40 MB of inputs {first_s:.1f} s", end="")


@pytest.fixture(scope="module")
def kernels(kernel: str) -> dict[str, Prepared]:
    plan = plan_of(PLAN.format(kernel=kernel, units=1))
    found, _ = prepared(plan.kernels, needed_guests(plan), "auto", say=print)
    return found


Alone = dict[int, float]


@pytest.fixture(scope="module")
def alone() -> Alone:
    """What a unit took with one worker."""
    return {}


@pytest.mark.guest
@pytest.mark.parametrize("count", [1, 2, 4])
def test_real_guests(
    kernel: str, kernels: dict[str, Prepared], alone: Alone, tmp_path: Path, count: int
) -> None:
    plan = plan_of(PLAN.format(kernel=kernel, units=GUEST_UNITS))
    with (
        opened_history(tmp_path / "history.sqlite") as history,
        workers(run_unit, count=count, scheduler=None) as pool,
    ):
        ready = {name: night_kernel(each, pool) for name, each in kernels.items()}
        night = Night(
            history=history, run=history.begin_run("night"), kernels=ready,
            chooser=Chooser(works_of(plan, kernels), Past()), spec_of=spec_maker(kernels, 1),
            folder=tmp_path, deadline=time.monotonic() + 600, say=lambda _: None,
        )  # fmt: skip
        began = time.monotonic()
        account = night.go(pool)
        took_s = time.monotonic() - began
    alone.setdefault(0, took_s / GUEST_UNITS)
    show("explore units of 60 states", count, GUEST_UNITS, took_s, alone[0])
    print(f"; {account.states / took_s:.1f} states/s", end="")
    if count > 2:
        print(" (more workers than the two cores that this was written on)", end="")


def timed(action: Callable[[], str]) -> tuple[str, float]:
    began = time.monotonic()
    return action(), time.monotonic() - began


def test_the_page_of_a_night_of_100_000_states() -> None:
    view = many_cases(states=100_000)
    page, made_s = timed(lambda: night_page(view))
    print(
        f"\npage of {view.judged} places, 100,000 states: {len(page.encode()) / 1e6:.2f} MB,"
        f" made in {made_s:.2f} s",
        end="",
    )
