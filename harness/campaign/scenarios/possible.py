"""What of a story a lab machine cannot give: such a story is not run there, and never green."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping

from harness.campaign.scenarios.disturbing import (
    CutPower,
    Heal,
    Inject,
    Reboot,
    Unplug,
    UseMemory,
)
from harness.campaign.scenarios.scenario import GuestKind, Scenario, Verb
from harness.crash.disk_kinds import Bus
from harness.crash.states import Loss

_NEVER: Mapping[type[Verb], str] = {
    Inject: "faults are injected by the recording server, which serves guests alone",
    Heal: "faults are injected by the recording server, which serves guests alone",
    Unplug: "nobody is there to pull a disk out",
    Reboot: "the machine is not ours to be rebooted",
    UseMemory: "the machine's memory is not ours to be taken",
}


def not_possible(scenario: Scenario, *, can_cut: bool) -> str:
    """Return why a story is not possible on a lab machine; empty where it is.

    Args:
        scenario: the story.
        can_cut: whether the machine has dm-log-writes.
    """
    if scenario.guest is GuestKind.FULL:
        return "it is about what udev and systemd of a guest do"
    if scenario.needs.bus not in (Bus.VIRTIO, Bus.LOOP):
        return f"its disks are on {scenario.needs.bus.value}, which no QEMU gives here"
    for step in every_step(scenario.steps):
        if (why := _NEVER.get(type(step))) is not None:
            return f"{step.words}: {why}"
        if isinstance(step, CutPower):
            if not can_cut:
                return f"{step.words}: the machine has no dm-log-writes to record what is lost"
            if step.loss is Loss.RANDOM:
                return f"{step.words}: dm-log-writes knows what a flush covered, and no part of it"
    return ""


def every_step(steps: tuple[Verb, ...]) -> Iterator[Verb]:
    """Yield steps, and those that are done during them."""
    for step in steps:
        yield step
        for field in dataclasses.fields(step):  # type: ignore[arg-type]
            inner = getattr(step, field.name)
            if isinstance(inner, tuple) and all(isinstance(each, Verb) for each in inner):
                yield from every_step(inner)
