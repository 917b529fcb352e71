"""Shrink the first red of each kind that an exploration found, and keep what is smallest."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from harness.campaign.crash import area_of
from harness.campaign.evidence import verdict_document
from harness.campaign.exploring.choosing import ExploreOptions
from harness.campaign.exploring.recordings import (
    PROMISED,
    TRACE,
    bare_base,
    prelude_of,
    recorded_workload,
    sequences_of,
    write_trace,
    written_base,
)
from harness.campaign.exploring.shrinking import Shrinker, Shrunk, Start
from harness.campaign.exploring.state_evidence import keep_contents, keep_state
from harness.campaign.exploring.store import ExploreStore
from harness.campaign.known_issues import KnownIssues
from harness.campaign.lab import Say
from harness.crash.pattern import Fill
from harness.crash.sequences import workload_of_sequence
from harness.crash.strategies import ChosenState, uncertain
from harness.crash.trace import Trace, TraceDisk
from harness.crash.walk import walk
from harness.crash.workload import Step, Workload, WriteStep
from harness.crash.workload_json import encode_workload
from harness.md.shape import encode_shape
from harness.verdict.reason import Reason, reasons_of
from harness.verdict.verdict import Outcome, Verdict

MOST_KINDS = 12
REPRODUCER = "reproducer.json"


@dataclass(frozen=True, slots=True)
class Smallest:
    """A red that was shrunk, or could not be shown again, in numbers."""

    reason: str
    folder: Path | None  # None: it did not show again
    operations: int
    operations_before: int
    events: int  # of the workload, before the cut; all of them where the trace alone is red
    lost_writes: int
    recordings: int
    recorded_red: int
    steps: tuple[str, ...]


def shrink_reds(
    options: ExploreOptions,
    folder: Path,
    store: ExploreStore,
    issues: KnownIssues,
    *,
    known: bool,
    limit_s: float,
    say: Say,
) -> list[Smallest]:
    """Shrink the first red of each kind; what is kept is in folders below *folder*.

    Args:
        options: of the exploration.
        folder: of the exploration.
        store: with what it found.
        issues: that explain a red.
        known: whether those that are explained are shrunk as well.
        limit_s: for each of them.
        say: takes a line about what is smallest so far.
    """
    shrinker = Shrinker(options, issues, limit_s=limit_s, say=say)
    found = []
    for number, (reason, recording) in enumerate(_kinds(store, issues, known=known)):
        start = _start(options, folder, reason, recording, say)
        shrunk = shrinker.shrink(start)
        before = _count(start.steps)
        place = folder / f"smallest-{number}"
        if shrunk is None:
            found.append(Smallest(str(reason), None, before, before, 0, 0, 0, 0, ()))
        else:
            found.append(_keep(place, options, shrunk, before))
    return found


def _kinds(
    store: ExploreStore, issues: KnownIssues, *, known: bool
) -> Iterator[tuple[Reason, int]]:
    """Yield each reason once, with the recording in which it was first."""
    recording_of_state = {s.number: s.recording for s in store.state_records()}
    reds: list[tuple[Verdict, int]] = [(r.verdict, r.number) for r in store.recordings()]
    reds += [(s.verdict, s.recording) for s in store.state_records(red=True)]
    reds += [(c.verdict, recording_of_state[c.leader]) for c in store.class_records()]
    reds += [(c.verdict, recording_of_state[c.parent]) for c in store.child_records()]
    seen: set[Reason] = set()
    wanted = (Outcome.DIFFERS, Outcome.KNOWN) if known else (Outcome.DIFFERS,)
    for outcome in wanted:
        for verdict, recording in reds:
            if verdict.outcome is not outcome:
                continue
            for reason in reasons_of(verdict, issues.issues, known=outcome is Outcome.KNOWN):
                if reason not in seen and len(seen) < MOST_KINDS:
                    seen.add(reason)
                    yield reason, recording


def _start(
    options: ExploreOptions, folder: Path, reason: Reason, recording: int, say: Say
) -> Start:
    # Contents that become small when what is kept of it is packed.
    crash = replace(options.crash, fill=Fill.PLAIN)
    if not options.exhaustive:
        return Start(
            reason=reason, base=bare_base(crash, folder, say),
            before=Workload(crash.seed, (), crash.fill), mode=crash.shape.mode,
            steps=recorded_workload(options.scenario, crash, folder).steps,
        )  # fmt: skip
    sequence = sequences_of(crash, options.exhaustive)[recording]
    area = area_of(crash)
    return Start(
        reason=reason, base=written_base(crash, folder, say),
        before=prelude_of(crash), mode=sequence.mode,
        steps=workload_of_sequence(sequence, area, seed=crash.seed).steps, promised=PROMISED,
    )  # fmt: skip


def _keep(place: Path, options: ExploreOptions, shrunk: Shrunk, before: int) -> Smallest:
    sizes = options.crash.shape.disk_sizes
    recording, chosen = shrunk.recording, shrunk.chosen
    if shrunk.judged is not None:
        keep_state(place, shrunk.judged, sizes)
    elif chosen is not None:
        keep_contents(place, {"before": dict(zip(sizes, chosen.contents(), strict=True))}, sizes)
    else:
        keep_contents(place, {}, sizes)
    lost, events = [], 0
    if recording is not None:
        write_trace(place / TRACE, recording.trace)
        events = recording.events
        if chosen is not None:
            lost = list(_lost(chosen, recording.trace.disks))
            events = chosen.cut.sequence - recording.first_event
    steps = tuple(describe_step(step) for step in shrunk.steps)
    document = {
        "schema": 1, "finding": str(shrunk.reason), "shape": encode_shape(options.crash.shape),
        "kernel": options.crash.image.kernel_version, "seed": options.crash.seed,
        "steps": steps, "events_before_the_cut": events, "lost": lost,
        "workload": encode_workload(shrunk.workload),
        "state": None if chosen is None else encode_state(chosen),
        "recordings": shrunk.recordings, "recorded_red": shrunk.recorded_red,
        **verdict_document(shrunk.verdict),
    }  # fmt: skip
    (place / REPRODUCER).write_text(json.dumps(document, indent=2) + "\n")
    return Smallest(
        str(shrunk.reason), place, _count(shrunk.steps), before, events, len(lost),
        shrunk.recordings, shrunk.recorded_red, steps,
    )  # fmt: skip


def encode_state(chosen: ChosenState) -> dict[str, Any]:
    """Return a state as JSON values: its cut, and what survives of which uncertain write."""
    survives = [[*place, [list(r) for r in ranges]] for place, ranges in chosen.survives.items()]
    return {"number": chosen.number, "cut": chosen.cut.sequence, "survives": survives}


def decode_state(document: Mapping[str, Any], trace: Trace) -> ChosenState:
    """Return the state of a trace that JSON values are of."""
    sequence = int(document["cut"])
    cut = next(walk(trace, sequence, sequence))
    survives = {
        (int(disk), int(number)): tuple((int(at), int(length)) for at, length in ranges)
        for disk, number, ranges in document["survives"]
    }
    return ChosenState(int(document.get("number", 0)), cut, survives)


def _lost(chosen: ChosenState, disks: tuple[TraceDisk, ...]) -> Iterator[Mapping[str, Any]]:
    """Yield each write of which something is lost, and what of it survives."""
    for disk, number in uncertain(chosen.cut):
        if not chosen.is_whole((disk, number)):
            issue, fate = chosen.cut.disks[disk].pending[number]
            yield {
                "disk": disks[disk].name, "event": issue.sequence, "offset": issue.offset,
                "length": issue.length, "it_was": fate.value,
                "survives": list(chosen.survives.get((disk, number), ())),
            }  # fmt: skip


def describe_step(step: Step) -> str:
    """Say in a few words what a step does."""
    if isinstance(step, WriteStep):
        writes = (
            f"{w.kind.value}{' FUA' if w.fua else ''} {w.sector}+{w.sectors}" for w in step.writes
        )
        return f"write {', '.join(writes)}"
    values = (str(getattr(getattr(step, f.name), "value", getattr(step, f.name)))
              for f in fields(step))  # fmt: skip
    return " ".join([type(step).__name__, *values])


def _count(steps: Sequence[Step]) -> int:
    return sum(len(step.writes) if isinstance(step, WriteStep) else 1 for step in steps)
