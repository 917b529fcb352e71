"""A bank of crash states: a folder of what the disk server puts on its disks, one by one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.crash.content import DiskContent
from harness.crash.history import BLOCK_BYTES
from harness.crash.trace import Event, Issue, Mark, Operation, Trace, decode
from harness.storage.images import naming_full_disk
from harness.storage.overlay import encode_change


@dataclass(frozen=True, slots=True)
class StateTrace:
    """What was asked of the disks of a state while it was there, in order."""

    trace: Trace
    number: int

    @property
    def recovery(self) -> tuple[Event, ...]:
        """All events until the recovery had come to rest; where it never did, all there are."""
        return tuple(self._between(f"state {self.number}", f"settled {self.number}"))

    @property
    def writes(self) -> tuple[Issue, ...]:
        """Every write, trim and zeroing of `recovery`."""
        return tuple(_writes(self.recovery))

    @property
    def writes_of_second(self) -> tuple[Issue, ...]:
        """The same of a second recovery, on what the first one left."""
        events = self._between(f"back {self.number}", f"settled-again {self.number}")
        return tuple(_writes(events))

    def _between(self, begin: str, end: str) -> Iterator[Event]:
        inside = False
        for event in self.trace.events:
            if isinstance(event, Mark) and event.text in (begin, end):
                if inside:
                    return
                inside = event.text == begin
            elif inside:
                yield event


def _writes(events: Iterable[Event]) -> Iterator[Issue]:
    for event in events:
        if isinstance(event, Issue) and event.operation is not Operation.FLUSH:
            yield event


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

    def take_trace(self, number: int) -> StateTrace:
        """Return what was asked of the disks for a state that is over, and forget the state."""
        path = self._trace(number)
        trace = decode(path.read_bytes())
        path.unlink()
        self._path(number).unlink()
        return StateTrace(trace, number)

    def was_begun(self, number: int) -> bool:
        """Whether a state was put on the disks."""
        return self._trace(number).exists()

    def _trace(self, number: int) -> Path:
        return self._folder / f"{number}.mdjtrace"

    def _path(self, number: int) -> Path:
        return self._folder / str(number)
