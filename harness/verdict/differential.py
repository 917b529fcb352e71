"""Oracle 1: what the kernel left equals, byte for byte, what the model predicted.

DESIGN.md section 6. What cannot be predicted is named, field by field: no range is masked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from harness.ondisk.crc import uuid_checksum
from harness.ondisk.log import Rejected, build_meta_block, parse_meta_block
from harness.ondisk.superblock import (
    SUPERBLOCK_BYTES,
    Superblock,
    differing_fields,
    has_good_checksum,
    stored_journal_tail,
    with_roles_after_assembly,
)
from harness.ondisk.units import BLOCK_BYTES, SECTOR_BYTES, LogSector, StripeSector
from harness.recovery.geometry import Geometry
from harness.recovery.plan import RecoveryPlan
from harness.verdict.blocks import Read, describe_difference, describe_place, differing_blocks
from harness.verdict.verdict import Finding, Judgement

ORACLE = "differential"

# Counters and clocks: md counts an event for each superblock update and notes the time.
UNPREDICTABLE_FIELDS = frozenset({"events", "utime", "sb_csum"})
_MOST_FINDINGS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageTriple:
    """One device before recovery, as predicted, and as the kernel left it; all of one size."""

    label: str
    superblock: Superblock  # before
    newest: Superblock  # before, of all the array's devices the one that speaks for it
    present: frozenset[int]  # dev_number of each device that takes part
    size_bytes: int
    before: Read
    predicted: Read
    after: Read
    extents: Sequence[tuple[int, int]]  # (offset, length): all that any of the three holds


def judge_members(geometry: Geometry, members: Mapping[int, Sequence[ImageTriple]]) -> Judgement:
    """Compare the members: data areas with the prediction, all else with what was there before."""
    findings: list[Finding] = []
    data_bytes = 0
    for slot, triples in sorted(members.items()):
        for triple in triples:
            data_bytes += geometry.component_sectors * SECTOR_BYTES
            findings += _judge_data(geometry, slot, triple)
            findings += _judge_surroundings(triple, geometry.component_sectors * SECTOR_BYTES)
            findings += _judge_superblock(triple, frozenset())
    compared = (
        f"data areas of {len(members)} members: {data_bytes} bytes",
        "their other areas unchanged; superblocks but for "
        + ", ".join(sorted(UNPREDICTABLE_FIELDS)),
    )
    return Judgement(f"{ORACLE}, members", compared, tuple(findings))


def judge_journal(journal: ImageTriple, plan: RecoveryPlan) -> Judgement:
    """Compare a journal without data-only stripes: byte for byte, superblock field by field."""
    start = journal.superblock.data_offset * SECTOR_BYTES
    length = journal.superblock.data_size * SECTOR_BYTES
    random_seq = plan.empty_meta is not None and plan.empty_meta.seq is None
    findings = judge_tail(journal, plan)
    for offset in differing_blocks(
        journal.predicted, journal.after, _clip(journal.extents, start, start + length)
    ):
        position = LogSector((offset - start) // SECTOR_BYTES)
        if random_seq and position == 0 and _is_empty_meta(journal, offset):
            continue
        findings.append(_log_finding(journal, offset, position))
        if len(findings) >= _MOST_FINDINGS:
            break
    findings += judge_outside_log(journal)
    compared = (
        f"log area of the journal: {length} bytes"
        + (", but for the sequence that the kernel draws at random" if random_seq else ""),
        f"journal_tail in its superblock: {plan.journal_tail}",
    )
    return Judgement(f"{ORACLE}, journal", compared, tuple(findings))


def judge_outside_log(journal: ImageTriple) -> list[Finding]:
    """Compare what of a journal is not its log: superblock but for the tail, unused areas."""
    return [
        *_judge_surroundings(journal, journal.superblock.data_size * SECTOR_BYTES),
        *_judge_superblock(journal, frozenset({"recovery_offset or journal_tail"})),
    ]


def _judge_data(geometry: Geometry, slot: int, triple: ImageTriple) -> list[Finding]:
    start = triple.superblock.data_offset * SECTOR_BYTES
    end = start + geometry.component_sectors * SECTOR_BYTES
    offsets = list(
        differing_blocks(triple.predicted, triple.after, _clip(triple.extents, start, end))
    )
    findings = []
    for offset in offsets[:_MOST_FINDINGS]:
        sector = StripeSector((offset - start) // SECTOR_BYTES)
        what = (
            f"member {slot} ({triple.label}), sector {sector} of its data area:"
            f" {describe_place(geometry, slot, sector)} is not as predicted"
        )
        details = describe_difference(
            triple.after(offset, BLOCK_BYTES), triple.predicted(offset, BLOCK_BYTES)
        )
        more = len(offsets) - _MOST_FINDINGS
        if more > 0 and offset == offsets[_MOST_FINDINGS - 1]:
            details = (*details, f"and {more} more blocks of this member")
        findings.append(Finding(ORACLE, what, details))
    return findings


def _judge_surroundings(triple: ImageTriple, data_bytes: int) -> list[Finding]:
    """Everything but the superblock and the data or log area must be as it was."""
    at = triple.superblock.at * SECTOR_BYTES
    start = triple.superblock.data_offset * SECTOR_BYTES
    taken = sorted(((at, at + SUPERBLOCK_BYTES), (start, start + data_bytes)))
    findings = []
    position = 0
    for begin, end in (*taken, (triple.size_bytes, triple.size_bytes)):
        ranges = _clip(triple.extents, position, max(position, begin))
        for offset in differing_blocks(triple.before, triple.after, ranges, block_bytes=512):
            what = f"{triple.label}: byte {offset} on, outside superblock and data, was changed"
            details = describe_difference(triple.after(offset, 512), triple.before(offset, 512))
            findings.append(Finding(ORACLE, what, details))
            break
        position = max(position, end)
    return findings


def _judge_superblock(triple: ImageTriple, expected: frozenset[str]) -> list[Finding]:
    at = triple.superblock.at * SECTOR_BYTES
    after = triple.after(at, SUPERBLOCK_BYTES)
    before = with_roles_after_assembly(triple.superblock, triple.newest, triple.present)
    changed = set(differing_fields(before, after))
    wrong = sorted(changed - UNPREDICTABLE_FIELDS - expected)
    findings = []
    if wrong:
        what = f"{triple.label}: its superblock changed in {', '.join(wrong)}"
        findings.append(Finding(ORACLE, what))
    if not has_good_checksum(after):
        findings.append(Finding(ORACLE, f"{triple.label}: its superblock's checksum is wrong"))
    return findings


def judge_tail(journal: ImageTriple, plan: RecoveryPlan) -> list[Finding]:
    """Compare the ``journal_tail`` that recovery left in the superblock."""
    at = journal.superblock.at * SECTOR_BYTES
    found = stored_journal_tail(journal.after(at, SUPERBLOCK_BYTES))
    if found == plan.journal_tail:
        return []
    return [
        Finding(
            ORACLE,
            f"{journal.label}: journal_tail is {found}, the model predicted {plan.journal_tail}",
        )
    ]


def _log_finding(journal: ImageTriple, offset: int, position: LogSector) -> Finding:
    after, predicted = journal.after(offset, BLOCK_BYTES), journal.predicted(offset, BLOCK_BYTES)
    before = journal.before(offset, BLOCK_BYTES)
    note = "; it is as it was before recovery" if after == before else ""
    return Finding(
        ORACLE,
        f"{journal.label}: log sector {position} is not as predicted{note}",
        (f"first 32 bytes left: {after[:32].hex(' ')}", f"predicted: {predicted[:32].hex(' ')}"),
    )


def _is_empty_meta(journal: ImageTriple, offset: int) -> bool:
    """Whether the block is an empty meta block at position 0, of whatever sequence."""
    block = journal.after(offset, BLOCK_BYTES)
    seed = uuid_checksum(journal.superblock.set_uuid)
    meta = parse_meta_block(block, seed=seed, seq=None, position=LogSector(0))
    if isinstance(meta, Rejected):
        return False
    return block == build_meta_block(seed=seed, seq=meta.seq, position=LogSector(0))


def _clip(extents: Sequence[tuple[int, int]], start: int, end: int) -> list[tuple[int, int]]:
    """Cut (offset, length) ranges to [start, end), on whole blocks counted from *start*."""
    clipped: list[tuple[int, int]] = []
    for offset, length in extents:
        first, last = max(offset, start), min(offset + length, end)
        if first < last:
            first -= (first - start) % BLOCK_BYTES
            last = min(end, last + (start - last) % BLOCK_BYTES)
            clipped.append((first, last - first))
    return clipped
