"""Descriptors that the first eras read otherwise than they were meant, and what comes of it.

Each outcome was seen by running the recovery functions of the two seeds themselves, unchanged, in
user space over the same bytes (format document, label [S]).
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

import pytest

from harness.recovery.era import ERAS
from harness.recovery.geometry import Geometry
from harness.recovery.layout import Level, layout_of
from harness.recovery.log import UndefinedRecovery
from harness.recovery.plan import plan_recovery
from testcases.journal_writer import Data, Flush, Parity, Payload, Raw, Ring, raw_crc32c
from testcases.unit.written_logs import SEQ, U, log_of, page, ring_of

RAID5 = Geometry(
    layout=layout_of(Level.RAID5, 2), raid_disks=3, chunk_sectors=8, component_sectors=64
)
FIRST_ERAS = ("4.4-rc1", "4.4")
Written = list[tuple[int, dict[int, int]]]  # stripe, and by device where in the log its page is


def written(ring: Ring, era: str, *, stripe_cache_size: int = 256) -> tuple[Written, int]:
    """Return the stripes that are written, and where the scan ends."""
    plan = plan_recovery(log_of(ring, era=ERAS[era]), RAID5, stripe_cache_size=stripe_cache_size)
    assert plan.ended is not None
    return [(r.stripe, dict(r.pages)) for r in plan.replays], plan.ended.position


def log(*payloads: Payload, meta_size: int | None = None) -> Ring:
    ring = ring_of()
    given = {} if meta_size is None else {"meta_size": meta_size}
    ring.append(seq=SEQ, position=0, payloads=payloads, **given)  # type: ignore[arg-type]
    return ring


def unknown(number: int) -> Raw:
    """Return a descriptor of type 3 with a page and its checksum."""
    raw = struct.pack("<HHIQI", 3, 0, 8, 0, raw_crc32c(U, page(number)))
    return Raw(raw, pages=[page(number)])


MOVED = (Data(0, [page(1)]), Data(16, [page(2)]), Parity(0, [page(3)]))


@pytest.mark.parametrize("era", FIRST_ERAS)
def test_a_stripe_in_the_cache_keeps_the_parity_that_foreign_data_gave_it(era: str) -> None:
    stripes, _ = written(log(*MOVED, Parity(0, [page(4)])), era)
    # Its second parity goes to device 1, where stripe 8 has it; stripe 0 has its own on 2.
    assert stripes == [(0, {0: 8, 2: 16, 1: 24}), (0, {1: 32})]


@pytest.mark.parametrize(("others", "kept"), [(2, True), (3, False)])
def test_what_the_cache_forgot_is_worked_out_anew(others: int, *, kept: bool) -> None:
    """With three stripes for this hash, the fourth one takes the place of the first."""
    ring = ring_of()
    at = ring.append(seq=SEQ, position=0, payloads=MOVED)
    for number in range(1, 1 + others):
        stripe = 64 * number  # of the same hash
        payloads = [Data(2 * stripe, [page(5)]), Parity(stripe, [page(6)])]
        at = ring.append(seq=SEQ + number, position=at, payloads=payloads)
    ring.append(seq=SEQ + 1 + others, position=at, payloads=[Parity(0, [page(4)])])
    stripes, _ = written(ring, "4.4", stripe_cache_size=17)
    assert list(stripes[-1][1]) == [1 if kept else 2]


@pytest.mark.parametrize("era", FIRST_ERAS)
@pytest.mark.parametrize(
    ("payloads", "wanted"),
    [
        # Read as parity of a stripe that goes on: the page's checksum is right.
        ([unknown(9), Data(0, [page(1)]), Parity(0, [page(2)])], [(0, {0: 16, 2: 24})]),
        ([Flush([0, 8]), Data(16, [page(1)]), Parity(8, [page(2)])], []),
        ([Data(0, [page(1)], size=0, checksums=[]), Parity(0, [page(2)])], []),
    ],
    ids=["unknown-type", "flush", "data-of-no-pages"],
)
def test_other_types_are_read_as_parity_and_close_nothing(
    era: str, payloads: Sequence[Payload], wanted: Written
) -> None:
    stripes, ended = written(log(*payloads), era)
    assert stripes == wanted
    assert (ended == 0) == (not wanted)


@pytest.mark.parametrize("era", FIRST_ERAS)
def test_a_parity_behind_the_end_of_the_list_still_closes_its_stripe(era: str) -> None:
    stripes, ended = written(log(Data(0, [page(1)]), Parity(0, [page(2)]), meta_size=52), era)
    assert (stripes, ended) == ([(0, {0: 8, 2: 16})], 24)


@pytest.mark.parametrize("era", FIRST_ERAS)
def test_a_stripe_that_nothing_closes_leads_out_of_the_block(era: str) -> None:
    with pytest.raises(UndefinedRecovery, match="beyond the block"):
        written(log(Data(0, [page(1)])), era)
