"""Each row of the table of eras (format document, 4.7) as a journal that tells its columns apart.

What each column does is written down here from that document and, for 4.4-rc1 and 4.4, from their
recovery code. RAID-5 of four, left-symmetric, chunks of a page: stripe 0 is "0 1 2 P", stripe 8
"4 5 P 3", stripe 16 "8 P 6 7", in pages of 8 sectors.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import NamedTuple

import pytest

from harness.recovery.era import ERAS
from harness.recovery.geometry import Geometry
from harness.recovery.layout import Level, layout_of
from harness.recovery.log import UndefinedRecovery
from harness.recovery.plan import RecoveryPlan, plan_recovery
from testcases.journal_writer import Data, Flush, Parity, Payload, Raw, Ring, raw_crc32c
from testcases.unit.written_logs import SEQ, U, flip, log_of, page, ring_of

COLUMNS = ("4.4-rc1", "4.4", "4.9", "4.10", "4.11", "4.12", "6.1.175", "6.12.117")
RAID5 = Geometry(
    layout=layout_of(Level.RAID5, 2), raid_disks=4, chunk_sectors=8, component_sectors=1024
)
RAID6 = Geometry(
    layout=layout_of(Level.RAID6, 2), raid_disks=5, chunk_sectors=8, component_sectors=1024
)
LAST = 2**64 - 1


class Stripe(NamedTuple):
    """A stripe that is written: its sector, and for each device the page's place in the log."""

    sector: int
    pages: dict[int, int]


class Undefined:
    """The kernel leaves its buffers: there is no outcome."""


UNDEFINED = Undefined()


def by_column(*rows: tuple[str, Sequence[object]]) -> pytest.MarkDecorator:
    """Parametrise by era: each of *rows* is an id and the outcome in every column."""
    return pytest.mark.parametrize(
        ("case", "era", "wanted"),
        [
            pytest.param(case, era, wanted, id=f"{case}-{era}")
            for case, outcomes in rows
            for era, wanted in zip(COLUMNS, outcomes, strict=True)
        ],
    )


def written(*metas: Sequence[Payload], first_seq: int = SEQ, ring: Ring | None = None) -> Ring:
    ring, position = ring or ring_of(), 0
    for number, payloads in enumerate(metas):
        seq = (first_seq + number) % 2**64
        position = ring.append(seq=seq, position=position, payloads=payloads)
    return ring


def data(number: int) -> Data:
    """Log page *number* of the array."""
    return Data(8 * number, [page(1 + number)])


def parity(stripe: int, pages: int = 1) -> Parity:
    return Parity(stripe, [page(100 + stripe + n) for n in range(pages)])


FIRST = (data(0), parity(0))  # a whole stripe's write: 8 sectors for the meta and 16 for the pages
SECOND = (data(3), parity(8))
THIRD = (data(6), parity(16))


def outcome(ring: Ring, era: str, geometry: Geometry = RAID5) -> RecoveryPlan | Undefined:
    try:
        return plan_recovery(
            log_of(ring, era=ERAS[era], parities=geometry.level.parities), geometry
        )
    except UndefinedRecovery:
        return UNDEFINED


def planned(ring: Ring, era: str, geometry: Geometry = RAID5) -> RecoveryPlan:
    found = outcome(ring, era, geometry)
    assert isinstance(found, RecoveryPlan), "this has an outcome"
    return found


def stripes(plan: RecoveryPlan) -> list[Stripe]:
    return [
        Stripe(int(one.stripe), {device: int(at) for device, at in one.pages})
        for one in plan.replays
    ]


def end(plan: RecoveryPlan) -> tuple[int, int]:
    assert plan.ended is not None
    return int(plan.ended.position), plan.ended.seq


def test_columns_are_the_eras_in_their_order() -> None:
    assert tuple(ERAS) == COLUMNS


# Unit of verification; end after a page mismatch; sequence jump.

