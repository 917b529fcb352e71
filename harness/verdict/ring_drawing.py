"""The hand that draws the map of a ring: styles, text, legend, rows and markers as SVG."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from harness.ondisk.units import BLOCK_SECTORS, LogSector
from harness.verdict.ring_regions import LEFT_OVER, LIVE, SUSPICIOUS, Kind
from harness.verdict.ring_strips import ROW_HEIGHT, ROW_WIDTH, Strip

LEFT = 24
WIDTH = 1160
_ROWS_LEFT = 108  # of the strip itself; the first sector of each row is written before it
_TICKS = 8

# Okabe and Ito's palette, which the colour-blind can tell apart; what is worth a look differs in
# pattern as well. Fill for light paper, for dark paper, and the colour of a pattern's lines.
_COLOURS = {
    Kind.META: ("#1b1b1b", "#f2f2f2", None),
    Kind.DATA: ("#0072b2", "#2b8fd0", None),
    Kind.PARITY: ("#e69f00", "#e69f00", None),
    Kind.FLUSH: ("#009e73", "#009e73", None),
    Kind.EMPTY_META: ("#56b4e9", "#8fd0f5", None),
    Kind.RECLAIMED: ("#b4b8bd", "#666c75", None),
    Kind.EMPTY: ("#eceef0", "#262a30", None),
    Kind.OTHER: ("#d9d2c3", "#4a453a", "#8c8470"),
    Kind.TORN: ("#f0e442", "#f0e442", "#1b1b1b"),
    Kind.BEYOND: ("#cc79a7", "#cc79a7", None),
    Kind.FOREIGN: ("#d55e00", "#e86d10", "#ffffff"),
    Kind.UNREADABLE: ("#ffffff", "#101214", "#d55e00"),
}
_PATTERNS = {
    Kind.OTHER: '<circle cx="2" cy="2" r=".8"/><circle cx="5" cy="5" r=".8"/>',
    Kind.TORN: '<path d="M-1 7L7-1M-1 1L1-1M5 7L7 5"/>',
    Kind.FOREIGN: '<path d="M0 3H6"/>',
    Kind.UNREADABLE: '<path d="M0 0L6 6M6 0L0 6"/>',
}
_WORDS = {
    Kind.META: "says what the pages behind it are",
    Kind.DATA: "what was written to the array",
    Kind.PARITY: "P of a stripe, on RAID-6 P and Q",
    Kind.FLUSH: "names stripes that need no replay",
    Kind.EMPTY_META: "where a log begins anew",
    Kind.RECLAIMED: "older log, on the members already",
    Kind.EMPTY: "zeroes, never written or discarded",
    Kind.OTHER: "no meta block tells what they are",
    Kind.TORN: "dropped meta block, page not as announced",
    Kind.BEYOND: "later meta blocks, never reached, and pages",
    Kind.FOREIGN: "other array's or broken meta block, and pages",
    Kind.UNREADABLE: "the image is shorter than the ring",
}
_GROUPS = (
    ("The live log (with a line below it)", LIVE),
    ("Left over, not looked at", LEFT_OVER),
    ("Worth a look", SUSPICIOUS),
)

_ILLEGAL = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_ESCAPES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;"})


def escape(text: str) -> str:
    """Return text fit for XML; what XML has no way to say becomes U+FFFD."""
    return _ILLEGAL.sub("\ufffd", text).translate(_ESCAPES)


def percent(part: int, whole: int) -> str:
    """Return a share in words that never round something to nothing, or most of it to all."""
    if 0 < part * 100 < whole:
        return "under 1 %"
    if part < whole and part * 1000 >= whole * 995:
        return "over 99 %"
    return f"{100 * part / whole:.0f} %"


def css_class(kind: Kind) -> str:
    """Return the class of a kind's areas."""
    return kind.name.lower().replace("_", "-")


class Sheet:
    """What has been drawn so far, from the top down to *y*."""

    def __init__(self) -> None:
        self.parts: list[str] = []
        self.y = 0.0

    def add(self, part: str) -> None:
        """Add a piece of SVG."""
        self.parts.append(part)

    def text(self, text: str, *, css: str = "", at: float = LEFT, ahead: float = 0) -> None:
        """Go down by *ahead* and write a line there."""
        self.y += ahead
        if text:
            self.write(text, at, self.y, css=css)

    def write(self, text: str, x: float, y: float, *, css: str = "") -> None:
        """Write at a place, without going anywhere."""
        named = f' class="{css}"' if css else ""
        self.add(f'<text x="{_number(x)}" y="{_number(y)}"{named}>{escape(text)}</text>')


