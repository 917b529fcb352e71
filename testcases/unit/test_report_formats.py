"""JUnit, KTAP and JSON lines of a run, as programs read them that others wrote."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace

import pytest
from junitparser import Error, Failure, JUnitXml, Skipped
from tap.line import Diagnostic, Plan, Result
from tap.parser import Parser

from harness.campaign.reports.jsonl import jsonl_text
from harness.campaign.reports.junit import junit_text
from harness.campaign.reports.ktap import ktap_text
from harness.campaign.reports.model import RunReport, kinds_of
from harness.verdict.verdict import Outcome
from testcases.unit.reported_runs import (
    HOSTILE,
    agrees,
    case,
    differs,
    hostile_run,
    lost_write,
    one_of_each,
    report_of,
)

# JUnit.


def junit_results(report: RunReport) -> dict[tuple[str, str], list[object]]:
    """Return what a reader of JUnit files makes of each case: its results, by suite and name."""
    found: dict[tuple[str, str], list[object]] = {}
    for suite in JUnitXml.fromstring(junit_text(report).encode()):
        for each in suite:
            found[suite.name, each.name] = list(each.result)
    return found


def test_each_red_case_is_a_failure_and_a_lost_guest_an_error() -> None:
    results = junit_results(one_of_each())
    suite = "states, kernel 6.1"
    assert {name: [type(r) for r in results[suite, name]] for _, name in results if _ == suite} == {
        "state 0": [], "state 1": [Failure], "state 2": [Skipped], "state 3": [Error],
        "state 4": [Skipped],
    }  # fmt: skip
    failure = results[suite, "state 1"][0]
    assert isinstance(failure, Failure)
    assert failure.type == "DIFFERS"
    assert failure.message == "array sector 16 holds write 1; write 2 of it was flushed and is gone"
    assert "stripe 16" in str(failure.text)
    assert "repeat: tools/mdjournal explore --state 1" in str(failure.text)


def test_a_known_issue_is_skipped_by_name_and_a_failure_if_strict() -> None:
    (known,) = junit_results(one_of_each())["states, kernel 6.1", "state 2"]
    assert isinstance(known, Skipped)
    assert known.message == "known issue: the-tail-is-early"
    (known,) = junit_results(one_of_each(strict=True))["states, kernel 6.1", "state 2"]
    assert isinstance(known, Failure)


@pytest.mark.parametrize(("strict", "failures", "skipped"), [(False, 1, 2), (True, 2, 1)])
def test_the_counts_of_a_suite_are_those_of_its_cases(
    strict: bool, failures: int, skipped: int
) -> None:
    xml = JUnitXml.fromstring(junit_text(one_of_each(strict=strict)).encode())
    assert (xml.tests, xml.failures, xml.errors, xml.skipped) == (6, failures, 1, skipped)
    first, second = xml
    assert (first.tests, first.failures, first.errors, first.skipped) == (5, failures, 1, skipped)
    assert (second.tests, second.failures, second.errors, second.skipped) == (1, 0, 0, 0)
    assert {p.name: p.value for p in first.properties()  # type: ignore[no-untyped-call]
    } == {
        "command": "tools/mdjournal explore --states 5", "kernel": "6.1",
        "array": "RAID-5, 3 members",
    }  # fmt: skip
    xml.update_statistics()  # type: ignore[no-untyped-call]
    assert (xml.tests, xml.failures, xml.errors, xml.skipped) == (6, failures, 1, skipped)


def test_hostile_text_leaves_the_junit_file_whole() -> None:
    report = hostile_run()
    text = junit_text(report)
    results = junit_results(report)
    assert len(results) == len(report.cases)
    assert re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]", text) is None
    for _, name in results:
        expected = {"DIFFERS": Failure, "KNOWN": Skipped, "HARNESS_FAILED": Error}
        outcome = name.split()[1]
        (told,) = results[_, name]
        assert isinstance(told, expected.get(outcome, Skipped))


# KTAP.


def levels(text: str) -> tuple[list[str], list[list[str]]]:
    """Return the outer lines, and those of each nested test, its indentation taken away."""
    outer: list[str] = []
    nested: list[list[str]] = []
    inside = False
    for line in text.splitlines():
        if line.startswith("  "):
            if not inside:
                nested.append([])
            nested[-1].append(line[2:])
        else:
            outer.append(line)
        inside = line.startswith("  ")
    return outer, nested


def parsed(lines: list[str]) -> Iterator[Plan | Result]:
    """Yield plan and results as a reader of TAP has them; all else must be known to it as well."""
    assert lines[0] == "KTAP version 1"
    assert not any(line.startswith("KTAP") for line in lines[1:])
    for line in Parser().parse_text("\n".join(lines[1:])):
        assert isinstance(line, Plan | Result | Diagnostic), str(line)
        if not isinstance(line, Diagnostic):
            yield line


def test_cases_are_nested_in_their_groups_and_each_level_is_tap() -> None:
    outer, nested = levels(ktap_text(one_of_each()))
    plan, *results = parsed(outer)
    assert isinstance(plan, Plan)
    assert plan.expected_tests == 2
    assert [(r.ok, r.number, r.description) for r in results if isinstance(r, Result)] == [
        (False, 1, "states, kernel 6.1"), (True, 2, "states, kernel 7.3"),
    ]  # fmt: skip
    plan, *results = parsed(nested[0])
    assert isinstance(plan, Plan)
    assert plan.expected_tests == 5
    found = [(r.ok, r.number, r.description, r.skip) for r in results if isinstance(r, Result)]
    assert found == [
        (True, 1, "state 0", False), (False, 2, "state 1", False), (True, 3, "state 2", False),
        (False, 4, "state 3", False), (True, 5, "state 4", True),
    ]  # fmt: skip


def test_directives_are_those_of_the_kernels_document() -> None:
    text = ktap_text(one_of_each())
    assert "  ok 3 state 2 # XFAIL known issue: the-tail-is-early\n" in text
    assert "  not ok 4 state 3 # ERROR guest lost: QEMU ended\n" in text
    assert "  ok 5 state 4 # SKIP md goes on of its own accord\n" in text
    assert "  not ok 3 state 2 # KNOWN: the-tail-is-early\n" in ktap_text(one_of_each(strict=True))


def test_what_is_said_of_a_red_case_stands_before_its_result() -> None:
    lines = ktap_text(one_of_each()).splitlines()
    at = next(n for n, line in enumerate(lines) if line.startswith("  not ok 2 "))
    assert lines[at - 1] == "  # repeat: tools/mdjournal explore --state 1"
    assert lines[at - 2] == "  # stripe 16"


def test_a_group_of_which_nothing_was_run_is_skipped() -> None:
    not_run = differs(lost_write(0), outcome=Outcome.NOT_RUN, reason="not possible there")
    outer, _ = levels(ktap_text(report_of([case(0, not_run)])))
    assert outer[-1] == "ok 1 states, kernel 6.1 # SKIP nothing of it was run"


def test_hostile_text_changes_no_result_of_ktap() -> None:
    report = hostile_run()
    outer, nested = levels(ktap_text(report))
    plan, *results = parsed(outer)
    assert isinstance(plan, Plan)
    assert plan.expected_tests == len(HOSTILE) == len(results) == len(nested)
    assert not any(r.ok or r.skip or r.todo for r in results if isinstance(r, Result))
    for lines in nested:
        plan, *results = parsed(lines)
        found = [r for r in results if isinstance(r, Result)]
        assert len(found) == 4
        assert [r.ok for r in found] == [False, True, False, True]
        assert [bool(r.skip) for r in found] == [False, False, False, True]


# JSON lines.


def test_each_line_is_json_and_the_first_sums_up() -> None:
    first, *rest = [json.loads(line) for line in jsonl_text(one_of_each()).splitlines()]
    assert (first["schema"], first["kind"], first["verdict"]) == (1, "run", "DIFFERS")
    assert first["verdicts"] == {
        "AGREES": 2, "DIFFERS": 1, "KNOWN": 1, "HARNESS_FAILED": 1, "NOT_RUN": 1,
    }  # fmt: skip
    assert [each["name"] for each in rest] == [f"state {n}" for n in (0, 1, 2, 3, 4, 0)]
    assert rest[1]["findings"] == [
        {"oracle": "durability", "details": ["stripe 16"], "facts": {"flushed": 1},
         "what": "array sector 16 holds write 1; write 2 of it was flushed and is gone"}
    ]  # fmt: skip


def test_hostile_text_leaves_json_lines_whole() -> None:
    text = jsonl_text(hostile_run())
    assert text.isascii()
    assert len([json.loads(line) for line in text.split("\n") if line]) == 1 + 4 * len(HOSTILE)
    assert "\\udce9" not in text


# The model.


def test_reds_that_differ_in_figures_alone_are_of_one_kind() -> None:
    report = report_of([case(n, differs(lost_write(8 * n))) for n in range(5)])
    (kind,) = kinds_of(report.cases)
    assert kind.stands_for == 5
    assert kind.name.startswith("durability: array sector N holds")


def test_a_case_counts_for_all_that_it_stands_for() -> None:
    many = replace(case(0, agrees()), stands_for=1000)
    report = report_of([many, case(1, differs(lost_write(8)))])
    assert report.outcomes == {Outcome.AGREES: 1000, Outcome.DIFFERS: 1}
    assert report.outcome is Outcome.DIFFERS


def test_a_run_of_nothing_is_not_green() -> None:
    assert report_of([]).outcome is Outcome.NOT_RUN
