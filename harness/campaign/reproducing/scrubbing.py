"""Take the user's data out of an array's disks, and leave all that recovery goes by.

Each page becomes a pattern that stands for it: equal pages become equal ones, different pages
different ones, and zeroes stay zeroes. Parity that fits, with the members' pages or those in the
log, fits afterwards as well; what did not fit does not. Geometry, stripes, sequence numbers, kinds
and sizes of what is logged stay. Checksums, names, times and UUIDs are new.
"""

from __future__ import annotations

import hashlib
import itertools
import struct
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from harness.crash.content import DiskContent
from harness.crash.history import BLOCK_BYTES
from harness.ondisk.crc import uuid_checksum
from harness.ondisk.log import (
    MAGIC,
    DataPayload,
    FlushPayload,
    MetaBlock,
    ParityPayload,
    UnknownPayload,
    meta_checksum,
    page_checksum,
    parse_meta_block,
    placed_payloads,
)
from harness.ondisk.superblock import (
    Superblock,
    bad_block_log,
    with_identity,
)
from harness.ondisk.units import BLOCK_SECTORS, SECTOR_BYTES, LogSector, StripeSector
from harness.recovery.geometry import Geometry
from harness.recovery.members import Array
from harness.recovery.parity import q_syndrome, xor_pages

NAME = b"scrubbed"
_ZEROES = bytes(BLOCK_BYTES)
_META = struct.Struct("<IIBBHIQQ")
_MOST_COMBINATIONS = 4096  # of old and new pages of a stripe, that a parity may be of
_WRONG = 0x5A5A5A5A


@dataclass(frozen=True, slots=True)
class _LoggedPage:
    """What a block of the ring is by the descriptor that it fits to."""

    stripe: int
    seq: int  # of the meta block
    slot: int | None  # of data; None: parity
    which: int = 0  # 0: P, 1: Q


@dataclass(slots=True)
class _Stripe:
    """Data pages of a stripe by slot: on the members, and in the log with the sequence of each."""

    members: dict[int, bytes] = field(default_factory=dict)
    logged: dict[int, list[tuple[int, bytes]]] = field(default_factory=lambda: defaultdict(list))

    def versions(self, slot: int, seq: int | None) -> list[bytes]:
        """Return the pages that a slot can have had when a parity was calculated, the likeliest
        first.

        Args:
            slot: of data.
            seq: with which the parity was logged; ``None``: it is a member's.
        """
        on_member = [self.members.get(slot, _ZEROES)]
        logged = sorted(self.logged[slot], reverse=True)
        if seq is None:
            pages = [*on_member, *(page for _, page in logged)]
        else:
            pages = [page for at, page in logged if at <= seq] + on_member
            pages += [page for at, page in logged if at > seq]
        return list(dict.fromkeys([*pages, _ZEROES]))


