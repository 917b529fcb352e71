"""Verbs for promises: what they say of a promise that is broken, and what they read off a trace."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import cast

import pytest

from harness.campaign.scenarios.promising import ExpectOnMembers, Promised
from harness.campaign.scenarios.scenario import SMALL, Verb
from harness.campaign.scenarios.stage import STEP, Stage
from harness.crash.trace import (
    Cache,
    Completion,
    Event,
    Flag,
    Issue,
    Mark,
    Operation,
    Trace,
    TraceDisk,
)
from harness.errors import CommandFailed, StepHangs
from harness.md.shape import Shape
from harness.verdict.verdict import Finding, Judgement


@dataclass
class _FakeRig:
    events: tuple[Event, ...] = ()

    def trace(self) -> Trace:
        disks = (*SMALL.member_names, "journal")
        return Trace(
            tuple(TraceDisk(n, 1 << 20, Cache.WRITE_BACK, 512) for n in disks), self.events
        )


@dataclass
class _FakeStage:
    rig: _FakeRig = field(default_factory=_FakeRig)
    shape: Shape = SMALL
    judgements: list[Judgement] = field(default_factory=list)

    def judge(self, judgement: Judgement) -> None:
        self.judgements.append(judgement)

    def require(self, met: bool, what: str, *details: str) -> None:
        self.judge(Judgement(STEP, (what,), () if met else (Finding(STEP, what, details),)))

    @property
    def findings(self) -> list[str]:
        return [f.what for judgement in self.judgements for f in judgement.findings]


@dataclass(frozen=True)
class _Doing(Verb):
    """A step that does one of these."""

    met: bool = True
    error: Exception | None = None

    def do(self, stage: Stage) -> None:
        if self.error is not None:
            raise self.error
        stage.require(self.met, "the sun shines")


def promised(step: Verb) -> _FakeStage:
    stage = _FakeStage()
    stage.judge(Judgement(STEP, ("it",), (Finding(STEP, "it rains"),)))
    Promised("it is fine weather", step).do(cast("Stage", stage))
    return stage


def test_a_promise_that_is_kept_adds_its_judgement_and_no_finding() -> None:
    stage = promised(_Doing())
    assert len(stage.judgements) == 2
    assert stage.findings == ["it rains"]


def test_what_breaks_a_promise_is_said_with_it_and_what_was_before_is_not() -> None:
    assert promised(_Doing(met=False)).findings == [
        "it rains", "promised: it is fine weather: the sun shines",
    ]  # fmt: skip


def test_a_command_that_failed_breaks_the_promise_and_the_story_goes_on() -> None:
    stage = promised(_Doing(error=CommandFailed("guest: write 3 failed\nmore")))
    assert stage.findings[1] == "promised: it is fine weather: guest: write 3 failed"
    assert stage.judgements[1].findings[0].details == ("more",)


def test_a_hang_ends_the_story_with_the_promise_in_its_name() -> None:
    with pytest.raises(StepHangs, match=r"^promised: it is fine weather: a write hangs"):
        promised(_Doing(error=StepHangs("a write hangs\nstack")))


def write(number: int, disk: int) -> tuple[Event, ...]:
    return request(number, disk, Operation.WRITE, b"x" * 4096)


def flush(number: int, disk: int) -> tuple[Event, ...]:
    return request(number, disk, Operation.FLUSH, b"")


def request(number: int, disk: int, operation: Operation, payload: bytes) -> tuple[Event, ...]:
    issue = Issue(2 * number, number, disk, operation, Flag(0), 0, len(payload), payload)
    return issue, Completion(2 * number + 1, number, disk, 0)


BEFORE = (*write(1, 0), *flush(2, 0), Mark(6, "flushed 1"))
TOO_LATE = (*write(1, 0), Mark(4, "flushed 1"), *flush(3, 0))
OF_THE_JOURNAL = (*write(1, 3), Mark(4, "flushed 1"))
LAST_ONE_COUNTS = (*write(1, 1), Mark(4, "flushed 1"), *flush(3, 1), Mark(8, "flushed 2"))


@pytest.mark.parametrize(
    ("events", "cached"),
    [
        pytest.param(BEFORE, [], id="flushed-before"),
        pytest.param(TOO_LATE, [("member0: 1 writes",)], id="flushed-too-late"),
        pytest.param(OF_THE_JOURNAL, [], id="the-journal-does-not-count"),
        pytest.param(LAST_ONE_COUNTS, [], id="the-last-flush-counts"),
    ],
)
def test_what_members_have_in_their_caches_when_a_flush_ends(
    events: tuple[Event, ...], cached: list[tuple[str, ...]]
) -> None:
    stage = _FakeStage(_FakeRig(events))
    ExpectOnMembers().do(cast("Stage", stage))
    assert [f.details for judgement in stage.judgements for f in judgement.findings] == cached
