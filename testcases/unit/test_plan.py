"""From a log follows what recovery writes, in what order, what it counts and what it says.

Arrays here have chunks of one page. Left-symmetric RAID-5 of four (format document, 5.1):
stripe 0 is "0 1 2 P", stripe 8 "4 5 P 3", stripe 16 "8 P 6 7", stripe 24 "P 9 10 11", in pages of
8 sectors. Left-symmetric RAID-6 of five: stripe 0 is "Q 0 1 2 P", stripe 8 "3 4 5 P Q".
"""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from harness.ondisk.log import Fault
from harness.ondisk.units import LogSector
from harness.recovery.era import ERAS, NEWEST_ERA, era_named
from harness.recovery.geometry import Geometry
from harness.recovery.kernel_versions import era_to_run
from harness.recovery.layout import Level, layout_of
from harness.recovery.plan import (
    EmptyMeta,
    RecoveryPlan,
    RewrittenMeta,
    UnreadableTail,
    plan_recovery,
    rewritten_block,
)
from testcases.journal_writer import Data, Flush, MetaOverrides, Parity, Payload, Ring, meta_block
from testcases.unit.written_logs import SEQ, U, flip, log_of, page, ring_of

RAID5 = Geometry(
    layout=layout_of(Level.RAID5, 2), raid_disks=4, chunk_sectors=8, component_sectors=1024
)
RAID6 = Geometry(
    layout=layout_of(Level.RAID6, 2), raid_disks=5, chunk_sectors=8, component_sectors=1024
)


def data(number: int, content: int = 1) -> Data:
    """Log page *number* of the array."""
    return Data(8 * number, [page(content)])


def parity(stripe: int, pages: int = 1) -> Parity:
    return Parity(stripe, [page(100 + n) for n in range(pages)])


def written(*metas: Sequence[Payload], first_seq: int = SEQ) -> Ring:
    ring, position = ring_of(), 0
    for number, payloads in enumerate(metas):
        seq = (first_seq + number) % 2**64
        position = ring.append(seq=seq, position=position, payloads=payloads)
    return ring


def plan(*metas: Sequence[Payload]) -> RecoveryPlan:
    return plan_recovery(log_of(written(*metas)), RAID5)


def replays(found: RecoveryPlan) -> list[tuple[int, dict[int, int]]]:
    return [(int(r.stripe), {d: int(at) for d, at in r.pages}) for r in found.replays]


def data_only(found: RecoveryPlan) -> list[tuple[int, dict[int, int]]]:
    return [(int(s.stripe), {d: int(at) for d, at in s.pages}) for s in found.data_only]


CLEAN = "starting from clean shutdown"


def recovering(only: int, with_parity: int) -> str:
    return f"recovering {only} data-only stripes and {with_parity} data-parity stripes"


# Ends: section 4.1, steps 8 to 12, and the sentence "Formally".


def test_empty_log_gets_one_more_empty_meta() -> None:
    found = plan([])
    assert found.empty_meta == EmptyMeta(LogSector(8), SEQ + 10001)
    assert (found.replays, found.data_only, found.rewritten) == ((), (), ())
    assert (found.journal_tail, found.message) == (8, CLEAN)
    assert (found.start, found.metas_accepted, found.metas_dropped) == (0, 1, 0)


def test_one_stripe_is_replayed_and_the_log_ends_behind_it() -> None:
    found = plan([data(0), data(2), parity(0)])
    assert replays(found) == [(0, {0: 8, 2: 16, 3: 24})]
    assert found.empty_meta == EmptyMeta(LogSector(32), SEQ + 10001)
    assert (found.journal_tail, found.message) == (32, recovering(0, 1))


def test_stripes_are_replayed_in_order_of_first_appearance() -> None:
    found = plan([data(9), parity(24), data(0), parity(0)], [data(5), parity(8)])
    assert replays(found) == [(24, {1: 8, 0: 16}), (0, {0: 24, 3: 32}), (8, {1: 48, 2: 56})]
    assert found.empty_meta == EmptyMeta(LogSector(64), SEQ + 1 + 10001)
    assert found.message == recovering(0, 3)


def test_dropped_meta_writes_nothing_and_ends_one_block_on() -> None:
    ring = written([data(0), parity(0)], [data(3), parity(8)], [data(6), parity(16)])
    flip(ring, 32)
    found = plan_recovery(log_of(ring), RAID5)
    assert replays(found) == [(0, {0: 8, 3: 16})]
    assert found.empty_meta == EmptyMeta(LogSector(32), SEQ + 1 + 10001)
    assert (found.journal_tail, found.message) == (32, recovering(0, 1))
    assert (found.metas_accepted, found.metas_dropped) == (1, 1)


