"""A night's mail, its terminal page, its reports, and its folder."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import junitparser
import pytest

from harness.campaign.history.telling import sections_of
from harness.campaign.nights.reporting import night_document, night_report
from harness.campaign.nights.text import mail_text, terminal_lines
from harness.campaign.nights.view import NightView
from harness.campaign.nights.writing import FILES, write_night
from harness.campaign.reports.model import Light
from harness.errors import BadInput
from harness.verdict.verdict import Outcome
from testcases.made_view import made_view, many_cases


@pytest.fixture(scope="module")
def red() -> NightView:
    return made_view()


# Mail


def test_mail_has_the_finding_the_kernel_the_command_and_the_bundle(red: NightView) -> None:
    subject, empty, *body = mail_text(red).splitlines()
    assert subject.startswith("Subject: [mdjournal] new red on 7.3: redundancy: P of stripe N")
    assert empty == ""
    text = "\n".join(body)
    for words in (
        "finding: redundancy: P of stripe N is not its parity",
        "first bad kernel of this night: 7.3 (7.3.4-1)",
        "     tools/mdjournal repro run parity-of-stripe.mdjr",
        "Attach, from the folder of the night:\n  bundles/parity-of-stripe.mdjr",
    ):
        assert words in text


@pytest.mark.parametrize("wanted", ["last", "last-1", "1"])
def test_mail_is_not_wider_than_78_columns(wanted: str) -> None:
    assert max(map(len, mail_text(made_view(wanted)).splitlines())) <= 78


def test_mail_of_many_reds_is_short() -> None:
    lines = mail_text(many_cases(reds=2000)).splitlines()
    assert max(map(len, lines)) <= 78
    assert len(lines) < 200
    assert any(line.startswith("And 1") and "more new reds" in line for line in lines)


def test_subject_stays_one_line_of_ascii(red: NightView) -> None:
    change = replace(red.new_reds[0], findings=("a\nBcc: x@y\N{SNOWMAN} " + "z " * 200,))
    assert red.comparison is not None
    view = replace(red, comparison=replace(red.comparison, new_red=(change,)))
    lines = mail_text(view).splitlines()
    assert (len(lines[0]) <= 78, lines[0].isascii(), lines[1]) == (True, True, "")
    assert not any(line.startswith("Bcc") for line in lines)


def test_long_command_can_be_pasted_from_a_mail(red: NightView) -> None:
    run = replace(red.run.run, command="tools/mdjournal nightly " + "--kernel 'a b' " * 9)
    text = mail_text(replace(red, run=replace(red.run, run=run)))
    made_by = text[text.index("Made by\n") + len("Made by\n") :]
    assert " ".join(made_by.replace("\\\n", " ").split()) == run.command.strip()


# Terminal


def test_terminal_page_is_one_page_in_the_pages_order(red: NightView) -> None:
    lines = terminal_lines(red)
    heads = list(dict.fromkeys(line[:12].strip() for line in lines if line[:12].strip()))
    assert heads == ["verdict", "night", "compared", "NEW RED", "SLOWER", "SET ASIDE", "cases",
                     "finding", "states", "budget", "workers"]  # fmt: skip
    assert "tools/mdjournal repro run nights/20/bundles/parity-of-stripe.mdjr" in "\n".join(lines)
    assert len(terminal_lines(many_cases(reds=2000))) < 70


def test_terminal_page_moves_no_cursor(red: NightView) -> None:
    run = replace(red.run.run, name="\x1b[2Jnight\nof\ttabs")
    text = "".join(terminal_lines(replace(red, run=replace(red.run, run=run))))
    assert "\x1b" not in text
    assert "\n" not in text


# Reports


def test_report_has_a_case_for_each_case_on_a_kernel(red: NightView) -> None:
    report = night_report(red)
    assert len(report.cases) == 12
    assert report.outcomes == {Outcome.AGREES: 8, Outcome.KNOWN: 3, Outcome.DIFFERS: 1}
    (case,) = (c for c in report.cases if c.verdict.outcome is Outcome.DIFFERS)
    assert case.verdict.reason == "new: redundancy: P of stripe N is not its parity"
    assert case.repeat == "tools/mdjournal repro run nights/20/bundles/parity-of-stripe.mdjr"
    assert case.evidence == Path("nights/20/evidence/epochs-2/index.html")
    assert len({(c.group, c.name, c.kernel) for c in report.cases}) == 12


def test_known_issue_is_named_and_no_failure(red: NightView) -> None:
    known = [c for c in night_report(red).cases if c.verdict.outcome is Outcome.KNOWN]
    assert {c.verdict.reason for c in known} == {"tail-before-member-flush-order"}
    assert {c.light(strict=False) for c in known} == {Light.EXPECTED}


def test_lost_guest_is_an_error_and_no_failure() -> None:
    view = many_cases()
    lost = replace(view.run.cells[0], counts={Outcome.HARNESS_FAILED: 2})
    report = night_report(replace(view, run=replace(view.run, cells=(lost,))))
    assert report.cases[0].light(strict=False) is Light.ERROR
    assert report.cases[0].verdict.reason == "HARNESS_FAILED 2"


# The folder


def test_folder_has_every_file_and_all_can_be_read(red: NightView, tmp_path: Path) -> None:
    write_night(tmp_path / "new" / "night", red)
    folder = tmp_path / "new" / "night"
    assert {path.name for path in folder.iterdir()} == set(FILES)
    suites = junitparser.JUnitXml.fromfile(str(folder / "junit.xml"))
    assert (suites.tests, suites.failures, suites.errors, suites.skipped) == (12, 1, 0, 3)
    assert (folder / "night.ktap").read_text().startswith("KTAP version 1\n")
    lines = (folder / "night.jsonl").read_text().splitlines()
    assert [json.loads(line)["kind"] for line in lines[:2]] == ["run", "case"]
    assert (folder / "index.html").read_text().startswith("<!DOCTYPE html>")


def test_document_has_all_of_the_view(red: NightView) -> None:
    document = json.loads(json.dumps(night_document(red)))
    assert (document["is_red"], document["judged"], len(document["cells"])) == (True, 12, 12)
    assert red.comparison is not None
    assert document["comparison"]["is_red"]
    assert document["findings"][0]["bundle"] == "bundles/parity-of-stripe.mdjr"
    assert document["findings"][0]["met"] == {"7.3": 1}
    assert document["budget"]["workers_s"].keys() == {"explore", "fuzz", "scenario"}
    assert document["set_aside"][0]["why"] == "it ended two workers"
    assert sum(each["now"] for each in document["states"]) == 6000
    assert len(sections_of(red.comparison)) == 2


def test_document_has_what_the_page_leaves_out() -> None:
    view = many_cases(reds=2000)
    assert len(night_document(view)["new_reds"]) == len(view.new_reds) > 1000


def test_night_that_is_written_again_takes_the_former_ones_place(
    red: NightView, tmp_path: Path
) -> None:
    write_night(tmp_path, replace(red, comparison=None))
    write_night(tmp_path, red)
    assert {path.name for path in tmp_path.iterdir()} == set(FILES)
    assert json.loads((tmp_path / "night.json").read_text())["comparison"] is not None


def test_folder_that_cannot_be_is_told(red: NightView, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(BadInput, match=r"night\.json: cannot be written"):
        write_night(tmp_path / "file" / "night", red)
