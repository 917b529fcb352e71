"""What is new in a night: pure, from the nights before it.

Nights are compared place by place: a case and the *name* its kernel is asked for by, so that an
upgrade is just what can have broken something. A budget lets no night run everything: a place is
compared with the newest night, up to the one that is asked for, that has a verdict on it. What was
red on Monday, not run on Tuesday and is red on Wednesday is not new.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from harness.campaign.history.drift import Slower, night_factor, slower_tonight
from harness.campaign.history.rates import Rate, chance_of_green, is_flaky, rate_of
from harness.campaign.history.records import (
    JUDGED,
    WORST_JUDGED,
    Case,
    Cell,
    FindingSeen,
    KernelSeen,
    Kind,
    Place,
    Run,
    RunView,
    place_of,
)
from harness.verdict.verdict import Outcome

WINDOW = 20  # nights before, of which flakiness and usual paces are told
GONE_CHANCE = 0.05  # up to this a known issue that is not met is told as gone


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A case on a kernel that is not what it was."""

    case: Case
    kernel: KernelSeen
    now: Outcome | None  # None: not there
    before: Outcome | None  # None: no verdict in any night up to the one compared with
    before_run: int | None  # the night of that verdict
    in_baseline: Outcome | None
    findings: tuple[str, ...]  # signatures; of a new red those that are new
    flaky: bool
    since_before: bool  # it is a change against the nights before
    since_baseline: bool  # it is one against the baseline; False where there is none


@dataclass(frozen=True, slots=True, kw_only=True)
class NewlyFlaky:
    """A case that was steady on a kernel, and is not any more (`rates.FLAKY_CHANGES`)."""

    case: Case
    kernel: KernelSeen
    rate: Rate  # of its units in the nights that were looked at


@dataclass(frozen=True, slots=True, kw_only=True)
class SlowerCase:
    """A case that takes longer on a kernel than noise explains."""

    case: Case
    kernel: KernelSeen
    slower: Slower


@dataclass(frozen=True, slots=True, kw_only=True)
class IssueSeen:
    """A known issue on a kernel: gone, or there for the first time."""

    name: str
    kernel: str  # the name it is asked for by
    cases: tuple[Case, ...]  # that met it
    nights: tuple[int, int]  # before: in which it was met, of those that ran these cases
    chance: float  # gone: that it is still there and was missed; new: 0

    @property
    def is_gone(self) -> bool:
        """Whether it is more likely gone than missed: one that shows now and then takes nights."""
        return self.chance <= GONE_CHANCE


@dataclass(frozen=True, slots=True, kw_only=True)
class StatesCovered:
    """How many crash states were judged on a kernel."""

    kernel: str
    now: int
    before: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """What is new. All lists are in order of kind, case and kernel."""

    before: Run
    now: Run
    baseline: Run | None
    nights: int  # before *now*, that were looked at for what is usual
    new_red: tuple[Change, ...]  # DIFFERS now: it did not, or by other findings
    fixed: tuple[Change, ...]  # DIFFERS before, AGREES now
    explained: tuple[Change, ...]  # DIFFERS before, KNOWN now
    lost: tuple[Change, ...]  # tried, and no verdict: the guest or the harness failed
    not_run_any_more: tuple[Change, ...]  # judged in *before*, and not even tried now
    newly_flaky: tuple[NewlyFlaky, ...]
    slower: tuple[SlowerCase, ...]
    load: float  # by how much the whole night was slower than usual: `drift.night_factor`
    known_gone: tuple[IssueSeen, ...]
    known_new: tuple[IssueSeen, ...]
    states: tuple[StatesCovered, ...]

    @property
    def is_red(self) -> bool:
        """Whether anything is red that was not so before: what a nightly run exits 1 for."""
        return any(change.since_before for change in self.new_red)


def compare(
    before: RunView,
    now: RunView,
    baseline: RunView | None = None,
    *,
    earlier: Sequence[RunView] = (),
) -> Comparison:
    """Say what is new.

    Args:
        before: the night to compare with: the last one, or the last good one.
        now: the night that it is about.
        baseline: another one to compare with.
        earlier: nights before *now*, in order, of which it is told what is usual; *before* counts
            among them whether or not it is given.
    """
    known = {view.run.number: view for view in (*earlier, before) if view.run != now.run}
    return _Comparing(before, now, baseline, [known[number] for number in sorted(known)]).result()


def without_echoes(reds: Sequence[Change]) -> tuple[Change, ...]:
    """Return new reds without the bundles that merely repeat another one of the same kernel: they
    are news where nothing else has met their finding.
    """
    met = {
        (red.kernel.name, signature)
        for red in reds
        if red.case.kind is not Kind.REPRO
        for signature in red.findings
    }
    return tuple(
        red
        for red in reds
        if red.case.kind is not Kind.REPRO
        or not red.findings
        or not all((red.kernel.name, signature) in met for signature in red.findings)
    )


