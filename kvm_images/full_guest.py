"""The full guest: a Debian root with systemd, udev and sshd, on any kernel.

The root is an image of its own (``debian_root``). What goes with the kernel is an initramfs: its
modules, the agent, and the files that make the root a guest of the harness. The same inputs give
the same bytes; the result is cached under the hash of all inputs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from kvm_images import cpio, initramfs
from kvm_images.debian_root import DebianRoot
from kvm_images.kernels import Kernel
from kvm_images.modules import ModuleTree
from kvm_images.tiny_guest import AGENT_FILES
from kvm_images.userland import Userland

KEPT_IMAGES = 12  # 20 MB each

REPOSITORY = Path(__file__).resolve().parent.parent
FULL = Path(__file__).resolve().parent / "full"

# Loaded before the root is mounted, in this order; then those of the groups that a boot asks for.
# Nothing in the guest looks for modules by itself.
_BASE = (
    "virtio_pci", "virtio_console", "virtio_blk", "virtio_net", "overlay", "ext4",
    "autofs4", "crc32c_generic", "crc32c_intel", "raid456",
)  # fmt: skip
GROUPS = {
    "base": _BASE,
    "scsi": ("virtio_scsi", "sd_mod"),
    "nvme": ("nvme",),
    "loop": ("loop",),
    "xfs": ("xfs",),
    "mapper": ("dm_mod", "dm_log_writes", "dm_flakey"),
}
_NOT_STARTED = (
    "getty.target", "getty-static.service", "getty@tty1.service", "serial-getty@ttyS0.service",
    "systemd-logind.service", "systemd-update-utmp.service", "systemd-update-utmp-runlevel.service",
    "systemd-user-sessions.service", "systemd-sysusers.service", "systemd-random-seed.service",
    "systemd-binfmt.service", "proc-sys-fs-binfmt_misc.automount", "systemd-modules-load.service",
    "modprobe@.service", "kmod-static-nodes.service", "systemd-firstboot.service",
    "dev-hugepages.mount", "dev-mqueue.mount", "sys-kernel-debug.mount", "sys-kernel-tracing.mount",
    "sys-kernel-config.mount", "sys-fs-fuse-connections.mount", "systemd-pcrphase.service",
    "systemd-pcrphase-sysinit.service", "systemd-journal-flush.service", "systemd-pstore.service",
    "systemd-ask-password-console.path", "systemd-ask-password-wall.path",
    "e2scrub_reap.service", "e2scrub_all.timer", "xfs_scrub_all.timer", "fstrim.timer",
    "mdcheck_start.timer", "mdcheck_continue.timer", "mdmonitor-oneshot.timer",
    "apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer",
    "systemd-tmpfiles-clean.timer", "systemd-hwdb-update.service", "ldconfig.service",
    "regenerate_ssh_host_keys.service", "sshd-keygen.service",
)  # fmt: skip
_MORE_OF_AGENT = (
    "kvm_images/guest/agent.py", "kvm_images/full/__init__.py", "kvm_images/full/filing.py",
    "kvm_images/full/placing.py",
)  # fmt: skip
_SCRIPTS = ("full_agent.py", "follow_events.py", "load_group.sh", "wait_for_unit.sh")
_OWN = "mdjournal"  # the harness's folder in the root
_UNIT = "mdjournal-agent.service"
_SYSTEM = "etc/systemd/system"
# A machine that has an identity is not at its first boot: presets are left alone.
_MACHINE_ID = "6d646a6f75726e616c66756c6c000001"


@dataclass(frozen=True, slots=True)
class FullGuest:
    """A built initramfs and the root that it boots; *identity* is the hash of both."""

    initramfs: Path
    root: Path
    identity: str


def build(kernel: Kernel, root: DebianRoot, userland: Userland) -> FullGuest:
    """Return the guest for *kernel*, from the cache or built now; busybox is of *userland*.

    Raises:
        Unavailable: the cache cannot be written.
    """
    key = _key(kernel, root, userland)
    image, identity = initramfs.cached(
        "full", key, lambda: _entries(kernel, userland), kept=KEPT_IMAGES
    )
    return FullGuest(image, root.image, _both(identity, root))


def with_files(guest: Path, files: Mapping[str, tuple[bytes, int]], target: Path) -> None:
    """Write an initramfs that puts further files into the root: content and mode, by path.

    The kernel unpacks archives that lie one behind the other.
    """
    entries = {
        f"extra/{path}": cpio.Entry(0o100000 | mode, content)
        for path, (content, mode) in files.items()
    }
    target.write_bytes(guest.read_bytes() + cpio.write_archive(entries))


def _both(identity: str, root: DebianRoot) -> str:
    return hashlib.sha256(f"{identity} {root.identity}".encode()).hexdigest()


def _key(kernel: Kernel, root: DebianRoot, userland: Userland) -> str:
    digest = hashlib.sha256(f"{kernel.identity} {root.identity} {userland.identity}".encode())
    own = sorted(path for path in FULL.iterdir() if path.is_file())
    files = (*own, *(REPOSITORY / name for name in (*AGENT_FILES, *_MORE_OF_AGENT)))
    for path in (*files, Path(__file__), Path(cpio.__file__)):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _entries(kernel: Kernel, userland: Userland) -> dict[str, cpio.Entry]:
    root = userland.root
    busybox = next(p for p in (root / "bin/busybox", root / "usr/bin/busybox") if p.exists())
    entries = {
        "dev/console": cpio.character_device_entry(5, 1),
        "proc/.keep": cpio.file_entry(b""),
        "sys/.keep": cpio.file_entry(b""),
        "init": cpio.file_entry((FULL / "init").read_bytes(), executable=True),
        "bin/busybox": cpio.file_entry(busybox.read_bytes(), executable=True),
        "bin/sh": cpio.symlink_entry("busybox"),
    }
    entries |= {f"extra/{path}": entry for path, entry in _for_root().items()}
    entries |= {f"extra/{path}": entry for path, entry in _modules(kernel).items()}
    return entries


def _modules(kernel: Kernel) -> dict[str, cpio.Entry]:
    """Return the modules, and of each group in which order they are loaded behind the base's."""
    tree = ModuleTree(kernel.modules, replaced=kernel.replaced)
    entries = {f"{_OWN}/groups": cpio.file_entry(b"")}
    for group, wanted in GROUPS.items():
        names = dict.fromkeys((*_BASE, *wanted))
        chosen = tree.closure(name for name in names if name in tree)
        base = dict(tree.closure(name for name in _BASE if name in tree))
        own = [(name, load) for name, load in chosen if group == "base" or name not in base]
        entries |= {f"{_OWN}/modules/{name}.ko": cpio.file_entry(load()) for name, load in own}
        order = "".join(f"{name}.ko\n" for name, _ in own)
        entries[f"{_OWN}/modules/{group}.order"] = cpio.file_entry(order.encode())
    return entries


