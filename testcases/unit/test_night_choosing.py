"""What comes next in a night: where most is found first, and nothing for which there is no time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from harness.campaign.history.records import Case, Kind, Place
from harness.campaign.nights.choosing import (
    GUESS_S,
    MARGIN,
    Chooser,
    Past,
    Work,
    number_of,
    part_of,
)
from harness.verdict.verdict import Outcome
from testcases.unit.made_nights import EXPLORED, KERNEL, OTHER_KERNEL, STORY, cell

LONG_S = 10_000.0
OLD, NEW = KERNEL.name, OTHER_KERNEL.name


def a_work(name: str, kernel: str = OLD, *, most: int = 0, states: int = 100) -> Work:
    case = Case(Kind.EXPLORE, name)
    return Work(case=case, kernel=kernel, line=None, most=most, states=states)


A, B, C = a_work("a"), a_work("b"), a_work("c")
ON_NEW = a_work("a", NEW)


def order(
    works: list[Work], past: Past | None = None, *, count: int = 99,
    done: Iterable[tuple[Place, int]] = (),
) -> list[tuple[str, str, int]]:  # fmt: skip
    chooser = Chooser(works, past or Past(), done)
    found: list[tuple[str, str, int]] = []
    while len(found) < count and (given := chooser.next(LONG_S)) is not None:
        work, number = given
        found.append((work.case.name, work.kernel, number))
    return found


def test_everything_comes_once_before_anything_comes_twice() -> None:
    assert order([A, B, C], count=7) == [
        ("a", OLD, 0), ("b", OLD, 0), ("c", OLD, 0),
        ("a", OLD, 1), ("b", OLD, 1), ("c", OLD, 1), ("a", OLD, 2),
    ]  # fmt: skip


def test_a_new_kernel_is_first_then_what_was_red_then_what_was_covered_least() -> None:
    past = Past(
        states=Counter({A.place: 500, B.place: 100, C.place: 300}), red={C.place},
        new_kernels=frozenset({NEW}),
    )  # fmt: skip
    assert order([A, B, C, ON_NEW], past, count=5) == [
        ("a", NEW, 0), ("c", OLD, 0), ("b", OLD, 0), ("a", OLD, 0), ("a", NEW, 1),
    ]  # fmt: skip


def test_a_line_has_at_most_its_units() -> None:
    few = a_work("few", most=2)
    assert order([few, a_work("one", most=1)]) == [
        ("few", OLD, 0), ("one", OLD, 0), ("few", OLD, 1),
    ]  # fmt: skip


def test_an_interrupted_night_goes_on_with_what_is_not_done() -> None:
    few = a_work("few", most=4)
    assert order([few], done=[(few.place, 0), (few.place, 2)]) == [
        ("few", OLD, 1), ("few", OLD, 3),
    ]  # fmt: skip


def test_what_is_done_counts_for_the_round() -> None:
    assert order([A, B], done=[(A.place, 0)], count=2) == [("b", OLD, 0), ("a", OLD, 1)]


def test_a_part_is_named_for_its_seed() -> None:
    assert part_of(0) == "unit 1"
    assert all(number_of(part_of(number)) == number for number in range(50))


def test_a_unit_is_begun_only_with_time_for_it_and_a_margin() -> None:
    chooser = Chooser([A], Past())
    assert chooser.next(GUESS_S * MARGIN) is None
    assert chooser.next(GUESS_S * MARGIN + 0.1) is not None


def test_what_takes_less_is_taken_when_little_time_is_left() -> None:
    past = Past(pace_s={A.place: 1.0, B.place: 0.01})
    chooser = Chooser([A, B], past)
    assert chooser.estimate_s(A) == 100.0
    given = chooser.next(50.0)
    assert given is not None
    assert given[0] is B


def test_a_unit_is_expected_to_take_what_one_took_tonight_at_most() -> None:
    chooser = Chooser([A], Past(pace_s={A.place: 1.0}))
    chooser.took(A, 20.0)
    assert chooser.estimate_s(A) == 20.0
    chooser.took(A, 60.0)
    chooser.took(A, 30.0)
    assert chooser.estimate_s(A) == 60.0


def test_a_scenario_is_expected_to_take_its_usual_time() -> None:
    story = a_work("story", states=0)
    assert Chooser([story], Past(pace_s={story.place: 7.0})).estimate_s(story) == 7.0


def test_the_past_is_what_cells_of_nights_before_come_to() -> None:
    cells = [
        cell(1, case=EXPLORED, states=300), cell(2, case=EXPLORED, states=200),
        cell(2, Outcome.DIFFERS), cell(2, Outcome.KNOWN, kernel=OTHER_KERNEL),
    ]  # fmt: skip
    past = Past.of(cells, {(STORY, OLD): 3.0}, {NEW})
    assert past.states[EXPLORED, OLD] == 502  # a unit counts as well: scenarios have no states
    assert past.red == {(STORY, OLD)}  # a known issue is no reason to hurry
    assert past.new_kernels == {NEW}
    assert past.pace_s == {(STORY, OLD): 3.0}