def test_dropped_meta_at_the_tail_is_a_clean_shutdown() -> None:
    ring = written([data(0), parity(0)])
    flip(ring, 16)
    found = plan_recovery(log_of(ring), RAID5)
    assert (found.replays, found.message) == ((), CLEAN)
    assert found.empty_meta == EmptyMeta(LogSector(8), SEQ + 10001)


def test_bad_header_leaves_its_own_sequence_unused() -> None:
    ring = written([data(0), parity(0)], [data(3), parity(8)])
    flip(ring, 24, 4)
    found = plan_recovery(log_of(ring), RAID5)
    assert found.empty_meta == EmptyMeta(LogSector(24), SEQ + 10001)
    assert found.ended is not None
    assert found.ended.rejected is not None
    assert found.ended.rejected.fault is Fault.CHECKSUM


def test_tail_with_a_meta_size_beyond_the_block_keeps_its_own_place() -> None:
    ring = ring_of()
    ring.append(seq=SEQ, position=16, meta_size=4100)
    found = plan_recovery(log_of(ring, tail=16), RAID5)
    assert found.empty_meta == EmptyMeta(LogSector(16), SEQ + 10000)
    assert (found.journal_tail, found.message, found.metas_accepted) == (16, CLEAN, 0)


def test_log_that_wraps_is_replayed_from_both_ends() -> None:
    ring = ring_of(256)
    ring.append(seq=SEQ, position=248, payloads=[data(0), parity(0)])
    found = plan_recovery(log_of(ring, tail=248), RAID5)
    assert replays(found) == [(0, {0: 0, 3: 8})]
    assert found.empty_meta == EmptyMeta(LogSector(16), SEQ + 10001)


@pytest.mark.parametrize(
    ("first", "wanted"),
    [
        pytest.param(2**32 - 1, 2**32 + 10000, id="past-32-bits"),
        pytest.param(2**32 - 5000, 2**32 + 5001, id="jump-past-32-bits"),
        pytest.param(2**64 - 1, 10000, id="past-64-bits"),
        pytest.param(2**64 - 10001, 0, id="jump-to-zero"),
        pytest.param(2**64 - 10002, 2**64 - 1, id="jump-to-the-last"),
    ],
)
def test_sequence_of_the_end_is_counted_modulo_64_bits(first: int, wanted: int) -> None:
    log = log_of(written([data(0), parity(0)], first_seq=first))
    assert plan_recovery(log, RAID5).empty_meta == EmptyMeta(LogSector(24), wanted)
    only = log_of(written([data(0)], first_seq=first))
    assert plan_recovery(only, RAID5).rewritten[0].seq == wanted


@pytest.mark.parametrize("tail", [3, 12, 256, 264, 2**64 - 8])
def test_impossible_tail_begins_at_the_start(tail: int) -> None:
    found = plan_recovery(log_of(written([data(0), parity(0)]), tail=tail), RAID5)
    assert (found.start, found.message) == (0, recovering(0, 1))


# Create path: section 4.6.


@pytest.mark.parametrize(
    ("overrides", "fault"),
    [
        pytest.param(MetaOverrides(magic=0), Fault.MAGIC, id="magic"),
        pytest.param(MetaOverrides(version=2), Fault.VERSION, id="version"),
        pytest.param(MetaOverrides(checksum=0), Fault.CHECKSUM, id="checksum"),
    ],
)
def test_bad_tail_makes_a_new_log_silently(overrides: MetaOverrides, fault: Fault) -> None:
    ring = written([data(0), parity(0)])
    after = ring.append(seq=SEQ + 1, position=24, payloads=[data(3), parity(8)], **overrides)
    ring.append(seq=SEQ + 2, position=after, payloads=[data(6), parity(16)])
    found = plan_recovery(log_of(ring, tail=24), RAID5)
    assert found.created is not None
    assert (found.created.fault, found.created.at) == (fault, 24)
    assert (found.replays, found.data_only, found.rewritten) == ((), (), ())
    assert found.empty_meta == EmptyMeta(LogSector(0), None)
    assert (found.journal_tail, found.message, found.ended) == (0, None, None)


def test_unreadable_tail_does_not_start() -> None:
    with pytest.raises(UnreadableTail, match="block 16 of the log"):
        plan_recovery(log_of(ring_of(), tail=16, unreadable=[16]), RAID5)


def test_tail_in_the_part_block_behind_the_ring_makes_a_new_log() -> None:
    ring = written([data(0), parity(0)])
    ring.log += bytes(4096)  # the device is larger than its data_size
    log = log_of(ring, tail=256, data_size=260)
    found = plan_recovery(log, RAID5)
    assert found.created is not None
    assert (found.created.at, found.journal_tail) == (256, 0)


# Lists of stripes: section 4.1, steps 4, 6 and 7.


