"""The dm-log-writes format: one disk's writes as the kernel's target and replay-log have them.

Layout, as drivers/md/dm-log-writes.c has it; numbers are little-endian, and a *sector* here has
the superblock's sectorsize:

* Sector 0, the superblock: u64 magic, u64 version (1), u64 nr_entries, u32 sectorsize.
* Each entry: a sector of its own with u64 sector, u64 nr_sectors, u64 flags and u64 data_len, the
  rest zero; then nr_sectors sectors of data, unless it is a discard. A mark's text of data_len
  bytes stands in the entry's own sector, right behind data_len.

The order of entries differs by writer. The kernel's target holds a plain write back until a flush
that was issued after the write completed has itself completed, so its log never shows what was
only in a cache, and a FUA write overtakes older plain ones. QEMU's blklogwrites logs in order of
completion, and so does `export_disk`: replayed whole, such a log leaves the newest content even
where writes overlap; replayed in part, it leaves what had *completed* by then, durable or not.
"""

from __future__ import annotations

import enum
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from harness.crash.trace import (
    Cache,
    Completion,
    Event,
    Flag,
    Issue,
    Mark,
    Operation,
    Trace,
    TraceDisk,
)
from harness.errors import BadInput

MAGIC = 0x6A736677736872
VERSION = 1
_LEAST_SECTOR_BYTES = 512
_MOST_SECTOR_BYTES = 65536
_MOST_DISK_BYTES = 2**63 - 1  # loff_t
_ZEROES = bytes(1 << 20)

# magic, version, nr_entries, sectorsize
_SUPER = struct.Struct("<QQQI")
# sector, nr_sectors, flags, data_len
_ENTRY = struct.Struct("<QQQQ")


class BadLog(BadInput):
    """The bytes are no dm-log-writes log, or a damaged or truncated one."""


class LogFlag(enum.IntFlag):
    """What an entry is; a plain write has none."""

    FLUSH = 1
    FUA = 2
    DISCARD = 4
    MARK = 8
    METADATA = 16  # a hint of file systems (REQ_META); it changes nothing of what a disk does


_KNOWN_FLAGS = sum(LogFlag)


@dataclass(frozen=True, slots=True)
class LogSuper:
    """A log's superblock."""

    entries: int
    sector_bytes: int


@dataclass(frozen=True, slots=True)
class LogEntry:
    """One entry; *data* is what was written, or a mark's text."""

    number: int  # from 0
    at: int  # bytes from the log's beginning
    sector: int  # of the disk, in units of the superblock's sectorsize
    sectors: int
    flags: LogFlag
    data: bytes


def completed(trace: Trace, disk: int) -> Iterator[Issue | Mark]:
    """Yield what a log of *disk* holds: its requests as they completed well, and all marks."""
    issues: dict[int, Issue] = {}
    for event in trace.events:
        if isinstance(event, Mark):
            yield event
        elif event.disk != disk:
            continue
        elif isinstance(event, Issue):
            issues[event.request] = event
        elif (issue := issues.pop(event.request, None)) and event.error == 0:
            yield issue


def export_disk(trace: Trace, disk: str) -> Iterator[bytes]:
    """Return the log of one disk, piece by piece.

    Entries stand in order of completion; marks stand in the log of every disk. Left out is what
    the format has no place for: requests that failed or never completed, when a request was
    issued, and that zeroes were asked for as zeroes (they become a write of zeroes). A mark that
    is longer than a sector holds is cut, as the kernel cuts it.

    Raises:
        BadInput: no disk of that name, or a request that is no whole number of its blocks.
    """
    names = [each.name for each in trace.disks]
    if disk not in names:
        raise BadInput(f"no disk is called {disk!r}; there are: {', '.join(names) or 'none'}")
    index = names.index(disk)
    sector_bytes = trace.disks[index].logical_block_bytes
    if not _is_sector_size(sector_bytes):
        raise BadInput(f"disk {disk}: blocks of {sector_bytes} bytes have no place in a log")
    entries = tuple(completed(trace, index))
    for event in entries:
        if isinstance(event, Issue) and (
            event.offset % sector_bytes or event.length % sector_bytes
        ):
            raise BadInput(
                f"disk {disk}, event {event.sequence}: {event.length} bytes at {event.offset}"
                f" are not whole blocks of {sector_bytes} bytes; the format knows no others"
            )
    return _pieces(entries, sector_bytes)


