"""A guest with an array's disks that outlives reboots and power cuts."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from harness.campaign.lab import (
    GuestImage,
    Say,
    Session,
    disk_caches,
    guest_disks,
    ready_disks,
    served_disk,
)
from harness.crash.base import contents_at_end, on_top_of
from harness.crash.content import DiskContent
from harness.crash.states import Loss, crash_state
from harness.crash.trace import Trace, decode
from harness.errors import GuestVanished
from harness.md.array import Nodes
from harness.md.shape import JOURNAL_NAME, Shape
from harness.storage.disk_server import MARKS_EXPORT, DiskServer, serving
from harness.storage.images import create_image, write_content
from harness.vm.guest import Guest
from harness.vm.machine import MEMORY_MIB, MachineConfig
from harness.vm.saved import restored_guest

Contents = dict[str, DiskContent]
# What ends a guest from another thread: its process is killed, or this is called.
Stopper = int | Callable[[], None]

_POWER_OFF_S = 120.0  # a limit against a hang and no expectation


@dataclass(frozen=True, slots=True)
class Place:
    """What a rig is made of and where it leaves what it records."""

    image: GuestImage
    shape: Shape
    folder: Path
    seed: int
    say: Say
    began: Callable[[Stopper], None]  # is told of each guest
    memory_mib: int


class Rig:
    """Disks that are served and recorded, and a guest that sees them."""

    records = True  # what all disks are asked, in one order: see `trace`

    def __init__(self, place: Place) -> None:
        self._place = place
        self._stack = contextlib.ExitStack()
        self._guest_stack = contextlib.ExitStack()
        self._images: dict[str, Path] = {}
        self._contents: Contents = {}  # of the disks when they began to be served
        self._server: DiskServer
        self._starts = 0
        self._cuts = 0
        self.kernel_log: list[str] = []  # of guests that are no more
        self.session: Session
        self.nodes: Mapping[str, str] = {}  # of every disk, by name

    def __enter__(self) -> Self:
        """Serve empty disks to a fresh guest."""
        for name, size_bytes in self._place.shape.disk_sizes.items():
            self._images[name] = self._place.folder / f"{name}.img"
            create_image(self._images[name], size_bytes)
            self._contents[name] = DiskContent()
        try:
            self._serve()
            self._start()
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:  # fmt: skip
        """End guest and server."""
        self._close()

    @property
    def guest(self) -> Guest:
        """The guest as it is now."""
        return self.session.guest

    @property
    def cuts(self) -> int:
        """How often the power was taken away."""
        return self._cuts

    def trace(self) -> Trace:
        """Return all that the disks were asked, from empty ones on."""
        recorded = decode(self._server.trace.read_bytes())
        contents = [self._contents[name] for name in self._images]
        return on_top_of(contents, recorded.disks, recorded.events)

    def contents_at_end(self) -> dict[str, DiskContent]:
        """Return what each disk holds."""
        return contents_at_end(self.trace())

    def settle(self) -> None:
        """Wait until nobody but the story looks at the array: here nobody ever does."""

    def reboot(self) -> None:
        """Power the guest off as a kernel does, and start another one on the same disks."""
        self._note_kernel_log()
        with contextlib.suppress(GuestVanished):
            self.guest.call(
                "run", argv=["/bin/busybox", "poweroff", "-f"], deadline_s=_POWER_OFF_S,
                answer_within_s=_POWER_OFF_S,
            )  # fmt: skip
        self._guest_stack.close()
        self._start()

    def cut_power(self, loss: Loss, seed: int) -> None:
        """Take the power away, let caches lose what they may, and start another guest on the rest.

        The guest is halted first: what is under way then stays under way.
        """
        self._note_kernel_log()
        self.guest.stop_cpus()
        self._close()
        trace = self.trace()
        state = crash_state(trace, trace.events[-1].sequence + 1, loss, seed=seed)
        self._cuts += 1
        for name, survivors in zip(self._images, state.survivors, strict=True):
            content = self._contents[name] = DiskContent()
            for survivor in survivors:
                content.take(survivor.issue, survivor.ranges)
            self._images[name] = self._place.folder / f"{name}-{self._cuts}.img"
            write_content(self._images[name], content, self._place.shape.disk_sizes[name])
        self._serve()
        self._start()

    def unplug(self, disk: str) -> None:
        """Take a disk out of the running guest, as a hot-plug does."""
        self.guest.qmp("device_del", id=f"disk-{disk}")
        gone = self.nodes[disk].rpartition("/")[2]
        self.guest.call("wait_until_gone", path=f"/sys/block/{gone}", deadline_s=_POWER_OFF_S)

    def _serve(self) -> None:
        place = self._place
        disks = [served_disk(place.shape, name, path) for name, path in self._images.items()]
        trace = place.folder / f"trace-{self._cuts}.mdjtrace"
        self._server = self._stack.enter_context(serving(disks, trace=trace, seed=place.seed))

    def _start(self) -> None:
        place = self._place
        self._starts += 1
        disks = [served_disk(place.shape, name, path) for name, path in self._images.items()]
        config = MachineConfig(
            kernel_image=place.image.kernel_image, initramfs=place.image.initramfs,
            accelerator=place.image.accelerator, memory_mib=self._memory_mib,
            disks=guest_disks(place.shape, disks, self._server.socket),
        )  # fmt: skip
        guest = self._guest_stack.enter_context(
            restored_guest(
                config, identity=place.image.identity, folder=place.image.saved_guests,
                console=place.folder / f"console-{self._starts}.log", say=place.say,
            )
        )  # fmt: skip
        place.began(guest.pid)
        names = tuple(disk_caches(place.shape))
        self.nodes = ready_disks(guest, place.shape, names)
        members = tuple(self.nodes[name] for name in place.shape.member_names)
        nodes = Nodes(members, self.nodes.get(JOURNAL_NAME))
        self.session = Session(guest, self._server, nodes, self.nodes[MARKS_EXPORT])

    @property
    def _memory_mib(self) -> int:
        """What the story needs beyond the ordinary, on top of what the kernel needs."""
        return self._place.image.memory_mib + self._place.memory_mib - MEMORY_MIB

    def _note_kernel_log(self) -> None:
        self.kernel_log += self.guest.kernel_log()

    def _close(self) -> None:
        self._guest_stack.close()
        self._stack.close()
