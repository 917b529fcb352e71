"""Put the images of a run before the oracles."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.crash.history import DiskHistory
from harness.crash.logged import LoggedMeta, LogHistory
from harness.crash.trace import Trace
from harness.crash.workload import Workload
from harness.hosts.host import CommandResult
from harness.md.shape import JOURNAL_NAME, member_name
from harness.ondisk.crc import uuid_checksum
from harness.ondisk.log import page_checksum
from harness.ondisk.superblock import Superblock
from harness.ondisk.units import BLOCK_BYTES, SECTOR_BYTES, LogSector, StripeSector
from harness.recovery.geometry import Geometry
from harness.recovery.log import Log, ScannedMeta, ring_of
from harness.recovery.members import Array
from harness.recovery.plan import RecoveryPlan
from harness.recovery.write_out import parity_of
from harness.storage.array_files import ArrayFiles, opened_log
from harness.storage.images import data_extents, merge_extents, opened_image
from harness.storage.replay import Replayed
from harness.verdict.blocks import Read
from harness.verdict.bypassing import unlogged_pages
from harness.verdict.differential import ImageTriple, judge_journal, judge_members
from harness.verdict.journal_truth import LoggedArray, judge_journal_truth
from harness.verdict.predicted_state import SUPERBLOCK_AT
from harness.verdict.reason import few_of_each_kind
from harness.verdict.rewritten_log import judge_rewritten_journal
from harness.verdict.traced_log import TracedArray, TracedLog
from harness.verdict.verdict import Finding, Judgement, Verdict, verdict_of

AVAILABLE = "available"
# The second line: what only a kernel says that was built to watch itself. SLUB names the cache.
_COMPLAINT = re.compile(
    r"BUG:|WARNING:|Oops|kernel BUG|INFO: task .* blocked|general protection"
    r"|UBSAN:|INFO: trying to register non-static key|BUG \S+ \("
)


@dataclass(frozen=True, slots=True)
class Recovered:
    """What the kernel did with a crash state, beside the images that it left."""

    assembled: CommandResult
    settled: bool
    stopped: CommandResult | None  # None: it was not running
    kernel_log: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Recorded:
    """What led to a crash state."""

    trace: Trace
    cut: int
    workload: Workload
    kernel_log: tuple[str, ...] = ()  # of the guest that wrote


def judge(
    before: ArrayFiles,
    replayed: Replayed,
    metas: Sequence[ScannedMeta],
    recovered: Recovered,
    recorded: Recorded,
    folder: Path,
) -> Verdict:
    """Judge one recovered crash state; *folder* holds the images before, predicted and after."""
    up = (judge_available(before.array, recovered), judge_alive(recovered, recorded.kernel_log))
    if any(judgement.findings for judgement in up) and not recovered.settled:
        return verdict_of(up)
    journal = Path(before.journal_label).stem
    logged = logged_array(before.array, before.journal, journal, recorded)
    truth = judge_journal_truth(logged, metas, replayed.plan, recovered.kernel_log)
    # The likeliest cause first: what a wrong record leads to on the members is only a consequence.
    return verdict_of((*up, truth, *judge_images(before, replayed, folder)))


def judge_images(
    before: ArrayFiles, replayed: Replayed, folder: Path
) -> tuple[Judgement, Judgement]:
    """Compare what the kernel left with the prediction, members and journal.

    Of *folder* the images in before, predicted and after are used, by the names that *before* has.
    """
    with contextlib.ExitStack() as stack:
        log = stack.enter_context(opened_log(before, replayed.era))
        triples = {
            label: _open_triple(stack, before, label, folder) for label in before.array.superblocks
        }
        members = {
            slot: [triples[label] for label in labels]
            for slot, labels in before.array.members.items()
        }
        journal = triples[before.journal_label]
        return (
            judge_members(before.array.geometry, members),
            judge_journal_image(journal, replayed.plan, log, before.array.geometry, members),
        )


def judge_available(array: Array, recovered: Recovered, *, stale: int = 0) -> Judgement:
    """Judge that the complete array assembles without ``--force`` (DESIGN.md section 6, 8).

    Args:
        array: of the devices that take part.
        recovered: what came of it.
        stale: how many members are left behind that the array still counts on.
    """
    command = recovered.assembled
    refused = command.status not in (0, None) and not command.missed_deadline
    findings = (refusal(command, array.superblocks.values(), stale=stale),) if refused else ()
    return Judgement(AVAILABLE, ("assembled by mdadm without --force",), findings)


def refusal(command: CommandResult, superblocks: Collection[Superblock], *, stale: int) -> Finding:
    """Return what is to be said of an assembly that mdadm refused.

    Args:
        command: mdadm's.
        superblocks: of the devices that it was given.
        stale: how many members are left behind that the array still counts on.
    """
    members = [s.events for s in superblocks if not s.is_journal]
    journal = max((s.events for s in superblocks if s.is_journal), default=0)
    facts = {
        "journal_events_ahead": journal - max(members, default=journal),
        "member_events_apart": max(members, default=0) - min(members, default=0),
        "member_stale": int(stale > 0),
    }
    details = (
        *command.output.strip().splitlines(), f"events: journal {journal}, members {members}"
    )  # fmt: skip
    return Finding(AVAILABLE, str(command), details, facts)


def waits_of(command: CommandResult) -> dict[str, int]:
    """Say in which of the driver's functions that are known to wait for ever a request waits."""
    first, _, _ = command.stack.partition("md0_raid5:")
    return {name: int(name in first) for name in ("r5l_start", "raid5_quiesce")}