def read_super(log: bytes | memoryview) -> LogSuper:
    """Decode a log's superblock.

    Raises:
        BadLog: too short, another magic or version, or an impossible sector size.
    """
    if len(log) < _SUPER.size:
        raise BadLog(f"{len(log)} bytes are no dm-log-writes log")
    magic, version, entries, sector_bytes = _SUPER.unpack_from(log)
    if magic != MAGIC:
        raise BadLog(f"magic is {magic:#x}, a dm-log-writes log has {MAGIC:#x}")
    if version != VERSION:
        raise BadLog(f"version is {version}, this program knows {VERSION}")
    if not _is_sector_size(sector_bytes):
        raise BadLog(
            f"sector size is {sector_bytes}, wanted a power of two from"
            f" {_LEAST_SECTOR_BYTES} to {_MOST_SECTOR_BYTES}"
        )
    return LogSuper(entries, sector_bytes)


def read_entries(log: bytes | memoryview) -> Iterator[LogEntry]:
    """Decode a log entry by entry, as many as its superblock counts.

    No length field is trusted further than the log goes. What stands behind the last counted
    entry is not looked at: it may be left from an earlier use of the same log device.

    Raises:
        BadLog: see `read_super`; an entry that is cut off, damaged, or has flags unknown here
            (which might change what follows it).
    """
    head = read_super(log)
    view = memoryview(log)
    at = head.sector_bytes
    for number in range(head.entries):
        where = f"entry {number} of {head.entries}, at byte {at}"
        if at + head.sector_bytes > len(view):
            raise BadLog(f"{where}: the log ends there, after {len(view)} bytes; it is truncated")
        entry = _read_entry(view, at, number, head.sector_bytes, where)
        yield entry
        at += head.sector_bytes
        if LogFlag.DISCARD not in entry.flags:
            at += entry.sectors * head.sector_bytes


def import_log(
    log: bytes | memoryview,
    *,
    name: str,
    size_bytes: int | None = None,
    cache: Cache = Cache.WRITE_BACK,
) -> Trace:
    """Return a log as the trace of a single disk.

    Each entry becomes an issue with its completion right behind it; a flush that carries data
    becomes a flush, then a write. What a log does not know is not in the trace either:

    * overlap: no two requests are in flight at once, and none at the end;
    * when a request was issued, and so what was in a volatile cache at a moment: the kernel's
      target logs a plain write only when a flush has covered it;
    * other disks, and requests that failed;
    * zeroes written as such: they are writes of zeroes; and the hint METADATA.

    Args:
        log: the whole log.
        name: what to call the disk.
        size_bytes: the disk's; a log does not say. Default: up to the last block written.
        cache: what the disk's acknowledgement of a plain write meant; a log does not say.

    Raises:
        BadLog: see `read_entries`; or an entry lies outside the disk.
    """
    sector_bytes = read_super(log).sector_bytes
    limit = _MOST_DISK_BYTES if size_bytes is None else size_bytes
    end = sector_bytes
    events: list[Event] = []
    for entry in read_entries(log):
        after = (entry.sector + entry.sectors) * sector_bytes
        if entry.sectors and after > limit:
            raise BadLog(
                f"entry {entry.number}, at byte {entry.at}: {entry.sectors} sectors at"
                f" {entry.sector} reach to byte {after}, past the disk's end at {limit}"
            )
        if entry.sectors:
            end = max(end, after)
        _append(events, entry, sector_bytes)
    disk = TraceDisk(name, end if size_bytes is None else size_bytes, cache, sector_bytes)
    return Trace((disk,), tuple(events))


def _is_sector_size(count: int) -> bool:
    return _LEAST_SECTOR_BYTES <= count <= _MOST_SECTOR_BYTES and count & (count - 1) == 0


