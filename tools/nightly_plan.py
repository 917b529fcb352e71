"""A plan's kernels made ready, its work laid out, and what workers are told of each unit."""

from __future__ import annotations

import subprocess
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from harness.campaign.history.records import Case, KernelSeen, Kind
from harness.campaign.nights.choosing import GUESS_S, Chooser, Past, Work, part_of
from harness.campaign.nights.plan import Line, Plan, PlannedKernel, applies
from harness.campaign.scenarios.scenario import GuestKind, Scenario, read_scenarios
from harness.campaign.scenarios.scenario_json import encode_scenario
from harness.crash.disk_kinds import Bus, Discard
from harness.errors import BadInput, HarnessError, Unavailable
from harness.md.shape import Shape, encode_shape
from harness.recovery.layout import layout_of
from kvm_images import store
from kvm_images.kernels import Kernel, base_of
from tools.guest_options import find_kernel, guest_image
from tools.progress import Say
from tools.run_facts import guest_facts, kernel_facts
from tools.scenarios import FOLDER, find_scenario

Spec = Mapping[str, Any]
_UNITS_OF_NIGHT = 100_000  # of a case on a kernel, at most


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A kernel that is on this machine, with its tiny guest."""

    seen: KernelSeen
    facts: Spec
    guest: Spec
    kernel_image: Path
    initramfs: Path
    injects: bool


def prepared(plan: Plan, accel: str, *, say: Say) -> tuple[dict[str, Prepared], dict[str, str]]:
    """Fetch or build the kernels of a plan; return them by name, and why others cannot be had.

    Raises:
        Unavailable: not one can be had.
    """
    found: dict[str, Prepared] = {}
    lacking: dict[str, str] = {}
    for planned in plan.kernels:
        say(f"kernel {planned.name}")
        try:
            found[planned.name] = _prepared(planned, accel, say)
        except HarnessError as error:
            lacking[planned.name] = str(error).splitlines()[0]
            say(f"kernel {planned.name} cannot be had: {lacking[planned.name]}")
    if not found:
        name, why = next(iter(lacking.items()))
        raise Unavailable(f"no kernel of the plan can be had; {name}: {why}")
    return found, lacking


def _prepared(planned: PlannedKernel, accel: str, say: Say) -> Prepared:
    kernel = _kernel(planned, say)
    image = guest_image(kernel, accel, say=say)
    facts = kernel_facts(kernel)
    guest = guest_facts(image, say=say)
    return Prepared(
        seen=KernelSeen(planned.name, kernel.release, kernel.version, kernel.identity),
        facts={**asdict(facts), "replaced": list(facts.replaced)},
        guest={
            "kernel_version": image.kernel_version, "identity": image.identity,
            "accelerator": image.accelerator, "memory_mib": image.memory_mib,
            "mdadm": guest.mdadm,
        },
        kernel_image=image.kernel_image, initramfs=image.initramfs,
        injects=base_of(planned.name) is not None,
    )  # fmt: skip


def _kernel(planned: PlannedKernel, say: Say) -> Kernel:
    if planned.image:
        if planned.build:
            say(f"building {planned.name}: {planned.build}")
            done = subprocess.run(
                planned.build, shell=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                text=True, errors="replace", check=False,
            )  # fmt: skip
            if done.returncode:
                last = (done.stdout.splitlines() or ["said nothing"])[-1]
                raise BadInput(f"its build ended with {done.returncode}: {last}")
        return find_kernel(planned.image, Path(planned.modules), (), say=say)
    try:
        if base_of(planned.name) is None:
            return store.fetch(planned.name, say=say)  # what is new since last time comes by itself
    except Unavailable as error:
        say(f"{planned.name}: taking what is in the cache: {str(error).splitlines()[0]}")
    return find_kernel(planned.name, None, (), say=say)


def works_of(plan: Plan, kernels: Mapping[str, Any]) -> list[Work]:
    """Return all that can be done, lines of shapes first."""
    works = [
        Work(
            case=Case(line.kind, line.name, str(line.shape)), kernel=name, line=line,
            most=line.units, states=line.states,
        )
        for line in plan.lines
        for name in kernels
        if applies(line.kernels, name)
    ]  # fmt: skip
    for scenario in _scenarios(plan):
        for name, each in kernels.items():
            fine = not scenario.injects or getattr(each, "injects", False)
            if applies(plan.scenario_kernels, name) and fine:
                case = Case(Kind.SCENARIO, scenario.name, str(scenario.needs))
                works.append(
                    Work(case=case, kernel=name, line=None, most=plan.scenario_repeats, states=0)
                )
    return works


def _scenarios(plan: Plan) -> list[Scenario]:
    """Return the stories of a plan that run in a tiny guest."""
    if not plan.scenarios:
        return []
    every = [each for each in read_scenarios(FOLDER) if each.guest is GuestKind.TINY]
    if "all" in plan.scenarios:
        return every
    chosen = [each for each in every if "quick" in plan.scenarios and each.quick]
    named = [find_scenario(name) for name in plan.scenarios if name not in ("all", "quick")]
    if full := [each.name for each in named if each.guest is not GuestKind.TINY]:
        raise BadInput(f"{full[0]}: is about a full guest, which no night has; run it by itself")
    return [*chosen, *(each for each in named if each not in chosen)]


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
        common = {
            "part": part_of(number),
            "seed": seed,
            "guest": kernel.guest,
            "kernel": kernel.facts,
        }
        if work.line is None:
            story = stories[work.case.name]
            repeat = f"scenarios run {story.name} --kernel {work.kernel} --seed {seed}"
            return {
                **common, "do": "scenario", "scenario": encode_scenario(story),
                "injects": kernel.injects, "repeat": f"tools/mdjournal {repeat}",
            }  # fmt: skip
        line = work.line
        assert line.shape is not None
        return {
            **common, "do": line.kind.value, "shape": encode_shape(line.shape),
            "states": line.states, "steps": line.steps,
            "repeat": " ".join(["tools/mdjournal", *_words(line, work.kernel, seed)]),
        }  # fmt: skip

    return spec_of


def _words(line: Line, kernel: str, seed: int) -> Iterator[str]:
    """Yield a line's unit as a command."""
    shape = line.shape
    assert shape is not None
    yield from (line.kind.value, "--kernel", kernel, "--seed", str(seed))
    yield from ("--states", str(line.states))
    if line.kind is Kind.EXPLORE:
        yield from ("--steps", str(line.steps))
    yield from _shape_words(shape)