WRITTEN_BEFORE_THE_BAD = [Stripe(0, {0: 8, 3: 16})]


@by_column(
    ("bad-data-page", (*3 * [WRITTEN_BEFORE_THE_BAD], *5 * [[]])),
    ("bad-parity-page", (*3 * [WRITTEN_BEFORE_THE_BAD], *5 * [[]])),
)
def test_unit_of_verification(case: str, era: str, wanted: list[Stripe]) -> None:
    ring = written([*FIRST, *SECOND, *THIRD])
    flip(ring, {"bad-data-page": 24, "bad-parity-page": 32}[case], 4095)
    assert stripes(planned(ring, era)) == wanted


@by_column(
    ("end", (*3 * [(48, SEQ + 2)], *5 * [(56, SEQ + 3)])),
    ("empty-meta", (*3 * [(48, SEQ + 2 + 10)], *5 * [(56, SEQ + 3 + 10000)])),
)
def test_end_after_a_bad_page(case: str, era: str, wanted: tuple[int, int]) -> None:
    ring = written(FIRST, SECOND, THIRD, FIRST)
    flip(ring, 56)
    plan = planned(ring, era)
    assert plan.empty_meta is not None
    empty = (int(plan.empty_meta.position), plan.empty_meta.seq)
    assert {"end": end(plan), "empty-meta": empty}[case] == wanted
    assert (plan.metas_accepted, plan.metas_dropped) == (2, 1)
    assert plan.journal_tail == plan.empty_meta.position


@by_column(("two-metas", (10, 10, 10, 10000, 10000, 10000, 10000, 10000)))
def test_sequence_jump(case: str, era: str, wanted: int) -> None:
    plan = planned(written(FIRST, SECOND), era)
    assert plan.empty_meta is not None
    assert (plan.empty_meta.position, plan.empty_meta.seq) == (48, SEQ + 2 + wanted)


# Empty meta condition: for each journal the sequence of the empty meta, None where there is none.

EMPTY_METAS = {
    # id: (metas, first sequence); "bad" has a damaged page in its only meta
    "one-meta": (1, SEQ),
    "two-metas": (2, SEQ),
    "no-meta": (0, SEQ),
    "one-meta-at-the-last-number": (1, LAST),
    "two-metas-up-to-the-last-number": (2, LAST - 1),
    "two-metas-over-the-last-number": (2, LAST),
    "two-metas-before-the-last-number": (2, LAST - 2),
    "no-meta-at-the-last-number": (0, LAST),
}


@by_column(
    ("one-meta", (None, None, SEQ + 11, *5 * [SEQ + 10001])),
    ("two-metas", (*3 * [SEQ + 12], *5 * [SEQ + 10002])),
    # Since 4.10 a bad page uses its meta's number up; before, nothing was accepted.
    ("no-meta", (None, None, None, *5 * [SEQ + 10001])),
    # next > first + 1 and next > first are comparisons of unsigned 64-bit numbers:
    ("one-meta-at-the-last-number", (None, None, None, *5 * [10000])),  # 0 > 0; 0 > LAST
    ("two-metas-up-to-the-last-number", (None, None, None, *5 * [10000])),  # 0 > LAST
    ("two-metas-over-the-last-number", (11, 11, None, *5 * [10001])),  # 1 > 0; 1 > LAST
    ("two-metas-before-the-last-number", (9, 9, 9, *5 * [9999])),  # LAST > LAST - 1
    ("no-meta-at-the-last-number", (9, 9, None, *5 * [10000])),  # LAST > 0; LAST > LAST
)
def test_empty_meta_condition(case: str, era: str, wanted: int | None) -> None:
    metas, first_seq = EMPTY_METAS[case]
    ring = written(*[FIRST] * max(metas, 1), first_seq=first_seq)
    if not metas:
        flip(ring, 8)
    plan = planned(ring, era)
    assert (plan.empty_meta and plan.empty_meta.seq) == wanted
    assert plan.journal_tail == (0 if wanted is None else end(plan)[0])


