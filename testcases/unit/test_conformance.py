"""Promises of documents: the list, their verdicts, and the page that is made of them."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from harness.campaign.conformance import (
    PROMISES,
    Promise,
    kernels_of,
    read_promises,
    verdict_on,
)
from harness.campaign.known_issues import read_known_issues
from harness.campaign.scenarios.promising import Promised
from harness.campaign.scenarios.results import Result
from harness.campaign.scenarios.scenario import read_scenarios
from harness.errors import BadInput
from harness.verdict.verdict import Outcome
from tools.conformance_page import page_of
from tools.scenarios import CONFORMANCE, FOLDER

HEAD = '[document.man]\ntitle = "md(4)"\nversion = "1.0"\n'
FIRST = (
    '[[promise]]\nid = "C1"\nsays = "It works."\ndocument = "man"\nsection = "NAME"\n'
    'scenarios = ["one", "two"]\n'
)
SECOND = (
    '[[promise]]\nid = "C2"\nsays = "It is\\n fast."\ndocument = "man"\nsection = "NAME"\n'
    'untested = "advice"\nnote = "It is not."\n'
)


def promises_of(tmp_path: Path, text: str) -> tuple[Promise, ...]:
    path = tmp_path / "promises.toml"
    path.write_text(text)
    return read_promises(path, {"one", "two"})


def result(scenario: str, outcome: Outcome, *, kernel: str = "6.1", reason: str = "") -> Result:
    return Result(
        scenario=scenario, kernel=kernel, repeat=1, outcome=outcome, reason=reason, findings=(),
        seconds=1.0, longest_step_s=0.5, evidence="",
    )  # fmt: skip


# The list.


def test_promises_are_read_in_their_order(tmp_path: Path) -> None:
    first, second = promises_of(tmp_path, HEAD + FIRST + SECOND)
    assert (first.name, first.document.title, first.scenarios) == ("C1", "md(4)", ("one", "two"))
    assert (second.says, second.untested, second.note) == ("It is fast.", "advice", "It is not.")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        pytest.param(HEAD + SECOND, "its id is 'C2', wanted 'C1'", id="not-consecutive"),
        pytest.param(HEAD + FIRST + FIRST, "its id is 'C1', wanted 'C2'", id="twice"),
        pytest.param(FIRST, "no document man", id="no-document"),
        pytest.param(
            HEAD + FIRST.replace('"two"', '"three"'), "no scenario is called three", id="scenario"
        ),
        pytest.param(
            HEAD + FIRST.replace('scenarios = ["one", "two"]', ""), "wanted either", id="neither"
        ),
        pytest.param(HEAD + FIRST + 'untested = "why"\n', "wanted either", id="both"),
        pytest.param(HEAD + FIRST + 'verdict = "AGREES"\n', "has verdict", id="unknown-field"),
        pytest.param(HEAD + FIRST.replace('"NAME"', '""'), "lacks section", id="empty-field"),
        pytest.param("promise", "cannot be read", id="no-toml"),
    ],
)
def test_a_list_that_is_wrong_is_refused(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(BadInput, match=says):
        promises_of(tmp_path, text)


def test_every_promise_names_scenarios_that_there_are() -> None:
    names = {scenario.name for scenario in read_scenarios(FOLDER)}
    assert len(read_promises(PROMISES, names)) > 100


# Verdicts.


@pytest.mark.parametrize(
    ("outcomes", "verdict", "not_run"),
    [
        ((Outcome.AGREES, Outcome.AGREES), Outcome.AGREES, 0),
        ((Outcome.AGREES, Outcome.KNOWN), Outcome.KNOWN, 0),
        ((Outcome.DIFFERS, Outcome.KNOWN), Outcome.DIFFERS, 0),
        ((Outcome.AGREES, None), Outcome.NOT_RUN, 1),
        ((None, None), Outcome.NOT_RUN, 2),
        ((Outcome.KNOWN, None), Outcome.KNOWN, 1),
        ((Outcome.HARNESS_FAILED, Outcome.AGREES), Outcome.HARNESS_FAILED, 0),
    ],
)
def test_the_worst_scenario_counts_and_all_must_have_run(
    tmp_path: Path, outcomes: tuple[Outcome | None, ...], verdict: Outcome, not_run: int
) -> None:
    (promise,) = promises_of(tmp_path, HEAD + FIRST)
    results = [
        result(name, outcome)
        for name, outcome in zip(promise.scenarios, outcomes, strict=True)
        if outcome is not None
    ]
    found = verdict_on(promise, "6.1", results)
    assert (found.outcome, found.not_run) == (verdict, not_run)


def test_results_of_other_kernels_and_scenarios_do_not_count(tmp_path: Path) -> None:
    (promise,) = promises_of(tmp_path, HEAD + FIRST)
    results = [
        result("one", Outcome.AGREES), result("two", Outcome.AGREES),
        result("one", Outcome.DIFFERS, kernel="6.12"), result("three", Outcome.DIFFERS),
    ]  # fmt: skip
    assert verdict_on(promise, "6.1", results).outcome is Outcome.AGREES


def test_known_issues_are_named_once_each(tmp_path: Path) -> None:
    (promise,) = promises_of(tmp_path, HEAD + FIRST)
    results = [
        result("one", Outcome.KNOWN, reason="slow, late"),
        result("two", Outcome.KNOWN, reason="late"),
    ]
    assert verdict_on(promise, "6.1", results).reasons == ("slow", "late")


def test_what_breaks_another_promise_of_a_scenario_does_not_count(tmp_path: Path) -> None:
    second = SECOND.replace('untested = "advice"', 'scenarios = ["one"]\nstates = ["it is fast"]')
    promises = first, fast = promises_of(tmp_path, HEAD + FIRST + second)
    finding = ("step", "promised: it is fast: it took 9 s", ())
    red = replace(result("one", Outcome.KNOWN, reason="slow"), findings=(finding,))
    results = [red, result("two", Outcome.AGREES)]
    assert verdict_on(first, "6.1", results, promises).outcome is Outcome.AGREES
    assert verdict_on(fast, "6.1", results, promises).outcome is Outcome.KNOWN
    other = ("step", "it works", ())
    results[0] = replace(red, outcome=Outcome.DIFFERS, findings=(finding, other))
    found = verdict_on(first, "6.1", results, promises)
    assert (found.outcome, found.reasons) == (Outcome.DIFFERS, ("it works",))


def test_states_are_words_of_promised_steps() -> None:
    """Others would never be found, and the promise never be broken by them."""
    scenarios = read_scenarios(FOLDER)
    words = {step.says for s in scenarios for step in s.steps if isinstance(step, Promised)}
    stated = [w for p in read_promises(PROMISES, {s.name for s in scenarios}) for w in p.states]
    assert set(stated) <= words


def test_kernels_are_in_order_of_their_versions() -> None:
    results = [result("one", Outcome.AGREES, kernel=k) for k in ("6.12", "5.10", "7.3", "6.1")]
    assert kernels_of(results) == ["5.10", "6.1", "6.12", "7.3"]


# The page.


def rows_of(page: str) -> list[tuple[str, str]]:
    return re.findall(r"^\| (C\d+) \| (.*?) \| ", page, re.MULTILINE)


def test_page_shows_what_each_kernel_came_to(tmp_path: Path) -> None:
    (issue, *_) = issues = read_known_issues()
    promises = promises_of(tmp_path, f'{HEAD}{FIRST}broken_by = ["{issue.name}"]\n{SECOND}')
    results = [
        result("one", Outcome.KNOWN, reason=issue.name), result("two", Outcome.AGREES),
        result("one", Outcome.AGREES, kernel="6.12"),
    ]  # fmt: skip
    page = page_of(promises, results, issues, {"6.1": "6.1.192-3"})
    assert "| no. | promise | section | scenarios | 6.1 | 6.12 |\n" in page
    assert f"| C1 | It works. | NAME | one, two | KNOWN({issue.name}) | not run |\n" in page
    assert "| C2 | It is fast. | NAME | none: advice |  |  |\n" in page
    assert "| 6.1 | 6.1.192-3 | KNOWN 1 |\n" in page
    broken, _, others = page.partition("## Promises whose test met something else")
    assert "- **C1** (6.1): It works.\n" in broken
    assert " ".join(issue.reason.split()) in broken
    assert "None on the kernels above.\n" in others
    assert "- **C2**: It is not.\n" in page


def test_an_issue_that_is_not_the_breach_of_a_promise_is_told_apart(tmp_path: Path) -> None:
    promises = promises_of(tmp_path, HEAD + FIRST)
    results = [result("one", Outcome.KNOWN, reason="slow"), result("two", Outcome.AGREES)]
    broken, _, others = page_of(promises, results, [], {}).partition("## Promises whose test")
    assert "None on the kernels above.\n" in broken
    assert "- **C1** (6.1): It works.\n  - slow\n" in others


def test_breaches_are_known_issues() -> None:
    names = {scenario.name for scenario in read_scenarios(FOLDER)}
    issues = {issue.name for issue in read_known_issues()}
    assert {name for p in read_promises(PROMISES, names) for name in p.broken_by} <= issues


def test_page_without_results_says_so(tmp_path: Path) -> None:
    page = page_of(promises_of(tmp_path, HEAD + FIRST), [], [], {})
    assert "None on the kernels above.\n" in page


def test_the_page_of_this_project_has_the_promises_of_its_list() -> None:
    """Verdicts change with every run; what is promised changes with the list alone."""
    names = {scenario.name for scenario in read_scenarios(FOLDER)}
    promises = read_promises(PROMISES, names)
    assert rows_of(CONFORMANCE.read_text()) == [(p.name, p.says) for p in promises], (
        "next: tools/mdjournal scenarios conformance"
    )
