"""The map of a ring: every block is drawn once and as what it is, however many there are."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from harness.ondisk.log import (
    DataPayload,
    Fault,
    FlushPayload,
    ParityPayload,
    Payload,
    Rejected,
)
from harness.ondisk.units import ArraySector, LogSector, StripeSector
from harness.recovery.era import NEWEST_ERA
from harness.recovery.geometry import Geometry
from harness.recovery.layout import Level, layout_named
from harness.recovery.log import LogEnd, ScannedMeta
from harness.recovery.log import Ring as LogRing
from harness.recovery.plan import RecoveryPlan, follow_log, plan_recovery
from harness.storage.array_files import read_journaled
from harness.storage.ring_blocks import read_ring
from harness.verdict.ring_drawing import STYLE, css_class, percent
from harness.verdict.ring_map import Subject, ring_map
from harness.verdict.ring_regions import (
    LIVE,
    ZEROES,
    Kind,
    Region,
    Rest,
    live_log,
    live_regions,
)
from harness.verdict.ring_strips import Strip, fill
from testcases.journal_writer import Data, Flush, Parity, Ring
from testcases.unit.scanned_metas import scanned
from testcases.unit.written_arrays import WrittenArray, array_of, noise
from testcases.unit.written_logs import SEQ, U, flip, log_of, page, ring_of

RAID5 = Geometry(
    layout=layout_named(Level.RAID5, "left-symmetric"), raid_disks=3, chunk_sectors=16,
    component_sectors=160,
)  # fmt: skip
SVG = "{http://www.w3.org/2000/svg}"


def one_stripe(number: int, seed: int = 0) -> tuple[Data, Parity]:
    return Data(8 * number, (page(seed + number + 1),)), Parity(8 * number, (page(99),))


def full_ring() -> Ring:
    """Return a log from 200 around to 32 that has everything around it that a ring can have."""
    ring = ring_of()
    at = ring.append(seq=SEQ - 2, position=120, payloads=one_stripe(3))  # reclaimed
    assert at == 144
    ring.put_block(position=144, block=b"?" * 4096)
    at = ring.append(seq=SEQ, position=200)
    at = ring.append(seq=SEQ + 1, position=at, payloads=one_stripe(0))
    at = ring.append(seq=SEQ + 2, position=at, payloads=one_stripe(1))
    assert at == 0
    at = ring.append(seq=SEQ + 3, position=at, payloads=[Flush((8,))])
    at = ring.append(seq=SEQ + 4, position=at, payloads=one_stripe(2))
    assert at == 32
    at = ring.append(seq=SEQ + 5, position=at, payloads=one_stripe(4))
    flip(ring, 40)  # its data page
    assert at == 56
    ring.append(seq=SEQ + 6, position=64, payloads=one_stripe(5))  # beyond the end
    foreign = Ring(size_sectors=256, seed=0x12345678)
    foreign.append(seq=SEQ, position=88, payloads=one_stripe(6))
    ring.log[88 * 512 : 112 * 512] = foreign.log[88 * 512 : 112 * 512]
    return ring


def blocks_of(
    ring: Ring, position: int, sectors: int, *, missing: Iterable[int] = ()
) -> Iterator[tuple[int, bytes | None]]:
    for step in range(0, sectors, 8):
        at = (position + step) % ring.size_sectors
        yield 1, None if at in missing else bytes(ring.log[at * 512 : at * 512 + 4096])


def regions_of(
    ring: Ring, *, tail: int = 200, missing: Iterable[int] = ()
) -> tuple[list[Region], Rest, RecoveryPlan, list[ScannedMeta]]:
    log = log_of(ring, tail=tail)
    metas = list(follow_log(log, RAID5))
    plan = plan_recovery(log, RAID5)
    rest = Rest(live_log(metas, log.ring), plan, log.ring, seed=U)
    blocks = blocks_of(ring, rest.position, rest.sectors, missing=missing)
    return [*live_regions(metas, log.ring), *rest.regions(blocks)], rest, plan, metas


def kinds_of(ring: Ring, *, tail: int = 200, missing: Iterable[int] = ()) -> dict[int, Kind]:
    """Return what each block is, by its sector; none may be told twice."""
    found: dict[int, Kind] = {}
    for region in regions_of(ring, tail=tail, missing=missing)[0]:
        assert region.position + region.sectors <= ring.size_sectors
        for at in range(region.position, region.position + region.sectors, 8):
            assert at not in found
            found[at] = region.kind
    return found


def draw(ring: Ring, *, tail: int = 200, **changes: object) -> str:
    regions, rest, plan, metas = regions_of(ring, tail=tail)
    return ring_map(subject_of(ring.size_sectors, tail, **changes), metas, plan, rest, regions)


def subject_of(size: int, tail: int = 200, **changes: object) -> Subject:
    whole = Subject(
        name="host:0", uuid="0001", geometry=RAID5, journal="journal.img", ring=LogRing(size),
        journal_tail=LogSector(tail), era=NEWEST_ERA.name,
    )  # fmt: skip
    return replace(whole, **changes)  # type: ignore[arg-type]


def texts(svg: str) -> list[str]:
    return [node.text or "" for node in ET.fromstring(svg).iter(f"{SVG}text")]


def titles(svg: str) -> list[str]:
    return [node.text or "" for node in ET.fromstring(svg).iter(f"{SVG}title")]


# What each block is.


def test_every_kind_of_block_is_found_where_it_was_written() -> None:
    kinds = kinds_of(full_ring(), missing=[160])
    data, parity, meta = Kind.DATA, Kind.PARITY, Kind.META
    expected = dict.fromkeys(range(0, 256, 8), Kind.EMPTY) | {
        200: Kind.EMPTY_META, 208: meta, 216: data, 224: parity, 232: meta, 240: data,
        248: parity, 0: Kind.FLUSH, 8: meta, 16: data, 24: parity,
        32: Kind.TORN, 40: Kind.TORN, 48: Kind.TORN,
        64: Kind.BEYOND, 72: Kind.BEYOND, 80: Kind.BEYOND,
        88: Kind.FOREIGN, 96: Kind.FOREIGN, 104: Kind.FOREIGN,
        120: Kind.RECLAIMED, 128: Kind.RECLAIMED, 136: Kind.RECLAIMED,
        144: Kind.OTHER, 160: Kind.UNREADABLE,
    }  # fmt: skip
    assert kinds == expected
    assert set(expected.values()) == set(Kind)


@pytest.mark.parametrize("tail", [0, 8, 200, 208, 248])
def test_regions_tile_the_ring_whatever_the_tail(tail: int) -> None:
    assert sorted(kinds_of(full_ring(), tail=tail)) == list(range(0, 256, 8))


def test_pages_of_a_reclaimed_meta_block_are_followed_around_the_end() -> None:
    ring = ring_of()
    ring.append(seq=SEQ - 1, position=248, payloads=one_stripe(1))
    ring.append(seq=SEQ, position=16)
    kinds = kinds_of(ring, tail=16)
    assert [kinds[at] for at in (248, 0, 8, 16)] == [Kind.RECLAIMED] * 3 + [Kind.EMPTY_META]


def test_bad_page_of_a_reclaimed_meta_block_is_torn_unless_discarded() -> None:
    ring = ring_of()
    ring.append(seq=SEQ - 1, position=80, payloads=one_stripe(1))
    flip(ring, 88)
    ring.log[96 * 512 : 104 * 512] = bytes(4096)
    ring.append(seq=SEQ, position=0)
    kinds = kinds_of(ring, tail=0)
    assert [kinds[at] for at in (80, 88, 96)] == [Kind.RECLAIMED, Kind.TORN, Kind.EMPTY]


def test_half_written_next_meta_block_is_torn_not_foreign() -> None:
    ring = ring_of()
    at = ring.append(seq=SEQ, position=0)
    ring.append(seq=SEQ + 1, position=at, checksum=1)
    assert kinds_of(ring, tail=0)[at] is Kind.TORN


def test_with_a_bad_tail_nothing_counts_as_reclaimed() -> None:
    ring = full_ring()
    flip(ring, 200)
    kinds = Counter(kinds_of(ring).values())
    assert kinds[Kind.RECLAIMED] == 0
    assert kinds[Kind.BEYOND] >= 15
    assert not [kind for kind in LIVE if kinds[kind]]


def test_sequence_numbers_are_compared_modulo_2_to_64() -> None:
    ring = ring_of()
    at = ring.append(seq=2**64 - 1, position=0)
    ring.append(seq=5, position=at + 80)  # later than 2**64 - 1
    ring.append(seq=2**64 - 5, position=at + 160)
    kinds = kinds_of(ring, tail=0)
    assert (kinds[at + 80], kinds[at + 160]) == (Kind.BEYOND, Kind.RECLAIMED)


def test_log_that_claims_more_than_the_ring_is_cut_at_once_around() -> None:
    ring = LogRing(64)
    metas = [meta(number, data(0), at=8 * number % 64, sectors=24) for number in range(20)]
    regions = list(live_regions(metas, ring))
    assert sum(region.sectors for region in regions) == 64


@pytest.mark.parametrize("announced", [1, 2**31])
def test_hole_of_any_size_is_one_region(announced: int) -> None:
    ring = LogRing(8 * announced + 8)
    block = meta(0)
    rest = Rest(live_log([block], ring), plan_of([block], ring), ring, seed=U)
    regions = list(rest.regions(iter([(announced, ZEROES)])))
    assert regions == [Region(LogSector(8), 8 * announced, Kind.EMPTY)]


def test_image_is_read_as_blocks_around_the_end_with_holes_together(tmp_path: Path) -> None:
    array = WrittenArray(array_of(), position=240)
    array.write({0: noise(1)})
    files = read_journaled(array.store(tmp_path, journal_tail=240))
    read = list(read_ring(files, LogSector(232), 256))
    expected = [ZEROES, *[bytes(array.ring.log[at * 512 :][:4096]) for at in (240, 248, 0)]]
    assert [block for count, block in read for _ in range(count)] == expected + [ZEROES] * 28
    assert len(read) < 32


# How it is drawn.


def test_map_is_well_formed_and_names_every_kind() -> None:
    svg = draw(full_ring())
    shown = texts(svg)
    for kind in Kind:
        assert [text for text in shown if text.startswith(f"{kind.value}: ")], kind
        assert f".{css_class(kind)}{{" in STYLE


def test_each_kind_that_occurs_has_an_area() -> None:
    svg = draw(full_ring())
    root = ET.fromstring(svg)
    drawn = {node.get("class") for node in root.iter(f"{SVG}path")}
    occurring = set(Kind) - {Kind.UNREADABLE, Kind.EMPTY}  # empty is the ground
    assert {css_class(kind) for kind in occurring} <= drawn


def test_tail_head_and_reason_are_written() -> None:
    shown = texts(draw(full_ring()))
    assert f"tail 200: seq {SEQ}" in shown
    assert f"log ends 40: no seq {SEQ + 6}" in shown
    assert [text for text in shown if text.startswith("Why it ends: log ends at sector 40: magic")]


def test_few_meta_blocks_tell_of_themselves_under_the_mouse() -> None:
    told = titles(draw(full_ring()))
    assert f"meta block seq {SEQ} at sector 200, 1 block: empty" in told
    assert f"meta block seq {SEQ - 2} at sector 120, announces 2 pages: reclaimed" in told
    assert [title for title in told if "DROPPED" in title]


def test_log_without_a_valid_tail_is_explained() -> None:
    ring = full_ring()
    flip(ring, 200)
    shown = " ".join(texts(draw(ring)))
    assert "No log to follow: the block at the tail is no meta block of this array" in shown


def test_text_from_outside_is_escaped() -> None:
    name = '<script>&"\x00\ud800]]>'
    svg = draw(full_ring(), name=name, journal=name)
    svg.encode()
    assert "<script" not in svg
    assert texts(svg)[0] == 'Write journal of <script>&"\ufffd\ufffd]]>'


def test_map_names_nothing_outside_itself() -> None:
    svg = draw(full_ring()).replace('xmlns="http://www.w3.org/2000/svg"', "")
    assert not re.search(r"https?:|href|@import|url\((?!#)", svg)
    assert set(re.findall(r"url\(#([\w-]+)\)", svg)) <= set(re.findall(r' id="([\w-]+)"', svg))


def test_share_is_never_rounded_to_nothing_or_to_all() -> None:
    assert [percent(part, 1000) for part in (0, 1, 10, 500, 999, 1000)] == [
        "0 %", "under 1 %", "1 %", "50 %", "over 99 %", "100 %"
    ]  # fmt: skip


# Any number of meta blocks.


def data(location: int) -> Payload:
    return DataPayload(flags=0, size=8, location=ArraySector(location), checksums=(0,))


def parity(stripe: int) -> Payload:
    return ParityPayload(flags=0, size=8, location=StripeSector(stripe), checksums=(0,))


def meta(number: int, *payloads: Payload, at: int = 0, sectors: int | None = None) -> ScannedMeta:
    return scanned(SEQ + number, *payloads, at=at, sectors=sectors)


def plan_of(metas: list[ScannedMeta], ring: LogRing) -> RecoveryPlan:
    end = ring.add(metas[0].meta.position, sum(one.log_sectors for one in metas) % ring.size)
    empty = ring_of()
    empty.append(seq=SEQ, position=0)
    rejected = Rejected(end, Fault.MAGIC, 0, 0x6433C509)
    return replace(
        plan_recovery(log_of(empty), RAID5), start=metas[0].meta.position,
        ended=LogEnd(end, SEQ + len(metas), rejected), journal_tail=end,
    )  # fmt: skip


def many(count: int, ring: LogRing) -> list[ScannedMeta]:
    """Return meta blocks of changing size and kind, without a page of any of them."""
    metas = []
    at = LogSector(0)
    flush = FlushPayload(flags=0, size=8, stripes=(StripeSector(0),))
    for number in range(count):
        drawn = number * 2654435761 % 2**32 >> 16
        payloads = [data(0)] * (drawn % 7) + [parity(0)] * (drawn // 7 % 4)
        payloads += [flush] * (drawn % 11 == 0)
        metas.append(meta(number, *payloads, at=at))
        at = ring.add(at, metas[-1].log_sectors)
    return metas


@pytest.mark.parametrize(("count", "ring_blocks"), [(10_000, 60_000), (2_000, 2**55)])
def test_map_of_many_meta_blocks_is_a_small_file(count: int, ring_blocks: int) -> None:
    ring = LogRing(8 * ring_blocks)
    metas = many(count, ring)
    rest = Rest(live_log(metas, ring), plan_of(metas, ring), ring, seed=U)
    assert 0 < rest.sectors < ring.size
    regions = rest.regions(iter([(rest.sectors // 8, ZEROES)]))
    svg = ring_map(subject_of(ring.size, 0), metas, plan_of(metas, ring), rest, regions)
    ET.fromstring(svg)
    assert len(svg) < 500_000
    enlarged = [text for text in texts(svg) if text.startswith("The live log enlarged")]
    assert len(enlarged) == (ring_blocks > 60_000)


def test_columns_of_a_strip_hold_every_block_once() -> None:
    ring = LogRing(8 * 100_001)
    strip = Strip(ring, LogSector(800), ring.size, most_rows=16)
    kinds = list(Kind)
    regions = [
        Region(LogSector(8 * at), 8 * min(7, 100_001 - at), kinds[at // 7 % len(kinds)])
        for at in range(0, 100_001, 7)
    ]
    totals = fill([strip], regions)
    assert sum(totals.values()) == 100_001
    summed: Counter[Kind] = Counter()
    for row in range(strip.rows):
        summed.update(strip.shares(row))
    assert summed == totals


def test_ring_with_all_kinds_everywhere_makes_a_small_drawing() -> None:
    ring = LogRing(8 * 65_536)
    strip = Strip(ring, LogSector(0), ring.size, most_rows=16)
    kinds = list(Kind)
    drawn = [at * 2654435761 % 2**32 >> 16 for at in range(65_536)]
    fill([strip], (Region(LogSector(8 * at), 8, kinds[d % 12]) for at, d in enumerate(drawn)))
    paths = [path for row in range(strip.rows) for path in strip.outlines(row, 0).values()]
    assert sum(map(len, paths)) < 250_000


def test_rarest_kind_is_still_seen() -> None:
    ring = LogRing(8 * 10_000_000)
    strip = Strip(ring, LogSector(0), ring.size, most_rows=16)
    fill([strip], [Region(LogSector(0), 8, Kind.TORN), Region(LogSector(8), 7992, Kind.DATA)])
    assert set(strip.outlines(0, 0)) == {Kind.TORN, Kind.DATA}
