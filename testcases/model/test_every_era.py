"""One reading of a log comes to what each era's own plan comes to, whatever the log holds."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace

import pytest

from harness.ondisk.log import Rejected
from harness.ondisk.units import LogSector
from harness.recovery.era import ERAS, NEWEST_ERA
from harness.recovery.era_differences import era_differences
from harness.recovery.every_era import (
    UnreadableTailBlock,
    recover_in_every_era,
)
from harness.recovery.followers import Recovery
from harness.recovery.geometry import Geometry
from harness.recovery.layout import LAYOUTS
from harness.recovery.log import Log, UndefinedRecovery
from harness.recovery.metawise import StripeCacheExhausted
from harness.recovery.plan import RecoveryPlan, plan_recovery
from testcases.journal_writer import Data, Flush, Parity, Payload, Raw, Ring
from testcases.unit.written_logs import flip, log_of, page, ring_of

SEQ = 0x1000


def geometry_of(level: int, raid_disks: int = 5) -> Geometry:
    layout = next(one for one in LAYOUTS.values() if one.level == level and one.number in (0, 2))
    return Geometry(layout=layout, raid_disks=raid_disks, chunk_sectors=16, component_sectors=160)


def recover(log: Log, geometry: Geometry, cache: int = 256) -> tuple[Recovery, ...] | Rejected:
    return recover_in_every_era(log, geometry, stripe_cache_size=cache)


def last_pages(plan: RecoveryPlan) -> dict[tuple[int, int], int]:
    return {
        (replayed.stripe, device): source
        for replayed in plan.replays
        for device, source in replayed.pages
    }


def assert_alike(recovery: Recovery, plan: RecoveryPlan) -> None:
    writes = recovery.writes
    columns = (writes.sectors.tolist(), writes.devices.tolist(), writes.sources.tolist())
    found = {(sector, device): source for sector, device, source in zip(*columns, strict=True)}
    assert found == last_pages(plan)
    assert recovery.pages_written == sum(len(replayed.pages) for replayed in plan.replays)
    assert recovery.books.replayed == len(plan.replays)
    assert (recovery.accepted, recovery.dropped) == (plan.metas_accepted, plan.metas_dropped)
    assert recovery.end == plan.ended
    assert recovery.data_only == plan.data_only


def payloads(rng: random.Random, parities: int) -> Iterator[Payload]:
    """Yield what a driver writes, and now and then what none does."""
    stripes = rng.choice((6, 20))  # more than the stripe cache holds, or fewer
    for _ in range(rng.randrange(6)):
        stripe = 8 * rng.randrange(stripes)
        match rng.randrange(30):
            case number if number < 14:
                yield Data(8 * rng.randrange(4 * stripes), (page(rng.randrange(9)),))
            case number if number < 22:
                yield Parity(stripe, [page(rng.randrange(9)) for _ in range(parities)])
            case number if number < 26:
                yield Flush([8 * rng.randrange(stripes) for _ in range(rng.randrange(1, 3))])
            case 26:
                yield Data(8 * rng.randrange(30), (page(1), page(2)))
            case 27:
                yield Data(3 + 8 * rng.randrange(30), (page(3),), flags=rng.randrange(3))
            case 28:
                yield Raw(rng.randbytes(rng.randrange(1, 24)))
            case _:
                yield Parity(stripe, (page(4),), size=rng.choice((0, 8, 24)))


def driver_payloads(rng: random.Random, parities: int) -> Iterator[Payload]:
    """Yield stripes with their parity, as write-through mode logs them."""
    for _ in range(rng.randrange(1, 3)):
        row, offset = rng.randrange(2), 8 * rng.randrange(2)
        across = 5 - parities
        for k in sorted(rng.sample(range(across), rng.randrange(1, across))):
            yield Data((row * across + k) * 16 + offset, (page(rng.randrange(9)),))
        yield Parity(row * 16 + offset, [page(rng.randrange(9)) for _ in range(parities)])


def written(rng: random.Random, parities: int) -> tuple[Ring, int]:
    ring = ring_of(1024)
    start = at = 8 * rng.randrange(100)
    make = rng.choice((payloads, driver_payloads))
    for number in range(rng.randrange(1, 12)):
        record = tuple(make(rng, parities))
        used = 8 + sum(8 * len(one._log_pages()) for one in record)
        if used > 200:
            break
        at = ring.append(seq=SEQ + number, position=at, payloads=record)
    if rng.random() < 0.3 and at != start:
        flip(ring, ring.add(start, 8 * rng.randrange((at - start) % 1024 // 8 or 1)))
    return ring, start


@pytest.mark.parametrize("level", [4, 5, 6])
@pytest.mark.parametrize("part", range(8))
def test_every_era_comes_to_its_own_plan(level: int, part: int) -> None:
    geometry = geometry_of(level)
    parities = geometry.level.parities
    for seed in range(30 * part, 30 * part + 30):
        ring, start = written(random.Random(seed), parities)
        log = log_of(ring, tail=start, parities=parities)
        recoveries = recover(log, geometry, cache=17)
        for era in ERAS.values():
            own = replace(log, era=era)
            if isinstance(recoveries, Rejected):
                assert plan_recovery(own, geometry).created == recoveries
                continue
            (recovery,) = (one for one in recoveries if era in one.eras)
            planned = plan_or_why_not(own, geometry)
            assert recovery.failure == (planned if isinstance(planned, str) else None), seed
            if isinstance(planned, RecoveryPlan):
                assert_alike(recovery, planned)


def plan_or_why_not(log: Log, geometry: Geometry) -> RecoveryPlan | str:
    try:
        return plan_recovery(log, geometry, stripe_cache_size=17)
    except UndefinedRecovery as undefined:
        return str(undefined)


def test_a_recovery_that_runs_out_of_stripes_is_told() -> None:
    ring = ring_of(2**16)
    at = 0
    for number in range(2100):
        batch = [Data(64 * (number * 2 + n), (page(1),)) for n in range(2)]
        at = ring.append(seq=SEQ + number, position=at, payloads=batch)
    # Every location hashes alike, so that each of the eight lists holds one eighth of the cache.
    geometry = replace(geometry_of(4, 2), chunk_sectors=8)
    log = log_of(ring)
    recoveries = recover(log, geometry, cache=256)
    assert not isinstance(recoveries, Rejected)
    newest = next(one for one in recoveries if NEWEST_ERA in one.eras)
    with pytest.raises(StripeCacheExhausted) as exhausted:
        plan_recovery(log, geometry, stripe_cache_size=256)
    assert str(newest.failure).startswith(str(exhausted.value))


def test_a_tail_that_cannot_be_read_starts_no_array() -> None:
    with pytest.raises(UnreadableTailBlock, match="block 0"):
        recover(log_of(ring_of(), unreadable=[0]), geometry_of(5))


def test_a_descriptor_that_eras_bound_otherwise_parts_them() -> None:
    ring = ring_of()
    # Two checksums announced and room for one: dropped by eras that look, undefined never.
    at = ring.append(seq=SEQ, position=0, payloads=[Data(0, (page(1),), size=16)])
    ring.append(seq=SEQ + 1, position=at, payloads=[Data(64, (page(2),))])
    recoveries = recover(log_of(ring), geometry_of(5))
    assert not isinstance(recoveries, Rejected)
    parted = [tuple(era.name for era in one.eras) for one in recoveries]
    assert ("4.12",) in parted or ("4.10", "4.11", "4.12") in parted
    assert not any({"6.12.117", "4.12"} <= set(names) for names in parted)
    differing = era_differences(recoveries, NEWEST_ERA)
    assert any("4.12" in one.eras and one.members for one in differing)


def test_pages_are_verified_once_for_all_eras() -> None:
    ring = ring_of()
    at = 0
    for number in range(5):
        record = [Data(64 * number, (page(number),)), Parity(16 * number, (page(9),))]
        at = ring.append(seq=SEQ + number, position=at, payloads=record)
    log = log_of(ring)
    reads: list[int] = []

    def counting(position: LogSector, count: int) -> bytes:
        reads.append(count)
        return bytes(log.read_blocks(position, count))

    recover_in_every_era(replace(log, read_blocks=counting), geometry_of(5))
    # Each meta block alone; its two pages at once, with the block that should be the next one.
    assert [count for count in reads if count > 1] == [3] * 5
