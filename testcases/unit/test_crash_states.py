"""Crash states are legal: what was durable is there, what was not may be lost, whole or torn.

The rules are those of a disk with a volatile cache, read in the standards' way: a completed write
survives if it was FUA, if the disk has no volatile cache, or if a flush of the same disk was issued
after the write completed, and has itself completed.
"""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from harness.crash.history import DiskHistory
from harness.crash.states import (
    CrashState,
    Fate,
    Loss,
    Survivor,
    crash_state,
    fates,
    surviving_bytes,
)
from harness.crash.trace import (
    Cache,
    Completion,
    Event,
    Flag,
    Issue,
    Mark,
    Operation,
    Trace,
    TraceDisk,
)
from harness.storage.images import write_state

PLAIN = Flag(0)
END = 10**9
DISK_BYTES = 1 << 20


def trace(*events: Event, caches: tuple[Cache, ...] = (Cache.WRITE_BACK,) * 2) -> Trace:
    disks = [TraceDisk(f"disk{n}", DISK_BYTES, cache, 512) for n, cache in enumerate(caches)]
    return Trace(tuple(disks), tuple(sorted(events, key=lambda event: event.sequence)))


def issue(
    sequence: int, request: int, *, operation: Operation = Operation.WRITE, disk: int = 0,
    flags: Flag = PLAIN, offset: int = 0, length: int = 4096,
) -> Issue:  # fmt: skip
    """Issue a request; a write's every byte is its request's number."""
    payload = bytes([request]) * length if operation is Operation.WRITE else b""
    size = 0 if operation is Operation.FLUSH else length
    return Issue(sequence, request, disk, operation, flags, offset, size, payload)


def flush(sequence: int, request: int, *, disk: int = 0) -> Issue:
    return issue(sequence, request, operation=Operation.FLUSH, disk=disk)


def done(sequence: int, request: int, *, disk: int = 0, error: int = 0) -> Completion:
    return Completion(sequence, request, disk, error)


def fates_of(recorded: Trace, cut: int = END, disk: int = 0) -> dict[int, Fate]:
    return {write.issue.request: write.fate for write in fates(recorded, cut)[disk]}


# Fates.


@pytest.mark.parametrize(
    ("events", "fate"),
    [
        pytest.param([issue(1, 1)], Fate.IN_FLIGHT, id="not-completed"),
        pytest.param([issue(1, 1), done(2, 1)], Fate.CACHED, id="completed"),
        pytest.param([issue(1, 1), done(2, 1, error=5)], Fate.IN_FLIGHT, id="failed"),
        pytest.param(
            [issue(1, 1), done(2, 1), flush(3, 2), done(4, 2)], Fate.DURABLE, id="flushed"
        ),
        pytest.param(
            [issue(1, 1), flush(2, 2), done(3, 1), done(4, 2)], Fate.CACHED,
            id="flush-issued-before-its-completion",
        ),
        pytest.param(
            [flush(1, 2), issue(2, 1), done(3, 1), done(4, 2)], Fate.CACHED,
            id="flush-issued-before-it",
        ),
        pytest.param(
            [issue(1, 1), done(2, 1), flush(3, 2)], Fate.CACHED, id="flush-in-flight"
        ),
        pytest.param(
            [issue(1, 1), done(2, 1), flush(3, 2), done(4, 2, error=5)], Fate.CACHED,
            id="flush-failed",
        ),
        pytest.param(
            [issue(1, 1), done(2, 1), flush(3, 2, disk=1), done(4, 2, disk=1)], Fate.CACHED,
            id="flush-of-another-disk",
        ),
        pytest.param(
            [issue(1, 1), done(2, 1), flush(3, 2), flush(4, 3), done(5, 3)], Fate.DURABLE,
            id="one-of-two-flushes-completed",
        ),
        pytest.param(
            [issue(1, 1), flush(2, 2), done(3, 1), flush(4, 3), done(5, 2)], Fate.CACHED,
            id="only-the-earlier-flush-completed",
        ),
        pytest.param([issue(1, 1, flags=Flag.FUA), done(2, 1)], Fate.DURABLE, id="fua"),
        pytest.param([issue(1, 1, flags=Flag.FUA)], Fate.IN_FLIGHT, id="fua-in-flight"),
        pytest.param(
            [issue(1, 1, flags=Flag.FUA), done(2, 1, error=5)], Fate.IN_FLIGHT, id="fua-failed"
        ),
        pytest.param(
            [issue(1, 1, operation=Operation.TRIM), done(2, 1)], Fate.CACHED, id="trim"
        ),
        pytest.param(
            [issue(1, 1, operation=Operation.ZEROES, flags=Flag.MAY_TRIM), done(2, 1)],
            Fate.CACHED, id="zeroes",
        ),
        pytest.param(
            [issue(1, 1, operation=Operation.ZEROES, flags=Flag.FUA | Flag.MAY_TRIM), done(2, 1)],
            Fate.DURABLE, id="zeroes-with-fua",
        ),
    ],
)  # fmt: skip
def test_fate_of_a_write(events: list[Event], fate: Fate) -> None:
    assert fates_of(trace(*events))[1] is fate


