"""A scan follows a log as far as the kernel does, and ends where and why the kernel ends."""

from __future__ import annotations

import struct

import pytest

from harness.ondisk.log import Fault, MetaBlock, Rejected
from harness.ondisk.units import LogSector
from harness.recovery.era import ERAS, NEWEST_ERA, Era
from harness.recovery.log import Log, LogEnd, Ring
from harness.recovery.scan import load_log
from testcases.journal_writer import Data, Flush, MetaOverrides, Parity, Payload, Raw, raw_crc32c
from testcases.unit.written_logs import SEQ, U, flip, log_of, page, ring_of, scan

OLDER, NEWER = ERAS["6.1.175"], ERAS["6.12.117"]
STRIPE = (Data(0, [page(1)]), Data(8, [page(2)]), Parity(0, [page(3)]))
P_AND_Q = (Data(0, [page(1)]), Parity(0, [page(3), page(4)]))


def steps(log: Log) -> list[tuple[int, int, str]]:
    """Return position, sequence and fate of each meta block, and where and why it ended."""
    metas, end = scan(log)
    reason = "unreadable" if end.rejected is None else end.rejected.fault.value
    return [
        *((m.meta.position, m.meta.seq, "dropped" if m.dropped else "accepted") for m in metas),
        (end.position, end.seq, reason),
    ]


# The ring: section 2.1.


@pytest.mark.parametrize(
    ("position", "sectors", "wanted"),
    [(0, 8, 8), (48, 8, 56), (56, 8, 0), (56, 24, 16), (8, 160, 104), (56, 64, 56)],
)
def test_ring_takes_its_size_off_once(position: int, sectors: int, wanted: int) -> None:
    assert Ring(64).add(LogSector(position), sectors) == wanted


@pytest.mark.parametrize(
    ("start", "end", "wanted"), [(0, 0, 0), (8, 24, 16), (24, 8, 48), (56, 0, 8)]
)
def test_distance_goes_forward_around_the_ring(start: int, end: int, wanted: int) -> None:
    assert Ring(64).distance(LogSector(start), LogSector(end)) == wanted


# Load: sections 2.6, 4.0.


@pytest.mark.parametrize(
    ("tail", "data_size", "start"),
    [
        pytest.param(16, 128, 16, id="good"),
        pytest.param(120, 128, 120, id="last-block"),
        pytest.param(17, 128, 0, id="inside-a-block"),
        pytest.param(20, 128, 0, id="half-a-block"),
        pytest.param(128, 128, 0, id="at-data-size"),
        pytest.param(2**64 - 8, 128, 0, id="far-beyond"),
        pytest.param(128, 131, 128, id="in-the-part-block-at-the-end"),
        pytest.param(136, 131, 0, id="behind-the-part-block"),
    ],
)
def test_tail_that_cannot_be_counts_as_zero(tail: int, data_size: int, start: int) -> None:
    log = log_of(ring_of(128), tail=tail, data_size=data_size)
    assert log.start == start
    assert log.ring.size == 128


@pytest.mark.parametrize(
    ("seq", "position", "overrides", "fault"),
    [
        pytest.param(SEQ, 16, MetaOverrides(magic=1), Fault.MAGIC, id="magic"),
        pytest.param(SEQ, 16, MetaOverrides(version=2), Fault.VERSION, id="version"),
        pytest.param(SEQ, 16, MetaOverrides(checksum=1), Fault.CHECKSUM, id="checksum"),
        pytest.param(SEQ, 24, MetaOverrides(), Fault.POSITION, id="position"),
    ],
)
def test_bad_block_at_the_tail_is_told(
    seq: int, position: int, overrides: MetaOverrides, fault: Fault
) -> None:
    ring = ring_of()
    ring.append(seq=seq, position=position, **overrides)
    ring.put_block(position=16, block=bytes(ring.log[position * 512 :][:4096]))
    loaded = load_log(log_of(ring, tail=16))
    assert isinstance(loaded, Rejected)
    assert (loaded.fault, loaded.at) == (fault, 16)


