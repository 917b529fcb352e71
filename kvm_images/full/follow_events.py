"""Print what udev says of block devices, a JSON line each, from the ones that are there on.

Runs in the full guest. ``{"action": "present", ...}`` stands for a device that was there before;
the line ``{"action": "listening"}`` ends these. Of arrays each line has ``state``: what md says of
itself when the event came.
"""

from __future__ import annotations

import json
from typing import Any

import pyudev

_OF_UDEV = {
    "uuid": "MD_UUID", "level": "MD_LEVEL", "started": "MD_STARTED", "fs": "ID_FS_TYPE",
    "ready": "SYSTEMD_READY", "array": "MD_DEVICE",
}  # fmt: skip
_SERIALS = ("serial", "device/serial")


def describe(action: str, device: pyudev.Device) -> dict[str, Any]:
    """Return an event as JSON values."""
    found = {
        "action": action,
        "node": device.device_node,
        "name": device.sys_name,
        "serial": _attribute(device, _SERIALS),
        "state": _attribute(device, ("md/array_state",)),
    }
    found |= {key: device.get(name, "") for key, name in _OF_UDEV.items()}
    return found


def _attribute(device: pyudev.Device, names: tuple[str, ...]) -> str:
    for name in names:
        value = device.attributes.get(name)
        if value is not None:
            return str(value.decode(errors="replace").strip())
    return ""


def main() -> None:
    """Follow udev for ever."""
    context = pyudev.Context()
    monitor = pyudev.Monitor.from_netlink(context)
    monitor.filter_by("block")
    monitor.start()  # before the look around: nothing that happens meanwhile is missed
    for device in context.list_devices(subsystem="block"):
        print(json.dumps(describe("present", device)), flush=True)
    print(json.dumps({"action": "listening"}), flush=True)
    for device in iter(monitor.poll, None):
        print(json.dumps(describe(device.action, device)), flush=True)


if __name__ == "__main__":
    main()