@by_column(("data-only-stripe", (*3 * [UNDEFINED], *5 * [None])))
def test_no_empty_meta_where_a_data_only_stripe_is_logged_anew(
    case: str, era: str, wanted: object
) -> None:
    found = outcome(written(FIRST, [data(3)]), era)
    if not isinstance(found, RecoveryPlan):
        assert found is wanted
        return
    assert found.empty_meta is wanted
    assert [(meta.position, meta.seq) for meta in found.rewritten] == [(40, SEQ + 10002)]
    assert found.journal_tail == 40


# Empty meta on the create path: position, and how far its number is from the one drawn.


@by_column(("bad-tail", ([], [], [(0, 0), (8, 11)], *5 * [[(0, 0)]])))
def test_create_path(case: str, era: str, wanted: list[tuple[int, int]]) -> None:
    ring = written(FIRST, SECOND)
    flip(ring, 0, 4)
    plan = planned(ring, era)
    assert [(int(m.position), m.from_drawn) for m in plan.empty_metas] == wanted
    assert all(meta.seq is None for meta in plan.empty_metas)
    assert plan.journal_tail == (wanted[-1][0] if wanted else 0)
    assert (plan.replays, plan.message) == ((), None)


# DATA without PARITY, PARITY without DATA, FLUSH.

# The later DATA also moves the parity device, and all goes to the first one's stripe.
CLOSED_BY_THE_NEXT = [Stripe(0, {0: 8, 3: 16, 2: 24})]


@by_column(
    ("next-parity", (*3 * [CLOSED_BY_THE_NEXT], *5 * [[Stripe(8, {3: 16, 2: 24})]])),
    ("no-parity", (*3 * [UNDEFINED], *5 * [[]])),
    ("no-parity-last", (*3 * [UNDEFINED], *5 * [[Stripe(8, {3: 8, 2: 16})]])),
)
def test_data_without_parity(case: str, era: str, wanted: object) -> None:
    metas: dict[str, Sequence[Payload]] = {
        "next-parity": (data(0), *SECOND),
        "no-parity": (data(0),),
        "no-parity-last": (*SECOND, data(0)),
    }
    found = outcome(written(metas[case]), era)
    if not isinstance(found, RecoveryPlan):
        assert found is wanted
        return
    assert stripes(found) == wanted
    if wanted is not CLOSED_BY_THE_NEXT:
        assert [stripe.stripe for stripe in found.data_only] == [0]
        assert found.written_out == (era != "4.10")  # 4.10 leaves them in the stripe cache


# Stripe sector 8, taken for an array sector, is page 1: stripe 0, parity on device 3.
TAKEN_FOR_AN_ARRAY_SECTOR = [Stripe(0, {3: 8})]


@by_column(("parity", (*3 * [TAKEN_FOR_AN_ARRAY_SECTOR], *5 * [[]])))
def test_parity_without_data(case: str, era: str, wanted: list[Stripe]) -> None:
    plan = planned(written([parity(8)]), era)
    assert stripes(plan) == wanted
    assert plan.metas_accepted == 1


@by_column(
    ("drops", (*3 * [UNDEFINED], *2 * [[0]], *3 * [[]])),
    ("accepted", (*3 * [UNDEFINED], *2 * [[1, 1]], *3 * [[2, 0]])),
)
def test_flush(case: str, era: str, wanted: object) -> None:
    found = outcome(written(FIRST, [Flush([0])]), era)
    if not isinstance(found, RecoveryPlan):
        assert found is wanted
        return
    fates = {
        "drops": [stripe.sector for stripe in stripes(found)],
        "accepted": [found.metas_accepted, found.metas_dropped],
    }
    assert fates[case] == wanted
    assert end(found) == (32, SEQ + 2)  # a FLUSH has no pages, so both ways end there


# Descriptor bound checks. Where a meta is taken, the stripes that it writes; else DROPPED.

