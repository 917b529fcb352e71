"""Meta blocks as only someone with a hex editor would write them: any field, lies included.

md-journal-format.md, sections 2.2 to 2.5. What is not said otherwise is right, checksums above all:
the driver looks no further at a block whose checksum is wrong.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

from harness.ondisk.crc import kernel_crc32c
from harness.ondisk.log import HEADER_BYTES, MAGIC, VERSION, PayloadType
from harness.ondisk.units import BLOCK_BYTES, BLOCK_SECTORS

_HEAD = struct.Struct("<HHI")  # type, flags, size
_HEADER = struct.Struct("<IIBBHIQQ")
_CHECKSUM = slice(4, 8)
U64 = 2**64


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pages:
    location: int  # sectors
    pages: tuple[bytes, ...]  # that follow in the log
    size: int | None = None  # sectors; None: what the pages take
    checksums: tuple[int, ...] | None = None  # None: the right ones
    flags: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Data(_Pages):
    """DATA: *location* is a sector of the array."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parity(_Pages):
    """PARITY: *location* is a sector of each member; the pages are P, or P and Q."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Flush:
    """FLUSH: stripes that need no replay."""

    stripes: tuple[int, ...]
    size: int | None = None  # bytes; None: what the list takes
    flags: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Raw:
    """Any bytes in a descriptor's place."""

    data: bytes


Payload = Data | Parity | Flush | Raw


@dataclass(frozen=True, slots=True, kw_only=True)
class Lies:
    """Fields of a meta block's header that are not as they should be; ``None``: right."""

    magic: int | None = None
    checksum: int | None = None
    version: int | None = None
    pad8: int = 0
    pad16: int = 0
    meta_size: int | None = None
    seq: int | None = None
    position: int | None = None
    noise: bytes = b""  # behind the last descriptor
    patches: tuple[tuple[int, bytes], ...] = ()  # (offset, bytes), under a right checksum

    def names(self) -> list[str]:
        """Return which fields are wrong."""
        numbers = {name: getattr(self, name) for name in ("magic", "checksum", "version",
                   "meta_size", "seq", "position")}  # fmt: skip
        found = [name for name, value in numbers.items() if value is not None]
        found += ["pad"] if self.pad8 or self.pad16 else []
        found += ["noise behind the list"] if self.noise else []
        return [*found, *(["patched bytes"] if self.patches else [])]


TRUE = Lies()


def page_checksum(seed: int, page: bytes) -> int:
    """Return what a descriptor states of a page."""
    return kernel_crc32c(seed, page)


def log_pages(payload: Payload) -> tuple[bytes, ...]:
    """Return the pages that a payload brings."""
    return payload.pages if isinstance(payload, Data | Parity) else ()


def descriptor(payload: Payload, seed: int) -> bytes:
    """Return a payload's bytes in the meta block; *seed* is ``uuid_checksum(set_uuid)``."""
    match payload:
        case Raw(data=data):
            return data
        case Flush(stripes=stripes, size=size, flags=flags):
            head = _HEAD.pack(PayloadType.FLUSH, flags, 8 * len(stripes) if size is None else size)
            return head + struct.pack(f"<{len(stripes)}Q", *stripes)
    kind = PayloadType.DATA if isinstance(payload, Data) else PayloadType.PARITY
    size = BLOCK_SECTORS * len(payload.pages) if payload.size is None else payload.size
    sums: Sequence[int] | None = payload.checksums
    if sums is None:
        sums = [page_checksum(seed, page) for page in payload.pages]
    head = _HEAD.pack(kind, payload.flags, size) + struct.pack("<Q", payload.location)
    return head + struct.pack(f"<{len(sums)}I", *sums)


def bytes_used(payloads: Sequence[Payload]) -> int:
    """Return what the header and these payloads take of a meta block."""
    return HEADER_BYTES + sum(len(descriptor(payload, 0)) for payload in payloads)


def meta_block(
    *, seed: int, seq: int, position: int, payloads: Sequence[Payload] = (), lies: Lies = TRUE
) -> bytes:
    """Return a whole meta block.

    Raises:
        ValueError: the payloads and the noise behind them do not fit.
    """
    listed = b"".join(descriptor(payload, seed) for payload in payloads)
    size = HEADER_BYTES + len(listed) if lies.meta_size is None else lies.meta_size
    head = _HEADER.pack(
        MAGIC if lies.magic is None else lies.magic, 0,
        VERSION if lies.version is None else lies.version, lies.pad8, lies.pad16, size,
        seq if lies.seq is None else lies.seq, position if lies.position is None else lies.position,
    )  # fmt: skip
    block = bytearray((head + listed + lies.noise).ljust(BLOCK_BYTES, b"\0"))
    for offset, data in lies.patches:
        block[offset : offset + len(data)] = data
    if len(block) != BLOCK_BYTES:
        raise ValueError(f"{len(block)} bytes do not fit a meta block")
    block[_CHECKSUM] = bytes(4)
    checksum = kernel_crc32c(seed, bytes(block)) if lies.checksum is None else lies.checksum
    block[_CHECKSUM] = struct.pack("<I", checksum)
    return bytes(block)