def complaints_in(kernel_log: Sequence[str]) -> list[str]:
    """Return the lines in which a kernel says that something is wrong with itself."""
    return [line for line in kernel_log if _COMPLAINT.search(line)]


def judge_alive(recovered: Recovered, while_writing: Sequence[str] = ()) -> Judgement:
    """Judge that nothing hung, that the array stopped, and that the kernel did not complain.

    Args:
        recovered: what the recovering guest did and said.
        while_writing: what the kernel said in the guest that wrote.
    """
    oracle = "alive"
    findings = [
        Finding(oracle, f"hangs: {command}", tuple(command.stack.split("\n")), waits_of(command))
        for command in (recovered.assembled, recovered.stopped)
        if command is not None and command.missed_deadline
    ]
    stopped = recovered.stopped
    if stopped is not None and stopped.status not in (0, None):
        findings.append(Finding(oracle, str(stopped), tuple(stopped.output.splitlines())))
    if recovered.assembled.status == 0 and not recovered.settled:
        findings.append(Finding(oracle, "md never wrote down in the superblocks where its log is"))
    for when, lines in (("while writing", while_writing), ("at recovery", recovered.kernel_log)):
        complaints = (f"the kernel complains {when}: {line}" for line in complaints_in(lines))
        findings += few_of_each_kind((Finding(oracle, what) for what in complaints), 1)
    compared = (
        (
            f"assembly took {recovered.assembled.seconds:.1f} s, stop"
            f" {'was not tried' if stopped is None else f'{stopped.seconds:.1f} s'}"
        ),
        (
            f"{len(while_writing)} lines of the kernel's log while writing,"
            f" {len(recovered.kernel_log)} at recovery"
        ),
    )
    return Judgement(oracle, compared, tuple(findings))


def judge_journal_image(
    journal: ImageTriple,
    plan: RecoveryPlan,
    log: Log,
    geometry: Geometry,
    members: Mapping[int, Sequence[ImageTriple]],
) -> Judgement:
    """Compare the journal with the prediction: byte for byte, or with data-only stripes by meaning.

    Args:
        journal: its images.
        plan: that was predicted.
        log: as recovery found it.
        geometry: of the array.
        members: images by slot, as predicted.
    """
    if not plan.data_only:
        return judge_journal(journal, plan)

    logged = {stripe.stripe: dict(stripe.pages) for stripe in plan.data_only}

    def read_member(slot: int, sector: StripeSector) -> bytes:
        triple = members[slot][0]
        at = (triple.superblock.data_offset + sector) * SECTOR_BYTES
        return triple.predicted(at, BLOCK_BYTES)

    def read_data(slot: int, sector: StripeSector) -> bytes:
        page = log.read_block(logged[sector][slot]) if slot in logged[sector] else None
        return page or read_member(slot, sector)

    def read_predicted(slot: int, sector: StripeSector) -> bytes:
        if slot in members:
            return read_member(slot, sector)
        # Parity is logged for a member that is not there as well. No recovery is predicted that
        # would need it, so all data is on the members or in the log.
        row = geometry.row_at(sector)
        data = {device: read_data(device, sector) for device in row.data}
        return parity_of(geometry, row, data)[slot]

    return judge_rewritten_journal(
        journal, plan, before=log, geometry=geometry, read_predicted=read_predicted
    )