def draw_legend(sheet: Sheet, totals: Mapping[Kind, int]) -> None:
    """Draw all kinds, those that do not occur as well: that is news too."""
    top = sheet.y + 34
    everything = max(1, sum(totals.values()))
    for column, (caption, kinds) in enumerate(_GROUPS):
        x = LEFT + column * (WIDTH - 2 * LEFT) // len(_GROUPS)
        sheet.write(caption, x, top, css="h3")
        for row, kind in enumerate(kinds):
            y = top + 12 + 34 * row
            blocks = totals[kind]
            faded = ' class="none"' if not blocks else ""
            sheet.add(f"<g{faded}>")
            sheet.add(
                f'<rect class="{css_class(kind)} swatch" x="{x}" y="{y}" width="24" height="24"/>'
            )
            count = f"{_thousands(blocks)} ({percent(blocks, everything)})" if blocks else "none"
            sheet.write(f"{kind.value}: {count}", x + 34, y + 10, css="name")
            sheet.write(_WORDS[kind], x + 34, y + 24, css="dim")
            sheet.add("</g>")
    sheet.y = top + 12 + 34 * max(len(kinds) for _, kinds in _GROUPS)
    sheet.write(
        "Numbers count blocks of 4 KiB.",
        LEFT + 2 * (WIDTH - 2 * LEFT) // len(_GROUPS), sheet.y - 10, css="dim",
    )  # fmt: skip


def draw_strip(
    sheet: Sheet,
    strip: Strip,
    *,
    tail: LogSector,
    tail_label: str,
    head: LogSector | None,
    head_label: str,
    live: int,
    titles: Iterable[tuple[LogSector, int, str]],
    enlarged_below: bool,
) -> None:
    """Draw the rows of a strip with their axis, and in them the tail, the head and the live log."""
    tail_at = strip.place(tail)
    head_at = None if head is None else strip.place(head)
    lines = list(strip.spans(tail, live))
    hovers = [(*span, text) for at, sectors, text in titles for span in strip.spans(at, sectors)]
    sheet.y += 34
    _draw_axis(sheet, strip)
    sheet.y += 10
    for row in range(strip.rows):
        if tail_at is not None and tail_at[0] == row:
            sheet.y += 20
            _draw_marker(sheet, tail_at[1], sheet.y - 2, tail_label, down=True)
        top = round(sheet.y)
        _draw_row(sheet, strip, row, top)
        for _, begin, end in (span for span in lines if span[0] == row):
            width = max(3.0, end - begin)
            sheet.add(
                f'<rect class="live" x="{_number(_ROWS_LEFT + begin)}" y="{top + ROW_HEIGHT + 2}"'
                f' width="{_number(width)}" height="3"/>'
            )
        for _, begin, end, text in (hover for hover in hovers if hover[0] == row):
            sheet.add(
                f'<rect class="one" x="{_number(_ROWS_LEFT + begin)}" y="{top}"'
                f' width="{_number(end - begin)}" height="{ROW_HEIGHT}">'
                f"<title>{escape(text)}</title></rect>"
            )
        sheet.y = top + ROW_HEIGHT + 12
        if head_at is not None and head_at[0] == row:
            _draw_marker(sheet, head_at[1], top + ROW_HEIGHT + 7, head_label, down=False)
            sheet.y += 16
    if enlarged_below:
        sheet.text("The live log is drawn larger below.", css="dim", at=_ROWS_LEFT, ahead=12)


def _draw_axis(sheet: Sheet, strip: Strip) -> None:
    y = sheet.y
    ticks = min(_TICKS, strip.columns_in_row)
    single = strip.rows == 1
    sheet.write("sector" if single else "from sector", LEFT, y - 4, css="axis")
    for tick in range(ticks + 1):
        x = _ROWS_LEFT + tick * ROW_WIDTH // ticks
        sectors = tick * strip.row_sectors // ticks
        sheet.add(f'<path class="tick" d="M{x} {_number(y)}v6"/>')
        label = f"+{sectors}"
        if single and strip.start == 0:
            label = str(sectors)
        css = "axis end" if tick == ticks else "axis mid" if tick else "axis"
        sheet.write(label, x, y - 4, css=css)