def test_data_and_its_parity_may_come_in_two_metas() -> None:
    found = plan([data(0)], [data(2)], [parity(0)])
    assert replays(found) == [(0, {0: 8, 2: 24, 3: 40})]
    assert found.message == recovering(0, 1)


def test_of_two_pages_for_one_place_the_later_counts() -> None:
    found = plan([data(0, 1)], [data(0, 2)], [parity(0)])
    assert replays(found) == [(0, {0: 24, 3: 40})]


def test_parity_without_data_is_not_replayed_nor_counted() -> None:
    found = plan([parity(0)], [data(3), parity(8)])
    assert replays(found) == [(8, {3: 24, 2: 32})]
    assert found.message == recovering(0, 1)


def test_parity_alone_is_a_clean_shutdown() -> None:
    found = plan([parity(0), parity(8)])
    assert (found.replays, found.data_only, found.message) == ((), (), CLEAN)
    assert found.empty_meta == EmptyMeta(LogSector(24), SEQ + 10001)


def test_data_behind_parity_replays_the_stripe_first_and_moves_it_to_the_end() -> None:
    found = plan([data(0), parity(0)], [data(3), parity(8)], [data(1), parity(0)])
    assert replays(found) == [
        (0, {0: 8, 3: 16}), (8, {3: 32, 2: 40}), (0, {1: 56, 3: 64})
    ]  # fmt: skip
    assert found.message == recovering(0, 3)


def test_early_replay_comes_before_stripes_that_wait_for_the_end() -> None:
    found = plan([data(3), parity(8)], [data(0), parity(0)], [data(1), parity(0)])
    assert [stripe for stripe, _ in replays(found)] == [0, 8, 0]


def test_data_behind_parity_leaves_a_data_only_stripe() -> None:
    found = plan([data(0), data(1), parity(0)], [data(2)])
    assert replays(found) == [(0, {0: 8, 1: 16, 3: 24})]
    assert data_only(found) == [(0, {2: 40})]
    assert found.message == recovering(1, 1)


def test_data_behind_lone_parity_is_data_only_and_forgets_that_parity() -> None:
    found = plan([parity(0)], [data(3)], [data(0)])
    assert replays(found) == []
    assert data_only(found) == [(8, {3: 24}), (0, {0: 40})]
    assert found.message == recovering(2, 0)


def test_parity_behind_parity_is_the_later_one() -> None:
    found = plan([data(0), parity(0)], [parity(0)])
    assert replays(found) == [(0, {0: 8, 3: 32})]
    assert found.message == recovering(0, 1)


def test_flush_drops_a_stripe_with_all_that_it_gathered() -> None:
    found = plan([data(0), parity(0)], [data(3), parity(8)], [data(6)], [Flush([0, 16])])
    assert [stripe for stripe, _ in replays(found)] == [8]
    assert found.data_only == ()
    assert found.message == recovering(0, 1)


def test_flush_counts_inside_its_meta_from_its_place_on() -> None:
    found = plan([data(0), Flush([0]), data(1), parity(0)])
    assert replays(found) == [(0, {1: 16, 3: 24})]


def test_stripe_behind_its_flush_starts_anew_at_the_end() -> None:
    found = plan(
        [data(0), parity(0)], [data(3), parity(8)], [Flush([0])], [data(1), parity(0)]
    )  # fmt: skip
    assert replays(found) == [(8, {3: 32, 2: 40}), (0, {1: 64, 3: 72})]


def test_flush_of_an_unknown_stripe_is_ignored() -> None:
    found = plan([data(0), parity(0)], [Flush([8, 1, 2**64 - 8])])
    assert [stripe for stripe, _ in replays(found)] == [0]


def test_flush_after_an_early_replay_does_not_take_it_back() -> None:
    found = plan([data(0), parity(0)], [data(1)], [Flush([0])])
    assert replays(found) == [(0, {0: 8, 3: 16})]
    assert (found.data_only, found.message) == ((), recovering(0, 1))


def test_dropped_flush_drops_no_stripe() -> None:
    ring = written([data(0), parity(0)], [Flush([0]), data(3)])
    flip(ring, 32)
    assert [s for s, _ in replays(plan_recovery(log_of(ring), RAID5))] == [0]


def test_location_off_by_one_sector_is_a_stripe_of_its_own() -> None:
    off = Data(1, [page(7)])
    found = plan([data(0), off, data(1), parity(0)], [Parity(9, [page(8)])])
    assert replays(found) == [(0, {0: 8, 1: 24, 3: 32})]
    assert data_only(found) == [(1, {0: 16})]
    assert found.message == recovering(1, 1)


def test_parity_off_by_one_sector_closes_the_stripe_off_by_one() -> None:
    found = plan([Data(17, [page(7)]), Parity(1, [page(8)]), parity(0)])
    assert replays(found) == [(1, {2: 8, 3: 16})]


