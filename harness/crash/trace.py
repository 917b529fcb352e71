"""Traces: every write, flush, trim and mark of all disks in one order, and their file format.

On the standard library alone, since the disk server's plug-in writes with this very module.

File format, version 1, all numbers little-endian:

* ``MDJTRACE``, u32 version, u32 length of a JSON text, that text, u32 CRC-32 of the text. The text
  is ``{"disks": [{"name", "size_bytes", "cache", "logical_block_bytes"}, ...]}``.
* Records, each with this header and *payload_length* bytes behind it:

  ====== ===== ==================================================================
  offset type  field
  ====== ===== ==================================================================
  0      u32   CRC-32 (zlib's) of all that follows, payload included
  4      u32   payload_length
  8      u64   sequence: one counter for all disks, at issue and at completion
  16     u64   request: joins an issue and its completion
  24     u8    kind: 1 issue, 2 completion, 3 mark
  25     u8    operation: 1 write, 2 flush, 3 trim, 4 write zeroes; 0 for a mark
  26     u16   flags: 1 FUA, 2 the zeroes may be a hole
  28     u32   disk: its index in the header
  32     u64   offset in bytes
  40     u64   length in bytes
  48     u32   error: errno of a completion, 0 for success
  ====== ===== ==================================================================

  A write's payload is its data; a mark's is its text, UTF-8.

Whoever writes appends whole records, so a file whose writer was killed is good up to its last
whole record; what is torn behind that is cut off when it is read.
"""

from __future__ import annotations

import enum
import json
import struct
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

VERSION = 1
_MAGIC = b"MDJTRACE"
_HEAD = struct.Struct("<8sII")
_CRC = struct.Struct("<I")
# payload_length, sequence, request, kind, operation, flags, disk, offset, length, error
_RECORD = struct.Struct("<IQQBBHIQQI")
_RECORD_BYTES = _CRC.size + _RECORD.size


FLUSHED = "flushed "  # begins the mark behind a flush that ended, with the last write it covers


class Cache(enum.Enum):
    """What a disk's acknowledgement of a plain write means."""

    WRITE_BACK = "write-back"  # volatile: lost with the power unless flushed or FUA
    WRITE_THROUGH = "write-through"  # on the medium


class Operation(enum.IntEnum):
    """What was asked of a disk."""

    WRITE = 1
    FLUSH = 2
    TRIM = 3
    ZEROES = 4


class Flag(enum.IntFlag):
    """How it was asked."""

    FUA = 1
    MAY_TRIM = 2


class _Kind(enum.IntEnum):
    ISSUE = 1
    COMPLETION = 2
    MARK = 3


class BadTrace(ValueError):
    """The bytes are no trace of a version known here."""


@dataclass(frozen=True, slots=True)
class TraceDisk:
    """A disk as the trace's header has it."""

    name: str
    size_bytes: int
    cache: Cache
    logical_block_bytes: int


@dataclass(frozen=True, slots=True)
class Issue:
    """A request reached a disk."""

    sequence: int
    request: int
    disk: int
    operation: Operation
    flags: Flag
    offset: int  # bytes
    length: int  # bytes
    payload: bytes  # of a write; else empty


@dataclass(frozen=True, slots=True)
class Completion:
    """A disk answered a request; *error* is an errno, 0 for success."""

    sequence: int
    request: int
    disk: int
    error: int


@dataclass(frozen=True, slots=True)
class Mark:
    """The guest said something, at this place in the order."""

    sequence: int
    text: str


Event = Issue | Completion | Mark


@dataclass(frozen=True, slots=True)
class Trace:
    """A recorded run. *events* are in order of their sequence numbers."""

    disks: tuple[TraceDisk, ...]
    events: tuple[Event, ...]
    torn_bytes: int = 0  # cut off at the end of the file

    def disk_index(self, name: str) -> int:
        """Return the number of the disk called *name*; ``KeyError`` where there is none."""
        for index, disk in enumerate(self.disks):
            if disk.name == name:
                return index
        raise KeyError(name)

    def mark(self, text: str) -> Mark:
        """Return the first mark with that text; ``KeyError`` where there is none."""
        for event in self.events:
            if isinstance(event, Mark) and event.text == text:
                return event
        raise KeyError(text)


def encode_header(disks: Iterable[TraceDisk]) -> bytes:
    """Return the beginning of a trace file."""
    text = json.dumps(
        {
            "disks": [
                {
                    "name": disk.name,
                    "size_bytes": disk.size_bytes,
                    "cache": disk.cache.value,
                    "logical_block_bytes": disk.logical_block_bytes,
                }
                for disk in disks
            ]
        }
    ).encode()
    return _HEAD.pack(_MAGIC, VERSION, len(text)) + text + _CRC.pack(zlib.crc32(text))


