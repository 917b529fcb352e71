"""What commands on image files have in common: the images and the era."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from harness.recovery.era import ERAS, NEWEST_ERA

images_argument = click.argument(
    "images", nargs=-1, required=True, metavar="IMAGE...", type=click.Path(path_type=Path)
)


def era_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``--era``, which recovery code is followed."""
    option = click.option(
        "--era", "era_name", type=click.Choice(list(ERAS)), default=NEWEST_ERA.name,
        show_default=True, help="Follow the recovery code as of this kernel.",
    )  # fmt: skip
    return functools.wraps(command)(option(command))
