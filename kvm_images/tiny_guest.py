"""The tiny guest: an initramfs of busybox, mdadm, Python, the agent and the kernel's modules.

The same inputs give the same bytes; the result is cached under the hash of all inputs.
"""

from __future__ import annotations

import hashlib
import subprocess
from dataclasses import dataclass
from pathlib import Path

from harness.errors import BadInput, Unavailable
from harness.processes import temporary_folder
from kvm_images import cpio, initramfs, shared_libraries
from kvm_images.kernels import Kernel
from kvm_images.modules import ModuleTree
from kvm_images.userland import Userland

KEPT_IMAGES = 24  # 16 MB each

REPOSITORY = Path(__file__).resolve().parent.parent
GUEST = Path(__file__).resolve().parent / "guest"

# Loaded by init, before a guest is saved: nothing that touches a disk.
EARLY_MODULES = ("virtio_pci", "virtio_console", "crc32c_generic", "crc32c_intel", "raid456")
# Loaded by the agent when the disks are to be seen.
LATE_MODULES = ("virtio_blk", "virtio_scsi", "sd_mod", "nvme", "loop")

# Built in, these would take a saved guest's placeholders for its disks.
_NEVER_BUILT_IN = ("virtio_blk", "virtio_scsi")

_INTERPRETER = "usr/bin/python3.11"
_PROGRAMS = (_INTERPRETER, "sbin/mdadm")
AGENT_FILES = (
    "harness/__init__.py",
    "harness/crash/__init__.py",
    "harness/crash/pattern.py",
    "kvm_images/__init__.py",
    "kvm_images/guest/__init__.py",
    "kvm_images/guest/assembling.py",
    "kvm_images/guest/commands.py",
    "kvm_images/guest/loop_devices.py",
    "kvm_images/guest/patience.py",
    "kvm_images/guest/pressing.py",
    "kvm_images/guest/reading.py",
    "kvm_images/guest/recovering.py",
    "kvm_images/guest/stuck.py",
    "kvm_images/guest/waiting.py",
    "kvm_images/guest/working.py",
)


@dataclass(frozen=True, slots=True)
class TinyGuest:
    """A built initramfs; *identity* is the hash of its bytes."""

    path: Path
    identity: str


def build(kernel: Kernel, userland: Userland) -> TinyGuest:
    """Return the initramfs for *kernel*, from the cache or built now.

    Raises:
        BadInput: a disk driver is part of the kernel's image.
        Unavailable: a package lacks what the guest needs, or its interpreter does not run here.
    """
    key = _key(kernel, userland)
    return TinyGuest(
        *initramfs.cached("tiny", key, lambda: _entries(kernel, userland), kept=KEPT_IMAGES)
    )


def _key(kernel: Kernel, userland: Userland) -> str:
    digest = hashlib.sha256(f"{kernel.identity} {userland.identity}".encode())
    for path in (*_own_files(), Path(__file__), Path(cpio.__file__)):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _own_files() -> list[Path]:
    return [
        *sorted(path for path in GUEST.iterdir() if path.is_file()),
        *(REPOSITORY / name for name in AGENT_FILES),
    ]


def _entries(kernel: Kernel, userland: Userland) -> dict[str, cpio.Entry]:
    root = userland.root
    busybox = next(p for p in (root / "bin/busybox", root / "usr/bin/busybox") if p.exists())
    entries = {
        "dev/console": cpio.character_device_entry(5, 1),
        "proc/.keep": cpio.file_entry(b""),
        "sys/.keep": cpio.file_entry(b""),
        "init": cpio.file_entry((GUEST / "init").read_bytes(), executable=True),
        "agent/agent.py": cpio.file_entry((GUEST / "agent.py").read_bytes()),
        "bin/busybox": cpio.file_entry(busybox.read_bytes(), executable=True),
        "bin/sh": cpio.symlink_entry("busybox"),
    }
    for name in AGENT_FILES:
        entries[f"agent/{name}"] = cpio.file_entry((REPOSITORY / name).read_bytes())
    for name in _PROGRAMS:
        entries[name] = cpio.file_entry((root / name).read_bytes(), executable=True)
    libraries = shared_libraries.closure(root, [root / name for name in _PROGRAMS])
    for name, path in libraries.items():
        folder = "lib64" if name == shared_libraries.LOADER else "lib/x86_64-linux-gnu"
        entries[f"{folder}/{name}"] = cpio.file_entry(path.read_bytes(), executable=True)
    entries.update(_standard_library(root))
    entries.update(_modules(kernel))
    return entries


def _modules(kernel: Kernel) -> dict[str, cpio.Entry]:
    tree = ModuleTree(kernel.modules, replaced=kernel.replaced)
    _require_late_drivers(kernel, tree)
    early = tree.closure(name for name in EARLY_MODULES if name in tree)
    every = tree.closure(name for name in (*EARLY_MODULES, *LATE_MODULES) if name in tree)
    late = [(name, load) for name, load in every if name not in dict(early)]
    entries = {f"modules/{name}.ko": cpio.file_entry(load()) for name, load in every}
    for stage, chosen in (("early", early), ("late", late)):
        lines = "".join(f"{name}.ko\n" for name, _ in chosen)
        entries[f"modules/{stage}"] = cpio.file_entry(lines.encode())
    return entries


def _require_late_drivers(kernel: Kernel, tree: ModuleTree) -> None:
    if found := [name for name in _NEVER_BUILT_IN if name in tree.built_in()]:
        raise BadInput(
            f"{kernel.image}: {', '.join(found)} is part of it; a guest is saved before it may see"
            " its disks\nnext: build it as a module, or not at all"
        )


def _standard_library(root: Path) -> dict[str, cpio.Entry]:
    """Ask the guest's own interpreter what the agent loads, and take compiled copies of that."""
    with temporary_folder(prefix="mdjournal-") as out:
        command = [
            str(shared_libraries.closure(root, [])[shared_libraries.LOADER]),
            "--library-path",
            ":".join(str(root / folder) for folder in shared_libraries.FOLDERS),
            str(root / _INTERPRETER),
            "-S",
            "-B",
            str(GUEST / "collect_stdlib.py"),
            str(GUEST / "agent.py"),
            str(root),
            str(out),
        ]
        environment = {
            "PYTHONHOME": str(root / "usr"),
            "PYTHONPATH": str(REPOSITORY),
            "PYTHONHASHSEED": "0",
        }
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        if done.returncode != 0:
            last = done.stderr.strip().splitlines()[-1:] or [f"exit status {done.returncode}"]
            raise Unavailable(f"guest image: its Python does not run on this machine: {last[0]}")
        return {
            str(path.relative_to(out)): cpio.file_entry(path.read_bytes())
            for path in sorted(out.rglob("*"))
            if path.is_file()
        }
