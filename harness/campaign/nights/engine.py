"""A night: units handed to workers, what they come to written down, findings followed."""

from __future__ import annotations

import contextlib
import itertools
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from harness.campaign.history.records import (
    Finding,
    FindingSeen,
    KernelSeen,
    Place,
    Run,
    Status,
    UnitResult,
    finding_id,
)
from harness.campaign.history.store import History
from harness.campaign.lab import Say
from harness.campaign.nights.choosing import Chooser, Work, number_of, repeats_of
from harness.campaign.nights.folders import BUNDLES, EVIDENCE
from harness.campaign.nights.view import SetAside
from harness.campaign.nights.workers import Done
from harness.campaign.reproducing.bundle import Bundle
from harness.campaign.reproducing.bundle_json import load_bundle
from harness.errors import BadInput, Unavailable
from harness.storage.atomic import replacing
from harness.storage.images import naming_full_disk
from harness.verdict.verdict import Outcome

MINIMISE_S = 60.0  # for a finding, and again for smaller arrays
_GRACE_S = 20.0  # behind the budget's end, for what is under way
_LEAST_LIMIT_S = 900.0  # of a unit, before its worker takes it for hung
_TELL_EVERY_S = 5.0
_NO_WORKER_S = 120.0  # and the night is ended


@dataclass(frozen=True, slots=True, kw_only=True)
class NightGuest:
    """A guest of a kernel."""

    facts: Mapping[str, Any]  # of its image, as units are told
    inputs: tuple[str, ...]  # hashes of the kernel's image, its initramfs, a full one's root

    def is_that_of(self, bundle: Bundle) -> bool:
        """Whether a bundle was packed in it."""
        return (bundle.guest.kind, bundle.guest.mdadm) == (self.facts["kind"], self.facts["mdadm"])


@dataclass(frozen=True, slots=True, kw_only=True)
class NightKernel:
    """A kernel that is ready for workers."""

    seen: KernelSeen
    facts: Mapping[str, Any]  # of `KernelFacts`
    guests: Mapping[str, NightGuest]  # by name


@dataclass(frozen=True, slots=True)
class _Open:
    """A unit under way."""

    work: Work | None  # None: a finding is minimised
    part: str
    spec: Mapping[str, Any]
    kernel: NightKernel
    guest: NightGuest
    signature: str = ""


@dataclass(slots=True)
class Account:
    """Where a night's time went, and what was given up."""

    units: Counter[Place] = field(default_factory=Counter)
    seconds: Counter[str] = field(default_factory=Counter)  # of workers, by what they did
    states: int = 0
    red: int = 0
    set_aside: list[SetAside] = field(default_factory=list)
    bundles: dict[str, str] = field(default_factory=dict)  # signature -> path in the folder


class Pool(Protocol):
    """Workers, see `workers.Workers`."""

    @property
    def count(self) -> int:
        """How many there are now."""

    def submit(self, ticket: int, spec: Mapping[str, Any], inputs: Sequence[str]) -> None:
        """Hand a unit over."""

    def next_done(self, timeout_s: float) -> Done | None:
        """Wait for a unit."""

    def cancel(self) -> list[int]:
        """Give up all that is under way."""


SpecOf = Callable[[Work, int], Mapping[str, Any]]  # of a unit by its number


