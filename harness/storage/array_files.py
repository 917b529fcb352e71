"""An array that lies in image files: put together, and its journal readable block by block."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.errors import BadImage, BadInput, DamagedImage
from harness.ondisk.crc import uuid_checksum
from harness.ondisk.superblock import Superblock
from harness.ondisk.units import SECTOR_BYTES
from harness.recovery.era import Era
from harness.recovery.log import Log, UndefinedRecovery
from harness.recovery.members import Array, put_together
from harness.recovery.metawise import StripeCacheExhausted
from harness.recovery.plan import UnreadableTail
from harness.storage.images import opened_image, read_superblocks
from harness.storage.read_ahead import ReadAhead
from harness.storage.watching import Watch, unwatched


@dataclass(frozen=True, slots=True)
class ArrayFiles:
    """The images of one array; labels of *array* are the keys of *paths*."""

    array: Array
    paths: Mapping[str, Path]
    journal_label: str
    watch: Watch = unwatched  # told how far the log is read

    @property
    def journal(self) -> Superblock:
        """The journal's superblock."""
        return self.array.superblocks[self.journal_label]


def read_journaled(paths: Sequence[Path]) -> ArrayFiles:
    """Put together what is there of an array: its journal at least, members or not.

    Raises:
        BadImage: no journal among the images, or see ``read_superblocks``, ``put_together``.
    """
    if not paths:
        raise BadInput("no image is given; give the journal's image at least")
    array = put_together(read_superblocks(paths))
    if array.journal is None:
        given = ", ".join(str(path) for path in paths)
        raise BadImage(f"{given}: none of these is a journal; give the journal's image as well")
    return ArrayFiles(array, {str(path): path for path in paths}, array.journal)


def read_array(paths: Sequence[Path], *, degraded: bool = False) -> ArrayFiles:
    """Put the images of one array together, journal included.

    Args:
        paths: members and journal in any order.
        degraded: go on without active members that were not given.

    Raises:
        BadImage, BadInput: see `require_usable`, ``read_superblocks`` and ``put_together``.
    """
    if not paths:
        raise BadInput("no image is given; give the images of all members and of the journal")
    array = put_together(read_superblocks(paths))
    label = require_usable(array, degraded=degraded)
    return ArrayFiles(array, {str(path): path for path in paths}, label)


def require_usable(array: Array, *, degraded: bool) -> str:
    """Return the journal's label, if the array can be recovered with what is there.

    Raises:
        BadImage: no journal feature, no journal, or too few members; says which are missing.
    """
    if not array.has_journal_feature:
        raise BadImage(f"{array.freshest}: its array has no write journal")
    if array.missing and not degraded:
        slots = ", ".join(str(slot) for slot in array.missing)
        raise BadImage(f"member {slots} of the array is missing; give its image, or say --degraded")
    parities = array.geometry.level.parities
    gone = len(array.missing) + len(array.absent)
    if gone > parities:
        raise BadImage(
            f"{gone} members are missing, RAID-{array.geometry.level:d} stands {parities};"
            " give more of them"
        )
    if array.journal is None:
        raise BadImage("the journal's image is missing; give it with the members")
    if (why := array.refused_because({*array.missing, *array.absent})) is not None:
        raise BadImage(
            f"{array.freshest}: the kernel would not start this array: {why};"
            " `mdjournal check` says more"
        )
    return array.journal


@contextlib.contextmanager
def opened_log(files: ArrayFiles, era: Era) -> Iterator[Log]:
    """Give the journal's log, to be read from its image while the block lasts."""
    superblock = files.journal
    start = superblock.data_offset * SECTOR_BYTES
    ring_bytes = superblock.data_size * SECTOR_BYTES

    def watch(position: int) -> None:
        files.watch("reading the log", position, ring_bytes)

    with opened_image(files.paths[files.journal_label]) as descriptor:
        yield Log(
            read_blocks=ReadAhead(descriptor, start, watch).read_blocks,
            data_size=superblock.data_size,
            journal_tail=superblock.journal_tail,
            seed=uuid_checksum(superblock.set_uuid),
            parities=files.array.geometry.level.parities,
            era=era,
        )


def unreadable_tail(label: str, unreadable: Exception, era: Era) -> DamagedImage:
    """Return the error that says what the kernel does where the log's first block is missing."""
    does = "start the array without its log" if era.starts_without_log else "refuse to start it"
    return DamagedImage(f"{label}: {unreadable}; the kernel would {does}")


@contextlib.contextmanager
def refusing_undefined(files: ArrayFiles, era: Era) -> Iterator[None]:
    """Turn what has no outcome to replay into one clear error about the journal."""
    label = files.journal_label
    try:
        yield
    except UnreadableTail as unreadable:
        raise unreadable_tail(label, unreadable, era) from unreadable
    except StripeCacheExhausted as exhausted:
        raise BadImage(f"{label}: {exhausted}; the kernel would give up") from exhausted
    except UndefinedRecovery as undefined:
        raise BadImage(f"{label}: era {era.name}: {undefined}") from undefined
