"""What commands have written down becomes cases: each state, each story, nothing lost."""

from __future__ import annotations

from pathlib import Path

from harness.campaign.exploring.exploration import STORE
from harness.campaign.exploring.store import (
    ChildRecord,
    ClassRecord,
    RecordingRecord,
    opened_store,
)
from harness.campaign.reports.explored import Asked, both, explored_cases
from harness.campaign.reports.model import Case
from harness.campaign.reports.told_scenarios import scenario_cases, with_exhibit
from harness.campaign.scenarios.results import Result
from harness.recovery.era import NEWEST_ERA
from harness.verdict.verdict import Outcome, Verdict
from testcases.unit.test_explore_summary import GREEN, KNOWN, judged, state

RED = judged("durability", red=True)


def cases_in(folder: Path, *, recordings: int = 1, only: int | None = None) -> list[Case]:
    with opened_store(folder / STORE) as store:
        for number in range(recordings):
            store.add_recording(
                RecordingRecord(
                    number=number, name=f"flush {number}", events=9, writes=1, verdict=GREEN
                )
            )
        store.add_states([state(0, b"a"), state(1, b"a"), state(2, b"b", KNOWN), state(3, b"c")])
        hangs = judged("alive", red=True)
        for leader, (identity, verdict) in enumerate([(b"a", GREEN), (b"b", hangs)]):
            store.add_class(
                ClassRecord(identity=identity, leader=2 * leader, verdict=verdict, seconds=0.5),
                complete=True,
            )
        store.add_children(
            b"a", [ChildRecord(parent=0, number=3, cut=5, identity=b"a", verdict=RED)]
        )
        asked = Asked(
            kernel="6.1", folder=folder, repeat=lambda number: f"explore --state {number}",
            repeat_all="explore", only=only,
        )  # fmt: skip
        return list(explored_cases(store, asked))


def test_an_exploration_has_a_case_for_each_recording_state_and_interruption(
    tmp_path: Path,
) -> None:
    (tmp_path / "state-2").mkdir()
    cases = cases_in(tmp_path)
    assert [(c.group, c.name, c.verdict.outcome.value) for c in cases] == [
        ("recordings", "recording flush 0", "AGREES"),
        ("states", "state 0", "AGREES"), ("states", "state 1", "AGREES"),
        ("states", "state 2", "DIFFERS"), ("states", "state 3", "AGREES"),
        ("interrupted recoveries", "state 0.3", "DIFFERS"),
    ]  # fmt: skip
    assert [case.seconds for case in cases if case.group == "states"] == [0.5, 0.0, 0.5, 0.0]
    assert cases[3].evidence == tmp_path / "state-2"
    assert cases[3].repeat == "explore --state 2"
    assert {f.oracle for f in cases[3].verdict.findings} == {"alive", "redundancy"}


def test_states_of_several_recordings_are_of_as_many_groups(tmp_path: Path) -> None:
    groups = {case.group for case in cases_in(tmp_path, recordings=2) if "states" in case.group}
    assert groups == {"states of flush 0"}


def test_one_state_alone_is_reported_alone(tmp_path: Path) -> None:
    names = [case.name for case in cases_in(tmp_path, only=0)]
    assert names == ["recording flush 0", "state 0", "state 0.3"]


def test_two_verdicts_about_one_thing_are_as_red_as_the_redder() -> None:
    other = Verdict(Outcome.KNOWN, RED.judgements, "another-issue")
    assert both(GREEN, None) is GREEN
    assert both(GREEN, RED) is RED
    assert both(RED, GREEN) is RED
    assert both(KNOWN, RED).outcome is both(RED, KNOWN).outcome is Outcome.DIFFERS
    assert both(KNOWN, RED).reason == RED.reason
    assert both(KNOWN, other).reason == "some-issue, another-issue"


def result(name: str, outcome: Outcome, *, repeat: int = 1, evidence: str = "") -> Result:
    findings = (("alive", "hangs", ("r5l_start",)), ("step", "fails", ()), ("alive", "BUG", ()))
    red = outcome is not Outcome.AGREES
    return Result(
        scenario=name, kernel="6.1", repeat=repeat, outcome=outcome, reason="hangs" if red else "",
        findings=findings if red else (), seconds=2.0, longest_step_s=1.0, evidence=evidence,
    )  # fmt: skip


def test_each_story_is_a_case_with_what_was_found_by_its_oracle() -> None:
    results = [result("b", Outcome.DIFFERS, repeat=2), result("a", Outcome.AGREES)]
    first, second = scenario_cases(results, lambda r: f"run {r.scenario} {r.repeat}")
    assert (first.name, first.verdict.outcome) == ("a", Outcome.AGREES)
    assert (second.name, second.repeat, second.seconds) == ("b, repeat 2", "run b 2", 2.0)
    assert [(j.oracle, len(j.findings)) for j in second.verdict.judgements] == [
        ("alive", 2), ("step", 1),
    ]  # fmt: skip


def test_a_story_that_hangs_shows_where(tmp_path: Path) -> None:
    (tmp_path / "hang.txt").write_text(
        "/proc/mdstat:\n    md0\n/proc/9/task/9 md0_raid5 S:\n    md_thread\n"
        "/proc/77/task/77 mdadm D:\n    r5l_start\n"
    )
    (tmp_path / "dmesg.txt").write_text("md/raid:md0: recovering\n")
    (tmp_path / "live").mkdir()
    (tmp_path / "live/trace-0.mdjtrace").write_bytes(b"damaged")
    red = result("a", Outcome.DIFFERS, evidence=str(tmp_path))
    (case,) = scenario_cases([red], lambda _: "")
    exhibit = with_exhibit(case, NEWEST_ERA).exhibit
    assert exhibit is not None
    assert exhibit.stacks == (
        "/proc/77/task/77 mdadm D:", "    r5l_start", "/proc/9/task/9 md0_raid5 S:",
        "    md_thread", "/proc/mdstat:", "    md0",
    )  # fmt: skip
    assert [line.telling for line in exhibit.kernel_log] == ["md"]
    assert exhibit.timeline is None


def test_a_story_is_shown_by_what_its_last_guest_left(tmp_path: Path) -> None:
    live = tmp_path / "live"
    live.mkdir()
    for name in ("journal", "journal-1", "journal-2", "journal-10"):
        (live / f"{name}.img").write_bytes(name.encode())
    red = result("a", Outcome.DIFFERS, evidence=str(tmp_path))
    (case,) = scenario_cases([red], lambda _: "")
    exhibit = with_exhibit(case, NEWEST_ERA).exhibit
    assert exhibit is not None
    assert "journal-10.img" in exhibit.remarks[0]