class Night:
    """One night on its way."""

    def __init__(
        self,
        *,
        history: History,
        run: Run,
        chooser: Chooser,
        kernels: Mapping[str, NightKernel],
        spec_of: SpecOf,
        folder: Path,
        deadline: float,
        say: Say,
    ) -> None:
        """Begin.

        Args:
            history: takes what units come to.
            run: of it.
            chooser: says what is next.
            kernels: by name.
            spec_of: says what a worker is told of a unit.
            folder: gets bundles.
            deadline: of the night, by the monotonic clock.
            say: takes a line now and then.
        """
        self._history = history
        self._run = run
        self._chooser = chooser
        self._kernels = kernels
        self._spec_of = spec_of
        self._folder = folder
        self._deadline = deadline
        self._say = say
        self._tickets = itertools.count()
        self._open: dict[int, _Open] = {}
        self._urgent: list[_Open] = []  # findings to be minimised
        findings = history.findings()
        self._packed = {each.signature for each in findings if Path(each.bundle).is_file()}
        self._told = 0.0
        self._had_workers = time.monotonic()
        self.account = Account()
        self._go_on_with(findings)

    def _go_on_with(self, findings: Iterable[Finding]) -> None:
        """Take up what this night, or another one, has packed and not made smaller."""
        for each in findings:
            path = Path(each.bundle)
            if not path.is_file():
                continue
            if path.parent == self._folder / BUNDLES:
                self.account.bundles[each.signature] = f"{BUNDLES}/{path.name}"
            kernel = self._kernels.get(each.last_kernel.name)
            if each.status is not Status.OPEN or kernel is None:
                continue
            with contextlib.suppress(BadInput):  # damaged since
                bundle, data = load_bundle(path), path.read_bytes()
                for guest in kernel.guests.values():
                    if guest.is_that_of(bundle):
                        self._urgent.append(_minimising(each.signature, data, kernel, guest))

    def go(self, pool: Pool) -> Account:
        """Do all that there is time for."""
        while True:
            left = self._deadline - time.monotonic()
            if left > 0:
                self._hand_out(pool, left)
            if not self._open or left < -_GRACE_S:
                break
            done = pool.next_done(min(1.0, max(left + _GRACE_S, 0.01)))
            if done is not None:
                self._take(done)
            self._tell(left)
        for ticket in pool.cancel():
            self._open.pop(ticket, None)
        return self.account

    def _hand_out(self, pool: Pool, left_s: float) -> None:
        # None waits behind another: a worker that dies is laid at the door of all that it has.
        count, now = pool.count, time.monotonic()
        if count:
            self._had_workers = now
        elif now - self._had_workers > _NO_WORKER_S:
            raise Unavailable(
                f"no worker has been there for {_NO_WORKER_S / 60:.0f} minutes; start some with"
                " dask worker, then the same command goes on with the night"
            )
        wanted = max(count, 1)
        while len(self._open) < wanted and (unit := self._next(left_s)) is not None:
            ticket = next(self._tickets)
            self._open[ticket] = unit
            pool.submit(ticket, unit.spec, unit.guest.inputs)

    def _next(self, left_s: float) -> _Open | None:
        if self._urgent and left_s > 2 * MINIMISE_S:
            return self._urgent.pop(0)
        while (found := self._chooser.next(left_s)) is not None:
            work, number = found
            try:
                told = self._spec_of(work, number)
                break
            except OSError as error:  # a bundle that is gone
                words = f"{work.case} on {work.kernel}"
                self.account.set_aside.append(SetAside(words, str(error)))
        else:
            return None
        kernel = self._kernels[work.kernel]
        limit_s = max(_LEAST_LIMIT_S, 10 * self._chooser.estimate_s(work))
        spec = {**told, "limit_s": limit_s, "packed": sorted(self._packed)}
        return _Open(work, str(spec["part"]), spec, kernel, kernel.guests[work.guest])

    def _take(self, done: Done) -> None:
        unit = self._open.pop(done.ticket)
        what = unit.spec["do"]
        if done.result is not None:
            self.account.seconds[what] += done.result["seconds"]
        if unit.work is None:
            self._take_minimised(unit, done)
            return
        if done.set_aside:
            words = f"{unit.work.case} on {unit.work.kernel}, {unit.part}"
            self.account.set_aside.append(SetAside(words, done.why))
        result = _result_of(unit, done)
        if done.result is not None:
            self._chooser.took(unit.work, result.seconds)
            result = self._follow(unit, done.result, result)
        elif self._chooser.failed(unit.work):
            words = f"{unit.work.case} on {unit.work.kernel}, from {unit.part} on"
            self.account.set_aside.append(SetAside(words, done.why))
        self._history.add_unit(self._run, result)
        if result.bundle and done.result is not None:  # the finding has a row only now
            signature = done.result["bundle_of"]
            (finding,) = (each for each in result.findings if each.signature == signature)
            self._packed_now(finding, unit.work, result.bundle)
        self.account.units[unit.work.place] += 1
        self.account.states += result.states
        self.account.red += result.outcome is Outcome.DIFFERS

    def _follow(self, unit: _Open, found: Mapping[str, Any], result: UnitResult) -> UnitResult:
        """Keep the bundle of a finding that has none yet, and have it minimised."""
        signature = str(found.get("bundle_of"))
        met = {each.signature for each in result.findings}
        if not found.get("bundle") or signature not in met or signature in self._packed:
            return result
        self._packed.add(signature)
        path = self._write_bundle(signature, found["bundle"])
        if (page := found.get("evidence")) is not None:
            self._write(EVIDENCE, f"{finding_id(signature)}.html", page)
        self._urgent.append(_minimising(signature, found["bundle"], unit.kernel, unit.guest))
        return replace(result, bundle=str(path))

    def _packed_now(self, finding: FindingSeen, work: Work, bundle: str) -> None:
        """Note where a new finding's bundle is, and have it run on every kernel."""
        self._history.follow_finding(finding.signature, Status.OPEN, bundle=bundle)
        fitting = [name for name, k in self._kernels.items() if work.guest in k.guests]
        self._chooser.put_first(repeats_of(finding, bundle, work.guest, fitting))

    def _take_minimised(self, unit: _Open, done: Done) -> None:
        if done.result is None:
            words = f"minimising {unit.signature}"
            self.account.set_aside.append(SetAside(words, done.why))
            return
        path = self._write_bundle(unit.signature, done.result["bundle"])
        self._history.follow_finding(
            unit.signature, Status.PACKED, bundle=str(path), smallest=str(done.result["words"]),
            keep_closed=True,
        )  # fmt: skip

    def _write_bundle(self, signature: str, data: bytes) -> Path:
        """Write a finding's bundle; return its path."""
        path = self._write(BUNDLES, f"{finding_id(signature)}.mdjr", data)
        self.account.bundles[signature] = f"{BUNDLES}/{path.name}"
        return path

    def _write(self, kind: str, name: str, data: bytes) -> Path:
        folder = self._folder / kind
        folder.mkdir(exist_ok=True)
        with naming_full_disk(folder), replacing(folder / name) as temporary:
            temporary.write_bytes(data)
        return folder / name

    def _tell(self, left_s: float) -> None:
        now = time.monotonic()
        if now - self._told > _TELL_EVERY_S:
            self._told = now
            account = self.account
            self._say(
                f"{sum(account.units.values())} units, {account.states} states, {account.red} red,"
                f" {len(account.bundles)} findings packed; {max(left_s, 0):.0f} s left"
            )


