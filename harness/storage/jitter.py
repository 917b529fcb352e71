"""How long the disk server holds a completion back: a draw that anybody can repeat.

On the standard library alone, since the server's plug-in draws with this very module.
"""

from __future__ import annotations

import random


def completion_delay_us(*, seed: int, request: int, jitter_us: int) -> int:
    """Return the delay of one request's completion, 0 to *jitter_us*; *request* counts from 1."""
    return random.Random(f"{seed}:{request}").randrange(jitter_us + 1)
