"""A unit of a night as a worker was told of it."""

from __future__ import annotations

import functools
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.campaign.crash import CrashOptions, CutChoice
from harness.campaign.history.records import FindingSeen
from harness.campaign.lab import GuestImage
from harness.campaign.nights.inputs import InputFile
from harness.campaign.reproducing.bundle import GuestFacts, KernelFacts
from harness.campaign.reproducing.ran import RunFacts
from harness.campaign.scenarios.scenario import GuestKind
from harness.crash.pattern import Fill
from harness.md.shape import Shape, decode_shape
from harness.recovery.era import Era
from harness.recovery.kernel_versions import era_to_run
from harness.storage.directories import cache_root
from kvm_images import full_guest


@dataclass(frozen=True, slots=True)
class Unit:
    """A unit as it was sent."""

    spec: Mapping[str, Any]
    image: GuestImage
    folder: Path
    began: float = field(default_factory=time.time)  # seconds since 1970

    @property
    def shape(self) -> Shape:
        """Of its array."""
        return decode_shape(self.spec["shape"])

    @property
    def era(self) -> Era:
        """Of its kernel's recovery."""
        return era_to_run(self.image.kernel_version)

    @property
    def guest(self) -> GuestKind:
        """In which it runs."""
        return GuestKind(self.spec["guest"]["kind"])

    def crash_options(self, shape: Shape) -> CrashOptions:
        """Return what its array is, and how it is written."""
        spec = self.spec
        return CrashOptions(
            shape=shape, era=self.era, image=self.image, seed=spec["seed"], cut=CutChoice(),
            steps=spec.get("steps", 12), fill=Fill.PLAIN,
        )  # fmt: skip

    def facts(self, command: str, shape: Shape) -> RunFacts:
        """Return what is written down of it, to be packed."""
        spec = self.spec
        replaced = tuple(spec["kernel"]["replaced"])
        return RunFacts(
            command=command, made_by=spec["repeat"], shape=shape, seed=spec["seed"],
            kernel=KernelFacts(**{**spec["kernel"], "replaced": replaced}),
            guest=GuestFacts(
                kind=self.guest.value, accelerator=self.image.accelerator,
                memory_mib=self.image.memory_mib, mdadm=spec["guest"]["mdadm"],
            ),
        )  # fmt: skip


def image_of(
    spec: Mapping[str, Any], kernel: InputFile, initramfs: InputFile, root: InputFile | None = None
) -> GuestImage:
    """Return the guest of a unit, of what was sent for it; *root* is a full one's."""
    guest = spec["guest"]
    add_files = None if root is None else functools.partial(
        full_guest.with_files, initramfs.path
    )  # fmt: skip
    return GuestImage(
        kernel_image=kernel.path, kernel_version=guest["kernel_version"],
        initramfs=initramfs.path, identity=guest["identity"], accelerator=guest["accelerator"],
        memory_mib=guest["memory_mib"], saved_guests=cache_root() / "saved-guests",
        root=None if root is None else root.path, add_files=add_files,
    )  # fmt: skip


def plain(finding: FindingSeen) -> dict[str, Any]:
    """Return a finding as it is sent."""
    return {
        "oracle": finding.oracle, "sentence": finding.sentence, "known_as": finding.known_as,
        "count": finding.count,
    }  # fmt: skip


def silent(_: str) -> None:
    """Say nothing: what a unit came to says it."""
