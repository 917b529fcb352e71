"""A journal in words: no meta block, stripe or reason is left out without saying so.

The array below is RAID-5 left-symmetric of three members with chunks of 16 sectors, drawn by hand:

    member    0        1        2
    row 0     0..15    16..31   P
    row 1     48..63   P        32..47
    row 2     P        64..79   80..95
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from harness.crash.pattern import Stamp, sector_content, write_content
from harness.ondisk.log import (
    DataPayload,
    Fault,
    FlushPayload,
    MetaBlock,
    ParityPayload,
    Payload,
    Rejected,
    UnknownPayload,
)
from harness.ondisk.units import ArraySector, LogSector, StripeSector
from harness.recovery.geometry import Geometry
from harness.recovery.layout import Level, layout_named
from harness.recovery.log import LogEnd, Mismatch, ScannedMeta, StripeReplay
from harness.recovery.plan import EmptyMeta, RecoveryPlan, RewrittenMeta
from harness.verdict.blocks import (
    count_differing_bytes,
    describe_difference,
    describe_place,
    differing_blocks,
)
from harness.verdict.journal_text import (
    describe_payloads,
    end_line,
    journal_lines,
    meta_line,
    plan_lines,
)
from testcases.unit.scanned_metas import scanned

RAID5 = Geometry(
    layout=layout_named(Level.RAID5, "left-symmetric"), raid_disks=3, chunk_sectors=16,
    component_sectors=160,
)  # fmt: skip
RAID6 = replace(RAID5, layout=layout_named(Level.RAID6, "left-symmetric"), raid_disks=4)

SEQ = Rejected(LogSector(24), Fault.SEQ, 0x29, 0x2A)
MAGIC = Rejected(LogSector(0), Fault.MAGIC, 0, 0x6433C509)


def data(location: int) -> Payload:
    return DataPayload(flags=0, size=8, location=ArraySector(location), checksums=(0,))


def parity(stripe: int, size: int = 8) -> Payload:
    return ParityPayload(flags=0, size=size, location=StripeSector(stripe), checksums=(0,))


def flush(*stripes: int) -> Payload:
    found = tuple(StripeSector(stripe) for stripe in stripes)
    return FlushPayload(flags=0, size=8 * len(found), stripes=found)


def words(*payloads: Payload, geometry: Geometry = RAID5) -> str:
    return describe_payloads(payloads, geometry)


def meta(number: int, *payloads: Payload, dropped: Mismatch | None = None) -> ScannedMeta:
    return scanned(1000 + number, *payloads, at=24 * number, sectors=24, dropped=dropped)


def plan(**changes: object) -> RecoveryPlan:
    whole = RecoveryPlan(
        start=LogSector(0), metas_accepted=0, metas_dropped=0,
        ended=LogEnd(LogSector(24), 0x2A, SEQ), created=None, replays=(), data_parity=0,
        data_only=(), written_out=True, empty_metas=(), rewritten=(),
        journal_tail=LogSector(24), reported=True,
    )  # fmt: skip
    return replace(whole, **changes)  # type: ignore[arg-type]


# Payloads


def test_a_stripe_is_told_with_each_part_and_its_member() -> None:
    assert words(data(0), data(16), parity(0)) == "0: D0 D1 P"
    assert words(data(32), data(48), parity(16)) == "16: D2 D0 P"
    assert words(data(71), parity(32)) == "39: D1, 32: P", "an odd location is told as it is"


def test_raid6_has_both_parities_in_one_payload() -> None:
    assert words(data(0), parity(0, 16), geometry=RAID6) == "0: D1 P+Q"


def test_data_alone_is_told_as_such() -> None:
    assert words(data(16)) == "0: D1"
    assert words(parity(8)) == "8: P"


def test_stripes_side_by_side_with_the_same_parts_are_one_range() -> None:
    assert words(data(0), parity(0), data(8), parity(8)) == "0..8: D0 P"
    # The next page lies on the next member: another part, another range.
    assert words(data(8), parity(8), data(32), parity(16)) == "8: D0 P, 16: D2 P"


def test_a_gap_between_stripes_is_no_range() -> None:
    assert words(parity(0), parity(16)) == "0: P, 16: P"


def test_other_parts_are_another_range() -> None:
    assert words(parity(0), data(8), parity(8), parity(16), parity(24)) == (
        "0: P, 8: D0 P, 16..24: P"
    )


def test_parts_of_one_stripe_are_gathered_wherever_they_stand() -> None:
    assert words(data(0), data(8), data(16), data(24), parity(0), parity(8)) == "0..8: D0 D1 P"


def test_flushed_stripes_are_named_as_flushed() -> None:
    assert words(flush(0, 8, 16, 64)) == "0..16: flushed, 64: flushed"
    assert words(flush()) == "empty"


def test_a_type_that_no_kernel_writes_is_told_by_its_number() -> None:
    assert words(UnknownPayload(type=7, flags=0, size=8), parity(8)) == "8: P, type 7"


def test_nothing_is_empty() -> None:
    assert words() == "empty"


@pytest.mark.parametrize(
    ("count", "more"), [(4, ""), (5, ", and 1 more"), (9, ", and 5 more")], ids=["4", "5", "9"]
)
def test_more_than_four_ranges_are_counted(count: int, more: str) -> None:
    said = words(*(parity(16 * n) for n in range(count)))
    assert said == "0: P, 16: P, 32: P, 48: P" + more


# Lines


def test_a_meta_block_is_one_line_with_its_place_sequence_and_blocks() -> None:
    assert meta_line(meta(2, data(0), parity(0)), RAID5).split() == [
        "48", "1002", "3", "0:", "D0", "P",
    ]  # fmt: skip


def test_a_dropped_meta_block_says_why_and_what_it_was() -> None:
    why = Mismatch("page at 56: checksum is 0x00000001, wanted 0x00000002", LogSector(56))
    line = meta_line(meta(2, data(0), parity(0), dropped=why), RAID5)
    assert line.endswith(f"DROPPED: {why.reason} (was: 0: D0 P)")


def test_large_numbers_keep_their_column_apart() -> None:
    large = MetaBlock(seq=2**64 - 1, position=LogSector(2**40), meta_size=32, block=b"")
    line = meta_line(ScannedMeta(large, (), None, 8), RAID5)
    assert line.split() == [str(2**40), str(2**64 - 1), "1", "empty"]


def test_the_end_names_its_sector_and_the_check_that_failed() -> None:
    assert end_line(LogEnd(LogSector(24), 0x2A, SEQ)) == (
        "log ends at sector 24: seq is 0x29, wanted 0x2a"
    )


def test_a_block_that_cannot_be_read_ends_the_log_too() -> None:
    assert end_line(LogEnd(LogSector(24), 0x2A, None)) == (
        "log ends at sector 24: the block cannot be read"
    )


def test_a_bad_page_that_ends_the_scan_of_an_older_kernel_is_named() -> None:
    bad = Mismatch("page at 32: checksum is 0x00000001, wanted 0x00000002", LogSector(32))
    assert end_line(LogEnd(LogSector(24), 0x2A, None, bad)) == (
        "scan ends at sector 24: page at 32: checksum is 0x00000001, wanted 0x00000002"
    )


# The whole journal


def told(count: int, *, whole: bool = False) -> list[str]:
    return list(
        journal_lines(
            [meta(n) for n in range(count)], plan(metas_accepted=count), RAID5, whole=whole
        )
    )


def positions(lines: list[str]) -> list[int]:
    return [int(line.split()[0]) // 24 for line in lines if line.split()[0].isdigit()]


@pytest.mark.parametrize("count", [0, 1, 12, 13])
def test_a_short_journal_is_told_whole(count: int) -> None:
    lines = told(count)
    assert positions(lines) == list(range(count))
    assert lines[0].split()[:3] == ["sector", "seq", "blocks"]
    assert lines[-1] == "log ends at sector 24: seq is 0x29, wanted 0x2a"
    assert len(lines) == count + 2


@pytest.mark.parametrize("count", [14, 15, 100])
def test_the_middle_of_a_long_journal_is_counted(count: int) -> None:
    lines = told(count)
    assert positions(lines) == [*range(6), *range(count - 6, count)]
    assert lines[7].strip() == f".. {count - 12} more meta blocks .."
    assert len(lines) == 15
    assert positions(told(count, whole=True)) == list(range(count))


def test_a_log_that_is_made_anew_says_what_is_lost_and_why() -> None:
    lines = list(journal_lines([], plan(created=MAGIC, ended=None), RAID5, whole=False))
    assert lines[0] == (
        "the block at the tail is no meta block: sector 0: magic is 0x0, wanted 0x6433c509"
    )
    assert "lost" in lines[1]
    assert len(lines) == 2


# What recovery does


def test_a_clean_journal_is_told_with_the_kernels_own_words() -> None:
    found = plan(empty_metas=(EmptyMeta(LogSector(32), 10042),), journal_tail=LogSector(32))
    assert plan_lines(found) == [
        "the kernel says: starting from clean shutdown",
        "an empty meta block goes to sector 32, seq 10042",
        "journal_tail becomes 32",
    ]


def test_a_log_that_is_made_anew_has_a_random_sequence_and_no_words() -> None:
    found = plan(created=MAGIC, ended=None, empty_metas=(EmptyMeta(LogSector(0), None),))
    assert plan_lines(found)[:2] == [
        "the kernel says nothing",
        "an empty meta block goes to sector 0, a random sequence",
    ]


@pytest.mark.parametrize(
    ("written_out", "end"), [(True, ", then written out"), (False, ", and left there")]
)
def test_data_only_stripes_are_told_with_where_they_are_logged_anew(
    written_out: bool, end: str
) -> None:
    rewritten = tuple(RewrittenMeta(LogSector(40 + 16 * n), 2000 + n, ()) for n in range(3))
    assert plan_lines(plan(rewritten=rewritten, written_out=written_out))[1] == (
        "3 data-only stripes are logged anew from sector 40 on, seq 2000 to 2002" + end
    )


def test_every_empty_meta_block_and_the_stripes_written_are_told() -> None:
    metas = (EmptyMeta(LogSector(32), 7), EmptyMeta(LogSector(40), 8))
    replays = tuple(StripeReplay(StripeSector(8 * n), ()) for n in range(2))
    assert plan_lines(plan(empty_metas=metas, replays=replays, data_parity=2)) == [
        "the kernel says: recovering 0 data-only stripes and 2 data-parity stripes",
        "2 stripes are written to the members",
        "an empty meta block goes to sector 32, seq 7",
        "an empty meta block goes to sector 40, seq 8",
        "journal_tail becomes 24",
    ]


def test_a_kernel_that_reports_nothing_says_nothing() -> None:
    assert plan_lines(plan(reported=False))[0] == "the kernel says nothing"


# Places and differences


@pytest.mark.parametrize(
    ("device", "sector", "said"),
    [
        (0, 0, "data of array sector 0 (stripe 0)"),
        (1, 13, "data of array sector 29 (stripe 8)"),
        (2, 13, "P of stripe 8"),
        (1, 16, "P of stripe 16"),
        (2, 16, "data of array sector 32 (stripe 16)"),
        (0, 31, "data of array sector 63 (stripe 24)"),
        (0, 47, "P of stripe 40"),
    ],
)
def test_a_place_on_a_member_is_told(device: int, sector: int, said: str) -> None:
    assert describe_place(RAID5, device, StripeSector(sector)) == said


def test_q_is_told_apart_from_p() -> None:
    said = [describe_place(RAID6, device, StripeSector(7)) for device in range(4)]
    assert sorted(said) == [
        "P of stripe 0", "Q of stripe 0", "data of array sector 23 (stripe 0)",
        "data of array sector 7 (stripe 0)",
    ]  # fmt: skip


def test_a_difference_is_told_from_its_first_sector() -> None:
    predicted = write_content(seed=9, write=3, sector=16, sectors=8)
    observed = bytearray(predicted)
    observed[1024:1536] = sector_content(Stamp(9, 2, 18))
    observed[4095] ^= 1
    kernel, model, count = describe_difference(bytes(observed), predicted)
    assert kernel == "the kernel left:     write 2 of array sector 18 (seed 9)"
    assert model == "the model predicted: write 3 of array sector 18 (seed 9)"
    differing = sum(a != b for a, b in zip(observed, predicted, strict=True))
    assert count == f"{differing} of 4096 bytes differ, the first in sector 2 of the block"


def test_equal_blocks_are_told_as_equal() -> None:
    assert describe_difference(bytes(4096), bytes(4096)) == ("the blocks are equal",)


def test_the_last_byte_of_a_block_is_seen() -> None:
    other = bytes(4095) + b"\x01"
    assert count_differing_bytes(bytes(4096), other) == 1
    said = describe_difference(other, bytes(4096))
    assert said[1].endswith("zeroes")
    assert said[2] == "1 of 4096 bytes differ, the first in sector 7 of the block"


def differing(left: bytes, right: bytes, *ranges: tuple[int, int]) -> list[int]:
    def read_of(image: bytes) -> object:
        return lambda at, length: image[at : at + length]

    return list(differing_blocks(read_of(left), read_of(right), ranges))  # type: ignore[arg-type]


def test_every_differing_block_is_found_once_over_many_chunks() -> None:
    size = (1 << 20) * 2 + 8192
    left, right = bytes(size), bytearray(size)
    wanted = [0, 4096, (1 << 20) - 4096, 1 << 20, (1 << 21) + 4096]
    for at in wanted:
        right[at + 4095] = 1
    assert differing(left, bytes(right), (0, size)) == wanted


def test_what_lies_outside_the_ranges_is_not_compared() -> None:
    left, right = bytes(65536), b"\x01" * 65536
    assert differing(left, right, (4096, 8192), (40960, 4096)) == [4096, 8192, 40960]
    assert differing(left, right) == []
    assert differing(left, left, (0, 65536)) == []


def test_blocks_are_counted_from_the_start_of_their_range() -> None:
    left, right = bytes(16384), bytearray(16384)
    right[5000] = 1
    assert differing(left, bytes(right), (512, 8192)) == [512 + 4096]


def test_a_range_that_ends_inside_a_block_is_compared_to_its_end() -> None:
    left, right = bytes(8192), bytearray(8192)
    right[6143], right[6144] = 1, 1
    assert differing(left, bytes(right), (0, 6144)) == [4096]
    assert differing(left, bytes(8192 - 1) + b"\x01", (0, 6144)) == []