@dataclass(frozen=True, slots=True)
class _Told:
    """What a night says of a place."""

    run: int
    outcome: Outcome
    kernel: KernelSeen
    findings: tuple[FindingSeen, ...]

    @property
    def unexplained(self) -> set[str]:
        return {each.signature for each in self.findings if not each.known_as}


class _Comparing:
    def __init__(
        self, before: RunView, now: RunView, baseline: RunView | None, earlier: Sequence[RunView]
    ) -> None:
        self.before, self.now, self.baseline, self.earlier = before, now, baseline, earlier
        self.told = _told(now)
        self.told_before = _told(before)
        self.in_baseline = {} if baseline is None else _judged(_told(baseline))
        self.prior: dict[Place, _Told] = {}
        for view in earlier:
            if view.run.number <= before.run.number:
                self.prior |= _judged(_told(view))
        self.prior |= _judged(self.told_before)
        self.told_earlier = [_told(view) for view in earlier]
        self.met_earlier = [_met(told) for told in self.told_earlier]
        self.series: dict[Place, list[Cell]] = defaultdict(list)
        for view in (*earlier, now):
            for cell in view.cells:
                self.series[place_of(cell)].append(cell)

    def result(self) -> Comparison:
        load, slower = self.slower()
        return Comparison(
            before=self.before.run, now=self.now.run,
            baseline=None if self.baseline is None else self.baseline.run,
            nights=len(self.earlier), new_red=self.new_red(),
            fixed=self.turned(Outcome.AGREES), explained=self.turned(Outcome.KNOWN),
            lost=self.lost(), not_run_any_more=self.not_run_any_more(),
            newly_flaky=self.newly_flaky(), slower=slower, load=load,
            known_gone=self.known_gone(), known_new=self.known_new(), states=self.states(),
        )  # fmt: skip

    def new_red(self) -> tuple[Change, ...]:
        """Return what DIFFERS now, unless it did so by the same findings."""
        found = []
        for place, told in _in_order(self.told):
            if told.outcome is not Outcome.DIFFERS:
                continue
            since_before = _is_new_red(place, told, self.prior)
            since_baseline = self.baseline is not None and _is_new_red(
                place, told, self.in_baseline
            )
            if not since_before and not since_baseline:
                continue
            old = self.prior.get(place) if since_before else self.in_baseline.get(place)
            had = old.unexplained if old is not None else set()
            new = tuple(s for s in _signatures(told.findings) if s in told.unexplained - had)
            found.append(
                self.change(place, new, since_before=since_before, since_baseline=since_baseline)
            )
        return without_echoes(found)

    def turned(self, outcome: Outcome) -> tuple[Change, ...]:
        """Return what was DIFFERS and has another verdict now."""
        found = []
        for place, told in _in_order(self.told):
            olds = (self.prior.get(place), self.in_baseline.get(place))
            since = [old is not None and old.outcome is Outcome.DIFFERS for old in olds]
            if told.outcome is outcome and any(since):
                old = olds[0] if since[0] else olds[1]
                findings = old.findings if old is not None else ()
                signatures = _signatures(each for each in findings if not each.known_as)
                found.append(
                    self.change(place, signatures, since_before=since[0], since_baseline=since[1])
                )
        return tuple(found)

    def lost(self) -> tuple[Change, ...]:
        return tuple(
            self.change(place, (), since_before=True)
            for place, told in _in_order(self.told)
            if told.outcome is Outcome.HARNESS_FAILED
        )

    def not_run_any_more(self) -> tuple[Change, ...]:
        return tuple(
            self.change(place, (), since_before=True)
            for place, told in _in_order(_judged(self.told_before))
            if place not in self.told or self.told[place].outcome is Outcome.NOT_RUN
        )

    def change(
        self, place: Place, findings: tuple[str, ...], *, since_before: bool,
        since_baseline: bool = False,
    ) -> Change:  # fmt: skip
        now, old = self.told.get(place), self.prior.get(place)
        there = now or old or self.told_before.get(place) or self.in_baseline[place]
        baseline = self.in_baseline.get(place)
        return Change(
            case=place[0], kernel=there.kernel, now=None if now is None else now.outcome,
            before=None if old is None else old.outcome,
            before_run=None if old is None else old.run,
            in_baseline=None if baseline is None else baseline.outcome, findings=findings,
            flaky=is_flaky(self.series[place]), since_before=since_before,
            since_baseline=since_baseline,
        )  # fmt: skip

    def newly_flaky(self) -> tuple[NewlyFlaky, ...]:
        found = []
        for place, told in _in_order(self.told):
            cells = self.series[place]
            up_to_before = [cell for cell in cells if cell.run <= self.before.run.number]
            if is_flaky(cells) and not is_flaky(up_to_before):
                found.append(NewlyFlaky(case=place[0], kernel=told.kernel, rate=rate_of(cells)))
        return tuple(found)

    def slower(self) -> tuple[float, tuple[SlowerCase, ...]]:
        """Return the night's load, and what is slower beyond it."""
        paces: dict[Place, tuple[float, list[float]]] = {}
        for cell in self.now.cells:
            place = place_of(cell)
            if cell.pace_s is not None:
                then = [c.pace_s for c in self.series[place] if c.run != self.now.run.number]
                paces[place] = cell.pace_s, [pace for pace in then if pace is not None]
        load = night_factor(list(paces.values()))
        found = [
            SlowerCase(case=place[0], kernel=told.kernel, slower=slower)
            for place, told in _in_order(self.told)
            if place in paces and (slower := slower_tonight(*paces[place], load)) is not None
        ]
        return load, tuple(found)

    def known_gone(self) -> tuple[IssueSeen, ...]:
        """Return issues that no case on a kernel meets now, though all that met it have run."""
        judged, met_now = _judged(self.told), _met(self.told)
        return tuple(
            self.issue(name, kernel, places, missed=True)
            for (name, kernel), places in sorted(_met(self.prior).items())
            if (name, kernel) not in met_now and all(place in judged for place in places)
        )

    def known_new(self) -> tuple[IssueSeen, ...]:
        """Return issues that a kernel of this name has shown in none of the nights before."""
        before = {key for met in self.met_earlier for key in met}
        return tuple(
            self.issue(name, kernel, places, missed=False)
            for (name, kernel), places in sorted(_met(self.told).items())
            if (name, kernel) not in before
        )

    def issue(
        self, name: str, kernel: str, places: Collection[Place], *, missed: bool
    ) -> IssueSeen:
        ran = [
            met
            for told, met in zip(self.told_earlier, self.met_earlier, strict=True)
            if any(place in told and told[place].outcome in JUDGED for place in places)
        ]
        seen = sum((name, kernel) in met for met in ran)
        return IssueSeen(
            name=name, kernel=kernel, cases=tuple(case for case, _ in sorted(places)),
            nights=(seen, len(ran)),
            chance=chance_of_green(seen, len(ran)) if missed else 0.0,
        )  # fmt: skip

    def states(self) -> tuple[StatesCovered, ...]:
        now, before = _states(self.now), _states(self.before)
        return tuple(
            StatesCovered(kernel=kernel, now=now.get(kernel, 0), before=before.get(kernel, 0))
            for kernel in sorted(now | before)
        )


