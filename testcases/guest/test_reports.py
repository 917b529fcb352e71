"""Reports of real runs: what is red has its evidence, and the files agree with what is printed."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from junitparser import JUnitXml

from testcases.unit.test_report_page import Page
from tools.cli import run

pytestmark = pytest.mark.guest


def test_reports_of_the_control_have_each_red_state_with_its_timeline(
    kernel: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MDJOURNAL_RESULTS", str(tmp_path / "results"))
    files = {name: tmp_path / f"r.{name}" for name in ("html", "junit", "ktap", "jsonl")}
    options = [word for name, path in files.items() for word in (f"--{name}", str(path))]
    control = ["--no-journal", "--states", "30", "--shrink-time", "20", "--kernel", kernel]
    words = ["explore", *control, *options]
    monkeypatch.setattr("sys.argv", ["mdjournal", *words])
    assert run([*words, "--json"]) == 1
    verdicts = json.loads(capsys.readouterr().out)["verdicts"]
    junit = JUnitXml.fromfile(str(files["junit"]))
    assert junit.failures == verdicts["DIFFERS"]
    assert junit.tests == 30 + 1  # the recording
    first, *cases = [json.loads(line) for line in files["jsonl"].read_text().splitlines()]
    assert first["verdict"] == "DIFFERS"
    assert sum(case["verdict"] == "DIFFERS" for case in cases) == verdicts["DIFFERS"]
    assert (
        len(re.findall(r"^  not ok", files["ktap"].read_text(), re.MULTILINE))
        == (verdicts["DIFFERS"])
    )
    red = next(case for case in cases if case["verdict"] == "DIFFERS")
    text = files["html"].read_text()
    page = Page(text)
    said = " ".join(page.text)
    assert red["repeat"] in said
    assert "power lost before event" in said
    assert "The smallest that shows it: " in said
    assert "://" not in text


def test_a_report_of_a_crash_shows_its_journal_before_and_after(
    kernel: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MDJOURNAL_RESULTS", str(tmp_path / "results"))
    target = tmp_path / "r.html"
    words = ["crash", "--seed", "7", "--kernel", kernel, "--html", str(target)]
    monkeypatch.setattr("sys.argv", ["mdjournal", *words])
    assert run(words) == 0
    said = " ".join(Page(target.read_text()).text)
    for words_there in (
        "AGREES", "power lost before event", "The journal as the power left it",
        "The journal as the kernel left it", "md/raid:md0: recovering", "What recovery changed",
    ):  # fmt: skip
        assert words_there in said
