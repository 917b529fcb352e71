"""Oracle 1 for a journal in which recovery logged data-only stripes anew.

The rewritten meta blocks are predicted exactly. What the kernel then logs of its own writing-out,
PARITY and FLUSH, depends on how raid5d batches stripes, so it is judged by meaning; every block
that neither explains must be as it was (format document, sections 0.3 and 4.1 steps 11 to 13).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from harness.ondisk.log import FlushPayload, MetaBlock, ParityPayload
from harness.ondisk.units import BLOCK_BYTES, BLOCK_SECTORS, SECTOR_BYTES, LogSector, StripeSector
from harness.recovery.geometry import Geometry
from harness.recovery.plan import RecoveryPlan, rewritten_block
from harness.recovery.scan import Log, ScannedMeta, load_log, scan_log
from harness.verdict.differential import ORACLE, ImageTriple, judge_outside_log
from harness.verdict.verdict import Finding, Judgement

ReadMember = Callable[[int, StripeSector], bytes]  # a page of a slot, as predicted


def judge_rewritten_journal(
    journal: ImageTriple,
    plan: RecoveryPlan,
    *,
    before: Log,
    geometry: Geometry,
    read_predicted: ReadMember,
) -> Judgement:
    """Compare a journal in which recovery rewrote data-only stripes.

    Args:
        journal: its images.
        plan: with data-only stripes.
        before: the log as recovery found it.
        geometry: of the array.
        read_predicted: gives a member's page as the model predicted it.
    """
    findings: list[Finding] = []
    explained: set[LogSector] = set()
    for position, block in _rewritten_blocks(plan, before):
        explained.add(position)
        if _block_at(journal, position) != block:
            what = f"{journal.label}: log sector {position} is not the data-only stripe rewritten"
            findings.append(Finding(ORACLE, what))
    for scanned in _later_metas(journal, plan, before):
        explained.update(_covered(scanned, before))
        findings += _judge_later(journal, scanned, plan, geometry, read_predicted, before)
    unexplained = [
        position for position in _changed_blocks(journal, before) if position not in explained
    ]
    for position in unexplained[:3]:
        what = f"{journal.label}: log sector {position} was changed, and nothing explains it"
        findings.append(Finding(ORACLE, what))
    findings += judge_outside_log(journal, plan)
    compared = (
        f"{len(plan.rewritten)} rewritten meta blocks and their pages, byte for byte",
        f"{len(explained)} blocks of the log explained, all others unchanged",
        f"journal_tail in its superblock: {plan.journal_tail}",
    )
    return Judgement(f"{ORACLE}, journal", compared, tuple(findings))


def _rewritten_blocks(plan: RecoveryPlan, before: Log) -> Iterator[tuple[LogSector, bytes]]:
    for meta in plan.rewritten:
        yield meta.position, rewritten_block(meta, before)
        for _, source, target in meta.pages:
            page = before.read_block(source)
            assert page is not None  # it was read when the plan was made
            yield target, page


def _later_metas(journal: ImageTriple, plan: RecoveryPlan, before: Log) -> Iterator[ScannedMeta]:
    """Follow the log as the kernel left it, from the first rewritten meta; yield what follows."""
    after = replace(
        before,
        read_block=lambda position: _block_at(journal, position),
        journal_tail=plan.rewritten[0].position,
    )
    tail = load_log(after)
    if not isinstance(tail, MetaBlock):
        return
    for number, scanned in enumerate(scan_log(after, tail)):
        if number >= len(plan.rewritten):
            yield scanned


def _judge_later(
    journal: ImageTriple,
    scanned: ScannedMeta,
    plan: RecoveryPlan,
    geometry: Geometry,
    read_predicted: ReadMember,
    before: Log,
) -> list[Finding]:
    here = f"{journal.label}: meta block {scanned.meta.seq} at log sector {scanned.meta.position}"
    if scanned.dropped is not None:
        return [Finding(ORACLE, f"{here}: {scanned.dropped.reason}")]
    stripes = {stripe.stripe for stripe in plan.data_only}
    findings = []
    for placed in scanned.payloads:
        match placed.payload:
            case ParityPayload(location=location) if location in stripes:
                row = geometry.row_at(location)
                at = placed.pages_at
                for device in (d for d in (row.pd_idx, row.qd_idx) if d is not None):
                    if _block_at(journal, at) != read_predicted(device, location):
                        what = f"{here}: logs other parity for stripe {location} than predicted"
                        findings.append(Finding(ORACLE, what))
                    at = before.ring.add(at, BLOCK_SECTORS)
            case FlushPayload(stripes=flushed) if stripes.issuperset(flushed):
                pass
            case other:
                what = f"{here}: has no business here: {type(other).__name__} {other}"
                findings.append(Finding(ORACLE, what))
    return findings


def _covered(scanned: ScannedMeta, log: Log) -> Iterator[LogSector]:
    position = scanned.meta.position
    for _ in range(scanned.log_sectors // BLOCK_SECTORS):
        yield position
        position = log.ring.add(position, BLOCK_SECTORS)


def _changed_blocks(journal: ImageTriple, log: Log) -> Iterator[LogSector]:
    for number in range(log.ring.size // BLOCK_SECTORS):
        position = LogSector(number * BLOCK_SECTORS)
        offset = _offset(journal, position)
        if journal.before(offset, BLOCK_BYTES) != journal.after(offset, BLOCK_BYTES):
            yield position


def _block_at(journal: ImageTriple, position: LogSector) -> bytes:
    return journal.after(_offset(journal, position), BLOCK_BYTES)


def _offset(journal: ImageTriple, position: LogSector) -> int:
    return (journal.superblock.data_offset + position) * SECTOR_BYTES
