"""What an exploration comes to: each state as red as the reddest that is said of it."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from harness.campaign.exploring.exploration import STORE
from harness.campaign.exploring.store import (
    ChildRecord,
    ClassRecord,
    RecordingRecord,
    StateRecord,
    opened_store,
)
from harness.errors import EXIT_AGREES, EXIT_DIFFERS, EXIT_LOST
from harness.verdict.verdict import Finding, Judgement, Outcome, Verdict, verdict_of
from tools.cli import run
from tools.explore_report import _coverage_lines, red_lines
from tools.explore_summary import Summary, exit_status, summarise


def judged(oracle: str, *, red: bool = False) -> Verdict:
    findings = (Finding(oracle, f"{oracle} objects"),) if red else ()
    return verdict_of((Judgement(oracle, ("all",), findings),))


GREEN = Verdict(Outcome.AGREES)
KNOWN = Verdict(Outcome.KNOWN, judged("redundancy", red=True).judgements, "some-issue")


def state(
    number: int, identity: bytes, verdict: Verdict = GREEN, recording: int = 0
) -> StateRecord:
    return StateRecord(
        number=number, recording=recording, cut=9, lost_writes=1, torn_writes=0,
        identity=identity, verdict=verdict,
    )  # fmt: skip


@pytest.fixture
def summary(tmp_path: Path) -> Summary:
    with opened_store(tmp_path / STORE) as store:
        for number, name in enumerate(["flush, block (write-back)", "block (write-through)"]):
            store.add_recording(
                RecordingRecord(
                    number=number, name=name, events=20, writes=2, verdict=judged("write ordering")
                )
            )
        store.add_states(
            [state(0, b"a"), state(1, b"a"), state(2, b"b", KNOWN), state(3, b"b", recording=1)]
        )
        store.add_states([state(4, b"c", judged("durability", red=True), recording=1)])
        green = ClassRecord(identity=b"a", leader=0, verdict=judged("alive"), seconds=1.0)
        red = ClassRecord(identity=b"b", leader=2, verdict=judged("alive", red=True), seconds=0.5)
        store.add_class(green, complete=False)
        store.add_class(red, complete=True)
        store.add_children(
            b"a",
            [
                ChildRecord(parent=0, number=0, cut=5, identity=b"a", verdict=GREEN),
                ChildRecord(
                    parent=0, number=1, cut=6, identity=b"d",
                    verdict=judged("interrupted recovery", red=True),
                ),
            ],
        )  # fmt: skip
    return summarise(tmp_path, journaled=True)


def test_states_are_as_red_as_the_reddest_that_is_said_of_them(summary: Summary) -> None:
    assert summary.states == 5
    assert summary.outcomes == {Outcome.AGREES: 2, Outcome.DIFFERS: 3}
    assert (summary.classes, summary.largest_class, summary.children) == (2, 2, 2)
    assert summary.guest_s == 1.5


def test_every_oracle_is_counted_by_what_it_looked_at(summary: Summary) -> None:
    counts = {key: (each.judged, each.objected) for key, each in summary.oracles.items()}
    assert counts["write ordering", "traces"] == (2, 0)
    assert counts["durability", "states"] == (5, 1)
    assert counts["redundancy", "states"] == (5, 1)
    assert counts["alive", "recoveries"] == (2, 1)
    assert counts["interrupted recovery", "interruptions"] == (2, 1)


def test_a_red_interruption_makes_the_exit_status_red(summary: Summary) -> None:
    """It stands for no state of its own, so it must count where traces do."""
    assert summary.others[Outcome.DIFFERS] == 1
    assert exit_status(replace(summary, outcomes=Counter()), strict=False) == EXIT_DIFFERS


@pytest.mark.parametrize(
    ("outcomes", "strict", "status"),
    [
        ("AGREES", True, EXIT_AGREES), ("AGREES KNOWN", False, EXIT_AGREES),
        ("AGREES KNOWN", True, EXIT_DIFFERS), ("AGREES NOT_RUN", True, EXIT_AGREES),
        ("NOT_RUN", False, EXIT_LOST), ("NOT_RUN DIFFERS", False, EXIT_DIFFERS),
    ],
)  # fmt: skip
def test_what_could_not_be_judged_at_all_is_not_green(
    summary: Summary, outcomes: str, strict: bool, status: int
) -> None:
    """Some states that cannot be told beside others are counted, and that is all."""
    found = Counter(Outcome(name) for name in outcomes.split())
    assert exit_status(replace(summary, outcomes=found, others=Counter()), strict=strict) == status


def test_what_is_alike_is_told_together_the_unexplained_first(summary: Summary) -> None:
    lines = list(red_lines(summary))
    heads = [line.split(":")[0] for line in lines if not line.startswith(" ")]
    assert heads == [
        "DIFFERS    durability", "DIFFERS    alive", "DIFFERS    interrupted recovery",
        "KNOWN      some-issue",
    ]  # fmt: skip
    assert any("alive: 2 states, the first is state 2" in line for line in lines)
    assert any("the first is state 0.1" in line for line in lines)


def test_coverage_counts_operations_first_and_later_in_each_mode(summary: Summary) -> None:
    table = {line[11:28].strip(): line[28:].split() for line in _coverage_lines(summary)}
    # first and later in write-through, first and later in write-back, states, recovered, red
    assert table["block"] == ["1", "0", "0", "1", "5", "2", "3"]
    assert table["flush"] == ["0", "0", "1", "0", "3", "2", "1"]
    assert table["discard"] == ["0"] * 7


def test_one_state_alone(tmp_path: Path, summary: Summary) -> None:
    alone = summarise(tmp_path, journaled=True, only=2)
    assert (alone.states, alone.classes) == (1, 1)
    assert summary.states == 5


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--lying-disk", "member9"], "--lying-disk member9: no such disk; there are: member0"),
        (["--no-journal", "--exhaustive", "1"], "--exhaustive: journals fail in it"),
        (["--oracles", "chek"], "wanted NAME or NAME=SHARE of check"),
        (["--exhaustive", "4"], "is not in the range 1<=x<=3"),
        (["--members", "2"], "--members 2: RAID-5 here takes 3 to 16"),
    ],
)
def test_misuse_is_refused_before_any_guest_is_started(
    options: list[str], said: str, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    def no_kernel(*_: object, **__: object) -> None:
        raise AssertionError("a kernel was asked for")

    monkeypatch.setattr("tools.explore.find_kernel", no_kernel)
    assert run(["explore", *options]) == 2
    assert said in capsys.readouterr().err