# RAID-6.


def test_raid_6_parity_is_p_and_then_q_whatever_their_devices() -> None:
    ring = written([data(0), parity(0, 2), data(3), parity(8, 2)])
    found = plan_recovery(log_of(ring, parities=2), RAID6)
    assert replays(found) == [(0, {1: 8, 4: 16, 0: 24}), (8, {0: 32, 3: 40, 4: 48})]
    assert found.empty_meta == EmptyMeta(LogSector(56), SEQ + 10001)


def test_raid_6_q_is_found_at_the_start_of_the_ring() -> None:
    ring = ring_of(256)
    ring.append(seq=SEQ, position=232, payloads=[data(0), parity(0, 2)])
    found = plan_recovery(log_of(ring, tail=232, parities=2), RAID6)
    assert replays(found) == [(0, {1: 240, 4: 248, 0: 0})]
    assert found.journal_tail == 8


def test_raid_6_bad_q_page_drops_its_meta() -> None:
    ring = written([data(0), parity(0, 2)], [data(3), parity(8, 2)])
    flip(ring, 56)
    found = plan_recovery(log_of(ring, parities=2), RAID6)
    assert [stripe for stripe, _ in replays(found)] == [0]
    assert found.empty_meta == EmptyMeta(LogSector(40), SEQ + 1 + 10001)


# Data-only stripes logged anew: section 4.1, step 11.


def test_data_only_stripes_are_logged_anew_devices_descending() -> None:
    ring = written([data(3, 3), data(0, 1)], [data(4, 4), data(2, 2)])
    log = log_of(ring)
    found = plan_recovery(log, RAID5)
    assert data_only(found) == [(8, {0: 32, 3: 8}), (0, {0: 16, 2: 40})]
    seq = SEQ + 1 + 10001
    assert found.rewritten == (
        RewrittenMeta(LogSector(48), seq, ((24, 8, 56), (32, 32, 64))),  # type: ignore[arg-type]
        RewrittenMeta(LogSector(72), seq + 1, ((16, 40, 80), (0, 16, 88))),  # type: ignore[arg-type]
    )
    assert (found.empty_meta, found.journal_tail) == (None, 48)
    assert found.message == recovering(2, 0)
    first, second = (
        rewritten_block(
            meta, [log.read_block(source) or b"" for _, source, _ in meta.pages], seed=U
        )
        for meta in found.rewritten
    )
    assert first == meta_block(seed=U, seq=seq, position=48, payloads=[data(3, 3), data(4, 4)])
    assert second == meta_block(seed=U, seq=seq + 1, position=72, payloads=[data(2, 2), data(0, 1)])


def test_rewrite_goes_on_at_the_start_of_the_ring_and_past_the_last_sequence() -> None:
    ring = ring_of(64)
    ring.append(seq=2**64 - 10003, position=0, payloads=[data(0), data(1), data(2)])
    ring.append(seq=2**64 - 10002, position=32, payloads=[data(3)])
    found = plan_recovery(log_of(ring), RAID5)
    assert [(meta.position, meta.seq) for meta in found.rewritten] == [(48, 2**64 - 1), (16, 0)]
    assert [meta.pages for meta in found.rewritten] == [
        ((16, 24, 56), (8, 16, 0), (0, 8, 8)), ((24, 40, 24),)
    ]  # fmt: skip
    assert found.journal_tail == 48


def test_data_only_stripes_behind_a_dropped_meta_start_one_block_on() -> None:
    ring = written([data(0)], [data(3), parity(8)])
    flip(ring, 24)
    found = plan_recovery(log_of(ring), RAID5)
    assert [(meta.position, meta.seq) for meta in found.rewritten] == [(24, SEQ + 1 + 10001)]
    assert found.journal_tail == 24


@pytest.mark.parametrize(
    ("kernel", "era"),
    [
        ("6.1.192-2", "6.1.175"), ("6.12.116-1", "6.1.175"), ("6.12.117-1~deb12u1", "6.12.117"),
        ("5.10.262-1", "6.1.175"), ("7.2.13-1", "6.1.175"), ("7.3~rc7-1~exp1", "6.1.175"),
        ("7.3.4-1~bpo13+1", "6.12.117"),
    ],
)  # fmt: skip
def test_era_of_a_kernel_that_is_run_is_that_of_its_branch(kernel: str, era: str) -> None:
    """Sections 0.2 and 8.1 (K9)."""
    assert era_to_run(kernel) is ERAS[era] is era_named(era)


def test_newest_era_is_the_default_and_jumps_ten_thousand() -> None:
    assert NEWEST_ERA.name == "6.12.117"
    assert NEWEST_ERA.sequence_jump == 10000
