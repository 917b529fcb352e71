"""`--junit`, `--ktap`, `--jsonl`, `--html`: refused early, written whole, whatever the verdict."""

from __future__ import annotations

import json
import re
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from harness.errors import BadInput, GuestLost
from testcases.unit.reported_runs import one_of_each
from tools.cli import run
from tools.crash import crash
from tools.explore import explore_command
from tools.fuzz import fuzz_command
from tools.report_files import FORMATS, ReportFiles
from tools.report_options import report_options
from tools.run_reports import failure_reported
from tools.scenarios import run_scenarios
from tools.typed_command import typed_command


@click.command()
@click.option("--red", is_flag=True)
@report_options
def judging(*, reports: ReportFiles, red: bool) -> int:
    """Judge something."""
    click.echo("begins")
    reports.write(one_of_each())
    return 1 if red else 0


@pytest.mark.parametrize("command", [crash, explore_command, fuzz_command, run_scenarios])
def test_every_command_that_judges_has_the_options(command: click.Command) -> None:
    names = {name for each in command.params for name in each.opts}
    assert {"--junit", "--ktap", "--jsonl", "--html"} <= names


def test_files_are_written_whole_and_the_exit_status_stays(tmp_path: Path) -> None:
    targets = {name: tmp_path / f"run.{name}" for name in FORMATS}
    options = [word for name, path in targets.items() for word in (f"--{name}", str(path))]
    said = CliRunner().invoke(judging, ["--red", *options], standalone_mode=False)
    assert said.return_value == 1
    for name, path in targets.items():
        assert path.read_text() == FORMATS[name](one_of_each())
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        path.name for path in targets.values()
    )


def test_a_report_takes_the_place_of_the_one_before(tmp_path: Path) -> None:
    target = tmp_path / "r.xml"
    target.write_text("yesterday's")
    CliRunner().invoke(judging, ["--junit", str(target)], catch_exceptions=False)
    assert target.read_text().startswith("<?xml")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--junit", "none/r.xml"], "--junit none/r.xml: .* cannot be written to: No such file"),
        (["--html", "."], "--html .: is no regular file"),
        (["--ktap", "/dev/null"], "--ktap /dev/null: is no regular file"),
        (["--jsonl", "/proc/r"], "--jsonl /proc/r: /proc cannot be written to"),
        (["--junit", "r", "--html", "r"], "--html r: is the file of --junit too"),
    ],
)  # fmt: skip
def test_what_cannot_be_written_is_refused_before_the_command_begins(
    options: list[str], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    said = CliRunner().invoke(judging, options)
    assert isinstance(said.exception, BadInput)
    assert said.exception.exit_status == 2
    assert re.search(words, str(said.exception))
    assert "begins" not in said.output
    assert list(tmp_path.iterdir()) == []


def test_the_real_commands_refuse_it_too(capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("crash", "explore", "fuzz", "scenarios run"):
        assert run([*name.split(), "--html", "/nowhere/r.html"]) == 2
        said = capsys.readouterr().err
        assert "--html /nowhere/r.html: /nowhere cannot be written to" in said
        assert len(said.splitlines()) == 1


def test_a_lost_guest_is_an_error_in_the_report_and_still_raised(tmp_path: Path) -> None:
    target = tmp_path / "r.jsonl"
    reports = ReportFiles({"jsonl": target})

    @click.command()
    def lost() -> None:
        with failure_reported(reports, "crash", kernel="6.1.0", strict=False):
            raise GuestLost("QEMU ended\nits console says nothing")

    said = CliRunner().invoke(lost)
    assert isinstance(said.exception, GuestLost)
    first, case = [json.loads(line) for line in target.read_text().splitlines()]
    assert first["verdict"] == case["verdict"] == "HARNESS_FAILED"
    assert (case["reason"], case["kernel"]) == ("QEMU ended", "6.1.0")


# The command to repeat.


@click.group()
def main() -> None:
    """Hold the commands."""


@main.command()
@click.argument("names", nargs=-1)
@click.option("--all", "every", is_flag=True)
@click.option("--seed", type=int)
@click.option("--kernel", multiple=True)
@report_options
def story(**given: object) -> None:
    """Tell how it is repeated."""
    click.echo(typed_command())
    click.echo(typed_command("one", "--seed", "7", without=("--seed", "--all"), names=False))


def test_the_command_is_repeated_without_its_reports(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    words = [
        "story", "a", "--seed=3", "--html", str(tmp_path / "r"), "--kernel", "6.1", "--all",
        f"--junit={tmp_path / 'x'}", "b c",
    ]  # fmt: skip
    monkeypatch.setattr("sys.argv", ["mdjournal", *words])
    said = CliRunner().invoke(main, words, catch_exceptions=False)
    assert said.output.splitlines() == [
        "tools/mdjournal story a --seed=3 --kernel 6.1 --all 'b c'",
        "tools/mdjournal story --kernel 6.1 one --seed 7",
    ]
