"""Scenarios as JSON values, for bundles: steps by the names of their verbs, and nothing else.

What is read may come from a stranger. It can name the project's own verbs and words alone, and give
them values of the kinds that they take; it brings no code.
"""

from __future__ import annotations

import enum
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields
from typing import Any

from harness.campaign.scenarios import verbs
from harness.campaign.scenarios.scenario import (
    CLAIM,
    GuestKind,
    Oracle,
    Scenario,
    Verb,
)
from harness.errors import BadInput
from harness.md.shape import decode_shape, encode_shape

_MOST_STEPS = 500
_MOST_DEPTH = 8
_MOST_MEMORY_MIB = 4096
_VERBS = {
    name: each
    for name, each in vars(verbs).items()
    if isinstance(each, type) and issubclass(each, Verb) and each is not Verb
}


def encode_scenario(scenario: Scenario) -> dict[str, Any]:
    """Return a scenario as JSON values."""
    return {
        "claim": scenario.claim,
        "steps": [_encode(step) for step in scenario.steps],
        "needs": encode_shape(scenario.needs),
        "guest": scenario.guest.value,
        "oracles": [oracle.value for oracle in scenario.oracles],
        "memory_mib": scenario.memory_mib,
        "injects": scenario.injects,
        "why": scenario.why,
    }


def decode_scenario(document: Mapping[str, Any]) -> Scenario:
    """Return the scenario that JSON values are of.

    Raises:
        BadInput: they are of none.
    """
    try:
        claim, memory_mib = str(document["claim"]), int(document["memory_mib"])
        steps = document["steps"]
        if not CLAIM.fullmatch(claim) or not 64 <= memory_mib <= _MOST_MEMORY_MIB:
            raise ValueError(f"claim {claim[:60]!r}, memory_mib {memory_mib}")
        if not isinstance(steps, list) or len(steps) > _MOST_STEPS:
            raise ValueError(f"steps: a list of up to {_MOST_STEPS} is wanted")
        return Scenario(
            claim=claim, memory_mib=memory_mib, needs=decode_shape(document["needs"]),
            steps=tuple(_decode_verb(step, 0) for step in steps),
            guest=GuestKind(document["guest"]),
            oracles=tuple(Oracle(each) for each in document["oracles"]),
            injects=bool(document["injects"]), why=str(document["why"]),
        )  # fmt: skip
    except (KeyError, TypeError, ValueError) as wrong:
        raise BadInput(f"this is no scenario: {wrong}") from wrong


def _encode(value: object) -> Any:
    if isinstance(value, Verb):
        given = {
            field.name: _encode(getattr(value, field.name))
            for field in fields(value)  # type: ignore[arg-type]  # a frozen dataclass
            if field.default is MISSING or getattr(value, field.name) != field.default
        }
        return {"do": type(value).__name__, **given}
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, tuple):
        return [_encode(each) for each in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"no step can have {value!r}")


def _decode_verb(document: object, depth: int) -> Verb:
    if not isinstance(document, Mapping) or depth > _MOST_DEPTH:
        raise ValueError(f"a step is {str(document)[:60]!r}")
    name = document.get("do")
    if not isinstance(name, str) or name not in _VERBS:
        raise ValueError(f"a step does {str(name)[:60]!r}, which is no verb")
    kind = _VERBS[name]
    hints = typing.get_type_hints(kind)
    known = {field.name for field in fields(kind)}  # type: ignore[arg-type]
    given = {}
    for field, value in document.items():
        if field == "do":
            continue
        if field not in known:
            raise ValueError(f"{name} has no {str(field)[:60]!r}")
        given[field] = _decode(value, hints[field], f"{name}.{field}", depth)
    return kind(**given)


def _decode(value: object, hint: Any, place: str, depth: int) -> Any:
    """Return a value of the kind that *hint* says, or refuse it."""
    origin = typing.get_origin(hint)
    if origin in (typing.Union, types.UnionType):
        return _decode_one_of(value, typing.get_args(hint), place, depth)
    if origin in (tuple, Sequence) and isinstance(value, list):
        inner = typing.get_args(hint)[0]
        return tuple(_decode(each, inner, place, depth) for each in value)
    if isinstance(hint, type):
        if issubclass(hint, Verb) and isinstance(value, Mapping):
            return _decode_verb(value, depth + 1)
        if issubclass(hint, enum.Enum):
            return hint(value)
        if hint is float and type(value) in (int, float):
            return float(typing.cast("float", value))
        if hint in (bool, int, str, type(None)) and type(value) is hint:
            return value
    raise ValueError(f"{place} is {str(value)[:60]!r}")


def _decode_one_of(value: object, hints: Sequence[Any], place: str, depth: int) -> Any:
    for hint in hints:
        try:
            return _decode(value, hint, place, depth)
        except ValueError:
            continue
    raise ValueError(f"{place} is {str(value)[:60]!r}")
