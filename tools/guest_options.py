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
from harness.recovery.kernel_versions import era_to_run, parse_version
from harness.storage.directories import cache_root
from harness.vm.accelerator import choose_accelerator
from harness.vm.machine import MEMORY_MIB, MachineConfig
from kvm_images import debian_root, full_guest, kernels, store, tiny_guest
from kvm_images.kernels import Kernel, base_of
from kvm_images.tiny_guest import TinyGuest
from kvm_images.userland import userland
from tools.launch.debian import require_packages
from tools.progress import Say

_FIRST_TO_INJECT = (6, 12)  # the oldest of ours whose debug kernel can choose who gets no memory

Option = Callable[[Callable[..., Any]], Callable[..., Any]]


def kernel_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``--kernel``, ``--modules``, ``--module`` and ``--accel`` to a click command."""
    options = options_of_kernel(
        click.option(
            "--kernel", "kernel_name", default=kernels.DEFAULT, show_default=True,
            metavar="NAME|BZIMAGE", help="A name from `mdjournal kernels list`, or your own image.",
        )
    )  # fmt: skip
    return with_options(command, options)


def options_of_kernel(kernel: Option, *more: Option) -> tuple[Option, ...]:
    """Return the options that say which kernel: *kernel* itself, and *more* behind its modules."""
    return (
        kernel,
        click.option(
            "--modules", type=click.Path(path_type=Path), metavar="DIR",
            help="The modules of your own image: lib/modules/RELEASE.",
        ),
        click.option(
            "--module", "replaced", type=click.Path(path_type=Path), multiple=True,
            metavar="FILE.ko", help="Put this module in place of the kernel's own; repeatable.",
        ),
        *more,
        click.option(
            "--accel", type=click.Choice(["auto", "kvm", "tcg"]), default="auto",
            show_default=True, help="auto tries KVM with a small guest, once.",
        ),
    )  # fmt: skip


def with_options(command: Callable[..., Any], options: tuple[Option, ...]) -> Callable[..., Any]:
    """Add options to a click command, in their order."""
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


def injects(name: str, kernel: Kernel) -> bool:
    """Return whether a kernel, asked for by this name, can fail its own allocations."""
    return base_of(name) is not None and parse_version(kernel.version)[:2] >= _FIRST_TO_INJECT


def era_of(kernel: Kernel) -> Era:
    """Return the era of a kernel, by Debian's version or the release of an own build."""
    return era_to_run(_version_of(kernel))


def _version_of(kernel: Kernel) -> str:
    return kernel.release if kernel.version == kernels.OWN_BUILD else kernel.version


def guest_image(
    kernel: Kernel, accelerator: str, mdadm: str = debian_root.DEFAULT_MDADM, *, say: Say
) -> GuestImage:
    """Return the tiny guest for a kernel, with an mdadm, built if need be, and how it is run.

    Raises:
        BadInput: no guest is known with this mdadm.
    """
    guest = tiny_guest.build(kernel, userland(mdadm_suite=debian_root.suite_of(mdadm), say=say))
    memory_mib = kernel.memory_mib or MEMORY_MIB
    return GuestImage(
        kernel_image=kernel.image,
        kernel_version=_version_of(kernel),
        initramfs=guest.path,
        identity=_identity(kernel, guest.identity),
        accelerator=_accelerator(kernel, guest, accelerator, say=say),
        saved_guests=cache_root() / "saved-guests",
        memory_mib=memory_mib,
    )


def full_guest_image(kernel: Kernel, accelerator: str, mdadm: str, *, say: Say) -> GuestImage:
    """Return the full guest for a kernel, with an mdadm, built if need be.

    Raises:
        BadInput: no root is known with this mdadm.
        Unavailable: it cannot be built.
    """
    suite = debian_root.suite_of(mdadm)
    if not debian_root.is_cached(suite):
        require_packages("full guest")
    root = debian_root.debian_root(suite, say=say)
    tools = userland(say=say)
    guest = full_guest.build(kernel, root, tools)
    if accelerator == "auto":
        accelerator = _accelerator(kernel, tiny_guest.build(kernel, tools), accelerator, say=say)
    return GuestImage(
        kernel_image=kernel.image,
        kernel_version=_version_of(kernel),
        initramfs=guest.initramfs,
        identity=_identity(kernel, guest.identity),
        accelerator=accelerator,
        saved_guests=cache_root() / "saved-guests",
        root=guest.root,
        add_files=functools.partial(full_guest.with_files, guest.initramfs),
    )


def _identity(kernel: Kernel, guest: str) -> str:
    return hashlib.sha256(f"{kernel.identity} {guest}".encode()).hexdigest()


def _accelerator(kernel: Kernel, guest: TinyGuest, asked: str, *, say: Say) -> str:
    if asked != "auto":
        return asked
    probe = MachineConfig(
        kernel_image=kernel.image, initramfs=guest.path, accelerator="kvm", disks=(),
        memory_mib=kernel.memory_mib or MEMORY_MIB,
    )  # fmt: skip
    return choose_accelerator(probe, cache=cache_root() / "accelerator.json", say=say)