def _minimising(signature: str, bundle: bytes, kernel: NightKernel, guest: NightGuest) -> _Open:
    spec = {
        "do": "minimise", "bundle": bundle, "minimise_s": MINIMISE_S,
        "limit_s": 30 * MINIMISE_S, "guest": guest.facts, "packed": [],
    }  # fmt: skip
    return _Open(None, "", spec, kernel, guest, signature)


def _result_of(unit: _Open, done: Done) -> UnitResult:
    assert unit.work is not None
    found = done.result
    common: dict[str, Any] = {
        "case": unit.work.case, "kernel": unit.kernel.seen, "part": unit.part,
        "worker": done.worker,
    }  # fmt: skip
    if found is None:
        return UnitResult(
            **common,
            began=time.time(),
            seconds=0.0,
            outcome=Outcome.HARNESS_FAILED,
            reason=done.why,
        )
    findings = tuple(
        FindingSeen(f["oracle"], f["sentence"], f["known_as"], f["count"])
        for f in found["findings"]
    )
    return UnitResult(
        **common, began=found["began"], seconds=found["seconds"], states=found["states"],
        outcome=Outcome(found["outcome"]), reason=found["reason"], findings=findings,
    )  # fmt: skip


def units_done(history: History, run: Run) -> Iterator[tuple[Place, int]]:
    """Yield place and number of each unit of a night that has a result already."""
    for key in history.units_done(run):
        yield (key.case, key.kernel.name), number_of(key.part)
