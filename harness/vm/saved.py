"""Saved guests: booted once, then restored in a fraction of a second.

A guest is saved before any disk driver is loaded (see ``kvm_images/guest/init``), so it holds
nothing of a disk: not its size, not a cached block. What must be equal for a restore is hashed
into the file's name.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shlex
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from harness.errors import GuestLost, HarnessError, Unavailable
from harness.vm.guest import Guest, running_guest
from harness.vm.machine import QEMU, GuestDisk, MachineConfig, MachineSockets, command_line

SAVE_DEADLINE_S = 300.0
KEPT_STATES = 16  # some 120 MB each
_POLL_S = 0.01
_NO_LIMIT = 2**40  # bytes per second

Say = Callable[[str], None]


def saved_state(
    config: MachineConfig,
    *,
    identity: str,
    folder: Path,
    say: Say,
    prepare: Callable[[Guest], None] = lambda _guest: None,
) -> Path:
    """Return the file of a saved guest for *config*, booting and saving one if there is none.

    Args:
        config: its disks say only how many there are.
        identity: a hash of what the guest boots: kernel, modules, initramfs.
        folder: where saved guests are kept.
        say: takes one line when a guest has to be booted.
        prepare: is done to the guest before it is saved; what it does is part of *identity*.
    """
    state = folder / f"{_key(config, identity)}.state"
    with contextlib.suppress(FileNotFoundError):
        os.utime(state)  # most recently used: see `_prune`
        return state
    folder.mkdir(parents=True, exist_ok=True)
    with _alone(folder / "lock"):
        if not state.exists():
            say(f"booting a guest to save it ({config.shape_key()})")
            _boot_and_save(config, state, prepare)
            _prune(folder)
    return state


@contextlib.contextmanager
def restored_guest(
    config: MachineConfig, *, identity: str, folder: Path, console: Path, say: Say
) -> Iterator[Guest]:
    """Run a guest that goes on from its saved state, and has just loaded its disk drivers.

    A state that cannot be restored (a damaged file) is said, thrown away and made anew, once.
    A guest that cannot be saved is booted.
    """
    if not config.can_be_saved:
        with running_guest(config, console=console) as guest:
            guest.call("load_disk_modules")
            yield guest
        return
    state = saved_state(config, identity=identity, folder=folder, say=say)
    with contextlib.ExitStack() as stack:
        try:
            guest = stack.enter_context(running_guest(config, console=console, saved_state=state))
        except GuestLost as lost:
            say(f"the saved guest {state.name} does not come back, making a new one: {lost}")
            state.unlink(missing_ok=True)
            console.unlink(missing_ok=True)
            state = saved_state(config, identity=identity, folder=folder, say=say)
            guest = stack.enter_context(running_guest(config, console=console, saved_state=state))
        guest.call("load_disk_modules")
        yield guest


def _prune(folder: Path) -> None:
    """Remove the guests that were not used for longest; one that is asked for is made anew.

    What a killed run left half saved goes too: whoever saves or prunes is alone.
    """
    for unfinished in folder.glob("*.tmp"):
        unfinished.unlink(missing_ok=True)
    for state in sorted(folder.glob("*.state"), key=os.path.getmtime)[:-KEPT_STATES]:
        state.unlink(missing_ok=True)
        state.with_suffix(".console").unlink(missing_ok=True)


def _boot_and_save(config: MachineConfig, state: Path, prepare: Callable[[Guest], None]) -> None:
    places = tuple(replace(disk, socket=None) for disk in config.disks)
    temporary = state.with_suffix(f".{os.getpid()}.tmp")
    console = state.with_suffix(".console")
    console.unlink(missing_ok=True)
    try:
        with running_guest(replace(config, disks=places), console=console) as guest:
            prepare(guest)
            _save(guest, temporary)
        temporary.rename(state)
    finally:
        temporary.unlink(missing_ok=True)


def _save(guest: Guest, target: Path) -> None:
    # QEMU itself stops the guest at the end: one that was halted before comes back halted.
    guest.qmp("migrate-set-parameters", **{"max-bandwidth": _NO_LIMIT})
    guest.qmp("migrate", uri=f"exec:cat >{shlex.quote(str(target))}")
    deadline = time.monotonic() + SAVE_DEADLINE_S
    while (status := guest.qmp("query-migrate").get("status")) != "completed":
        if status == "failed" and shutil.disk_usage(target.parent).free < 2**27:
            raise Unavailable(f"saved guest: no space left in {target.parent}; free some")
        if status == "failed" or time.monotonic() > deadline:
            raise HarnessError(f"saving a guest to {target}: QEMU says {status!r}")
        time.sleep(_POLL_S)


def _key(config: MachineConfig, identity: str) -> str:
    """Hash all that a state depends on; QEMU itself stands in by its file's size and time."""
    nowhere = Path("/")
    places = tuple(
        GuestDisk(f"place{number}", bus=disk.bus) for number, disk in enumerate(config.disks)
    )
    shape = replace(config, disks=places, kernel_image=nowhere, initramfs=nowhere)
    command = command_line(shape, MachineSockets(nowhere), nowhere)
    program = Path(shutil.which(QEMU) or QEMU).resolve().stat()
    parts = (identity, *command, str(program.st_size), str(program.st_mtime_ns))
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:24]


@contextlib.contextmanager
def _alone(lock: Path) -> Iterator[None]:
    with lock.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
