"""Which kernel a bundle runs on: the one that it is from, or the one that is asked for."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from harness.campaign.reproducing.bundle import Bundle
from harness.campaign.reproducing.running import Bench
from harness.campaign.scenarios.scenario import GuestKind
from harness.errors import BadInput
from kvm_images import debian_root
from kvm_images.kernels import Kernel, base_of
from kvm_images.modules import module_name
from tools.guest_options import (
    era_of,
    find_kernel,
    full_guest_image,
    guest_image,
    options_of_kernel,
    with_options,
)
from tools.progress import Say, seldom

_NAME = re.compile(r"[a-z0-9][a-z0-9.+~-]*")  # of a catalogue, or a version: never a path


def bundle_kernel_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``--kernel``, ``--modules``, ``--module``, ``--module-dir`` and ``--accel``."""
    options = options_of_kernel(
        click.option(
            "--kernel", "kernel_name", metavar="NAME|BZIMAGE",
            help="A name from `mdjournal kernels list`, or your own image. Default: the bundle's.",
        ),
        click.option(
            "--module-dir", type=click.Path(path_type=Path), metavar="DIR",
            help="Likewise each module that is found below a build tree.",
        ),
    )  # fmt: skip
    return with_options(command, options)


def modules_below(folder: Path) -> tuple[Path, ...]:
    """Return every module of a build tree, one of each name.

    Raises:
        BadInput: there is none.
    """
    found = {module_name(path.stem): path for path in sorted(folder.glob("**/*.ko"))}
    if not found:
        raise BadInput(f"--module-dir {folder}: no *.ko in it; build raid456.ko there first")
    return tuple(found.values())


def bench_of(
    bundle: Bundle, kernel_name: str | None, modules: Path | None, replaced: tuple[Path, ...],
    accel: str, *, say: Say, module_dir: Path | None = None,
) -> tuple[Kernel, Bench]:  # fmt: skip
    """Return the kernel that a bundle is to run on, and what runs it.

    The modules of *module_dir* stand in for the kernel's own, and those that are *replaced* one by
    one for these.

    Raises:
        BadInput: the bundle's own kernel cannot be had by its name; no module is in *module_dir*.
    """
    if module_dir is not None:
        replaced = (*modules_below(module_dir), *replaced)
    own = bundle.kernel
    if kernel_name is None:
        kernel_name = own.name
        if not _NAME.fullmatch(own.name) or Path(own.name).exists():
            raise BadInput(
                f"the bundle is from a kernel of its maker's own, {own.release or own.name}; give"
                " --kernel"
            )
        if own.replaced and not replaced:
            raise BadInput(
                f"the bundle is from {own.name} with another {', '.join(own.replaced)}; give that"
                " with --module, or --kernel"
            )
    kernel = find_kernel(kernel_name, modules, replaced, say=say)
    if bundle.scenario is not None and bundle.scenario.injects and base_of(kernel.name) is None:
        raise BadInput(f"the bundle's story needs a debug kernel, which {kernel.name} is not")
    is_full = bundle.guest.kind == GuestKind.FULL.value
    mdadm = debian_root.mdadm_of(bundle.guest.mdadm)
    image = (full_guest_image if is_full else guest_image)(kernel, accel, mdadm, say=say)
    return kernel, Bench(image=image, era=era_of(kernel), say=say, seldom=seldom(say))
