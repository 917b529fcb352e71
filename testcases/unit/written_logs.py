"""Logs of the independent writer, given to recovery as it reads them."""

from __future__ import annotations

from collections.abc import Collection

from harness.ondisk.log import MetaBlock
from harness.ondisk.units import LogSector
from harness.recovery.era import NEWEST_ERA, Era
from harness.recovery.log import Log, LogEnd, ScannedMeta
from harness.recovery.scan import load_log, scan_log
from testcases.journal_writer import Ring

U = 0x2636F714  # checksum of the set_uuid 00 01 .. 0f, section 2.5
SEQ = 0x1000


def page(number: int) -> bytes:
    """Return a page that no other number has; 0 is the page of zeroes."""
    return number.to_bytes(4, "little") * 1024


def ring_of(size_sectors: int = 256) -> Ring:
    return Ring(size_sectors=size_sectors, seed=U)


def flip(ring: Ring, sector: int, byte: int = 0) -> None:
    """Damage one bit of the log."""
    ring.log[sector * 512 + byte] ^= 0x10


def log_of(
    ring: Ring,
    *,
    tail: int = 0,
    era: Era = NEWEST_ERA,
    parities: int = 1,
    data_size: int | None = None,
    unreadable: Collection[int] = (),
) -> Log:
    def read_blocks(position: LogSector, count: int) -> bytes:
        there = min(count, (len(ring.log) - position * 512) // 4096)
        bad = (number for number in range(there) if position + 8 * number in unreadable)
        return bytes(ring.log[position * 512 :][: next(bad, there) * 4096])

    return Log(
        read_blocks=read_blocks,
        data_size=ring.size_sectors if data_size is None else data_size,
        journal_tail=LogSector(tail),
        seed=ring.seed,
        parities=parities,
        era=era,
    )


def scan(log: Log) -> tuple[list[ScannedMeta], LogEnd]:
    """Follow a log whose tail is good to its end."""
    tail = load_log(log)
    assert isinstance(tail, MetaBlock), f"the tail is not good: {tail}"
    metas: list[ScannedMeta] = []
    generator = scan_log(log, tail)
    while True:
        try:
            metas.append(next(generator))
        except StopIteration as stop:
            return metas, stop.value
