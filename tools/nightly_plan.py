"""A plan's work laid out, and what workers are told of each unit of it."""

from __future__ import annotations

import shlex
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from harness.campaign.history.records import Case, Finding, FindingSeen, Kind, Status
from harness.campaign.nights.choosing import (
    FULL_GUESS_S,
    FUZZED_GUESS_S,
    GUESS_S,
    Chooser,
    Past,
    Work,
    part_of,
    repeats_of,
)
from harness.campaign.nights.plan import Line, Plan, Stories, applies
from harness.campaign.reproducing.bundle_json import load_bundle
from harness.campaign.scenarios.scenario import GuestKind, Scenario, read_scenarios
from harness.campaign.scenarios.scenario_json import encode_scenario
from harness.crash.disk_kinds import Bus, Discard
from harness.errors import BadInput
from harness.md.shape import Shape, encode_shape
from harness.recovery.layout import layout_of
from kvm_images.debian_root import DEFAULT_MDADM, mdadm_of, suite_of
from kvm_images.kernels import base_of
from tools.nightly_kernels import GuestName, Prepared, Spec
from tools.nightly_told import plain
from tools.scenarios import FOLDER, find_scenario

_UNITS_OF_NIGHT = 100_000  # of a case on a kernel, at most
_USUAL = GuestName()


def works_of(plan: Plan, kernels: Mapping[str, Prepared | None]) -> list[Work]:
    """Return all that can be done, lines of shapes first, what takes a full guest last.

    Args:
        plan: of the night.
        kernels: by name; with ``None`` for what is not there yet all that the plan asks for.

    Raises:
        BadInput: the plan names a scenario or an mdadm that is not known.
    """
    works = [
        Work(
            case=Case(line.kind, line.name, str(line.shape)), kernel=name, line=line,
            most=line.units, states=line.states, guest=str(_USUAL), guess_s=_guess_s(line),
        )
        for line in plan.lines
        for name in kernels
        if applies(line.kernels, name)
    ]  # fmt: skip
    stories = {
        (work.case, work.kernel): work
        for chosen in plan.stories
        for scenario in _scenarios(chosen)
        for guest in _guests(chosen, scenario)
        for name, kernel in kernels.items()
        if applies(chosen.kernels, name) and (not scenario.injects or _injects(name, kernel))
        for work in [_told(scenario, guest, name, chosen.repeats)]
    }
    works += sorted(stories.values(), key=lambda work: work.guess_s)  # stable
    return [w for w in works if (k := kernels[w.kernel]) is None or w.guest in k.guests]


def _injects(name: str, kernel: Prepared | None) -> bool:
    return base_of(name) is not None if kernel is None else kernel.injects


def _guess_s(line: Line) -> float:
    return max(GUESS_S, FUZZED_GUESS_S * line.states if line.kind is Kind.FUZZ else 0.0)


def needed_guests(plan: Plan) -> dict[str, set[GuestName]]:
    """Return which guests a plan's work needs, by its kernels' names."""
    known = {str(each): each for each in _every_guest(plan)}
    needed: defaultdict[str, set[GuestName]] = defaultdict(set)
    for work in works_of(plan, {kernel.name: None for kernel in plan.kernels}):
        needed[work.kernel].add(known[work.guest])
    return dict(needed)


def repeats(findings: Iterable[Finding], kernels: Mapping[str, Prepared]) -> Iterator[Work]:
    """Yield the bundle of each finding that is followed, on each kernel with its guest."""
    for finding in findings:
        if finding.status is Status.CLOSED or not Path(finding.bundle).is_file():
            continue
        try:
            bundle = load_bundle(Path(finding.bundle))
        except BadInput:  # damaged since
            continue
        guest = str(GuestName(bundle.guest.kind, mdadm_of(bundle.guest.mdadm)))
        needs_faults = bundle.scenario is not None and bundle.scenario.injects
        fitting = [
            name
            for name, kernel in kernels.items()
            if guest in kernel.guests and (kernel.injects or not needs_faults)
        ]
        seen = FindingSeen(finding.oracle, finding.sentence, finding.known_as)
        yield from repeats_of(seen, finding.bundle, guest, fitting)


def _every_guest(plan: Plan) -> Iterator[GuestName]:
    yield _USUAL
    for chosen in plan.stories:
        for mdadm in chosen.mdadm or (DEFAULT_MDADM,):
            yield from (GuestName(kind.value, mdadm_of(mdadm)) for kind in GuestKind)


def _told(scenario: Scenario, guest: GuestName, kernel: str, repeats: int) -> Work:
    """Return a scenario on a kernel; its case says what is not usual about its guest."""
    words = [f"mdadm {guest.mdadm}"] * (guest.mdadm != DEFAULT_MDADM)
    words += ["full guest"] * (guest.kind != scenario.guest.value)
    name = f"{scenario.name} ({', '.join(words)})" if words else scenario.name
    is_full = guest.kind == GuestKind.FULL.value
    return Work(
        case=Case(Kind.SCENARIO, name, str(scenario.needs)), kernel=kernel, line=None,
        most=repeats, states=0, guest=str(guest), story=scenario.name,
        guess_s=FULL_GUESS_S if is_full else GUESS_S,
    )  # fmt: skip


