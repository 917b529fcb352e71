"""What becomes of a red in a night: it is packed, shown, made smaller, and run on other kernels."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from harness.campaign.exploring.choosing import ExploreOptions
from harness.campaign.exploring.exploration import STORE
from harness.campaign.exploring.store import opened_store
from harness.campaign.fuzzing.campaign import FuzzOptions
from harness.campaign.fuzzing.ground import Ground
from harness.campaign.history.records import FindingSeen
from harness.campaign.known_issues import issues_of_any_kernel
from harness.campaign.reports.exploration_exhibits import (
    exhibits_of_exploration,
    exhibits_of_fuzzing,
    with_exhibits,
)
from harness.campaign.reports.explored import Asked, explored_cases
from harness.campaign.reports.html import html_text
from harness.campaign.reports.model import Case, RunReport
from harness.campaign.reports.told_scenarios import scenario_cases, with_exhibit
from harness.campaign.reproducing.bundle import Bundle
from harness.campaign.reproducing.bundle_json import load_bundle, save_bundle
from harness.campaign.reproducing.judging import Judgement, Standing, judge_kernel
from harness.campaign.reproducing.minimising import Limits, minimise_bundle, size_in_words
from harness.campaign.reproducing.packing import pack, unexplained_reason
from harness.campaign.reproducing.running import Bench
from harness.campaign.scenarios.results import Result
from harness.errors import BadInput, HarnessError
from harness.md.shape import Shape
from harness.verdict.reason import Reason, reasons_of
from harness.verdict.verdict import Outcome
from tools.nightly_told import Unit, plain, silent

_MOST_BYTES = 10 << 20  # of a bundle, and of a page, that is sent
_TRIES = 3  # of a candidate, while a bundle is made smaller
_CONFIDENCE = 0.95  # that a kernel of which no run is red is good
_MOST_RUNS = 12  # of a bundle on a kernel


def packed(
    unit: Unit, found: Mapping[str, Any], page: Callable[[], str], bundle: Bundle | None = None
) -> dict[str, Any]:
    """Return the bundle and the page of a red whose finding has none yet, and its signature.

    Args:
        unit: that has found it.
        found: what the unit came to.
        page: makes the page.
        bundle: of the red, where it is packed already.
    """
    nothing = {"bundle": None, "bundle_of": "", "evidence": None}
    if found["outcome"] != Outcome.DIFFERS.value:
        return nothing
    try:
        bundle = bundle or pack(unit.folder, without=unit.spec["packed"])
    except BadInput:  # reds of which nothing was kept, or which all have a bundle
        return nothing
    signature = str(followed_by(bundle))
    if bundle.verdict.outcome is not Outcome.DIFFERS or signature in unit.spec["packed"]:
        return nothing
    target = unit.folder / "red.mdjr"
    try:
        save_bundle(target, bundle)
    except BadInput:  # larger than a reader takes
        return nothing
    return {
        "bundle": _small(target.read_bytes()), "bundle_of": signature, "evidence": _drawn(page)
    }  # fmt: skip


def _drawn(page: Callable[[], str]) -> bytes | None:
    """Return a page; none where it cannot be drawn, which must not cost the verdict."""
    try:
        return _small(page().encode())
    except Exception:
        return None


def followed_by(bundle: Bundle) -> Reason | None:
    """Return the reason that the finding of a bundle is followed by."""
    story = bundle.scenario.name if bundle.scenario is not None else ""
    kernel = bundle.kernel.told_by
    return unexplained_reason(bundle.verdict, kernel, bundle.shape, story)


def _small(data: bytes) -> bytes | None:
    return data if len(data) <= _MOST_BYTES else None


# Pages


def page_of_exploration(unit: Unit, options: ExploreOptions) -> str:
    """Return what an exploration found, with pictures of one red of each kind."""

    def look(cases: Sequence[Case]) -> Mapping[str, Any]:
        return exhibits_of_exploration(options, unit.folder, cases, guests=1, say=silent)

    return _page_of_store(unit, "explore", look, states="states")


def page_of_fuzzing(unit: Unit, options: FuzzOptions, ground: Ground) -> str:
    """Return what a fuzzing found, likewise."""

    def look(cases: Sequence[Case]) -> Mapping[str, Any]:
        return exhibits_of_fuzzing(options, ground, unit.folder, cases)

    return _page_of_store(unit, "fuzz", look, states="journals")


def _page_of_store(
    unit: Unit, title: str, look: Callable[[Sequence[Case]], Mapping[str, Any]], *, states: str
) -> str:
    repeat = unit.spec["repeat"]
    asked = Asked(
        kernel=unit.spec["kernel"]["release"], folder=unit.folder, repeat_all=repeat,
        repeat=lambda number: f"{repeat} --state {number}", states=states,
        with_recordings=title == "explore",
    )  # fmt: skip
    with opened_store(unit.folder / STORE) as store:
        cases = list(explored_cases(store, asked))
    return _page(unit, title, with_exhibits(cases, look(cases)), unit.shape)


def page_of_story(unit: Unit, result: Result) -> str:
    """Return what a scenario came to, with pictures of its disks."""
    (case,) = scenario_cases([result], lambda _: str(unit.spec["repeat"]))
    case = with_exhibit(replace(case, kernel=unit.spec["kernel"]["release"]), unit.era)
    return _page(unit, "scenarios run", [case], None)


def _page(unit: Unit, title: str, cases: Iterable[Case], shape: Shape | None) -> str:
    kernel, guest = unit.spec["kernel"], unit.spec["guest"]
    facts = {
        "kernel": f"{kernel['release']} ({kernel['version']})",
        "guest": f"{guest['kind']}, mdadm {guest['mdadm']}, on {guest['accelerator'].upper()}",
        "recovery": f"of era {unit.era.name}", "seed": str(unit.spec["seed"]),
    }  # fmt: skip
    # What was kept is gone with the unit's folder: the bundle makes it again.
    shown = tuple(replace(case, evidence=None) for case in cases)
    return html_text(RunReport(
        title=title, command=unit.spec["repeat"], kernels=(kernel["release"],),
        began_s=unit.began, seconds=time.time() - unit.began, cases=shown,
        facts=facts if shape is None else {"array": str(shape), **facts},
    ))  # fmt: skip


# Bundles


def minimised(unit: Unit) -> dict[str, Any]:
    """Reduce a bundle that another unit has sent."""
    bundle = _bundle(unit)
    best, words = bundle, "as it was found: it did not show again"
    limit_s = unit.spec["minimise_s"]
    limits = Limits(limit_s=limit_s, tries=_TRIES, deadline=time.monotonic() + 2 * limit_s)

    def better(each: Bundle) -> None:
        nonlocal best
        best = each

    with contextlib.suppress(BadInput):  # it does not show again: it stays as it is
        best = minimise_bundle(bundle, _bench(unit), limits, better)
        words = size_in_words(best)
    path = unit.folder / "smaller.mdjr"
    save_bundle(path, best)
    return {"bundle": path.read_bytes(), "words": words}


def repeated(unit: Unit) -> dict[str, Any]:
    """Run a finding's bundle on a kernel: is it there as well?"""
    bundle = _bundle(unit)
    judged = judge_kernel(bundle, _bench(unit), confidence=_CONFIDENCE, most_runs=_MOST_RUNS)
    if judged.attempt is None:
        raise HarnessError(judged.why)
    return {
        "outcome": judged.attempt.verdict.outcome.value, "reason": judged.why, "states": 0,
        "findings": [plain(each) for each in _met(unit, bundle, judged)], "bundle": None,
    }  # fmt: skip


def _met(unit: Unit, bundle: Bundle, judged: Judgement) -> list[FindingSeen]:
    """Return for what a bundle was red: its own finding, or whatever else."""
    assert judged.attempt is not None
    verdict = judged.attempt.verdict
    if judged.standing is Standing.BAD and verdict.outcome is Outcome.DIFFERS:
        return [FindingSeen(**unit.spec["finding"])]
    if verdict.outcome not in (Outcome.DIFFERS, Outcome.KNOWN):
        return []
    known = verdict.outcome is Outcome.KNOWN
    every = issues_of_any_kernel(bundle.shape).issues
    return [FindingSeen.of_reason(each) for each in reasons_of(verdict, every, known=known)]


def _bundle(unit: Unit) -> Bundle:
    path = unit.folder / "red.mdjr"
    path.write_bytes(unit.spec["bundle"])
    return load_bundle(path)


def _bench(unit: Unit) -> Bench:
    return Bench(image=unit.image, era=unit.era, say=silent)
