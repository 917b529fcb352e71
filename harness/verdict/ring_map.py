"""A map of a journal's ring as one SVG file, for a person to look at.

Above, what the log comes to in words; below, the ring itself in rows to scale, and where the live
log is a small part of it that part once more, enlarged. The file stands alone: it names nothing
outside itself, and follows the reader's light or dark preference.
"""

from __future__ import annotations

import itertools
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from harness.ondisk.log import Fault, Rejected
from harness.ondisk.units import BLOCK_SECTORS, SECTOR_BYTES, LogSector
from harness.recovery.geometry import Geometry
from harness.recovery.log import Ring, ScannedMeta
from harness.recovery.plan import RecoveryPlan
from harness.verdict.journal_text import describe_payloads, end_line
from harness.verdict.ring_drawing import (
    LEFT,
    STYLE,
    WIDTH,
    Sheet,
    draw_legend,
    draw_strip,
    escape,
    percent,
)  # fmt: skip
from harness.verdict.ring_regions import (
    SUSPICIOUS,
    FoundMeta,
    Kind,
    LiveLog,
    Region,
    Rest,
    live_regions,
)  # fmt: skip
from harness.verdict.ring_strips import Strip, fill

_MOST_TITLES = 500  # meta blocks that tell of themselves under the mouse
_MOST_ROWS = 16
_ROWS_BESIDE_ENLARGEMENT = 6
_SHOWN_BEHIND = 16  # blocks that follow the live log, where that is enlarged
_LETTERS = 140  # in a line of text, bold as well
_UNITS = ("KiB", "MiB", "GiB", "TiB", "PiB", "EiB", "ZiB")

_WHY = {
    Fault.MAGIC: "no meta block lies there",
    Fault.VERSION: "no kernel writes this there",
    Fault.POSITION: "a meta block for another place lies there",
    Fault.CHECKSUM: "the meta block there is damaged, or was not written whole",
    Fault.META_SIZE: "no kernel writes this there",
}
_LOOK = {
    Kind.TORN: "dropped or torn meta blocks and pages",
    Kind.BEYOND: "later meta blocks of this array that the scan does not reach, with their pages",
    Kind.FOREIGN: "meta blocks of another array or damaged ones",
    Kind.UNREADABLE: "parts that the image does not have",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """Whose journal it is."""

    name: str
    uuid: str
    geometry: Geometry
    journal: str  # the image's name
    ring: Ring
    journal_tail: LogSector
    era: str


def ring_map(
    subject: Subject,
    metas: Iterable[ScannedMeta],
    plan: RecoveryPlan,
    rest: Rest,
    rest_regions: Iterable[Region],
) -> str:
    """Return the map as the text of an SVG file.

    Args:
        subject: the array and its journal.
        metas: all that the scan went through; gone through twice.
        plan: what follows from them.
        rest: of the ring; filled by going through *rest_regions*.
        rest_regions: what ``rest.regions`` gives; gone through once.
    """
    ring = subject.ring
    live = rest.live
    strips = _strips(ring, plan.start, live.sectors)
    totals = fill(strips, itertools.chain(live_regions(metas, ring), rest_regions))
    sheet = Sheet()
    name = subject.name or "an array without a name"
    sheet.text(f"Write journal of {name}", css="h1", ahead=34)
    for line in (*_subject_lines(subject), "", *_fact_lines(subject, plan, live, totals)):
        for number, part in enumerate(textwrap.wrap(line, _LETTERS) or [""]):
            sheet.text(part, css="look" if line.startswith("Worth a look") else "",
                       at=LEFT + (14 if number else 0), ahead=19 if part else 6)  # fmt: skip
    draw_legend(sheet, totals)
    titles = [*_live_titles(metas, subject.geometry), *_found_titles(rest)]
    enlarged = len(strips) > 1
    for number, strip in enumerate(strips):
        sheet.text(_heading(strip, enlarged=number > 0), css="h2", ahead=44)
        sheet.text(_scale(strip), css="dim", ahead=18)
        draw_strip(
            sheet, strip, tail=plan.start, tail_label=_tail_label(subject, live, plan),
            head=None if plan.ended is None else plan.ended.position,
            head_label=_head_label(plan), live=live.sectors,
            titles=titles if strip.is_exact and len(titles) <= _MOST_TITLES else (),
            enlarged_below=enlarged and number == 0,
        )  # fmt: skip
    return _document(sheet, f"Write journal of {name}: map of the ring")


def _strips(ring: Ring, start: LogSector, live: int) -> list[Strip]:
    """Return the whole ring, and the live log where that would be hard to see in it."""
    whole = Strip(ring, LogSector(0), ring.size, most_rows=_MOST_ROWS)
    if whole.is_exact or not 0 < live <= ring.size // 4:
        return [whole]
    whole = Strip(ring, LogSector(0), ring.size, most_rows=_ROWS_BESIDE_ENLARGEMENT)
    sectors = min(live + _SHOWN_BEHIND * BLOCK_SECTORS, ring.size)
    return [whole, Strip(ring, start, sectors, most_rows=_MOST_ROWS)]


def _document(sheet: Sheet, title: str) -> str:
    height = round(sheet.y + 24)
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}"'
        f' viewBox="0 0 {WIDTH} {height}" role="img">'
    )
    return "\n".join(
        [
            '<?xml version="1.0" encoding="UTF-8"?>', head, f"<title>{escape(title)}</title>",
            STYLE, f'<rect class="paper" width="{WIDTH}" height="{height}"/>', *sheet.parts,
            "</svg>\n",
        ]
    )  # fmt: skip


