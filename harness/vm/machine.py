"""QEMU's command line for a guest, as a pure function of what the guest is to have."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path

from harness.crash.disk_kinds import Bus

AGENT_PORT = "mdjournal.agent"
QEMU = "qemu-system-x86_64"
MEMORY_MIB = 160
ROOT_SERIAL = "mdjournal-root"  # kvm_images/full/init looks for it


@dataclass(frozen=True, slots=True)
class GuestDisk:
    """A disk of the guest. Without *socket* it stands empty: a place in a guest to be saved."""

    serial: str
    export: str = ""
    socket: Path | None = None
    volatile_cache: bool = True
    logical_block_bytes: int = 512
    bus: Bus = Bus.VIRTIO
    takes_discards: bool = True
    plugged_in: bool = True  # from the start on; else `device_of` is added to the running guest


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineConfig:
    """A guest's hardware and what it boots."""

    kernel_image: Path
    initramfs: Path
    accelerator: str  # "kvm" or "tcg"
    disks: tuple[GuestDisk, ...]
    memory_mib: int = MEMORY_MIB
    root_image: Path | None = None  # of a full guest, which has a network of its own as well

    def shape_key(self) -> str:
        """Name what must be equal for a saved guest to be restored into this machine."""
        buses = sorted({disk.bus.value for disk in self.disks} - {Bus.VIRTIO.value})
        return " ".join(
            [f"{self.accelerator} {self.memory_mib} MiB {len(self.disks)} disks", *buses]
            + (["a Debian root"] if self.root_image is not None else [])
        )

    @property
    def can_be_saved(self) -> bool:
        """Whether QEMU can save such a guest: not one that has an NVMe controller."""
        return all(disk.bus is not Bus.NVME for disk in self.disks)


@dataclass(frozen=True, slots=True)
class MachineSockets:
    """Where QEMU listens and logs, all in one folder of the run's own."""

    folder: Path

    @property
    def agent(self) -> Path:
        """The agent's port."""
        return self.folder / "agent"

    @property
    def qmp(self) -> Path:
        """QEMU's own monitor."""
        return self.folder / "qmp"


def command_line(
    config: MachineConfig, sockets: MachineSockets, console: Path, *, incoming: Path | None = None
) -> list[str]:
    """Return the command that runs the guest; with *incoming* it goes on from a saved state."""
    kernel_arguments = "console=ttyS0 panic=-1 quiet loglevel=4 no_timer_check tsc=nowatchdog"
    if config.root_image is not None:
        # On a busy machine an emulated boot takes longer than the limits that hardware gets.
        kernel_arguments += (
            " net.ifnames=0 systemd.show_status=false systemd.default_timeout_start_sec=900"
            " systemd.default_device_timeout_sec=900 udev.event_timeout=900"
        )
        if config.accelerator == "tcg":
            # On a busy machine the kernel measures the TSC wrong by far, and systemd's time limits
            # with it. A tiny guest is restored, and has measured once.
            kernel_arguments += " tsc=unstable clocksource=hpet"
    # fmt: off
    command = [
        QEMU,
        "-name", "mdjournal",
        "-machine", "pc,graphics=off,usb=off,vmport=off",
        "-accel", config.accelerator if config.accelerator == "kvm" else "tcg,thread=multi",
        "-cpu", "max" if config.accelerator == "tcg" else "host",
        "-smp", "1",
        "-m", f"{config.memory_mib}M",
        "-nodefaults",
        "-no-user-config",
        "-display", "none",
        "-no-reboot",  # with panic=-1: a panic ends QEMU instead of hanging it
        "-kernel", str(config.kernel_image),
        "-initrd", str(config.initramfs),
        "-append", kernel_arguments,
        "-chardev", f"file,id=console,path={_value(console)},append=on",
        "-serial", "chardev:console",
        "-chardev", f"socket,id=agent,path={_value(sockets.agent)},server=on,wait=off",
        "-device", "virtio-serial-pci,id=ports",
        "-device", f"virtserialport,bus=ports.0,chardev=agent,name={AGENT_PORT}",
        "-qmp", f"unix:{_value(sockets.qmp)},server=on,wait=off",
    ]
    # fmt: on
    if any(disk.bus is Bus.SCSI for disk in config.disks):
        command += ["-device", "virtio-scsi-pci,id=scsi,num_queues=1"]
    for number, disk in enumerate(config.disks):
        command += _disk_arguments(number, disk)
    if config.root_image is not None:
        command += _root_and_network(config.root_image)
    if incoming is not None:
        command += ["-incoming", f"exec:cat {shlex.quote(str(incoming))}"]
    return command


def _value(path: Path) -> str:
    """Return a path as one value among others: QEMU takes a single comma for its end."""
    return str(path).replace(",", ",,")


_DRIVERS = {
    Bus.VIRTIO: "virtio-blk-pci,num-queues=1,werror=report,rerror=report",
    Bus.SCSI: "scsi-hd,bus=scsi.0,dpofua=on,werror=report,rerror=report",
    Bus.NVME: "nvme,max_ioqpairs=1",
}
_NO_DISCARDS = {Bus.VIRTIO: ",discard=off", Bus.SCSI: ",discard_granularity=0"}


def _disk_arguments(number: int, disk: GuestDisk) -> list[str]:
    node = f"disk{number}"
    if disk.socket is None:
        backend = f"driver=null-co,node-name={node},size=1048576,read-zeroes=on"
    else:
        backend = (
            f"driver=nbd,node-name={node},discard=unmap,export={disk.export},"
            f"server.type=unix,server.path={_value(disk.socket)}"
        )
    backend_arguments = ["-blockdev", backend]
    if disk.plugged_in:
        return [*backend_arguments, "-device", device_of(number, disk)]
    return backend_arguments


def device_of(number: int, disk: GuestDisk) -> str:
    """Return the device of the disk with this number among a guest's, as QEMU takes it."""
    # A loop device is the guest's own affair.
    bus = Bus.VIRTIO if disk.bus is Bus.LOOP else disk.bus
    # write-cache is what the guest is told; the server below keeps or loses the data.
    cache = "on" if disk.volatile_cache else "off"
    return (
        f"{_DRIVERS[bus]},id=disk-{disk.serial},drive=disk{number},serial={disk.serial},write-cache={cache},"
        f"logical_block_size={disk.logical_block_bytes},"
        f"physical_block_size={max(512, disk.logical_block_bytes)}"
        + ("" if disk.takes_discards else _NO_DISCARDS[bus])
    )


def _root_and_network(root_image: Path) -> list[str]:
    """Return a disk that nobody writes to, and a network that leads to this machine alone.

    Port 0: the system chooses one that is free; `Guest.forwarded_port` asks which.
    """
    file = f"file.driver=file,file.filename={_value(root_image)}"
    # fmt: off
    return [
        "-blockdev", f"driver=raw,node-name=root,read-only=on,{file}",
        "-device", f"virtio-blk-pci,drive=root,serial={ROOT_SERIAL}",
        "-netdev", "user,id=net,restrict=on,ipv6=off,hostfwd=tcp:127.0.0.1:0-:22",
        "-device", "virtio-net-pci,netdev=net,romfile=",
    ]
    # fmt: on
