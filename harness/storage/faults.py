"""Faults of a disk: what the recording server does to requests instead of serving them.

Stand-alone, on the standard library: part of the disk server's plug-in. Marks put faults up and
take them away, so that the trace has them in order with all else: ``fault {JSON}``, ``heal DISK``.
"""

from __future__ import annotations

import enum
import errno
import json
import threading
import time
from dataclasses import asdict, dataclass

FAULT, HEAL = "fault ", "heal "


class FaultKind(enum.Enum):
    """What becomes of a request."""

    ERROR = "error"  # EIO, at once; nothing is done
    HANG = "hang"  # it waits until the disk is healed, and is then served
    SLOW = "slow"  # it is served after a while


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """A fault of one disk."""

    disk: str
    kind: FaultKind
    operations: tuple[str, ...] = ()  # of "read", "write", "flush", "trim", "zeroes"; empty: all
    skip: int = 0  # so many requests that it concerns pass first
    count: int = 0  # it is gone after so many; 0: it stays
    offset: int = 0  # it concerns what touches these bytes of the disk
    length: int = 0  # 0: to its end
    delay_ms: int = 0  # of SLOW

    def concerns(self, disk: str, operation: str, offset: int, length: int) -> bool:
        """Whether a request is one that the fault is for."""
        if disk != self.disk or (self.operations and operation not in self.operations):
            return False
        if operation == "flush" or not self.length:
            return operation == "flush" or offset + length > self.offset
        return offset < self.offset + self.length and self.offset < offset + length


def encode_fault(fault: Fault) -> str:
    """Return the mark that puts a fault up."""
    return FAULT + json.dumps(asdict(fault) | {"kind": fault.kind.value})


def decode_fault(text: str) -> Fault:
    """Return the fault that a mark puts up.

    Raises:
        ValueError, TypeError: it is none.
    """
    values = json.loads(text.removeprefix(FAULT))
    kind, operations = FaultKind(values.pop("kind")), tuple(values.pop("operations"))
    return Fault(kind=kind, operations=operations, **values)


class Faults:
    """The faults that are up; used by all of the server's threads."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._up: list[_Up] = []

    def take(self, mark: str) -> None:
        """Do what a mark says, if it is about faults."""
        with self._condition:
            if mark.startswith(FAULT):
                self._up.append(_Up(decode_fault(mark)))
            elif mark.startswith(HEAL):
                disk = mark.removeprefix(HEAL)
                self._up = [up for up in self._up if up.fault.disk != disk]
                self._condition.notify_all()

    def meet(self, disk: str, operation: str, offset: int, length: int) -> int:
        """Let a request meet what is up for it; return the error that it ends with, or 0.

        A hanging one comes back when its disk is healed, a slow one after a while.
        """
        with self._condition:
            up = next((u for u in self._up if u.hits(disk, operation, offset, length)), None)
            if up is None:
                return 0
            if up.fault.kind is FaultKind.HANG:
                self._condition.wait_for(lambda: up not in self._up)
                return 0
        if up.fault.kind is FaultKind.SLOW:
            time.sleep(up.fault.delay_ms / 1000)
            return 0
        return errno.EIO


class _Up:
    """A fault, and how many requests it has met."""

    def __init__(self, fault: Fault) -> None:
        self.fault = fault
        self._met = 0

    def hits(self, disk: str, operation: str, offset: int, length: int) -> bool:
        """Whether a request that comes now is hit; it is counted."""
        if not self.fault.concerns(disk, operation, offset, length):
            return False
        self._met += 1
        number = self._met - self.fault.skip
        return number > 0 and (not self.fault.count or number <= self.fault.count)
