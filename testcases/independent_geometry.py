"""An md array's geometry: the superblock that states it, and where it puts data, P and Q.

Sources: md-journal-format.md sections 1 and 5, which the numbers below are of. Slow and obvious on
purpose, and imports nothing of the project, so that a mistake here and a mistake in the code under
test cannot cancel out.
"""

import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from typing import Annotated, NamedTuple, TypeAlias, TypedDict, Unpack, get_type_hints

# 512-byte sectors, three origins: the md device, a member's data_offset, the log's block 0.
# Aliases, not NewTypes: a test may pass plain numbers or the NewTypes of the code under test.
ArraySector: TypeAlias = int
StripeSector: TypeAlias = int
LogSector: TypeAlias = int
Contents: TypeAlias = Callable[[ArraySector], bytes]  # the 4096 bytes that start at an array sector

PAGE_BYTES = 4096
PAGE_SECTORS = 8
ZERO_PAGE = bytes(PAGE_BYTES)
SUPERBLOCK_MAGIC = 0xA92B4EFC
ROLE_SPARE, ROLE_FAULTY, ROLE_JOURNAL = 0xFFFF, 0xFFFE, 0xFFFD
FEATURE_JOURNAL = 512
RESYNC_DONE = 2**64 - 1  # resync_offset of a clean array

_GF_POLYNOMIAL = 0x11D  # x^8 + x^4 + x^3 + x^2 + 1
_GF_GENERATOR = 2
_DDF_LAYOUTS = (8, 9, 10)  # the layouts whose Q exponents are device numbers
_ON_ONE_DISK_LESS = (16, 17, 18, 19)  # RAID5 layouts 0 to 3 over n-1 disks, Q on the last


def zero_contents(_array_sector: ArraySector) -> bytes:
    """Contents of an array of zeros."""
    return ZERO_PAGE


class Place(NamedTuple):
    """Where one array sector lives (5.1)."""

    device: int  # slot of the member
    member_sector: StripeSector  # sectors after the member's data_offset, not rounded to a page
    pd_idx: int  # slot of P in this row
    qd_idx: int | None  # slot of Q in this row; None unless RAID6


class _Row(NamedTuple):
    """One line of table 5.1."""

    p: Callable[[int, int], int]  # (n, row) -> slot of P
    q: Callable[[int, int], int]  # (n, P) -> slot of Q
    d: Callable[[int, int, int], int]  # (n, P, k) -> slot of the k-th data chunk


def _no_q(_n: int, _p: int) -> int:
    raise AssertionError("RAID4 and RAID5 have no Q")


def _q_next_or_first(n: int, p: int) -> int:
    return 0 if p == n - 1 else p + 1


def _d_skips_p(_n: int, p: int, k: int) -> int:
    return k + (1 if k >= p else 0)


def _d_skips_p_and_q(n: int, p: int, k: int) -> int:
    if p == n - 1:
        return k + 1
    return k + (2 if k >= p else 0)


_RAID4 = _Row(lambda n, _row: n - 1, _no_q, lambda _n, _p, k: k)
_RAID5 = {
    0: _Row(lambda n, row: (n - 1) - row % n, _no_q, _d_skips_p),
    1: _Row(lambda n, row: row % n, _no_q, _d_skips_p),
    2: _Row(lambda n, row: (n - 1) - row % n, _no_q, lambda n, p, k: (p + 1 + k) % n),
    3: _Row(lambda n, row: row % n, _no_q, lambda n, p, k: (p + 1 + k) % n),
    4: _Row(lambda _n, _row: 0, _no_q, lambda _n, _p, k: k + 1),
    5: _Row(lambda n, _row: n - 1, _no_q, lambda _n, _p, k: k),
}
_RAID6 = {
    0: _Row(lambda n, row: n - 1 - row % n, _q_next_or_first, _d_skips_p_and_q),
    1: _Row(lambda n, row: row % n, _q_next_or_first, _d_skips_p_and_q),
    2: _Row(
        lambda n, row: n - 1 - row % n,
        lambda n, p: (p + 1) % n,
        lambda n, p, k: (p + 2 + k) % n,
    ),
    3: _Row(lambda n, row: row % n, lambda n, p: (p + 1) % n, lambda n, p, k: (p + 2 + k) % n),
    4: _Row(lambda _n, _row: 0, lambda _n, _p: 1, lambda _n, _p, k: k + 2),
    5: _Row(lambda n, _row: n - 2, lambda n, _p: n - 1, lambda _n, _p, k: k),
    8: _Row(lambda n, row: row % n, _q_next_or_first, _d_skips_p_and_q),
    9: _Row(lambda n, row: n - 1 - (row + 1) % n, _q_next_or_first, _d_skips_p_and_q),
    10: _Row(
        lambda n, row: n - 1 - row % n,
        lambda n, p: (p - 1 + n) % n,
        lambda n, p, k: (p + 1 + k) % n,
    ),
    20: _Row(lambda _n, _row: 0, lambda n, _p: n - 1, lambda _n, _p, k: k + 1),
}

