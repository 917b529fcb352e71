"""A trace put on what the disks held before is one from empty disks on."""

from __future__ import annotations

from harness.crash.base import contents_at_end, on_top_of
from harness.crash.content import DiskContent
from harness.crash.states import Fate
from harness.crash.trace import (
    Cache,
    Completion,
    Event,
    Flag,
    Issue,
    Mark,
    Operation,
    TraceDisk,
    decode,
    encode_event,
    encode_header,
)
from harness.crash.walk import walk

DISKS = tuple(TraceDisk(name, 1 << 20, Cache.WRITE_BACK, 512) for name in ("one", "two"))


def held() -> list[DiskContent]:
    contents = [DiskContent(), DiskContent()]
    contents[0].write(8192, bytes([1]) * 12288)
    contents[0].write(40960, bytes([2]) * 512)
    contents[1].write(0, bytes([3]) * 4096)
    return contents


def events() -> list[Event]:
    data = bytes([9]) * 512
    return [
        Mark(70, "state 1"),
        Issue(71, 30, 0, Operation.WRITE, Flag(0), 8192, 512, data),
        Completion(72, 29, 1, 0),  # of a request from before
        Completion(73, 30, 0, 0),
    ]


def test_contents_are_what_they_were_and_durable() -> None:
    trace = on_top_of(held(), DISKS, events(), marks=["flushed 1"])
    assert [e.sequence for e in trace.events] == list(range(1, len(trace.events) + 1))
    begin = trace.mark("flushed 1").sequence
    cut = next(walk(trace, begin, begin))
    for standing, content in zip(cut.disks, held(), strict=True):
        assert standing.pending == ()
        assert list(standing.base.differing(content)) == []
    writes = [e for e in trace.events if isinstance(e, Issue) and e.sequence < begin]
    assert len(writes) == 3, "as few as the pieces are"


def test_events_go_on_from_there() -> None:
    trace = on_top_of(held(), DISKS, events())
    last = trace.events[-1].sequence
    cut = next(walk(trace, last, last))
    ((issue, fate),) = cut.disks[0].pending
    assert (issue.offset, fate) == (8192, Fate.IN_FLIGHT)
    after = contents_at_end(trace)
    assert after["one"].read(8192, 1024) == bytes([9]) * 512 + bytes([1]) * 512
    assert after["two"].read(0, 4096) == bytes([3]) * 4096


def test_it_can_be_written_down_and_read_again() -> None:
    trace = on_top_of(held(), DISKS, events())
    data = encode_header(trace.disks) + b"".join(map(encode_event, trace.events))
    assert decode(data) == trace
