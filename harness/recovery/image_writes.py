"""What a recovery writes, as writes to image files, one after another.

Nothing is written here: whoever takes the writes makes them, on copies or in place, each before
the next is taken, since what a data-only stripe becomes depends on what the members hold by then.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from harness.errors import BadImage
from harness.ondisk.log import build_meta_block
from harness.ondisk.superblock import SUPERBLOCK_BYTES, with_journal_tail, written_bytes
from harness.ondisk.units import BLOCK_BYTES, BLOCK_SECTORS, SECTOR_BYTES, LogSector, StripeSector
from harness.recovery.log import Log
from harness.recovery.members import Array
from harness.recovery.plan import RecoveryPlan, rewritten_block, stream_recovery
from harness.recovery.write_out import write_out

MOST_OUTSIDE = 100  # kept one by one of the pages that are left out; there may be millions

ReadImage = Callable[[str, int, int], bytes]
"""Reads an image, named by its label, at an offset so many bytes."""


class ImageWrite(NamedTuple):
    """Bytes for one image."""

    label: str
    offset: int  # bytes
    data: bytes


@dataclass(frozen=True, slots=True)
class Barrier:
    """All writes so far must be on the medium before any that follows."""


@dataclass(frozen=True, slots=True)
class OutsideWrite:
    """A page that the log sends past the end of the members, and that is left out here."""

    device: int
    sector: StripeSector


class RecoveryWrites:
    """The writes of one recovery; afterwards, its plan and what was left out."""

    def __init__(
        self,
        array: Array,
        log: Log,
        read: ReadImage,
        *,
        seed: int,
        stripe_cache_size: int,
        room_sectors: Mapping[str, int] | None = None,
    ) -> None:
        """Prepare.

        Args:
            array: with its journal, which is read through *log*.
            log: not changed before the last pages of the members were taken.
            read: gives the members' old contents.
            seed: the sequence number is drawn from it where the kernel draws one.
            stripe_cache_size: of the array, in stripes.
            room_sectors: of each member from its data area on, by label: what the log sends behind
                the data area and not behind the disk is then written as the kernel does. Otherwise
                it is left out, but for the part of a page that lies inside.
        """
        assert array.journal is not None  # nothing to recover from otherwise
        self._array = array
        self._journal = array.journal
        self._log = log
        self._read = read
        self.drawn = random.Random(seed).getrandbits(32)  # where the kernel draws a sequence
        self._stripe_cache_size = stripe_cache_size
        self._room = room_sectors
        self._member_sectors = array.geometry.member_sectors
        self._homes = {  # by device: each image, and where in it the data area begins
            device: [(label, self._offset(label, 0)) for label in labels]
            for device, labels in array.members.items()
        }
        self.plan: RecoveryPlan | None = None
        self.pages = 0  # written to members
        self.outside: list[OutsideWrite] = []  # the first ones
        self.pages_outside = 0

    def __iter__(self) -> Iterator[ImageWrite | Barrier]:
        """Yield members' pages, then the log's blocks, then the journal's superblock."""
        stream = stream_recovery(
            self._log, self._array.geometry, stripe_cache_size=self._stripe_cache_size
        )
        while True:
            try:
                replay = next(stream)
            except StopIteration as stop:
                plan: RecoveryPlan = stop.value
                break
            for device, source in replay.pages:
                yield from self._to_member(device, replay.stripe, self._logged(source))
        for stripe in plan.data_only if plan.written_out else ():
            yield from self._write_out(stripe.stripe, dict(stripe.pages))
        self.plan = plan
        yield Barrier()
        for position, block in self._log_blocks(plan):
            label = self._journal
            yield ImageWrite(label, self._offset(label, position), block)
        yield Barrier()
        yield self._superblock(plan)
        yield Barrier()

    def _logged(self, position: LogSector) -> bytes:
        page = self._log.read_block(position)
        if page is None:
            raise BadImage(f"{self._journal}: changed while it was read")
        return page

    def _to_member(self, device: int, sector: StripeSector, page: bytes) -> list[ImageWrite]:
        end = sector + BLOCK_SECTORS
        if end > self._member_sectors:
            self._leave_out(device, sector)
            if self._room is None:
                page = page[: max(0, self._member_sectors - sector) * SECTOR_BYTES]
        homes = [
            (label, start)
            for label, start in self._homes.get(device, ())
            if page and (end <= self._member_sectors or end <= self._room_of(label))
        ]
        self.pages += len(homes)
        return [ImageWrite(label, start + sector * SECTOR_BYTES, page) for label, start in homes]

    def _room_of(self, label: str) -> int:
        """Return how much of a disk can be written from its data area on, in sectors."""
        if self._room is None:
            return self._array.superblocks[label].data_size
        return self._room[label]

    def _can_be_written_out(self, sector: StripeSector) -> bool:
        if (end := sector + BLOCK_SECTORS) <= self._member_sectors:
            return True
        every = (label for homes in self._homes.values() for label, _ in homes)
        some_inside = self._room is not None or sector < self._member_sectors
        return some_inside and all(end <= self._room_of(label) for label in every)

    def _leave_out(self, device: int, sector: StripeSector) -> None:
        self.pages_outside += 1
        if len(self.outside) < MOST_OUTSIDE:
            self.outside.append(OutsideWrite(device, sector))

    def _write_out(
        self, sector: StripeSector, sources: Mapping[int, LogSector]
    ) -> Iterator[ImageWrite]:
        geometry = self._array.geometry
        new = {device: self._logged(source) for device, source in sources.items()}
        if not self._can_be_written_out(sector):
            for device in new:
                self._leave_out(device, sector)
            return

        def read_old(device: int) -> bytes:
            label = self._array.read_from(device, sector)
            assert label is not None  # see unreadable
            return self._read(label, self._offset(label, sector), BLOCK_BYTES)

        pages = write_out(
            geometry, geometry.row_at(sector), new, read_old,
            unreadable=self._array.unreadable_at(sector),
            synced=sector < self._array.resync_offset,
        )  # fmt: skip
        for device, page in pages.items():
            yield from self._to_member(device, sector, page)

    def _log_blocks(self, plan: RecoveryPlan) -> Iterator[tuple[LogSector, bytes]]:
        for meta in plan.empty_metas:
            seq = self.drawn + meta.from_drawn if meta.seq is None else meta.seq
            yield meta.position, self._empty_meta(seq, meta.position)
        if plan.rewritten and plan.written_out:
            # The kernel logs its own writing-out from here on; that part is not reproduced.
            first = plan.rewritten[0]
            yield first.position, self._empty_meta(first.seq, first.position)
        elif plan.rewritten:
            yield from self._rewritten(plan)

    def _rewritten(self, plan: RecoveryPlan) -> Iterator[tuple[LogSector, bytes]]:
        """Yield data-only stripes logged anew, each page as it was before any of this.

        The kernel has them all in memory. Here a page is kept only if what is written first will
        lie where it is: in a log that is so full that its end runs into its own tail.
        """
        targets = {meta.position for meta in plan.rewritten}
        targets |= {to for meta in plan.rewritten for _, _, to in meta.pages}
        kept = {
            source: self._logged(source)
            for meta in plan.rewritten
            for _, source, _ in meta.pages
            if source in targets
        }

        def read(source: LogSector) -> bytes:
            return kept[source] if source in kept else self._logged(source)

        for meta in plan.rewritten:
            pages = [read(source) for _, source, _ in meta.pages]
            yield from zip((to for _, _, to in meta.pages), pages, strict=True)
            yield meta.position, rewritten_block(meta, pages, seed=self._log.seed)

    def _empty_meta(self, seq: int, position: LogSector) -> bytes:
        return build_meta_block(seed=self._log.seed, seq=seq, position=position)

    def _superblock(self, plan: RecoveryPlan) -> ImageWrite:
        journal = self._array.superblocks[self._journal]
        used = min(written_bytes(journal), SUPERBLOCK_BYTES)
        content = with_journal_tail(journal, plan.journal_tail)[:used]
        return ImageWrite(self._journal, journal.at * SECTOR_BYTES, content)

    def _offset(self, label: str, sector: int) -> int:
        return (self._array.superblocks[label].data_offset + sector) * SECTOR_BYTES
