"""Where in a trace the power went, and what became there of each request: for any kind of run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from harness.campaign.reports.exhibit import RequestInWords
from harness.crash.states import CrashState, Fate, Ranges, fates
from harness.crash.strategies import ChosenState
from harness.crash.trace import Completion, Event, Flag, Issue, Mark, Operation, Trace
from harness.crash.trace_text import describe_content, error_name, printable
from harness.ondisk.units import SECTOR_BYTES

_MOST_BEFORE, _LEAST_BEFORE, _BEHIND = 110, 56, 10  # events
PlaceInWords = Callable[[str, int], str]  # (disk's name, bytes) -> what lies there, or nothing


@dataclass(frozen=True, slots=True)
class OpenWrite:
    """A write that no flush covered when the power went."""

    fate: Fate
    survives: Ranges


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """A trace, and the event before which the power went; *open_writes* by their request."""

    trace: Trace
    cut: int | None  # None: it did not go
    open_writes: Mapping[int, OpenWrite] = field(default_factory=dict)
    middle: int | None = None  # the event to be shown where nothing was cut; None: the last one
    words: str = ""


def scene_of_crash(trace: Trace, state: CrashState, words: str = "") -> Scene:
    """Return the scene of a state that `crash` chose."""
    kept = {each.issue.request: each.ranges for disk in state.survivors for each in disk}
    found = {
        write.issue.request: OpenWrite(write.fate, kept.get(write.issue.request, ()))
        for disk in fates(trace, state.cut)
        for write in disk
        if write.fate is not Fate.DURABLE
    }
    return Scene(trace=trace, cut=state.cut, open_writes=found, words=words)


def scene_of_state(trace: Trace, chosen: ChosenState, words: str = "") -> Scene:
    """Return the scene of a state that an exploration chose."""
    found = {
        issue.request: OpenWrite(fate, chosen.survives.get((index, number), ()))
        for index, disk in enumerate(chosen.cut.disks)
        for number, (issue, fate) in enumerate(disk.pending)
        if fate is not Fate.DURABLE
    }
    return Scene(trace=trace, cut=chosen.cut.sequence, open_writes=found, words=words)


@dataclass(frozen=True, slots=True)
class Request:
    """A request in the part of a trace that is shown."""

    issue: Issue
    completion: Completion | None  # None: not before the power went, or not in the trace
    fate: str  # in words
    look: str  # "durable", "survives", "lost", "torn", "never"


def shown_events(scene: Scene) -> list[Event]:
    """Return the events around the cut, and with them those of the oldest write it takes."""
    events = scene.trace.events
    wanted = scene.cut if scene.cut is not None else scene.middle
    at = next(
        (n for n, event in enumerate(events) if wanted is not None and event.sequence >= wanted),
        len(events),
    )
    taken = [n for n, event in enumerate(events[:at])
             if isinstance(event, Issue) and event.request in scene.open_writes]  # fmt: skip
    first = min(at - _LEAST_BEFORE, min(taken, default=at) - 4)
    return list(events[max(0, first, at - _MOST_BEFORE) : at + _BEHIND])


def shown_requests(scene: Scene, shown: list[Event]) -> list[Request]:
    """Return the requests that were issued or answered in these events, in order of issue."""
    wanted = {event.request for event in shown if not isinstance(event, Mark)}
    issues: dict[int, Issue] = {}
    answers: dict[int, Completion] = {}
    for event in scene.trace.events:
        if isinstance(event, Issue) and event.request in wanted:
            issues[event.request] = event
        elif isinstance(event, Completion) and event.request in issues:
            answers[event.request] = event
    return [_request(scene, issue, answers.get(issue.request)) for issue in issues.values()]


def _request(scene: Scene, issue: Issue, answer: Completion | None) -> Request:
    cut = scene.cut
    if cut is not None and answer is not None and answer.sequence >= cut:
        answer = None
    if cut is not None and issue.sequence >= cut:
        return Request(issue, None, "never happens: the power is gone", "never")
    if answer is not None and answer.error:
        return Request(issue, answer, f"FAILED: {error_name(answer.error)}", "lost")
    if issue.operation is Operation.FLUSH:
        ended = answer is not None
        return Request(issue, answer, "ended" if ended else "never ends", "durable")
    if cut is None:
        return Request(issue, answer, "answered" if answer else "never answered", "durable")
    if (write := scene.open_writes.get(issue.request)) is None:
        return Request(issue, answer, "durable", "durable")
    if not write.survives:
        return Request(issue, answer, f"LOST: {write.fate.value}", "lost")
    kept = sum(length for _, length in write.survives)
    if kept == issue.length:
        return Request(issue, answer, f"survives: {write.fate.value}", "survives")
    return Request(
        issue, answer, f"TORN: {kept} of {issue.length} bytes survive; {write.fate.value}", "torn"
    )


def in_words(
    scene: Scene, requests: list[Request], place: PlaceInWords
) -> Iterator[RequestInWords]:
    """Yield what was asked of disks and what became of it, a line each.

    Args:
        scene: of the trace.
        requests: of it.
        place: says what lies at a byte of a disk, or nothing.
    """
    for request in requests:
        issue, answer = request.issue, request.completion
        disk = scene.trace.disks[issue.disk].name
        last = "" if answer is None else f"\u2013{answer.sequence}"
        yield RequestInWords(
            f"{issue.sequence}{last}", disk, what_in_words(issue, disk, place), request.fate,
            request.look in ("lost", "torn"),
        )  # fmt: skip


def what_in_words(issue: Issue, disk: str, place: PlaceInWords) -> str:
    """Say what a request asks for: kind, size, place, and what is written."""
    if issue.operation is Operation.FLUSH:
        return "flush"
    fua = ", FUA" if Flag.FUA in issue.flags else ""
    where = place(disk, issue.offset)
    what = (
        f"{issue.operation.name.lower()} of {_size(issue.length)}{fua} at sector"
        f" {issue.offset // SECTOR_BYTES}{f' ({where})' if where else ''}"
    )
    if issue.operation is not Operation.WRITE:
        return what
    content = describe_content(issue.payload)
    is_parity = ("P of" in where or "Q of" in where) and content.startswith("other bytes")
    return what if is_parity else f"{what}: {printable(content)}"


def _size(count: int) -> str:
    return f"{count // 1024} KiB" if count and not count % 1024 else f"{count} bytes"
