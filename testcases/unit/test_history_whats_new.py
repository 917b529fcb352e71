"""What is new: each list of a comparison has what it should have, and nothing else."""

from __future__ import annotations

import json
from dataclasses import fields, replace

from harness.campaign.history.history_json import comparison_json
from harness.campaign.history.records import Case, Cell, FindingSeen, Kind, RunView, place_of
from harness.campaign.history.telling import sections_of
from harness.campaign.history.whats_new import Change, Comparison, compare
from harness.verdict.verdict import Outcome
from testcases.unit.made_nights import (
    EXPLORED,
    KERNEL,
    KNOWN,
    NEW,
    OTHER_KERNEL,
    STORY,
    UPGRADED,
    cell,
    night,
)

A, D, K = Outcome.AGREES, Outcome.DIFFERS, Outcome.KNOWN
LOST, NOT_RUN = Outcome.HARNESS_FAILED, Outcome.NOT_RUN
ANOTHER = FindingSeen("durability", "a write was flushed and is gone")


def view(number: int, *cells: Cell, findings: tuple[FindingSeen, ...] | None = None) -> RunView:
    """Return a night; *findings* are those of every cell, or what fits the cell's outcome."""
    fitting = {D: (NEW,), K: (KNOWN,)}
    return RunView(
        run=night(number),
        cells=tuple(replace(each, run=number) for each in cells),
        findings={
            place_of(each): fitting.get(each.outcome, ()) if findings is None else findings
            for each in cells
        },
    )


def story(outcome: Outcome, number: int = 0) -> Cell:
    return cell(number, outcome)


def nights(*outcomes: Outcome | None) -> list[RunView]:
    """Return nights of one story; None: it was not run."""
    return [view(n, *([] if o is None else [story(o)])) for n, o in enumerate(outcomes)]


def new_in(*outcomes: Outcome | None, before: int = -2) -> Comparison:
    """Compare the last of nights with the one before it, or with another one."""
    every = nights(*outcomes)
    return compare(every[before], every[-1], earlier=every[:-1])


LISTS = [
    field.name for field in fields(Comparison)
    if field.name not in ("before", "now", "baseline", "nights", "load", "states")
]  # fmt: skip


def filled(comparison: Comparison) -> set[str]:
    """Return which lists have anything in them."""
    return {name for name in LISTS if getattr(comparison, name)}


def test_nothing_is_new_where_all_is_as_it_was() -> None:
    for outcome in (A, D, K):
        same = new_in(outcome, outcome, outcome)
        assert filled(same) == set()
        assert not same.is_red
    every = nights(A, D)
    assert filled(compare(every[1], every[1], earlier=every[:1])) == set()


def only(changes: tuple[Change, ...]) -> Change:
    (change,) = changes
    return change


def test_what_differs_and_did_not_is_new_red_with_its_findings() -> None:
    found = new_in(A, A, D)
    change = only(found.new_red)
    assert (change.case, change.kernel, change.now, change.before) == (STORY, KERNEL, D, A)
    assert (change.findings, change.before_run) == ((NEW.signature,), 1)
    assert found.is_red
    assert filled(found) == {"new_red", "newly_flaky"}
    assert new_in(K, K, D).is_red


def test_what_was_never_run_and_differs_is_new_red() -> None:
    change = only(new_in(None, None, D).new_red)
    assert (change.before, change.before_run) == (None, None)


def test_what_differed_before_a_night_that_did_not_judge_it_is_not_new() -> None:
    for between in (None, LOST, NOT_RUN):
        assert not new_in(D, between, D).is_red
        assert only(new_in(D, between, A).fixed).before_run == 0
        assert only(new_in(A, between, D).new_red).before_run == 0


def test_another_finding_in_what_differed_already_is_new() -> None:
    before = view(1, story(D))
    now = view(2, story(D), findings=(NEW, KNOWN, ANOTHER))
    change = only(compare(before, now).new_red)
    assert (change.before, change.findings) == (D, (ANOTHER.signature,))
    one_less = compare(now, replace(before, run=night(3)), earlier=[before])
    assert filled(one_less) == {"known_gone"}


