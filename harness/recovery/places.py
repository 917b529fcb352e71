"""A geometry for millions of questions: the rows of its layout are worked out once."""

from __future__ import annotations

from harness.ondisk.units import ArraySector, StripeSector
from harness.recovery.geometry import Geometry, Place
from harness.recovery.layout import Row


class Places(Geometry):
    """A geometry that remembers its rows, for they are asked for with each page."""

    __slots__ = ("_across", "_rows", "_turns")
    _across: int
    _rows: dict[int, Row]
    _turns: int

    def __init__(self, geometry: Geometry) -> None:
        super().__init__(
            layout=geometry.layout, raid_disks=geometry.raid_disks,
            chunk_sectors=geometry.chunk_sectors, component_sectors=geometry.component_sectors,
        )  # fmt: skip
        object.__setattr__(self, "_across", geometry.data_disks)
        object.__setattr__(self, "_rows", {})
        # Every layout repeats after n rows, or after n - 1 where Q has a disk of its own.
        object.__setattr__(self, "_turns", geometry.raid_disks * (geometry.raid_disks - 1))

    def row_at(self, sector: StripeSector) -> Row:
        """Return what `Geometry.row_at` does."""
        return self._row(sector // self.chunk_sectors)

    def place(self, sector: ArraySector) -> Place:
        """Return what `Geometry.place` does."""
        chunk_sectors = self.chunk_sectors
        chunk, offset = divmod(sector, chunk_sectors)
        number, k = divmod(chunk, self._across)
        row = self._rows.get(number % self._turns) or self._row(number)
        on_member = StripeSector(number * chunk_sectors + offset)
        return Place(row.data[k], on_member, row.pd_idx, row.qd_idx)

    def _row(self, number: int) -> Row:
        turn = number % self._turns
        if turn not in self._rows:
            self._rows[turn] = self.layout.row(turn, self.raid_disks)
        return self._rows[turn]
