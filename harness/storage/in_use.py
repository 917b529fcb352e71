"""Who else has an image open, by what sysfs says."""

from __future__ import annotations

from pathlib import Path

from harness.errors import BadInput

SYSFS = Path("/sys")


def require_not_in_use(path: Path) -> None:
    """Refuse an image that is behind a loop device: what uses that would not see a change.

    Raises:
        BadInput: naming the device, the array above it if any, and what to type.
    """
    device = _loop_device_of(path)
    if device is None:
        return
    holders = sorted(holder.name for holder in (device / "holders").glob("*"))
    if holders:
        raise BadInput(
            f"{path}: is /dev/{device.name}, which {', '.join(holders)} uses;"
            f" stop that first: mdadm --stop /dev/{holders[0]}"
        )
    raise BadInput(
        f"{path}: is attached to /dev/{device.name}; first: losetup --detach /dev/{device.name}"
    )


def _loop_device_of(path: Path) -> Path | None:
    for backing in (SYSFS / "block").glob("loop*/loop/backing_file"):
        try:
            if backing.read_text().strip() == str(path.resolve()):
                return backing.parent.parent
        except OSError:  # detached meanwhile
            continue
    return None
