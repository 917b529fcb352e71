"""A rig whose guest is a whole Debian: systemd, udev, sshd, and the agent beside them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from harness.campaign.crash import array_uuid
from harness.campaign.lab import Session, guest_disks, ready_disks, served_disk
from harness.campaign.scenarios.rig import Place, Rig
from harness.crash.disk_kinds import Bus
from harness.errors import GuestLost, GuestVanished, StepHangs
from harness.hosts.device_events import DeviceEvent, DeviceEvents
from harness.hosts.host import run_checked
from harness.hosts.ssh import SshHost, connect_to_guest, new_key
from harness.md.array import ARRAY, Nodes
from harness.md.shape import JOURNAL_NAME
from harness.storage.disk_server import MARKS_EXPORT
from harness.verdict.files import AcknowledgedFiles
from harness.vm.console import last_lines
from harness.vm.guest import Guest, running_guest
from harness.vm.machine import GuestDisk, MachineConfig, device_of
from harness.vm.saved import saved_state

MEMORY_MIB = 512
# Limits against a hang, and no expectations.
BOOT_DEADLINE_S = 900.0
SHUTDOWN_DEADLINE_S = 600.0
EVENT_DEADLINE_S = 600.0
_FOLLOWER = ("python3", "-u", "/mdjournal/follow_events.py")
_SETTLE = ("udevadm", "settle", "--timeout=500")
_IS_RUNNING = ("systemctl", "is-system-running", "--wait")
_CONSOLE_LINES = 10_000
_LAST_RESORT = "etc/systemd/system/mdadm-last-resort@.timer.d/20-as-it-is.conf"
# Of modules; see kvm_images/full_guest.py.
_GROUPS = "mdjournal/groups"
_GROUP_OF_BUS = {Bus.SCSI: ("scsi",), Bus.NVME: ("nvme",), Bus.LOOP: ("loop",)}


class FullRig(Rig):
    """Disks that are served and recorded, and a Debian that sees them.

    Each start begins anew from the same root; what is to be there at each boot is in `files`.
    """

    def __init__(self, place: Place, *, assembles: bool, last_resort: bool = False) -> None:
        """Make no guest yet.

        Args:
            place: of the rig.
            assembles: udev puts the array together; else only the story's own steps do.
            last_resort: udev's timer has its 30 s, and not what an emulated machine needs.
        """
        super().__init__(place)
        self._own_key, self._guest_key = new_key(), new_key()
        self._ssh: SshHost
        self._port: int
        self._is_alive: Callable[[], bool]
        self._disks: tuple[GuestDisk, ...] = ()
        self.uuid = array_uuid(place.seed)
        self.array_since = 0  # the first event that may tell of the array's next coming up
        self.unplugged: set[str] = set()  # disks that the machine is without, over reboots too
        self.files: dict[str, tuple[bytes, int]] = {  # content and mode, of each boot
            "root/.ssh/authorized_keys": (self._own_key.public, 0o600),
            "etc/ssh/ssh_host_ecdsa_key": (self._guest_key.private, 0o600),
            "etc/mdadm/mdadm.conf": (_mdadm_conf(self.uuid, assembles=assembles), 0o644),
        }
        if last_resort:
            self.files[_LAST_RESORT] = (b"[Timer]\nOnActiveSec=\nOnActiveSec=30\n", 0o644)
        self.events: DeviceEvents
        self.groups = set(_GROUP_OF_BUS.get(place.shape.bus, ()))  # of modules, for each boot
        self.file_system = ""  # what is on the array: "ext4", "xfs"
        self.acknowledged_files = AcknowledgedFiles()

    @property
    def ssh(self) -> SshHost:
        """The guest as it is now, by its sshd."""
        return self._ssh

    def reboot(self) -> None:
        """Power the guest off as its kernel does, nothing stopped, and boot it again."""
        self._go_down(["systemctl", "--force", "--force", "poweroff"])

    def shut_down(self, how: str) -> None:
        """Have systemd shut the guest down, ``reboot`` or ``poweroff``, and boot it again.

        Raises:
            StepHangs: it never goes down.
        """
        self._go_down(["systemctl", "--no-wall", "--no-block", how])

    def settle(self) -> None:
        """Wait until udev has looked at all that it has heard of: it opens what it looks at.

        An array that comes up is one that comes up behind this.
        """
        run_checked(self.guest, _SETTLE, deadline_s=EVENT_DEADLINE_S)
        self.array_since = self.events.count

    def plug_in(self, disk: str) -> DeviceEvent:
        """Put a disk back into the running guest; return what udev says once it is done with it."""
        seen = self.events.count
        number = next(n for n, each in enumerate(self._disks) if each.serial == disk)
        device = device_of(number, self._disks[number])
        self.guest.plug_in(device, deadline_s=EVENT_DEADLINE_S)
        self.unplugged.discard(disk)
        event = self.events.wait_for(
            f"{disk} is there", lambda e: e.serial == disk and e.action == "add",
            since=seen, deadline_s=EVENT_DEADLINE_S,
        )  # fmt: skip
        self.nodes = {**self.nodes, disk: event.node}
        return event

    def unplug(self, disk: str) -> None:
        """Take a disk out of the running guest, as a hot-plug does."""
        seen, node = self.events.count, self.nodes[disk]
        super().unplug(disk)
        self.unplugged.add(disk)
        self.events.wait_for(
            f"{disk} is gone", lambda e: e.node == node and e.action == "remove",
            since=seen, deadline_s=EVENT_DEADLINE_S,
        )  # fmt: skip

    def load_group(self, group: str) -> None:
        """Load a group of modules, now and at each boot from now on."""
        argv = ["sh", "/mdjournal/load_group.sh", group, "/mdjournal/modules"]
        run_checked(self.ssh, argv, deadline_s=BOOT_DEADLINE_S)
        self.groups.add(group)

    def _go_down(self, argv: Sequence[str]) -> None:
        self._note_kernel_log()
        # From now on the console alone tells what the kernel says.
        self.guest.call("run", argv=["dmesg", "--console-level=7"], deadline_s=60.0, stdin="")
        with contextlib.suppress(GuestVanished):
            self.guest.call("run", argv=list(argv), deadline_s=60.0, stdin="")
        if not self.guest.ends_within(SHUTDOWN_DEADLINE_S):
            raise StepHangs(f"the guest does not go down: `{' '.join(argv)}`")
        self.kernel_log += last_lines(self.guest.console, _CONSOLE_LINES)
        self._guest_stack.close()
        self._start()

    def _start(self) -> None:
        """Start a guest: the first one is restored, and its disks are plugged in; others boot."""
        place = self._place
        self._starts += 1
        served = [served_disk(place.shape, name, path) for name, path in self._images.items()]
        self._disks = tuple(
            replace(disk, plugged_in=disk.serial not in self.unplugged)
            for disk in guest_disks(place.shape, served, self._server.socket)
        )
        self.files[_GROUPS] = ("".join(f"{name}\n" for name in sorted(self.groups)).encode(), 0o644)
        guest = self._restored() if self._starts == 1 else self._booted()
        self._meet(guest)
        names = [d.serial for d in self._disks if d.plugged_in and d.serial != MARKS_EXPORT]
        self.nodes = ready_disks(guest, place.shape, tuple(names))
        members = tuple(self.nodes[n] for n in place.shape.member_names if n in self.nodes)
        nodes = Nodes(members, self.nodes.get(JOURNAL_NAME))
        self.session = Session(guest, self._server, nodes, self.nodes[MARKS_EXPORT])

    def _booted(self) -> Guest:
        config = self._with_initramfs(self._place.folder / f"initramfs-{self._starts}.cpio")
        guest = self._guest_stack.enter_context(
            running_guest(
                config, console=self._console, deadline_s=BOOT_DEADLINE_S, began=self._place.began
            )
        )
        config.initramfs.unlink()  # it was read when QEMU began
        wait_until_booted(guest)
        return guest

    def _restored(self) -> Guest:
        place = self._place
        config = self._with_initramfs(place.folder / "initramfs-1.cpio")
        config = replace(config, disks=tuple(replace(d, plugged_in=False) for d in self._disks))
        state = saved_state(
            # A controller for SCSI is there from the start on, as it were with a disk.
            replace(config, disks=tuple(d for d in config.disks if d.bus is Bus.SCSI)[:1]),
            identity=f"{place.image.identity} {sorted(self.groups)}",
            folder=place.image.saved_guests, say=place.say, prepare=wait_until_booted,
        )  # fmt: skip
        guest = self._guest_stack.enter_context(
            running_guest(config, console=self._console, saved_state=state, began=place.began)
        )
        config.initramfs.unlink()
        files = [[path, content.hex(), mode] for path, (content, mode) in self.files.items()]
        guest.call("place_files", files=files)
        if _LAST_RESORT in self.files:
            run_checked(guest, ["systemctl", "daemon-reload"], deadline_s=BOOT_DEADLINE_S)
        run_checked(guest, ["systemctl", "reload", "ssh"], deadline_s=BOOT_DEADLINE_S)
        for number, disk in enumerate(self._disks):
            guest.plug_in(device_of(number, disk), deadline_s=EVENT_DEADLINE_S)
        return guest

    def _with_initramfs(self, initramfs: Path) -> MachineConfig:
        image = self._place.image
        assert image.add_files is not None
        image.add_files(self.files, initramfs)
        return MachineConfig(
            kernel_image=image.kernel_image, initramfs=initramfs, accelerator=image.accelerator,
            disks=self._disks, memory_mib=max(MEMORY_MIB, 2 * self._place.memory_mib),
            root_image=image.root,
        )  # fmt: skip

    def connect(self) -> SshHost:
        """Return a further connection to its sshd; who asks for it closes it. From any thread."""
        return connect_to_guest(
            self._port, own=self._own_key, guest=self._guest_key, deadline_s=BOOT_DEADLINE_S,
            alive=self._is_alive,
        )  # fmt: skip

    def _meet(self, guest: Guest) -> None:
        """Connect to its sshd, and listen to udev."""
        self._port = guest.forwarded_port()
        self._is_alive = lambda: not guest.ends_within(0)
        self._ssh = self.connect()
        self._guest_stack.callback(self._part, self._ssh)
        self.events, self.array_since = DeviceEvents(), 0
        self._ssh.follow(_FOLLOWER, self.events.take, self.events.end)
        self.events.wait_until_listening(deadline_s=EVENT_DEADLINE_S)

    def _part(self, ssh: SshHost) -> None:
        """Close the connection, and leave what went over it as evidence."""
        folder = self._place.folder
        with (folder / "commands-ssh.txt").open("a") as file:
            file.writelines(f"{command}\n" for command in ssh.commands)
        with (folder / f"udev-{self._starts}.jsonl").open("w") as file:
            file.writelines(f"{line}\n" for line in self.events.lines)
        ssh.close()

    @property
    def _console(self) -> Path:
        return self._place.folder / f"console-{self._starts}.log"


def wait_until_booted(guest: Guest) -> None:
    """Wait until systemd has done all that a boot does.

    Raises:
        GuestLost: it never has.
    """
    booted = guest.run(_IS_RUNNING, deadline_s=BOOT_DEADLINE_S)
    if booted.missed_deadline:
        raise GuestLost(f"{booted}; console ({guest.console})")


def _mdadm_conf(uuid: str, *, assembles: bool) -> bytes:
    """Return what mdadm is told: the array by name, or to leave all arrays alone."""
    line = f"ARRAY {ARRAY} UUID={uuid}" if assembles else "AUTO -all"
    return f"MAILADDR root\n{line}\n".encode()