DROPPED = None
SUM = raw_crc32c(U, page(1))
ONE = Stripe(0, {0: 8, 3: 16})


def page_with_checksum(wanted: int) -> bytes:
    """Return a page with that checksum: its last bytes steer the register there, one by one."""
    low = {raw_crc32c(byte, b"\0") >> 24: byte for byte in range(256)}
    register = wanted
    steps = []
    for _ in range(4):  # backwards: the register's top byte tells which table row came in
        row = low[register >> 24]
        register = (register ^ raw_crc32c(row, b"\0")) << 8 & 0xFFFFFFFF
        steps.append(row)
    found = bytearray(page(1)[:4092])
    register = raw_crc32c(U, bytes(found))
    for row in reversed(steps):
        found.append(row ^ register & 0xFF)
        register = raw_crc32c(register, bytes(found[-1:]))
    return bytes(found)


def sized(kind: int, location: int, size: int, *sums: int) -> bytes:
    return struct.pack(f"<HHIQ{len(sums)}I", kind, 0, size, location, *sums)


STEERED = page_with_checksum(1)  # the type and flags of a PARITY are its checksum
FULL = [Data(8 * n, [page(1)], checksums=[SUM]) for n in range(200)]
LONG = [Data(8 * n, [page(1)] * 2, checksums=[SUM] * 2) for n in range(2)]
TO_THE_END = [*FULL, *LONG]  # 32 + 200 * 20 + 2 * 24: 16 bytes are left of the block

BOUNDS: dict[str, tuple[Sequence[Payload], bytes]] = {
    # A DATA of no pages has 16 bytes; its page's checksum is sought in the next descriptor.
    "data-of-no-pages-in-the-middle": (
        [Raw(sized(0, 0, 0), pages=[STEERED]), Raw(sized(1, 0, 8, 1))], b""
    ),
    "data-of-half-a-page-in-the-middle": (
        [Raw(sized(0, 0, 7), pages=[STEERED]), Raw(sized(1, 0, 8, 1))], b""
    ),
    "data-of-no-pages-last": ([Raw(sized(0, 0, 0), pages=[page(1)])], struct.pack("<I", SUM)),
    "data-of-no-pages-at-the-blocks-end": ([*TO_THE_END, Raw(sized(0, 0, 0))], b""),
    "data-longer-than-the-list": ([Raw(sized(0, 0, 16, SUM), pages=[page(1)])], b""),
    "data-longer-than-the-block": ([Raw(sized(0, 0, 2**32 - 8, SUM), pages=[page(1)])], b""),
    "parity-longer-than-the-list": (
        [data(0), Parity(0, [page(1)], size=64, checksums=[SUM])], b""
    ),
    "parity-longer-than-the-block": (
        [data(0), Parity(0, [page(1)], size=2**32 - 1, checksums=[SUM])], b""
    ),
    "parity-over-the-next-stripe": (
        [data(0), Parity(0, [page(1)], size=88, checksums=[SUM]), *SECOND], b""
    ),
    "flush-longer-than-the-list": ([*FIRST, Flush([8], size=16)], b""),
    "flush-longer-than-the-block": ([*FIRST, Flush([8], size=4096)], b""),
    "flush-at-the-blocks-end": ([*TO_THE_END, Flush([8], size=16)], b""),
    "head-at-the-blocks-end": ([*TO_THE_END, Flush([8])], b""),
    "trailing-byte": ([*FIRST, Raw(b"\xff")], b""),
    "trailing-word": ([*FIRST, Raw(b"\xff" * 4)], b""),
    "unknown-type": ([*FIRST, Raw(sized(3, 0, 8, SUM))], b""),
}  # fmt: skip
DATA_AND_PARITY_ON_ONE_PAGE = Stripe(0, {0: 8, 3: 8})