def _pieces(entries: Iterable[Issue | Mark], sector_bytes: int) -> Iterator[bytes]:
    entries = tuple(entries)
    head = _SUPER.pack(MAGIC, VERSION, len(entries), sector_bytes)
    yield head.ljust(sector_bytes, b"\0")
    for event in entries:
        if isinstance(event, Mark):
            # The kernel leaves room for a NUL; half a character is no character.
            text = event.text.encode()[: sector_bytes - _ENTRY.size - 1]
            text = text.decode(errors="ignore").encode()
            head = _ENTRY.pack(0, 0, LogFlag.MARK, len(text)) + text
        else:
            sector, sectors = event.offset // sector_bytes, event.length // sector_bytes
            head = _ENTRY.pack(sector, sectors, _flags_of(event), 0)
        yield head.ljust(sector_bytes, b"\0")
        if isinstance(event, Issue):
            yield from _data_of(event)


def _flags_of(issue: Issue) -> LogFlag:
    flags = LogFlag.FUA if Flag.FUA in issue.flags else LogFlag(0)
    if issue.operation is Operation.FLUSH:
        flags |= LogFlag.FLUSH
    if issue.operation is Operation.TRIM:
        flags |= LogFlag.DISCARD
    return flags


def _data_of(issue: Issue) -> Iterator[bytes]:
    if issue.operation is Operation.WRITE:
        yield issue.payload
    elif issue.operation is Operation.ZEROES:
        for done in range(0, issue.length, len(_ZEROES)):
            yield _ZEROES[: issue.length - done]


def _read_entry(view: memoryview, at: int, number: int, sector_bytes: int, where: str) -> LogEntry:
    sector, sectors, flags, data_len = _ENTRY.unpack_from(view, at)
    if unknown := flags & ~_KNOWN_FLAGS:
        raise BadLog(
            f"{where}: flags are {flags:#x}, of which {unknown:#x} is unknown here;"
            f" known are {_KNOWN_FLAGS:#x}"
        )
    body = at + _ENTRY.size
    if flags & LogFlag.MARK:
        if flags != LogFlag.MARK or sectors or data_len > sector_bytes - _ENTRY.size:
            raise BadLog(
                f"{where}: a mark with flags {flags:#x}, {sectors} sectors and {data_len} bytes"
                f" of text is damaged; wanted {LogFlag.MARK:#x}, 0 and at most"
                f" {sector_bytes - _ENTRY.size}"
            )
        return LogEntry(number, at, sector, 0, LogFlag.MARK, bytes(view[body : body + data_len]))
    # replay-log looks at the same two things to tell an entry from data.
    if view[body] != 0 or (sectors == 0 and not flags & LogFlag.FLUSH):
        raise BadLog(f"{where}: what stands there is no entry; the log is damaged")
    data = b""
    if not flags & LogFlag.DISCARD:
        start, length = at + sector_bytes, sectors * sector_bytes
        if start + length > len(view):
            raise BadLog(
                f"{where}: its {sectors} sectors of data go on to byte {start + length}, the log"
                f" ends at {len(view)}; it is truncated or damaged"
            )
        data = bytes(view[start : start + length])
    return LogEntry(number, at, sector, sectors, LogFlag(flags), data)


def _append(events: list[Event], entry: LogEntry, sector_bytes: int) -> None:
    if LogFlag.MARK in entry.flags:
        events.append(Mark(len(events) + 1, entry.data.decode(errors="replace")))
        return
    flags = Flag.FUA if LogFlag.FUA in entry.flags else Flag(0)
    if LogFlag.FLUSH in entry.flags:
        _append_request(events, Operation.FLUSH, Flag(0), 0, 0, b"")
    if entry.sectors:
        operation = Operation.TRIM if LogFlag.DISCARD in entry.flags else Operation.WRITE
        offset, length = entry.sector * sector_bytes, entry.sectors * sector_bytes
        _append_request(events, operation, flags, offset, length, entry.data)


def _append_request(
    events: list[Event],
    operation: Operation,
    flags: Flag,
    offset: int,
    length: int,
    payload: bytes,
) -> None:
    sequence = len(events) + 1
    # The issue's own number joins the two: unique, and nothing else is asked of it.
    events.append(Issue(sequence, sequence, 0, operation, flags, offset, length, payload))
    events.append(Completion(sequence + 1, sequence, 0, 0))
