"""How a guest's disks are attached, and which of their requests are passed on."""

from __future__ import annotations

import enum


class Bus(enum.Enum):
    """What a guest's disks are attached to."""

    VIRTIO = "virtio"  # virtio-blk
    SCSI = "scsi"  # disks on virtio-scsi that take FUA (``dpofua``)
    NVME = "nvme"  # a controller for each disk
    LOOP = "loop"  # loop devices in the guest, past its page cache, each on a virtio-blk disk


class Discard(enum.Enum):
    """Who takes discards."""

    NONE = "none"  # no disk does
    DISKS = "disks"  # disks do; md discards what is no longer live in its log
    ARRAY = "array"  # the array does as well: raid456.devices_handle_discard_safely=Y