# (level, layout number) of every combination of table 5.1, in the table's order.
LAYOUTS: tuple[tuple[int, int], ...] = (
    (4, 0),
    *((5, layout) for layout in range(6)),
    *((6, layout) for layout in (0, 1, 2, 3, 4, 5, 8, 9, 10, *_ON_ONE_DISK_LESS, 20)),
)


def data_disks(*, level: int, raid_disks: int) -> int:
    """How many chunks of a row hold data: "dd" in section 5."""
    assert level in (4, 5, 6), f"level {level} has no write journal"
    count = raid_disks - (2 if level == 6 else 1)
    assert count >= 1, f"{raid_disks} disks are too few for level {level}"
    return count


def _slots(level: int, layout: int, raid_disks: int, row: int, k: int) -> tuple[int, int, int]:
    """Slots of P, of Q (meaningless unless RAID6) and of the k-th data chunk."""
    assert (level, layout) in LAYOUTS, f"level {level} has no layout {layout}"
    n = raid_disks
    if level == 6 and layout in _ON_ONE_DISK_LESS:
        inner = _RAID5[layout - 16]
        p = inner.p(n - 1, row)
        return p, n - 1, inner.d(n - 1, p, k)
    line = {4: {0: _RAID4}, 5: _RAID5, 6: _RAID6}[level][layout]
    p = line.p(n, row)
    return p, line.q(n, p) if level == 6 else -1, line.d(n, p, k)


def place(
    *, level: int, layout: int, raid_disks: int, chunk_sectors: int, array_sector: ArraySector
) -> Place:
    """Map one sector of the md device to its member (5.1)."""
    dd = data_disks(level=level, raid_disks=raid_disks)
    assert chunk_sectors > 0, f"chunk of {chunk_sectors} sectors"
    assert chunk_sectors % PAGE_SECTORS == 0, f"chunk of {chunk_sectors} sectors is not whole pages"
    assert array_sector >= 0, f"array sector {array_sector}"
    chunk, sector_in_chunk = divmod(array_sector, chunk_sectors)
    row, k = divmod(chunk, dd)
    p, q, device = _slots(level, layout, raid_disks, row, k)
    parities = {p, q} if level == 6 else {p}
    assert len({device, *parities}) == 1 + len(parities), "P, Q and data share a slot"
    assert all(0 <= slot < raid_disks for slot in (device, *parities)), "slot out of range"
    return Place(device, row * chunk_sectors + sector_in_chunk, p, q if level == 6 else None)


def stripe_map(
    *, level: int, layout: int, raid_disks: int, chunk_sectors: int, stripe_sector: StripeSector
) -> dict[ArraySector, Place]:
    """Say which array sectors one stripe sector holds, data slots ascending.

    The inverse of `place` (5.2), found by mapping every candidate forward.
    """
    assert stripe_sector >= 0, f"stripe sector {stripe_sector}"
    dd = data_disks(level=level, raid_disks=raid_disks)
    row, sector_in_chunk = divmod(stripe_sector, chunk_sectors)
    found: list[tuple[ArraySector, Place]] = []
    for k in range(dd):
        array_sector = (row * dd + k) * chunk_sectors + sector_in_chunk
        at = place(
            level=level,
            layout=layout,
            raid_disks=raid_disks,
            chunk_sectors=chunk_sectors,
            array_sector=array_sector,
        )
        assert at.member_sector == stripe_sector, "the inverse map does not map back"
        found.append((array_sector, at))
    assert len({at.device for _, at in found}) == dd, "two data chunks of a row share a member"
    return dict(sorted(found, key=lambda pair: pair[1].device))


