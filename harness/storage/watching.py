"""Telling how far long work on images is, to whoever wants to know."""

from __future__ import annotations

from collections.abc import Callable

Watch = Callable[[str, int, int], None]
"""Called often, with what is being done in words, and bytes done of how many."""


def unwatched(_words: str, _done: int, _whole: int) -> None:
    """Nobody wants to know."""