def _draw_row(sheet: Sheet, strip: Strip, row: int, top: int) -> None:
    begin = strip.row_start(row)
    sheet.write(str(begin), _ROWS_LEFT - 8, top + 20, css="axis end")
    used = _number(strip.row_used(row))
    shares = strip.shares(row)
    total = max(1, sum(shares.values()))
    words = ", ".join(
        f"{kind.value} {percent(blocks, total)}"
        for kind, blocks in sorted(shares.items(), key=lambda item: -item[1])
    )
    last = (begin + min(strip.row_sectors, total * BLOCK_SECTORS) - 1) % strip.ring.size
    sheet.add(f'<g transform="translate({_ROWS_LEFT} 0)">')
    sheet.add(f"<title>{escape(f'sectors {begin} to {last}: {words}')}</title>")
    sheet.add(f'<rect class="empty" y="{top}" width="{used}" height="{ROW_HEIGHT}"/>')
    for kind, path in strip.outlines(row, top).items():
        sheet.add(f'<path class="{css_class(kind)}" d="{path}"/>')
    sheet.add("</g>")


def _draw_marker(sheet: Sheet, along: float, y: float, label: str, *, down: bool) -> None:
    x = _ROWS_LEFT + along
    tip = f"M{_number(x)} {_number(y)}l-5 {-8 if down else 8}h10z"
    sheet.add(f'<path class="mark" d="{tip}"/>')
    before = along > ROW_WIDTH * 0.7
    baseline = y - 3 if down else y + 9
    sheet.write(label, x - 9 if before else x + 9, baseline, css="label end" if before else "label")


def _style() -> str:
    light, dark, patterns = [], [], []
    for kind, (on_light, on_dark, lines) in _COLOURS.items():
        name = css_class(kind)
        if lines is None:
            light.append(f".{name}{{fill:{on_light}}}")
            dark.append(f".{name}{{fill:{on_dark}}}")
            continue
        light.append(f".{name}{{fill:url(#{name})}}.{name}-paper{{fill:{on_light}}}")
        light.append(
            f"#{name} path{{stroke:{lines};stroke-width:1.2}}#{name} circle{{fill:{lines}}}"
        )
        dark.append(f".{name}-paper{{fill:{on_dark}}}")
        patterns.append(
            f'<pattern id="{name}" width="6" height="6" patternUnits="userSpaceOnUse">'
            f'<rect class="{name}-paper" width="6" height="6"/>{_PATTERNS[kind]}</pattern>'
        )
    return "\n".join(
        [
            "<style>", _TEXT_STYLE, *light, "@media (prefers-color-scheme:dark){",
            _DARK_TEXT_STYLE, *dark, "}", "</style>", "<defs>", *patterns, "</defs>",
        ]
    )  # fmt: skip


_TEXT_STYLE = """\
svg{color-scheme:light dark}
text{font:13px system-ui,'Segoe UI','Helvetica Neue',Arial,'DejaVu Sans',sans-serif;fill:#1b1b1b}
.h1{font-size:21px;font-weight:bold}
.h2{font-size:16px;font-weight:bold}
.h3,.name,.label{font-size:12px;font-weight:bold}
.dim{font-size:12px;fill:#555b63}
.axis{font-size:11px;fill:#555b63}
.look{font-weight:bold;fill:#a03c00}
.mid{text-anchor:middle}
.end{text-anchor:end}
.none{opacity:.45}
.paper{fill:#fff}
.swatch{stroke:#888;stroke-width:1}
.tick{stroke:#888;fill:none}
.live,.mark{fill:#1b1b1b}
.one{fill:#fff;fill-opacity:0}
.one:hover{stroke:#d55e00;stroke-width:2}"""
_DARK_TEXT_STYLE = """\
text,.live,.mark{fill:#f2f2f2}
.dim,.axis{fill:#a9b0ba}
.look{fill:#ff9d57}
.paper{fill:#15171a}"""


def _thousands(number: int) -> str:
    return f"{number:,}".replace(",", " ")


def _number(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


STYLE = _style()
