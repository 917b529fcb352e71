"""What an exploration has written down, in numbers."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from harness.campaign.exploring.exploration import STORE
from harness.campaign.exploring.store import (
    ITSELF,
    ChildRecord,
    ClassRecord,
    ExploreStore,
    RecordingRecord,
    StateRecord,
    opened_store,
)
from harness.campaign.exploring.subjects import WRITE_HOLE
from harness.errors import EXIT_AGREES, EXIT_DIFFERS, EXIT_LOST
from harness.verdict.afterwards import INTERRUPTED
from harness.verdict.durability import ATOMICITY, DURABILITY, REDUNDANCY
from harness.verdict.verdict import Outcome, Verdict

_WITHOUT_KERNEL = (DURABILITY, ATOMICITY, REDUNDANCY)


@dataclass(frozen=True, slots=True)
class Red:
    """Something that an oracle objects to."""

    where: str  # "state 17", "state 17.3", "recording ..."
    verdict: Verdict
    stands_for: int  # states


@dataclass(slots=True)
class OracleCount:
    """What an oracle was asked."""

    judged: int = 0
    objected: int = 0


@dataclass(slots=True)
class RecordingCount:
    """What became of the states of one recording."""

    name: str
    states: int = 0
    recovered: int = 0
    red: int = 0


@dataclass(slots=True)
class Summary:
    """An exploration in numbers."""

    recordings: list[RecordingRecord]
    without_kernel: tuple[str, ...]  # oracles that judge each state
    states: int = 0
    classes: int = 0
    largest_class: int = 0  # states that one recovery stands for
    children: int = 0  # crash states of recoveries
    outcomes: Counter[Outcome] = field(default_factory=Counter)  # of states
    # Of recordings, and of the crash states of recoveries.
    others: Counter[Outcome] = field(default_factory=Counter)
    # By an oracle's name and what it looked at.
    oracles: dict[tuple[str, str], OracleCount] = field(default_factory=dict)
    reds: list[Red] = field(default_factory=list)
    by_recording: dict[int, RecordingCount] = field(default_factory=dict)
    guest_s: float = 0.0


def exit_status(summary: Summary, *, strict: bool) -> int:
    """Return 1 where something is red, 3 where not one state could be judged, or else 0."""
    outcomes = summary.outcomes + summary.others
    if outcomes[Outcome.DIFFERS] or (strict and outcomes[Outcome.KNOWN]):
        return EXIT_DIFFERS
    if summary.outcomes[Outcome.NOT_RUN] and len(+summary.outcomes) == 1:
        return EXIT_LOST
    return EXIT_AGREES


def summarise(
    folder: Path,
    *,
    journaled: bool,
    only: int | None = None,
    without_kernel: tuple[str, ...] | None = None,
) -> Summary:
    """Read what an exploration has written down, of all states or of one.

    Args:
        folder: of the exploration.
        journaled: whether the array has a journal.
        only: the number of the one state.
        without_kernel: oracles that judge each state, if not those that a crash state has.
    """
    if without_kernel is None:
        without_kernel = _WITHOUT_KERNEL if journaled else (WRITE_HOLE,)
    with opened_store(folder / STORE) as store:
        summary = Summary(store.recordings(), without_kernel)
        _take_recordings(summary)
        _take_states(summary, store, only)
    summary.reds.sort(key=lambda red: red.verdict.outcome is not Outcome.DIFFERS)
    return summary


def _take_recordings(summary: Summary) -> None:
    for record in summary.recordings:
        summary.by_recording[record.number] = RecordingCount(record.name)
        summary.others[record.verdict.outcome] += 1
        _count(summary, record.verdict, "traces")
        if record.verdict.outcome is not Outcome.AGREES:
            summary.reds.append(Red(f"recording {record.name}", record.verdict, 0))


def _take_states(summary: Summary, store: ExploreStore, only: int | None) -> None:
    classes = {record.identity: record for record in store.class_records()}
    stands_for: Counter[bytes] = Counter()
    for state in store.state_records():
        if only not in (None, state.number):
            continue
        stands_for[state.identity] += 1
        _take_state(summary, state, classes.get(state.identity))
    for record in classes.values():
        if only not in (None, record.leader):
            continue
        of_states = stands_for[record.identity]
        summary.classes += 1
        summary.largest_class = max(summary.largest_class, of_states)
        summary.guest_s += record.seconds
        _count(summary, record.verdict, "recoveries")
        if record.verdict.outcome is not Outcome.AGREES:
            child = f".{record.child}" if record.child != ITSELF else ""
            where = f"state {record.leader}{child}"
            summary.reds.append(Red(where, record.verdict, of_states))
    for each in store.child_records():
        if only in (None, each.parent):
            _take_child(summary, each, classes.get(each.identity))


def _take_state(summary: Summary, state: StateRecord, known: ClassRecord | None) -> None:
    """Count a state; it is as red as the reddest that is said of it."""
    summary.states += 1
    outcome = _worst(state.verdict, None if known is None else known.verdict)
    summary.outcomes[outcome] += 1
    every = () if state.verdict.outcome is Outcome.NOT_RUN else summary.without_kernel
    _count(summary, state.verdict, "states", every)
    count = summary.by_recording[state.recording]
    count.states += 1
    count.recovered += known is not None and known.leader == state.number
    count.red += outcome is Outcome.DIFFERS
    if state.verdict.outcome is not Outcome.AGREES:
        summary.reds.append(Red(f"state {state.number}", state.verdict, 1))


def _take_child(summary: Summary, each: ChildRecord, known: ClassRecord | None) -> None:
    summary.children += 1
    _count(summary, each.verdict, "interruptions", (INTERRUPTED,))
    if each.verdict.outcome is not Outcome.AGREES:
        where = f"state {each.parent}.{each.number}"
        summary.reds.append(Red(where, each.verdict, 0))
    summary.others[_worst(each.verdict, None if known is None else known.verdict)] += 1


def _worst(*verdicts: Verdict | None) -> Outcome:
    found = [verdict.outcome for verdict in verdicts if verdict is not None]
    order = (Outcome.DIFFERS, Outcome.KNOWN, Outcome.HARNESS_FAILED, Outcome.NOT_RUN)
    return next((outcome for outcome in order if outcome in found), Outcome.AGREES)


def _count(summary: Summary, verdict: Verdict, of: str, every: tuple[str, ...] = ()) -> None:
    """Count what oracles said; those of *every* have judged where nothing is written of it, too."""
    judged: dict[str, bool] = dict.fromkeys(every, False)
    for judgement in verdict.judgements:
        judged[judgement.oracle] = judged.get(judgement.oracle, False) or bool(judgement.findings)
    for name, objected in judged.items():
        count = summary.oracles.setdefault((name, of), OracleCount())
        count.judged += 1
        count.objected += objected