def encode_event(event: Event) -> bytes:
    """Return one record."""
    fields: tuple[int, ...]
    match event:
        case Issue():
            fields = (
                event.sequence, event.request, _Kind.ISSUE, event.operation, event.flags,
                event.disk, event.offset, event.length, 0,
            )  # fmt: skip
            return _record(fields, event.payload)
        case Completion():
            fields = (
                event.sequence, event.request, _Kind.COMPLETION, 0, 0, event.disk, 0, 0,
                event.error,
            )  # fmt: skip
            return _record(fields, b"")
        case Mark():
            fields = (event.sequence, 0, _Kind.MARK, 0, 0, 0, 0, 0, 0)
            return _record(fields, event.text.encode())


def decode(data: bytes | memoryview, *, most_events: int | None = None) -> Trace:
    """Return the trace in *data*, whatever is torn at its end left out and counted.

    Raises:
        BadTrace: no trace, one of another version, a whole record that makes no sense, or more
            than *most_events*.
    """
    view = memoryview(data)
    disks, start = _decode_header(view)
    events: list[Event] = []
    position = start
    for event, end in _records(view, start, len(disks)):
        if len(events) == most_events:
            raise BadTrace(f"has more than {most_events} events")
        events.append(event)
        position = end
    return Trace(disks, tuple(events), len(view) - position)


def _record(fields: tuple[int, ...], payload: bytes) -> bytes:
    body = _RECORD.pack(len(payload), *fields) + payload
    return _CRC.pack(zlib.crc32(body)) + body


def _decode_header(view: memoryview) -> tuple[tuple[TraceDisk, ...], int]:
    if len(view) < _HEAD.size:
        raise BadTrace(f"{len(view)} bytes are no trace")
    magic, version, length = _HEAD.unpack_from(view)
    if magic != _MAGIC:
        raise BadTrace(f"begins with {magic!r}, wanted {_MAGIC!r}")
    if version != VERSION:
        raise BadTrace(f"is of version {version}, this program knows {VERSION}")
    text = bytes(view[_HEAD.size : _HEAD.size + length])
    end = _HEAD.size + length + _CRC.size
    if end > len(view) or _CRC.unpack_from(view, end - _CRC.size)[0] != zlib.crc32(text):
        raise BadTrace("its header is damaged")
    try:
        return tuple(_decode_disk(disk) for disk in json.loads(text)["disks"]), end
    except (KeyError, TypeError, ValueError, OverflowError, RecursionError) as wrong:
        raise BadTrace(f"its header does not describe disks: {wrong!r}") from wrong


def _decode_disk(fields: dict[str, Any]) -> TraceDisk:
    size, block = int(fields["size_bytes"]), int(fields["logical_block_bytes"])
    if size < 0 or block < 1:
        raise ValueError(f"{size} bytes in blocks of {block}")
    return TraceDisk(str(fields["name"]), size, Cache(fields["cache"]), block)


def _records(view: memoryview, position: int, disks: int) -> Iterator[tuple[Event, int]]:
    while position + _RECORD_BYTES <= len(view):
        (checksum,) = _CRC.unpack_from(view, position)
        fields = _RECORD.unpack_from(view, position + _CRC.size)
        end = position + _RECORD_BYTES + fields[0]
        if end > len(view) or zlib.crc32(view[position + _CRC.size : end]) != checksum:
            return
        try:
            event = _decode_event(fields, bytes(view[position + _RECORD_BYTES : end]), disks)
        except ValueError as wrong:  # whole, as its checksum says: written so, not torn
            raise BadTrace(f"the record at byte {position}: {wrong}") from wrong
        yield event, end
        position = end


def _decode_event(fields: tuple[int, ...], payload: bytes, disks: int) -> Event:
    _, sequence, request, kind, operation, flags, disk, offset, length, error = fields
    if kind == _Kind.MARK:
        return Mark(sequence, payload.decode(errors="replace"))
    if disk >= disks:
        raise ValueError(f"disk is {disk}, the trace has {disks} disks")
    if kind == _Kind.COMPLETION:
        return Completion(sequence, request, disk, error)
    if kind != _Kind.ISSUE:
        raise ValueError(f"kind is {kind}, known are 1 to 3")
    if operation == Operation.WRITE and length != len(payload):
        raise ValueError(f"a write of {length} bytes has {len(payload)} bytes of data")
    return Issue(
        sequence, request, disk, Operation(operation), Flag(flags), offset, length, payload
    )