def _shape_words(shape: Shape) -> Iterator[str]:
    layout = layout_of(shape.level, shape.layout).name
    yield from ("--level", str(int(shape.level)), "--members", str(shape.members))
    yield from ("--chunk", str(shape.chunk_bytes), "--journal-size", str(shape.journal_bytes))
    if int(shape.level) != 4:  # RAID-4 has one
        yield from ("--layout", layout)
    yield from ("--mode", shape.mode.value)
    yield from ("--member-cache", shape.member_cache.value)
    yield from ("--journal-cache", shape.journal_cache.value)
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
    chooser = Chooser(works, past)
    once_s: defaultdict[str, float] = defaultdict(float)
    counts: defaultdict[str, int] = defaultdict(int)
    for work in works:
        once_s[work.kernel] += chooser.estimate_s(work)
        counts[work.kernel] += 1
    stories = len(_scenarios(plan))
    yield f"plan       {len(plan.lines)} shapes, {stories} scenarios, {len(names)} kernels"
    for name in names:
        once = f"once through {once_s[name]:.0f} s of a worker"
        yield f"kernel     {name:<10} {counts[name]} cases, {once}"
    guessed = sum(work.place not in past.pace_s for work in works)
    total = sum(once_s.values()) / workers
    yield (
        f"once       {total / 60:.0f} min with {workers} workers; {len(works) - guessed} of"
        f" {len(works)} by nights before, the others guessed at {GUESS_S:.0f} s"
    )
    rounds = budget_s / total if total else 0.0
    yield f"budget     {budget_s / 60:.0f} min: {rounds:.1f} times through"
