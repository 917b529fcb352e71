"""Going through a trace once gives at every cut what looking at that cut alone gives."""

from __future__ import annotations

import random

import pytest

from harness.crash.content import DiskContent
from harness.crash.states import Fate, Loss, crash_state, fates
from harness.crash.strategies import (
    FEW_SUBSETS_LOG2,
    ChosenState,
    Strategy,
    choose_states,
    count_states,
    uncertain,
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
from harness.crash.walk import Cut, walk
from harness.errors import BadInput

DISK_BYTES = 64 * 4096
END = 10**9


def drawn_trace(seed: int, *, events: int = 120) -> Trace:
    """Draw a trace of three disks, one of them without a volatile cache; some requests fail."""
    draw = random.Random(seed)
    caches = (Cache.WRITE_BACK, Cache.WRITE_BACK, Cache.WRITE_THROUGH)
    disks = tuple(TraceDisk(f"disk{n}", DISK_BYTES, cache, 512) for n, cache in enumerate(caches))
    found: list[Event] = []
    under_way: list[Issue] = []
    for sequence in range(1, events):
        if under_way and draw.random() < 0.5:
            done = under_way.pop(draw.randrange(len(under_way)))
            error = 5 if draw.random() < 0.1 else 0
            found.append(Completion(sequence, done.request, done.disk, error))
        elif draw.random() < 0.1:
            found.append(Mark(sequence, "mark"))
        else:
            under_way.append(drawn_issue(sequence, draw))
            found.append(under_way[-1])
    return Trace(disks, tuple(found))


def drawn_issue(sequence: int, draw: random.Random) -> Issue:
    operation = draw.choice([Operation.WRITE] * 5 + [Operation.FLUSH] * 2 + list(Operation))
    flags = Flag.FUA if operation is Operation.WRITE and draw.random() < 0.2 else Flag(0)
    offset = 512 * draw.randrange(40)
    length = 0 if operation is Operation.FLUSH else 512 * draw.choice([1, 3, 8, 24])
    payload = draw.randbytes(length) if operation is Operation.WRITE else b""
    return Issue(sequence, sequence, draw.randrange(3), operation, flags, offset, length, payload)


def cuts_of(trace: Trace) -> list[Cut]:
    return list(walk(trace, 0, END))


def contents_after(trace: Trace, cut: int, loss: Loss) -> list[bytes]:
    """Return each disk as `crash_state` has it, put together on its own."""
    found = []
    for survivors in crash_state(trace, cut, loss, seed=0).survivors:
        disk = bytearray(DISK_BYTES)
        for survivor in survivors:
            issue = survivor.issue
            data = issue.payload or bytes(issue.length)
            disk[issue.offset : issue.offset + issue.length] = data
        found.append(bytes(disk))
    return found


@pytest.mark.parametrize("seed", range(20))
def test_every_cut_is_as_when_looked_at_alone(seed: int) -> None:
    trace = drawn_trace(seed)
    cuts = cuts_of(trace)
    assert len(cuts) > 60
    for cut in cuts:
        worst = [disk.content({}).read(0, DISK_BYTES) for disk in cut.disks]
        assert worst == contents_after(trace, cut.sequence, Loss.ALL)
        whole = {
            (d, n): ((issue.offset, issue.length),)
            for d, disk in enumerate(cut.disks)
            for n, (issue, _) in enumerate(disk.pending)
        }
        every = ChosenState(0, cut, {place: whole[place] for place in uncertain(cut)})
        kept = [content.read(0, DISK_BYTES) for content in every.contents()]
        assert kept == contents_after(trace, cut.sequence, Loss.NONE)
        alone = fates(trace, cut.sequence)
        for disk, writes in zip(cut.disks, alone, strict=True):
            wanted = [(w.issue, w.fate) for w in writes if w.fate is not Fate.DURABLE]
            found = [(issue, fate) for issue, fate in disk.pending if fate is not Fate.DURABLE]
            assert found == wanted


def test_a_disk_that_lies_about_flush_keeps_nothing_for_sure() -> None:
    trace = drawn_trace(3)
    last = list(walk(trace, 0, END, lying=frozenset({"disk0"})))[-1]
    writes = [
        event
        for event in trace.events
        if isinstance(event, Issue) and event.disk == 0 and event.operation is not Operation.FLUSH
    ]
    assert len(last.disks[0].uncertain) == len(writes) > 10
    assert len(cuts_of(trace)[-1].disks[0].uncertain) < len(writes)


@pytest.mark.parametrize("seed", range(5))
def test_content_is_what_a_plain_array_of_bytes_holds(seed: int) -> None:
    draw = random.Random(seed)
    plain, content = bytearray(DISK_BYTES), DiskContent()
    for _ in range(300):
        length = draw.choice([1, 100, 512, 4096, 9000])
        offset = draw.randrange(DISK_BYTES - length)
        if draw.random() < 0.3:
            plain[offset : offset + length] = bytes(length)
            content.clear(offset, length)
        else:
            plain[offset : offset + length] = data = draw.randbytes(length)
            content.write(offset, data)
        at = draw.randrange(DISK_BYTES - 5000)
        assert content.read(at, 5000) == plain[at : at + 5000]
    other = content.copy()
    assert list(content.differing(other)) == []
    other.write(5 * 4096 + 7, b"other")
    assert list(content.differing(other)) == [5]
    assert content.read(0, DISK_BYTES) == plain


# Strategies.


def chosen(trace: Trace, strategy: Strategy, *, states: int = 10**6, seed: int = 1) -> list[
    ChosenState
]:  # fmt: skip
    cuts = cuts_of(trace)
    counts = [count_states(cut, strategy, trace.disks) for cut in cuts]
    return list(choose_states(cuts, counts, strategy, trace.disks, states=states, seed=seed))


def images(state: ChosenState) -> bytes:
    return b"".join(content.read(0, DISK_BYTES) for content in state.contents())


def test_all_are_every_subset_and_every_tear_once() -> None:
    trace = drawn_trace(1, events=25)
    for cut in cuts_of(trace):
        open_writes = [cut.disks[d].pending[n][0] for d, n in uncertain(cut)]
        tears = sum(2 * (issue.length // 512 - 1) for issue in open_writes) * min(
            len(open_writes), 2
        )
        count = count_states(cut, Strategy.ALL, trace.disks)
        assert count == 2 ** len(open_writes) + tears
        states = list(
            choose_states([cut], [count], Strategy.ALL, trace.disks, states=10**6, seed=1)
        )
        assert len({tuple(sorted(state.survives.items())) for state in states}) == count


def test_all_refuses_what_is_too_much() -> None:
    trace = drawn_trace(2, events=400)
    with pytest.raises(BadInput, match=r"--strategy all: \d+ writes are open at event"):
        chosen(trace, Strategy.ALL)


def test_worst_and_prefix_lose_what_they_say() -> None:
    trace = drawn_trace(4)
    assert all(not state.survives for state in chosen(trace, Strategy.WORST))
    for state in chosen(trace, Strategy.PREFIX):
        places = uncertain(state.cut)
        assert list(state.survives) == places[: len(state.survives)]


@pytest.mark.parametrize("strategy", [Strategy.EPOCHS, Strategy.RANDOM])
def test_the_seed_decides_what_is_sampled(strategy: Strategy) -> None:
    trace = drawn_trace(5)
    one, again, other = (chosen(trace, strategy, states=200, seed=seed) for seed in (1, 1, 2))
    assert len(one) == 200
    assert [state.number for state in one] == list(range(200))
    assert [images(state) for state in one] == [images(state) for state in again]
    assert [images(state) for state in one] != [images(state) for state in other]
    assert any(state.torn_writes for state in one)
    assert len({state.cut.sequence for state in one}) > 40


def test_epochs_have_every_subset_where_they_are_few() -> None:
    trace = drawn_trace(6, events=30)
    few = [cut for cut in cuts_of(trace) if len(uncertain(cut)) <= FEW_SUBSETS_LOG2]
    assert any(len(uncertain(cut)) == 3 for cut in few)
    for cut in few:
        count = count_states(cut, Strategy.EPOCHS, trace.disks)
        subsets = 2 ** len(uncertain(cut))
        states = list(
            choose_states([cut], [count], Strategy.EPOCHS, trace.disks, states=99, seed=1)
        )
        assert len({tuple(sorted(state.survives)) for state in states[:subsets]}) == subsets
        assert not any(state.torn_writes for state in states[:subsets])
        longer = any(
            cut.disks[disk].pending[n][0].length > trace.disks[disk].logical_block_bytes
            for disk, n in uncertain(cut)
        )
        assert [bool(state.torn_writes) for state in states[subsets:]] == [True, True] * longer


def test_there_is_a_cut_behind_a_flush_that_has_ended() -> None:
    written = Issue(1, 1, 0, Operation.WRITE, Flag(0), 0, 512, bytes(512))
    events = (written, Mark(2, "flushed 1"), Completion(3, 1, 0, 0), Mark(4, "completed 2"))
    cuts = list(walk(Trace((TraceDisk("a", 1 << 20, Cache.WRITE_BACK, 512),), events), 1, 4))
    assert [cut.sequence for cut in cuts] == [1, 2, 3, 4]
    assert cuts[1].disks == cuts[2].disks, "promised by now, and not there yet"
