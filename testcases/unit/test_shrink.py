"""Delta debugging ends with parts of which none can be left out, and workloads come apart whole."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Sequence
from dataclasses import replace

import pytest

from harness.crash.pattern import Fill
from harness.crash.shrink import atoms_of, minimise, workload_of_atoms
from harness.crash.workload import (
    Area,
    FailJournal,
    FailMember,
    FlushStep,
    JournalMode,
    Restart,
    StopArray,
    SwitchMode,
    Workload,
    Write,
    WriteKind,
    WriteStep,
    random_workload,
)
from harness.crash.workload_json import decode_workload, encode_workload
from harness.errors import BadInput
from harness.ondisk.units import ArraySector
from harness.verdict.known import KnownIssue, with_known_issues
from harness.verdict.reason import Reason, few_of_each_kind, reasons_of
from harness.verdict.verdict import Finding, Judgement, Verdict, verdict_of


@pytest.mark.parametrize("seed", range(20))
def test_what_is_needed_is_left_and_nothing_else(seed: int) -> None:
    draw = random.Random(seed)
    parts = list(range(draw.randrange(1, 60)))
    needed = set(draw.sample(parts, draw.randrange(min(len(parts), 5) + 1)))
    asked = 0

    def still_does(some: Sequence[int]) -> bool:
        nonlocal asked
        asked += 1
        return needed <= set(some)

    assert list(minimise(parts, still_does)) == sorted(needed)
    assert asked < 30 * (len(needed) + 1) + len(parts)


def test_where_nothing_can_go_nothing_goes() -> None:
    parts = [1, 2, 3, 4, 5]
    assert minimise(parts, lambda some: len(some) == 5) == parts
    assert minimise([], lambda _: True) == []


def test_no_single_part_of_the_end_can_be_left_out_though_the_question_is_odd() -> None:
    """The answer does not grow with the parts: an even number of them will do."""
    left = list(minimise(list(range(31)), lambda some: len(some) % 2 == 0 and 17 in some))
    assert 17 in left
    assert len(left) % 2 == 0


def test_a_workload_taken_apart_and_put_together_is_the_same() -> None:
    area = Area(32, 2, 32768)
    drawn = random_workload(area, seed=5, steps=9)
    atoms = atoms_of(drawn.steps)
    whole, alone = workload_of_atoms(atoms, replace(drawn, steps=()))
    assert whole == alone == drawn
    flushes = sum(isinstance(step, FlushStep) for step in drawn.steps)
    assert len(atoms) == len(drawn.writes) + flushes


def test_what_is_left_is_numbered_anew_behind_what_came_before() -> None:
    burst = WriteStep(tuple(Write(n, ArraySector(8 * n), 8) for n in (2, 3, 4)))
    before = Workload(1, (WriteStep((Write(1, ArraySector(0), 8),)), FlushStep()), Fill.PLAIN)
    atoms = atoms_of([burst, FlushStep(), burst])
    whole, alone = workload_of_atoms([atoms[0], atoms[2], atoms[5]], before)
    assert [w.number for w in whole.writes] == [1, 2, 3, 4]
    first, second = alone.steps
    assert isinstance(first, WriteStep)
    assert isinstance(second, WriteStep)
    assert [w.sector for w in first.writes] == [16, 32]
    assert [w.sector for w in second.writes] == [24], "another burst stays another one"


def test_every_kind_of_step_is_written_down_and_read_again() -> None:
    writes = (
        Write(1, ArraySector(8), 8, WriteKind.ZEROES), Write(2, ArraySector(16), 3, fua=True)
    )  # fmt: skip
    workload = Workload(
        9,
        (
            WriteStep(writes), FlushStep(), SwitchMode(JournalMode.WRITE_BACK), FailMember(2),
            FailJournal(), Restart(), StopArray(),
        ),
        Fill.PLAIN,
    )  # fmt: skip
    assert decode_workload(json.loads(json.dumps(encode_workload(workload)))) == workload


@pytest.mark.parametrize(
    "document", [{}, {"seed": 1, "fill": "plain", "steps": [{"do": "dance"}]},
                 {"seed": 1, "fill": "plain", "steps": [{"do": "write", "writes": [[1]]}]}],
)  # fmt: skip
def test_what_is_no_workload_is_refused(document: dict[str, object]) -> None:
    with pytest.raises(BadInput, match="this is no workload"):
        decode_workload(document)


# For the same reason.

ISSUES = tuple(
    KnownIssue(
        name=name, oracle="durability", says=re.compile("is gone"), facts={"named": named},
        kernels=(), shape={}, expected={}, reason="",
    )
    for named, name in ((1, "a-b"), (2, "c-d"))
)  # fmt: skip


def red(*findings: Finding) -> Verdict:
    return verdict_of((Judgement("durability", ("all",), findings),))


def test_figures_and_what_is_held_instead_make_no_other_reason() -> None:
    one = Finding(
        "durability", "array sector 8 holds zeroes; write 2 of it was flushed and is gone"
    )
    two = Finding(
        "durability",
        "array sector 99 holds write 1 of array sector 99 (seed 3); write 7 of it was flushed and"
        " is gone",
    )
    other = Finding(
        "atomicity", "array sector 8 holds zeroes; write 2 of it was flushed and is gone"
    )
    (reason,) = reasons_of(red(one), (), known=False)
    assert reason.is_met_by(red(two), ())
    assert reason.is_met_by(red(other, two), ()), "among others"
    assert not reason.is_met_by(red(other), ())
    assert not reason.is_met_by(verdict_of((Judgement("durability", ("all",)),)), ())


def test_two_lines_of_a_source_file_are_two_reasons() -> None:
    at = "the kernel complains: kernel BUG at drivers/md/raid5-cache.c:{}!"
    (reason,) = reasons_of(red(Finding("alive", at.format(453))), (), known=False)
    assert reason.is_met_by(red(Finding("alive", at.format(453))), ())
    assert not reason.is_met_by(red(Finding("alive", at.format(454))), ())


def test_what_no_issue_explains_is_not_shrunk_to_what_one_does() -> None:
    known = Finding("durability", "write 2 of it was flushed and is gone", facts={"named": 1})
    unknown = replace(known, facts={"named": 0})
    (reason,) = reasons_of(red(known, unknown), ISSUES, known=False)
    assert reason.is_met_by(red(unknown), ISSUES)
    assert not reason.is_met_by(red(known), ISSUES)


def test_few_of_each_kind_are_kept_and_none_hides_another() -> None:
    known = [Finding("durability", f"write {n} is gone", facts={"named": 1}) for n in range(9)]
    last = Finding("durability", "write 9 is gone", facts={"named": 0})
    assert few_of_each_kind([*known, last], 2) == (*known[:2], last)


def test_a_known_red_has_each_of_its_issues_for_a_reason() -> None:
    findings = (Finding("durability", "x is gone", facts={"named": n}) for n in (1, 2))
    verdict = with_known_issues(red(*findings), ISSUES)
    reasons = reasons_of(verdict, ISSUES, known=True)
    assert [str(reason) for reason in reasons] == ["a-b", "c-d"] == verdict.reason.split(", ")
    assert all(reason.is_met_by(verdict, ISSUES) for reason in reasons)
    assert not Reason("durability", "", "b").is_met_by(verdict, ISSUES)
