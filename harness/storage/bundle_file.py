"""Files of a reproducer bundle in one compressed tar, read as something that a stranger sent.

A plain ``tar xJf`` unpacks it: images are sparse members in the pax format 1.0 that GNU tar and
Python's ``tarfile`` know (GNU tar manual, "PAX Format, Version 1.0"). Reading trusts nothing: no
name but those of a bundle, no links, no devices, nothing twice, and bounds on every size.
"""

from __future__ import annotations

import contextlib
import io
import lzma
import re
import tarfile
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, BinaryIO

from harness.crash.content import DiskContent
from harness.crash.history import BLOCK_BYTES
from harness.errors import BadInput
from harness.storage.atomic import replacing
from harness.storage.images import naming_full_disk

SUFFIX = ".mdjr"
MOST_FILES = 64
MOST_TEXT_BYTES = 16 << 20  # of a file that is no image
MOST_TRACE_BYTES = 256 << 20
MOST_IMAGE_BYTES = 1 << 44  # as a disk's size; sparse
MOST_CONTENT_BYTES = 512 << 20  # of all images together, holes left out
_MOST_FILES_BYTES = MOST_TRACE_BYTES + 2 * MOST_TEXT_BYTES  # of all that are no images
_MOST_UNPACKED_BYTES = 1 << 30  # of the whole tar
_MOST_READ_BYTES = 1 << 20  # in one go
# Of headers, which tarfile parses: some in time that grows with the square of their length, others
# into lists many times as large. An honest map of extents is read by 512 bytes at a time.
_MOST_HEADER_BYTES = 1024
_MOST_LONG_HEADERS = 2 * MOST_FILES
_MOST_HEADERS_BYTES = 4 << 20  # of all together
_IN_MEMORY_BYTES = 64 << 20
_MEMORY_BYTES = 256 << 20  # of the decompressor
_NAME = re.compile(r"[a-z][a-z0-9-]{0,40}\.(?:json|txt|mdjtrace)")
_IMAGE = re.compile(r"images/([a-z]+[0-9]{0,2})\.img")
# What tarfile ends with over bytes that are no tar of its kind.
_WRONG = (EOFError, ValueError, OverflowError, RecursionError, LookupError, TypeError)
_SPARSE_FOLDER = "GNUSparseFile.0"
_TRACE = ".mdjtrace"


@dataclass(frozen=True, slots=True, kw_only=True)
class DiskImage:
    """A disk of a bundle."""

    size_bytes: int
    content: DiskContent


@dataclass(frozen=True, slots=True, kw_only=True)
class BundleFiles:
    """What a bundle's file holds: small files by name, and disks by theirs."""

    files: Mapping[str, bytes]
    images: Mapping[str, DiskImage]


def write_bundle(path: Path, bundle: BundleFiles) -> None:
    """Write a bundle's file, whole or not at all.

    Raises:
        BadInput: a file of it is larger than a reader takes.
        Unavailable: no space left.
    """
    for name, data in bundle.files.items():
        if len(data) > _most_of(name):
            raise BadInput(
                f"{path}: {name} has {len(data) >> 20} MiB, a bundle takes"
                f" {_most_of(name) >> 20}; make the run shorter (--steps)"
            )
    with naming_full_disk(path), replacing(path) as temporary:
        # The largest dictionary: a trace and the images that it leads to hold the same blocks.
        filters = [{"id": lzma.FILTER_LZMA2, "preset": 6, "dict_size": 64 << 20}]
        with (
            lzma.open(temporary, "wb", format=lzma.FORMAT_XZ, filters=filters) as packed,
            tarfile.open(fileobj=packed, mode="w|", format=tarfile.PAX_FORMAT) as tar,
        ):
            for name, data in bundle.files.items():
                _add(tar, tarfile.TarInfo(name), data)
            for name, image in bundle.images.items():
                _add_sparse(tar, f"images/{name}.img", image)


