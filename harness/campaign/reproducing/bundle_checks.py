"""What a bundle says, checked value by value: of the right kind, and within bounds.

It may come from a stranger. What passes here can be printed, counted with and run: no text changes
what a terminal shows, no number makes work or memory that an honest bundle would not.
"""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from typing import Any

from harness.campaign.scenarios.scenario import Scenario, Verb
from harness.campaign.scenarios.writing import FillCache
from harness.crash.trace import Issue, Trace
from harness.crash.workload import FailMember, Workload, WriteStep
from harness.errors import BadInput
from harness.md.shape import Shape, decode_shape

_MOST_DISKS = 20
_MOST_DISK_BYTES = 1 << 44
_MOST_REQUEST_BYTES = 1 << 30
_MOST_SECTORS = 1 << 21  # that a workload writes, all its writes together
_MOST_NUMBER = 1 << 40  # of a step's parameter
_MOST_VERBS = 500
_MOST_OF = {"bursts": 20_000, "at_once": 64, "rows": 1 << 16}  # of a step's parameter of that name
_MOST_BURSTS = 40_000  # of a story
_MOST_SHARE = 4.0  # of a journal that a step fills
_MOST_PATTERN = 300
_WITH_NODES = ("arguments", "printed_by", "lines")  # parameters in which {NAME} is a disk's node
_OF_DISKS = ("disk", "disks", "without")
_BRACES = re.compile(r"\{(\w+)\}|[{}]")
_PATTERNS = ("pattern", "refused", "says")
# What a terminal takes for more than a character: controls, marks of direction, half characters.
_UNFIT = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)
_REPEATED_GROUP = re.compile(r"\)(?:[*+]|\{\d*,)")
_REPEAT = re.compile(r"(?<!\\)(?:[*+]|\{\d*,)")
_MOST_REPEATS = 3


@contextlib.contextmanager
def fitting_together() -> Iterator[None]:
    """Take it for the bundle's fault where its parts, each in bounds, make no whole.

    Raises:
        BadInput: they do not; the message says what was wrong.
    """
    try:
        yield
    except (LookupError, ValueError, ArithmeticError, StopIteration) as wrong:
        raise BadInput(
            f"what the bundle holds does not fit together: {line(repr(wrong))[:200]}"
        ) from wrong


def line(value: object) -> str:
    """Return a text as one line that a terminal can be given."""
    if not isinstance(value, str):
        raise BadInput(f"{_shown(value)} is no text")
    return _UNFIT.sub("?", value.replace("\n", " "))[:2000]


def plain(value: object) -> object:
    """Return JSON values whose texts a terminal can be given, lines kept."""
    if isinstance(value, dict):
        return {line(key): plain(each) for key, each in value.items()}
    if isinstance(value, list):
        return [plain(each) for each in value]
    return _UNFIT.sub("?", value) if isinstance(value, str) else value


def count(value: object) -> int:
    """Return a number that can be one of things."""
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 1 << 63:
        raise BadInput(f"{_shown(value)} is no number")
    return value


def seconds(value: object) -> float:
    """Return how long something takes."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e9:
        raise BadInput(f"{_shown(value)} is no time")
    return float(value)


def _shown(value: object) -> str:
    try:
        return repr(str(value)[:60])
    except ValueError:  # a number of thousands of digits
        return "a number of many digits"


def verdict(document: object) -> dict[str, Any]:
    """Return a verdict's JSON values, each of its kind."""
    given = _mapping(document)
    return {
        "outcome": line(given["outcome"]),
        "reason": line(given["reason"]),
        "judgements": [
            {
                "oracle": line(judgement["oracle"]),
                "compared": list(map(line, _list(judgement["compared"]))),
                "findings": [
                    {
                        "oracle": line(found["oracle"]), "what": line(found["what"]),
                        "details": list(map(line, _list(found["details"]))),
                        "facts": facts(found["facts"]),
                    }
                    for found in map(_mapping, _list(judgement["findings"]))
                ],
            }
            for judgement in map(_mapping, _list(given["judgements"]))
        ],
    }  # fmt: skip


def facts(document: object) -> dict[str, int]:
    """Return figures by their names."""
    return {line(name): _integer(value) for name, value in _mapping(document).items()}


def _mapping(value: object) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise BadInput(f"{_shown(value)} is no JSON object")
    return value


def _list(value: object) -> list[Any]:
    if not isinstance(value, list):
        raise BadInput(f"{_shown(value)} is no list")
    return value


def _integer(value: object) -> int:
    if type(value) is not int or abs(value) >= 1 << 63:
        raise BadInput(f"{_shown(value)} is no number")
    return value


def shape(document: object) -> Shape:
    """Return the shape of an array that a guest can be given.

    Raises:
        BadInput: it is none, is larger than anything here, or smaller than md takes.
    """
    given = dict(_mapping(document))
    for name, value in given.items():
        if name == "own_sizes":
            sizes = [_integer(each) for each in _list(value)]
            if len(sizes) > _MOST_DISKS:
                raise BadInput(f"its array has {len(sizes)} disks, at most {_MOST_DISKS} can be")
        elif name == "journaled":
            if not isinstance(value, bool):
                raise BadInput(f"journaled: {_shown(value)} is neither true nor false")
        elif not isinstance(value, str):
            _integer(value)
        elif len(value) > 40:
            raise BadInput(f"{line(name)[:40]}: {_shown(value)} is no word for an array's shape")
    decoded = decode_shape(given)
    require_bounds(decoded)
    return decoded


