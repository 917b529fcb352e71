"""Units of a night that look for something: an exploration, a fuzzing, a scenario."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from harness.campaign.exploring.choosing import ExploreOptions
from harness.campaign.exploring.exploration import STORE, explore
from harness.campaign.exploring.oracles import Oracles, Sampled
from harness.campaign.exploring.store import opened_store
from harness.campaign.fuzzing.campaign import FuzzOptions, fuzz
from harness.campaign.history.records import FindingSeen
from harness.campaign.known_issues import issues_of_any_kernel, known_issues_of
from harness.campaign.reproducing.packing import pack
from harness.campaign.reproducing.ran import write_run
from harness.campaign.scenarios.campaign import Job, run_jobs
from harness.campaign.scenarios.campaign import Kernel as GridKernel
from harness.campaign.scenarios.results import Result, opened_results
from harness.campaign.scenarios.scenario_json import decode_scenario
from harness.crash.strategies import Strategy
from harness.errors import HarnessError
from harness.md.shape import Shape
from harness.verdict.reason import reasons_of
from harness.verdict.verdict import Outcome, Verdict
from tools.explore_summary import Summary, summarise
from tools.fuzz import fuzzed_shape
from tools.nightly_finding import (
    followed_by,
    packed,
    page_of_exploration,
    page_of_fuzzing,
    page_of_story,
)
from tools.nightly_told import Unit, plain, silent

_SECOND = 0.25  # share of fuzzed states of which what recovery left is recovered once more
_ORDER = (
    Outcome.DIFFERS, Outcome.KNOWN, Outcome.AGREES, Outcome.HARNESS_FAILED, Outcome.NOT_RUN
)  # fmt: skip


def explored(unit: Unit) -> dict[str, Any]:
    """Record a workload of a seed, and judge its crash states."""
    options = ExploreOptions(
        crash=unit.crash_options(unit.shape), strategy=Strategy.EPOCHS, states=unit.spec["states"]
    )
    issues = known_issues_of(unit.image.kernel_version, unit.shape)
    explore(options, unit.folder, guests=1, issues=issues, say=silent)
    write_run(unit.folder, unit.facts("explore", unit.shape))
    summary = summarise(unit.folder, journaled=unit.shape.journaled)
    found = _found(unit, summary, unit.shape)
    return found | packed(unit, found, lambda: page_of_exploration(unit, options))


def fuzzed(unit: Unit) -> dict[str, Any]:
    """Let the kernel recover hostile journals of a seed."""
    shape = fuzzed_shape(unit.shape)
    options = FuzzOptions(
        crash=unit.crash_options(shape), states=unit.spec["states"],
        oracles=Oracles({Sampled.SECOND: _SECOND}),
    )  # fmt: skip
    issues = known_issues_of(unit.image.kernel_version, shape)
    done = fuzz(options, unit.folder, guests=1, issues=issues, say=silent)
    write_run(unit.folder, unit.facts("fuzz", shape))
    summary = summarise(unit.folder, journaled=True, without_kernel=())
    found = _found(unit, summary, shape)
    return found | packed(unit, found, lambda: page_of_fuzzing(unit, options, done.ground))


def _found(unit: Unit, summary: Summary, shape: Shape) -> dict[str, Any]:
    """Return what an exploration or a fuzzing came to."""
    outcomes = summary.outcomes + summary.others
    outcome = next((each for each in _ORDER if outcomes[each]), Outcome.NOT_RUN)
    verdicts = [red.verdict for red in summary.reds]
    findings = list(_findings(verdicts, unit.image.kernel_version, shape))
    with opened_store(unit.folder / STORE) as store:
        events = sum(record.events for record in store.recordings())
    reason = findings[0].signature if findings and outcome is Outcome.DIFFERS else ""
    return {
        "outcome": outcome.value, "reason": reason, "states": summary.states, "events": events,
        "findings": [plain(finding) for finding in findings],
    }  # fmt: skip


def _findings(verdicts: list[Verdict], version: str, shape: Shape) -> Iterator[FindingSeen]:
    """Yield each reason for a red once, with how often it was met; what is new comes first."""
    listed = known_issues_of(version, shape).issues
    every = issues_of_any_kernel(shape).issues
    for known in (False, True):
        counts: dict[Any, int] = {}
        for verdict in verdicts:
            if (verdict.outcome is Outcome.KNOWN) is known:
                for reason in reasons_of(verdict, every if known else listed, known=known):
                    counts[reason] = counts.get(reason, 0) + 1
        for reason, count in counts.items():
            yield FindingSeen.of_reason(reason, count)


def told(unit: Unit) -> dict[str, Any]:
    """Run a scenario."""
    result = _result(unit)
    if result.outcome is Outcome.HARNESS_FAILED:
        raise HarnessError(result.reason)
    findings: list[FindingSeen] = []
    bundle = None
    if result.outcome is Outcome.KNOWN:
        findings = [FindingSeen("", "", name) for name in result.reason.split(", ")]
    elif result.outcome is Outcome.DIFFERS:
        bundle = pack(Path(result.evidence))
        reason = followed_by(bundle)
        findings = [] if reason is None else [FindingSeen.of_reason(reason)]
    found = {
        "outcome": result.outcome.value, "reason": result.reason, "states": 0,
        "findings": [plain(finding) for finding in findings],
    }  # fmt: skip
    return found | packed(unit, found, lambda: page_of_story(unit, result), bundle)


def _result(unit: Unit) -> Result:
    spec = unit.spec
    scenario = decode_scenario(spec["scenario"])
    kernel = GridKernel(
        spec["kernel"]["name"], {unit.guest: unit.image}, unit.era, injects=spec["injects"]
    )
    job = Job(scenario=scenario, kernel=kernel, repeat=1, seed=spec["seed"], guest=unit.guest)

    def describe(_job: Job, folder: Path) -> None:
        write_run(folder, unit.facts("scenarios", scenario.needs))

    with opened_results(unit.folder / "results.sqlite") as store:
        (result,) = run_jobs(
            [job], store, store.begin("unit"), unit.folder, guests=1, say=silent,
            describe=describe,
        )  # fmt: skip
    return result