def _add(tar: tarfile.TarFile, info: tarfile.TarInfo, data: bytes) -> None:
    info.size = len(data)
    info.mode = 0o644
    tar.addfile(info, io.BytesIO(data))


def _add_sparse(tar: tarfile.TarFile, name: str, image: DiskImage) -> None:
    extents = [*_extents(image.content), (image.size_bytes, b"")]  # the last: how long it is
    numbers = [len(extents), *(n for at, data in extents for n in (at, len(data)))]
    head = "".join(f"{number}\n" for number in numbers).encode()
    head += bytes(-len(head) % tarfile.BLOCKSIZE)
    info = tarfile.TarInfo(f"{_SPARSE_FOLDER}/{name}")
    info.pax_headers = {
        "GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": name,
        "GNU.sparse.realsize": str(image.size_bytes),
    }  # fmt: skip
    _add(tar, info, head + b"".join(data for _, data in extents))


def _extents(content: DiskContent) -> Iterator[tuple[int, bytes]]:
    """Yield (offset, bytes) of what is not zeroes, neighbours together."""
    start, run = 0, bytearray()
    for block, data in sorted(content.blocks.items()):
        if not any(data):
            continue
        at = block * BLOCK_BYTES
        if run and at != start + len(run):
            yield start, bytes(run)
            run = bytearray()
        start = start if run else at
        run += data
    if run:
        yield start, bytes(run)


def read_bundle(path: Path) -> BundleFiles:
    """Read a bundle's file; nothing is written anywhere.

    Raises:
        BadInput: it is none, is damaged, or holds what no bundle does; the message names it.
    """
    files: dict[str, bytes] = {}
    images: dict[str, DiskImage] = {}
    left = MOST_CONTENT_BYTES
    try:
        if path.exists() and not (path.is_file() or path.is_dir()):
            raise BadInput("it is no regular file")
        with path.open("rb") as file, _opened_tar(file) as (tar, bounded):
            while (info := bounded.header_of(tar)) is not None:
                if len(files) + len(images) >= MOST_FILES:
                    raise BadInput(f"more than {MOST_FILES} files in it")
                if (found := _IMAGE.fullmatch(info.name)) is not None:
                    _require_new(found[1], images, info)
                    image, held = _read_image(tar, info, left)
                    left -= held
                    images[found[1]] = image
                else:
                    _require_new(info.name, files, info)
                    files[info.name] = _read_file(tar, info)
                    if sum(map(len, files.values())) > _MOST_FILES_BYTES:
                        raise BadInput(f"its files have more than {_MOST_FILES_BYTES >> 20} MiB")
    except OSError as error:
        raise BadInput(f"{path}: cannot be read: {error.strerror or error}") from error
    except (tarfile.TarError, lzma.LZMAError, *_WRONG) as error:
        raise BadInput(f"{path}: is no bundle, or a damaged one: {str(error)[:200]}") from error
    except BadInput as error:
        raise BadInput(f"{path}: is no bundle of ours: {error}") from error
    return BundleFiles(files=files, images=images)


@contextlib.contextmanager
def _opened_tar(file: BinaryIO) -> Iterator[tuple[tarfile.TarFile, _Bounded]]:
    with tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY_BYTES) as unpacked:
        for data in _unpacked(file):
            unpacked.write(data)
        unpacked.seek(0)
        bounded = _Bounded(unpacked)
        with tarfile.open(fileobj=bounded, mode="r:") as tar:  # type: ignore[call-overload]
            yield tar, bounded


def _unpacked(file: BinaryIO) -> Iterator[bytes]:
    """Yield what an xz file unpacks to, in bounds."""
    unpacker = lzma.LZMADecompressor(format=lzma.FORMAT_XZ, memlimit=_MEMORY_BYTES)
    left = _MOST_UNPACKED_BYTES
    while not unpacker.eof:
        packed = file.read(1 << 16) if unpacker.needs_input else b""
        if unpacker.needs_input and not packed:
            raise EOFError("it ends too early")
        data = unpacker.decompress(packed, max_length=1 << 20)
        left -= len(data)
        if left < 0:
            raise ValueError(f"unpacks to more than {_MOST_UNPACKED_BYTES >> 20} MiB")
        yield data