def _told(view: RunView) -> dict[Place, _Told]:
    """Return what a night says, place by place: the worst, where a kernel was upgraded in it."""
    found: dict[Place, _Told] = {}
    for cell in view.cells:
        place = place_of(cell)
        told = _Told(cell.run, cell.outcome, cell.kernel, tuple(view.findings.get(place, ())))
        if place not in found or _badness(told) < _badness(found[place]):
            found[place] = told
    return found


def _badness(told: _Told) -> int:
    return WORST_JUDGED.index(told.outcome)


def _judged(told: Mapping[Place, _Told]) -> dict[Place, _Told]:
    return {place: each for place, each in told.items() if each.outcome in JUDGED}


def _in_order(told: Mapping[Place, _Told]) -> list[tuple[Place, _Told]]:
    return sorted(told.items(), key=lambda item: item[0])


def _is_new_red(place: Place, told: _Told, before: Mapping[Place, _Told]) -> bool:
    if place[0].kind is Kind.REPRO and told.unexplained:
        # Whatever met its finding on this kernel has told of it.
        every = (old for (_, kernel), old in before.items() if kernel == place[1])
        return not told.unexplained <= {signature for old in every for signature in old.unexplained}
    old = before.get(place)
    if old is None or old.outcome is not Outcome.DIFFERS:
        return True
    return not told.unexplained <= old.unexplained


def _signatures(findings: Iterable[FindingSeen]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(each.signature for each in findings))


def _met(told: Mapping[Place, _Told]) -> dict[tuple[str, str], set[Place]]:
    """Return where each known issue was met, by its name and the kernel's."""
    found: dict[tuple[str, str], set[Place]] = defaultdict(set)
    for place, each in told.items():
        for finding in each.findings:
            if finding.known_as:
                found[finding.known_as, place[1]].add(place)
    return found


def _states(view: RunView) -> dict[str, int]:
    found: dict[str, int] = defaultdict(int)
    for cell in view.cells:
        found[cell.kernel.name] += cell.states
    return dict(found)
