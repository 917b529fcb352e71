"""A bank of crash states: a folder of what the disk server puts on its disks, one by one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.crash.content import DiskContent
from harness.crash.history import BLOCK_BYTES
from harness.crash.trace import Issue, Mark, Operation, decode
from harness.storage.images import naming_full_disk
from harness.storage.overlay import encode_change


@dataclass(frozen=True, slots=True)
class StateWrites:
    """What was written to the disks of a state, in order."""

    settled: tuple[Issue, ...]  # until the recovery had come to rest
    later: tuple[Issue, ...]


class Bank:
    """States for one server, to be put there in the order in which they come in here."""

    def __init__(self, folder: Path, disks: Sequence[str]) -> None:
        self._folder = folder
        self._disks = disks
        self._last = {name: DiskContent() for name in disks}

    def add(self, number: int, contents: Mapping[str, DiskContent]) -> None:
        """Write down how a state differs from the one before it.

        Args:
            number: of the state.
            contents: of every disk of the server, by name.

        Raises:
            Unavailable: no space left.
        """
        changes = []
        for index, name in enumerate(self._disks):
            now = contents[name]
            changes += [
                encode_change(index, block * BLOCK_BYTES, now.block(block))
                for block in sorted(now.differing(self._last[name]))
            ]
            self._last[name] = now
        with naming_full_disk(self._folder):
            self._path(number).write_bytes(b"".join(changes))

    def take_writes(self, number: int) -> StateWrites:
        """Return what was written to a state that is over, and forget it."""
        trace = self._trace(number)
        events = decode(trace.read_bytes()).events
        trace.unlink()
        self._path(number).unlink()
        settled: list[Issue] = []
        later: list[Issue] = []
        into = settled
        for event in events:
            if isinstance(event, Mark) and event.text == f"settled {number}":
                into = later
            elif isinstance(event, Issue) and event.operation is not Operation.FLUSH:
                into.append(event)
        return StateWrites(tuple(settled), tuple(later))

    def was_begun(self, number: int) -> bool:
        """Whether a state was put on the disks."""
        return self._trace(number).exists()

    def _trace(self, number: int) -> Path:
        return self._folder / f"{number}.mdjtrace"

    def _path(self, number: int) -> Path:
        return self._folder / str(number)
