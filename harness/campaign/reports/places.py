"""What lies at a byte of an array's disk, in words: of the members, and of the journal's ring."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from harness.ondisk.log import DataPayload, ParityPayload, placed_payloads
from harness.ondisk.superblock import SUPERBLOCK_BYTES, Superblock
from harness.ondisk.units import BLOCK_SECTORS, SECTOR_BYTES, ArraySector, LogSector, StripeSector
from harness.recovery.geometry import Geometry
from harness.recovery.log import ScannedMeta, ring_of
from harness.recovery.members import Array
from harness.verdict.blocks import describe_place

DATA, LOG = "data of array sector", "log sector"


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """An array's disks by the names of their images."""

    array: Array
    slots: Mapping[str, int]  # by disk
    superblocks: Mapping[str, Superblock]  # by disk
    logged: Mapping[LogSector, str] = field(default_factory=dict)  # see `logged_blocks`

    def __call__(self, disk: str, offset_bytes: int) -> str:
        """Say what lies there; nothing of a disk that is none of the array's."""
        kind, number = self.kind_at(disk, offset_bytes)
        if disk not in self.superblocks or number is None:
            return kind
        if kind == LOG:
            block = LogSector(number - number % BLOCK_SECTORS)
            words = self.logged.get(block, "")
            return f"log sector {block}{f', {words}' if words else ''}"
        geometry, superblock = self.array.geometry, self.superblocks[disk]
        sector = StripeSector(offset_bytes // SECTOR_BYTES - superblock.data_offset)
        chunk = sector // geometry.chunk_sectors
        return f"chunk {chunk}, {describe_place(geometry, self.slots[disk], sector)}"

    def kind_at(self, disk: str, offset_bytes: int) -> tuple[str, int | None]:
        """Return what kind of place it is, and which: array sector of data, stripe of P and Q,
        sector of the log; ``None``: there is but one, or it is none that the array uses.
        """
        if (superblock := self.superblocks.get(disk)) is None:
            return "", None
        at = superblock.at * SECTOR_BYTES
        if at <= offset_bytes < at + SUPERBLOCK_BYTES:
            return "md superblock", None
        sector = offset_bytes // SECTOR_BYTES - superblock.data_offset
        if superblock.is_journal:
            is_log = 0 <= sector < ring_of(superblock.data_size).size
            return (LOG, sector) if is_log else ("outside superblock and log", None)
        geometry = self.array.geometry
        if disk not in self.slots or not 0 <= sector < geometry.component_sectors:
            return "outside superblock and data", None
        row = geometry.row_at(StripeSector(sector))
        for kind, slot in (("P of stripe", row.pd_idx), ("Q of stripe", row.qd_idx)):
            if slot == self.slots[disk]:
                return kind, sector - sector % BLOCK_SECTORS
        return DATA, geometry.array_sector(self.slots[disk], StripeSector(sector))


def places_of(array: Array, logged: Mapping[LogSector, str]) -> Places:
    """Return the places of an array whose labels are paths of images."""
    return Places(
        array=array,
        slots={Path(label).stem: slot for slot, labels in array.members.items()
               for label in labels},
        superblocks={Path(label).stem: each for label, each in array.superblocks.items()},
        logged=logged,
    )  # fmt: skip


def logged_blocks(
    metas: Iterable[ScannedMeta], geometry: Geometry, ring_sectors: int
) -> dict[LogSector, str]:
    """Return what each block of the live log is, by its place in the ring."""
    found: dict[LogSector, str] = {}
    for scanned in metas:
        dropped = ", dropped" if scanned.dropped is not None else ""
        found[scanned.meta.position] = f"meta block seq {scanned.meta.seq}{dropped}"
        for payload, at in placed_payloads(scanned.meta, ring_sectors):
            match payload:
                case DataPayload(location=location):
                    stripe = geometry.place(ArraySector(location)).sector
                    found[at] = f"logged data of array sector {location} (stripe {stripe})"
                case ParityPayload(location=location):
                    found[at] = f"logged P of stripe {location}"
                    if geometry.level.parities > 1:
                        behind = LogSector((at + BLOCK_SECTORS) % ring_sectors)
                        found[behind] = f"logged Q of stripe {location}"
    return found
