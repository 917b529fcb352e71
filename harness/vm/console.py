"""What a guest's console log says about its end."""

from __future__ import annotations

import re
import signal
from pathlib import Path

from harness.errors import DeadlineMissed, GuestLost, GuestOopsed, GuestPanicked, GuestVanished

LAST_LINES = 12

_TIME = re.compile(r"^(?:\[[^]]*\])+ ")  # and with CONFIG_PRINTK_CALLER, whose line it is
_PANIC = re.compile(r"Kernel panic - not syncing")
_OOPS = re.compile(r"\bOops\b|\bBUG: |kernel BUG at|general protection fault|unable to handle")
_END_OF_OOPS = "---[ end "
_RIP = re.compile(r"RIP: 0010:(\w+)")  # in the kernel


def last_lines(console: Path, count: int = LAST_LINES) -> list[str]:
    """Return the end of a console log; nothing where there is none yet."""
    try:
        text = console.read_text(errors="replace")
    except FileNotFoundError:
        return []
    return [line.rstrip() for line in text.splitlines() if line.strip()][-count:]


def has_oops(console: Path) -> bool:
    """Whether the kernel printed an Oops, a BUG or a general protection fault."""
    return any(_OOPS.search(line) for line in last_lines(console, 10_000))


def is_printing_oops(console: Path) -> bool:
    """Whether the kernel has begun to tell of an oops, and not come to its last line yet."""
    lines = last_lines(console, 10_000)
    begun = [number for number, line in enumerate(lines) if _OOPS.search(line)]
    return bool(begun) and not any(_END_OF_OOPS in line for line in lines[begun[0] :])


def diagnose(console: Path, *, doing: str, ended: int | None, waited_s: float) -> GuestLost:
    """Say why a guest gave no answer, from its console and QEMU's exit status.

    Args:
        console: the log of its serial port.
        doing: what it was asked to do.
        ended: QEMU's exit status, negative for a signal; ``None`` while it runs.
        waited_s: how long the answer was waited for.

    Returns:
        One of the four kinds of `GuestLost`, the last lines of the console in its message.
    """
    every = last_lines(console, 10_000)
    tail = "".join(f"\n  | {line}" for line in every[-LAST_LINES:]) or "\n  | (nothing)"
    where = f"{doing}; console ({console}):{tail}"
    if panic := _first(_PANIC, every):
        return GuestPanicked(f"guest: its kernel panicked ({panic}) while {where}")
    if oops := _first(_OOPS, every):
        # Of the oops, and not of a warning before it.
        said = [number for number, line in enumerate(every) if _OOPS.search(line)]
        function = _RIP.search("\n".join(every[said[0] :]))
        at = f" in {function[1]}" if function else ""
        return GuestOopsed(f"guest: its kernel oopsed ({oops}{at}) while {where}")
    if ended is not None:
        return GuestVanished(f"guest: QEMU ended with status {_status(ended)} while {where}")
    return DeadlineMissed(f"guest: no answer within {waited_s:.0f} s while {where}")


def _first(pattern: re.Pattern[str], lines: list[str]) -> str | None:
    return next((_TIME.sub("", line, count=1) for line in lines if pattern.search(line)), None)


def _status(ended: int) -> str:
    names = {-number: number.name for number in signal.Signals}
    return f"{ended} ({names[ended]})" if ended in names else str(ended)
