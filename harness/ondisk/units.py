"""Units of the format, so that a sector of one origin is never taken for a sector of another.

md counts from four origins; each has a type here. All are 512-byte sectors
(format document, sections 1.1, 2.1 and 5.1).
"""

from __future__ import annotations

from typing import NewType

DeviceSector = NewType("DeviceSector", int)  # from the first byte of a component device
LogSector = NewType("LogSector", int)  # from the journal's data_offset, inside the ring
ArraySector = NewType("ArraySector", int)  # of the md device itself
StripeSector = NewType("StripeSector", int)  # inside each member, from its data_offset

SECTOR_BYTES = 512
BLOCK_BYTES = 4096  # the journal needs PAGE_SIZE 4096 (r5l_init_log) and logs whole pages
BLOCK_SECTORS = BLOCK_BYTES // SECTOR_BYTES
