"""A journal in words: what each meta block holds, where the log ends and why, what follows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from harness.ondisk.log import (
    BrokenPayload,
    DataPayload,
    FlushPayload,
    ParityPayload,
    Payload,
    UnknownPayload,
)
from harness.ondisk.units import BLOCK_SECTORS
from harness.recovery.geometry import Geometry
from harness.recovery.layout import Row
from harness.recovery.log import LogEnd, ScannedMeta, StripeReplay
from harness.recovery.plan import DataOnlyStripe, RecoveryPlan

_SHOWN_AT_EACH_END = 6
_MOST_RANGES = 4


def meta_line(scanned: ScannedMeta, geometry: Geometry) -> str:
    """Return one line on a meta block: place, sequence, blocks in the log, and what it is for."""
    meta = scanned.meta
    what = describe_payloads(scanned.payloads, geometry)
    if scanned.dropped is not None:
        what = f"DROPPED: {scanned.dropped.reason} (was: {what})"
    blocks = scanned.log_sectors // BLOCK_SECTORS
    return f"{meta.position:>9}  {meta.seq:>11}  {blocks:>6}  {what}"


def describe_payloads(payloads: Iterable[Payload | BrokenPayload], geometry: Geometry) -> str:
    """Say which stripes a meta block is about, and what of them it holds.

    Stripes that lie side by side and have the same parts logged are one range.
    """
    parts: dict[int, list[str]] = {}
    others: list[str] = []
    for payload in payloads:
        match payload:
            case DataPayload(location=location):
                place = geometry.place(location)
                parts.setdefault(place.sector, []).append(f"D{place.device}")
            case ParityPayload(location=location):
                name = "P+Q" if geometry.level.parities == 2 else "P"
                parts.setdefault(location, []).append(name)
            case FlushPayload(stripes=flushed):
                for stripe in flushed:
                    parts.setdefault(stripe, []).append("flushed")
            case BrokenPayload(offset=offset):
                others.append(f"broken from byte {offset} on")
            case UnknownPayload(type=kind):
                others.append(f"type {kind}")
    shown = [*_ranges({stripe: " ".join(names) for stripe, names in parts.items()}), *others]
    if not shown:
        return "empty"
    more = len(shown) - _MOST_RANGES
    return ", ".join(shown[:_MOST_RANGES]) + (f", and {more} more" if more > 0 else "")


def _ranges(parts: Mapping[int, str]) -> list[str]:
    ranges: list[tuple[int, int, str]] = []
    for stripe, what in parts.items():
        if ranges and ranges[-1][1:] == (stripe - BLOCK_SECTORS, what):
            ranges[-1] = (ranges[-1][0], stripe, what)
        else:
            ranges.append((stripe, stripe, what))
    return [
        f"{first}: {what}" if first == last else f"{first}..{last}: {what}"
        for first, last, what in ranges
    ]


def end_line(end: LogEnd) -> str:
    """Say where the scan stopped and which check failed there."""
    if end.mismatch is not None:
        return f"scan ends at sector {end.position}: {end.mismatch.reason}"
    if end.rejected is None:
        return f"log ends at sector {end.position}: the block cannot be read"
    return f"log ends at {end.rejected}"


def journal_lines(
    metas: Iterable[ScannedMeta], plan: RecoveryPlan, geometry: Geometry, *, whole: bool
) -> Iterator[str]:
    """Yield a table of meta blocks and the end of the log; the middle left out unless *whole*."""
    if plan.created is not None:
        yield f"the block at the tail is no meta block: {plan.created}"
        yield "the kernel makes a new, empty log without a word; whatever the old one held is lost"
        return
    yield "   sector          seq  blocks  stripes (D2: data on member 2, P and Q: parity)"
    gap = plan.metas_accepted + plan.metas_dropped - 2 * _SHOWN_AT_EACH_END
    for number, scanned in enumerate(metas):
        if whole or gap <= 1 or not 0 <= number - _SHOWN_AT_EACH_END < gap:
            yield meta_line(scanned, geometry)
        elif number == _SHOWN_AT_EACH_END:
            yield f"        .. {gap} more meta blocks .."
    assert plan.ended is not None
    yield end_line(plan.ended)


def plan_lines(plan: RecoveryPlan) -> list[str]:
    """Say what recovery does, as the model predicts it."""
    said = f"the kernel says: {plan.message}" if plan.message else "the kernel says nothing"
    lines = [said]
    if plan.data_parity:
        lines.append(f"{plan.data_parity} stripes are written to the members")
    for meta in plan.empty_metas:
        seq = "a random sequence" if meta.seq is None else f"seq {meta.seq}"
        lines.append(f"an empty meta block goes to sector {meta.position}, {seq}")
    if plan.rewritten:
        first, last = plan.rewritten[0], plan.rewritten[-1]
        lines.append(
            f"{len(plan.rewritten)} data-only stripes are logged anew from sector"
            f" {first.position} on, seq {first.seq} to {last.seq}"
            + (", then written out" if plan.written_out else ", and left there")
        )
    lines.append(f"journal_tail becomes {plan.journal_tail}")
    return lines


def stripe_lines(
    kind: str, stripes: Iterable[StripeReplay | DataOnlyStripe], geometry: Geometry
) -> Iterator[str]:
    """Yield a line for each stripe that recovery writes: where, and from where in the log."""
    for stripe in stripes:
        row = geometry.row_at(stripe.stripe)
        pages = ", ".join(
            f"{_part(device, row)} from {position}" for device, position in stripe.pages
        )
        yield f"{kind} stripe {stripe.stripe}: {pages}"


def _part(device: int, row: Row) -> str:
    if device == row.pd_idx:
        return f"P to member {device}"
    return f"{'Q' if device == row.qd_idx else 'data'} to member {device}"
