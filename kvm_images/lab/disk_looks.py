"""Look at a lab machine and at its disks, before anything is done to them.

Part of the lab's agent, on the standard library alone.
"""

from __future__ import annotations

import json
import os
import stat
from typing import Any

from kvm_images.guest import commands

Answer = dict[str, Any]

_DEADLINE_S = 60.0
_LOOKED_AT = 1 << 20  # bytes at the beginning
_MODULES = {"raid456": "raid456", "log-writes": "dm-log-writes", "linear": "dm-mod"}


def look_at_machine() -> Answer:
    """Return what a lab machine is and has: user, kernel, md0, mdadm, device-mapper's targets."""
    for module in _MODULES.values():
        commands.run(argv=["modprobe", "--quiet", module], deadline_s=_DEADLINE_S)
    targets = commands.run(argv=["dmsetup", "targets"], deadline_s=_DEADLINE_S)
    mdadm = commands.run(argv=["/sbin/mdadm", "--version"], deadline_s=_DEADLINE_S)
    with open("/proc/version", encoding="ascii", errors="replace") as version:
        kernel = version.read().strip()
    return {
        "user": os.geteuid(), "release": os.uname().release, "kernel": kernel,
        "md0": os.path.exists("/sys/block/md0"), "mdadm": mdadm["output"].strip(),
        "mdadm_status": mdadm["status"], "raid456": os.path.exists("/sys/module/raid456"),
        "targets": [line.split()[0] for line in targets["output"].splitlines() if line.split()]
        if targets["status"] == 0 else [],
    }  # fmt: skip


def look_at_disk(*, path: str) -> Answer:
    """Return what a disk is and carries.

    Returns:
        ``error``: it is no block device. ``size_bytes``; ``used_by``: who has it in use, each in a
        word or two; ``signatures``: types that wipefs knows; ``arrays``: names of md arrays that it
        is a part of; ``blank``: whether its first MiB is all zeroes.
    """
    try:
        if not stat.S_ISBLK(os.stat(path).st_mode):
            return {"error": "is no block device"}
        with open(path, "rb") as file:
            blank = not any(file.read(_LOOKED_AT))
            size = file.seek(0, os.SEEK_END)
    except OSError as error:
        return {"error": error.strerror or "cannot be read"}
    return {
        "error": "", "size_bytes": size, "blank": blank, "used_by": _users(path),
        "signatures": _signatures(path), "arrays": _arrays(path),
    }  # fmt: skip


def _users(path: str) -> list[str]:
    name = os.path.basename(os.path.realpath(path))
    folder = f"/sys/class/block/{name}"
    holders = os.listdir(f"{folder}/holders") if os.path.isdir(f"{folder}/holders") else []
    found = [f"held by {holder}" for holder in sorted(holders)]
    found += [
        f"has partition {each}"
        for each in sorted(os.listdir(folder))
        if os.path.exists(f"{folder}/{each}/partition")
    ]
    number = os.stat(path).st_rdev
    device = f"{os.major(number)}:{os.minor(number)}"
    with open("/proc/self/mountinfo", encoding="utf-8", errors="replace") as mounts:
        found += [f"mounted on {line.split()[4]}" for line in mounts if line.split()[2] == device]
    with open("/proc/swaps", encoding="utf-8", errors="replace") as swaps:
        rows = [line.split()[0] for line in swaps.read().splitlines()[1:]]
    found += ["used as swap" for row in rows if os.path.realpath(row) == os.path.realpath(path)]
    return found


def _signatures(path: str) -> list[str]:
    done = commands.run(argv=["wipefs", "--no-act", "--json", path], deadline_s=_DEADLINE_S)
    if done["status"] != 0:
        return [f"something that wipefs cannot tell ({done['output'].strip()})"]
    text = done["output"].strip()
    rows = json.loads(text).get("signatures", []) if text else []
    return [str(row.get("type", "?")) for row in rows]


def _arrays(path: str) -> list[str]:
    done = commands.run(argv=["/sbin/mdadm", "--examine", path], deadline_s=_DEADLINE_S)
    if done["status"] != 0:
        return []
    lines = (line.partition(" : ") for line in done["output"].splitlines())
    return [value.split()[0] for key, _, value in lines if key.strip() == "Name" and value.split()]
