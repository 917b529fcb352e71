"""`scenarios run --host`: a machine of the user's, looked at before anything is done to it."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from harness.campaign.lab import GuestImage
from harness.campaign.lab_machine import LabMachine
from harness.campaign.scenarios.campaign import Kernel
from harness.campaign.scenarios.lab_rig import LabGuest, can_cut, require_fit
from harness.campaign.scenarios.scenario import GuestKind
from harness.errors import BadInput
from harness.hosts.ssh import SshHost, connect_to_machine
from harness.recovery.kernel_versions import era_to_run
from kvm_images.lab_files import agent_files, udev_rules
from tools.progress import Say

OWN_ARRAY = "mdjournal"  # the name of every array that this project makes
_DEBIAN_VERSION = re.compile(r"#\d+ .*\bDebian (\d\S*)")  # not the compiler's, before it
_OLDEST_PYTHON = "import sys; sys.exit(sys.version_info < (3, 11))"


def lab_kernel(
    host: str, identity: str | None, disks: Sequence[str], *, smallest_bytes: int, say: Say
) -> Kernel:
    """Return a lab machine as a kernel of a grid, after a look at it and at its disks.

    Args:
        host: ``user@machine``, or ``user@machine:port``.
        identity: a file with a private key, beside what SSH finds by itself.
        disks: to be used, each once; twice to say that whatever is on it may go.
        smallest_bytes: that a disk must have at least.
        say: takes a line about what a crash means there.

    Raises:
        BadInput: it cannot be reached, lacks what stories need, or a disk is not fit.
    """
    connect = functools.partial(connect_to_machine, host, identity=identity)
    return looked_at(host, connect, disks, smallest_bytes=smallest_bytes, say=say)


def looked_at(
    name: str,
    connect: Callable[[], SshHost],
    disks: Sequence[str],
    *,
    smallest_bytes: int,
    say: Say,
) -> Kernel:
    """As `lab_kernel`, over whatever *connect* opens."""
    machine = LabMachine(
        name=name, connect=connect, agent=agent_files(), rules=udev_rules(), can_cut=False
    )
    with contextlib.closing(connect()) as ssh:
        if ssh.run(["python3", "-c", _OLDEST_PYTHON], deadline_s=60.0).status != 0:
            raise BadInput(f"--host {name}: has no python3, or one older than 3.11")
    with contextlib.closing(LabGuest(machine, Path("console"))) as guest:
        facts = guest.call("look_at_machine")
        require_fit(name, facts)
        chosen = dict.fromkeys(disks)
        for disk in chosen:
            look = guest.call("look_at_disk", path=disk)
            require_blank(name, disk, look, twice=Counter(disks)[disk] > 1)
            if look["size_bytes"] < smallest_bytes:
                raise BadInput(
                    f"--disk {disk} on {name}: has {look['size_bytes']} bytes, wanted"
                    f" {smallest_bytes}\nnext: name a larger one, or none, for loop devices"
                )
    machine = replace(machine, can_cut=can_cut(facts), disks=tuple(chosen))
    say(_meaning_of_a_cut(machine))
    version = _version_of(facts)
    image = GuestImage(
        kernel_image=Path(), kernel_version=version, initramfs=Path(), accelerator="none",
        identity=_identity(machine, facts), saved_guests=Path(), machine=machine,
    )  # fmt: skip
    return Kernel(name, dict.fromkeys(GuestKind, image), era_to_run(version))


def require_blank(host: str, disk: str, look: Mapping[str, Any], *, twice: bool) -> None:
    """Refuse a disk that is in use, and one that carries what nobody here knows, unless told.

    Known is a disk that is blank, and one of an array of this project's.

    Raises:
        BadInput: says what is on it.
    """
    where = f"--disk {disk} on {host}"
    if look["error"]:
        raise BadInput(f"{where}: {look['error']}\nnext: name a whole disk, as in /dev/sdx")
    if look["used_by"]:
        raise BadInput(
            f"{where}: is in use: {', '.join(look['used_by'])}\nnext: name one that nobody uses"
        )
    arrays = [name.rpartition(":")[2] for name in look["arrays"]]
    ours = arrays == [OWN_ARRAY] and set(look["signatures"]) <= {"linux_raid_member"}
    if twice or ours or (look["blank"] and not look["signatures"]):
        return
    carried = [*look["signatures"], *(f"array {name}" for name in look["arrays"])]
    what = ", ".join(carried) or "bytes that no program here knows"
    raise BadInput(
        f"{where}: carries {what}, and all of it would be overwritten\n"
        f"next: where that is meant, name it twice: --disk {disk} --disk {disk}"
    )


def _meaning_of_a_cut(machine: LabMachine) -> str:
    if not machine.can_cut:
        return f"{machine.name}: has no dm-log-writes; stories that cut the power are not possible"
    return (
        f"{machine.name}: a power cut there is what dm-log-writes recorded, replayed onto loop"
        " files; the machine itself stays up"
    )


def _version_of(facts: Mapping[str, Any]) -> str:
    """Return the kernel's version: Debian's own, since its releases do not tell the sublevel."""
    found = _DEBIAN_VERSION.search(str(facts["kernel"]))
    return found[1] if found else str(facts["release"])


def _identity(machine: LabMachine, facts: Mapping[str, Any]) -> str:
    parts = (machine.name, facts["kernel"], facts["mdadm"], *machine.disks)
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()
