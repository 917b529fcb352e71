"""What `mdjournal explore` prints at its end."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from harness.campaign.crash import CrashOptions
from harness.campaign.evidence import verdict_document
from harness.campaign.exploring.choosing import ExploreOptions
from harness.campaign.exploring.exploration import Explored
from harness.campaign.exploring.smallest import Smallest
from harness.campaign.known_issues import KnownIssues, shape_facts
from harness.crash.sequences import Operation
from harness.crash.workload import JournalMode
from harness.md.shape import encode_shape
from harness.verdict.known import unseen_issues
from harness.verdict.verdict import Outcome
from kvm_images.kernels import Kernel
from tools.explore_summary import Red, Summary

_MOST_KINDS = 8
_MOST_DETAILS = 2
_INDENT = " " * 11
_ONE_OF = {"traces": "trace", "recoveries": "recovery", "states": "state"}


def report_lines(
    options: ExploreOptions,
    kernel: Kernel,
    explored: Explored,
    summary: Summary,
    smallest: Sequence[Smallest],
    issues: KnownIssues,
) -> Iterator[str]:
    """Yield what is printed."""
    crash = options.crash
    yield from head_lines(crash, kernel)
    yield from _recorded_lines(options, summary)
    yield (
        f"states     {summary.states} by strategy {options.strategy.value}; the kernel recovered"
        f" {summary.classes} that differ in what recovery reads, one for up to"
        f" {summary.largest_class}"
    )
    if summary.children:
        yield f"{_INDENT}{summary.children} more are crash states of recoveries among these"
    yield from oracle_lines(summary)
    if options.exhaustive:
        yield from _coverage_lines(summary)
    yield from red_lines(summary)
    for each in smallest:
        yield from _smallest_lines(each)
    if missing := unseen_issues(issues.issues, shape_facts(crash.shape), _seen(summary)):
        yield f"not seen   {', '.join(missing)}: listed as known for this shape and kernel"
    done = explored.progress
    if done.recovered:
        rate = done.recovered / explored.seconds
        yield (
            f"rate       {rate:.1f} states a second recovered and judged,"
            f" {done.looked_at / explored.seconds:.1f} looked at, in {explored.seconds:.0f} s;"
            f" guests busy {100 * explored.guest_s / explored.seconds:.0f} % of one"
        )
    yield from last_lines(summary, explored)


def head_lines(crash: CrashOptions, kernel: Kernel) -> Iterator[str]:
    """Tell what array was looked at, on which kernel."""
    yield f"shape      {crash.shape}"
    yield (
        f"kernel     {kernel.release} ({kernel.version}), recovery of era {crash.era.name},"
        f" guests on {crash.image.accelerator.upper()}"
    )


def last_lines(summary: Summary, explored: Explored) -> Iterator[str]:
    """Tell what it came to, and where that is kept."""
    verdicts = ", ".join(
        f"{outcome.value} {count}" for outcome, count in summary.outcomes.items() if count
    )
    yield f"verdicts   {verdicts}"
    yield f"kept       {explored.folder}"


def summary_document(
    options: ExploreOptions,
    kernel: Kernel,
    explored: Explored,
    summary: Summary,
    smallest: Sequence[Smallest],
    issues: KnownIssues,
) -> dict[str, Any]:
    """Return the same as JSON values."""
    crash, done = options.crash, explored.progress
    return {
        "schema": 3,
        "shape": encode_shape(crash.shape),
        "kernel": {"release": kernel.release, "version": kernel.version, "era": crash.era.name,
                   "accelerator": crash.image.accelerator},
        "seed": crash.seed,
        "strategy": options.strategy.value,
        "exhaustive": options.exhaustive,
        "lying": sorted(options.lying),
        "largest_class": summary.largest_class,
        "states": summary.states,
        "recovered": summary.classes,
        "states_of_recoveries": summary.children,
        "verdicts": {outcome.value: count for outcome, count in summary.outcomes.items() if count},
        "oracles": {
            f"{name}, {of}": {"judged": count.judged, "objected": count.objected}
            for (name, of), count in summary.oracles.items()
        },
        "recordings": [
            {"name": record.name, "events": record.events, "writes": record.writes,
             "states": summary.by_recording[record.number].states,
             **verdict_document(record.verdict)}
            for record in summary.recordings
        ],
        "red": [
            {"where": red.where, "verdict": red.verdict.outcome.value,
             "reason": red.verdict.reason, "stands_for": red.stands_for,
             "findings": [{"oracle": f.oracle, "what": f.what, "details": list(f.details),
                           "facts": dict(f.facts)} for f in red.verdict.findings]}
            for red in summary.reds
        ],
        "smallest": [
            {"reason": each.reason, "folder": None if each.folder is None else str(each.folder),
             "operations": each.operations, "of_operations": each.operations_before,
             "events": each.events, "lost_writes": each.lost_writes, "steps": list(each.steps)}
            for each in smallest
        ],
        "not_seen": unseen_issues(issues.issues, shape_facts(crash.shape), _seen(summary)),
        "now": {"recovered": done.recovered, "looked_at": done.looked_at,
                "guest_seconds": round(explored.guest_s, 2)},
        "seconds": round(explored.seconds, 2),
        "folder": str(explored.folder),
    }  # fmt: skip


def _recorded_lines(options: ExploreOptions, summary: Summary) -> Iterator[str]:
    events = sum(record.events for record in summary.recordings)
    writes = sum(record.writes for record in summary.recordings)
    if options.exhaustive:
        hung = sum(record.events == 0 for record in summary.recordings)
        yield (
            f"recorded   {len(summary.recordings)} sequences of up to {options.exhaustive}"
            f" operations, {events} events, seed {options.crash.seed}"
            + (f"; {hung} could not be recorded" if hung else "")
        )
        return
    yield f"recorded   {events} events of {writes} writes, seed {options.crash.seed}"
    for record in summary.recordings:
        for judgement in record.verdict.judgements:
            for number, line in enumerate(judgement.compared):
                yield f"{_INDENT}{judgement.oracle if number == 0 else '':<15}{line}"


def oracle_lines(summary: Summary) -> Iterator[str]:
    """Tell how often each oracle looked, and how often it objected."""
    for number, ((name, of), count) in enumerate(summary.oracles.items()):
        head = "oracles" if number == 0 else ""
        what = _ONE_OF.get(of, of) if count.judged == 1 else of
        yield (
            f"{head:<11}{name:<22} {count.judged:>7} {what:<13}"
            f" {count.objected or 'none':>5} objected to"
        )


def _coverage_lines(summary: Summary) -> Iterator[str]:
    """Show how often each operation was there, first and later, in each mode."""
    modes = [mode.value for mode in JournalMode]
    head = "".join(f"{f'first, {mode}':>22}{f'later, {mode}':>22}" for mode in modes)
    yield f"covered    {'operation':<17}{head}   states  recovered  red"
    for operation in Operation:
        cells = dict.fromkeys([(at, mode) for mode in modes for at in ("first", "later")], 0)
        states = recovered = red = 0
        for count in summary.by_recording.values():
            names, _, mode = count.name.rpartition(" (")
            if operation.value not in (operations := names.split(", ")):
                continue
            at = "first" if operations[0] == operation.value else "later"
            cells[at, mode.rstrip(")")] += 1
            states += count.states
            recovered += count.recovered
            red += count.red
        figures = "".join(f"{cells[at, mode]:>22}" for mode in modes for at in ("first", "later"))
        yield f"{_INDENT}{operation.value:<17}{figures}  {states:>7}  {recovered:>9}  {red:>3}"


def _smallest_lines(each: Smallest) -> Iterator[str]:
    if each.folder is None:
        yield f"smallest   {each.reason}: it did not show again in a new recording"
        return
    yield (
        f"smallest   {each.reason}: {each.operations} of {each.operations_before} operations,"
        f" {each.events} events before the cut, {each.lost_writes} lost writes"
    )
    yield f"{_INDENT}{'; '.join(each.steps)}"
    yield (
        f"{_INDENT}{each.recordings} recordings were made for it, {each.recorded_red} of them red;"
        f" {each.folder}"
    )


def _seen(summary: Summary) -> list[str]:
    return [
        name
        for red in summary.reds
        if red.verdict.outcome is Outcome.KNOWN
        for name in red.verdict.reason.split(", ")
    ]


def _how_many(reds: Sequence[Red]) -> str:
    """Say how many states are red, or else recordings or crash states of recoveries."""
    if states := sum(red.stands_for for red in reds):
        return f"{states} state{'s' if states > 1 else ''}"
    kind = "recording" if reds[0].where.startswith("recording") else "interruption"
    return f"{len(reds)} {kind}{'s' if len(reds) > 1 else ''}"


def red_lines(summary: Summary) -> Iterator[str]:
    """Tell what was objected to, what is alike together, with the first of it."""
    kinds: dict[tuple[Outcome, str], list[Red]] = {}
    for red in summary.reds:
        known = red.verdict.outcome is Outcome.KNOWN
        findings = red.verdict.findings
        name = red.verdict.reason if known or not findings else findings[0].oracle
        kinds.setdefault((red.verdict.outcome, name), []).append(red)
    for (outcome, name), reds in list(kinds.items())[:_MOST_KINDS]:
        yield f"{outcome.value:<10} {name}: {_how_many(reds)}, the first is {reds[0].where}"
        for finding in reds[0].verdict.findings[:_MOST_DETAILS]:
            yield f"{_INDENT}{finding.oracle}: {finding.what}"
            for detail in finding.details[:_MOST_DETAILS]:
                yield f"{_INDENT}  {detail}"
    if len(kinds) > _MOST_KINDS:
        yield f"{_INDENT}and {len(kinds) - _MOST_KINDS} more kinds"
