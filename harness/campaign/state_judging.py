"""Put a recovered crash state before the oracles, from what is in memory."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from harness.campaign.batch import RecoveredState
from harness.campaign.judging import judge_alive, judge_available, judge_journal_image
from harness.crash.content import DiskContent
from harness.crash.history import BLOCK_BYTES
from harness.crash.trace import Issue
from harness.storage.images import merge_extents
from harness.verdict.differential import ImageTriple, judge_members
from harness.verdict.journal_truth import judge_message
from harness.verdict.predicted_state import PredictedState
from harness.verdict.verdict import Judgement, Verdict, verdict_of


def judge_recovered(
    predicted: PredictedState, done: RecoveredState, sizes_bytes: Mapping[str, int]
) -> Verdict:
    """Judge by the oracles that need the kernel: available, alive, differential."""
    recovered = done.recovered
    up = (judge_available(predicted.array, recovered), judge_alive(recovered))
    if any(judgement.findings for judgement in up) and not recovered.settled:
        return verdict_of(up)
    after = contents_after(predicted, done.writes, list(sizes_bytes))
    said = judge_message(predicted.plan, recovered.kernel_log)
    counts = Judgement(
        "journal truth", (f"the kernel's own count: {predicted.plan.message}",), said
    )
    return verdict_of((*up, counts, *judge_contents(predicted, after, sizes_bytes)))


def contents_after(
    predicted: PredictedState, writes: Iterable[Issue], disks: list[str]
) -> dict[str, DiskContent]:
    """Return what the disks hold when the kernel has written *writes*; *disks* by their index."""
    after = {name: content.copy() for name, content in predicted.before.items()}
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


def _triple(
    name: str, predicted: PredictedState, after: DiskContent, size_bytes: int
) -> ImageTriple:
    before, wanted = predicted.before[name], predicted.after[name]
    # Elsewhere all three are the same.
    changed = {*before.differing(wanted), *before.differing(after)}
    return ImageTriple(
        label=name, superblock=predicted.array.superblocks[name],
        newest=predicted.array.superblocks[predicted.array.freshest], size_bytes=size_bytes,
        before=before.read, predicted=wanted.read, after=after.read,
        extents=merge_extents((block * BLOCK_BYTES, BLOCK_BYTES) for block in changed),
    )  # fmt: skip
