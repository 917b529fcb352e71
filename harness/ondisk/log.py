"""The raid456 write journal's blocks: ``struct r5l_meta_block`` and its payloads in md_p.h.

Format document, sections 2.2 to 2.7. Decoding only: how each era walks the descriptors and what
it does with them is in ``harness.recovery``.
"""

from __future__ import annotations

import enum
import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from harness.ondisk.crc import kernel_crc32c
from harness.ondisk.units import (
    BLOCK_BYTES,
    BLOCK_SECTORS,
    ArraySector,
    LogSector,
    StripeSector,
)

MAGIC = 0x6433C509
VERSION = 1
HEADER_BYTES = 32
PAGE_PAYLOAD_BYTES = 16  # the fixed part of a DATA or PARITY descriptor
FLUSH_PAYLOAD_BYTES = 8  # the fixed part of a FLUSH descriptor

# magic, checksum, version, pad8, pad16, meta_size, seq, position
_HEADER = struct.Struct("<IIBBHIQQ")
_CHECKSUM = slice(4, 8)
# type, flags, size
_PAYLOAD_HEAD = struct.Struct("<HHI")
_LOCATION = struct.Struct("<Q")


class PayloadType(enum.IntEnum):
    """``enum r5l_payload_type``."""

    DATA = 0
    PARITY = 1
    FLUSH = 2


class Fault(enum.Enum):
    """Why a block is not the next meta block. Declared in the order the kernel checks."""

    MAGIC = "magic"
    SEQ = "seq"
    VERSION = "version"
    POSITION = "position"
    CHECKSUM = "checksum"
    META_SIZE = "meta_size"


@dataclass(frozen=True, slots=True)
class Rejected:
    """Where a scan of the log ended, and the one check that ended it."""

    at: LogSector
    fault: Fault
    found: int
    wanted: int

    def __str__(self) -> str:
        return f"sector {self.at}: {self.fault.value} is {self.found:#x}, wanted {self.wanted:#x}"


