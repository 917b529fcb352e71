"""A plan's kernels made ready, each with the guests that its work needs."""

from __future__ import annotations

import subprocess
from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from harness.campaign.history.records import KernelSeen
from harness.campaign.lab import GuestImage
from harness.campaign.nights.plan import PlannedKernel
from harness.campaign.scenarios.scenario import GuestKind
from harness.errors import BadInput, HarnessError, Unavailable
from kvm_images import debian_root, store
from kvm_images.kernels import Kernel, base_of
from tools.guest_options import find_kernel, full_guest_image, guest_image, injects
from tools.progress import Say
from tools.run_facts import guest_facts, kernel_facts

Spec = Mapping[str, Any]


@dataclass(frozen=True, slots=True, order=True)
class GuestName:
    """A guest as a plan asks for it."""

    kind: str = GuestKind.TINY.value
    mdadm: str = debian_root.DEFAULT_MDADM  # a version, or a Debian suite

    def __str__(self) -> str:
        return f"{self.kind} guest with mdadm {self.mdadm}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Guest:
    """A guest for a kernel, as it is on this machine."""

    facts: Spec  # what workers are told of it
    initramfs: Path
    root: Path | None  # of a full one

    @property
    def files(self) -> tuple[Path, ...]:
        """What workers need of it."""
        return (self.initramfs,) if self.root is None else (self.initramfs, self.root)


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A kernel that is on this machine."""

    seen: KernelSeen
    facts: Spec
    kernel_image: Path
    guests: Mapping[str, Guest]  # by their names as text
    injects: bool
    words: tuple[str, ...] = ()  # what a command takes to run on it


Needed = Mapping[str, Collection[GuestName]]  # by the kernel's name


def prepared(
    kernels: Collection[PlannedKernel], needed: Needed, accel: str, *, say: Say
) -> tuple[dict[str, Prepared], dict[str, str]]:
    """Fetch or build kernels and their guests; return them by the kernels' names, and why others
    cannot be had, by what they are.

    Raises:
        Unavailable: no kernel can be had.
    """
    found: dict[str, Prepared] = {}
    lacking: dict[str, str] = {}
    for planned in kernels:
        say(f"kernel {planned.name}")
        try:
            kernel = _kernel(planned, say)
            guests = dict(_guests(planned, kernel, needed, accel, lacking, say))
        except HarnessError as error:
            _note(lacking, f"kernel {planned.name}", error, say)
            continue
        if guests:
            found[planned.name] = _prepared(planned, kernel, guests)
        elif planned.name not in needed:
            lacking[f"kernel {planned.name}"] = "nothing of the plan is to be done on it"
    if not found:
        what, why = next(iter(lacking.items()))
        raise Unavailable(f"no kernel of the plan can be had; {what}: {why}")
    return found, lacking


def _note(lacking: dict[str, str], what: str, error: HarnessError, say: Say) -> None:
    lacking[what] = str(error).splitlines()[0]
    say(f"{what} cannot be had: {lacking[what]}")


def _prepared(planned: PlannedKernel, kernel: Kernel, guests: Mapping[str, Guest]) -> Prepared:
    facts = kernel_facts(kernel)
    words: tuple[str, ...] = ("--kernel", planned.name)
    if planned.image:
        words = ("--kernel", planned.image, "--modules", planned.modules)
    return Prepared(
        seen=KernelSeen(planned.name, kernel.release, kernel.version, kernel.identity),
        facts={**asdict(facts), "replaced": list(facts.replaced)}, kernel_image=kernel.image,
        guests=guests, injects=injects(planned.name, kernel), words=words,
    )  # fmt: skip


def _guests(
    planned: PlannedKernel, kernel: Kernel, needed: Needed, accel: str, lacking: dict[str, str],
    say: Say,
) -> Iterator[tuple[str, Guest]]:  # fmt: skip
    """Yield the guests that work on a kernel needs; what cannot be had is noted."""
    for name in sorted(needed.get(planned.name, ())):
        try:
            yield str(name), _guest(kernel, name, accel, say)
        except HarnessError as error:
            _note(lacking, f"kernel {planned.name} in a {name}", error, say)


def _guest(kernel: Kernel, name: GuestName, accel: str, say: Say) -> Guest:
    is_full = name.kind == GuestKind.FULL.value
    make = full_guest_image if is_full else guest_image
    image: GuestImage = make(kernel, accel, name.mdadm, say=say)
    facts = guest_facts(image, name.mdadm, say=say)
    return Guest(
        facts={
            "kernel_version": image.kernel_version, "identity": image.identity,
            "accelerator": image.accelerator, "memory_mib": image.memory_mib,
            "kind": facts.kind, "mdadm": facts.mdadm,
        },
        initramfs=image.initramfs, root=image.root,
    )  # fmt: skip


def _kernel(planned: PlannedKernel, say: Say) -> Kernel:
    if planned.image:
        if planned.build:
            _build(planned, say)
        return find_kernel(planned.image, Path(planned.modules), (), say=say)
    try:
        if base_of(planned.name) is None:
            return store.fetch(planned.name, say=say)  # what is new since last time comes by itself
    except Unavailable as error:
        say(f"{planned.name}: taking what is in the cache: {str(error).splitlines()[0]}")
    return find_kernel(planned.name, None, (), say=say)


def _build(planned: PlannedKernel, say: Say) -> None:
    say(f"building {planned.name}: {planned.build}")
    done = subprocess.run(
        planned.build, shell=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        errors="replace", check=False,
    )  # fmt: skip
    if done.returncode:
        last = (done.stdout.splitlines() or ["said nothing"])[-1]
        raise BadInput(f"its build ended with {done.returncode}: {last}")