def gf_multiply(a: int, b: int) -> int:
    """Multiply two elements of GF(2^8) modulo 0x11d (5.3), bit by bit."""
    assert 0 <= a <= 0xFF, f"{a} is not a byte"
    assert 0 <= b <= 0xFF, f"{b} is not a byte"
    product = 0
    while b:
        if b & 1:
            product ^= a
        a <<= 1
        if a & 0x100:
            a ^= _GF_POLYNOMIAL
        b >>= 1
    return product


def p_of(pages: Iterable[bytes]) -> bytes:
    """P: the XOR of all data pages of a stripe (5.3)."""
    total = 0
    for page in pages:
        assert len(page) == PAGE_BYTES, f"a page has {PAGE_BYTES} bytes, got {len(page)}"
        total ^= int.from_bytes(page, "big")
    return total.to_bytes(PAGE_BYTES, "big")


def q_exponents(*, layout: int, raid_disks: int, pd_idx: int, qd_idx: int) -> dict[int, int]:
    """Exponent of the generator for each data slot of a RAID6 row (5.3)."""
    assert (6, layout) in LAYOUTS, f"level 6 has no layout {layout}"
    assert pd_idx != qd_idx, f"P and Q are both on {pd_idx}"
    assert 0 <= pd_idx < raid_disks, f"P is on {pd_idx} of {raid_disks} disks"
    assert 0 <= qd_idx < raid_disks, f"Q is on {qd_idx} of {raid_disks} disks"
    if layout in _DDF_LAYOUTS:
        return {slot: slot for slot in range(raid_disks) if slot not in (pd_idx, qd_idx)}
    walk = [(qd_idx + 1 + step) % raid_disks for step in range(raid_disks)]
    data_slots = [slot for slot in walk if slot not in (pd_idx, qd_idx)]
    return {slot: exponent for exponent, slot in enumerate(data_slots)}


def q_of(
    pages: Mapping[int, bytes], *, layout: int, raid_disks: int, pd_idx: int, qd_idx: int
) -> bytes:
    """Q of a RAID6 stripe (5.3); `pages` maps each data slot to its page.

    All data slots are wanted, the failed ones too: a missing device's page counts with the
    contents it would have.
    """
    exponents = q_exponents(layout=layout, raid_disks=raid_disks, pd_idx=pd_idx, qd_idx=qd_idx)
    assert set(pages) == set(exponents), f"data slots are {sorted(exponents)}, got {sorted(pages)}"
    scaled = []
    for slot, page in pages.items():
        factor = 1
        for _ in range(exponents[slot]):
            factor = gf_multiply(factor, _GF_GENERATOR)
        scaled.append(page.translate(_multiples(factor)))
    return p_of(scaled)


@cache
def _multiples(factor: int) -> bytes:
    return bytes(gf_multiply(factor, byte) for byte in range(256))


def whole_stripe(
    *,
    level: int,
    layout: int,
    raid_disks: int,
    chunk_sectors: int,
    stripe_sector: StripeSector,
    contents: Contents,
) -> dict[int, bytes]:
    """Pages of one stripe by slot, P and Q included, of an array that holds `contents` (5)."""
    shape = {"level": level, "layout": layout, "raid_disks": raid_disks}
    stripe = stripe_map(**shape, chunk_sectors=chunk_sectors, stripe_sector=stripe_sector)
    at = next(iter(stripe.values()))
    data = {where.device: contents(array_sector) for array_sector, where in stripe.items()}
    pages = {**data, at.pd_idx: p_of(data.values())}
    if at.qd_idx is not None:
        numbers = {"raid_disks": raid_disks, "pd_idx": at.pd_idx, "qd_idx": at.qd_idx}
        pages[at.qd_idx] = q_of(data, layout=layout, **numbers)
    return dict(sorted(pages.items()))


