"""What udev of another machine says of its block devices, as it comes."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from harness.errors import GuestVanished, StepHangs

_LOOK_S = 1.0
_LAST_EVENTS = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceEvent:
    """One event; see ``kvm_images/full/follow_events.py``."""

    action: str  # as udev calls it, or "present": was there when the following began
    node: str
    serial: str  # of a disk
    uuid: str  # of an array
    state: str  # of an array: what md said of itself at that moment
    file_system: str  # what udev took it for: "linux_raid_member" for a part of an array


class DeviceEvents:
    """All events so far; `take` is for the thread that hears them."""

    def __init__(self) -> None:
        self._news = threading.Condition()
        self._events: list[DeviceEvent] = []
        self._listening = False
        self._ended = False
        self.lines: list[str] = []  # as they came, for the evidence

    @property
    def count(self) -> int:
        """How many there were: a place to wait from."""
        with self._news:
            return len(self._events)

    def take(self, line: str) -> None:
        """Take a line of the follower's; one that is no event is kept as evidence only."""
        with self._news:
            self.lines.append(line)
            try:
                values = json.loads(line)
            except ValueError:
                return
            if values.get("action") == "listening":
                self._listening = True
            else:
                self._events.append(_event(values))
            self._news.notify_all()

    def end(self) -> None:
        """Note that no more can come."""
        with self._news:
            self._ended = True
            self._news.notify_all()

    def wait_until_listening(self, *, deadline_s: float) -> None:
        """Wait until everything that was there is known, and all that comes is heard.

        Raises:
            StepHangs: it never is.
        """
        with self._news:
            self._news.wait_for(lambda: self._listening or self._ended, deadline_s)
            if not self._listening:
                said = "\n".join(self.lines[-_LAST_EVENTS:]) or "nothing"
                raise StepHangs(f"udev is not listened to; the follower said:\n{said}")

    def wait_for(
        self, what: str, fits: Callable[[DeviceEvent], bool], *, since: int = 0, deadline_s: float
    ) -> DeviceEvent:
        """Return the first event behind the first *since* that fits, once it is there.

        Raises:
            StepHangs: it never came; says what came.
            GuestVanished: it cannot come any more.
        """
        deadline = time.monotonic() + deadline_s
        with self._news:
            seen = since
            while True:
                for event in self._events[seen:]:
                    if fits(event):
                        return event
                if self._ended:
                    raise GuestVanished(f"nobody listens to udev any more; {what}: it never said")
                seen = len(self._events)
                left_s = deadline - time.monotonic()
                if left_s <= 0:
                    last = [str(event) for event in self._events[since:]][-_LAST_EVENTS:]
                    raise StepHangs("\n".join([f"udev never says that {what}; it says:", *last]))
                self._news.wait(min(left_s, _LOOK_S))


def _event(values: dict[str, str]) -> DeviceEvent:
    return DeviceEvent(
        action=values.get("action") or "", node=values.get("node") or "",
        serial=values.get("serial") or "", uuid=values.get("uuid") or "",
        state=values.get("state") or "", file_system=values.get("fs") or "",
    )  # fmt: skip
