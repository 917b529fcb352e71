"""Put the images of a run before the oracles."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.crash.history import DiskHistory
from harness.crash.trace import Trace
from harness.crash.workload import Workload
from harness.hosts.host import CommandResult
from harness.ondisk.units import BLOCK_BYTES, SECTOR_BYTES, StripeSector
from harness.recovery.plan import RecoveryPlan
from harness.recovery.scan import Log, ScannedMeta
from harness.storage.array_files import ArrayFiles, opened_log
from harness.storage.images import data_extents, merge_extents, opened_image
from harness.storage.replay import Replayed
from harness.verdict.blocks import Read
from harness.verdict.differential import ImageTriple, judge_journal, judge_members
from harness.verdict.journal_truth import LoggedArray, judge_journal_truth
from harness.verdict.rewritten_log import judge_rewritten_journal
from harness.verdict.verdict import Finding, Judgement, Verdict, verdict_of

_COMPLAINT = re.compile(r"BUG:|WARNING:|Oops|kernel BUG|INFO: task .* blocked|general protection")


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


def judge(
    before: ArrayFiles,
    replayed: Replayed,
    metas: Sequence[ScannedMeta],
    recovered: Recovered,
    recorded: Recorded,
    folder: Path,
) -> Verdict:
    """Judge one recovered crash state; *folder* holds the images before, predicted and after."""
    plan = replayed.plan
    alive = judge_alive(recovered)
    if recovered.assembled.status != 0 or not recovered.settled:
        return verdict_of((alive,))
    with contextlib.ExitStack() as stack:
        log = stack.enter_context(opened_log(before, replayed.era))
        triples = {
            label: _open_triple(stack, before, label, folder) for label in before.array.superblocks
        }
        members = {
            slot: [triples[label] for label in labels]
            for slot, labels in before.array.members.items()
        }
        return verdict_of(
            (
                alive,
                judge_members(before.array.geometry, members),
                _judge_journal(triples[before.journal_label], plan, log, before, members),
                judge_journal_truth(
                    _logged_array(before, log, recorded), metas, plan, recovered.kernel_log
                ),
            )
        )


def judge_alive(recovered: Recovered) -> Judgement:
    """Judge that the array assembled and stopped as it should, and the kernel did not complain."""
    oracle = "alive"
    findings = []
    for command in (recovered.assembled, recovered.stopped):
        if command is None:
            continue
        if command.missed_deadline:
            findings.append(Finding(oracle, f"hangs: {command}", tuple(command.stack.split("\n"))))
        elif command.status != 0:
            findings.append(Finding(oracle, str(command), tuple(command.output.splitlines())))
    if recovered.assembled.status == 0 and not recovered.settled:
        findings.append(Finding(oracle, "md never wrote down in the superblocks where its log is"))
    complaints = [line for line in recovered.kernel_log if _COMPLAINT.search(line)]
    if complaints:
        findings.append(Finding(oracle, f"the kernel complains: {complaints[0]}"))
    compared = (
        f"assembled without --force in {recovered.assembled.seconds:.1f} s, and stopped",
        f"{len(recovered.kernel_log)} lines of the kernel's log",
    )
    return Judgement(oracle, compared, tuple(findings))


def _judge_journal(
    journal: ImageTriple,
    plan: RecoveryPlan,
    log: Log,
    before: ArrayFiles,
    members: dict[int, list[ImageTriple]],
) -> Judgement:
    if not plan.data_only:
        return judge_journal(journal, plan)

    def read_predicted(slot: int, sector: StripeSector) -> bytes:
        triple = members[slot][0]
        at = (triple.superblock.data_offset + sector) * SECTOR_BYTES
        return triple.predicted(at, BLOCK_BYTES)

    return judge_rewritten_journal(
        journal, plan, before=log, geometry=before.array.geometry, read_predicted=read_predicted
    )


def _logged_array(before: ArrayFiles, log: Log, recorded: Recorded) -> LoggedArray:
    history = {
        label: DiskHistory(recorded.trace, recorded.trace.disk_index(Path(label).stem))
        for label in before.array.superblocks
    }

    def content_at(slot: int, stripe: StripeSector, scanned: ScannedMeta) -> bytes:
        (label, *_) = before.array.members[slot]
        logged_at = history[before.journal_label].last_written(
            _block(before, before.journal_label, scanned.meta.position), scanned.meta.block,
            before=recorded.cut,
        )  # fmt: skip
        at = recorded.cut if logged_at is None else logged_at
        return history[label].content(_block(before, label, stripe), before=at)

    return LoggedArray(
        log=log,
        geometry=before.array.geometry,
        workload=recorded.workload,
        content_at=content_at,
    )


def _block(files: ArrayFiles, label: str, sector: int) -> int:
    return (files.array.superblocks[label].data_offset + sector) * SECTOR_BYTES // BLOCK_BYTES


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
        label=name, superblock=before.array.superblocks[label], size_bytes=size,
        before=reads[0], predicted=reads[1], after=reads[2], extents=extents,
    )  # fmt: skip
