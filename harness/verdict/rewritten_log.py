"""Oracle 1 for a journal in which recovery logged data-only stripes anew.

The rewritten meta blocks are predicted exactly. What the kernel then logs of its own writing-out,
PARITY and FLUSH, depends on how raid5d batches stripes, so it is judged by meaning; every block
that neither explains must be as it was (format document, sections 0.3 and 4.1 steps 11 to 13).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

from harness.ondisk.log import (
    MetaBlock,
    PayloadType,
    Rejected,
    parse_meta_block,
)
from harness.ondisk.superblock import SUPERBLOCK_BYTES, stored_journal_tail
from harness.ondisk.units import BLOCK_BYTES, BLOCK_SECTORS, SECTOR_BYTES, LogSector, StripeSector
from harness.recovery.geometry import Geometry
from harness.recovery.log import Log, ScannedMeta
from harness.recovery.plan import RecoveryPlan, rewritten_block
from harness.recovery.scan import load_log, scan_log
from harness.verdict.differential import ORACLE, ImageTriple, judge_outside_log, judge_tail
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
    tail, findings = _judge_moved_tail(journal, plan, before)
    reclaimed = before.ring.distance(plan.journal_tail, tail)
    rewritten = dict(_rewritten_blocks(plan, before))
    explained = set(rewritten)
    later: set[LogSector] = set()
    of_later: list[Finding] = []
    for scanned in _later_metas(journal, plan, before, tail, rewritten):
        later.update(_covered(scanned, before))
        of_later += _judge_later(journal, scanned, plan, geometry, read_predicted, before)
    for position, block in rewritten.items():
        found = _block_at(journal, position)
        is_reclaimed = before.ring.distance(plan.journal_tail, position) < reclaimed
        # Discarded, or, where the log was short, used again for what was logged next.
        gone = is_reclaimed and (not any(found) or position in later)
        if found != block and not gone:
            what = f"{journal.label}: log sector {position} is not the data-only stripe rewritten"
            findings.append(Finding(ORACLE, what))
    explained |= later
    findings += of_later
    unexplained = [
        position
        for position in _changed_blocks(journal, before)
        if position not in explained
        and (
            before.ring.distance(plan.journal_tail, position) >= reclaimed
            or any(_block_at(journal, position))
        )
    ]
    for position in unexplained[:3]:
        what = f"{journal.label}: log sector {position} was changed, and nothing explains it"
        findings.append(Finding(ORACLE, what))
    findings += judge_outside_log(journal)
    moved = f", moved on to {tail} by the kernel's own reclaim" if reclaimed else ""
    compared = (
        f"{len(plan.rewritten)} rewritten meta blocks and their pages, byte for byte",
        f"{len(explained)} blocks of the log explained, all others unchanged",
        f"journal_tail in its superblock: {plan.journal_tail}{moved}",
    )
    return Judgement(f"{ORACLE}, journal", compared, tuple(findings))


def _judge_moved_tail(
    journal: ImageTriple, plan: RecoveryPlan, before: Log
) -> tuple[LogSector, list[Finding]]:
    """Return the tail on disk. It is the planned one, or further on where the log was short.

    While it writes data-only stripes out, the kernel may reclaim what it has just logged
    (``r5l_do_reclaim``): the tail is then on a later meta block, all stripes before it are on the
    members, and the range between is discarded. Whether a recovery from there leaves the members
    as predicted follows from what is compared: every page logged behind it.
    """
    at = journal.superblock.at * SECTOR_BYTES
    tail = stored_journal_tail(journal.after(at, SUPERBLOCK_BYTES))
    if tail == plan.journal_tail:
        return tail, []
    block = _block_at(journal, tail) if tail < before.ring.size else bytes(BLOCK_BYTES)
    meta = parse_meta_block(block, seed=before.seed, seq=None, position=tail)
    first = plan.rewritten[0].seq
    if isinstance(meta, Rejected) or not 0 < meta.seq - first < before.ring.size:
        return plan.journal_tail, judge_tail(journal, plan)
    return tail, []


def _rewritten_blocks(plan: RecoveryPlan, before: Log) -> Iterator[tuple[LogSector, bytes]]:
    for meta in plan.rewritten:
        pages = []
        for _, source, target in meta.pages:
            page = before.read_block(source)
            assert page is not None  # it was read when the plan was made
            pages.append(page)
            yield target, page
        yield meta.position, rewritten_block(meta, pages, seed=before.seed)


def _later_metas(
    journal: ImageTriple,
    plan: RecoveryPlan,
    before: Log,
    tail: LogSector,
    rewritten: Mapping[LogSector, bytes],
) -> Iterator[ScannedMeta]:
    """Follow the log as the kernel left it; yield what is not a rewritten meta.

    From the first rewritten one on, or from the tail where the blocks before it were discarded or
    used again.
    """
    first_block = _block_at(journal, plan.journal_tail)
    intact = first_block == rewritten[plan.journal_tail]
    after = replace(
        before,
        read_blocks=lambda position, count: journal.after(
            _offset(journal, position), count * BLOCK_BYTES
        ),
        journal_tail=plan.journal_tail if intact else tail,
    )
    first = load_log(after)
    if not isinstance(first, MetaBlock):
        return
    anew = {(meta.position, meta.seq) for meta in plan.rewritten}
    for scanned in scan_log(after, first):
        if (scanned.meta.position, scanned.meta.seq) not in anew:
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
    for kind, location, at in scanned.entries:
        parity = kind == PayloadType.PARITY
        if kind == PayloadType.DATA:
            what = f"{here}: logs data of array sector {location} again; only parity is due"
            findings.append(Finding(ORACLE, what))
        elif location not in stripes:
            did = "logs parity of" if parity else "flushes"
            what = f"{here}: {did} stripe {location}, which is no data-only stripe"
            findings.append(Finding(ORACLE, what))
        elif parity:
            row, page = geometry.row_at(StripeSector(location)), at
            for device in (d for d in (row.pd_idx, row.qd_idx) if d is not None):
                if _block_at(journal, page) != read_predicted(device, StripeSector(location)):
                    what = f"{here}: logs other parity for stripe {location} than predicted"
                    findings.append(Finding(ORACLE, what))
                page = before.ring.add(page, BLOCK_SECTORS)
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
