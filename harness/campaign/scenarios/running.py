"""Run a scenario to its end and judge it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from harness.campaign.evidence import Evidence
from harness.campaign.exploring.subjects import members_of
from harness.campaign.exploring.trace_judging import judge_trace
from harness.campaign.judging import complaints_in, waits_of
from harness.campaign.known_issues import known_issues_of
from harness.campaign.lab import GuestImage, Say
from harness.campaign.recording import WORKLOAD_BEGINS, WORKLOAD_ENDS, Recording, recording_of
from harness.campaign.scenarios.managing import Create, Stop
from harness.campaign.scenarios.rig import Place, Rig, Stopper
from harness.campaign.scenarios.rigs import rig_for
from harness.campaign.scenarios.scenario import Oracle, Scenario
from harness.campaign.scenarios.stage import Stage, StoryEnds, blocked_tasks
from harness.crash.content import DiskContent
from harness.errors import (
    CommandFailed,
    GuestLost,
    GuestOopsed,
    GuestPanicked,
    GuestVanished,
    HarnessError,
    StepHangs,
)
from harness.ondisk.units import BLOCK_SECTORS, ArraySector
from harness.recovery.era import Era
from harness.recovery.members import Array, no_longer_members, put_together
from harness.recovery.metawise import DEFAULT_STRIPE_CACHE_SIZE
from harness.verdict.durability import Members, judge_redundancy, page_stamps
from harness.verdict.live_reads import judge_reads
from harness.verdict.predicted_state import JournalGone, Predictor, superblocks_of
from harness.verdict.verdict import Finding, Judgement, Verdict, verdict_of

ALIVE, CONTENTS = "alive", "contents"
_MOST_COMPLAINTS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class ScenarioOptions:
    """What a scenario runs on."""

    scenario: Scenario
    image: GuestImage
    era: Era
    seed: int
    began: Callable[[Stopper], None] = lambda _guest: None  # is told of each guest


@dataclass(frozen=True, slots=True)
class ScenarioRun:
    """How a scenario ended, and what was recorded of it."""

    verdict: Verdict
    recording: Recording | None  # None: its power was cut, or it did not come to its end
    longest_step_s: float = 0.0


def run_scenario(options: ScenarioOptions, evidence: Evidence, *, say: Say) -> ScenarioRun:
    """Do the steps of a scenario one after another, and judge what came of it.

    Raises:
        GuestVanished, HarnessError: there is no verdict.
    """
    scenario = options.scenario
    place = Place(
        options.image, scenario.needs, evidence.path("live"), options.seed, say, options.began,
        scenario.memory_mib,
    )  # fmt: skip
    with rig_for(scenario, place) as rig:
        stage = Stage(rig, scenario.needs, options.seed)
        trouble = _do_steps(scenario, stage, evidence)
        judgements = [*stage.judgements]
        if not trouble:
            trouble = _end(scenario, stage, evidence)
            judgements = [*stage.judgements]
        log = [] if trouble is not None and trouble.guest_is_lost else rig.guest.kernel_log()
        said = [*rig.kernel_log, *log]
        evidence.write_lines("dmesg.txt", said)
        evidence.write_commands("commands.txt", rig.guest.commands)
        judgements.append(_judge_alive(stage, said, trouble))
        recording = None
        if trouble is None:
            recording = _recording(stage, rig)
        if trouble is None and not stage.is_refused:  # of an array that nobody gets nothing is read
            judgements += _judge_disks(options, stage, rig, recording)
        verdict = verdict_of(tuple(judgements))
    issues = known_issues_of(options.image.kernel_version, scenario.needs, scenario=scenario.name)
    return ScenarioRun(issues.apply(verdict), recording, stage.longest_step_s)


@dataclass(frozen=True, slots=True)
class _Trouble:
    """Why a scenario did not come to its end."""

    oracle: str
    what: str
    details: tuple[str, ...] = ()
    guest_is_lost: bool = False


def _do_steps(scenario: Scenario, stage: Stage, evidence: Evidence) -> _Trouble | None:
    steps = scenario.steps
    if not any(isinstance(step, Create) for step in steps):
        steps = (Create(), *steps)
    for number, step in enumerate(steps, start=1):
        try:
            with stage.timed():
                step.do(stage)
        except StoryEnds:
            break
        except (GuestLost, StepHangs, CommandFailed) as error:
            return _trouble(stage, error, f"step {number}, {step.words}", evidence)
    return None


def _end(scenario: Scenario, stage: Stage, evidence: Evidence) -> _Trouble | None:
    """Read an array back that is still up, and stop it."""
    try:
        if stage.is_up:
            if Oracle.CONTENTS in scenario.oracles:
                stage.read_back("at the end")
            Stop().do(stage)
        with contextlib.suppress(CommandFailed):  # the journal's disk may be gone, not the marks'
            stage.mark(WORKLOAD_ENDS)
    except (GuestLost, StepHangs, CommandFailed) as error:
        return _trouble(stage, error, "at the end", evidence)
    return None


def _trouble(stage: Stage, error: HarnessError, when: str, evidence: Evidence) -> _Trouble:
    first, *rest = str(error).splitlines()
    if isinstance(error, GuestVanished):
        raise error
    if isinstance(error, StepHangs):
        texts = stage.call("look_at_hang")["texts"]
        evidence.write_lines("hang.txt", blocked_tasks(texts))
        return _Trouble(ALIVE, f"hangs: {when}: {first}", tuple(rest))
    if isinstance(error, GuestOopsed | GuestPanicked | GuestLost):
        return _Trouble(ALIVE, f"{when}: {first}", tuple(rest), guest_is_lost=True)
    return _Trouble("step", f"{when}: {first}", tuple(rest))


def _judge_alive(stage: Stage, said: Sequence[str], trouble: _Trouble | None) -> Judgement:
    findings = []
    if trouble is not None:
        hung = next((c for c in reversed(stage.commands) if c.missed_deadline), None)
        facts = {} if hung is None else waits_of(hung)
        findings.append(Finding(trouble.oracle, trouble.what, trouble.details, facts))
    findings += [
        Finding(ALIVE, f"the kernel complains: {line}")
        for line in complaints_in(said)[:_MOST_COMPLAINTS]
    ]
    longest = max((c.seconds for c in stage.commands), default=0.0)
    compared = (
        f"{len(stage.commands)} commands, the longest took {longest:.1f} s;"
        f" {len(said)} lines of the kernel's log"
    )
    return Judgement(ALIVE, (compared,), tuple(findings))


def _recording(stage: Stage, rig: Rig) -> Recording | None:
    if not rig.records:
        return None
    trace = rig.trace()
    marks = {getattr(event, "text", "") for event in trace.events}
    if rig.cuts or not {WORKLOAD_BEGINS, WORKLOAD_ENDS} <= marks:
        return None
    return recording_of(stage.workload, trace)


def _judge_disks(
    options: ScenarioOptions, stage: Stage, rig: Rig, recording: Recording | None
) -> list[Judgement]:
    """Judge what is on the disks at the end, and how it came there."""
    oracles, shape = options.scenario.oracles, options.scenario.needs
    found: list[Judgement] = []
    if Oracle.CONTENTS in oracles and stage.written.writes:
        contents = rig.contents_at_end()
        members = _members_at_end(contents, shape.disk_sizes, options.era)
        pages = stage.written.pages(shape.geometry)
        read = (
            (page, page_stamps(members.array_page(ArraySector(page * BLOCK_SECTORS))))
            for page in pages
        )
        found.append(judge_reads(CONTENTS, stage.written, read, when="on the disks at the end"))
        stripes = sorted(
            {shape.geometry.place(ArraySector(page * BLOCK_SECTORS)).sector for page in pages}
        )
        found.append(judge_redundancy(members, stripes))
    if Oracle.ORDER in oracles and recording is not None and shape.journaled:
        found += judge_trace(recording).judgements
    return found


def _members_at_end(
    contents: dict[str, DiskContent], sizes_bytes: dict[str, int], era: Era
) -> Members:
    """Return the members as the next assembly leaves them."""
    predictor = Predictor(sizes_bytes, era, stripe_cache_size=DEFAULT_STRIPE_CACHE_SIZE)
    try:
        return members_of(predictor.predict(contents))
    except JournalGone:
        superblocks = superblocks_of(contents, sizes_bytes)
        left_out = no_longer_members(superblocks)
        array = put_together({n: s for n, s in superblocks.items() if n not in left_out})
        return _members(array, contents)


def _members(array: Array, contents: dict[str, DiskContent]) -> Members:
    members = {slot: contents[names[0]] for slot, names in array.members.items()}
    (offset,) = {s.data_offset for s in array.superblocks.values() if not s.is_journal}
    return Members(array.geometry, offset, members)