@pytest.mark.parametrize("seq", [0, SEQ, 2**32 + 7, 2**64 - 1])
def test_any_sequence_is_good_at_the_tail(seq: int) -> None:
    ring = ring_of()
    ring.append(seq=seq, position=16)
    loaded = load_log(log_of(ring, tail=16))
    assert isinstance(loaded, MetaBlock)
    assert loaded.seq == seq


def test_unreadable_tail_is_neither_good_nor_bad() -> None:
    assert load_log(log_of(ring_of(), unreadable=[0])) is None


def test_block_of_another_array_is_a_bad_tail() -> None:
    ring = ring_of()
    ring.seed = raw_crc32c(0xFFFFFFFF, b"another set_uuid")
    ring.append(seq=SEQ, position=0)
    ring.seed = U
    loaded = load_log(log_of(ring))
    assert isinstance(loaded, Rejected)
    assert loaded.fault is Fault.CHECKSUM


# Walking: section 4.1, steps 1 and 5.


def test_empty_log_is_one_block_long() -> None:
    ring = ring_of()
    ring.append(seq=SEQ, position=0)
    assert steps(log_of(ring)) == [(0, SEQ, "accepted"), (8, SEQ + 1, "magic")]


def test_one_meta_is_as_long_as_its_pages() -> None:
    ring = ring_of()
    assert ring.append(seq=SEQ, position=0, payloads=STRIPE) == 32
    assert steps(log_of(ring)) == [(0, SEQ, "accepted"), (32, SEQ + 1, "magic")]


def test_many_metas_follow_one_another() -> None:
    ring = ring_of()
    at = ring.append(seq=SEQ, position=0)
    at = ring.append(seq=SEQ + 1, position=at, payloads=STRIPE)
    at = ring.append(seq=SEQ + 2, position=at, payloads=[Flush([0, 8]), Data(16, [page(9)])])
    at = ring.append(seq=SEQ + 3, position=at, payloads=STRIPE[2:])
    assert steps(log_of(ring)) == [
        (0, SEQ, "accepted"), (8, SEQ + 1, "accepted"), (40, SEQ + 2, "accepted"),
        (56, SEQ + 3, "accepted"), (72, SEQ + 4, "magic"),
    ]  # fmt: skip


def test_log_starts_at_its_tail_and_not_before() -> None:
    ring = ring_of()
    at = ring.append(seq=SEQ, position=0, payloads=STRIPE)
    ring.append(seq=SEQ + 1, position=at, payloads=STRIPE)
    assert steps(log_of(ring, tail=at))[0] == (32, SEQ + 1, "accepted")


@pytest.mark.parametrize("position", [232, 240, 248])
def test_record_goes_on_at_the_start_of_the_ring(position: int) -> None:
    ring = ring_of(256)
    after = ring.append(seq=SEQ, position=position, payloads=STRIPE)
    ring.append(seq=SEQ + 1, position=after, payloads=[Data(0, [page(5)])])
    assert steps(log_of(ring, tail=position)) == [
        (position, SEQ, "accepted"), (after, SEQ + 1, "accepted"), (after + 16, SEQ + 2, "magic"),
    ]  # fmt: skip
    metas, _ = scan(log_of(ring, tail=position))
    wanted = [(position + step) % 256 for step in (8, 16, 24)]
    assert [at for _, _, at in metas[0].entries] == wanted


def test_part_block_behind_the_ring_is_not_used() -> None:
    ring = ring_of(128)
    after = ring.append(seq=SEQ, position=120, payloads=STRIPE[:1])
    assert after == 8
    assert steps(log_of(ring, tail=120, data_size=135))[-1] == (8, SEQ + 1, "magic")