def require_bounds(shape: Shape) -> None:
    """Require that a guest can be given the disks of a shape.

    Raises:
        BadInput: it is larger than anything here, or smaller than md takes.
    """
    fine = 2 <= shape.members <= _MOST_DISKS and 0 <= shape.spares <= _MOST_DISKS
    fine = fine and 4096 <= shape.chunk_bytes <= 1 << 30 and shape.chunk_bytes % 4096 == 0
    fine = fine and shape.component_bytes > 0 and shape.logical_block_bytes in (512, 4096)
    fine = fine and shape.guard_bytes >= 0 and shape.journal_bytes > 0
    if fine:
        sizes = shape.disk_sizes
        fine = len(sizes) <= _MOST_DISKS
        fine = fine and all(0 < size <= _MOST_DISK_BYTES for size in sizes.values())
        geometry = shape.geometry
        fine = fine and geometry.data_disks > 0 and geometry.array_sectors > 0
    if not fine:
        raise BadInput("its array cannot be: more disks, or larger or smaller ones, than md takes")


def require_workload(workload: Workload, shape: Shape) -> None:
    """Require that a workload fits its array.

    Raises:
        BadInput: it writes elsewhere, or more than any; the message says what.
    """
    end, total, last = shape.geometry.array_sectors, 0, 0
    if not 0 <= workload.seed < 1 << 63:
        raise BadInput("its workload's seed is no number")
    for step in workload.steps:
        if isinstance(step, FailMember) and not 0 <= step.slot < shape.members:
            raise BadInput(f"its workload fails member {_shown(step.slot)}")
        for write in step.writes if isinstance(step, WriteStep) else ():
            if not 0 <= write.sector < write.sector + write.sectors <= end:
                raise BadInput("its workload has a write outside its array")
            if not last < write.number < 1 << 32:
                raise BadInput("its workload's writes are not numbered one after another")
            last, total = write.number, total + write.sectors
    if total > _MOST_SECTORS:
        raise BadInput(f"its workload writes {total} sectors, at most {_MOST_SECTORS} can be")


def require_trace(trace: Trace, shape: Shape) -> None:
    """Require that a trace is of an array's disks, in order, and within them.

    Raises:
        BadInput: it is not; the message says what.
    """
    sizes, last = list(shape.disk_sizes.values()), -1
    if [disk.name for disk in trace.disks] != list(shape.disk_sizes):
        raise BadInput("its trace is not of its array's disks")
    for event in trace.events:
        if event.sequence <= last:
            raise BadInput(f"its trace's event {event.sequence} is not in its place")
        last = event.sequence
        if isinstance(event, Issue) and not (
            0 <= event.offset <= event.offset + event.length <= sizes[event.disk]
            and event.length <= _MOST_REQUEST_BYTES
        ):
            raise BadInput(f"its trace's event {event.sequence} is outside its disk")


def require_scenario(scenario: Scenario) -> None:
    """Require that a story's numbers are such as stories have, and its patterns quickly matched.

    Raises:
        BadInput: they are not; the message says which.
    """
    verbs = list(_verbs(scenario.steps))
    if len(verbs) > _MOST_VERBS:
        raise BadInput(f"its story has {len(verbs)} steps, at most {_MOST_VERBS} can be")
    for verb in verbs:
        for field in fields(verb):  # type: ignore[arg-type]  # a frozen dataclass
            _require_disks(verb, field.name, getattr(verb, field.name), scenario.needs)
            _require_parameter(verb, field.name, getattr(verb, field.name))
        if isinstance(verb, FillCache) and not 0 < verb.share <= _MOST_SHARE:
            raise BadInput(f"its story fills {verb.share:g} of the journal")
    if sum(int(getattr(verb, "bursts", 0)) for verb in verbs) > _MOST_BURSTS:
        raise BadInput(f"its story writes more than {_MOST_BURSTS} bursts")


def _verbs(steps: Sequence[Any]) -> Iterator[Verb]:
    for step in steps:
        if isinstance(step, Verb):
            yield step
            for field in fields(step):  # type: ignore[arg-type]
                value = getattr(step, field.name)
                yield from _verbs(value if isinstance(value, tuple) else (value,))


def _require_disks(verb: Verb, name: str, value: object, needs: Shape) -> None:
    """Require that a step names disks of its array, and formats nothing but their names."""
    texts = [each for each in (value if isinstance(value, tuple) else (value,))
             if isinstance(each, str)]  # fmt: skip
    named: list[str] = []
    if name in _OF_DISKS:
        named = texts
    elif name in _WITH_NODES:
        named = [found[1] for text in texts for found in _BRACES.finditer(text)]
    if strange := set(named) - needs.disk_sizes.keys() - {"array", "uuid"}:
        raise BadInput(f"its story's step {verb.words!r}: {name} names {_shown(strange.pop())}")


def _require_parameter(verb: Verb, name: str, value: object) -> None:
    place = f"its story's step {verb.words!r}: {name}"
    if isinstance(value, str) and name in _PATTERNS:
        _require_pattern(value, place)
    elif isinstance(value, bool) or not isinstance(value, int | float):
        return
    elif not math.isfinite(value) or abs(value) > _MOST_NUMBER:
        raise BadInput(f"{place} is no number of anything")
    elif name in _MOST_OF and not 1 <= value <= _MOST_OF[name]:
        raise BadInput(f"{place} is {value}, from 1 to {_MOST_OF[name]} can be")


def _require_pattern(pattern: str, place: str) -> None:
    """Require a regular expression whose search ends soon: the text comes from the guest."""
    try:
        re.compile(pattern)
    except (re.error, RecursionError, OverflowError) as wrong:
        raise BadInput(f"{place} is no regular expression: {wrong}") from None
    groups = len(_REPEATED_GROUP.findall(pattern))
    repeats = len(_REPEAT.findall(pattern))
    if len(pattern) > _MOST_PATTERN or repeats > _MOST_REPEATS or (groups and repeats > groups):
        raise BadInput(f"{place} is a pattern that may take for ever")