@by_column(
    ("data-of-no-pages-in-the-middle",
     (*7 * [[DATA_AND_PARITY_ON_ONE_PAGE]], DROPPED)),
    # What follows is looked for inside the first page, and read ahead as that page (4.12).
    ("data-of-half-a-page-in-the-middle",
     (*5 * [DROPPED], *2 * [[DATA_AND_PARITY_ON_ONE_PAGE]], DROPPED)),
    ("data-of-no-pages-last", (*3 * [UNDEFINED], *4 * [[]], DROPPED)),
    ("data-of-no-pages-at-the-blocks-end", (*7 * [UNDEFINED], DROPPED)),
    ("data-longer-than-the-list", (*3 * [UNDEFINED], *3 * [[]], *2 * [DROPPED])),
    ("data-longer-than-the-block", (*3 * [UNDEFINED], *3 * [[]], *2 * [DROPPED])),
    ("parity-longer-than-the-list", (*6 * [[ONE]], *2 * [DROPPED])),
    ("parity-longer-than-the-block", (*6 * [[ONE]], *2 * [DROPPED])),
    # It ends where the list ends, so it fits, and the stripe behind it is not looked at.
    ("parity-over-the-next-stripe", 8 * [[ONE]]),
    # The list goes on in the zeroes behind it: stripe 0 is flushed as well.
    ("flush-longer-than-the-list", (*3 * [UNDEFINED], *2 * [DROPPED], [], *2 * [DROPPED])),
    ("flush-longer-than-the-block",
     (*3 * [UNDEFINED], *2 * [DROPPED], UNDEFINED, *2 * [DROPPED])),
    ("flush-at-the-blocks-end", (*3 * [UNDEFINED], *2 * [DROPPED], UNDEFINED, *2 * [DROPPED])),
    ("head-at-the-blocks-end", (*3 * [UNDEFINED], *2 * [DROPPED], *3 * [[]])),
    ("trailing-byte", (*3 * [UNDEFINED], *4 * [DROPPED], [ONE])),
    ("trailing-word", (*3 * [UNDEFINED], *5 * [DROPPED])),
    ("unknown-type", (*3 * [UNDEFINED], *5 * [DROPPED])),
)  # fmt: skip
def test_descriptor_bounds(case: str, era: str, wanted: object) -> None:
    payloads, behind = BOUNDS[case]
    ring = ring_of(2048)
    ring.append(seq=SEQ, position=0, payloads=payloads, tail_bytes=behind)
    found = outcome(ring, era)
    if not isinstance(found, RecoveryPlan):
        assert found is wanted
        return
    taken = stripes(found) if found.metas_accepted else DROPPED
    assert taken == wanted
    ended = (0, SEQ) if era in COLUMNS[:3] else (8, SEQ + 1)
    assert taken is not DROPPED or end(found) == ended


@by_column(("p-alone", (*7 * [[Stripe(0, {1: 8, 4: 16, 0: 24})]], DROPPED)))
def test_raid_6_parity_of_one_page(case: str, era: str, wanted: object) -> None:
    # Q is sought one page on, and its checksum behind the descriptor, whatever the size says.
    one = Raw(sized(1, 0, 8, raw_crc32c(U, page(2))), pages=[page(2), page(3)])
    ring = ring_of()
    behind = struct.pack("<I", raw_crc32c(U, page(3)))
    ring.append(seq=SEQ, position=0, payloads=[data(0), one], tail_bytes=behind)
    plan = planned(ring, era, RAID6)
    assert (stripes(plan) if plan.metas_accepted else DROPPED) == wanted
    assert end(plan) == ((8 if wanted is DROPPED else 32), SEQ + 1)


# Message.


@by_column(
    ("something", (*5 * [None], *3 * ["recovering 0 data-only stripes and 1 data-parity stripes"])),
    ("nothing", (*5 * [None], *3 * ["starting from clean shutdown"])),
)
def test_message(case: str, era: str, wanted: str | None) -> None:
    assert planned(written(FIRST if case == "something" else ()), era).message == wanted
