"""What a night is to do: a plan file in TOML, documented in docs/nightly.md, or the built-in one.

A plan names kernels, and *lines* of work: explorations and fuzzings of a shape, seed after seed,
and scenarios. Each line on each kernel is a case of the history; each seed, or scenario, a unit.
"""

from __future__ import annotations

import hashlib
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.campaign.history.records import Kind
from harness.crash.disk_kinds import Bus, Discard
from harness.crash.trace import Cache
from harness.crash.workload import JournalMode
from harness.errors import BadInput
from harness.md.shape import Shape, build_shape

DEFAULT = Path(__file__).with_name("default_plan.toml")
_NAME = re.compile(r"[a-z0-9][a-z0-9.-]*")
_SIZE = re.compile(r"(\d+)([KMG]?)")
_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
_NO_JOURNAL = "none"  # of an exploration: md's write hole shows then
_TIME = re.compile(r"(\d+)\s*(s|m|h)")
_SECONDS = {"s": 1, "m": 60, "h": 3600}
_SHAPE_KEYS = {
    "level", "members", "layout", "chunk", "journal", "mode", "member-cache", "journal-cache",
    "bus", "logical-block", "discard",
}  # fmt: skip
_EXPLORE_KEYS = {"name", "states", "steps", "kernels", "units"} | _SHAPE_KEYS
_FUZZ_KEYS = {"name", "states", "kernels", "units"} | _SHAPE_KEYS
_SCENARIO_KEYS = {"names", "kernels", "repeats", "mdadm", "guest"}
_KERNEL_KEYS = {"name", "image", "modules", "build"}


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedKernel:
    """A kernel by its name in the catalogue, or a tree of the plan's owner."""

    name: str
    image: str = ""  # a bzImage; empty: the name is the catalogue's
    modules: str = ""
    build: str = ""  # a shell command that makes both first


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A line of the plan: one case, on each of its kernels."""

    kind: Kind
    name: str
    shape: Shape | None  # None: each scenario has its own
    states: int = 100  # of a unit
    steps: int = 12
    units: int = 0  # at most so many on a kernel in a night; 0: as many as the budget allows
    kernels: tuple[str, ...] = ()  # empty: all of the plan


@dataclass(frozen=True, slots=True, kw_only=True)
class Stories:
    """Scenarios of the plan: each is a case on each of the kernels, with each mdadm."""

    names: tuple[str, ...]  # names, "all" or "quick"
    kernels: tuple[str, ...] = ()  # empty: all of the plan
    repeats: int = 1
    mdadm: tuple[str, ...] = ()  # versions or Debian suites; empty: the usual one
    in_full_guest: bool = False  # all of them, and not only those that are about it


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A night's plan."""

    budget_s: float
    kernels: tuple[PlannedKernel, ...]
    lines: tuple[Line, ...] = field(default=())
    stories: tuple[Stories, ...] = ()
    text: str = ""  # as it stands in the file

    @property
    def hash(self) -> str:
        """What tells a plan from others: an interrupted night goes on with its own."""
        return hashlib.sha256(self.text.encode()).hexdigest()[:16]


