"""Put files into the root of a guest that was booted without them.

Part of the full guest's agent, on the standard library alone.
"""

from __future__ import annotations

import os
from typing import Any

Answer = dict[str, Any]


def place_files(*, files: list[tuple[str, str, int]]) -> Answer:
    """Write files: path without leading slash, content as hexadecimal text, mode."""
    for name, content, mode in files:
        path = os.path.join("/", name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
        with open(descriptor, "wb") as file:
            os.fchmod(descriptor, mode)
            file.write(bytes.fromhex(content))
    return {}


VERBS: dict[str, Any] = {"place_files": place_files}