def _guests(chosen: Stories, scenario: Scenario) -> Iterator[GuestName]:
    kind = GuestKind.FULL if chosen.in_full_guest else scenario.guest
    for mdadm in chosen.mdadm or (DEFAULT_MDADM,):
        try:
            suite_of(mdadm)
        except BadInput as wrong:
            raise BadInput(f"scenarios: {wrong}") from wrong
        yield GuestName(kind.value, mdadm_of(mdadm))  # a suite by the mdadm that it has


def _scenarios(chosen: Stories) -> list[Scenario]:
    every = read_scenarios(FOLDER)
    if "all" in chosen.names:
        return list(every)
    quick = [each for each in every if "quick" in chosen.names and each.quick]
    named = [find_scenario(name) for name in chosen.names if name != "quick"]
    return [*quick, *(each for each in named if each not in quick)]


def seed_of(number: int, night: int) -> int:
    """Return the seed of a unit: the first is the same every night, and can be compared; those
    behind it are another night's, and so other states.
    """
    return 1 if number == 0 else night * _UNITS_OF_NIGHT + number


def spec_maker(kernels: Mapping[str, Prepared], night: int) -> Callable[[Work, int], Spec]:
    """Return what says what a worker is told of a unit of a night, by the run's number."""
    stories = {each.name: each for each in read_scenarios(FOLDER)}

    def spec_of(work: Work, number: int) -> Spec:
        kernel = kernels[work.kernel]
        seed = seed_of(number, night)
        guest = kernel.guests[work.guest].facts
        common = {"part": part_of(number), "seed": seed, "guest": guest, "kernel": kernel.facts}
        if work.bundle:
            data = Path(work.bundle).read_bytes()
            repeat = _typed("repro", "run", work.bundle, *kernel.words)
            assert work.finding is not None
            finding = plain(work.finding)
            return {
                **common, "do": "repro", "bundle": data, "finding": finding, "repeat": repeat
            }  # fmt: skip
        if work.line is None:
            story = stories[work.story]
            mdadm = mdadm_of(guest["mdadm"])
            words = ("scenarios", "run", story.name, "--seed", str(seed), "--mdadm", mdadm,
                     "--guest", guest["kind"])  # fmt: skip
            return {
                **common, "do": "scenario", "scenario": encode_scenario(story),
                "injects": kernel.injects, "repeat": _typed(*words, *kernel.words),
            }  # fmt: skip
        line = work.line
        assert line.shape is not None
        return {
            **common, "do": line.kind.value, "shape": encode_shape(line.shape),
            "states": line.states, "steps": line.steps,
            "repeat": _typed(*_words(line, seed), *kernel.words),
        }  # fmt: skip

    return spec_of


def _typed(*words: str) -> str:
    return shlex.join(["tools/mdjournal", *words])


def _words(line: Line, seed: int) -> Iterator[str]:
    """Yield a line's unit as a command, but for its kernel."""
    shape = line.shape
    assert shape is not None
    yield from (line.kind.value, "--seed", str(seed), "--states", str(line.states))
    if line.kind is Kind.EXPLORE:
        yield from ("--steps", str(line.steps))
    yield from _shape_words(shape)


def _shape_words(shape: Shape) -> Iterator[str]:
    layout = layout_of(shape.level, shape.layout).name
    yield from ("--level", str(int(shape.level)), "--members", str(shape.members))
    yield from ("--chunk", str(shape.chunk_bytes))
    if int(shape.level) != 4:  # RAID-4 has one
        yield from ("--layout", layout)
    yield from ("--member-cache", shape.member_cache.value)
    if shape.journaled:
        yield from ("--journal-size", str(shape.journal_bytes), "--mode", shape.mode.value)
        yield from ("--journal-cache", shape.journal_cache.value)
    else:
        yield "--no-journal"
    if shape.bus is not Bus.VIRTIO:
        yield from ("--bus", shape.bus.value)
    if shape.logical_block_bytes != 512:
        yield from ("--logical-block", str(shape.logical_block_bytes))
    if shape.discard is not Discard.ARRAY:
        yield from ("--discard", shape.discard.value)


def plan_lines(plan: Plan, past: Past, budget_s: float, workers: int) -> Iterator[str]:
    """Print a plan, and what it takes by what nights before have taken."""
    names = {kernel.name: None for kernel in plan.kernels}
    works = works_of(plan, names)
    full = sum(work.line is None and work.guess_s > GUESS_S for work in works)
    chooser = Chooser(works, past)
    once_s: defaultdict[str, float] = defaultdict(float)
    counts: defaultdict[str, int] = defaultdict(int)
    for work in works:
        once_s[work.kernel] += chooser.estimate_s(work)
        counts[work.kernel] += 1
    stories = len({work.case for work in works if work.line is None})
    yield f"plan       {len(plan.lines)} shapes, {stories} scenarios, {len(names)} kernels"
    for name in names:
        once = f"once through {once_s[name]:.0f} s of a worker"
        yield f"kernel     {name:<10} {counts[name]} cases, {once}"
    if full:
        yield f"full       {full} of them in full guests"
    guessed = sum(work.place not in past.pace_s for work in works)
    total = sum(once_s.values()) / workers
    yield (
        f"once       {total / 60:.0f} min with {workers} workers; {len(works) - guessed} of"
        f" {len(works)} by nights before, the others guessed at {GUESS_S:.0f} s"
        f" ({FULL_GUESS_S:.0f} s in a full guest)"
    )
    rounds = budget_s / total if total else 0.0
    yield f"budget     {budget_s / 60:.0f} min: {rounds:.1f} times through"
