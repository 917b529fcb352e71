"""Put a recovered crash state before the oracles, from what is in memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from harness.campaign.exploring.batch import Looks, RecoveredState
from harness.campaign.judging import (
    Recovered,
    judge_alive,
    judge_available,
    judge_journal_image,
)
from harness.crash.content import DiskContent
from harness.crash.history import BLOCK_BYTES
from harness.crash.trace import Issue
from harness.recovery.log import UndefinedRecovery
from harness.recovery.metawise import DEFAULT_STRIPE_CACHE_SIZE
from harness.storage.images import merge_extents
from harness.verdict.afterwards import (
    DEGRADED,
    READ_BACK,
    SECOND,
    judge_check,
    judge_read_back,
    judge_same_members,
)
from harness.verdict.differential import ImageTriple, judge_members
from harness.verdict.durability import Members
from harness.verdict.journal_truth import judge_message
from harness.verdict.predicted_state import JournalGone, PredictedState, predict_state
from harness.verdict.verdict import Finding, Judgement, Verdict, verdict_of


def judge_recovered(
    predicted: PredictedState,
    members: Members,
    looks: Looks,
    sizes_bytes: Mapping[str, int],
    done: RecoveredState,
) -> Verdict:
    """Judge by the oracles that need the kernel, as far as it came.

    Args:
        predicted: what recovery was to do.
        members: as they are afterwards, by that prediction.
        looks: what was to be looked at.
        sizes_bytes: of each disk, in their order in the trace.
        done: what the kernel did.
    """
    recovered = done.recovered
    first = recovered if done.refused is None else replace(recovered, assembled=done.refused)
    available = judge_available(predicted.array, first, stale=predicted.stale)
    up = (available, judge_alive(recovered))
    if any(judgement.findings for judgement in up) and not recovered.settled:
        return verdict_of(up)
    after = contents_after(predicted.before, done.writes, list(sizes_bytes))
    said = judge_message(predicted.plan, recovered.kernel_log)
    counts = Judgement(
        "journal truth", (f"the kernel's own count: {predicted.plan.message}",), said
    )
    same = judge_contents(predicted, after, sizes_bytes)
    judged = (*up, counts, *same)
    if any(judgement.findings for judgement in same):
        return verdict_of(judged)  # what follows is about members that are as predicted
    return verdict_of((*judged, *_judge_looks(predicted, members, looks, sizes_bytes, done)))


def judge_without_journal(
    gone: JournalGone,
    before: Mapping[str, DiskContent],
    sizes_bytes: Mapping[str, int],
    done: RecoveredState,
) -> Verdict:
    """Judge an array that md starts without its journal, read-only: nothing of it changes."""
    available = judge_available(gone.array, done.recovered, stale=gone.stale)
    up = (available, judge_alive(done.recovered))
    changed = [
        Finding(
            "differential", f"{list(sizes_bytes)[write.disk]}: written to at byte {write.offset}"
        )
        for write in done.writes
    ]
    compared = f"{len(before)} disks of an array without its journal, read-only: unchanged"
    return verdict_of((*up, Judgement("differential, members", (compared,), tuple(changed[:3]))))


def contents_after(
    before: Mapping[str, DiskContent], writes: Iterable[Issue], disks: list[str]
) -> dict[str, DiskContent]:
    """Return what the disks hold when the kernel has written *writes*; *disks* by their index."""
    after = {name: content.copy() for name, content in before.items()}
    for write in writes:
        if (name := disks[write.disk]) in after:
            after[name].take(write)
    return after


def judge_contents(
    predicted: PredictedState,
    after: Mapping[str, DiskContent],
    sizes_bytes: Mapping[str, int],
) -> tuple[Judgement, Judgement]:
    """Compare what the disks hold with the prediction: members, and journal."""
    array = predicted.array
    triples = {
        name: _triple(name, predicted, after[name], sizes_bytes[name]) for name in predicted.before
    }
    members = {slot: [triples[name] for name in names] for slot, names in array.members.items()}
    assert array.journal is not None
    journal = judge_journal_image(
        triples[array.journal], predicted.plan, predicted.log, array.geometry, members
    )
    return judge_members(array.geometry, members), journal


def _judge_looks(
    predicted: PredictedState,
    members: Members,
    looks: Looks,
    sizes_bytes: Mapping[str, int],
    done: RecoveredState,
) -> Iterator[Judgement]:
    """Judge what was looked at besides, as far as that was asked for and came about."""
    if done.read:
        yield judge_read_back(READ_BACK, members, looks.read_pages, done.read)
    if done.mismatch_sectors is not None:
        yield judge_check(members, looks.check_sectors, done.mismatch_sectors)
    if done.second is not None:
        yield from _judge_second(predicted, members, sizes_bytes, done, done.second)
    for read in done.degraded:
        yield _up(DEGRADED, read.recovered, f"without {' and '.join(read.without)}")
        if len(read.read) == len(looks.read_pages):
            left = {
                slot: content
                for slot, content in members.contents.items()
                if not set(predicted.array.members[slot]) & set(read.without)
            }
            yield judge_read_back(
                DEGRADED, replace(members, contents=left), looks.read_pages, read.read,
                without=" and ".join(read.without),
            )  # fmt: skip


def _judge_second(
    predicted: PredictedState,
    members: Members,
    sizes_bytes: Mapping[str, int],
    done: RecoveredState,
    second: Recovered,
) -> Iterator[Judgement]:
    """Judge a recovery of what the first one left: members as they are, the journal as started."""
    up = _up(SECOND, second, "of what recovery left")
    yield up
    if up.findings:
        return
    disks = list(sizes_bytes)
    first = contents_after(predicted.before, done.writes, disks)
    try:
        again = predict_state(
            first, sizes_bytes, predicted.log.era, stripe_cache_size=DEFAULT_STRIPE_CACHE_SIZE
        )
    except UndefinedRecovery as undefined:
        yield Judgement(SECOND, (f"its journal: cannot be told: {undefined}",))
        return
    after = contents_after(first, done.writes_of_second, disks)
    by_slot = {slot: after[names[0]] for slot, names in again.array.members.items()}
    found = replace(members, contents=by_slot)
    yield judge_same_members(SECOND, found, members, what="after a second recovery")
    plan = again.plan
    if not predicted.plan.data_only and (plan.data_parity or plan.data_only):
        what = f"a second recovery finds something to do: {plan.message}"
        yield Judgement(SECOND, ("what it finds",), (Finding(SECOND, what),))
    _, journal = judge_contents(again, after, sizes_bytes)
    yield replace(
        journal, oracle=SECOND, findings=tuple(replace(f, oracle=SECOND) for f in journal.findings)
    )


def _up(oracle: str, recovered: Recovered, what: str) -> Judgement:
    """Judge that an array came up and went down, under another oracle's name."""
    alive = judge_alive(replace(recovered, settled=True))  # nothing here waits for that
    findings = [replace(finding, oracle=oracle) for finding in alive.findings]
    if recovered.assembled.status not in (0, None):
        findings.append(Finding(oracle, f"{what}: {recovered.assembled}"))
    return Judgement(oracle, (f"assembled and stopped, {what}",), tuple(findings))


def _triple(
    name: str, predicted: PredictedState, after: DiskContent, size_bytes: int
) -> ImageTriple:
    before, wanted = predicted.before[name], predicted.after[name]
    # Elsewhere all three are the same.
    changed = {*before.differing(wanted), *before.differing(after)}
    return ImageTriple(
        label=name, superblock=predicted.array.superblocks[name],
        newest=predicted.array.superblocks[predicted.array.freshest],
        present=predicted.array.present, size_bytes=size_bytes,
        before=before.read, predicted=wanted.read, after=after.read,
        extents=merge_extents((block * BLOCK_BYTES, BLOCK_BYTES) for block in changed),
    )  # fmt: skip
