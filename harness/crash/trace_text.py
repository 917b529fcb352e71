"""A trace in words: its disks, its events, and what the blocks in them are."""

from __future__ import annotations

import errno
import struct
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from harness.crash.pattern import SECTOR_BYTES, describe_sector
from harness.crash.trace import Completion, Event, Flag, Issue, Mark, Operation, Trace, TraceDisk
from harness.ondisk.log import HEADER_BYTES
from harness.ondisk.log import MAGIC as META_BLOCK_MAGIC
from harness.ondisk.superblock import has_superblock_magic

# magic, checksum, version, pad8, pad16, meta_size, seq, position
_META_BLOCK = struct.Struct("<I8xIQQ")
_FLAG_NAMES = {Flag.FUA: "FUA", Flag.MAY_TRIM: "may-trim"}
_OPERATION_NAMES = {operation: operation.name.lower() for operation in Operation}

HEADING = (
    f"{'EVENT':>8}  {'KIND':<10}  {'DISK':<8}  {'OPERATION':<16}  {'OFFSET':>12}  {'LENGTH':>9}"
    f"  {'REQUEST':>7}  CONTENT"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class DiskSummary:
    """What a trace holds of one disk; all counts but *unanswered* and *failed* are of issues."""

    name: str
    size_bytes: int
    cache: str
    logical_block_bytes: int
    writes: int
    written_bytes: int
    fua: int  # requests of any kind that carried it
    flushes: int
    trims: int
    zeroes: int
    failed: int
    unanswered: int  # in flight when the trace ends


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """What a trace holds."""

    disks: tuple[DiskSummary, ...]
    events: int
    marks: int
    torn_bytes: int

    def document(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return asdict(self)


def summarise(trace: Trace) -> Summary:
    """Count what is in a trace, disk by disk."""
    marks = sum(isinstance(event, Mark) for event in trace.events)
    disks = tuple(_disk_summary(trace, index, disk) for index, disk in enumerate(trace.disks))
    return Summary(disks=disks, events=len(trace.events), marks=marks, torn_bytes=trace.torn_bytes)


def summary_lines(summary: Summary) -> Iterator[str]:
    """Yield a line on the trace, then one for each disk."""
    torn = f"{summary.torn_bytes} bytes of a torn record cut off" if summary.torn_bytes else "whole"
    yield f"{summary.events} events, {summary.marks} of them marks; the file's end: {torn}"
    for disk in summary.disks:
        text = (
            f"disk {disk.name}: {disk.size_bytes} bytes, {disk.cache},"
            f" {disk.logical_block_bytes}-byte blocks; {disk.writes} writes"
            f" ({disk.written_bytes} bytes), {disk.flushes} flushes, {disk.trims} trims,"
            f" {disk.zeroes} zeroings, {disk.fua} with FUA"
        )
        if disk.failed:
            text += f"; {disk.failed} FAILED"
        if disk.unanswered:
            text += f"; {disk.unanswered} in flight at the end"
        yield text


def documents(trace: Trace) -> Iterator[tuple[Event, dict[str, Any]]]:
    """Yield every event with its values for JSON; a completion tells of its issue too."""
    issues: dict[int, Issue] = {}
    for event in trace.events:
        document: dict[str, Any] = {"sequence": event.sequence}
        match event:
            case Mark(text=text):
                document |= {"kind": "mark", "text": text}
            case Issue():
                issues[event.request] = event
                document |= {"kind": "issue", "disk": trace.disks[event.disk].name}
                document |= _request(event, event)
                if event.operation is Operation.WRITE:
                    document["content"] = describe_content(event.payload)
            case Completion():
                issue = issues.pop(event.request, None)
                document |= {"kind": "completion", "disk": trace.disks[event.disk].name}
                document |= _request(event, issue) | {"error": event.error}
        yield event, document


def event_line(document: dict[str, Any]) -> str:
    """Return one line on an event, under `HEADING`."""
    kind = document["kind"]
    words = document.get("text", document.get("content", ""))
    if document.get("error"):
        words = f"FAILED: {error_name(document['error'])}"
    operation = " ".join([document.get("operation", ""), *document.get("flags", ())])
    return (
        f"{document['sequence']:>8}  {kind:<10}  {document.get('disk', ''):<8}  {operation:<16}"
        f"  {document.get('offset', ''):>12}  {document.get('length', ''):>9}"
        f"  {document.get('request', ''):>7}  {printable(words)}"
    ).rstrip()


def describe_content(data: bytes) -> str:
    """Say what the first sector of a write is: the journal's, md's, the workload's, zeroes."""
    if len(data) >= HEADER_BYTES:
        magic, meta_size, seq, position = _META_BLOCK.unpack_from(data)
        if magic == META_BLOCK_MAGIC:
            return f"meta block: seq {seq:#x}, position {position}, {meta_size} bytes in use"
    if has_superblock_magic(data):
        return "md superblock"
    if not data or data.count(0) == len(data):
        return "zeroes"
    if len(data) < SECTOR_BYTES:
        return f"other bytes ({data[:8].hex(' ')} ..)"
    first = describe_sector(data[:SECTOR_BYTES])
    return "zeroes, then other bytes" if first == "zeroes" else first


def printable(text: str) -> str:
    """Return *text* without what would disturb a terminal: others' bytes are in it."""
    return "".join(character if character.isprintable() else "?" for character in text)


def _request(event: Issue | Completion, issue: Issue | None) -> dict[str, Any]:
    document: dict[str, Any] = {"request": event.request}
    if issue is not None:
        document |= {
            "operation": _OPERATION_NAMES[issue.operation],
            "flags": list(_flag_names(issue.flags)),
            "offset": issue.offset,
            "length": issue.length,
        }
    return document


def _flag_names(flags: Flag) -> Iterator[str]:
    for flag, name in _FLAG_NAMES.items():
        if flag in flags:
            yield name
            flags &= ~flag
    if flags:
        yield f"{int(flags):#x}"


def error_name(number: int) -> str:
    """Return the name of an errno, or its number."""
    return errno.errorcode.get(number, f"errno {number}")


def _disk_summary(trace: Trace, index: int, disk: TraceDisk) -> DiskSummary:
    counts = dict.fromkeys(Operation, 0)
    written = fua = failed = 0
    open_requests: set[int] = set()
    for event in trace.events:
        if isinstance(event, Mark) or event.disk != index:
            continue
        if isinstance(event, Completion):
            open_requests.discard(event.request)
            failed += event.error != 0
            continue
        open_requests.add(event.request)
        counts[event.operation] += 1
        written += event.length if event.operation is Operation.WRITE else 0
        fua += Flag.FUA in event.flags
    return DiskSummary(
        name=disk.name, size_bytes=disk.size_bytes, cache=disk.cache.value,
        logical_block_bytes=disk.logical_block_bytes, writes=counts[Operation.WRITE],
        written_bytes=written, fua=fua, flushes=counts[Operation.FLUSH],
        trims=counts[Operation.TRIM], zeroes=counts[Operation.ZEROES], failed=failed,
        unanswered=len(open_requests),
    )  # fmt: skip