def logged_array(
    array: Array, journal: Superblock, journal_name: str, recorded: Recorded
) -> LoggedArray:
    """Return what the judge of the journal's truth needs, from the trace up to the cut."""
    seed, ring = uuid_checksum(array.set_uuid), ring_of(journal.data_size)

    def history(name: str) -> DiskHistory:
        return DiskHistory(recorded.trace, recorded.trace.disk_index(name))

    logged = LogHistory(
        history(journal_name),
        data_offset=journal.data_offset,
        seed=seed,
    )
    # Of all slots: a member that failed before the cut was read and written until then.
    members = [history(member_name(slot)) for slot in range(array.geometry.raid_disks)]
    (data_offset,) = {s.data_offset for s in array.superblocks.values() if not s.is_journal}

    def block_of(stripe: StripeSector) -> int:
        return (data_offset + stripe) * SECTOR_BYTES // BLOCK_BYTES

    def content_at(slot: int, stripe: StripeSector, event: int) -> bytes:
        return members[slot].content(block_of(stripe), before=event)

    def cleared_at(slot: int, stripe: StripeSector, event: int) -> int:
        return members[slot].cleared(block_of(stripe), before=event)

    traced = TracedLog(recorded.trace, traced_array(array, recorded.trace))

    def page(meta: LoggedMeta, position: LogSector, checksum: int) -> bytes | None:
        pages = logged.page(position, near=meta.issued)
        return next((p for p in pages if page_checksum(seed, p) == checksum), None)

    metas = logged.metas(before=recorded.cut)
    newest = max((each.meta.seq for each in metas), default=0)
    every = logged.metas(before=recorded.trace.events[-1].sequence + 1)
    return LoggedArray(
        ring=ring,
        geometry=array.geometry,
        workload=recorded.workload,
        metas=metas,
        numbered=[each for each in every if each.meta.seq <= newest],
        strays=tuple(logged.strays(ring_sectors=ring.size, before=recorded.cut)),
        written_pages=sum(
            1
            for issue in traced.writes()
            if issue.sequence < recorded.cut
            for _ in traced.member_pages(issue)
        ),
        unlogged=tuple(unlogged_pages(traced, first=0, last=recorded.cut - 1)),
        page=page,
        content_at=content_at,
        cleared_at=cleared_at,
    )


def traced_array(array: Array, trace: Trace) -> TracedArray:
    """Return where an array of this project's is on the disks of a trace."""
    names = [disk.name for disk in trace.disks]
    (journal,) = (s for s in array.superblocks.values() if s.is_journal)
    (member_offset,) = {s.data_offset for s in array.superblocks.values() if not s.is_journal}
    slots = range(array.geometry.raid_disks)  # also those that failed: they were written until then
    return TracedArray(
        geometry=array.geometry, seed=uuid_checksum(array.set_uuid),
        members={names.index(member_name(slot)): slot for slot in slots},
        journal=names.index(JOURNAL_NAME), member_offset=member_offset,
        journal_offset=journal.data_offset, ring_sectors=ring_of(journal.data_size).size,
        superblock_at=SUPERBLOCK_AT,
    )  # fmt: skip


def _open_triple(
    stack: contextlib.ExitStack, before: ArrayFiles, label: str, folder: Path
) -> ImageTriple:
    name = before.paths[label].name
    descriptors = [
        stack.enter_context(opened_image(folder / kind / name))
        for kind in ("before", "predicted", "after")
    ]
    size = os.fstat(descriptors[0]).st_size
    extents = merge_extents(extent for d in descriptors for extent in data_extents(d, 0, size))

    def reader(descriptor: int) -> Read:
        return lambda offset, length: os.pread(descriptor, length, offset)

    reads = [reader(descriptor) for descriptor in descriptors]
    return ImageTriple(
        label=name, superblock=before.array.superblocks[label],
        newest=before.array.superblocks[before.array.freshest], present=before.array.present,
        size_bytes=size,
        before=reads[0], predicted=reads[1], after=reads[2], extents=extents,
    )  # fmt: skip
