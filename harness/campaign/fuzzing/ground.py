"""The array as mdadm makes it, with contents that tell where they belong and guards around them.

Every state is this ground with a journal of its own: the log area anew, and the journal's
superblock with another tail and another size of the log.
"""

from __future__ import annotations

import functools
import random
from collections.abc import Mapping
from dataclasses import dataclass

from harness.crash.content import DiskContent
from harness.fuzzing.generator import any_journal
from harness.fuzzing.journal import Journal, pages_by_stripe
from harness.fuzzing.model_array import ModelArray, first_contents
from harness.md.shape import JOURNAL_NAME, MEMBER_OFFSET_SECTORS, Shape
from harness.ondisk.crc import uuid_checksum
from harness.ondisk.superblock import Superblock, bad_block_log, with_log
from harness.ondisk.units import BLOCK_BYTES, BLOCK_SECTORS, SECTOR_BYTES, StripeSector
from harness.verdict.predicted_state import superblocks_of

_LOGS = (160, 256, 391, 1000, 2048)  # sectors; else all that there is
_MARK_BYTES = 32  # of a guard's block, again and again: bundles become small
_WHOLE_LOG = 0.5  # share of the states
_ONE_MISSING, _TWO_MISSING = 0.12, 0.05  # likewise


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """What every state has in common."""

    shape: Shape
    contents: Mapping[str, DiskContent]
    superblocks: Mapping[str, Superblock]

    @property
    def journal(self) -> Superblock:
        """The journal's superblock, as mdadm and md made it."""
        return self.superblocks[JOURNAL_NAME]


@dataclass(frozen=True, slots=True, kw_only=True)
class FuzzedState:
    """One array with a journal at random."""

    number: int
    array: ModelArray
    journal: Journal
    contents: dict[str, DiskContent]  # of every disk
    there: tuple[str, ...]  # names of the disks that take part

    @property
    def on_disks_there(self) -> dict[str, DiskContent]:
        """The contents of those that take part."""
        return {name: self.contents[name] for name in self.there}


def ground_of(shape: Shape, made: Mapping[str, DiskContent]) -> Ground:
    """Return the ground that is made of what the disks held when mdadm's array was stopped."""
    superblocks = superblocks_of(made, shape.disk_sizes)
    array = _array(shape, superblocks[JOURNAL_NAME], superblocks[JOURNAL_NAME].data_size)
    contents = {}
    for index, (name, content) in enumerate(made.items()):
        whole = content.copy()
        _put_guards(whole, superblocks[name], index, shape.disk_sizes[name])
        contents[name] = whole
    for stripe in range(0, array.member_sectors, BLOCK_SECTORS):
        for slot, page in _stripe_pages(array, stripe, {}).items():
            _put_page(contents[shape.member_names[slot]], stripe, page)
    return Ground(shape=shape, contents=contents, superblocks=superblocks)


def fuzzed_state(ground: Ground, seed: int, number: int) -> FuzzedState:
    """Return state *number* of a campaign."""
    shape = ground.shape
    draw = random.Random(f"array {seed} {number}")
    whole = ground.journal.data_size - shape.guard_bytes // SECTOR_BYTES
    smaller = [sectors for sectors in _LOGS if sectors < whole]
    take_whole = draw.random() < _WHOLE_LOG or not smaller
    log_sectors = whole if take_whole else draw.choice(smaller)
    missing = frozenset(draw.sample(range(shape.members), _how_many_missing(draw, shape)))
    array = _array(shape, ground.journal, log_sectors, missing)
    journal = any_journal(number, seed, array, degraded=bool(missing))
    return state_with(ground, number, array, journal)


def state_with(ground: Ground, number: int, array: ModelArray, journal: Journal) -> FuzzedState:
    """Return the state that a journal makes of the ground."""
    shape = ground.shape
    contents = {name: content.copy() for name, content in ground.contents.items()}
    for stripe, known in pages_by_stripe(journal.on_members, array).items():
        for slot, page in _stripe_pages(array, stripe, known).items():
            _put_page(contents[shape.member_names[slot]], stripe, page)
    log = contents[JOURNAL_NAME]
    first = ground.journal.data_offset // BLOCK_SECTORS
    for block in range(array.ring_sectors // BLOCK_SECTORS):
        log.blocks.pop(first + block, None)
    for position, page in journal.blocks(array).items():
        log.blocks[first + position // BLOCK_SECTORS] = page
    raw = with_log(ground.journal, tail=journal.tail, data_size=array.log_sectors)
    log.write(ground.journal.at * SECTOR_BYTES, raw)
    gone = {shape.member_names[slot] for slot in array.missing}
    there = tuple(name for name in contents if name not in gone)
    return FuzzedState(number=number, array=array, journal=journal, contents=contents, there=there)


def _how_many_missing(draw: random.Random, shape: Shape) -> int:
    chance = draw.random()
    if chance < _TWO_MISSING:
        return shape.geometry.level.parities
    return 1 if chance < _TWO_MISSING + _ONE_MISSING else 0


def _array(
    shape: Shape, journal: Superblock, log_sectors: int, missing: frozenset[int] = frozenset()
) -> ModelArray:
    return ModelArray(
        geometry=shape.geometry, log_sectors=log_sectors,
        room_sectors=shape.member_disk_bytes // SECTOR_BYTES - MEMBER_OFFSET_SECTORS,
        seed=uuid_checksum(journal.set_uuid), missing=missing,
    )  # fmt: skip


def _stripe_pages(array: ModelArray, stripe: int, known: Mapping[int, bytes]) -> dict[int, bytes]:
    """Return every slot's page of a stripe; what is not *known* is what was there first."""

    def contents(at: int) -> bytes:
        return known[at] if at in known else first_contents(at)

    sector = StripeSector(stripe)
    row = array.geometry.row_at(sector)
    pages = {}
    for slot in row.data:
        at = array.geometry.array_sector(slot, sector)
        assert at is not None
        pages[slot] = contents(at)
    parities = (slot for slot in (row.pd_idx, row.qd_idx) if slot is not None)
    return pages | dict(zip(parities, array.parity_of(stripe, contents), strict=True))


def _put_page(content: DiskContent, stripe: int, page: bytes) -> None:
    content.blocks[(MEMBER_OFFSET_SECTORS + stripe) // BLOCK_SECTORS] = page


def _put_guards(content: DiskContent, superblock: Superblock, index: int, size_bytes: int) -> None:
    """Fill a disk with what is nowhere else, but for the superblock and the list of bad blocks."""
    first, sectors = bad_block_log(superblock)
    kept = {superblock.at // BLOCK_SECTORS}
    kept |= {sector // BLOCK_SECTORS for sector in range(first, first + sectors)}
    for block in range(size_bytes // BLOCK_BYTES):
        if block not in kept:
            content.blocks[block] = _guard(index, block)


@functools.cache
def _guard(index: int, block: int) -> bytes:
    mark = random.Random(f"guard {index} {block}").randbytes(_MARK_BYTES)
    return mark * (BLOCK_BYTES // _MARK_BYTES)
