"""The verbs that a scenario's steps are made of, as a list to read: from their own docstrings."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Iterator

from harness.campaign.scenarios import verbs
from harness.campaign.scenarios.scenario import Verb


def every_verb() -> list[type[Verb]]:
    """Return the verbs that a scenario can use, by name."""
    named = (getattr(verbs, name) for name in verbs.__all__)
    return [each for each in named if isinstance(each, type) and dataclasses.is_dataclass(each)
            and issubclass(each, Verb)]  # fmt: skip


def verb_lines() -> Iterator[str]:
    """Yield each verb's name and parameters, and below it what it does."""
    for verb in every_verb():
        parameters = ", ".join(_parameter(field) for field in dataclasses.fields(verb))  # type: ignore[arg-type]
        yield f"{verb.__name__}({parameters})"
        yield from (f"    {line}".rstrip() for line in inspect.getdoc(verb).splitlines())  # type: ignore[union-attr]


def _parameter(field: dataclasses.Field[object]) -> str:
    if field.default is dataclasses.MISSING:
        return f"{field.name}"
    default = field.default
    shown = f"{type(default).__name__}(..)" if isinstance(default, Verb) else _shown(default)
    return f"{field.name}={shown}"


def _shown(value: object) -> str:
    name = getattr(value, "name", None)
    return f"{type(value).__name__}.{name}" if name else repr(value)
