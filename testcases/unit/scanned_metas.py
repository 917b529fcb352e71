"""Scanned meta blocks by their payloads alone, for what only looks at them."""

from __future__ import annotations

import struct

from harness.ondisk.log import (
    HEADER_BYTES,
    DataPayload,
    FlushPayload,
    MetaBlock,
    ParityPayload,
    Payload,
)
from harness.ondisk.units import LogSector
from harness.recovery.log import Mismatch, ScannedMeta
from harness.recovery.scan import entries_of


def scanned(
    seq: int,
    *payloads: Payload,
    at: int = 0,
    sectors: int | None = None,
    dropped: Mismatch | None = None,
) -> ScannedMeta:
    """Return one as a scan yields it; its header is not filled in, its pages are nowhere."""
    raw = b"".join(descriptor(payload) for payload in payloads)
    meta = MetaBlock(
        seq=seq, position=LogSector(at), meta_size=HEADER_BYTES + len(raw),
        block=bytes(HEADER_BYTES) + raw,
    )  # fmt: skip
    entries = [entry for payload in payloads for entry in entries_of(payload, LogSector(at + 8))]
    pages = sum(not isinstance(payload, FlushPayload) for payload in payloads)
    moves_on = 8 + 8 * pages if sectors is None else sectors
    return ScannedMeta(meta, () if dropped else tuple(entries), dropped, moves_on)


def descriptor(payload: Payload) -> bytes:
    """Return a payload as it lies in a meta block."""
    match payload:
        case DataPayload(flags=flags, size=size, location=location, checksums=checksums):
            head = struct.pack("<HHIQ", 0, flags, size, location)
            return head + struct.pack(f"<{len(checksums)}I", *checksums)
        case ParityPayload(flags=flags, size=size, location=stripe, checksums=checksums):
            head = struct.pack("<HHIQ", 1, flags, size, stripe)
            return head + struct.pack(f"<{len(checksums)}I", *checksums)
        case FlushPayload(flags=flags, size=size, stripes=stripes):
            return struct.pack(f"<HHI{len(stripes)}Q", 2, flags, size, *stripes)
        case unknown:
            return struct.pack("<HHI", unknown.type, unknown.flags, unknown.size)
