"""Guests with an array's disks: what `crash` and every later campaign run their phases in."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from harness.crash.trace import Cache
from harness.errors import CommandFailed
from harness.md.array import Nodes
from harness.md.shape import JOURNAL_NAME, Shape
from harness.storage.disk_server import MARKS_EXPORT, DiskServer, ServedDisk, serving
from harness.vm.guest import Guest
from harness.vm.machine import GuestDisk, MachineConfig
from harness.vm.saved import restored_guest

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


@dataclass(frozen=True, slots=True)
class Session:
    """A guest that sees an array's disks."""

    guest: Guest
    server: DiskServer
    nodes: Nodes
    marks: str  # the node that takes marks


def disk_caches(shape: Shape) -> dict[str, Cache]:
    """Return each disk's name and cache, members first, the journal last."""
    journal = {JOURNAL_NAME: shape.journal_cache} if shape.journaled else {}
    return {**dict.fromkeys(shape.member_names, shape.member_cache), **journal}


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
    disks = [ServedDisk(name=n, image=images[n], cache=cache) for n, cache in caches.items()]
    with serving(disks, trace=trace, jitter_us=jitter_us, seed=seed) as server:
        places = [
            GuestDisk(d.name, d.name, server.socket, d.cache is Cache.WRITE_BACK) for d in disks
        ]
        places.append(GuestDisk(MARKS_EXPORT, MARKS_EXPORT, server.socket, volatile_cache=False))
        config = MachineConfig(
            kernel_image=image.kernel_image,
            initramfs=image.initramfs,
            accelerator=image.accelerator,
            disks=tuple(places),
        )
        with restored_guest(
            config, identity=image.identity, folder=image.saved_guests, console=console, say=say
        ) as guest:
            nodes = nodes_by_serial(guest, (*caches, MARKS_EXPORT))
            members = tuple(nodes[name] for name in caches if name != JOURNAL_NAME)
            array = Nodes(members, nodes[JOURNAL_NAME] if JOURNAL_NAME in caches else None)
            yield Session(guest, server, array, nodes[MARKS_EXPORT])


def nodes_by_serial(guest: Guest, serials: tuple[str, ...]) -> dict[str, str]:
    """Return the device node of each disk.

    Raises:
        CommandFailed: the guest does not see all of them.
    """
    nodes: dict[str, str] = guest.call("disks")["nodes"]
    if missing := [serial for serial in serials if serial not in nodes]:
        raise CommandFailed(f"guest: sees no disk with serial {', '.join(missing)}; has {nodes}")
    return nodes