class Scrubber:
    """Scrubs the disks of one array."""

    def __init__(
        self,
        array: Array,
        superblocks: Mapping[str, Superblock],
        contents: Mapping[str, DiskContent],
        key: bytes,
    ) -> None:
        """Begin.

        Args:
            array: put together of the disks that take part.
            superblocks: of every disk that has one.
            contents: of every disk.
            key: a secret: without it no pattern can be traced back to a page that is guessed.
        """
        self._array = array
        self._superblocks = superblocks
        self._contents = contents
        self._key = key
        self._stripes: dict[int, _Stripe] = defaultdict(_Stripe)
        self._logged: dict[int, _LoggedPage] = {}  # by the ring's block
        self._metas: dict[int, MetaBlock | None] = {}  # likewise; None: damaged
        newest = next(iter(superblocks.values()))
        self._seed = uuid_checksum(newest.set_uuid)
        self._uuid = self._digest(b"array")[:16]
        self._new_seed = uuid_checksum(self._uuid)

    def scrubbed(self) -> dict[str, DiskContent]:
        """Return every disk without its data."""
        for slot, names in self._array.members.items():
            for name in names:
                self._read_member(slot, name)
        journal = self._array.journal
        if journal is not None:
            self._read_ring(self._superblocks[journal], self._contents[journal])
        return {name: self._disk(name) for name in self._contents}

    def _digest(self, what: bytes) -> bytes:
        return hashlib.blake2b(what, key=self._key[:64], digest_size=32).digest()

    def _pattern(self, page: bytes) -> bytes:
        """Return what stands for a page."""
        if page == _ZEROES:
            return page
        return self._digest(page) * (BLOCK_BYTES // 32)

    # What is there

    def _read_member(self, slot: int, name: str) -> None:
        superblock = self._superblocks[name]
        first = superblock.data_offset // BLOCK_SECTORS
        for number, page in self._contents[name].blocks.items():
            stripe = (number - first) * BLOCK_SECTORS
            if 0 <= stripe < self._geometry.member_sectors and self._is_data(slot, stripe):
                self._stripes[stripe].members.setdefault(slot, page)

    def _read_ring(self, superblock: Superblock, content: DiskContent) -> None:
        first = superblock.data_offset // BLOCK_SECTORS
        ring = superblock.data_size // BLOCK_SECTORS
        for number, block in content.blocks.items():
            at = LogSector((number - first) * BLOCK_SECTORS)
            if 0 <= number - first < ring and block.startswith(struct.pack("<I", MAGIC)):
                parsed = parse_meta_block(block, seed=self._seed, seq=None, position=at)
                if isinstance(parsed, MetaBlock):
                    self._metas[number - first] = parsed
                elif _META.unpack_from(block)[7] == at:  # its place is its own: no user's page
                    self._metas[number - first] = None
        for meta in [meta for meta in self._metas.values() if meta is not None]:
            for place, logged, fits in self._pages_of(meta, content, first, ring):
                if fits:
                    self._note(place, logged, content.block(first + place))

    def _note(self, block: int, logged: _LoggedPage, page: bytes) -> None:
        self._logged[block] = logged
        if logged.slot is not None:
            self._stripes[logged.stripe].logged[logged.slot].append((logged.seq, page))

    def _pages_of(
        self, meta: MetaBlock, content: DiskContent, first: int, ring: int
    ) -> Iterator[tuple[int, _LoggedPage, bool]]:
        """Yield each page that a meta block tells of: its block in the ring, what it is, and
        whether what lies there is that page.
        """
        for payload, at in placed_payloads(meta, ring * BLOCK_SECTORS):
            if not isinstance(payload, DataPayload | ParityPayload):
                continue
            for number, checksum in enumerate(payload.checksums):
                block = (at // BLOCK_SECTORS + number) % ring
                fits = checksum == page_checksum(self._seed, content.block(first + block))
                logged = self._logged_page(payload, number, meta.seq)
                if logged is not None:
                    yield block, logged, fits and block not in self._metas

    def _logged_page(
        self, payload: DataPayload | ParityPayload, number: int, seq: int
    ) -> _LoggedPage | None:
        geometry = self._geometry
        if isinstance(payload, ParityPayload):
            return _LoggedPage(payload.location, seq, None, number)
        if not 0 <= payload.location < geometry.array_sectors:
            return None
        place = geometry.place(payload.location)
        return _LoggedPage(place.sector, seq, place.device)

    @property
    def _geometry(self) -> Geometry:
        return self._array.geometry

    def _is_data(self, slot: int, stripe: int) -> bool:
        return slot in self._geometry.row_at(StripeSector(stripe)).data

    # What becomes of it

    def _disk(self, name: str) -> DiskContent:
        superblock = self._superblocks.get(name)
        if superblock is None:
            return DiskContent()
        old, new = self._contents[name], DiskContent()
        first, sectors = bad_block_log(superblock)
        if sectors:
            new.write(first * SECTOR_BYTES, old.read(first * SECTOR_BYTES, sectors * SECTOR_BYTES))
        if name == self._array.journal:
            self._write_ring(superblock, old, new)
        else:
            slot = next((s for s, names in self._array.members.items() if name in names), None)
            self._write_member(slot, superblock, old, new)
        raw = with_identity(
            superblock, set_uuid=self._uuid, set_name=NAME,
            device_uuid=self._digest(b"device " + name.encode())[:16],
        )  # fmt: skip
        new.write(superblock.at * SECTOR_BYTES, raw)
        return new

    def _write_member(
        self, slot: int | None, superblock: Superblock, old: DiskContent, new: DiskContent
    ) -> None:
        first = superblock.data_offset // BLOCK_SECTORS
        for number, page in old.blocks.items():
            stripe = (number - first) * BLOCK_SECTORS
            if not 0 <= stripe < self._geometry.member_sectors:
                continue
            if slot is None or self._is_data(slot, stripe):
                new.blocks[number] = self._pattern(page)
            else:
                row = self._geometry.row_at(StripeSector(stripe))
                new.blocks[number] = self._parity(stripe, page, int(slot == row.qd_idx), None)

    def _write_ring(self, superblock: Superblock, old: DiskContent, new: DiskContent) -> None:
        first = superblock.data_offset // BLOCK_SECTORS
        ring = superblock.data_size // BLOCK_SECTORS
        for number, page in old.blocks.items():
            block = number - first
            if 0 <= block < ring and block not in self._metas:
                new.blocks[number] = self._ring_page(block, page)
        for block, meta in self._metas.items():
            number = first + block
            new.blocks[number] = self._meta(old.block(number), meta, old, new, first, ring)

    def _ring_page(self, block: int, page: bytes) -> bytes:
        logged = self._logged.get(block)
        if logged is None or logged.slot is not None:
            return self._pattern(page)
        return self._parity(logged.stripe, page, logged.which, logged.seq)

    def _parity(self, stripe: int, page: bytes, which: int, seq: int | None) -> bytes:
        """Return the parity of the patterns that stand for the pages that *page* is the parity of;
        where it is of none that is known, what stands for it.
        """
        if not 0 <= stripe < self._geometry.member_sectors:
            return self._pattern(page)
        row = self._geometry.row_at(StripeSector(stripe))
        known = self._stripes[stripe]
        versions = [known.versions(slot, seq) for slot in row.data]
        gone = [n for n, slot in enumerate(row.data) if slot not in self._array.members]
        if which == 0 and len(gone) == 1:  # its page is what the parity makes of the others'
            others = [known.members.get(slot, _ZEROES) for slot in row.data
                      if slot in self._array.members]  # fmt: skip
            versions[gone[0]] = [xor_pages([page, *others]), *versions[gone[0]]]

        def calculate(pages: Sequence[bytes]) -> bytes:
            if which == 0:
                return xor_pages(pages)
            exponents = self._geometry.q_exponents(row)
            return q_syndrome({exponents[s]: p for s, p in zip(row.data, pages, strict=True)})

        every = itertools.islice(itertools.product(*versions), _MOST_COMBINATIONS)
        for pages in every:
            if calculate(pages) == page:
                return calculate([self._pattern(each) for each in pages])
        return self._pattern(page)

    def _meta(
        self, block: bytes, meta: MetaBlock | None, old: DiskContent, new: DiskContent,
        first: int, ring: int,
    ) -> bytes:  # fmt: skip
        """Return a meta block with the checksums of what its pages became."""
        if meta is None:  # damaged: its head alone stays, and does not fit
            changed = bytearray(block[: _META.size].ljust(BLOCK_BYTES, b"\0"))
            return self._with_checksum(changed, wrong=_WRONG)
        changed = bytearray(block[: max(meta.meta_size, _META.size)].ljust(BLOCK_BYTES, b"\0"))
        offset = _META.size
        for payload, at in placed_payloads(meta, ring * BLOCK_SECTORS):
            if isinstance(payload, DataPayload | ParityPayload):
                blocks = [first + (at // BLOCK_SECTORS + n) % ring
                          for n in range(len(payload.checksums))]  # fmt: skip
                sums = self._checksums(payload.checksums, blocks, old, new)
                struct.pack_into(f"<{len(sums)}I", changed, offset + 16, *sums)
                offset += 16 + 4 * len(sums)
            elif isinstance(payload, FlushPayload):
                offset += 8 + payload.size
            elif isinstance(payload, UnknownPayload):
                offset += 8
        return self._with_checksum(changed)

    def _checksums(
        self, stored: Sequence[int], blocks: Sequence[int], old: DiskContent, new: DiskContent
    ) -> list[int]:
        sums = []
        for checksum, number in zip(stored, blocks, strict=True):
            fits = checksum == page_checksum(self._seed, old.block(number))
            sums.append(page_checksum(self._new_seed, new.block(number)) ^ (0 if fits else _WRONG))
        return sums

    def _with_checksum(self, block: bytearray, *, wrong: int = 0) -> bytes:
        checksum = meta_checksum(self._new_seed, bytes(block)) ^ wrong
        struct.pack_into("<I", block, 4, checksum)
        return bytes(block)
