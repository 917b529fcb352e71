"""Loop devices on disks, past the page cache.

Part of the guest's agent, on the standard library alone. Requests are those of ``linux/loop.h``.
"""

from __future__ import annotations

import fcntl
import os
import struct

LOOP_CTL_GET_FREE = 0x4C82
LOOP_CONFIGURE = 0x4C0A
LO_FLAGS_DIRECT_IO = 16

# struct loop_config: fd, block_size, struct loop_info64, eight reserved words
_CONFIG = struct.Struct("<II 232s 64x")
# struct loop_info64 up to lo_flags: device, inode, rdevice, offset, sizelimit, number,
# encrypt_type, encrypt_key_size, flags
_INFO = struct.Struct("<5Q4I")


def attach(node: str, block_bytes: int) -> str:
    """Attach a free loop device to a disk; return its node.

    Raises:
        OSError: there is no loop driver, or it does not take the disk past the page cache.
    """
    with open("/dev/loop-control", "rb") as control:
        loop = f"/dev/loop{fcntl.ioctl(control, LOOP_CTL_GET_FREE)}"
    disk = os.open(node, os.O_RDWR)
    device = os.open(loop, os.O_RDWR)
    try:
        info = _INFO.pack(0, 0, 0, 0, 0, 0, 0, 0, LO_FLAGS_DIRECT_IO)
        fcntl.ioctl(device, LOOP_CONFIGURE, _CONFIG.pack(disk, block_bytes, info.ljust(232, b"\0")))
    finally:
        os.close(device)
        os.close(disk)
    with open(f"/sys/block/{os.path.basename(loop)}/loop/dio", encoding="ascii") as direct:
        if direct.read().strip() != "1":
            raise OSError(f"{loop}: does not take {node} past the page cache")
    return loop
