"""All disks around a cut as a drawing: one lane each, requests from their issue to their end."""

from __future__ import annotations

import itertools
from bisect import bisect_left
from collections.abc import Iterator, Sequence

from harness.campaign.reports.exhibit import Picture
from harness.campaign.reports.scene import (
    PlaceInWords,
    Request,
    Scene,
    shown_events,
    shown_requests,
    what_in_words,
)
from harness.crash.trace import Event, Flag, Mark, Operation
from harness.crash.trace_text import describe_content
from harness.verdict.ring_drawing import escape

WIDTH = 1160
_LEFT, _RIGHT = 92, 12
_ROW, _GAP, _TOP = 17, 12, 46  # heights: a bar's row, between lanes, above the first lane
_LETTER = 6.2  # width of one, about
_TICK_EVERY = 10
_CSS = {Operation.WRITE: "write", Operation.FLUSH: "flush", Operation.TRIM: "clear",
        Operation.ZEROES: "clear"}  # fmt: skip


def draw_timeline(scene: Scene, place: PlaceInWords) -> tuple[Picture, list[Request]]:
    """Draw what happened around the cut; return that, and the requests that are in it.

    Args:
        scene: to be drawn.
        place: says what lies at a byte of a disk.
    """
    shown = shown_events(scene)
    requests = shown_requests(scene, shown)
    drawing = _Drawing(scene, shown, place)
    body = [*drawing.lanes(requests)]
    height = drawing.y + 24
    title = "All disks around the cut" if scene.cut is not None else "What the disks were asked"
    svg = (
        f'<svg class="timeline" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}"'
        f' role="img"><title>{title}</title>{"".join([*drawing.frame(), *body])}</svg>'
    )
    return Picture(title, svg), requests


class _Drawing:
    """One drawing on its way from the top down to *y*."""

    def __init__(self, scene: Scene, shown: Sequence[Event], place: PlaceInWords) -> None:
        self._scene = scene
        self._shown = shown
        self._place = place
        self._sequences = [event.sequence for event in shown]
        self._column = (WIDTH - _LEFT - _RIGHT) / max(1, len(shown))
        self.y = _TOP

    def _x(self, sequence: int) -> float:
        return _LEFT + bisect_left(self._sequences, sequence) * self._column

    def lanes(self, requests: Sequence[Request]) -> Iterator[str]:
        """Yield marks and disks, top down."""
        yield from self._marks()
        for index, disk in enumerate(self._scene.trace.disks):
            mine = [each for each in requests if each.issue.disk == index]
            rows = _packed([self._span(each) for each in mine])
            top = self.y
            height = max(1, 1 + max(rows, default=0)) * _ROW
            yield f'<rect class="lane" x="{_LEFT}" y="{top - 3}" width="{WIDTH - _LEFT - _RIGHT}"'
            yield f' height="{height + 4}"/>'
            yield _text(disk.name, 4, top + 12, "name")
            for row, request in zip(rows, mine, strict=True):
                yield from self._bar(request, top + row * _ROW)
            self.y = top + height + _GAP
        yield from self._cut()

    def frame(self) -> Iterator[str]:
        """Yield the axis."""
        yield _text("event", 4, 14, "axis")
        for number in range(0, len(self._sequences), _TICK_EVERY):
            x = _LEFT + number * self._column
            yield f'<path class="tick" d="M{x:.1f} 18V{self.y}"/>'
            yield _text(str(self._sequences[number]), x + 2, 14, "axis")

    def _span(self, request: Request) -> tuple[float, float]:
        begin = self._x(request.issue.sequence)
        if request.issue.sequence < self._sequences[0]:
            begin = _LEFT
        if request.completion is not None:
            return begin, max(begin, self._x(request.completion.sequence)) + self._column
        if request.look == "never":
            return begin, begin + self._column
        if self._scene.cut is not None:
            return begin, max(self._x(self._scene.cut), begin + self._column)
        return begin, WIDTH - _RIGHT

    def _bar(self, request: Request, y: int) -> Iterator[str]:
        begin, end = self._span(request)
        width = max(4.0, end - begin - 1)
        issue = request.issue
        disk = self._scene.trace.disks[issue.disk].name
        last = f" to {request.completion.sequence}" if request.completion else ""
        words = what_in_words(issue, disk, self._place)
        title = f"event {issue.sequence}{last}, {disk}: {words}. {request.fate}"
        fua = " fua" if Flag.FUA in issue.flags else ""
        css = f"{_CSS[issue.operation]} {request.look}{fua}"
        yield f'<g class="{css}"><title>{escape(title)}</title>'
        yield f'<rect x="{begin:.1f}" y="{y}" width="{width:.1f}" height="{_ROW - 4}" rx="2"/>'
        if request.look == "torn":
            yield f'<rect class="half" x="{begin:.1f}" y="{y + (_ROW - 4) // 2}"'
            yield f' width="{width:.1f}" height="{(_ROW - 4) // 2 + 1}"/>'
        label = _label(request)
        if len(label) * _LETTER + 4 > width:
            label = label.split(" ", maxsplit=1)[0]
        if len(label) * _LETTER + 4 <= width:
            yield _text(label, begin + 3, y + 10, "in")
        yield "</g>"

    def _marks(self) -> Iterator[str]:
        yield _text("marks", 4, self.y + 11, "name")
        marks = [event for event in self._shown if isinstance(event, Mark)]
        ends = itertools.chain((self._x(mark.sequence) for mark in marks[1:]), [float(WIDTH)])
        for event, end in zip(marks, ends, strict=False):
            x = self._x(event.sequence)
            title = f"event {event.sequence}: the workload says: {event.text}"
            yield f'<g class="said"><title>{escape(title)}</title>'
            yield f'<path d="M{x:.1f} {self.y + 13}l-4 -8h8z"/>'
            if x + 10 + len(event.text) * _LETTER < end:  # else its title tells
                yield _text(event.text, x + 6, self.y + 11, "axis")
            yield "</g>"
        self.y += _ROW + _GAP

    def _cut(self) -> Iterator[str]:
        if self._scene.cut is None:
            return
        x = self._x(self._scene.cut)
        yield f'<path class="cut" d="M{x:.1f} 20V{self.y}"/>'
        css = "cut-label end" if x > WIDTH * 0.7 else "cut-label"
        label = f"power lost before event {self._scene.cut}"
        yield _text(label, x - 4 if x > WIDTH * 0.7 else x + 4, 30, css)


def _label(request: Request) -> str:
    issue = request.issue
    if issue.operation is not Operation.WRITE:
        return issue.operation.name.lower()
    words = describe_content(issue.payload)
    if words.startswith("meta block"):
        return "meta seq " + words.split("seq ")[1].split(",")[0]
    if words == "md superblock":
        return "sb"
    return words if words.startswith(("write ", "zeroes")) else "data"


def _packed(spans: Sequence[tuple[float, float]]) -> list[int]:
    """Return a row for each span, so that none lies over another."""
    ends: list[float] = []
    rows = []
    for begin, end in spans:
        row = next((n for n, before in enumerate(ends) if before <= begin), len(ends))
        if row == len(ends):
            ends.append(end)
        ends[row] = end
        rows.append(row)
    return rows


def _text(text: str, x: float, y: float, css: str) -> str:
    return f'<text class="{css}" x="{x:.1f}" y="{y:.1f}">{escape(text)}</text>'
