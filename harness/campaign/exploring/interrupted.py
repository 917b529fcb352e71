"""Power lost during recovery: the crash states of a recovery, which must all come to its end.

DESIGN.md section 6, oracle 6. A recovery's own requests are a trace like any other; each legal
state of it is predicted, and recovered by the kernel if no state like it was before.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from harness.campaign.exploring.batch import Looks
from harness.campaign.exploring.choosing import ExploreOptions
from harness.campaign.exploring.guest_pool import Job, Judged
from harness.campaign.exploring.subjects import (
    digest_of,
    job_with_journal,
    job_without_journal,
    members_of,
)
from harness.campaign.lab import disk_caches
from harness.crash.base import on_top_of
from harness.crash.content import DiskContent
from harness.crash.strategies import (
    ChosenState,
    Strategy,
    choose_states,
    count_states,
)
from harness.crash.trace import TraceDisk
from harness.crash.walk import walk
from harness.recovery.log import UndefinedRecovery
from harness.recovery.metawise import DEFAULT_STRIPE_CACHE_SIZE
from harness.verdict.afterwards import INTERRUPTED, judge_same_members
from harness.verdict.predicted_state import JournalGone, PredictedState, predict_state
from harness.verdict.verdict import Finding, Judgement, Outcome, Verdict, verdict_of

MOST_STATES = 24  # of one recovery, spread over all that it has


@dataclass(frozen=True, slots=True)
class Interruption:
    """One crash state of a recovery, and what recovering that will do."""

    parent: int  # number of the state that was being recovered
    chosen: ChosenState
    contents: Mapping[str, DiskContent]  # of every disk
    predicted: PredictedState | None  # None: see the next two
    gone: JournalGone | None  # the array has lost its journal over it
    untold: str  # why what the kernel makes of it cannot be told
    sizes_bytes: Mapping[str, int]

    @property
    def identity(self) -> bytes:
        """States with the same one are recovered alike."""
        if self.predicted is not None:
            return self.predicted.identity
        names = self.contents if self.gone is None else self.gone.array.superblocks
        return digest_of({name: self.contents[name] for name in names})

    def job(self, ticket: int) -> Job | None:
        """Return the job that lets a kernel recover it, where that can be judged."""
        if self.predicted is None:
            if self.gone is None:
                return None
            return job_without_journal(
                self.gone, self.contents, self.sizes_bytes, self.parent, ticket
            )
        members = members_of(self.predicted)
        return job_with_journal(
            self.predicted, members, Looks(), self.contents, self.sizes_bytes, self.parent, ticket
        )


def interruptions(
    judged: Judged, sizes_bytes: Mapping[str, int], options: ExploreOptions
) -> Iterator[Interruption]:
    """Yield crash states of a recovery that agreed with its prediction."""
    before, crash = judged.job.state.contents, options.crash
    caches = disk_caches(crash.shape)
    block_bytes = crash.shape.logical_block_bytes
    disks = tuple(
        TraceDisk(name, sizes_bytes[name], cache, block_bytes) for name, cache in caches.items()
    )
    trace = on_top_of([before[name] for name in caches], disks, judged.done.events)
    last = trace.events[-1].sequence
    first = last - len(judged.done.events) + 1
    cuts = list(walk(trace, first, last, lying=options.lying))
    counts = [count_states(cut, Strategy.EPOCHS, disks) for cut in cuts]
    seed = crash.seed * 1_000_003 + judged.job.number
    for chosen in choose_states(
        cuts, counts, Strategy.EPOCHS, disks, states=MOST_STATES, seed=seed
    ):
        contents = dict(zip(caches, chosen.contents(), strict=True))
        predicted, gone, untold = None, None, ""
        try:
            predicted = predict_state(
                contents, sizes_bytes, crash.era, stripe_cache_size=DEFAULT_STRIPE_CACHE_SIZE
            )
        except JournalGone as without:
            gone = without
        except UndefinedRecovery as undefined:
            untold = str(undefined)
        yield Interruption(
            judged.job.number, chosen, contents, predicted, gone, untold, sizes_bytes
        )


def same_end(judged: Judged, state: Interruption) -> Verdict:
    """Judge that an interrupted recovery, recovered in its turn, leaves the same on the members."""
    assert judged.job.predicted is not None
    if state.untold:
        nothing = Judgement(INTERRUPTED, ("nothing",))
        return Verdict(Outcome.NOT_RUN, (nothing,), state.untold)
    if state.predicted is None:
        what = "the journal is no longer part of the array: it is two events behind the members"
        finding = Finding(INTERRUPTED, what, (), {"stale_journal": 1})
        return verdict_of((Judgement(INTERRUPTED, ("the array's devices",), (finding,)),))
    wanted = members_of(judged.job.predicted)
    judgement = judge_same_members(
        INTERRUPTED, members_of(state.predicted), wanted,
        what="as after a recovery that nothing interrupted",
    )  # fmt: skip
    return verdict_of((judgement,))