def test_what_differs_on_another_kernel_is_new_there() -> None:
    on_both = cell(0, D, kernel=OTHER_KERNEL)
    found = compare(view(1, story(D)), view(2, story(D), on_both))
    assert only(found.new_red).kernel == OTHER_KERNEL


REPEATED = Case(Kind.REPRO, "0123456789ab", NEW.signature)


def test_a_bundle_is_news_on_a_kernel_where_nothing_else_has_met_its_finding() -> None:
    repeated = (cell(0, D, case=REPEATED), cell(0, D, case=REPEATED, kernel=OTHER_KERNEL))
    found = compare(nights(A)[0], view(1, story(D), *repeated))
    assert [(each.case, each.kernel) for each in found.new_red] == [
        (REPEATED, OTHER_KERNEL), (STORY, KERNEL)
    ]  # fmt: skip


def test_a_bundle_of_what_an_earlier_night_has_told_of_is_no_news() -> None:
    found = compare(nights(D)[0], view(1, story(A), cell(0, D, case=REPEATED)))
    assert found.new_red == ()
    assert [each.case for each in found.fixed] == [STORY]
    again = view(2, cell(0, D, case=REPEATED), findings=(NEW, ANOTHER))
    assert [each.case for each in compare(nights(D)[0], again).new_red] == [REPEATED]


def test_an_upgrade_is_the_same_place_and_no_flakiness() -> None:
    found = compare(view(1, story(A)), view(2, cell(0, D, kernel=UPGRADED)))
    assert only(found.new_red).kernel == UPGRADED
    assert filled(found) == {"new_red"}


def test_what_the_baseline_did_not_have_is_told_night_after_night() -> None:
    baseline, *earlier, now = nights(A, D, D, D)
    found = compare(earlier[-1], now, baseline, earlier=earlier)
    change = only(found.new_red)
    assert (change.since_before, change.since_baseline, change.in_baseline) == (False, True, A)
    assert not found.is_red
    assert change.findings == (NEW.signature,)
    before, after = nights(A, A)
    fixed = compare(before, after, baseline=view(9, story(D)))
    assert not only(fixed.fixed).since_before
    assert only(fixed.fixed).since_baseline


def test_what_is_green_again_is_fixed_and_what_is_known_now_is_explained() -> None:
    assert only(new_in(D, D, A).fixed).findings == (NEW.signature,)
    assert filled(new_in(D, D, K)) == {"explained", "known_new"}


def test_what_is_fixed_is_told_by_what_it_was_that_no_issue_explains() -> None:
    before = view(0, story(D), findings=(KNOWN, NEW))
    (fixed,) = compare(before, view(1, story(A))).fixed
    assert fixed.findings == (NEW.signature,)


def test_what_was_not_run_is_told_without_its_shape() -> None:
    before = view(0, cell(0, A, case=EXPLORED), story(A))
    (section,) = sections_of(compare(before, view(1, story(A))))
    assert [(told.head, told.shape) for told in section.told] == [
        ("explore epochs on 6.1: not tried, was AGREES", "")
    ]


def test_what_was_tried_and_has_no_verdict_is_lost() -> None:
    assert filled(new_in(A, A, LOST)) == {"lost"}


def test_what_ran_before_and_is_not_even_tried_is_told() -> None:
    for now in (None, NOT_RUN):
        found = new_in(A, A, now)
        assert filled(found) == {"not_run_any_more"}
        assert only(found.not_run_any_more).before == A
    assert filled(new_in(A, None, None)) == set(), "that was told before"


def test_flaky_is_newly_so_once() -> None:
    assert filled(new_in(A, D, A)) == {"fixed"}, "it was so in the night before already"
    (flaky,) = new_in(K, K, K, A).newly_flaky
    assert (flaky.case, flaky.rate.red, flaky.rate.judged) == (STORY, 3, 4)
    assert only(new_in(A, D, A, D).new_red).flaky
    assert not only(new_in(None, None, D).new_red).flaky


# Known issues


