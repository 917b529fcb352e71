"""Smaller states of an array's disks: a shorter log, and fewer blocks of the members."""

from __future__ import annotations

import bisect
from collections.abc import Callable, Mapping, Sequence

from harness.campaign.reproducing.bundle import Bundle
from harness.crash.content import DiskContent
from harness.crash.history import BLOCK_BYTES
from harness.crash.shrink import minimise
from harness.errors import BadImage
from harness.md.shape import JOURNAL_NAME
from harness.ondisk.superblock import SUPERBLOCK_BYTES, Superblock, bad_block_log, with_log
from harness.ondisk.units import BLOCK_SECTORS, SECTOR_BYTES
from harness.recovery.era import Era
from harness.recovery.log import ScannedMeta, UndefinedRecovery
from harness.recovery.plan import UnreadableTail, follow_log
from harness.storage.bundle_file import DiskImage
from harness.verdict.predicted_state import plan_of_log, superblocks_of

Images = Mapping[str, DiskImage]
StillDoes = Callable[[Images, str], bool]
_PIECES = 64  # of the members' blocks, at most: each costs a recovery


def smaller_states(bundle: Bundle, era: Era, still_does: StillDoes) -> None:
    """Try smaller disks; whoever judges keeps the last that still did.

    Args:
        bundle: with the images.
        era: of the kernel that recovers.
        still_does: whether images are still red; with how large they are, in words.
    """
    images = _shorter_log(bundle, dict(bundle.images), era, still_does)
    _fewer_blocks(bundle, images, still_does)


def metas_in(bundle: Bundle, images: Images, era: Era) -> list[ScannedMeta]:
    """Return the meta blocks that recovery goes through; none where that cannot be told."""
    contents = {name: images[name].content for name in bundle.there}
    try:
        _, log = plan_of_log(contents, bundle.shape.disk_sizes, era)
        superblock = superblocks_of(contents, bundle.shape.disk_sizes)[JOURNAL_NAME]
        assert superblock.is_journal
        return list(follow_log(log, bundle.shape.geometry))
    except (UndefinedRecovery, UnreadableTail, BadImage, KeyError):
        return []


def _shorter_log(bundle: Bundle, images: dict[str, DiskImage], era: Era,
                 still_does: StillDoes) -> dict[str, DiskImage]:  # fmt: skip
    metas = metas_in(bundle, images, era)
    if not metas:
        return images

    def does(first: int, end: int) -> bool:
        candidate = _with_metas(bundle, images, metas, first, end)
        return still_does(candidate, f"{end - first} of {len(metas)} meta blocks")

    # Whoever has the bug with fewer meta blocks has it with more: so is it nearly always.
    end = bisect.bisect_left(range(1, len(metas)), 1, key=lambda n: int(does(0, n))) + 1
    first = bisect.bisect_right(range(1, end), 0, key=lambda n: int(not does(n, end)))
    best = _with_metas(bundle, images, metas, first, end)
    return best if (first, end) != (0, len(metas)) and still_does(best, "fewest") else images


def _with_metas(
    bundle: Bundle, images: Images, metas: Sequence[ScannedMeta], first: int, end: int
) -> dict[str, DiskImage]:
    """Return the disks with a log from meta block *first* up to *end*, and zeroes for the rest."""
    journal = images[JOURNAL_NAME]
    contents = {JOURNAL_NAME: journal.content}
    superblock = superblocks_of(contents, bundle.shape.disk_sizes)[JOURNAL_NAME]
    content = DiskContent()
    ring = superblock.data_size // BLOCK_SECTORS
    origin = superblock.data_offset // BLOCK_SECTORS
    kept = {
        origin + (meta.meta.position // BLOCK_SECTORS + number) % ring
        for meta in metas[first:end]
        for number in range(meta.log_sectors // BLOCK_SECTORS)
    }
    for number, block in journal.content.blocks.items():
        if number in kept or not origin <= number < origin + ring:
            content.blocks[number] = block
    raw = with_log(superblock, tail=metas[first].meta.position, data_size=superblock.data_size)
    content.write(superblock.at * SECTOR_BYTES, raw)
    return {**images, JOURNAL_NAME: DiskImage(size_bytes=journal.size_bytes, content=content)}


def _fewer_blocks(bundle: Bundle, images: Images, still_does: StillDoes) -> None:
    """Clear what of the members' blocks it does not take, piece by piece."""
    superblocks = superblocks_of(
        {name: image.content for name, image in images.items()}, bundle.shape.disk_sizes
    )
    places = [
        (name, number)
        for name, image in images.items()
        if name != JOURNAL_NAME
        for number in sorted(image.content.blocks)
        if number not in _metadata(superblocks.get(name))
    ]
    size = max(1, -(-len(places) // _PIECES))
    pieces = [places[at : at + size] for at in range(0, len(places), size)]

    def does(kept: Sequence[list[tuple[str, int]]]) -> bool:
        wanted = {place for piece in kept for place in piece}
        dropped = set(places) - wanted
        candidate = {name: _without(image, name, dropped) for name, image in images.items()}
        return still_does(candidate, f"{len(wanted)} of {len(places)} blocks of the members")

    if pieces:
        minimise(pieces, does)


def _metadata(superblock: Superblock | None) -> frozenset[int]:
    """Return the blocks of a disk that md itself lives by."""
    if superblock is None:
        return frozenset()
    first, sectors = bad_block_log(superblock)
    own = range(superblock.at // BLOCK_SECTORS,
                superblock.at // BLOCK_SECTORS + SUPERBLOCK_BYTES // BLOCK_BYTES)  # fmt: skip
    bad = range(first // BLOCK_SECTORS, -(-(first + sectors) // BLOCK_SECTORS))
    return frozenset((*own, *bad))


def _without(image: DiskImage, name: str, dropped: set[tuple[str, int]]) -> DiskImage:
    blocks = {n: b for n, b in image.content.blocks.items() if (name, n) not in dropped}
    return DiskImage(size_bytes=image.size_bytes, content=DiskContent(blocks))
