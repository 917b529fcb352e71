"""What is looked at in a state of fuzzing, and who judges what the kernel made of it."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Protocol

from harness.campaign.exploring.batch import Looks, RecoveredState, StateToRecover
from harness.campaign.exploring.guest_pool import Job
from harness.campaign.exploring.oracles import Oracles, Sampled
from harness.campaign.exploring.state_judging import judge_recovered
from harness.campaign.exploring.subjects import digest_of, members_of
from harness.campaign.judging import judge_alive
from harness.crash.content import DiskContent
from harness.recovery.era import Era
from harness.recovery.log import UndefinedRecovery
from harness.recovery.members import Array, put_together
from harness.recovery.metawise import DEFAULT_STRIPE_CACHE_SIZE, StripeCacheExhausted
from harness.recovery.plan import UnreadableTail
from harness.recovery.write_out import NeededInVain
from harness.verdict.guards import guarded_disks, inside_writes, judge_guards
from harness.verdict.predicted_state import (
    PredictedState,
    data_only_beyond,
    flushed_data_only,
    plan_of_log,
    predict_state,
    runs_out_of_log,
    superblocks_of,
)
from harness.verdict.verdict import Judgement, Outcome, Verdict, verdict_of

DEADLINE_S = 30.0  # of one request to md, which takes about a second: hangs are frequent here


class StateOnDisks(Protocol):
    """An array's disks, and which of them take part."""

    @property
    def number(self) -> int:
        """Of the state."""

    @property
    def contents(self) -> Mapping[str, DiskContent]:
        """Of every disk, by name."""

    @property
    def there(self) -> tuple[str, ...]:
        """Names of those that take part."""

    @property
    def on_disks_there(self) -> dict[str, DiskContent]:
        """The contents of those."""


@dataclass(frozen=True, slots=True)
class FuzzLook:
    """The job that a state is, and what is known of it before."""

    verdict: Verdict  # NOT_RUN: its outcome cannot be told
    job: Job
    predicted: PredictedState | None


def look_at(
    state: StateOnDisks,
    sizes_bytes: Mapping[str, int],
    era: Era,
    oracles: Oracles,
    *,
    seed: int,
    ticket: int,
) -> FuzzLook:
    """Predict a state's recovery, and return the job for a kernel.

    One of which the outcome cannot be told goes before the kernel all the same: it must live, and
    write nowhere but where it may.

    Args:
        state: an array with its journal.
        sizes_bytes: of each disk, in their order in the trace.
        era: of the kernel.
        oracles: which of them look at which share.
        seed: of the campaign.
        ticket: what the state is called on its way through a guest.
    """
    try:
        predicted = predict_state(
            state.on_disks_there, sizes_bytes, era, stripe_cache_size=DEFAULT_STRIPE_CACHE_SIZE
        )
    except (UndefinedRecovery, UnreadableTail, StripeCacheExhausted) as undefined:
        return _untold(state, sizes_bytes, era, ticket, undefined)
    again = oracles.look_at(Sampled.SECOND, seed=seed, number=state.number)
    looks = Looks(again=again)
    judge = functools.partial(judge_fuzzed, predicted, looks, sizes_bytes)
    job = Job(
        state=_to_recover(state, ticket, looks), number=state.number, identity=predicted.identity,
        judge=judge, predicted=predicted,
    )  # fmt: skip
    return FuzzLook(Verdict(Outcome.AGREES), job, predicted)


def judge_fuzzed(
    predicted: PredictedState, looks: Looks, sizes_bytes: Mapping[str, int], done: RecoveredState
) -> Verdict:
    """Judge what the kernel did: each write either by its content, or because it is there at all.

    Args:
        predicted: what it was to do.
        looks: what was to be looked at besides.
        sizes_bytes: of each disk, in their order in the trace.
        done: what it did.
    """
    disks = list(sizes_bytes)
    guarded = guarded_disks(predicted.array, sizes_bytes)
    inside = replace(
        done,
        writes=tuple(inside_writes(done.writes, disks, guarded)),
        writes_of_second=tuple(inside_writes(done.writes_of_second, disks, guarded)),
    )
    verdict = judge_recovered(predicted, members_of(predicted), looks, sizes_bytes, inside)
    asked = {outside.sector for outside in predicted.outside}
    every = (*done.writes, *done.writes_of_second)
    guards = judge_guards(every, disks, guarded, asked)
    told = [_with_facts(judgement, predicted, sizes_bytes) for judgement in verdict.judgements]
    return verdict_of((*told, guards))


def _with_facts(
    judgement: Judgement, predicted: PredictedState, sizes_bytes: Mapping[str, int]
) -> Judgement:
    """Attach to what `alive` objects to what is odd about the journal, for `known` to match."""
    if judgement.oracle != "alive" or not judgement.findings:
        return judgement
    facts = {
        "flush_of_data_only": int(flushed_data_only(predicted) > 0),
        "data_only_beyond_the_disks": int(data_only_beyond(predicted, sizes_bytes)),
        "runs_out_of_log": int(runs_out_of_log(predicted.plan, predicted.log)),
    }
    findings = tuple(replace(f, facts={**f.facts, **facts}) for f in judgement.findings)
    return replace(judgement, findings=findings)


def judge_untold(
    array: Array, sizes_bytes: Mapping[str, int], facts: Mapping[str, int], done: RecoveredState
) -> Verdict:
    """Judge a recovery of which the outcome cannot be told; *facts* are for `known` to match."""
    disks = list(sizes_bytes)
    guards = judge_guards(done.writes, disks, guarded_disks(array, sizes_bytes), ())
    alive = judge_alive(_started(done).recovered)
    findings = tuple(replace(f, facts={**f.facts, **facts}) for f in alive.findings)
    return verdict_of((replace(alive, findings=findings), guards))


def _started(done: RecoveredState) -> RecoveredState:
    """Return it as if md had not refused: whether it may is not known."""
    recovered = done.recovered
    if recovered.assembled.status in (0, None):
        return done
    return replace(done, recovered=replace(recovered, settled=True))


def _untold(
    state: StateOnDisks,
    sizes_bytes: Mapping[str, int],
    era: Era,
    ticket: int,
    undefined: Exception,
) -> FuzzLook:
    contents = state.on_disks_there
    array = put_together(superblocks_of(contents, sizes_bytes))
    facts = {"needs_missing_member": int(isinstance(undefined, NeededInVain))}
    with contextlib.suppress(UndefinedRecovery, UnreadableTail, StripeCacheExhausted):
        facts["runs_out_of_log"] = int(runs_out_of_log(*plan_of_log(contents, sizes_bytes, era)))
    job = Job(
        state=_to_recover(state, ticket, Looks()), number=state.number,
        identity=digest_of(contents),
        judge=functools.partial(judge_untold, array, sizes_bytes, facts), predicted=None,
    )  # fmt: skip
    judgement = Judgement("differential", ("nothing: the outcome cannot be told",))
    return FuzzLook(Verdict(Outcome.NOT_RUN, (judgement,), str(undefined)), job, None)


def _to_recover(state: StateOnDisks, ticket: int, looks: Looks) -> StateToRecover:
    return StateToRecover(
        number=ticket, contents=state.contents, assemble=state.there, looks=looks,
        deadline_s=DEADLINE_S,
    )  # fmt: skip