@dataclass(frozen=True, slots=True, kw_only=True)
class MetaBlock:
    """A meta block that passed every check; *block* is all of it."""

    seq: int
    position: LogSector
    meta_size: int  # bytes in use as stored, header included; below 32 behaves as empty
    block: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class DataPayload:
    """One page of data: *location* is the array sector of its first byte."""

    flags: int
    size: int  # sectors of log pages that follow for it
    location: ArraySector
    checksums: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ParityPayload:
    """P, and on RAID-6 Q, of one stripe: *location* is a sector inside each member."""

    flags: int
    size: int  # sectors: 8, or 16 with Q
    location: StripeSector
    checksums: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class FlushPayload:
    """Stripes that are on the members and need no replay. Takes no log pages."""

    flags: int
    size: int  # bytes of the list
    stripes: tuple[StripeSector, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class UnknownPayload:
    """A type that no kernel writes."""

    type: int
    flags: int
    size: int


Payload = DataPayload | ParityPayload | FlushPayload | UnknownPayload


@dataclass(frozen=True, slots=True)
class BrokenPayload:
    """Why the list of descriptors cannot be followed from *offset* (bytes into the block) on."""

    offset: int
    reason: str


def page_checksum(seed: int, page: bytes | memoryview) -> int:
    """Return the checksum of one logged page; *seed* is ``uuid_checksum(set_uuid)``."""
    return kernel_crc32c(seed, page)


def meta_checksum(seed: int, block: bytes) -> int:
    """Return the checksum of a whole meta block, its own field taken as zero."""
    before, after = block[: _CHECKSUM.start], memoryview(block)[_CHECKSUM.stop :]
    return kernel_crc32c(kernel_crc32c(seed, before + bytes(4)), after)


def parse_meta_block(
    block: bytes, *, seed: int, seq: int | None, position: LogSector
) -> MetaBlock | Rejected:
    """Decode one block, or say which check it failed.

    A rejected block is how every log ends, so it is a value and not an exception. With *seq*
    ``None`` any sequence will do, as at the tail. Mirrors ``r5l_recovery_read_meta_block``,
    check for check and in its order.
    """
    if len(block) != BLOCK_BYTES:
        raise ValueError(f"a meta block is {BLOCK_BYTES} bytes, got {len(block)}")
    magic, stored, version, _, _, size, found_seq, found_position = _HEADER.unpack_from(block)
    wanted_seq = found_seq if seq is None else seq
    if (magic, found_seq, version, found_position) != (MAGIC, wanted_seq, VERSION, position):
        return next(
            Rejected(position, fault, found, wanted)
            for fault, found, wanted in (
                (Fault.MAGIC, magic, MAGIC),
                (Fault.SEQ, found_seq, wanted_seq),
                (Fault.VERSION, version, VERSION),
                (Fault.POSITION, found_position, position),
            )
            if found != wanted
        )
    if stored != (computed := meta_checksum(seed, block)):
        return Rejected(position, Fault.CHECKSUM, stored, computed)
    if size > BLOCK_BYTES:
        return Rejected(position, Fault.META_SIZE, size, BLOCK_BYTES)
    return MetaBlock(seq=found_seq, position=position, meta_size=size, block=block)


def parse_tail_block(block: bytes, *, seed: int, position: LogSector) -> MetaBlock | Rejected:
    """Decode the block that ``journal_tail`` names, as ``r5l_load_log`` tests it.

    Any sequence number is taken: it defines where the numbering starts. ``meta_size`` is not
    looked at here, so a *MetaBlock* with one above 4096 can come back.
    """
    parsed = parse_meta_block(block, seed=seed, seq=None, position=position)
    if isinstance(parsed, Rejected) and parsed.fault is Fault.META_SIZE:
        found_seq = _HEADER.unpack_from(block)[6]
        return MetaBlock(seq=found_seq, position=position, meta_size=parsed.found, block=block)
    return parsed


def parse_payload(
    block: bytes, offset: int, limit: int, *, clip: bool = False
) -> tuple[Payload, int] | BrokenPayload:
    """Decode the descriptor at *offset*; return it and the length that it announces, in bytes.

    Args:
        block: the meta block.
        offset: where the descriptor begins.
        limit: where it must end, ``meta_size`` or the block's end; what does not fit is a
            `BrokenPayload`, whatever its size field says.
        clip: a list that does not fit is cut at *limit* instead, for kernels that never looked.
    """
    if offset + _PAYLOAD_HEAD.size > limit:
        return BrokenPayload(offset, f"{limit - offset} bytes are left, a descriptor has more")
    kind, flags, size = _PAYLOAD_HEAD.unpack_from(block, offset)
    if kind == PayloadType.FLUSH:
        return _parse_flush(block, offset, limit, flags, size, clip=clip)
    if kind not in (PayloadType.DATA, PayloadType.PARITY):
        return UnknownPayload(type=kind, flags=flags, size=size), _PAYLOAD_HEAD.size
    count = size // BLOCK_SECTORS
    length = PAGE_PAYLOAD_BYTES + 4 * count
    room = limit - offset - PAGE_PAYLOAD_BYTES
    if room < 0 or (room < 4 * count and not clip):
        return BrokenPayload(offset, f"its size of {size} sectors takes it past its end at {limit}")
    count = min(count, room // 4)
    (location,) = _LOCATION.unpack_from(block, offset + 8)
    checksums = struct.unpack_from(f"<{count}I", block, offset + PAGE_PAYLOAD_BYTES)
    if kind == PayloadType.DATA:
        return DataPayload(
            flags=flags, size=size, location=ArraySector(location), checksums=checksums
        ), length
    return ParityPayload(
        flags=flags, size=size, location=StripeSector(location), checksums=checksums
    ), length


def payloads_of(meta: MetaBlock) -> Iterator[Payload | BrokenPayload]:
    """Yield each descriptor of a meta block; one that does not fit its meta_size is the last.

    These are the descriptors as written. What a kernel makes of them differs by era, which is the
    business of `harness.recovery`.
    """
    offset = HEADER_BYTES
    while offset < meta.meta_size:
        parsed = parse_payload(meta.block, offset, meta.meta_size)
        if isinstance(parsed, BrokenPayload):
            yield parsed
            return
        payload, length = parsed
        yield payload
        offset += length


def placed_payloads(
    meta: MetaBlock, ring_sectors: int
) -> Iterator[tuple[Payload | BrokenPayload, LogSector]]:
    """Yield each descriptor of a meta block, and where in the ring its pages would begin."""
    at = meta.position + BLOCK_SECTORS
    for payload in payloads_of(meta):
        at -= ring_sectors if at >= ring_sectors else 0
        yield payload, LogSector(at)
        if isinstance(payload, DataPayload | ParityPayload):
            at += payload.size


def build_meta_block(*, seed: int, seq: int, position: LogSector, payloads: bytes = b"") -> bytes:
    """Return a whole meta block with its checksum, the rest of it zero.

    Mirrors ``r5l_recovery_create_empty_meta_block`` and what the driver adds to it.
    """
    size = HEADER_BYTES + len(payloads)
    if size > BLOCK_BYTES:
        raise ValueError(f"{len(payloads)} bytes of payloads do not fit a meta block")
    head = _HEADER.pack(MAGIC, 0, VERSION, 0, 0, size, seq & (2**64 - 1), position)
    block = bytearray((head + payloads).ljust(BLOCK_BYTES, b"\0"))
    block[_CHECKSUM] = meta_checksum(seed, bytes(block)).to_bytes(4, "little")
    return bytes(block)


def build_data_payload(location: ArraySector, checksum: int) -> bytes:
    """Return the descriptor of one logged data page."""
    head = _PAYLOAD_HEAD.pack(PayloadType.DATA, 0, BLOCK_SECTORS)
    return head + _LOCATION.pack(location) + checksum.to_bytes(4, "little")


def build_parity_payload(location: StripeSector, checksums: Sequence[int]) -> bytes:
    """Return the descriptor of a stripe's logged P, or P and Q."""
    head = _PAYLOAD_HEAD.pack(PayloadType.PARITY, 0, BLOCK_SECTORS * len(checksums))
    return head + _LOCATION.pack(location) + struct.pack(f"<{len(checksums)}I", *checksums)


def join_payloads(payloads: Iterable[bytes]) -> bytes:
    """Return descriptors one behind the other, as a meta block holds them: without padding."""
    return b"".join(payloads)


def _parse_flush(
    block: bytes, offset: int, limit: int, flags: int, size: int, *, clip: bool
) -> tuple[Payload, int] | BrokenPayload:
    length = FLUSH_PAYLOAD_BYTES + size
    room = limit - offset - FLUSH_PAYLOAD_BYTES
    if room < size and not clip:
        return BrokenPayload(offset, f"its list of {size} bytes takes it past its end at {limit}")
    count = min(size, room) // 8
    stripes = struct.unpack_from(f"<{count}Q", block, offset + FLUSH_PAYLOAD_BYTES)
    return FlushPayload(
        flags=flags, size=size, stripes=tuple(StripeSector(s) for s in stripes)
    ), length