def _subject_lines(subject: Subject) -> Iterator[str]:
    geometry = subject.geometry
    yield (
        f"RAID-{geometry.level:d} {geometry.layout.name}, {geometry.raid_disks} members of"
        f" {_size(geometry.component_sectors)}, chunk {_size(geometry.chunk_sectors)}, array uuid"
        f" {subject.uuid}"
    )
    yield (
        f"Journal {subject.journal}: a ring of {subject.ring.size} sectors"
        f" ({_size(subject.ring.size)}), journal_tail {subject.journal_tail}; read as kernels of"
        f" era {subject.era} do"
    )


def _fact_lines(
    subject: Subject, plan: RecoveryPlan, live: LiveLog, totals: Mapping[Kind, int]
) -> Iterator[str]:
    if live.first is not None and live.last is not None:
        dropped = f", {plan.metas_dropped} of them dropped" if plan.metas_dropped else ""
        flushed, sectors = live.flushed, live.sectors
        yield (
            f"Live log: {_many(live.metas, 'meta block')}{dropped}, seq {live.first.seq} to"
            f" {live.last.meta.seq}; {sectors} sectors ({_size(sectors)}),"
            f" {percent(sectors, subject.ring.size)} of the ring"
        )
        pages = totals[Kind.DATA] + totals[Kind.PARITY]
        yield (
            "It is empty"
            if not pages + flushed
            else (
                f"It holds {_many(totals[Kind.DATA], 'data page')} and"
                f" {_many(totals[Kind.PARITY], 'parity page')}, and names"
                f" {_many(flushed, 'flushed stripe')}"
            )
        )
    yield _end_words(live, plan)
    says = f"the kernel says: {plan.message}" if plan.message else "the kernel says nothing"
    yield f"Recovery: {says}"
    if found := [
        f"{_LOOK[kind]} ({_many(totals[kind], 'block')})" for kind in SUSPICIOUS if totals[kind]
    ]:
        yield f"Worth a look: {'; '.join(found)}"