class _Bounded:
    """A file that gives no more at once, and of headers in all, than any honest reader asks for."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.seek, self.tell, self.seekable = file.seek, file.tell, lambda: True
        self._in_header = True  # so tarfile begins
        self._left = _MOST_HEADERS_BYTES
        self._long_left = _MOST_LONG_HEADERS

    def header_of(self, tar: tarfile.TarFile) -> tarfile.TarInfo | None:
        """Return the next header, in the bounds of headers."""
        self._in_header = True
        try:
            return tar.next()
        finally:
            self._in_header = False

    def read(self, size: int) -> bytes:
        """Read; a header that tells of more than an honest one has is a lie."""
        if not 0 <= size <= (_MOST_HEADER_BYTES if self._in_header else _MOST_READ_BYTES):
            raise ValueError(f"a header of {size} bytes")
        if self._in_header:
            self._left -= size
            self._long_left -= size > tarfile.BLOCKSIZE
            if self._left < 0 or self._long_left < 0:
                raise ValueError("its headers are larger than any bundle's")
        return self._file.read(size)


def _require_new(name: str, known: Mapping[str, object], info: tarfile.TarInfo) -> None:
    if not (_IMAGE.fullmatch(info.name) or _NAME.fullmatch(info.name)):
        raise BadInput(f"it has a file {info.name[:60]!r}")
    if not (info.isreg() or info.sparse is not None) or info.issym() or info.islnk():
        raise BadInput(f"{info.name} is no regular file")
    if name in known:
        raise BadInput(f"{info.name} is in it twice")


def _most_of(name: str) -> int:
    return MOST_TRACE_BYTES if name.endswith(_TRACE) else MOST_TEXT_BYTES


def _read_file(tar: tarfile.TarFile, info: tarfile.TarInfo) -> bytes:
    most = _most_of(info.name)
    if info.size > most or info.sparse is not None:
        raise BadInput(f"{info.name} has {info.size} bytes, at most {most} can be")
    file = tar.extractfile(info)
    assert file is not None  # a regular file
    with file:
        return b"".join(iter(lambda: file.read(_MOST_READ_BYTES), b""))


def _read_image(tar: tarfile.TarFile, info: tarfile.TarInfo, left: int) -> tuple[DiskImage, int]:
    """Return a disk, and how many bytes it holds."""
    if not 0 < info.size <= MOST_IMAGE_BYTES or info.size % 512:
        raise BadInput(f"{info.name} has {info.size} bytes, which no disk here has")
    content, held = DiskContent(), 0
    file = tar.extractfile(info)
    assert file is not None
    with file:
        end = 0
        extents: list[tuple[int, int]] = info.sparse or [(0, info.size)]  # type: ignore[assignment]
        for offset, length in extents:
            held += length
            if offset < end or length < 0 or offset + length > info.size:
                raise BadInput(f"{info.name}: its map of extents is none")
            if held > left:
                raise BadInput(f"its images hold more than {MOST_CONTENT_BYTES >> 20} MiB")
            if held > tar.offset - info.offset_data:  # behind it the next file begins
                raise BadInput(f"{info.name}: its map tells of more than there is")
            end = offset + length
            _read_extent(file, offset, length, content)
    return DiskImage(size_bytes=info.size, content=content), held


def _read_extent(file: IO[bytes], offset: int, length: int, content: DiskContent) -> None:
    file.seek(offset)
    at = offset
    while at < offset + length:
        data = file.read(min(1 << 20, offset + length - at))
        if not data:
            raise EOFError("an image ends too early")
        content.write(at, data)
        at += len(data)
