"""Image files: opened safely, read at their superblock, made from crash states, kept sparse."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from harness.crash.content import DiskContent
from harness.crash.history import BLOCK_BYTES
from harness.crash.states import Survivor, surviving_bytes
from harness.errors import BadImage, BadInput, DamagedImage, Unavailable
from harness.ondisk.superblock import (
    SUPERBLOCK_BYTES,
    Superblock,
    has_superblock_magic,
    parse_superblock,
    superblock_places,
)
from harness.ondisk.units import SECTOR_BYTES
from harness.storage.in_use import how_to_copy
from harness.storage.watching import Watch, unwatched

_COPY_BYTES = 1 << 20
_FICLONE = 0x40049409  # linux/fs.h: share a file's extents


@contextlib.contextmanager
def opened_image(path: Path, *, writable: bool = False) -> Iterator[int]:
    """Give a descriptor of an image file.

    Raises:
        BadImage: no such file, not a regular file, empty, or not a whole number of sectors.
    """
    try:
        status = path.stat()  # before it is opened: a fifo would wait, a tape would wind
        if not stat.S_ISREG(status.st_mode):
            how = "is no regular file; copy it into a file (dd) and give that"
            if stat.S_ISBLK(status.st_mode):
                how = how_to_copy(status.st_rdev)
            raise BadImage(f"{path}: {how}")
        if status.st_size == 0:
            raise DamagedImage(
                f"{path}: is empty (0 bytes); an image of a member or journal is wanted"
            )
        descriptor = os.open(path, os.O_RDWR if writable else os.O_RDONLY)
    except OSError as error:
        raise BadImage(f"{path}: cannot be opened: {error.strerror}") from error
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def read_superblock(path: Path) -> Superblock:
    """Read an image's md superblock, of whichever 1.x version.

    Raises:
        DamagedImage: it has none, or a damaged one; the message names file and reason.
        BadImage: see `opened_image`.
    """
    with opened_image(path) as descriptor:
        sectors, rest = divmod(os.fstat(descriptor).st_size, SECTOR_BYTES)
        for minor_version, at in superblock_places(sectors):
            raw = os.pread(descriptor, SUPERBLOCK_BYTES, at * SECTOR_BYTES)
            raw = raw.ljust(SUPERBLOCK_BYTES, b"\0")
            if not has_superblock_magic(raw):
                continue
            try:
                superblock = parse_superblock(
                    raw, at=at, minor_version=minor_version, device_sectors=sectors
                )
            except BadImage as bad:
                raise DamagedImage(f"{path}: {bad}") from bad
            if rest:
                raise DamagedImage(
                    f"{path}: ends {rest} bytes into a sector, which no device does; copy it again"
                )
            return superblock
    raise DamagedImage(
        f"{path}: no md superblock at its 1.0, 1.1 or 1.2 place; is it a member image?"
    )


def read_superblocks(
    paths: Sequence[Path], damaged: dict[str, DamagedImage] | None = None
) -> dict[str, Superblock]:
    """Read the superblock of each image; the labels are the paths as given.

    Args:
        paths: the images.
        damaged: if given, it gets those that cannot be used, which are otherwise an error. Some
            image must be left.

    Raises:
        BadInput: the same file twice.
        DamagedImage, BadImage: see `read_superblock`.
    """
    found: dict[str, Superblock] = {}
    left_out: dict[str, DamagedImage] = {} if damaged is None else damaged
    for path in paths:
        if str(path) in found or str(path) in left_out:
            raise BadInput(f"{path}: is given twice")
        try:
            found[str(path)] = read_superblock(path)
        except DamagedImage as error:
            left_out[str(path)] = error
            if damaged is None:
                raise
    if left_out and not found:
        raise next(iter(left_out.values()))
    return found


def reading(descriptors: Mapping[str, int]) -> Callable[[str, int, int], bytes]:
    """Return a function that reads images by their labels."""

    def read(label: str, offset: int, length: int) -> bytes:
        return os.pread(descriptors[label], length, offset)

    return read


def data_extents(descriptor: int, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Yield (offset, length) in bytes of what a sparse file holds between *start* and *end*."""
    position = start
    while position < end:
        try:
            begin = os.lseek(descriptor, position, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:
                return
            raise
        if begin >= end:
            return
        position = min(os.lseek(descriptor, begin, os.SEEK_HOLE), end)
        yield begin, position - begin


def merge_extents(extents: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return (offset, length) ranges sorted, those that touch or overlap made one."""
    merged: list[tuple[int, int]] = []
    for offset, length in sorted(extents):
        if merged and offset <= merged[-1][0] + merged[-1][1]:
            start, so_far = merged[-1]
            merged[-1] = (start, max(so_far, offset + length - start))
        else:
            merged.append((offset, length))
    return merged


def copy_sparse(source: Path, target: Path, watch: Watch = unwatched) -> None:
    """Copy a file, holes as holes; extents are shared where the file system can.

    Args:
        source: the file.
        target: made, or overwritten.
        watch: told how far that is.

    Raises:
        Unavailable: no space left.
    """
    with (
        opened_image(source) as reading,
        naming_full_disk(target),
        target.open("wb") as writing,
    ):
        words = f"copying {source.name}"
        try:
            fcntl.ioctl(writing.fileno(), _FICLONE, reading)
        except OSError:
            _copy_extents(reading, writing.fileno(), lambda at, size: watch(words, at, size))


def create_image(path: Path, size_bytes: int) -> None:
    """Make an image of zeroes that takes no space."""
    with naming_full_disk(path), path.open("xb") as file:
        file.truncate(size_bytes)


def write_state(path: Path, size_bytes: int, survivors: Sequence[Survivor]) -> None:
    """Make the image of one disk as a crash state has it, from an empty disk on."""
    create_image(path, size_bytes)
    with opened_image(path, writable=True) as descriptor, naming_full_disk(path):
        for survivor in survivors:
            for offset, data in surviving_bytes(survivor):
                if isinstance(data, int):
                    _write_zeroes(descriptor, offset, data)
                else:
                    os.pwrite(descriptor, data, offset)


def write_content(path: Path, content: DiskContent, size_bytes: int) -> None:
    """Write a disk's content as a sparse image."""
    create_image(path, size_bytes)
    with opened_image(path, writable=True) as descriptor, naming_full_disk(path):
        for block, data in sorted(content.blocks.items()):
            if any(data):
                os.pwrite(descriptor, data, block * BLOCK_BYTES)


def _write_zeroes(descriptor: int, offset: int, length: int) -> None:
    """Clear what of a range holds data; its holes stay holes."""
    for start, size in list(data_extents(descriptor, offset, offset + length)):
        for at in range(start, start + size, _COPY_BYTES):
            os.pwrite(descriptor, bytes(min(_COPY_BYTES, start + size - at)), at)


@contextlib.contextmanager
def naming_full_disk(place: Path) -> Iterator[None]:
    """Turn a full disk, met while writing *place*, into one clear error."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise Unavailable(f"{place}: no space left on that file system; free some") from error
        raise


def _copy_extents(reading: int, writing: int, watch: Callable[[int, int], None]) -> None:
    size = os.fstat(reading).st_size
    os.ftruncate(writing, size)
    for start, length in data_extents(reading, 0, size):
        position, end = start, start + length
        while position < end:
            chunk = os.pread(reading, min(_COPY_BYTES, end - position), position)
            os.pwrite(writing, chunk, position)
            position += len(chunk)
            watch(position, size)
