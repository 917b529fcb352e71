"""Minimising tells what it tries, and that its time was over; what it found stays a red one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from types import SimpleNamespace
from typing import cast

import pytest

from harness.campaign.lab import GuestImage
from harness.campaign.reproducing import minimising
from harness.campaign.reproducing.bundle import Bundle, GuestFacts, KernelFacts, Kind
from harness.campaign.reproducing.minimising import Limits, minimise_bundle
from harness.campaign.reproducing.running import Attempt, Bench
from harness.campaign.scenarios.managing import Create, Stop
from harness.campaign.scenarios.scenario import SMALL, Scenario
from harness.campaign.scenarios.writing import Flush, ReadBack
from harness.recovery.era import NEWEST_ERA
from harness.verdict.reason import Reason
from harness.verdict.verdict import Outcome, Verdict

STORY = Bundle(
    kind=Kind.SCENARIO, made_by="a test", shape=SMALL, seed=1, verdict=Verdict(Outcome.DIFFERS),
    kernel=KernelFacts(name="6.1", release="6.1.0", version="6.1.1", identity=""),
    guest=GuestFacts(kind="tiny", accelerator="tcg"), reason=Reason("step", "it is red"),
    scenario=Scenario(claim="a claim", steps=(Create(), Flush(), ReadBack(), Flush(), Stop())),
)  # fmt: skip


@contextmanager
def red_where_it_reads(bundle: Bundle, _bench: Bench) -> Iterator[Callable[[], Attempt]]:
    """Stands in for what runs a bundle: red as long as a step reads back."""
    assert bundle.scenario is not None
    red = any(isinstance(step, ReadBack) for step in bundle.scenario.steps)
    verdict = Verdict(Outcome.DIFFERS if red else Outcome.AGREES)
    yield lambda: Attempt(verdict=verdict, again=red, seconds=0.0)


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setattr(minimising, "runner", red_where_it_reads)
    return []


def bench(said: list[str]) -> Bench:
    image = cast("GuestImage", SimpleNamespace())
    return Bench(image=image, era=NEWEST_ERA, say=said.append, seldom=said.append)


def test_a_story_is_reduced_and_each_try_is_told(said: list[str]) -> None:
    kept: list[Bundle] = []
    found = minimise_bundle(STORY, bench(said), Limits(limit_s=60, tries=2), kept.append)
    assert found.scenario is not None
    assert [type(step) for step in found.scenario.steps] == [Create, ReadBack]
    assert kept[-1] == found
    assert any(line.startswith("trying whether 2 steps are enough") for line in said)
    assert (found.runs.made, found.runs.red) == (1, 1)


def test_that_the_time_is_over_is_told(said: list[str]) -> None:
    found = minimise_bundle(STORY, bench(said), Limits(limit_s=-1, tries=1), lambda _: None)
    assert replace(found, verdict=STORY.verdict) == STORY
    assert said == ["the time is over, and the smallest so far is kept; --time gives more"]
