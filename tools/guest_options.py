"""Options of every command that runs a kernel, and what they stand for."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from harness.campaign.lab import GuestImage
from harness.errors import BadInput
from harness.recovery.era import Era
from harness.recovery.kernel_versions import era_to_run
from harness.storage.directories import cache_root
from harness.vm.accelerator import choose_accelerator
from harness.vm.machine import MEMORY_MIB, MachineConfig
from kvm_images import kernels, store, tiny_guest
from kvm_images.kernels import Kernel
from kvm_images.userland import userland
from tools.progress import Say


def kernel_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``--kernel``, ``--modules``, ``--module`` and ``--accel`` to a click command."""
    options = (
        click.option(
            "--kernel", "kernel_name", default=kernels.DEFAULT, show_default=True,
            metavar="NAME|BZIMAGE", help="A name from `mdjournal kernels list`, or your own image.",
        ),
        click.option(
            "--modules", type=click.Path(path_type=Path), metavar="DIR",
            help="The modules of your own image: lib/modules/RELEASE.",
        ),
        click.option(
            "--module", "replaced", type=click.Path(path_type=Path), multiple=True,
            metavar="FILE.ko", help="Put this module in place of the kernel's own; repeatable.",
        ),
        click.option(
            "--accel", type=click.Choice(["auto", "kvm", "tcg"]), default="auto",
            show_default=True, help="auto tries KVM with a small guest, once.",
        ),
    )  # fmt: skip
    return functools.reduce(lambda wrapped, option: option(wrapped), reversed(options), command)


def find_kernel(name: str, modules: Path | None, replaced: tuple[Path, ...], *, say: Say) -> Kernel:
    """Return the kernel that the options name, fetched if need be.

    Raises:
        BadInput: an unknown name, or an image without its modules.
    """
    if modules is not None:
        kernel = store.own_build(Path(name), modules)
    elif "/" in name or Path(name).is_file():
        raise BadInput(f"--kernel {name}: an image of your own needs --modules DIR as well")
    else:
        kernel = store.resolve(name, say=say)
    return store.with_modules(kernel, replaced) if replaced else kernel


def era_of(kernel: Kernel) -> Era:
    """Return the era of a kernel, by Debian's version or the release of an own build."""
    return era_to_run(_version_of(kernel))


def _version_of(kernel: Kernel) -> str:
    return kernel.release if kernel.version == kernels.OWN_BUILD else kernel.version


def guest_image(kernel: Kernel, accelerator: str, *, say: Say) -> GuestImage:
    """Return the tiny guest for a kernel, built if need be, and how it is to be run."""
    guest = tiny_guest.build(kernel, userland(say=say))
    identity = hashlib.sha256(f"{kernel.identity} {guest.identity}".encode()).hexdigest()
    memory_mib = kernel.memory_mib or MEMORY_MIB
    if accelerator == "auto":
        probe = MachineConfig(
            kernel_image=kernel.image, initramfs=guest.path, accelerator="kvm", disks=(),
            memory_mib=memory_mib,
        )  # fmt: skip
        accelerator = choose_accelerator(probe, cache=cache_root() / "accelerator.json", say=say)
    return GuestImage(
        kernel_image=kernel.image,
        kernel_version=_version_of(kernel),
        initramfs=guest.path,
        identity=identity,
        accelerator=accelerator,
        saved_guests=cache_root() / "saved-guests",
        memory_mib=memory_mib,
    )
