"""When each request of a trace is on the medium for good: what an order of writes is judged by."""

from __future__ import annotations

from bisect import bisect_right

from harness.crash.trace import Cache, Completion, Flag, Issue, Operation, Trace

NEVER = 2**63  # a sequence number behind all others


class DurableTimes:
    """For each write, the event behind which no legal cut can lose it."""

    def __init__(self, trace: Trace) -> None:
        completed: dict[int, int] = {}
        flushes: list[list[tuple[int, int]]] = [[] for _ in trace.disks]  # issued, completed
        issued_flush: dict[int, tuple[int, int]] = {}
        for event in trace.events:
            if isinstance(event, Completion):
                if event.error == 0:
                    completed[event.request] = event.sequence
                    if event.request in issued_flush:
                        disk, issued = issued_flush[event.request]
                        flushes[disk].append((issued, event.sequence))
            elif isinstance(event, Issue) and event.operation is Operation.FLUSH:
                issued_flush[event.request] = event.disk, event.sequence
        self._completed = completed
        self._issued = [sorted(of_disk) for of_disk in flushes]
        # By a flush's issue, the earliest completion of it or of any issued later.
        self._earliest = [_running_minimum(of_disk) for of_disk in self._issued]
        self._safe = [disk.cache is Cache.WRITE_THROUGH for disk in trace.disks]

    def completed(self, issue: Issue) -> int:
        """Return the sequence number of a write's completion, or `NEVER`."""
        return self._completed.get(issue.request, NEVER)

    def of(self, issue: Issue) -> int:
        """Return the sequence number of the event that made a write durable, or `NEVER`."""
        done = self._completed.get(issue.request)
        if done is None:
            return NEVER
        if self._safe[issue.disk] or Flag.FUA in issue.flags:
            return done
        flushes = self._issued[issue.disk]
        first = bisect_right(flushes, (done, NEVER))
        return self._earliest[issue.disk][first] if first < len(flushes) else NEVER


def _running_minimum(flushes: list[tuple[int, int]]) -> list[int]:
    found: list[int] = []
    lowest = NEVER
    for _, completed in reversed(flushes):
        lowest = min(lowest, completed)
        found.append(lowest)
    return found[::-1]
