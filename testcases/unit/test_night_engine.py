"""A night with made-up workers and a clock that a test sets: what it hands out and keeps."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from harness.campaign.history.records import Case, Finding, Kind, Run, Status
from harness.campaign.history.store import History, opened_history
from harness.campaign.nights import engine
from harness.campaign.nights.choosing import MOST_FAILURES, Chooser, Past, Work, part_of
from harness.campaign.nights.engine import Night, NightGuest, NightKernel, units_done
from harness.campaign.nights.workers import Done
from harness.campaign.reproducing.bundle import GuestFacts
from harness.errors import Unavailable
from harness.verdict.verdict import Outcome
from testcases.unit.made_nights import KERNEL, OTHER_KERNEL, UPGRADED

GUEST = NightGuest(facts={"identity": "g", "kind": "tiny", "mdadm": "4.2"}, inputs=("k", "i"))
READY = NightKernel(seen=KERNEL, facts={}, guests={"g": GUEST})
RED = {"oracle": "read", "sentence": "block N is old", "known_as": "", "count": 2}
SIGNATURE = "read: block N is old"
WORK = Work(case=Case(Kind.EXPLORE, "five"), kernel=KERNEL.name, line=None, most=3, states=10,
            guest="g")  # fmt: skip
WORK2 = replace(WORK, case=Case(Kind.EXPLORE, "six"), most=1)
Answer = Mapping[str, Any] | Done | None
Unit = tuple[int, Mapping[str, Any]]


class Clock:
    """Time that passes when the pool is waited for."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        """Return what time it is."""
        return self.now

    time = monotonic


class FakePool:
    """Does units in the order in which they come, each in the seconds that it says."""

    def __init__(self, clock: Clock, answer: Callable[[Mapping[str, Any]], Answer]) -> None:
        self.count = 2
        self.handed: list[Mapping[str, Any]] = []
        self.cancelled: list[int] = []
        self._clock, self._answer = clock, answer
        self._waiting: list[Unit] = []

    def submit(self, ticket: int, spec: Mapping[str, Any], inputs: Sequence[str]) -> None:
        """Take a unit."""
        assert inputs == GUEST.inputs
        self.handed.append(spec)
        self._waiting.append((ticket, spec))

    def next_done(self, timeout_s: float) -> Done | None:
        """Return the oldest; one without an answer goes on for ever."""
        for place, (ticket, spec) in enumerate(self._waiting):
            answer = self._answer(spec)
            if answer is not None:
                del self._waiting[place]
                if isinstance(answer, Done):
                    return Done(ticket, answer.result, answer.why, answer.set_aside)
                self._clock.now += answer["seconds"]
                return Done(ticket, dict(answer), worker="worker-1")
        self._clock.now += timeout_s
        return None

    def cancel(self) -> list[int]:
        """Give up the rest."""
        self.cancelled = [ticket for ticket, _ in self._waiting]
        return self.cancelled

    @property
    def did(self) -> list[str]:
        """What was handed out, in words."""
        kinds = ("explore", "scenario")
        return [spec["part"] if spec["do"] in kinds else spec["do"] for spec in self.handed]


def green(spec: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    found = {"outcome": "AGREES", "reason": "", "states": 10, "findings": [], "bundle": None}
    return {**found, "began": 5.0, "seconds": 10.0, **more}


def red(spec: Mapping[str, Any]) -> dict[str, Any]:
    if spec["do"] == "minimise":
        return {"bundle": b"small", "words": "1 write", "began": 5.0, "seconds": 30.0}
    bundle = None if SIGNATURE in spec["packed"] else f"large of {spec['part']}".encode()
    return green(spec, outcome="DIFFERS", reason=SIGNATURE, findings=[RED], bundle=bundle,
                 bundle_of=SIGNATURE)  # fmt: skip


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(engine, "time", clock)
    return clock


@pytest.fixture
def history(tmp_path: Path) -> Iterator[History]:
    with opened_history(tmp_path / "history.sqlite") as opened:
        yield opened


class Nights:
    """Nights over one history, in one folder."""

    def __init__(self, history: History, clock: Clock, folder: Path) -> None:
        self.history, self.clock, self.folder = history, clock, folder
        self.said: list[str] = []
        self.run: Run = history.begin_run("night")

    def night(self, *works: Work, budget_s: float = 1000.0) -> Night:
        """Return a night that begins now."""
        chooser = Chooser(works or [WORK], Past(), units_done(self.history, self.run))
        return Night(
            history=self.history, run=self.run, chooser=chooser, kernels={KERNEL.name: READY},
            spec_of=lambda work, number: {"do": work.case.kind.value, "part": part_of(number)},
            folder=self.folder, deadline=self.clock.now + budget_s, say=self.said.append,
        )  # fmt: skip

    def results(self) -> list[tuple[str, Outcome]]:
        """Return what the history has of the night."""
        return [(unit.part, unit.outcome) for _, unit in self.history.units([self.run])]

    def finding(self) -> Finding:
        """Return the only one."""
        (finding,) = self.history.findings()
        return finding


@pytest.fixture
def nights(history: History, clock: Clock, tmp_path: Path) -> Nights:
    return Nights(history, clock, tmp_path)


def test_units_are_handed_out_and_written_down(nights: Nights, clock: Clock) -> None:
    pool = FakePool(clock, green)
    account = nights.night().go(pool)
    assert pool.did == ["unit 1", "unit 2", "unit 3"]
    assert nights.results() == [(part, Outcome.AGREES) for part in pool.did]
    assert (account.states, account.red, account.units[WORK.place]) == (30, 0, 3)
    assert account.seconds["explore"] == 30.0
    assert pool.cancelled == []


def test_a_new_findings_bundle_is_run_on_every_kernel(nights: Nights, clock: Clock) -> None:
    pool = FakePool(clock, red)
    night = nights.night()
    night._kernels = {KERNEL.name: READY, OTHER_KERNEL.name: replace(READY, seen=OTHER_KERNEL)}
    night._kernels["full"] = replace(READY, seen=UPGRADED, guests={})  # has not the guest
    night.go(pool)
    assert pool.did.count("repro") == 2
    cells = {
        (cell.kernel, cell.case.shape): cell.outcome
        for cell in nights.history.cells([nights.run])
        if cell.case == Case(Kind.REPRO, nights.finding().id, SIGNATURE)
    }
    assert cells == dict.fromkeys([(KERNEL, SIGNATURE), (OTHER_KERNEL, SIGNATURE)],
                                  Outcome.DIFFERS)  # fmt: skip


def test_the_page_of_a_new_finding_is_kept(nights: Nights, clock: Clock) -> None:
    def shown(spec: Mapping[str, Any]) -> Answer:
        return {**red(spec), "evidence": b"<p>"} if spec["do"] == "explore" else red(spec)

    nights.night().go(FakePool(clock, shown))
    (page,) = (nights.folder / "evidence").iterdir()
    assert (page.name, page.read_bytes()) == (f"{nights.finding().id}.html", b"<p>")


def test_no_unit_waits_behind_another(nights: Nights, clock: Clock) -> None:
    pool = FakePool(clock, lambda _: None)
    nights.night(budget_s=100.0).go(pool)
    assert len(pool.handed) == pool.count


def test_a_finding_is_packed_once_and_minimised_next(nights: Nights, clock: Clock) -> None:
    pool = FakePool(clock, red)
    account = nights.night().go(pool)
    # Two were under way when the first came back; behind them its bundle is run on the kernel.
    assert pool.did == ["unit 1", "unit 2", "minimise", "repro", "unit 3"]
    assert [spec["bundle"] for spec in pool.handed if spec["do"] == "minimise"] == [
        b"large of unit 1"
    ]
    assert pool.handed[-1]["packed"] == [SIGNATURE]
    (path,) = account.bundles.values()
    assert (nights.folder / path).read_bytes() == b"small"
    assert [each.name for each in (nights.folder / "bundles").iterdir()] == [Path(path).name]
    assert nights.finding().smallest == "1 write"
    assert account.red == 4
    assert (nights.finding().status, nights.finding().bundle) == (
        Status.PACKED, str(nights.folder / path)
    )  # fmt: skip


def test_what_cannot_be_made_smaller_stays_as_it_was(nights: Nights, clock: Clock) -> None:
    gone = Done(0, None, "HarnessError: the guest was lost")
    pool = FakePool(clock, lambda spec: gone if spec["do"] == "minimise" else red(spec))
    account = nights.night().go(pool)
    assert [(each.what, each.why) for each in account.set_aside] == [
        (f"minimising {SIGNATURE}", "HarnessError: the guest was lost")
    ]
    (path,) = account.bundles.values()
    assert (nights.folder / path).read_bytes() == b"large of unit 1"
    assert nights.finding().status is Status.OPEN


def test_a_known_issue_is_not_packed(nights: Nights, clock: Clock) -> None:
    known = {"oracle": "", "sentence": "", "known_as": "tail", "count": 1}
    pool = FakePool(clock, lambda spec: green(spec, outcome="KNOWN", findings=[known]))
    account = nights.night().go(pool)
    assert account.bundles == {}
    assert nights.finding().known_as == "tail"


def test_what_takes_its_workers_along_is_set_aside_and_told(nights: Nights, clock: Clock) -> None:
    dead = Done(0, None, "took 2 workers with it", set_aside=True)
    pool = FakePool(clock, lambda spec: dead if spec["part"] == "unit 2" else green(spec))
    account = nights.night().go(pool)
    assert [(each.what, each.why) for each in account.set_aside] == [
        ("explore five on 6.1, unit 2", "took 2 workers with it")
    ]
    assert ("unit 2", Outcome.HARNESS_FAILED) in nights.results()


def test_a_unit_that_failed_is_without_a_verdict(nights: Nights, clock: Clock) -> None:
    failed = Done(0, None, "GuestLost: it said nothing")
    account = nights.night(replace(WORK, most=2)).go(FakePool(clock, lambda _: failed))
    assert account.set_aside == []
    results = list(nights.history.units([nights.run]))
    assert {(u.outcome, u.reason) for _, u in results} == {
        (Outcome.HARNESS_FAILED, "GuestLost: it said nothing")
    }


def test_a_place_where_nothing_works_is_left_alone_and_told(nights: Nights, clock: Clock) -> None:
    failed = Done(0, None, "HarnessError: no QEMU is there")
    pool = FakePool(clock, lambda _: failed)
    account = nights.night(replace(WORK, most=0)).go(pool)
    assert len(pool.handed) <= MOST_FAILURES + pool.count
    assert [(each.what, each.why) for each in account.set_aside][:1] == [
        ("explore five on 6.1, from unit 3 on", "HarnessError: no QEMU is there")
    ]


def test_failures_between_which_a_unit_was_well_are_borne(nights: Nights, clock: Clock) -> None:
    failed, every = Done(0, None, "GuestLost: it said nothing"), itertools.count()
    pool = FakePool(clock, lambda spec: green(spec) if next(every) % 3 == 2 else failed)
    nights.night(replace(WORK, most=12)).go(pool)
    assert len(pool.handed) == 12


def test_a_bundle_that_is_gone_is_set_aside(nights: Nights, clock: Clock) -> None:
    night = nights.night(replace(WORK, most=2), WORK2)
    spec_of = night._spec_of

    def gone(work: Work, number: int) -> Mapping[str, Any]:
        if work.case == WORK2.case:
            raise FileNotFoundError(2, "No such file or directory", "/night1/x.mdjr")
        return spec_of(work, number)

    night._spec_of = gone
    pool = FakePool(clock, green)
    account = night.go(pool)
    assert pool.did == ["unit 1", "unit 2"]
    assert [each.why for each in account.set_aside] == [
        "[Errno 2] No such file or directory: '/night1/x.mdjr'"
    ]


def test_a_night_without_any_worker_ends(nights: Nights, clock: Clock) -> None:
    pool = FakePool(clock, lambda _: None)
    pool.count = 0
    began = clock.now
    with pytest.raises(Unavailable, match="no worker has been there for 2 minutes; start some"):
        nights.night(budget_s=5000.0).go(pool)
    assert clock.now - began < 200.0


def test_a_finding_that_was_closed_meanwhile_stays_closed(nights: Nights, clock: Clock) -> None:
    def closed(spec: Mapping[str, Any]) -> Answer:
        if spec["do"] == "minimise":
            nights.history.follow_finding(SIGNATURE, Status.CLOSED, note="mended")
        return green(spec) if spec["do"] == "repro" else red(spec)

    nights.night(replace(WORK, most=1)).go(FakePool(clock, closed))
    assert (nights.finding().status, nights.finding().smallest) == (Status.CLOSED, "1 write")


def test_nothing_is_begun_behind_the_deadline(nights: Nights, clock: Clock) -> None:
    pool = FakePool(clock, lambda spec: green(spec, seconds=12.0))
    nights.night(budget_s=26.0).go(pool)
    assert pool.did == ["unit 1", "unit 2"]  # 14 s are left behind the first, 15 s are needed
    assert clock.now <= 1026.0


def test_what_is_under_way_at_the_end_is_given_up(nights: Nights, clock: Clock) -> None:
    began = clock.now
    pool = FakePool(clock, lambda spec: green(spec) if spec["part"] == "unit 1" else None)
    account = nights.night(budget_s=100.0).go(pool)
    assert pool.cancelled == [1, 2]
    assert nights.results() == [("unit 1", Outcome.AGREES)]
    assert account.set_aside == []
    assert 100.0 <= clock.now - began <= 125.0


def test_no_finding_is_minimised_without_time_for_it(nights: Nights, clock: Clock) -> None:
    pool = FakePool(clock, red)
    nights.night(budget_s=100.0).go(pool)
    assert "minimise" not in pool.did
    assert nights.finding().status is Status.OPEN


def test_a_budget_that_is_spent_already_begins_nothing(nights: Nights, clock: Clock) -> None:
    pool = FakePool(clock, green)
    nights.night(budget_s=-5.0).go(pool)
    assert pool.handed == []


def test_an_interrupted_night_goes_on_with_what_is_not_done(
    nights: Nights, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    packed = SimpleNamespace(guest=GuestFacts(kind="tiny", accelerator="tcg", mdadm="4.2"))
    monkeypatch.setattr(engine, "load_bundle", lambda _: packed)
    pool = FakePool(clock, lambda spec: red(spec) if spec["part"] == "unit 2" else None)
    nights.night(budget_s=100.0).go(pool)
    assert nights.results() == [("unit 2", Outcome.DIFFERS)]
    again = FakePool(clock, red)
    account = nights.night().go(again)
    # What it had packed, but not minimised, comes first; unit 2 does not come again.
    assert again.did == ["minimise", "unit 1", "unit 3"]
    assert list(account.bundles) == [SIGNATURE]
    assert nights.finding().status is Status.PACKED


def test_a_finding_that_an_earlier_night_has_packed_is_not_packed_again(
    nights: Nights, clock: Clock
) -> None:
    nights.night().go(FakePool(clock, red))
    nights.run, nights.folder = nights.history.begin_run("next"), nights.folder / "next"
    nights.folder.mkdir()
    pool = FakePool(clock, red)
    account = nights.night().go(pool)
    assert pool.handed[0]["packed"] == [SIGNATURE]
    assert "minimise" not in pool.did
    assert account.bundles == {}
    assert nights.finding().status is Status.PACKED


def test_a_hung_unit_is_given_ten_times_what_it_takes(nights: Nights, clock: Clock) -> None:
    slow = Work(case=WORK.case, kernel=KERNEL.name, line=None, most=4, states=10, guest="g")
    pool = FakePool(clock, lambda spec: green(spec, seconds=200.0))
    nights.night(slow, budget_s=5000.0).go(pool)
    assert [spec["limit_s"] for spec in pool.handed][::3] == [900.0, 2000.0]


def test_how_it_goes_is_told_now_and_then(nights: Nights, clock: Clock) -> None:
    nights.night().go(FakePool(clock, red))
    assert nights.said[-1] == "4 units, 40 states, 4 red, 1 findings packed; 940 s left"


def test_a_full_disk_ends_the_night_in_one_line(
    nights: Nights, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(Unavailable, match="no space left on that file system; free some"):
        nights.night().go(FakePool(clock, red))
