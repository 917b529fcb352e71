"""Guests with an array's disks: what `crash` and every later campaign run their phases in."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.campaign.lab_machine import LabMachine
from harness.crash.disk_kinds import Bus, Discard
from harness.crash.trace import Cache
from harness.errors import CommandFailed
from harness.md.array import Nodes
from harness.md.shape import JOURNAL_NAME, Shape
from harness.storage.disk_server import MARKS_EXPORT, DiskServer, ServedDisk, serving
from harness.vm.guest import Guest
from harness.vm.machine import MEMORY_MIB, GuestDisk, MachineConfig
from harness.vm.saved import restored_guest

DISKS_DEADLINE_S = 30.0  # drivers look for disks in the background

_DISCARD_SAFELY = "/sys/module/raid456/parameters/devices_handle_discard_safely"

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class GuestImage:
    """What a guest boots, where saved guests are kept, and how it is run."""

    kernel_image: Path
    kernel_version: str  # of its package, or its release
    initramfs: Path
    identity: str  # hash of both and of everything in them
    accelerator: str
    saved_guests: Path
    memory_mib: int = MEMORY_MIB
    # Of a full guest alone: the root that it boots, and what writes its initramfs with more files.
    root: Path | None = None
    add_files: Callable[[Mapping[str, tuple[bytes, int]], Path], None] | None = None
    machine: LabMachine | None = None  # is in the place of a guest, and nothing boots


@dataclass(frozen=True, slots=True)
class Session:
    """A guest that sees an array's disks."""

    guest: Guest
    server: DiskServer
    nodes: Nodes
    marks: str  # the node that takes marks


def disk_caches(shape: Shape) -> dict[str, Cache]:
    """Return each disk's name and cache, members first, then spares, the journal last."""
    journal = {JOURNAL_NAME: shape.journal_cache} if shape.journaled else {}
    names = (*shape.member_names, *shape.spare_names)
    return {**dict.fromkeys(names, shape.member_cache), **journal}


def served_disk(shape: Shape, name: str, image: Path) -> ServedDisk:
    """Return a disk of a shape as the server is to serve it from an image file."""
    return ServedDisk(
        name=name, image=image, cache=disk_caches(shape)[name],
        logical_block_bytes=shape.logical_block_bytes,
    )  # fmt: skip


def guest_disks(shape: Shape, disks: Sequence[ServedDisk], socket: Path) -> tuple[GuestDisk, ...]:
    """Return served disks as a guest is to see them, and behind them the one that takes marks."""
    places = [
        GuestDisk(
            d.name,
            d.name,
            socket,
            d.cache is Cache.WRITE_BACK,
            d.logical_block_bytes,
            shape.bus,
            takes_discards=shape.discard is not Discard.NONE,
        )
        for d in disks
    ]
    marks = GuestDisk(MARKS_EXPORT, MARKS_EXPORT, socket, volatile_cache=False, bus=shape.bus)
    return (*places, marks)


@contextlib.contextmanager
def session(
    image: GuestImage,
    shape: Shape,
    images: Mapping[str, Path],
    *,
    trace: Path,
    console: Path,
    say: Say,
    jitter_us: int = 0,
    seed: int = 0,
) -> Iterator[Session]:
    """Run a restored guest on these disk images, every write recorded in *trace*.

    Args:
        image: what the guest is.
        shape: of the array, for the disks' caches.
        images: image file by disk name; a disk of the shape that has none is not there.
        trace: a new file.
        console: gets the guest's console.
        say: takes a line about anything slow.
        jitter_us: see ``disk_server.serving``.
        seed: of the jitter.
    """
    caches = {name: cache for name, cache in disk_caches(shape).items() if name in images}
    disks = [served_disk(shape, name, images[name]) for name in caches]
    with serving(disks, trace=trace, jitter_us=jitter_us, seed=seed) as server:
        config = MachineConfig(
            kernel_image=image.kernel_image,
            initramfs=image.initramfs,
            accelerator=image.accelerator,
            disks=guest_disks(shape, disks, server.socket),
            memory_mib=image.memory_mib,
        )
        with restored_guest(
            config, identity=image.identity, folder=image.saved_guests, console=console, say=say
        ) as guest:
            nodes = ready_disks(guest, shape, tuple(caches))
            members = tuple(nodes[name] for name in shape.member_names if name in caches)
            array = Nodes(members, nodes[JOURNAL_NAME] if JOURNAL_NAME in caches else None)
            yield Session(guest, server, array, nodes[MARKS_EXPORT])


def ready_disks(guest: Guest, shape: Shape, names: tuple[str, ...]) -> dict[str, str]:
    """Return the node of each disk of a shape, and of the one that takes marks; md is told what
    the shape says of discards.

    Raises:
        CommandFailed: the guest does not see all of them.
    """
    if shape.discard is Discard.ARRAY:
        guest.write_text(_DISCARD_SAFELY, "Y")
    nodes = nodes_by_serial(guest, (*names, MARKS_EXPORT))
    if shape.bus is Bus.LOOP:
        disks = [nodes[name] for name in names]
        loops = guest.call("loops", nodes=disks, block_bytes=shape.logical_block_bytes)["nodes"]
        nodes |= dict(zip(names, loops, strict=True))
    return nodes


def nodes_by_serial(guest: Guest, serials: tuple[str, ...]) -> dict[str, str]:
    """Return the device node of each disk.

    Raises:
        CommandFailed: the guest does not see all of them.
    """
    nodes: dict[str, str] = guest.call("disks", serials=serials, deadline_s=DISKS_DEADLINE_S)[
        "nodes"
    ]
    if missing := [serial for serial in serials if serial not in nodes]:
        raise CommandFailed(f"guest: sees no disk with serial {', '.join(missing)}; has {nodes}")
    return nodes
