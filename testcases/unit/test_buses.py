"""Disks of a guest are on the bus that was asked for."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from harness.crash.disk_kinds import Bus, Discard
from harness.crash.trace import Cache
from harness.crash.workload import JournalMode
from harness.errors import BadInput
from harness.md.shape import build_shape
from harness.vm.machine import GuestDisk, MachineConfig, MachineSockets, command_line

SOCKET = Path("/run/x/nbd")
CONFIG = MachineConfig(
    kernel_image=Path("/k/vmlinuz"), initramfs=Path("/k/tiny.cpio"), accelerator="tcg",
    disks=tuple(GuestDisk(f"d{n}", f"d{n}", SOCKET) for n in range(3)),
)  # fmt: skip


@pytest.mark.parametrize(
    ("bus", "driver"),
    [(Bus.VIRTIO, "virtio-blk-pci"), (Bus.SCSI, "scsi-hd"), (Bus.NVME, "nvme")],
)
def test_disks_are_on_the_bus_that_was_asked_for(bus: Bus, driver: str) -> None:
    disks = tuple(replace(disk, bus=bus) for disk in CONFIG.disks)
    config = replace(CONFIG, disks=disks)
    command = command_line(config, MachineSockets(Path("/run/x")), Path("/res/console"))
    devices = [value for option, value in pairwise(command) if option == "-device"]
    assert [d.split(",")[0] for d in devices if "drive=" in d] == [driver] * 3
    assert any(d.startswith("virtio-scsi-pci,id=scsi") for d in devices) == (bus is Bus.SCSI)
    assert all("dpofua=on" in d for d in devices if d.startswith("scsi-hd"))
    assert config.can_be_saved == (bus is not Bus.NVME)
    assert (config.shape_key() != CONFIG.shape_key()) == (bus is not Bus.VIRTIO)


def test_a_disk_that_takes_no_discards_says_so() -> None:
    for bus, says in ((Bus.VIRTIO, "discard=off"), (Bus.SCSI, "discard_granularity=0")):
        disks = (replace(CONFIG.disks[0], bus=bus, takes_discards=False),)
        command = command_line(
            replace(CONFIG, disks=disks), MachineSockets(Path("/run/x")), Path("/res/console")
        )
        (device,) = (word for word in command if "drive=" in word)
        assert device.split(",")[-1] == says


@pytest.mark.parametrize(
    "given",
    [{"member_cache": Cache.WRITE_BACK}, {"discard": Discard.NONE}],
    ids=["cache", "discard"],
)
def test_what_nvme_disks_of_qemu_cannot_do_is_refused(given: dict[str, Any]) -> None:
    wanted: dict[str, Any] = {
        "level": 5, "members": None, "chunk_bytes": 65536, "layout": None, "journal_bytes": 1 << 20,
        "mode": JournalMode.WRITE_BACK, "member_cache": None, "journal_cache": None,
        "bus": Bus.NVME,
    }  # fmt: skip
    assert build_shape(**wanted).journal_cache is Cache.WRITE_THROUGH
    with pytest.raises(BadInput, match="QEMU's NVMe disks"):
        build_shape(**(wanted | given))