def _for_root() -> dict[str, cpio.Entry]:
    """Return what is put into the root at each boot."""
    entries = {
        "etc/machine-id": cpio.file_entry(f"{_MACHINE_ID}\n".encode()),
        "etc/hostname": cpio.file_entry(b"guest\n"),
        "etc/fstab": cpio.file_entry(b""),
        "etc/.updated": cpio.file_entry(b""),
        # udev's timer starts what is not complete after 30 s, which on hardware is plenty. A story
        # about it sets it back.
        f"{_SYSTEM}/mdadm-last-resort@.timer.d/10-emulated.conf": cpio.file_entry(
            b"[Timer]\nOnActiveSec=\nOnActiveSec=1200\n"
        ),
        f"{_SYSTEM}/{_UNIT}": cpio.file_entry((FULL / _UNIT).read_bytes()),
        f"{_SYSTEM}/sysinit.target.wants/{_UNIT}": cpio.symlink_entry(f"../{_UNIT}"),
    }
    for name in _SCRIPTS:
        entries[f"{_OWN}/{name}"] = cpio.file_entry((FULL / name).read_bytes())
    for name in (*AGENT_FILES, *_MORE_OF_AGENT):
        entries[f"{_OWN}/{name}"] = cpio.file_entry((REPOSITORY / name).read_bytes())
    entries |= {f"{_SYSTEM}/{unit}": cpio.symlink_entry("/dev/null") for unit in _NOT_STARTED}
    return entries
