"""Which accelerator works here: a present /dev/kvm proves nothing, a guest that answers does."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from harness.errors import GuestLost, HarnessError
from harness.processes import temporary_folder
from harness.vm.guest import running_guest
from harness.vm.machine import QEMU, MachineConfig

KVM_DEVICE = Path("/dev/kvm")
# A guest under working KVM answers within one second; one that does not is taken for broken, and
# TCG, which always works, is used.
PROBE_S = 5.0
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def choose_accelerator(config: MachineConfig, *, cache: Path, say: Callable[[str], None]) -> str:
    """Return "kvm" or "tcg": probed once for each boot of this machine and each QEMU.

    Args:
        config: a guest to probe with; its accelerator and disks do not matter.
        cache: the file that remembers the answer.
        say: takes a line when a probe is made.
    """
    if not os.access(KVM_DEVICE, os.R_OK | os.W_OK):
        return "tcg"
    key = _key()
    remembered = _remembered(cache)
    if remembered.get("key") == key and remembered.get("accelerator") in ("kvm", "tcg"):
        return remembered["accelerator"]
    say("trying whether KVM works here")
    answer = "kvm" if _guest_answers(replace(config, accelerator="kvm", disks=())) else "tcg"
    say("KVM works" if answer == "kvm" else "KVM is there and does not work: using TCG")
    cache.parent.mkdir(parents=True, exist_ok=True)
    temporary = cache.with_suffix(f".{os.getpid()}.tmp")
    temporary.write_text(json.dumps({"key": key, "accelerator": answer}))
    temporary.replace(cache)
    return answer


def _guest_answers(config: MachineConfig) -> bool:
    with temporary_folder(prefix="mdjournal-") as folder:
        console = folder / "console"
        try:
            with running_guest(config, console=console, deadline_s=PROBE_S):
                return True
        except (GuestLost, HarnessError):
            return False


def _key() -> str:
    program = Path(shutil.which(QEMU) or QEMU).resolve().stat()
    return f"{_BOOT_ID.read_text().strip()} {program.st_size} {program.st_mtime_ns}"


def _remembered(cache: Path) -> dict[str, str]:
    try:
        document = json.loads(cache.read_text())
    except (OSError, ValueError):
        return {}
    return document if isinstance(document, dict) else {}
