"""Journals at random: the same again for a seed, written alike by another writer, far-reaching."""

from __future__ import annotations

import random

import pytest

from harness.campaign.fuzzing.ground import fuzzed_state
from harness.fuzzing import generator
from harness.fuzzing.coverage import ACCEPTED, DROPPED, NOT_REACHED, Coverage
from harness.fuzzing.journal import Journal
from harness.fuzzing.model_array import ModelArray
from harness.fuzzing.payloads import Lies, Raw, meta_block
from harness.fuzzing.tricks import PAYLOAD_TRICKS
from harness.md.shape import Shape
from harness.ondisk.units import LogSector
from harness.recovery.era import ERAS, NEWEST_ERA
from harness.recovery.geometry import Geometry
from harness.recovery.layout import Level, layout_of
from harness.recovery.log import Log, UndefinedRecovery
from harness.recovery.plan import follow_log, plan_recovery
from testcases.generated_cases import WrittenArrayFacts, any_array, first_contents, written
from testcases.journal_writer import ArrayImages
from testcases.unit.fuzzed_ground import RAID6, SHAPE, ground

KINDS = ("legal", "hostile", "patched", "crowded")
BIG = ArrayImages(
    level=5, layout=2, raid_disks=3, chunk_sectors=32, data_sectors=8192, log_sectors=8192,
    contents=first_contents,
)  # fmt: skip


def journal(kind: str, seed: int, facts: WrittenArrayFacts) -> Journal:
    if kind == "legal":
        return generator.legal(seed, facts, write_back=bool(seed % 2))
    make = {"hostile": generator.hostile, "patched": generator.patched,
            "crowded": generator.crowded}[kind]  # fmt: skip
    return make(seed, facts)


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_seed_writes_the_same_journal(kind: str) -> None:
    facts = WrittenArrayFacts(any_array(random.Random(5)))
    one, two = journal(kind, 3, facts), journal(kind, 3, facts)
    assert one == two
    assert one.blocks(facts) == two.blocks(facts)
    assert one.blocks(facts) != journal(kind, 4, facts).blocks(facts)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(12))
def test_the_independent_writer_writes_the_same_bytes(kind: str, seed: int) -> None:
    images = any_array(random.Random(seed))
    facts = WrittenArrayFacts(images)
    made = journal(kind, seed, facts)
    ring = written(images, made).ring
    log = bytearray(len(ring.log))
    for position, block in made.blocks(facts).items():
        log[position * 512 : position * 512 + 4096] = block
    assert log == ring.log


@pytest.mark.parametrize("seed", range(40))
def test_the_model_and_the_independent_writer_agree_on_an_array(seed: int) -> None:
    images = any_array(random.Random(seed))
    facts = WrittenArrayFacts(images)
    geometry = Geometry(
        layout=layout_of(Level(images.level), images.layout), raid_disks=images.raid_disks,
        chunk_sectors=images.chunk_sectors, component_sectors=images.data_sectors,
    )  # fmt: skip
    model = ModelArray(
        geometry=geometry, log_sectors=images.log_sectors, room_sectors=images.data_sectors,
        seed=facts.seed, missing=frozenset(),
    )  # fmt: skip
    for name in ("level", "chunk_sectors", "array_sectors", "member_sectors", "ring_sectors"):
        assert getattr(model, name) == getattr(facts, name)
    assert model.checksum(b"x" * 4096) == facts.checksum(b"x" * 4096)
    for at in range(0, facts.array_sectors, 8):
        stripe = facts.stripe_of(at)
        assert model.stripe_of(at) == stripe
        assert model.sectors_of(stripe) == facts.sectors_of(stripe)
        parity = facts.parity_of(stripe, facts.contents)
        assert model.parity_of(stripe, facts.contents) == parity
    assert model.stripe_of(2**63 + 3) == facts.stripe_of(2**63 + 3)


def test_a_crowd_is_more_than_the_stripe_cache_holds() -> None:
    facts = WrittenArrayFacts(BIG)
    stripes = []
    for seed in range(30):
        made = generator.crowded(seed, facts)
        at = {p.location for m in made.metas for p in m.payloads if hasattr(p, "location")}
        stripes.append(len(at))
        assert len(made.blocks(facts)) * 8 <= facts.ring_sectors
    assert max(stripes) > 2 * generator.STRIPE_CACHE


