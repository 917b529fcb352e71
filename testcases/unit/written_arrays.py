"""Arrays of the independent writer as image files, and what recovery must make of them.

Every expected byte comes from the writer: the array is written again with the contents that it has
after the replay, the log with the meta block that ends it.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Unpack

from testcases.independent_geometry import SuperblockFields
from testcases.journal_writer import ArrayImages, Data, Parity, Payload, Ring, meta_block

SEQ = 0xFFFF_FFF0  # goes past 32 bits in every recovery


@cache
def noise(number: int) -> bytes:
    """Return a page that no other number has, and whose P and Q are no trivial bytes."""
    return random.Random(number).randbytes(4096)


def array_of(
    level: int = 5, layout: int = 2, raid_disks: int = 5, **changes: object
) -> ArrayImages:
    """Return a small array full of noise, ten rows of two pages."""
    small = ArrayImages(
        level=level, layout=layout, raid_disks=raid_disks, chunk_sectors=16, data_sectors=160,
        log_sectors=256, data_offset=16, contents=noise,
    )  # fmt: skip
    return replace(small, **changes)  # type: ignore[arg-type]


@dataclass(slots=True)
class WrittenArray:
    """An array and its log, which grows with each write."""

    images: ArrayImages
    position: int = 0
    seq: int = SEQ
    ring: Ring = field(init=False)
    updates: dict[int, bytes] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.ring = self.images.ring()

    def contents(self, sector: int) -> bytes:
        """Return what the array holds after all writes so far."""
        return self.updates.get(sector, self.images.contents(sector))

    def log(self, *payloads: Payload) -> None:
        """Log one meta block behind the others."""
        self.position = self.ring.append(seq=self.seq, position=self.position, payloads=payloads)
        self.seq += 1

    def payloads(self, new: Mapping[int, bytes]) -> tuple[Data | Parity, ...]:
        """Return what one stripe's write logs, and count the write as done."""
        payloads = self.images.stripe(new, old=self.contents)
        self.updates |= new
        return payloads

    def write(self, new: Mapping[int, bytes]) -> None:
        """Log data and parity of one stripe in one meta block."""
        self.log(*self.payloads(new))

    def write_data_only(self, new: Mapping[int, bytes]) -> None:
        """Log one stripe's data as write-back mode does at first."""
        self.log(*self.payloads(new)[:-1])

    def store(self, folder: Path, **journal: Unpack[SuperblockFields]) -> list[Path]:
        """Write members and journal into *folder* as they are when the power goes."""
        images = {slot_name(n): image for n, image in self.images.member_images().items()}
        images["journal.img"] = self.images.journal_image(self.ring, **journal)
        return store(folder, images)

    def members_after(self) -> dict[str, bytes]:
        """Return the members' images when every write is on them."""
        after = replace(self.images, contents=self.contents).member_images()
        return {slot_name(slot): image for slot, image in after.items()}

    def journal_after(
        self, *, position: int | None = None, seq: int | None = None, tail: int | None = None
    ) -> bytes:
        """Return the journal's image with an empty meta block, by default behind the log."""
        at = self.position if position is None else position
        number = self.seq + 10000 if seq is None else seq
        ring = self.images.ring()
        ring.log[:] = self.ring.log
        ring.put_block(position=at, block=meta_block(seed=ring.seed, seq=number, position=at))
        return self.images.journal_image(ring, journal_tail=at if tail is None else tail)


def slot_name(slot: int) -> str:
    return f"member{slot}.img"


def store(folder: Path, images: Mapping[str, bytes]) -> list[Path]:
    """Write images as files; what is zero stays a hole."""
    folder.mkdir(exist_ok=True)
    for name, image in images.items():
        with (folder / name).open("wb") as file:
            file.truncate(len(image))
            for at in range(0, len(image), 4096):
                block = image[at : at + 4096]
                if any(block):
                    file.seek(at)
                    file.write(block)
    return [folder / name for name in images]


def digests(paths: Iterable[Path]) -> dict[str, tuple[str, int]]:
    """Return of each file a hash of its contents and its time of modification."""
    return {
        str(path): (hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_mtime_ns)
        for path in paths
    }


def images_in(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}
