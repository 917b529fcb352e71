"""Options of every command that judges something, alike wherever they stand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]

guests_option: Decorator = click.option(
    "--guests", type=click.IntRange(1, 64), default=2, show_default=True,
    help="How many guests at once.",
)  # fmt: skip
strict_option: Decorator = click.option(
    "--strict", is_flag=True, help="Exit 1 for a known issue as well."
)
json_option: Decorator = click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON document."
)


def state_option(what: str) -> Decorator:
    """Return ``--state N``, of a *what* by number."""
    return click.option(
        "--state", "only", type=click.IntRange(0), metavar="N",
        help=f"Look at {what} N alone, and keep its images.",
    )  # fmt: skip
