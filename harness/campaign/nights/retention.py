"""Which folders of nights are removed, so that they fit the disk: pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class NightFolder:
    """The folder of a night."""

    name: str
    ended: float  # seconds since 1970
    size_bytes: int  # on the medium
    is_needed: bool = False  # a baseline's, the last good one's: stays whatever its age


@dataclass(frozen=True, slots=True)
class Removal:
    """What goes, the oldest first, and what is left."""

    folders: tuple[NightFolder, ...]
    left_bytes: int
    is_over: bool  # what has to stay is larger than it may be


def nights_to_remove(folders: Sequence[NightFolder], *, keep: int, max_bytes: int) -> Removal:
    """Return which folders go: all but the newest *keep*, then the oldest until the rest fits.

    What is needed stays, and so does the newest one, also where that is too much by itself.
    """
    if keep < 1:
        raise ValueError(f"the newest night stays, not {keep}")
    oldest_first = sorted(folders, key=lambda each: (each.ended, each.name))
    left = sum(each.size_bytes for each in folders)
    gone: list[NightFolder] = []
    for place, each in enumerate(oldest_first[:-1]):
        is_old = place < len(oldest_first) - keep
        if not each.is_needed and (is_old or left > max_bytes):
            gone.append(each)
            left -= each.size_bytes
    return Removal(tuple(gone), left, left > max_bytes)
