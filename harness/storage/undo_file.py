"""Undo files: what image files held before they were changed in place.

File format, version 1, numbers little-endian: ``MDJUNDO1``; u32 length of a JSON text, that text
(``{"files": [{"path", "size_bytes"}, ...]}``), u32 CRC-32 of it; then records: u32 CRC-32 of what
follows, u16 file (its index), u64 offset, u32 length, the old bytes. The last record has file
65535, length 0, and the number of records before it as its offset: without it the file is not
whole, and then nothing was changed yet.
"""

from __future__ import annotations

import contextlib
import json
import os
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from harness.errors import BadInput
from harness.storage.images import naming_full_disk, opened_image
from harness.storage.in_use import require_not_in_use

_MAGIC = b"MDJUNDO1"
_LENGTH = struct.Struct("<I")
_CRC = struct.Struct("<I")
_RECORD = struct.Struct("<HQI")  # file, offset, length
_LAST = 0xFFFF
_MOST_BYTES = 1 << 20  # of one record
_MOST_HEADER_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class SavedFile:
    """An image as it was called and how large it was."""

    path: Path
    size_bytes: int


@dataclass(frozen=True, slots=True)
class SavedBytes:
    """Bytes that an image held."""

    file: int
    offset: int
    data: bytes


class UndoWriter:
    """Writes an undo file under a temporary name; `commit` gives it its own, synced."""

    def __init__(self, path: Path, files: list[SavedFile]) -> None:
        """Begin the file.

        Raises:
            BadInput: *path* is there already, or cannot be written.
            Unavailable: no space left, now or in `save` and `commit`.
        """
        self._path = path
        self._temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        self._count = 0
        if path.exists() or path.is_symlink():
            raise BadInput(
                f"{path}: an undo file is there already; undo it with `replay --undo {path}`,"
                " or name another with --undo-file"
            )
        try:
            self._file: BinaryIO = self._temporary.open("xb")
        except OSError as error:
            raise BadInput(f"{path}: the undo file cannot be written: {error.strerror}") from error
        names = [{"path": str(f.path.absolute()), "size_bytes": f.size_bytes} for f in files]
        text = json.dumps({"files": names}).encode()
        try:
            self._write(_MAGIC + _LENGTH.pack(len(text)) + text + _CRC.pack(zlib.crc32(text)))
        except BaseException:
            self.discard()
            raise

    def save(self, file: int, offset: int, data: bytes) -> None:
        """Add what a file held at *offset*."""
        self._add(file, offset, data)
        self._count += 1

    def commit(self) -> None:
        """End the file and bring it onto the medium; only then may anything be changed."""
        self._add(_LAST, self._count, b"")
        with naming_full_disk(self._path):
            self._file.flush()
            os.fsync(self._file.fileno())
        self._file.close()
        self._temporary.rename(self._path)
        sync_folder(self._path.parent)

    def discard(self) -> None:
        """Leave nothing behind of a file that was not committed."""
        with contextlib.suppress(OSError):  # on a full disk it writes what it held, and fails again
            self._file.close()
        self._temporary.unlink(missing_ok=True)

    def _add(self, file: int, offset: int, data: bytes) -> None:
        body = _RECORD.pack(file, offset, len(data)) + data
        self._write(_CRC.pack(zlib.crc32(body)) + body)

    def _write(self, content: bytes) -> None:
        with naming_full_disk(self._path):
            self._file.write(content)


def sync_folder(folder: Path) -> None:
    """Bring a folder's entries onto the medium."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_undo(path: Path) -> tuple[list[SavedFile], int]:
    """Check a whole undo file; return the images that it is about and how many records it has.

    Raises:
        BadInput: no undo file, or one that is not whole; the message says what follows from that.
    """
    with _opened(path) as file:
        files = _read_header(path, file)
        count = 0
        for saved in _records(path, file):
            if saved.file >= len(files):
                raise BadInput(f"{path}: damaged: a record is about file {saved.file}")
            count += 1
    return files, count


def saved_bytes(path: Path) -> Iterator[SavedBytes]:
    """Yield the records of an undo file, one at a time."""
    with _opened(path) as file:
        _read_header(path, file)
        yield from _records(path, file)


def apply_undo(path: Path) -> int:
    """Put back what an undo file has, and bring it onto the medium; return how many records.

    It can be repeated, and so it may be interrupted anywhere.

    Raises:
        BadInput: see `read_undo`; or an image is in use or is another one. Nothing is changed then.
        BadImage: an image is gone; nothing is changed then.
    """
    files, count = read_undo(path)
    with contextlib.ExitStack() as stack:
        descriptors = [stack.enter_context(_opened_to_undo(saved, path)) for saved in files]
        for number, descriptor in enumerate(descriptors):
            for record in saved_bytes(path):
                if record.file == number:
                    os.pwrite(descriptor, record.data, record.offset)
            os.fsync(descriptor)
    return count


@contextlib.contextmanager
def _opened_to_undo(saved: SavedFile, undo: Path) -> Iterator[int]:
    require_not_in_use(saved.path)
    with opened_image(saved.path, writable=True) as descriptor:
        found = os.fstat(descriptor).st_size
        if found != saved.size_bytes:
            raise BadInput(
                f"{saved.path}: has {found} bytes, but had {saved.size_bytes} when {undo} was"
                " written; this is another image"
            )
        yield descriptor


def _opened(path: Path) -> BinaryIO:
    try:
        if not path.is_file():
            raise BadInput(f"{path}: is no undo file: no such file")
        return path.open("rb")
    except OSError as error:
        raise BadInput(f"{path}: cannot be opened: {error.strerror}") from error


def _read_header(path: Path, file: BinaryIO) -> list[SavedFile]:
    if file.read(len(_MAGIC)) != _MAGIC:
        raise BadInput(f"{path}: is no undo file")
    (length,) = _LENGTH.unpack(_exactly(path, file, _LENGTH.size))
    if length > _MOST_HEADER_BYTES:
        raise BadInput(f"{path}: damaged: a header of {length} bytes")
    text = _exactly(path, file, length)
    if _CRC.unpack(_exactly(path, file, _CRC.size))[0] != zlib.crc32(text):
        raise BadInput(f"{path}: damaged: the checksum of its header is wrong")
    return [SavedFile(Path(f["path"]), f["size_bytes"]) for f in json.loads(text)["files"]]


def _records(path: Path, file: BinaryIO) -> Iterator[SavedBytes]:
    count = 0
    while True:
        (checksum,) = _CRC.unpack(_exactly(path, file, _CRC.size))
        head = _exactly(path, file, _RECORD.size)
        number, offset, length = _RECORD.unpack(head)
        if length > _MOST_BYTES:
            raise BadInput(f"{path}: damaged: a record of {length} bytes")
        data = _exactly(path, file, length)
        if zlib.crc32(head + data) != checksum:
            raise BadInput(f"{path}: damaged: the checksum of record {count} is wrong")
        if number == _LAST:
            if offset != count:
                raise BadInput(f"{path}: damaged: {count} records, {offset} were written")
            return
        yield SavedBytes(number, offset, data)
        count += 1


def _exactly(path: Path, file: BinaryIO, length: int) -> bytes:
    data = file.read(length)
    if len(data) != length:
        raise BadInput(f"{path}: is cut short; an undo file that is not whole changed nothing")
    return data