@pytest.mark.parametrize(
    ("seq", "position", "overrides", "fault"),
    [
        pytest.param(SEQ + 1, 32, MetaOverrides(magic=0), "magic", id="magic"),
        pytest.param(SEQ + 2, 32, MetaOverrides(), "seq", id="sequence-too-high"),
        pytest.param(SEQ, 32, MetaOverrides(), "seq", id="sequence-too-low"),
        pytest.param(SEQ + 1, 32, MetaOverrides(version=0), "version", id="version"),
        pytest.param(SEQ + 1, 40, MetaOverrides(), "position", id="position"),
        pytest.param(SEQ + 1, 32, MetaOverrides(checksum=0), "checksum", id="checksum"),
        pytest.param(SEQ + 1, 32, MetaOverrides(meta_size=4097), "meta_size", id="meta-size"),
    ],
)
def test_bad_header_ends_the_log_before_it(
    seq: int, position: int, overrides: MetaOverrides, fault: str
) -> None:
    ring = ring_of()
    ring.append(seq=SEQ, position=0, payloads=STRIPE)
    ring.append(seq=seq, position=position, **overrides)
    ring.put_block(position=32, block=bytes(ring.log[position * 512 :][:4096]))
    ring.append(seq=SEQ + 2, position=40)
    assert steps(log_of(ring)) == [(0, SEQ, "accepted"), (32, SEQ + 1, fault)]


def test_unreadable_block_ends_the_log_before_it() -> None:
    ring = ring_of()
    ring.append(seq=SEQ, position=0, payloads=STRIPE)
    ring.append(seq=SEQ + 1, position=32)
    metas, end = scan(log_of(ring, unreadable=[32]))
    assert len(metas) == 1
    assert end == LogEnd(LogSector(32), SEQ + 1, None)


def test_tail_with_a_meta_size_beyond_the_block_ends_the_log_at_itself() -> None:
    ring = ring_of()
    ring.append(seq=SEQ, position=8, meta_size=5000)
    assert steps(log_of(ring, tail=8)) == [(8, SEQ, "meta_size")]


@pytest.mark.parametrize("era", [OLDER, NEWER], ids=lambda era: era.name)
@pytest.mark.parametrize("meta_size", [0, 1, 31, 32])
def test_meta_size_up_to_the_header_is_an_empty_meta(meta_size: int, era: Era) -> None:
    ring = ring_of()
    at = ring.append(seq=SEQ, position=0, meta_size=meta_size, tail_bytes=b"\xff" * 64)
    ring.append(seq=SEQ + 1, position=at)
    assert steps(log_of(ring, era=era))[1:] == [(8, SEQ + 1, "accepted"), (16, SEQ + 2, "magic")]


@pytest.mark.parametrize("seq", [2**32 - 1, 2**64 - 1], ids=["32-bits", "64-bits"])
def test_sequence_goes_past(seq: int) -> None:
    ring = ring_of()
    at = ring.append(seq=seq, position=0, payloads=STRIPE)
    ring.append(seq=(seq + 1) % 2**64, position=at)
    assert steps(log_of(ring)) == [
        (0, seq, "accepted"), (32, (seq + 1) % 2**64, "accepted"), (40, (seq + 2) % 2**64, "magic")
    ]  # fmt: skip


# Verification of a whole meta: section 4.1, steps 2 and 3.


@pytest.mark.parametrize(
    ("payloads", "parities", "damaged"),
    [
        pytest.param(STRIPE, 1, 16, id="first-data-page"),
        pytest.param(STRIPE, 1, 24, id="last-data-page"),
        pytest.param(STRIPE, 1, 32, id="parity-page"),
        pytest.param(P_AND_Q, 2, 16, id="raid6-data-page"),
        pytest.param(P_AND_Q, 2, 24, id="raid6-p-page"),
        pytest.param(P_AND_Q, 2, 32, id="raid6-q-page"),
    ],
)
@pytest.mark.parametrize("byte", [0, 4095], ids=["first-byte", "last-byte"])
def test_bad_page_drops_its_meta_and_ends_the_log_one_block_on(
    payloads: tuple[Payload, ...], parities: int, damaged: int, byte: int
) -> None:
    ring = ring_of()
    ring.append(seq=SEQ, position=0)
    at = ring.append(seq=SEQ + 1, position=8, payloads=payloads)
    ring.append(seq=SEQ + 2, position=at, payloads=payloads)
    flip(ring, damaged, byte)
    assert steps(log_of(ring, parities=parities)) == [
        (0, SEQ, "accepted"), (8, SEQ + 1, "dropped"), (16, SEQ + 2, "magic")
    ]  # fmt: skip
    metas, _ = scan(log_of(ring, parities=parities))
    mismatch = metas[1].dropped
    assert mismatch is not None
    assert mismatch.at == damaged