def test_fua_write_makes_no_other_write_durable() -> None:
    recorded = trace(issue(1, 1), done(2, 1), issue(3, 2, flags=Flag.FUA), done(4, 2))
    assert fates_of(recorded) == {1: Fate.CACHED, 2: Fate.DURABLE}


def test_disk_without_a_volatile_cache_keeps_what_completed() -> None:
    caches = (Cache.WRITE_THROUGH, Cache.WRITE_BACK)
    events = [issue(n, n, disk=n % 2) for n in (1, 2, 3, 4)]
    recorded = trace(*events, done(5, 1, disk=1), done(6, 2), caches=caches)
    assert fates_of(recorded, disk=0) == {2: Fate.DURABLE, 4: Fate.IN_FLIGHT}
    assert fates_of(recorded, disk=1) == {1: Fate.CACHED, 3: Fate.IN_FLIGHT}


def test_cut_takes_back_what_happens_at_it_and_later() -> None:
    recorded = trace(issue(1, 1), done(2, 1), flush(3, 2), done(4, 2), issue(5, 3), Mark(6, "m"))
    by_cut = {cut: fates_of(recorded, cut) for cut in range(1, 8)}
    assert by_cut == {
        1: {},
        2: {1: Fate.IN_FLIGHT},
        3: {1: Fate.CACHED},
        4: {1: Fate.CACHED},
        5: {1: Fate.DURABLE},
        6: {1: Fate.DURABLE, 3: Fate.IN_FLIGHT},
        7: {1: Fate.DURABLE, 3: Fate.IN_FLIGHT},
    }


def test_flush_is_no_write() -> None:
    assert fates(trace(flush(1, 1), done(2, 1)), END) == ((), ())


def random_trace(seed: int) -> Trace:
    """Draw requests on three disks, each completed, failed or left in flight, in any order."""
    draw = random.Random(seed)
    caches = tuple(draw.choice(list(Cache)) for _ in range(3))
    events: list[Event] = []
    sequences = draw.sample(range(1, 400), 120)
    for request in range(1, 61):
        first, second = sorted(sequences[2 * request - 2 : 2 * request])
        disk = draw.randrange(3)
        operation = draw.choice([Operation.WRITE] * 3 + [Operation.FLUSH])
        flags = Flag.FUA if operation is Operation.WRITE and draw.random() < 0.2 else PLAIN
        events.append(
            issue(
                first, request, disk=disk, operation=operation, flags=flags,
                offset=512 * draw.randrange(64), length=512 * draw.randint(1, 24),
            )
        )  # fmt: skip
        if draw.random() < 0.8:
            events.append(done(second, request, disk=disk, error=draw.choice([0, 0, 0, 5])))
    return trace(*events, caches=caches)


