"""Exhibits of what an exploration or a fuzzing found: of one case of each kind.

Most states are kept as a choice alone, not as images; what is to be shown is made again from the
recording, which costs no guest.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from harness.campaign.exploring.choosing import (
    ExploreOptions,
    chosen_states,
    predictor_of,
    shares,
)
from harness.campaign.exploring.exploration import recordings_of
from harness.campaign.exploring.recordings import TRACE, NamedRecording
from harness.campaign.exploring.smallest import REPRODUCER, decode_state
from harness.campaign.exploring.state_evidence import keep_contents
from harness.campaign.fuzzing.campaign import FuzzOptions
from harness.campaign.fuzzing.ground import Ground, fuzzed_state
from harness.campaign.lab import Say
from harness.campaign.reports.exhibit import Exhibit
from harness.campaign.reports.looking import BEFORE, PREDICTED, look_at
from harness.campaign.reports.model import Case, kinds_of
from harness.campaign.reports.scene import Scene, scene_of_state
from harness.crash.content import DiskContent
from harness.crash.trace import BadTrace, decode
from harness.errors import HarnessError
from harness.processes import temporary_folder
from harness.recovery.era import Era
from harness.recovery.log import UndefinedRecovery
from harness.recovery.metawise import DEFAULT_STRIPE_CACHE_SIZE, StripeCacheExhausted
from harness.recovery.plan import UnreadableTail
from harness.verdict.predicted_state import Predictor

MOST_SHOWN = 8  # kinds of which a case is shown
_NOT_KEPT = "what the kernel left and said was not kept of this state; the command above keeps it"
_EVENT = re.compile(r"\bevent (\d+)")

Contents = Mapping[str, DiskContent]


def with_exhibits(cases: Sequence[Case], found: Mapping[str, Exhibit]) -> list[Case]:
    """Return the cases, those of these names with what there is to look at."""
    return [
        replace(case, exhibit=found[case.name]) if case.name in found and case.is_red else case
        for case in cases
    ]


def cases_to_show(cases: Sequence[Case]) -> list[Case]:
    """Return one case of each kind, if there is one with a folder of its own."""
    red = (kind for kind in kinds_of(cases) if kind.cases[0].is_red)
    return [
        next((case for case in kind.cases if case.evidence is not None), kind.cases[0])
        for kind, _ in zip(red, range(MOST_SHOWN), strict=False)
    ]


def exhibits_of_exploration(
    options: ExploreOptions, folder: Path, cases: Sequence[Case], *, guests: int, say: Say
) -> dict[str, Exhibit]:
    """Return exhibits by the names of cases.

    Args:
        options: of the exploration.
        folder: of it.
        cases: that it has.
        guests: that may record what is missing.
        say: takes a line about anything slow.
    """
    wanted = {case.name: case for case in cases_to_show(cases)}
    look = _Looking(options, folder)
    found = {
        name: look_at(case.evidence, era=options.crash.era)
        for name, case in wanted.items()
        if case.evidence is not None
    }
    recordings = list(recordings_of(options, folder, guests=guests, say=say))
    for named, (first, states) in zip(
        recordings, shares(options.states, len(recordings)), strict=True
    ):
        if (case := wanted.get(f"recording {named.name}")) is not None:
            found[case.name] = look.at_recording(named, case)
        found |= look.at_states(named, first, states, wanted)
    return found


def exhibits_of_fuzzing(
    options: FuzzOptions, ground: Ground, folder: Path, cases: Sequence[Case]
) -> dict[str, Exhibit]:
    """Return exhibits by the names of cases; arguments as of `exhibits_of_exploration`."""
    found = {}
    crash = options.crash
    predictor = Predictor(
        crash.shape.disk_sizes, crash.era, stripe_cache_size=DEFAULT_STRIPE_CACHE_SIZE
    )
    for case in cases_to_show(cases):
        number = int(case.name.rpartition(" ")[2])
        if case.evidence is not None:
            found[case.name] = look_at(case.evidence, era=crash.era)
            continue
        contents = fuzzed_state(ground, crash.seed, number).on_disks_there
        with _kept(folder, contents, crash.shape.disk_sizes, predictor) as place:
            shown = look_at(place, era=crash.era)
        found[case.name] = replace(shown, remarks=(*shown.remarks, _NOT_KEPT))
    return found


def exhibit_of_smallest(folder: Path, era: Era) -> Exhibit:
    """Return what a folder shows that shrinking has kept; see ``exploring.smallest``."""
    scene = None
    with contextlib.suppress(OSError, BadTrace, ValueError, KeyError, StopIteration):
        document = json.loads((folder / REPRODUCER).read_text())
        trace = decode((folder / TRACE).read_bytes())
        scene = Scene(trace=trace, cut=None, words="its end")
        if document["state"] is not None:
            chosen = decode_state(document["state"], trace)
            words = (
                f"before event {chosen.cut.sequence} of the trace,"
                f" {document['events_before_the_cut']} of the workload;"
                f" {chosen.lost_writes} writes lost, {chosen.torn_writes} torn"
            )
            scene = scene_of_state(trace, chosen, words)
    return look_at(folder, era=era, scene=scene)


class _Looking:
    """Looks at the states of one exploration."""

    def __init__(self, options: ExploreOptions, folder: Path) -> None:
        self._options = options
        self._folder = folder
        self._predictor = predictor_of(options) if options.crash.shape.journaled else None

    def at_recording(self, named: NamedRecording, case: Case) -> Exhibit:
        """Return what a trace alone shows; of one that hangs, where."""
        if named.recording is None:
            return Exhibit(stacks=tuple(named.hangs.splitlines()))
        said = " ".join(finding.what for finding in case.verdict.findings)
        event = _EVENT.search(said)
        middle = int(event[1]) if event else None
        words = f"around event {middle}" if event else "its end"
        scene = Scene(trace=named.recording.trace, cut=None, middle=middle, words=words)
        with temporary_folder(prefix=".looking-", parent=self._folder) as nothing:
            return replace(look_at(nothing, era=self._options.crash.era, scene=scene), remarks=())

    def at_states(
        self, named: NamedRecording, first: int, states: int, wanted: Mapping[str, Case]
    ) -> dict[str, Exhibit]:
        """Return exhibits of those states of a recording that are wanted."""
        recording = named.recording
        missing = {name for name in wanted if _is_in(name, first, states)}
        found: dict[str, Exhibit] = {}
        if recording is None or not missing:
            return found
        sizes = self._options.crash.shape.disk_sizes
        names = [disk.name for disk in recording.trace.disks]
        for chosen in chosen_states(self._options, recording, states=states):
            name = f"state {first + chosen.number}"
            if name not in missing:
                continue
            event = chosen.cut.sequence - recording.first_event
            words = (
                f"before event {chosen.cut.sequence} of the trace, {event} of {recording.events}"
                f" of the workload; {chosen.lost_writes} writes lost, {chosen.torn_writes} torn"
            )
            scene = scene_of_state(recording.trace, chosen, words)
            era, evidence = self._options.crash.era, wanted[name].evidence
            if evidence is not None:
                found[name] = look_at(evidence, era=era, scene=scene)
            else:
                contents = dict(zip(names, chosen.contents(), strict=True))
                with _kept(self._folder, contents, sizes, self._predictor) as place:
                    shown = look_at(place, era=era, scene=scene)
                found[name] = replace(shown, remarks=(*shown.remarks, _NOT_KEPT))
            missing.discard(name)
            if not missing:
                break
        return found


def _is_in(name: str, first: int, states: int) -> bool:
    stem, _, number = name.rpartition(" ")
    return stem == "state" and number.isdecimal() and first <= int(number) < first + states


@contextlib.contextmanager
def _kept(
    folder: Path, contents: Contents, sizes_bytes: Mapping[str, int], predictor: Predictor | None
) -> Iterator[Path]:
    """Give a folder with images of a state, and of what the model predicts, for a while."""
    kinds: dict[str, Contents] = {BEFORE: contents}
    if predictor is not None:
        with contextlib.suppress(
            HarnessError, UndefinedRecovery, UnreadableTail, StripeCacheExhausted
        ):
            kinds[PREDICTED] = predictor.predict(contents).after
    with temporary_folder(prefix=".looking-", parent=folder) as place:
        keep_contents(place / "state", kinds, sizes_bytes)
        yield place / "state"
