"""Who else uses an image or a block device, by what sysfs says."""

from __future__ import annotations

import os
from pathlib import Path

from harness.errors import BadInput

SYSFS = Path("/sys")


def require_not_in_use(path: Path) -> None:
    """Refuse an image that is behind a loop device: what uses that would not see a change.

    Raises:
        BadInput: naming the device, the array above it if any, and what to type.
    """
    require_not_running(path)
    device = _loop_device_of(path)
    if device is None:
        return
    if users := _holders(device):
        raise BadInput(
            f"{path}: is /dev/{device.name}, which {', '.join(user.name for user in users)} uses;"
            " stop that first"
        )
    raise BadInput(
        f"{path}: is attached to /dev/{device.name}; first: losetup --detach /dev/{device.name}"
    )


def require_not_running(path: Path) -> None:
    """Refuse an image, even to be read only, that a running array writes to.

    Raises:
        BadInput: naming the device and the array, and what to type.
    """
    device = _loop_device_of(path)
    if device is not None and (arrays := _arrays_above(device)):
        raise BadInput(
            f"{path}: is /dev/{device.name}, which {', '.join(arrays)} uses;"
            f" stop that first: mdadm --stop /dev/{arrays[0]}"
        )


def how_to_copy(number: int) -> str:
    """Say what to do to have a block device as an image, *number* being its st_rdev.

    A copy of a running array's device is of no use: its blocks are of different moments.
    """
    device = (SYSFS / "dev/block" / f"{os.major(number)}:{os.minor(number)}").resolve()
    copy = "copy it into a file (dd) and give that"
    if (device / "md").is_dir():
        parts = ", ".join(sorted(f"/dev/{part.name}" for part in (device / "slaves").glob("*")))
        return (
            f"is an array itself, of {parts or 'no device'}; stop it (mdadm --stop"
            f" /dev/{device.name}), then copy each of these into a file (dd) and give those"
        )
    if arrays := _arrays_above(device):
        return (
            f"is a block device that the array {arrays[0]} uses; stop that first (mdadm --stop"
            f" /dev/{arrays[0]}), then {copy}"
        )
    if users := _holders(device):
        return f"is a block device that {users[0].name} uses; stop that first, then {copy}"
    return f"is a block device; {copy}"


def _holders(device: Path) -> list[Path]:
    return sorted((device / "holders").glob("*"))


def _arrays_above(device: Path) -> list[str]:
    """Return the md arrays that hold a device, itself or through others such as dm-crypt."""
    arrays = []
    for holder in _holders(device):
        is_array = holder.name.startswith("md")
        arrays += [holder.name] if is_array else _arrays_above(holder.resolve())
    return arrays


def _loop_device_of(path: Path) -> Path | None:
    for backing in (SYSFS / "block").glob("loop*/loop/backing_file"):
        try:
            if backing.read_text().strip() == str(path.resolve()):
                return backing.parent.parent
        except OSError:  # detached meanwhile
            continue
    return None
