"""A trace of disks that were not empty when it began, put behind what they held."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from harness.crash.content import DiskContent
from harness.crash.history import BLOCK_BYTES
from harness.crash.trace import (
    Completion,
    Event,
    Flag,
    Issue,
    Mark,
    Operation,
    Trace,
    TraceDisk,
)


def on_top_of(
    contents: Sequence[DiskContent],
    disks: tuple[TraceDisk, ...],
    events: Iterable[Event],
    *,
    marks: Iterable[str] = (),
) -> Trace:
    """Return a trace from empty disks on: writes of *contents*, durable at once, then *events*.

    Args:
        contents: of each disk when the events began.
        disks: of the trace.
        events: what was recorded; they get new sequence and request numbers.
        marks: to stand between the two.
    """
    before: list[Event] = []
    for index, content in enumerate(contents):
        for offset, data in _extents(content):
            number = len(before) + 1
            before.append(
                Issue(number, number, index, Operation.WRITE, Flag.FUA, offset, len(data), data)
            )
            before.append(Completion(number + 1, number, index, 0))
    for text in marks:
        before.append(Mark(len(before) + 1, text))
    moved = list(events)
    first = moved[0].sequence if moved else 0
    by = len(before) + 1 - first
    requests = len(before)
    for event in moved:
        if isinstance(event, Mark):
            before.append(replace(event, sequence=event.sequence + by))
        else:
            before.append(
                replace(event, sequence=event.sequence + by, request=event.request + requests)
            )
    return Trace(disks, tuple(before))


def contents_at_end(trace: Trace) -> dict[str, DiskContent]:
    """Return what each disk of a trace holds when all of it has happened; a request that ended
    with an error did nothing.
    """
    contents = [DiskContent() for _ in trace.disks]
    failed = {e.request for e in trace.events if isinstance(e, Completion) and e.error}
    for event in trace.events:
        if isinstance(event, Issue) and event.request not in failed:
            contents[event.disk].take(event)
    return {disk.name: content for disk, content in zip(trace.disks, contents, strict=True)}


def _extents(content: DiskContent) -> Iterator[tuple[int, bytes]]:
    """Yield what a disk holds as (offset, bytes) of as few pieces as there can be."""
    run: list[bytes] = []
    first = 0
    for number in sorted(content.blocks):
        if run and number != first + len(run):
            yield first * BLOCK_BYTES, b"".join(run)
            run = []
        if not run:
            first = number
        run.append(content.blocks[number])
    if run:
        yield first * BLOCK_BYTES, b"".join(run)
