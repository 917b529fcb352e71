"""Scenarios as files: those that are there, those that strangers write, the template."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness.campaign.known_issues import known_issues_of, read_known_issues
from harness.campaign.scenarios.scenario import SMALL, Oracle, read_scenarios
from harness.errors import BadInput
from tools import scenarios as command
from tools.cli import run


def test_there_are_many_sequences_and_each_scenario_is_a_claim_of_its_own() -> None:
    every = read_scenarios(command.FOLDER)
    assert len({scenario.sequence for scenario in every}) >= 60
    assert len({scenario.claim for scenario in every}) == len(every)


def test_an_oracle_is_left_out_with_a_reason_alone() -> None:
    for scenario in read_scenarios(command.FOLDER):
        assert scenario.why or set(scenario.oracles) == set(Oracle), scenario.name


def test_known_issues_speak_of_scenarios_that_exist() -> None:
    names = {scenario.name for scenario in read_scenarios(command.FOLDER)}
    for issue in read_known_issues():
        assert set(issue.scenarios) <= names, issue.name


def test_an_issue_of_some_scenarios_explains_nothing_elsewhere() -> None:
    def listed(scenario: str) -> set[str]:
        issues = known_issues_of("6.1.192", SMALL, scenario=scenario).issues
        return {issue.name for issue in issues}

    name = "one-bad-sector-in-the-log-does-not-silently-end-it"
    assert "bad-sector-ends-the-log" in listed(name)
    assert "bad-sector-ends-the-log" not in listed("a-clean-array-stops-and-comes-back")
    assert "bad-sector-ends-the-log" not in listed("")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(command, "FOLDER", tmp_path)
    return tmp_path


def test_the_template_is_a_scenario(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["scenarios", "new", "my-first-story"]) == 0
    assert str(folder / "my_first_story.py") in capsys.readouterr().out
    (scenario,) = read_scenarios(folder)
    assert scenario.name == "my-first-story"
    assert scenario.sequence == "write, flush, stop, assemble, read back, check"


def test_nothing_is_written_over(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "mine.py").write_text("SCENARIOS = ()\n")
    assert run(["scenarios", "new", "mine"]) == 2
    assert (folder / "mine.py").read_text() == "SCENARIOS = ()\n"
    assert "is there already" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["../mine", "9lives", "a b", ""])
def test_a_name_that_is_none_is_refused(folder: Path, name: str) -> None:
    assert run(["scenarios", "new", name]) == 2
    assert not list(folder.iterdir())


HEAD = "from harness.campaign.scenarios.verbs import Scenario, Stop\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "has no SCENARIOS"),
        ("SCENARIOS = 5\n", "has no SCENARIOS"),
        ("import nothing_of_that_name\n", "ModuleNotFoundError"),
        ("SCENARIOS = (\n", "SyntaxError"),
        (HEAD + 'SCENARIOS = (Scenario(claim="A Claim!", steps=(Stop(),)),)\n', "plain lower-case"),
        (HEAD + 'SCENARIOS = (Scenario(claim="one", steps=(Stop(),)),) * 2\n', "there is a"),
    ],
)
def test_a_file_that_is_wrong_is_told_by_its_name(folder: Path, text: str, said: str) -> None:
    (folder / "strange.py").write_text(text)
    with pytest.raises(BadInput) as error:
        read_scenarios(folder)
    assert "strange.py" in str(error.value)
    assert said in str(error.value)
    assert len(str(error.value).splitlines()) <= 2


def test_the_list_is_a_line_each(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["scenarios", "list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    every = read_scenarios(command.FOLDER)
    assert [line.split()[0] for line in lines] == [scenario.name for scenario in every]
    assert run(["scenarios", "list", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["scenarios"]
    assert [row["claim"] for row in rows] == [scenario.claim for scenario in every]


def test_every_verb_that_scenarios_use_is_on_the_list(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["scenarios", "verbs"]) == 0
    lines = capsys.readouterr().out.splitlines()
    named = {line.partition("(")[0] for line in lines if not line.startswith(" ")}
    used = {type(step).__name__ for each in read_scenarios(command.FOLDER) for step in each.steps}
    assert used <= named
    assert "Assemble(without=(), options='', refused='', or_ends=False, says='')" in lines


def test_a_scenario_of_no_name_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["scenarios", "run", "nobody-wrote-this"]) == 2
    assert "scenarios list" in capsys.readouterr().err