def little_endian(code: str, value: int, what: str) -> bytes:
    """Pack one number by its struct code (lower case: signed), or say which one does not fit."""
    bits = 8 * struct.calcsize("<" + code)
    low = -(1 << (bits - 1)) if code.islower() else 0
    assert isinstance(value, int), f"{what} is {value!r}, not a number"
    assert low <= value < low + (1 << bits), f"{what} {value:#x} does not fit {bits} bits"
    return struct.pack("<" + code, value)


class SuperblockFields(TypedDict, total=False):
    """Fields of a v1.x superblock: offset in bytes and struct code as in table 1.2.

    Lower-case codes are signed. Absent fields are 0 except for those `superblock` names.
    """

    magic: Annotated[int, 0, "I"]
    major_version: Annotated[int, 4, "I"]
    feature_map: Annotated[int, 8, "I"]  # bits in 1.3
    pad0: Annotated[int, 12, "I"]
    set_uuid: Annotated[bytes, 16, "16s"]
    set_name: Annotated[bytes, 32, "32s"]  # NUL padded
    ctime: Annotated[int, 64, "Q"]  # low 40 bits seconds, high 24 bits microseconds
    level: Annotated[int, 72, "i"]
    layout: Annotated[int, 76, "I"]
    size: Annotated[int, 80, "Q"]  # sectors used of each member; the same on the journal
    chunksize: Annotated[int, 88, "I"]  # sectors
    raid_disks: Annotated[int, 92, "I"]  # journal not counted
    bitmap_offset: Annotated[int, 96, "i"]  # sectors after super_offset
    ppl_offset: Annotated[int, 96, "h"]  # sectors after super_offset; excludes bitmap_offset
    ppl_size: Annotated[int, 98, "H"]  # sectors; excludes bitmap_offset
    new_level: Annotated[int, 100, "I"]
    reshape_position: Annotated[int, 104, "Q"]
    delta_disks: Annotated[int, 112, "I"]
    new_layout: Annotated[int, 116, "I"]
    new_chunk: Annotated[int, 120, "I"]
    new_offset: Annotated[int, 124, "I"]
    data_offset: Annotated[int, 128, "Q"]  # device sector of the data area or of log block 0
    data_size: Annotated[int, 136, "Q"]  # sectors usable from data_offset
    super_offset: Annotated[int, 144, "Q"]  # device sector of this superblock
    recovery_offset: Annotated[int, 152, "Q"]  # members; excludes journal_tail
    journal_tail: Annotated[int, 152, "Q"]  # journal: LogSector of the tail
    dev_number: Annotated[int, 160, "I"]  # index into dev_roles
    cnt_corrected_read: Annotated[int, 164, "I"]
    device_uuid: Annotated[bytes, 168, "16s"]
    devflags: Annotated[int, 184, "B"]
    bblog_shift: Annotated[int, 185, "B"]
    bblog_size: Annotated[int, 186, "H"]  # sectors
    bblog_offset: Annotated[int, 188, "i"]  # sectors after super_offset
    utime: Annotated[int, 192, "Q"]  # as ctime
    events: Annotated[int, 200, "Q"]
    resync_offset: Annotated[int, 208, "Q"]  # sectors
    csum: Annotated[int, 216, "I"]  # a wrong sb_csum; absent: the right one
    max_dev: Annotated[int, 220, "I"]
    logical_block_size: Annotated[int, 224, "I"]  # bytes; pad3 on older kernels
    pad3: Annotated[bytes, 228, "28s"]
    dev_roles: Sequence[int]  # u16 from byte 256; short lists are filled up with ROLE_SPARE
    minor_version: int  # not stored: gives super_offset (1.1)
    device_sectors: int  # not stored: only minor_version 0 needs it


_SUPERBLOCK_DEFAULTS: SuperblockFields = {
    "magic": SUPERBLOCK_MAGIC, "major_version": 1, "feature_map": FEATURE_JOURNAL,
    "max_dev": 128, "events": 1, "resync_offset": RESYNC_DONE, "minor_version": 2,
}  # fmt: skip
_SUPERBLOCK_WANTED = frozenset((
    "set_uuid", "level", "layout", "size", "chunksize", "raid_disks", "data_offset", "data_size",
    "dev_number", "dev_roles",
))  # fmt: skip