def test_unreadable_page_drops_its_meta() -> None:
    ring = ring_of()
    ring.append(seq=SEQ, position=0, payloads=STRIPE)
    assert steps(log_of(ring, unreadable=[16])) == [(0, SEQ, "dropped"), (8, SEQ + 1, "magic")]


def test_scan_goes_on_behind_a_dropped_meta_that_has_no_pages() -> None:
    ring = ring_of()
    at = ring.append(seq=SEQ, position=0, payloads=[Flush([8]), Raw(struct.pack("<HHI", 9, 0, 0))])
    ring.append(seq=SEQ + 1, position=at, payloads=STRIPE)
    assert steps(log_of(ring)) == [
        (0, SEQ, "dropped"), (8, SEQ + 1, "accepted"), (40, SEQ + 2, "magic")
    ]  # fmt: skip


def test_log_page_that_looks_like_the_next_meta_is_taken_for_it() -> None:
    ring, inner = ring_of(), ring_of()
    inner.append(seq=SEQ + 1, position=8)
    ring.append(seq=SEQ, position=0, payloads=[Data(0, [bytes(inner.log[4096:8192])]), STRIPE[2]])
    flip(ring, 16)
    assert steps(log_of(ring))[:2] == [(0, SEQ, "dropped"), (8, SEQ + 1, "accepted")]


@pytest.mark.parametrize("era", [OLDER, NEWER], ids=lambda era: era.name)
@pytest.mark.parametrize(
    "payload",
    [
        pytest.param(Raw(struct.pack("<HHIQI", 3, 0, 8, 0, 0)), id="unknown-type"),
        pytest.param(Raw(struct.pack("<HHIQI", 65535, 0, 8, 0, 0)), id="highest-type"),
        pytest.param(Raw(struct.pack("<HHIQ", 0, 0, 8, 0)), id="data-without-its-checksum"),
        pytest.param(Raw(struct.pack("<HHI", 0, 0, 8)), id="data-without-location"),
        pytest.param(Data(0, [page(1)], size=2**31), id="data-beyond-meta-size"),
        pytest.param(Parity(0, [page(1)], size=2**32 - 8), id="parity-beyond-meta-size"),
        pytest.param(Flush([0], size=16), id="flush-beyond-meta-size"),
        pytest.param(Flush([0], size=2**32 - 1), id="flush-of-four-gigabytes"),
        pytest.param(Raw(b"\2\0\0\0"), id="four-bytes"),
        pytest.param(Raw(b"\0\0\0\0\0\0\0"), id="seven-bytes"),
        pytest.param(Data(0, [page(1)], checksums=[1]), id="wrong-data-checksum"),
        pytest.param(Parity(0, [page(1)], checksums=[1]), id="wrong-parity-checksum"),
    ],
)
def test_bad_descriptor_drops_its_meta_with_all_before_it(payload: Payload, era: Era) -> None:
    ring = ring_of()
    ring.append(seq=SEQ, position=0, payloads=[*STRIPE, payload])
    assert steps(log_of(ring, era=era)) == [(0, SEQ, "dropped"), (8, SEQ + 1, "magic")]


@pytest.mark.parametrize("trailing", [1, 2, 3])
@pytest.mark.parametrize(
    ("era", "fate"), [(OLDER, "dropped"), (NEWER, "accepted")], ids=["6.1.175", "6.12.117"]
)
def test_eras_part_over_one_to_three_trailing_bytes(trailing: int, era: Era, fate: str) -> None:
    ring = ring_of()
    after = ring.append(seq=SEQ, position=0, payloads=[*STRIPE, Raw(b"\xff" * trailing)])
    end = after if fate == "accepted" else 8
    assert steps(log_of(ring, era=era)) == [(0, SEQ, fate), (end, SEQ + 1, "magic")]