def test_a_known_issue_that_no_case_meets_any_more_is_gone() -> None:
    (gone,) = new_in(*[K] * 20, A).known_gone
    assert (gone.name, gone.kernel, gone.cases) == (KNOWN.known_as, "6.1", (STORY,))
    assert gone.nights == (20, 20)
    # Jeffreys: of 20 in 20, B(20.5, 1.5) / B(20.5, 0.5) = 0.5 / 21 for one miss.
    assert abs(gone.chance - 0.5 / 21) < 1e-9
    (rare,) = new_in(*[A] * 18, K, A).known_gone
    assert rare.chance > 0.9, "it hardly ever shows"


def test_an_issue_is_not_gone_while_a_case_that_met_it_did_not_run() -> None:
    explored = cell(0, K, case=EXPLORED)
    before = view(1, story(K), explored)
    assert compare(before, view(2, story(A))).known_gone == ()
    assert compare(before, view(2, story(A), explored)).known_gone == ()
    assert compare(before, view(2, story(A), cell(0, LOST, case=EXPLORED))).known_gone == ()
    (gone,) = compare(before, view(2, story(A), cell(0, A, case=EXPLORED))).known_gone
    assert gone.cases == (EXPLORED, STORY)


def test_an_issue_is_gone_from_one_kernel_alone() -> None:
    on_both = view(1, story(K), cell(0, K, kernel=OTHER_KERNEL))
    found = compare(on_both, view(2, story(K), cell(0, A, kernel=OTHER_KERNEL)))
    assert [gone.kernel for gone in found.known_gone] == ["7.3"]


def test_an_issue_on_a_kernel_that_never_showed_it_is_new_there() -> None:
    on_both = view(2, story(K), cell(0, K, kernel=OTHER_KERNEL))
    (new,) = compare(view(1, story(K), cell(0, A, kernel=OTHER_KERNEL)), on_both).known_new
    assert (new.name, new.kernel) == (KNOWN.known_as, "7.3")
    assert not new_in(K, A, K).known_new
    assert not new_in(A, K).is_red, "it is explained"


# Slower, and states


def paced(number: int, *paces_s: float) -> RunView:
    cases = (Case(Kind.SCENARIO, f"case-{case}") for case in range(len(paces_s)))
    return view(
        number,
        *(cell(0, case=case, pace_s=pace) for case, pace in zip(cases, paces_s, strict=True)),
    )


def test_what_is_slower_than_usual_is_told_and_a_busy_night_is_not() -> None:
    earlier = [paced(n, 10 + n % 3 / 10, 20 + n % 4 / 5, 5, 30) for n in range(12)]
    found = compare(earlier[-1], paced(12, 10, 40, 5, 30), earlier=earlier)
    (slower,) = found.slower
    assert slower.case.name == "case-1"
    assert 1.9 < slower.slower.ratio < 2.0
    assert abs(found.load - 1) < 0.02
    busy = compare(earlier[-1], paced(12, 15, 30, 7.5, 45), earlier=earlier)
    assert busy.slower == ()
    assert 1.45 < busy.load < 1.52


def test_states_are_summed_by_kernel() -> None:
    before = view(1, cell(0, states=100), cell(0, case=EXPLORED, states=50))
    now = view(2, cell(0, states=70), cell(0, kernel=OTHER_KERNEL, states=7))
    states = compare(before, now).states
    assert [(each.kernel, each.now, each.before) for each in states] == [
        ("6.1", 70, 150), ("7.3", 7, 0)
    ]  # fmt: skip


def test_a_comparison_is_json_by_the_names_of_its_fields() -> None:
    document = json.loads(json.dumps(comparison_json(new_in(A, K, D))))
    assert {field.name for field in fields(Comparison)} | {"schema", "is_red"} == set(document)
    (red,) = document["new_red"]
    assert red["case"] == {"kind": "scenario", "name": "a-member-fails", "shape": ""}
    assert (red["now"], red["before"], red["kernel"]["version"]) == (
        "DIFFERS", "KNOWN", "6.1.192-2"
    )  # fmt: skip
    assert document["is_red"]
