"""Kernel configurations as text: read, put together, and what Kconfig made of what was wanted."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

Version = tuple[int, int]  # of a kernel's branch, as in 6.12
Options = Mapping[str, str]  # by name with CONFIG_; the value as a .config has it, "n" if not set

NOT_SET = "n"

_SET = re.compile(r"(CONFIG_\w+)=(.+)")
_UNSET = re.compile(r"# (CONFIG_\w+) is not set")
_SINCE = re.compile(r"since-(\d+)\.(\d+)")


@dataclass(frozen=True, slots=True)
class Dropped:
    """An option that is not what was wanted; *found* is "n" as well where there is no such one."""

    option: str
    wanted: str
    found: str

    def __str__(self) -> str:
        return f"{self.option}={self.wanted} (it is {self.found})"


def parse_options(text: str) -> dict[str, str]:
    """Return the options of a ``.config`` or of a fragment of one; the last of equal names.

    Raises:
        ValueError: a line is neither an option nor a comment; a misspelt one would be lost.
    """
    options: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if match := _SET.fullmatch(line.rstrip()):
            options[match[1]] = match[2]
        elif match := _UNSET.fullmatch(line.rstrip()):
            options[match[1]] = NOT_SET
        elif line.strip() and not line.startswith("#"):
            raise ValueError(f"line {number} is no option: {line!r}")
    return options


def merged(fragments: Iterable[str]) -> dict[str, str]:
    """Return the options of all fragments; a later one has the last word."""
    options: dict[str, str] = {}
    for fragment in fragments:
        options |= parse_options(fragment)
    return options


def as_text(options: Options) -> str:
    """Return options as a ``.config`` has them."""
    return "".join(
        f"# {name} is not set\n" if value == NOT_SET else f"{name}={value}\n"
        for name, value in options.items()
    )


def dropped(wanted: Options, configuration: Options) -> tuple[Dropped, ...]:
    """Return what Kconfig did not make as it was wanted.

    It says nothing of its own when an option is unknown to a kernel, or depends on one that is
    off: the option is simply not there afterwards.
    """
    found = {name: configuration.get(name, NOT_SET) for name in wanted}
    return tuple(
        Dropped(name, value, found[name]) for name, value in wanted.items() if found[name] != value
    )


def concerns(stem: str, version: Version) -> bool:
    """Whether a fragment of that file name is for a kernel: ``since-6.12`` is from 6.12 on."""
    match = _SINCE.fullmatch(stem)
    return match is None or (int(match[1]), int(match[2])) <= version
