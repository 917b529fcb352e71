"""One JSON document, printed while it is made: a list in it can be longer than memory."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any


def json_lines(document: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines of *document*; a value that is an iterator becomes a list, a line an item."""
    last = len(document) - 1
    yield "{"
    for number, (key, value) in enumerate(document.items()):
        comma = "," if number < last else ""
        if isinstance(value, Iterator):
            yield f"{json.dumps(key)}: ["
            yield from _items(value)
            yield f"]{comma}"
        else:
            yield f"{json.dumps(key)}: {json.dumps(value, indent=1)}{comma}"
    yield "}"


def _items(values: Iterator[Any]) -> Iterator[str]:
    """Yield each item on a line; what follows it decides on its comma, so one is held back."""
    held: str | None = None
    for value in values:
        if held is not None:
            yield f"{held},"
        held = json.dumps(value)
    if held is not None:
        yield held
