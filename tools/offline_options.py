"""What commands on image files have in common: the images, the era, the stripe cache."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from harness.errors import BadInput
from harness.recovery.era import ERAS, NEWEST_ERA, Era, era_named
from harness.recovery.kernel_versions import era_of_version
from harness.recovery.metawise import DEFAULT_STRIPE_CACHE_SIZE, MAX_STRIPE_CACHE_SIZE

images_argument = click.argument(
    "images", nargs=-1, required=True, metavar="IMAGE...", type=click.Path(path_type=Path)
)


def model_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``--era``, ``--kernel-version`` and ``--stripe-cache-size`` to a click command."""
    options = (
        click.option(
            "--era", "era_name", type=click.Choice(list(ERAS)),
            help=f"Follow the recovery code as of this kernel. Default: {NEWEST_ERA.name}.",
        ),
        click.option(
            "--kernel-version", metavar="V",
            help="Follow the recovery code of this kernel, such as 6.1.192.",
        ),
        click.option(
            "--stripe-cache-size", type=click.IntRange(17, MAX_STRIPE_CACHE_SIZE),
            default=DEFAULT_STRIPE_CACHE_SIZE, show_default=True,
            help="The array's, in stripes; matters where a FLUSH follows many stripes.",
        ),
    )  # fmt: skip
    return functools.reduce(lambda wrapped, option: option(wrapped), reversed(options), command)


def chosen_era(era_name: str | None, kernel_version: str | None) -> Era:
    """Return the era that the options name.

    Raises:
        BadInput: both were given, or a version whose era is not known.
    """
    if era_name is not None and kernel_version is not None:
        raise BadInput("--era and --kernel-version: give one of them")
    if kernel_version is not None:
        return era_of_version(kernel_version)
    return NEWEST_ERA if era_name is None else era_named(era_name)