def durable_by_definition(recorded: Trace, write: Issue, cut: int) -> bool:
    good = {
        event.request: event.sequence
        for event in recorded.events
        if isinstance(event, Completion) and event.error == 0 and event.sequence < cut
    }
    if write.request not in good:
        return False
    if recorded.disks[write.disk].cache is Cache.WRITE_THROUGH or Flag.FUA in write.flags:
        return True
    return any(
        isinstance(event, Issue)
        and event.operation is Operation.FLUSH
        and event.disk == write.disk
        and event.sequence > good[write.request]
        and event.request in good
        for event in recorded.events
    )


@pytest.mark.parametrize("seed", range(20))
def test_durable_is_what_the_definition_says(seed: int) -> None:
    recorded = random_trace(seed)
    for cut in range(0, 401, 40):
        for of_disk in fates(recorded, cut):
            for write in of_disk:
                wanted = durable_by_definition(recorded, write.issue, cut)
                assert (write.fate is Fate.DURABLE) == wanted, f"cut {cut}: {write}"


# Crash states.


@pytest.mark.parametrize("cut", [100, 200, 401])
def test_losing_all_keeps_the_durable_and_losing_none_keeps_everything(cut: int) -> None:
    recorded = random_trace(7)
    fated = fates(recorded, cut)
    everything = crash_state(recorded, cut, Loss.NONE, seed=0)
    nothing = crash_state(recorded, cut, Loss.ALL, seed=0)
    for of_disk, every, durable in zip(fated, everything.survivors, nothing.survivors, strict=True):
        assert [s.issue for s in every] == [write.issue for write in of_disk]
        assert [s.issue for s in durable] == [
            write.issue for write in of_disk if write.fate is Fate.DURABLE
        ]
        assert all(s.ranges == ((s.issue.offset, s.issue.length),) for s in (*every, *durable))
    lost = sum(write.fate is not Fate.DURABLE for of_disk in fated for write in of_disk)
    assert (everything.lost_writes, everything.torn_writes) == (0, 0)
    assert (nothing.lost_writes, nothing.torn_writes) == (lost, 0)
    assert nothing.cut == cut


@pytest.mark.parametrize("block_bytes", [512, 4096])
def test_random_loss_is_legal_and_torn_between_logical_blocks_only(block_bytes: int) -> None:
    disks = (TraceDisk("disk0", DISK_BYTES, Cache.WRITE_BACK, block_bytes),)
    events: list[Event] = []
    for n in range(1, 40):
        events.append(issue(2 * n, n, offset=8192 * n, length=block_bytes * (n % 5 + 1)))
        if n % 3:
            events.append(done(2 * n + 1, n))
    events += [flush(30, 99), done(31, 99)]
    recorded = Trace(disks, tuple(sorted(events, key=lambda event: event.sequence)))
    (fated,) = fates(recorded, END)
    seen = {"lost": 0, "whole": 0, "torn": 0}
    for seed in range(30):
        state = crash_state(recorded, END, Loss.RANDOM, seed=seed)
        kept = {survivor.issue.request: survivor.ranges for survivor in state.survivors[0]}
        torn = 0
        for write in fated:
            whole = ((write.issue.offset, write.issue.length),)
            ranges = kept.pop(write.issue.request, ())
            kind = "lost" if not ranges else "whole" if ranges == whole else "torn"
            if write.fate is Fate.DURABLE:
                assert kind == "whole"
                continue
            seen[kind] += 1
            torn += kind == "torn"
            if kind == "torn":
                inside = range(whole[0][0], sum(whole[0]), block_bytes)
                assert all(at in inside and length == block_bytes for at, length in ranges)
                assert list(ranges) == sorted(set(ranges))
        assert not kept, "a write survived that was never issued"
        lost = len(fated) - len(state.survivors[0])
        assert (state.lost_writes, state.torn_writes) == (lost, torn)
    assert min(seen.values()) > 50


def test_single_logical_block_is_never_torn() -> None:
    recorded = trace(*(issue(n, n, offset=512 * n, length=512) for n in range(1, 50)))
    for seed in range(20):
        assert crash_state(recorded, END, Loss.RANDOM, seed=seed).torn_writes == 0


