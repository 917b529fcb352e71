"""What `mdjournal explore` prints at its end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.campaign.evidence import verdict_document
from harness.campaign.explore import ORDERING, STORE, Explored, ExploreOptions
from harness.campaign.explore_store import decode_verdict, opened_store
from harness.campaign.subjects import WRITE_HOLE
from harness.verdict.durability import ATOMICITY, DURABILITY, REDUNDANCY
from harness.verdict.verdict import Outcome, Verdict
from kvm_images.kernels import Kernel

_MOST_KINDS = 8
_MOST_DETAILS = 2
WITHOUT_KERNEL = (DURABILITY, ATOMICITY, REDUNDANCY, WRITE_HOLE)


@dataclass(frozen=True, slots=True)
class Red:
    """A state with which some oracle disagrees, and for how many it stands."""

    number: int
    verdict: Verdict
    stands_for: int


@dataclass(frozen=True, slots=True)
class Summary:
    """What is written down of an exploration, in numbers."""

    states: int
    classes: int
    outcomes: Counter[Outcome]  # of states
    oracles: dict[str, tuple[int, int]]  # name -> how many were judged by it, how many objected to
    reds: tuple[Red, ...]
    guest_s: float
    ordering: Verdict | None  # of the trace


def summarise(folder: Path, *, journaled: bool, only: int | None = None) -> Summary:
    """Read what an exploration has written down, of all states or of one."""
    with opened_store(folder / STORE) as store:
        counts = store.states_of_classes()
        by_class = {record.identity: record for record in store.class_records()}
        alone = list(store.red_states())
        order = store.fact(ORDERING)
    if only is not None:
        by_class = {i: record for i, record in by_class.items() if record.leader == only}
        counts = dict.fromkeys(by_class, 1)
        alone = [each for each in alone if each[0] == only]
    outcomes: Counter[Outcome] = Counter()
    oracles: dict[str, tuple[int, int]] = {}
    reds = []
    for record in by_class.values():
        stands_for = counts.get(record.identity, 1)
        outcomes[record.verdict.outcome] += stands_for
        if record.verdict.outcome is not Outcome.AGREES:
            reds.append(Red(record.leader, record.verdict, stands_for))
        for judgement in record.verdict.judgements:
            judged, objected = oracles.get(judgement.oracle, (0, 0))
            oracles[judgement.oracle] = judged + 1, objected + bool(judgement.findings)
    total = sum(counts.values())
    alone_oracles = (DURABILITY, ATOMICITY, REDUNDANCY) if journaled else (WRITE_HOLE,)
    for name in alone_oracles:
        objected = sum(any(f.oracle == name for f in verdict.findings) for _, _, verdict in alone)
        oracles[name] = total, objected
    ordering = None if order is None else decode_verdict(order)
    for number, identity, verdict in alone:
        # A state is as red as the reddest that is said of it.
        leader = by_class.get(identity)
        so_far = Outcome.AGREES if leader is None else leader.verdict.outcome
        if so_far is Outcome.AGREES or verdict.outcome is Outcome.DIFFERS:
            outcomes[so_far] -= 1
            outcomes[verdict.outcome] += 1
        reds.append(Red(number, verdict, 1))
    guest_s = sum(record.seconds for record in by_class.values())
    reds.sort(key=lambda red: red.number)
    return Summary(total, len(by_class), outcomes, oracles, tuple(reds), guest_s, ordering)


def report_lines(
    options: ExploreOptions, kernel: Kernel, explored: Explored, summary: Summary
) -> Iterator[str]:
    """Yield what is printed."""
    recording, crash = explored.recording, options.crash
    yield f"shape      {crash.shape}"
    yield (
        f"kernel     {kernel.release} ({kernel.version}), recovery of era {crash.era.name},"
        f" guests on {crash.image.accelerator.upper()}"
    )
    yield (
        f"recorded   {recording.events} events of {len(recording.workload.writes)} writes,"
        f" seed {crash.seed}"
    )
    yield (
        f"states     {summary.states} by strategy {options.strategy.value}; {summary.classes} of"
        " them differ in what recovery reads, and were recovered by the kernel"
    )
    if summary.ordering is not None:
        yield from _ordering_lines(summary.ordering)
    for number, (name, (judged, objected)) in enumerate(summary.oracles.items()):
        head = "oracles" if number == 0 else ""
        of = "states" if name in WITHOUT_KERNEL else "recoveries"
        yield f"{head:<11}{name:<22} {judged:>7} {of:<11} {objected or 'none':>5} objected to"
    yield from _red_lines(summary)
    done = explored.progress
    if done.recovered:
        rate = done.recovered / explored.seconds
        yield (
            f"rate       {rate:.1f} states a second recovered and judged,"
            f" {done.looked_at / explored.seconds:.1f} looked at, in {explored.seconds:.0f} s;"
            f" guests busy {100 * explored.guest_s / explored.seconds:.0f} % of one"
        )
    verdicts = ", ".join(
        f"{outcome.value} {count}" for outcome, count in summary.outcomes.items() if count
    )
    yield f"verdicts   {verdicts}"
    yield f"kept       {explored.folder}"


def summary_document(explored: Explored, summary: Summary) -> dict[str, Any]:
    """Return the same as JSON values."""
    return {
        "schema": 1,
        "states": summary.states,
        "recovered": summary.classes,
        "verdicts": {outcome.value: count for outcome, count in summary.outcomes.items() if count},
        "oracles": {
            name: {"judged": judged, "objected": objected}
            for name, (judged, objected) in summary.oracles.items()
        },
        "write_ordering": None if summary.ordering is None else verdict_document(summary.ordering),
        "red": [
            {"state": red.number, "verdict": red.verdict.outcome.value,
             "reason": red.verdict.reason, "stands_for": red.stands_for}
            for red in summary.reds
        ],
        "seconds": round(explored.seconds, 2),
        "folder": str(explored.folder),
    }  # fmt: skip


def _ordering_lines(verdict: Verdict) -> Iterator[str]:
    """Say what the trace alone shows."""
    (judgement,) = verdict.judgements
    reason = f": {verdict.reason}" if verdict.outcome is Outcome.KNOWN else ""
    yield f"order      {verdict.outcome.value}{reason}"
    for line in judgement.compared:
        yield f"           {line}"
    for finding in judgement.findings[:_MOST_DETAILS]:
        yield f"           - {finding.what}"


def _red_lines(summary: Summary) -> Iterator[str]:
    """Tell what was objected to, what is alike together, with its first state."""
    kinds: dict[tuple[Outcome, str], list[Red]] = {}
    for red in summary.reds:
        known = red.verdict.outcome is Outcome.KNOWN
        name = red.verdict.reason if known else red.verdict.findings[0].oracle
        kinds.setdefault((red.verdict.outcome, name), []).append(red)
    for (outcome, name), reds in list(kinds.items())[:_MOST_KINDS]:
        states = sum(red.stands_for for red in reds)
        yield f"{outcome.value:<10} {name}: {states} states, the first is {reds[0].number}"
        for finding in reds[0].verdict.findings[:_MOST_DETAILS]:
            yield f"           {finding.oracle}: {finding.what}"
            for detail in finding.details[:_MOST_DETAILS]:
                yield f"             {detail}"
    if len(kinds) > _MOST_KINDS:
        yield f"           and {len(kinds) - _MOST_KINDS} more kinds"
