"""Options of every command that builds an array: its shape."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from typing import Any

import click
from click.core import ParameterSource

from harness.crash.disk_kinds import Bus, Discard
from harness.crash.trace import Cache
from harness.crash.workload import JournalMode
from harness.errors import BadInput
from harness.md.shape import Shape, build_shape
from harness.recovery.layout import Level

_SIZE = re.compile(r"(\d+)\s*([kmg]?)(?:i?b)?", re.IGNORECASE)
_UNITS = {"": 1, "k": 1024, "m": 1024**2, "g": 1024**3}


class SizeType(click.ParamType[Any]):
    """A size in bytes: ``65536``, ``64K``, ``8M``."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return the bytes."""
        if isinstance(value, int):
            return value
        match = _SIZE.fullmatch(str(value).strip())
        if match is None:
            self.fail(f"{value!r} is no size; wanted a number with K, M or G", param, ctx)
        return int(match[1]) * _UNITS[match[2].lower()]


_CACHE_HELP = "Default: write-back, on NVMe write-through."
_CACHES = click.Choice([cache.value for cache in Cache])


def shape_options(
    *, chunk: str = "64K", journal_size: str = "8M"
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Return what adds the options of `chosen_shape` to a click command, with these defaults."""
    options = (
        click.option("--level", type=click.Choice(["4", "5", "6"]), default="5",
                     show_default=True),
        click.option("--members", type=int, help="Default: 3, on RAID-6 4."),
        click.option("--chunk", type=SizeType(), default=chunk, show_default=True),
        click.option("--layout", help="As mdadm spells it; default: mdadm's own."),
        click.option("--journal-size", type=SizeType(), default=journal_size, show_default=True),
        click.option("--mode", type=click.Choice([mode.value for mode in JournalMode]),
                     default=JournalMode.WRITE_THROUGH.value, show_default=True),
        click.option("--member-cache", type=_CACHES, help=_CACHE_HELP),
        click.option("--journal-cache", type=_CACHES, help=_CACHE_HELP),
        click.option("--bus", type=click.Choice([bus.value for bus in Bus]),
                     default=Bus.VIRTIO.value, show_default=True),
        click.option("--logical-block", type=click.Choice(["512", "4096"]), default="512",
                     show_default=True, help="Of every disk, in bytes."),
        click.option("--discard", type=click.Choice([one.value for one in Discard]),
                     default=Discard.ARRAY.value, show_default=True,
                     help="Who takes discards: no disk, disks, or the array as well."),
    )  # fmt: skip
    return lambda command: functools.reduce(
        lambda wrapped, option: option(wrapped), reversed(options), command
    )


_FIELDS: dict[str, tuple[str, Callable[[Any], object]]] = {
    "level": ("level", lambda text: Level(int(text))), "members": ("members", int),
    "chunk": ("chunk_bytes", int), "journal_size": ("journal_bytes", int),
    "mode": ("mode", JournalMode), "member_cache": ("member_cache", Cache),
    "journal_cache": ("journal_cache", Cache), "bus": ("bus", Bus),
    "logical_block": ("logical_block_bytes", int), "discard": ("discard", Discard),
}  # fmt: skip


def changed_fields(**given: Any) -> dict[str, object]:
    """Return the fields of a shape that were named on the command line, with their values.

    Raises:
        BadInput: one that takes others with it.
    """
    context = click.get_current_context()
    named = [n for n in given if context.get_parameter_source(n) is ParameterSource.COMMANDLINE]
    if "layout" in named or "level" in named:
        raise BadInput("--level, --layout: a scenario's own; write one with another shape")
    changes = {_FIELDS[name][0]: _FIELDS[name][1](given[name]) for name in named}
    if changes.get("bus") is Bus.NVME:
        changes |= dict.fromkeys(("member_cache", "journal_cache"), Cache.WRITE_THROUGH)
    return changes


def chosen_shape(
    *,
    level: str,
    members: int | None,
    chunk: int,
    layout: str | None,
    journal_size: int,
    mode: str,
    member_cache: str | None,
    journal_cache: str | None,
    bus: str,
    logical_block: str,
    discard: str,
    journaled: bool = True,
) -> Shape:
    """Return the shape that the options name.

    Raises:
        BadInput: it cannot be.
    """
    caches = [Cache(one) if one else None for one in (member_cache, journal_cache)]
    return build_shape(
        level=int(level), members=members, chunk_bytes=chunk, layout=layout,
        journal_bytes=journal_size, mode=JournalMode(mode), member_cache=caches[0],
        journal_cache=caches[1], journaled=journaled, bus=Bus(bus),
        logical_block_bytes=int(logical_block), discard=Discard(discard),
    )  # fmt: skip
