"""Look at a guest in which something hangs, without hanging as well.

Part of the guest's agent, on the standard library alone.
"""

from __future__ import annotations

import glob
import os
import threading

READ_S = 2.0  # then a file of sysfs that waits for md's own locks is left where it is

Texts = dict[str, str]


def look() -> Texts:
    """Return what shows where a guest hangs: /proc/mdstat, the arrays' sysfs, stacks of tasks."""
    found = {"/proc/mdstat": _read("/proc/mdstat")}
    for path in sorted(glob.glob("/sys/block/md*/md/*")):
        if os.path.isfile(path):
            found[path] = _read(path)
    for path in sorted(glob.glob("/proc/[0-9]*/task/[0-9]*/stat")):
        stat = _read(path)
        # The name is between brackets, and may have any in it; the state follows.
        name, _, rest = stat.partition(" (")[2].rpartition(") ")
        if rest[:1] == "D" or name.startswith(("md", "mdadm")):
            folder = os.path.dirname(path)
            found[f"{folder} {name} {rest[:1]}"] = _read(f"{folder}/stack")
    return found


def _read(path: str) -> str:
    """Return a file's text, or why there is none."""
    text: list[str] = []
    reader = threading.Thread(target=_read_into, args=(path, text), daemon=True)
    reader.start()
    reader.join(READ_S)
    return text[0] if text else "does not answer"


def _read_into(path: str, text: list[str]) -> None:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            text.append(file.read().strip())
    except OSError as error:
        text.append(error.strerror or "cannot be read")
