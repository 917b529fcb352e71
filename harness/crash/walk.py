"""A trace gone through event by event: what each disk holds for sure, and what it may lose.

The same rules as ``states.fates``, which looks at one cut alone; here each cut costs no more than
what changed since the one before it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from harness.crash.content import DiskContent
from harness.crash.states import Fate, Ranges
from harness.crash.trace import (
    FLUSHED,
    Cache,
    Completion,
    Flag,
    Issue,
    Operation,
    Trace,
    TraceDisk,
)


@dataclass(frozen=True, slots=True)
class Standing:
    """How one disk stands at a cut."""

    base: DiskContent  # all that is durable up to the first write that is not; not to be changed
    pending: tuple[tuple[Issue, Fate], ...]  # from that write on, in order of issue

    @property
    def uncertain(self) -> tuple[int, ...]:
        """The places in *pending* of writes that may be lost."""
        return tuple(n for n, (_, fate) in enumerate(self.pending) if fate is not Fate.DURABLE)

    def content(self, survives: dict[int, Ranges]) -> DiskContent:
        """Return what the disk holds if of its uncertain writes these *survives*, by place."""
        content = self.base.copy()
        for number, (issue, fate) in enumerate(self.pending):
            if fate is Fate.DURABLE:
                content.take(issue)
            elif number in survives:
                content.take(issue, survives[number])
        return content


@dataclass(frozen=True, slots=True)
class Cut:
    """The power goes before event *sequence*."""

    sequence: int
    disks: tuple[Standing, ...]


class _Disk:
    """One disk on its way through the trace."""

    def __init__(self, disk: TraceDisk) -> None:
        self._safe = disk.cache is Cache.WRITE_THROUGH
        self._lies = False
        self._base = DiskContent()
        self._pending: list[tuple[Issue, Fate]] = []
        self._flushes: dict[int, int] = {}  # request -> its sequence
        self._completed: dict[int, int] = {}  # request -> sequence, of what is pending
        self.standing = Standing(self._base, ())

    def begin_to_lie(self) -> None:
        """Do nothing of what a flush or FUA promises from here on."""
        self._lies = True

    def issue(self, event: Issue) -> None:
        if event.operation is Operation.FLUSH:
            self._flushes[event.request] = event.sequence
            return
        self._pending.append((event, Fate.IN_FLIGHT))
        self.standing = Standing(self._base, tuple(self._pending))

    def complete(self, event: Completion) -> None:
        flushed = self._flushes.pop(event.request, None)
        if event.error:
            return
        if flushed is None:
            self._completed[event.request] = event.sequence
            self._settle(lambda issue: self._fate(issue, event.request))
        elif not self._lies:
            self._settle(lambda issue: self._after_flush(issue, flushed))

    def _fate(self, issue: Issue, request: int) -> Fate | None:
        if issue.request != request:
            return None
        honest = not self._lies
        return Fate.DURABLE if self._safe or (honest and Flag.FUA in issue.flags) else Fate.CACHED

    def _after_flush(self, issue: Issue, flushed: int) -> Fate | None:
        return Fate.DURABLE if self._completed.get(issue.request, flushed) < flushed else None

    def _settle(self, fate_of: Callable[[Issue], Fate | None]) -> None:
        self._pending = [
            (issue, fate if fate is Fate.DURABLE else fate_of(issue) or fate)
            for issue, fate in self._pending
        ]
        durable = 0
        while durable < len(self._pending) and self._pending[durable][1] is Fate.DURABLE:
            durable += 1
        if durable:
            self._base = self._base.copy()
            for issue, _ in self._pending[:durable]:
                self._base.take(issue)
                self._completed.pop(issue.request, None)
            del self._pending[:durable]
        self.standing = Standing(self._base, tuple(self._pending))


def walk(
    trace: Trace, first: int, last: int, *, lying: frozenset[str] = frozenset()
) -> Iterator[Cut]:
    """Yield a cut behind each event from sequence *first* to *last* that changes how a disk stands,
    or what is promised.

    Args:
        trace: from its beginning, when all disks were zeroes.
        first: the first event of interest; a cut right before it comes first of all.
        last: the last one.
        lying: names of disks whose flush and FUA do nothing from *first* on; what came before
            is as good as flushed, or there would be no array any more.
    """
    disks = [_Disk(disk) for disk in trace.disks]
    begun = False
    for event in trace.events:
        if event.sequence > last:
            break
        if event.sequence >= first and not begun:
            begun = True
            for disk, traced in zip(disks, trace.disks, strict=True):
                if traced.name in lying:
                    disk.begin_to_lie()
            yield Cut(event.sequence, tuple(disk.standing for disk in disks))
        if isinstance(event, Issue):
            disks[event.disk].issue(event)
        elif isinstance(event, Completion):
            disks[event.disk].complete(event)
        elif not event.text.startswith(FLUSHED):
            continue
        if begun:  # behind a flush nothing stands otherwise, and more is promised
            yield Cut(event.sequence + 1, tuple(disk.standing for disk in disks))