@cache
def _on_disk() -> dict[str, tuple[int, str]]:
    """Offset and struct code of every stored field."""
    hints = get_type_hints(SuperblockFields, include_extras=True)
    return {
        name: hint.__metadata__ for name, hint in hints.items() if hasattr(hint, "__metadata__")
    }


def superblock_sector(*, minor_version: int, device_sectors: int | None = None) -> int:
    """Device sector of the superblock of metadata 1.`minor_version` (1.1)."""
    if minor_version == 0:
        assert device_sectors is not None, "metadata 1.0 is found from device_sectors"
        assert device_sectors >= 24, f"{device_sectors} sectors hold no superblock at the end"
        return (device_sectors - 16) // 8 * 8
    return {1: 0, 2: 8}[minor_version]


def sb_csum(body: bytes) -> int:
    """The superblock checksum (1.4) of `256 + 2*max_dev` bytes whose checksum bytes are zero."""
    assert len(body) % 2 == 0, f"{len(body)} bytes are not whole roles"
    total = sum(int.from_bytes(body[at : at + 4], "little") for at in range(0, len(body), 4))
    return ((total & 0xFFFFFFFF) + (total >> 32)) & 0xFFFFFFFF


def superblock(
    base: SuperblockFields | None = None, /, **changes: Unpack[SuperblockFields]
) -> bytes:
    """Build a v1.x superblock (1.2): `256 + 2*max_dev` bytes, zero-padded to 4096.

    The fields that shape an array must be given, in `base` or by name (which wins). The rest
    defaults to a clean array with feature bit 512, metadata 1.2 and 128 roles. No feature bit
    follows from a field: recovery_offset needs bit 2 in `feature_map` to mean anything. A `max_dev`
    above 1920 is stored as asked, and the roles and the checksum end with the block.
    """
    fields = changes if base is None else base | changes
    unknown = fields.keys() - SuperblockFields.__annotations__.keys()
    assert not unknown, f"a superblock has no {sorted(unknown)}"
    assert set(fields) >= _SUPERBLOCK_WANTED, f"not given: {_SUPERBLOCK_WANTED - set(fields)}"
    values: dict[str, object] = {**_SUPERBLOCK_DEFAULTS, **fields}
    if "super_offset" not in fields:
        minor, sectors = fields.get("minor_version", 2), fields.get("device_sectors")
        values["super_offset"] = superblock_sector(minor_version=minor, device_sectors=sectors)
    max_dev = fields.get("max_dev", 128)
    roles = list(fields["dev_roles"])
    assert len(roles) <= max_dev, f"{len(roles)} roles, max_dev is {max_dev}"
    room = min(max_dev, (PAGE_BYTES - 256) // 2)
    block = bytearray(256) + b"".join(little_endian("H", role, "role") for role in roles[:room])
    block += little_endian("H", ROLE_SPARE, "role") * (room - len(roles))
    written: set[int] = set()
    for name, (offset, code) in _on_disk().items():
        if name not in values:
            continue
        stored = _field(name, code, values[name])
        covered = set(range(offset, offset + len(stored)))
        assert not covered & written, f"{name} shares its bytes with another field given"
        written |= covered
        block[offset : offset + len(stored)] = stored
    if "csum" not in fields:
        block[216:220] = little_endian("I", sb_csum(bytes(block)), "sb_csum")
    return bytes(block).ljust(PAGE_BYTES, b"\0")


def _field(name: str, code: str, value: object) -> bytes:
    if not code.endswith("s"):
        assert isinstance(value, int), f"{name} is {value!r}, not a number"
        return little_endian(code, value, name)
    room = int(code[:-1])
    assert isinstance(value, bytes), f"{name} is {value!r}, not bytes"
    assert len(value) <= room, f"{name} has {room} bytes, got {len(value)}"
    assert len(value) == room or name == "set_name", f"{name} has {room} bytes, got {len(value)}"
    return value.ljust(room, b"\0")
