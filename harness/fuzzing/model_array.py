"""An array to be fuzzed, by the arithmetic of the model; its contents tell where they belong."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

from harness.crash.pattern import Fill, write_content
from harness.fuzzing.payloads import page_checksum
from harness.fuzzing.site import Contents
from harness.ondisk.units import BLOCK_SECTORS, ArraySector, StripeSector
from harness.recovery.geometry import Geometry
from harness.recovery.write_out import parity_of

FIRST_WRITE = 0  # number of the write that, by its stamps, put the contents there


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelArray:
    """See `harness.fuzzing.site.FuzzedArray`; all sizes in sectors."""

    geometry: Geometry
    log_sectors: int
    room_sectors: int
    seed: int
    missing: frozenset[int]  # slots

    @property
    def level(self) -> int:
        """4, 5 or 6."""
        return int(self.geometry.level)

    @property
    def chunk_sectors(self) -> int:
        """Size of a chunk."""
        return self.geometry.chunk_sectors

    @property
    def array_sectors(self) -> int:
        """Size of the md device."""
        return self.geometry.array_sectors

    @property
    def member_sectors(self) -> int:
        """Size of each member's data area."""
        return self.geometry.member_sectors

    @property
    def ring_sectors(self) -> int:
        """Size of the log area, in whole blocks."""
        return self.log_sectors & ~(BLOCK_SECTORS - 1)

    @property
    def in_words(self) -> Sequence[str]:
        """What of it differs from state to state."""
        gone = f"without members {sorted(self.missing)}"
        return (f"log of {self.log_sectors} sectors", *([gone] if self.missing else []))

    def stripe_of(self, array_sector: int) -> int:
        """Return the sector of each member that goes with a sector of the array."""
        return self.geometry.place(ArraySector(array_sector)).sector

    def sectors_of(self, stripe: int) -> Sequence[int]:
        """Return the sectors of the array that lie at a sector of the members, by devices."""
        sector = StripeSector(stripe)
        found = (self.geometry.array_sector(slot, sector) for slot in self._slots)
        return [at for at in found if at is not None]

    def parity_of(self, stripe: int, contents: Contents) -> tuple[bytes, ...]:
        """Return P, or P and Q, of a stripe."""
        sector = StripeSector(stripe)
        row = self.geometry.row_at(sector)
        data = {}
        for device in row.data:
            at = self.geometry.array_sector(device, sector)
            assert at is not None
            data[device] = contents(at)
        parity = parity_of(self.geometry, row, data)
        return tuple(parity[slot] for slot in (row.pd_idx, row.qd_idx) if slot is not None)

    def contents(self, array_sector: int) -> bytes:
        """Return what the array holds there before the log is written."""
        return first_contents(array_sector)

    def checksum(self, page: bytes) -> int:
        """Return what a descriptor states of a page."""
        return page_checksum(self.seed, page)

    @property
    def _slots(self) -> range:
        return range(self.geometry.raid_disks)


@functools.lru_cache(maxsize=4096)
def first_contents(array_sector: int) -> bytes:
    """Return the page that every array to be fuzzed holds at a sector, made by its stamps."""
    return write_content(
        seed=0, write=FIRST_WRITE, sector=array_sector % 2**63, sectors=BLOCK_SECTORS,
        fill=Fill.PLAIN,  # so that a bundle of it is small
    )  # fmt: skip
