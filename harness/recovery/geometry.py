"""From a sector of the array to a sector of a member, and back.

Format document, sections 5.1 and 5.2; ``raid5_compute_sector`` and ``raid5_compute_blocknr``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from harness.errors import BadInput
from harness.ondisk.superblock import Superblock
from harness.ondisk.units import ArraySector, StripeSector
from harness.recovery.layout import Layout, Level, QOrder, Row, layout_of

MOST_MEMBERS = 203  # a meta block must hold a page of each (r5l_init_log)


class Place(NamedTuple):
    """A sector of the array, found on a member."""

    device: int
    sector: StripeSector
    pd_idx: int
    qd_idx: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Geometry:
    """The arithmetic of one array; sizes in sectors."""

    layout: Layout
    raid_disks: int
    chunk_sectors: int
    component_sectors: int  # dev_sectors: used of each member

    def __post_init__(self) -> None:
        least = self.layout.level.parities + 2 if self.layout.level is Level.RAID6 else 2
        if self.raid_disks < least:
            raise BadInput(
                f"RAID-{self.layout.level:d} of {self.raid_disks} members: needs {least} or more"
            )
        if self.chunk_sectors < 8 or self.chunk_sectors % 8:
            raise BadInput(f"chunk of {self.chunk_sectors} sectors: must be a multiple of 8")

    @property
    def level(self) -> Level:
        """RAID-4, 5 or 6."""
        return self.layout.level

    @property
    def data_disks(self) -> int:
        """Data chunks in each row."""
        return self.raid_disks - self.level.parities

    @property
    def member_sectors(self) -> int:
        """What of each member is part of the array: whole chunks only."""
        return self.component_sectors // self.chunk_sectors * self.chunk_sectors

    @property
    def array_sectors(self) -> int:
        """Size of the md device."""
        return self.member_sectors * self.data_disks

    def row_at(self, sector: StripeSector) -> Row:
        """Return which device has which part in the row of chunks that holds *sector*."""
        return self.layout.row(sector // self.chunk_sectors, self.raid_disks)

    def place(self, sector: ArraySector) -> Place:
        """Return where *sector* of the array lies (``raid5_compute_sector``); never rounded."""
        chunk, offset = divmod(sector, self.chunk_sectors)
        row_number, k = divmod(chunk, self.data_disks)
        row = self.layout.row(row_number, self.raid_disks)
        on_member = StripeSector(row_number * self.chunk_sectors + offset)
        return Place(row.data[k], on_member, row.pd_idx, row.qd_idx)

    def array_sector(self, device: int, sector: StripeSector) -> ArraySector | None:
        """Return what *sector* of *device* holds of the array; ``None`` where it is parity."""
        row_number, offset = divmod(sector, self.chunk_sectors)
        row = self.layout.row(row_number, self.raid_disks)
        if device not in row.data:
            return None
        chunk = row_number * self.data_disks + row.data.index(device)
        return ArraySector(chunk * self.chunk_sectors + offset)

    def holds_only_parity(self, device: int) -> bool:
        """Whether a device has no data in any row: the parity disk of RAID-4, for one."""
        rows = range(self.raid_disks * (self.raid_disks - 1))  # every layout repeats after that
        return all(device not in self.layout.row(n, self.raid_disks).data for n in rows)

    def q_exponents(self, row: Row) -> dict[int, int]:
        """Return for each data device the power of the generator that Q multiplies it by."""
        if row.qd_idx is None:
            raise ValueError("only RAID-6 has Q")
        if self.layout.q_order is QOrder.BY_DEVICE:
            return {device: device for device in row.data}
        parities = (row.pd_idx, row.qd_idx)
        walk = ((row.qd_idx + 1 + i) % self.raid_disks for i in range(self.raid_disks))
        return {device: e for e, device in enumerate(d for d in walk if d not in parities)}


def geometry_of(superblock: Superblock) -> Geometry:
    """Return the geometry that a member's superblock describes.

    Raises:
        BadInput: a level without journal support, an unknown layout, impossible sizes.
    """
    if superblock.raid_disks > MOST_MEMBERS:
        raise BadInput(
            f"{superblock.raid_disks} members: a write journal takes {MOST_MEMBERS} at most"
        )
    try:
        level = Level(superblock.level)
    except ValueError:
        raise BadInput(
            f"level {superblock.level}: a write journal needs RAID level 4, 5 or 6"
        ) from None
    return Geometry(
        layout=layout_of(level, superblock.layout),
        raid_disks=superblock.raid_disks,
        chunk_sectors=superblock.chunk_sectors,
        component_sectors=superblock.size,
    )
