"""The two CRC-32C conventions: the kernel's, without inversions, and the usual one."""

from __future__ import annotations

import crc32c

_ALL_ONES = 0xFFFFFFFF


def kernel_crc32c(seed: int, data: bytes | memoryview) -> int:
    """Return ``crc32c_le(seed, data)``: the register starts at *seed*, nothing is inverted.

    The ``crc32c`` package inverts before and after, so both are undone here
    (format document, section 2.5).
    """
    return crc32c.crc32c(data, seed ^ _ALL_ONES) ^ _ALL_ONES


def uuid_checksum(set_uuid: bytes) -> int:
    """Return the seed of every checksum in the log of the array *set_uuid* (``r5l_init_log``)."""
    if len(set_uuid) != 16:
        raise ValueError(f"a set_uuid has 16 bytes, got {len(set_uuid)}")
    return kernel_crc32c(_ALL_ONES, set_uuid)