def covered(shape: Shape, states: int) -> Coverage:
    coverage = Coverage()
    for number in range(states):
        state = fuzzed_state(ground(shape), seed=1, number=number)
        array, made = state.array, state.journal
        coverage.take_journal(made, array)
        blocks = made.blocks(array)

        def read(position: LogSector, count: int, blocks: dict[int, bytes] = blocks) -> bytes:
            return b"".join(blocks.get(position + 8 * n, bytes(4096)) for n in range(count))

        log = Log(
            read_blocks=read, data_size=array.log_sectors, journal_tail=LogSector(made.tail),
            seed=array.seed, parities=array.geometry.level.parities, era=NEWEST_ERA,
        )  # fmt: skip
        try:
            coverage.take_scan(made, array, list(follow_log(log, array.geometry)))
            plan = plan_recovery(log, array.geometry)
        except UndefinedRecovery:
            continue
        coverage.take_plan(plan, generator.STRIPE_CACHE)
        coverage.take_eras({NEWEST_ERA.name: plan}, NEWEST_ERA.name)
    return coverage


def test_five_hundred_journals_reach_every_field_and_every_end() -> None:
    coverage = covered(SHAPE, 500)
    assert set(coverage.kinds) == set(KINDS)
    assert {trick.__name__ for trick in PAYLOAD_TRICKS} <= set(coverage.tricks)
    for kind in ("DATA", "PARITY", "FLUSH", "no descriptor", "unknown type"):
        states = (NOT_REACHED, DROPPED) if kind in ("no descriptor", "unknown type") else (
            NOT_REACHED, DROPPED, ACCEPTED)  # fmt: skip
        assert all(coverage.payloads[kind, state] for state in states), kind
    wanted = {
        "magic": {"wrong"}, "checksum": {"wrong"}, "version": {"wrong"}, "seq": {"wrong"},
        "position": {"wrong"}, "pads": {"not zero"}, "behind the list": {"noise"},
        "meta_size": {"32 or less", "beyond the block", "another one within the block"},
        "journal_tail": {"a lie"}, "pages behind the block": {"cut off"},
        "DATA size": {"0", "1 to 7", "right", "other pages", "no multiple of 8", "absurd"},
        "PARITY size": {"0", "1 to 7", "right", "other pages", "no multiple of 8", "absurd"},
        "FLUSH stripes": {"0", "1", "many"}, "FLUSH size": {"no multiple of 8"},
        "flags": {"0", "1", "2", "3", "more"}, "type": {"DATA", "PARITY", "FLUSH", "unknown"},
    }  # fmt: skip
    for where in ("DATA location", "PARITY location"):
        wanted[where] = {
            "inside", "the last page", "unaligned", "the first behind the end",
            "behind the end, on the disks", "beyond the disks",
        }  # fmt: skip
    for name, values in wanted.items():
        assert {value for value in values if not coverage.fields[name, value]} == set(), name
    ends = {end for end, count in coverage.ends.items() if count}
    for fault in ("magic", "seq", "version", "position", "checksum", "meta_size"):
        assert f"the scan ends at a block whose {fault} is wrong" in ends
    assert "more stripes than the stripe cache has" in ends, "they fit a log of 4 MiB"
    assert "the log goes around the ring" in ends
    assert "data-only stripes are logged anew" in ends


def test_raid6_is_written_with_q() -> None:
    coverage = covered(RAID6, 40)
    assert coverage.fields["PARITY size", "right"] > coverage.fields["PARITY size", "other pages"]


def test_what_does_not_fit_a_meta_block_is_refused() -> None:
    with pytest.raises(ValueError, match="do not fit a meta block"):
        meta_block(seed=1, seq=1, position=0, payloads=[Raw(data=bytes(4065))])
    with pytest.raises(ValueError, match="do not fit a meta block"):
        meta_block(seed=1, seq=1, position=0, lies=Lies(patches=((4095, b"12"),)))


def test_eras_are_counted_against_the_kernels_own() -> None:
    coverage = Coverage()
    state = fuzzed_state(ground(), seed=1, number=0)
    coverage.take_journal(state.journal, state.array)
    coverage.take_eras(dict.fromkeys(ERAS), NEWEST_ERA.name)
    assert {each.told for each in coverage.eras.values()} == {0}