TOO_SMALL_DATA = Raw(struct.pack("<HHIQ", 0, 0, 0, 0), pages=[page(1)])
SUM_OF_1 = struct.pack("<I", raw_crc32c(U, page(1)))
TOO_SMALL_PARITY = Raw(struct.pack("<HHIQ4s", 1, 0, 8, 0, SUM_OF_1), pages=[page(1), page(2)])
SUM_OF_2 = struct.pack("<I", raw_crc32c(U, page(2)))


@pytest.mark.parametrize(
    ("payload", "behind", "parities", "end"),
    [
        pytest.param(TOO_SMALL_DATA, SUM_OF_1, 1, 16, id="data-of-no-pages"),
        pytest.param(TOO_SMALL_PARITY, SUM_OF_2, 2, 24, id="raid6-parity-of-one-page"),
    ],
)
@pytest.mark.parametrize(
    ("era", "fate"), [(OLDER, "accepted"), (NEWER, "dropped")], ids=["6.1.175", "6.12.117"]
)
def test_eras_part_over_a_size_too_small_for_its_pages(
    payload: Raw, behind: bytes, parities: int, end: int, era: Era, fate: str
) -> None:
    # The older era finds the checksum that it wants behind the descriptor, whose size denies it.
    ring = ring_of()
    ring.append(seq=SEQ, position=0, payloads=[payload], tail_bytes=behind)
    assert steps(log_of(ring, era=era, parities=parities)) == [
        (0, SEQ, fate), (end if fate == "accepted" else 8, SEQ + 1, "magic")
    ]  # fmt: skip


def test_only_the_first_page_of_a_long_data_payload_counts() -> None:
    ring = ring_of()
    long = Data(0, [page(1), page(2)], checksums=[raw_crc32c(U, page(1)), 0xBAD])
    after = ring.append(seq=SEQ, position=0, payloads=[long, Data(8, [page(3)])])
    ring.append(seq=SEQ + 1, position=after)
    # Two pages of three are loaded, so the scan moves 8 + 16 sectors, onto the last page.
    assert steps(log_of(ring)) == [(0, SEQ, "accepted"), (24, SEQ + 1, "magic")]
    metas, _ = scan(log_of(ring))
    assert [at for _, _, at in metas[0].entries] == [8, 24]


def test_absurd_size_leads_out_of_the_ring() -> None:
    ring = ring_of(64)
    absurd = Data(0, [page(1)], size=8008, checksums=[raw_crc32c(U, page(1)), *[0] * 1000])
    # Round the ring often enough, and this page would be found at sector 16.
    follows = Data(8, [page(2)])
    ring.append(seq=SEQ, position=0, payloads=[absurd, follows])
    assert steps(log_of(ring)) == [(0, SEQ, "dropped"), (8, SEQ + 1, "magic")]


def test_flags_are_kept_and_change_nothing() -> None:
    ring = ring_of()
    flagged = [Data(0, [page(1)], flags=1), Parity(0, [page(2)], flags=3), Flush([8], flags=1)]
    ring.append(seq=SEQ, position=0, payloads=flagged)
    metas, end = scan(log_of(ring, era=NEWEST_ERA))
    assert [getattr(payload, "flags", None) for payload in metas[0].payloads] == [1, 3, 1]
    assert end.position == 24


@pytest.mark.parametrize(("size", "stripes"), [(0, 0), (4, 0), (12, 1), (16, 2)])
def test_flush_list_is_read_in_whole_stripes(size: int, stripes: int) -> None:
    ring = ring_of()
    listed = Raw(struct.pack("<HHI", 2, 0, size) + struct.pack("<2Q", 8, 16)[:size])
    ring.append(seq=SEQ, position=0, payloads=[listed, *STRIPE])
    metas, end = scan(log_of(ring))
    assert metas[0].dropped is None
    assert len(getattr(metas[0].payloads[0], "stripes", ())) == stripes
    assert end.position == 32


def test_full_meta_of_203_data_pages_is_followed() -> None:
    ring = ring_of(2048)
    one = raw_crc32c(U, page(0))
    payloads = [Data(8 * n, [page(0)], checksums=[one]) for n in range(203)]
    after = ring.append(seq=SEQ, position=1024, payloads=payloads)
    assert steps(log_of(ring, tail=1024)) == [(1024, SEQ, "accepted"), (after, SEQ + 1, "magic")]