def _end_words(live: LiveLog, plan: RecoveryPlan) -> str:
    if plan.created is not None:
        return (
            f"No log to follow: the block at the tail is no meta block of this array"
            f" ({plan.created}); the kernel makes a new, empty log without a word, and whatever"
            " the old one held is lost"
        )
    assert plan.ended is not None
    words = f"Why it ends: {end_line(plan.ended)}"
    if plan.ended.rejected is not None:
        words += f" ({_why(plan.ended.rejected)})"
    dropped = None if live.last is None else live.last.dropped
    if dropped is not None and plan.ended.mismatch is None:
        words += f"; the meta block before that was dropped: {dropped.reason}"
    return words


def _why(rejected: Rejected) -> str:
    if rejected.fault is Fault.MAGIC and not rejected.found:
        return "nothing is written there"
    if rejected.fault is Fault.SEQ:
        if rejected.found < rejected.wanted:
            return "an older meta block lies there, as in every log that has gone round"
        return "a later meta block lies there: what came between is missing"
    return _WHY[rejected.fault]


def _heading(strip: Strip, *, enlarged: bool) -> str:
    if enlarged:
        return f"The live log enlarged, from sector {strip.start} on ({_size(strip.sectors)})"
    return f"The whole ring ({_size(strip.sectors)})"


def _scale(strip: Strip) -> str:
    row = f"a row is {strip.row_sectors} sectors ({_size(strip.row_sectors)})"
    if strip.rows == 1:
        row = "sectors of 512 bytes along the top"
    if strip.is_exact:
        return f"To scale: each column is one block of 4 KiB; {row}."
    return (
        f"To scale: each column is {strip.column_blocks} blocks"
        f" ({_size(strip.column_blocks * BLOCK_SECTORS)}), its height shared among what they are;"
        f" rare kinds are raised to be seen; {row}."
    )


def _tail_label(subject: Subject, live: LiveLog, plan: RecoveryPlan) -> str:
    label = f"tail {plan.start}"
    if plan.start != subject.journal_tail:
        label = f"scan starts at {plan.start}: journal_tail {subject.journal_tail} cannot be"
    if plan.created is not None:
        return f"{label}: no meta block of this array"
    return label if live.first is None else f"{label}: seq {live.first.seq}"


def _head_label(plan: RecoveryPlan) -> str:
    if plan.ended is None:
        return ""
    return f"log ends {plan.ended.position}: no seq {plan.ended.seq}"


def _live_titles(
    metas: Iterable[ScannedMeta], geometry: Geometry
) -> Iterator[tuple[LogSector, int, str]]:
    """Yield (position, sectors, text) of scanned meta blocks, all if they can be shown."""
    for scanned in itertools.islice(metas, _MOST_TITLES + 1):
        what = describe_payloads(scanned.payloads, geometry)
        if scanned.dropped is not None:
            what = f"DROPPED: {scanned.dropped.reason} (was: {what})"
        where = f"meta block seq {scanned.meta.seq} at sector {scanned.meta.position}"
        blocks = _many(scanned.log_sectors // BLOCK_SECTORS, "block")
        yield scanned.meta.position, scanned.log_sectors, f"{where}, {blocks}: {what}"


def _found_titles(rest: Rest) -> Iterator[tuple[LogSector, int, str]]:
    for found in rest.found[: _MOST_TITLES + 1]:
        yield found.position, BLOCK_SECTORS, _found_words(found)


def _found_words(found: FoundMeta) -> str:
    seq = "of another array, or damaged" if found.seq is None else f"seq {found.seq}"
    what = {
        Kind.RECLAIMED: "reclaimed",
        Kind.BEYOND: "not reached by the scan",
        Kind.TORN: "not written whole",
    }.get(found.kind, "magic number only")
    return (
        f"meta block {seq} at sector {found.position}, announces"
        f" {_many(found.blocks - 1, 'page')}: {what}"
    )


def _many(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def _size(sectors: int) -> str:
    size = sectors * SECTOR_BYTES / 1024
    unit = 0
    while size >= 1024 and unit < len(_UNITS) - 1:
        size /= 1024
        unit += 1
    return f"{size:.1f} {_UNITS[unit]}".replace(".0 ", " ")