def read_plan(path: Path | None) -> Plan:
    """Read a plan file; ``None``: the built-in plan.

    Raises:
        BadInput: it cannot be read, or says what no plan does; the message names the place.
    """
    place = path or DEFAULT
    try:
        text = place.read_text()
        return plan_of(text)
    except OSError as error:
        raise BadInput(f"{place}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise BadInput(f"{place}: is no text: {error.reason}") from error
    except BadInput as error:
        raise BadInput(f"{place}: {error}") from error


def plan_of(text: str) -> Plan:
    """Return the plan that a TOML text is.

    Raises:
        BadInput: it is none.
    """
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise BadInput(f"is no TOML: {error}") from error
    _require_keys(document, {"budget", "kernels", "kernel", "explore", "fuzz", "scenarios"}, "")
    kernels = _kernels(document)
    names = {kernel.name for kernel in kernels}
    stories = tuple(_stories(document, names))
    lines = [
        _line(each, kind, keys, number, names)
        for key, kind, keys in (("explore", Kind.EXPLORE, _EXPLORE_KEYS),
                                ("fuzz", Kind.FUZZ, _FUZZ_KEYS))
        for number, each in enumerate(_tables(document, key), start=1)
    ]  # fmt: skip
    if not lines and not stories:
        raise BadInput("nothing is to be done: no [[explore]], [[fuzz]] or [scenarios]")
    if twice := [a.name for n, a in enumerate(lines) if (a.kind, a.name) in
                 {(b.kind, b.name) for b in lines[:n]}]:  # fmt: skip
        raise BadInput(f"two lines are called {twice[0]}")
    try:
        budget_s = seconds_of(str(document.get("budget", "8h")))
    except BadInput as wrong:
        raise BadInput(f"budget: {wrong}") from wrong
    return Plan(
        budget_s=budget_s, kernels=kernels,
        lines=tuple(lines), text=text, stories=stories,
    )  # fmt: skip


def seconds_of(text: str) -> float:
    """Return the seconds that ``8h``, ``20m``, ``90s`` or ``1h30m`` are.

    Raises:
        BadInput: it is no time.
    """
    found = _TIME.findall(text)
    seconds = sum(int(count) * _SECONDS[unit] for count, unit in found)
    if not seconds or _TIME.sub("", text).strip():
        raise BadInput(f"{text!r} is no time; wanted 8h, 20m, 90s or 1h30m")
    return float(seconds)


def _kernels(document: Mapping[str, Any]) -> tuple[PlannedKernel, ...]:
    own = []
    for number, each in enumerate(_tables(document, "kernel"), start=1):
        place = f"kernel {number}"
        _require_keys(each, _KERNEL_KEYS, place)
        if "name" not in each:
            raise BadInput(f"{place}: has no name")
        kernel = PlannedKernel(**{key: str(value) for key, value in each.items()})
        if not kernel.image or not kernel.modules:
            raise BadInput(f"{place}: an own tree needs image and modules")
        own.append(kernel)
    named = [PlannedKernel(name=name) for name in _names(document, "kernels")]
    kernels = (*named, *own)
    if not kernels:
        raise BadInput("no kernels are named")
    for kernel in kernels:
        if not _NAME.fullmatch(kernel.name):
            raise BadInput(f"kernel {kernel.name!r}: small letters, digits, dots, dashes")
    if len({kernel.name for kernel in kernels}) != len(kernels):
        raise BadInput("two kernels have one name")
    return kernels


def _line(
    document: Mapping[str, Any], kind: Kind, keys: set[str], number: int, kernels: set[str]
) -> Line:
    named = document.get("name", number) if isinstance(document, Mapping) else number
    place = f"{kind.value} {named}"
    _require_keys(document, keys, place)
    name = str(document.get("name", ""))
    if not _NAME.fullmatch(name):
        raise BadInput(f"{place}: name is {name!r}; small letters, digits, dots, dashes")
    try:
        shape = _shape(document, kind)
    except (ValueError, KeyError, TypeError, BadInput) as wrong:
        raise BadInput(f"{place}: {wrong}") from wrong
    return Line(
        kind=kind, name=name, shape=shape, steps=_count(document, "steps", 12, place),
        states=_count(document, "states", 100 if kind is Kind.EXPLORE else 40, place),
        units=_count(document, "units", 0, place, least=0),
        kernels=_chosen(document, kernels, place),
    )  # fmt: skip


def _shape(document: Mapping[str, Any], kind: Kind) -> Shape:
    def cache(key: str) -> Cache | None:
        return Cache(document[key]) if key in document else None

    level, block = document.get("level", 5), document.get("logical-block", 512)
    members = document.get("members")
    for key, value in (("level", level), ("members", members), ("logical-block", block)):
        if value is not None and type(value) is not int:
            raise BadInput(f"{key} is {value!r}; a number is wanted")
    if block not in (512, 4096):
        raise BadInput(f"logical-block is {block}; wanted 512 or 4096")
    journal = document.get("journal", "1M" if kind is Kind.EXPLORE else "4M")
    journaled = kind is not Kind.EXPLORE or journal != _NO_JOURNAL
    return build_shape(
        level=level, members=members,
        chunk_bytes=_bytes(document.get("chunk", "16K")), layout=document.get("layout"),
        journal_bytes=_bytes(journal if journaled else "1M"), journaled=journaled,
        mode=JournalMode(document.get("mode", "write-through")),
        member_cache=cache("member-cache"), journal_cache=cache("journal-cache"),
        bus=Bus(document.get("bus", "virtio")),
        logical_block_bytes=block,
        discard=Discard(document.get("discard", "array")),
    )  # fmt: skip


def _stories(document: Mapping[str, Any], kernels: set[str]) -> Iterator[Stories]:
    """Yield each selection of scenarios: one table, or several."""
    tables = document.get("scenarios", ())
    for each in [tables] if isinstance(tables, Mapping) else _tables(document, "scenarios"):
        _require_keys(each, _SCENARIO_KEYS, "scenarios")
        try:
            names = _names(each, "names") if "names" in each else ("all",)
            mdadm = _names(each, "mdadm")
        except BadInput as wrong:
            raise BadInput(f"scenarios: {wrong}") from wrong
        if not names:
            raise BadInput("scenarios: no names; leave the table out for none")
        guest = each.get("guest", "own")
        if guest not in ("own", "full"):
            raise BadInput(f"scenarios: guest is {guest!r}; wanted own, each its own one, or full")
        yield Stories(
            names=names, kernels=_chosen(each, kernels, "scenarios"),
            repeats=_count(each, "repeats", 1, "scenarios"), mdadm=mdadm,
            in_full_guest=guest == "full",
        )  # fmt: skip


def _names(document: Mapping[str, Any], key: str) -> tuple[str, ...]:
    value = document.get(key, [])
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise BadInput(f"{key} is {value!r}; a list of names is wanted")
    return tuple(value)


def _tables(document: Mapping[str, Any], key: str) -> Sequence[Mapping[str, Any]]:
    tables = document.get(key, ())
    if not isinstance(tables, Sequence) or isinstance(tables, str):
        raise BadInput(f"{key} is one table; several are wanted, [[{key}]]")
    return tables


def _bytes(text: object) -> int:
    found = _SIZE.fullmatch(str(text))
    if found is None:
        raise ValueError(f"{text!r} is no size; wanted 65536, 64K or 8M")
    return int(found[1]) * _UNITS[found[2]]


def _chosen(document: Mapping[str, Any], kernels: set[str], place: str) -> tuple[str, ...]:
    try:
        chosen = _names(document, "kernels")
    except BadInput as wrong:
        raise BadInput(f"{place}: {wrong}") from wrong
    if strange := [name for name in chosen if name not in kernels]:
        raise BadInput(f"{place}: kernel {strange[0]} is none of the plan's")
    return chosen


def _count(
    document: Mapping[str, Any], key: str, default: int, place: str, *, least: int = 1
) -> int:
    value = document.get(key, default)
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise BadInput(f"{place}: {key} is {value!r}; a number from {least} on is wanted")
    return value


def _require_keys(document: object, known: set[str], place: str) -> None:
    if not isinstance(document, Mapping):
        raise BadInput(f"{place}: is no table")
    if strange := [key for key in document if key not in known]:
        where = f"{place}: " if place else ""
        raise BadInput(f"{where}nothing is called {strange[0]}; known: {', '.join(sorted(known))}")


def applies(line_kernels: Sequence[str], kernel: str) -> bool:
    """Whether a line is for a kernel of the plan."""
    return not line_kernels or kernel in line_kernels