def test_last_piece_of_a_torn_write_ends_with_the_write() -> None:
    disks = (TraceDisk("disk0", DISK_BYTES, Cache.WRITE_BACK, 4096),)
    recorded = Trace(disks, (issue(1, 1, length=9728),))
    pieces: set[tuple[int, int]] = set()
    for seed in range(60):
        for survivor in crash_state(recorded, END, Loss.RANDOM, seed=seed).survivors[0]:
            pieces.update(survivor.ranges)
    assert pieces == {(0, 9728), (0, 4096), (4096, 4096), (8192, 1536)}


def test_seed_alone_decides_a_random_loss() -> None:
    recorded = random_trace(3)

    def draw(seed: int) -> CrashState:
        return crash_state(recorded, 401, Loss.RANDOM, seed=seed)

    random.seed(1)
    first = draw(5)
    random.seed(2)
    assert draw(5) == first
    assert len({draw(seed).survivors for seed in range(10)}) == 10


# Contents.


def test_surviving_bytes_are_the_writes_own() -> None:
    write = Issue(1, 7, 0, Operation.WRITE, PLAIN, 1024, 2048, bytes(range(256)) * 8)
    torn = Survivor(write, ((1024, 512), (2048, 1024)))
    assert list(surviving_bytes(torn)) == [
        (1024, write.payload[:512]), (2048, write.payload[1024:])
    ]  # fmt: skip
    trim = Survivor(issue(2, 8, operation=Operation.TRIM, length=4096), ((512, 1024),))
    assert list(surviving_bytes(trim)) == [(512, 1024)]


def test_overlapping_writes_survive_in_order_of_issue(tmp_path: Path) -> None:
    recorded = trace(
        issue(1, 1, length=8192), issue(2, 2, offset=2048, length=4096),
        issue(3, 3, offset=4096, length=512, operation=Operation.ZEROES),
        done(4, 3), done(5, 2), done(6, 1),
    )  # fmt: skip
    state = crash_state(recorded, END, Loss.NONE, seed=0)
    write_state(tmp_path / "image", 65536, state.survivors[0])
    wanted = b"\1" * 2048 + b"\2" * 2048 + bytes(512) + b"\2" * 1536 + b"\1" * 2048
    assert (tmp_path / "image").read_bytes() == wanted.ljust(65536, b"\0")


# History.


def test_history_lays_writes_over_each_other_in_order_of_issue() -> None:
    history = DiskHistory(
        trace(
            issue(10, 1, offset=2048, length=8192), issue(20, 2, offset=4096, length=512),
            issue(30, 3, offset=8192, length=1024, operation=Operation.TRIM),
            issue(40, 4, offset=4096, length=4096, disk=1), flush(50, 5), done(60, 1),
        ),
        disk=0,
    )  # fmt: skip
    assert history.content(0, before=10) == bytes(4096)
    assert history.content(0, before=11) == bytes(2048) + b"\1" * 2048
    assert history.content(1, before=20) == b"\1" * 4096
    assert history.content(1, before=99) == b"\2" * 512 + b"\1" * 3584
    assert history.content(2, before=30) == b"\1" * 2048 + bytes(2048)
    assert history.content(2, before=31) == bytes(1024) + b"\1" * 1024 + bytes(2048)
    assert history.content(7, before=99) == bytes(4096)


def test_history_yields_each_whole_content_of_a_block_and_when_it_was_issued() -> None:
    history = DiskHistory(
        trace(
            issue(10, 1, length=8192), issue(20, 2, length=4096), issue(30, 1, length=4096),
            issue(40, 9, length=2048), issue(50, 3, offset=2048, length=6144),
            issue(60, 4, length=4096, disk=1), issue(70, 5, length=4096, operation=Operation.TRIM),
        ),
        disk=0,
    )  # fmt: skip
    assert list(history.written(0)) == [(10, b"\1" * 4096), (20, b"\2" * 4096), (30, b"\1" * 4096)]
    assert list(history.written(1)) == [(10, b"\1" * 4096), (50, b"\3" * 4096)]
    assert list(history.written(9)) == []
    assert sorted(history.blocks()) == [0, 1]
