"""What an exploration is asked for, which states that means, and how they are looked at."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field

from harness.campaign.crash import CrashOptions
from harness.campaign.exploring.oracles import Oracles
from harness.campaign.exploring.store import SCHEMA
from harness.campaign.exploring.subjects import Journaled, Looking, Subject, WithoutJournal
from harness.campaign.recording import Recording
from harness.campaign.scenarios.scenario import Scenario
from harness.crash.strategies import (
    FEW_SUBSETS_LOG2,
    MOST_SUBSETS_LOG2,
    ChosenState,
    Strategy,
    choose_states,
    count_states,
)
from harness.crash.walk import Cut, walk
from harness.recovery.metawise import DEFAULT_STRIPE_CACHE_SIZE
from harness.verdict.durability import Promises
from harness.verdict.predicted_state import Predictor


@dataclass(frozen=True, slots=True, kw_only=True)
class ExploreOptions:
    """Everything that decides an exploration, but for how many guests do it."""

    crash: CrashOptions
    strategy: Strategy
    states: int
    oracles: Oracles = field(default_factory=Oracles)
    lying: frozenset[str] = frozenset()  # disks whose flush does nothing
    exhaustive: int = 0  # length of the longest sequences; 0: one drawn workload
    scenario: Scenario | None = None  # in place of a drawn workload

    @property
    def key(self) -> str:
        """What tells an exploration from others, and finds it again."""
        crash = self.crash
        parts = (
            str(SCHEMA), crash.image.identity, str(crash.shape), crash.era.name, str(crash.seed),
            str(crash.steps), str(crash.jitter_us), self.strategy.value, str(self.states),
            str(self.oracles), str(self.exhaustive), repr(self.scenario), *sorted(self.lying),
        )  # fmt: skip
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:12]


def predictor_of(options: ExploreOptions) -> Predictor:
    """Return what predicts the recovery of states of any recording."""
    crash = options.crash
    return Predictor(crash.shape.disk_sizes, crash.era, stripe_cache_size=DEFAULT_STRIPE_CACHE_SIZE)


def subject_of(options: ExploreOptions, recording: Recording, predictor: Predictor) -> Subject:
    """Return how the states of a recording are looked at."""
    looking = Looking(
        promises=Promises(recording.workload, recording.trace, options.crash.shape.geometry),
        sizes_bytes=options.crash.shape.disk_sizes,
        seed=options.crash.seed, oracles=options.oracles,
    )  # fmt: skip
    if options.crash.shape.journaled:
        return Journaled(looking, predictor)
    return WithoutJournal(looking)


def shares(states: int, recordings: int) -> Iterator[tuple[int, int]]:
    """Yield for each recording the number of its first state, and how many it has of *states*."""
    first = 0
    for number in range(recordings):
        share = -(-(states - first) // (recordings - number))
        yield first, share
        first += share


def chosen_states(
    options: ExploreOptions, recording: Recording, *, states: int
) -> Iterator[ChosenState]:
    """Yield the states of a recording that are looked at, numbered from 0."""
    trace = recording.trace

    def cuts() -> Iterator[Cut]:
        return walk(trace, recording.first_event, recording.last_event, lying=options.lying)

    counts: list[int] = []
    for subsets_log2 in range(FEW_SUBSETS_LOG2, MOST_SUBSETS_LOG2 + 1):
        before = counts
        counts = [count_states(cut, options.strategy, trace.disks, subsets_log2) for cut in cuts()]
        if sum(counts) >= states or counts == before:  # enough, or all that there are
            break
    return choose_states(
        cuts(), counts, options.strategy, trace.disks, states=states,
        seed=options.crash.seed, subsets_log2=subsets_log2,
    )  # fmt: skip
