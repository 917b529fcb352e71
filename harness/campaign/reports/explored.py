"""What an exploration or a fuzzing has written down, as cases of a report."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from harness.campaign.exploring.store import ITSELF, ClassRecord, ExploreStore, StateRecord
from harness.campaign.reports.model import Case
from harness.verdict.verdict import Outcome, Verdict

RECORDINGS, INTERRUPTIONS = "recordings", "interrupted recoveries"
_WORST = (Outcome.DIFFERS, Outcome.KNOWN, Outcome.HARNESS_FAILED, Outcome.NOT_RUN)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What the cases of one exploration have in common."""

    kernel: str
    folder: Path  # of the exploration
    repeat: Callable[[int], str]  # the command that looks at one state again, by its number
    repeat_all: str  # the command that does it all again
    only: int | None = None  # the one state that was asked for
    states: str = "states"  # what they are called
    # A fuzzing's array is no workload: nothing is said of how it was made.
    with_recordings: bool = True


def explored_cases(store: ExploreStore, asked: Asked) -> Iterator[Case]:
    """Yield a case for each recording, each state, and each crash state of a recovery.

    A state is as red as the reddest that is said of it: by the oracles that need no kernel, and of
    the recovery of its class.
    """
    recordings = store.recordings()
    if asked.with_recordings:
        for record in recordings:
            yield Case(
                name=f"recording {record.name}", group=RECORDINGS, kernel=asked.kernel,
                verdict=record.verdict, repeat=asked.repeat_all,
            )  # fmt: skip
    names = {record.number: record.name for record in recordings} if len(recordings) > 1 else {}
    classes = {record.identity: record for record in store.class_records()}
    for state in store.state_records():
        if asked.only in (None, state.number):
            group = asked.states + "".join(f" of {n}" for n in [names.get(state.recording)] if n)
            yield _state_case(state, classes.get(state.identity), group, asked)
    for child in store.child_records():
        if asked.only in (None, child.parent):
            known = classes.get(child.identity)
            name = f"{child.parent}.{child.number}"
            yield Case(
                name=f"state {name}", group=INTERRUPTIONS, kernel=asked.kernel,
                verdict=both(child.verdict, None if known is None else known.verdict),
                evidence=_kept(asked, name), repeat=asked.repeat(child.parent),
            )  # fmt: skip


def _state_case(state: StateRecord, known: ClassRecord | None, group: str, asked: Asked) -> Case:
    is_leader = known is not None and (known.leader, known.child) == (state.number, ITSELF)
    return Case(
        name=f"state {state.number}", group=group, kernel=asked.kernel,
        verdict=both(state.verdict, None if known is None else known.verdict),
        seconds=known.seconds if known is not None and is_leader else 0.0,
        evidence=_kept(asked, str(state.number)) if is_leader else None,
        repeat=asked.repeat(state.number),
    )  # fmt: skip


def both(one: Verdict, other: Verdict | None) -> Verdict:
    """Return what two verdicts about one thing come to together."""
    if other is None or other.outcome is Outcome.AGREES:
        return one
    if one.outcome is Outcome.AGREES:
        return other
    first, second = sorted((one, other), key=lambda verdict: _WORST.index(verdict.outcome))
    reason = first.reason
    if first.outcome is second.outcome is Outcome.KNOWN:
        names = dict.fromkeys([*first.reason.split(", "), *second.reason.split(", ")])
        reason = ", ".join(names)
    return Verdict(first.outcome, (*first.judgements, *second.judgements), reason)


def _kept(asked: Asked, name: str) -> Path | None:
    folder = asked.folder / f"state-{name}"
    return folder if folder.is_dir() else None
