"""What a command writes down of its run, for `mdjournal repro pack`."""

from __future__ import annotations

import hashlib

from harness.campaign.lab import GuestImage
from harness.campaign.reproducing.bundle import GuestFacts, KernelFacts
from harness.campaign.reproducing.ran import RunFacts
from harness.md.shape import Shape
from kvm_images import debian_root
from kvm_images.kernels import Kernel
from kvm_images.modules import ModuleTree
from kvm_images.userland import userland
from tools.progress import Say
from tools.typed_command import typed_command

_DRIVER = "raid456"


def kernel_facts(kernel: Kernel) -> KernelFacts:
    """Return which kernel it is, to the hash of its driver."""
    tree = ModuleTree(kernel.modules, replaced=kernel.replaced)
    digest = ""
    if _DRIVER in tree:
        digest = hashlib.sha256(tree.path(_DRIVER).read_bytes()).hexdigest()
    return KernelFacts(
        name=kernel.name, release=kernel.release, version=kernel.version,
        identity=kernel.identity, module_sha256=digest,
        replaced=tuple(path.name for path in kernel.replaced),
    )  # fmt: skip


def guest_facts(image: GuestImage, mdadm: str = "", *, say: Say) -> GuestFacts:
    """Return what the guest is; *mdadm* as it was asked for."""
    if image.root is not None:
        version = mdadm
    else:
        suite = debian_root.suite_of(mdadm or debian_root.DEFAULT_MDADM)
        version = userland(mdadm_suite=suite, say=say).versions.get("mdadm", "")
    return GuestFacts(
        kind="tiny" if image.root is None else "full", accelerator=image.accelerator,
        mdadm=version, memory_mib=image.memory_mib,
    )  # fmt: skip


def run_facts(
    command: str, kernel: Kernel, image: GuestImage, shape: Shape, *, seed: int, say: Say,
    made_by: str = "", jitter_us: int = 0, lying: frozenset[str] = frozenset(), mdadm: str = "",
) -> RunFacts:  # fmt: skip
    """Return all that `ran.write_run` writes down."""
    return RunFacts(
        command=command, made_by=made_by or typed_command(), kernel=kernel_facts(kernel),
        guest=guest_facts(image, mdadm, say=say), shape=shape, seed=seed, jitter_us=jitter_us,
        lying=lying,
    )  # fmt: skip
