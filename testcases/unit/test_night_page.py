"""The morning page: its order, what it links to, that nothing breaks out of it, and its size."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from harness.campaign.history.records import Case, Kind, Run, RunView, Status
from harness.campaign.history.whats_new import compare
from harness.campaign.nights.html import night_page
from harness.campaign.nights.telling import budget_text, summary_of
from harness.campaign.nights.view import FollowedFinding, NightKernel, NightView, SetAside
from harness.errors import BadInput
from harness.verdict.verdict import Outcome
from testcases.made_view import made_view, many_cases
from testcases.unit.made_nights import KERNEL, NEW, STORY, cell, night
from testcases.unit.test_report_page import Page

HOSTILE = "</script><script>alert(1)</script>\x1b[31m\"'><img src=http://x>&"


@pytest.fixture(scope="module")
def red() -> NightView:
    return made_view()


def view_of(*outcomes: Outcome, run: Run | None = None) -> NightView:
    """Return a first night of so many stories."""
    run = run or night(1)
    cells = tuple(
        cell(run.number, outcome, case=replace(STORY, name=f"story-{n}"))
        for n, outcome in enumerate(outcomes)
    )
    return NightView(
        run=RunView(run=run, cells=cells), comparison=None, findings=(),
        kernels=(NightKernel(KERNEL.name, KERNEL.release, KERNEL.version, is_new=True),),
    )  # fmt: skip


def test_sections_come_in_the_order_that_they_are_wanted_in(red: NightView) -> None:
    heads = re.findall(r'<h2 id="(\w+)"', night_page(red))
    assert heads == ["new", "grid", "findings", "states", "budget", "night"]
    assert "<h1>1 new red: explore epochs on 7.3.</h1>" in night_page(red)


def test_new_red_has_its_finding_kernel_bundle_evidence_and_command(red: NightView) -> None:
    page = Page(night_page(red))
    text = " ".join(page.text)
    assert "redundancy: P of stripe N is not its parity" in text
    assert "first bad kernel of this night: 7.3 (7.3.4-1)" in " ".join(text.split())
    assert ("href", "./bundles/parity-of-stripe.mdjr") in page.attributes
    assert ("href", "./evidence/epochs-2/index.html") in page.attributes
    assert "tools/mdjournal repro run parity-of-stripe.mdjr" in text


def test_page_names_nothing_outside_its_folder(red: NightView) -> None:
    text = night_page(red)
    assert "http" not in text.replace('http-equiv="Content-Security-Policy"', "")
    assert "default-src 'none'" in text
    for name, value in Page(text).attributes:
        if name in ("href", "src"):
            assert value.startswith(("#", "./")), value


def test_every_anchor_leads_somewhere(red: NightView) -> None:
    page = Page(night_page(red))
    there = {value for name, value in page.attributes if name == "id"}
    wanted = {v[1:] for name, v in page.attributes if name == "href" and v.startswith("#")}
    assert wanted
    assert wanted <= there


def test_all_but_the_search_is_there_without_its_program(red: NightView) -> None:
    text = re.sub(r"<script>.*?</script>", "", night_page(red), flags=re.DOTALL)
    assert '<form id="filter" hidden>' in text
    for words in ("DIFFERS", "a-stop-writes-the-cache-out", "SLOWER", "usually 12.3 s"):
        assert words in text


def test_hostile_text_stays_text(red: NightView) -> None:
    calm = Page(night_page(red))
    case = Case(Kind.SCENARIO, HOSTILE, HOSTILE)
    run = replace(red.run.run, name=HOSTILE, command=HOSTILE)
    cells = (*red.run.cells, cell(20, Outcome.DIFFERS, case=case))
    hostile = replace(
        red, run=replace(red.run, run=run, cells=cells), set_aside=(SetAside(HOSTILE, HOSTILE),),
        facts={HOSTILE: HOSTILE}, kernels=(NightKernel("7.3", HOSTILE, HOSTILE, is_new=True),),
        findings=tuple(replace(f, minimised=HOSTILE, bundle=HOSTILE) for f in red.findings),
    )  # fmt: skip
    page = Page(night_page(hostile))
    assert (page.elements["script"], page.elements["img"]) == (calm.elements["script"], 0)
    assert not page.open
    assert "\x1b" not in night_page(hostile)


@pytest.mark.parametrize("path", ["/etc/passwd", "../night2/x.mdjr", "bundles/../../x"])
def test_path_outside_the_nights_folder_is_refused(red: NightView, path: str) -> None:
    with pytest.raises(BadInput, match="no path within"):
        FollowedFinding(finding=red.findings[0].finding, bundle=path)


def test_path_that_looks_like_an_address_is_none(red: NightView) -> None:
    findings = tuple(replace(each, evidence="javascript:alert(1)") for each in red.findings)
    assert 'href="./javascript%3Aalert%281%29"' in night_page(replace(red, findings=findings))


def test_night_of_100_000_states_and_300_cases_is_small() -> None:
    for reds in (12, 2000):
        assert len(night_page(many_cases(reds=reds)).encode()) < 1_000_000


def test_a_finding_of_many_new_reds_is_shown_whole_once() -> None:
    page = night_page(many_cases())
    new = page[page.index('id="new"') : page.index('id="grid"')]
    assert new.count("bundle <a") == 4  # kinds, of twelve reds


def test_green_cases_are_folded_and_the_worst_come_first() -> None:
    page = night_page(many_cases())
    grid = page[page.index('id="grid"') : page.index('id="findings"')]
    first_row = grid[grid.index("<tbody>") :].split("</tr>")[0]
    assert "DIFFERS" in first_row
    assert "cases that agree wherever they ran" in grid


# The verdict


def test_first_night_that_differs_is_red() -> None:
    view = view_of(Outcome.AGREES, Outcome.DIFFERS)
    assert view.is_red
    assert summary_of(view).sentence == "1 new red: scenario story-1 on 6.1."
    assert "the first night: there is none to compare it with" in summary_of(view).remarks
    assert "NEW RED" in night_page(view)


def test_first_night_that_agrees_is_green() -> None:
    view = view_of(Outcome.AGREES, Outcome.KNOWN)
    assert not view.is_red
    assert summary_of(view).tone is Outcome.AGREES


@pytest.mark.parametrize("outcomes", [(), (Outcome.NOT_RUN,), (Outcome.HARNESS_FAILED,) * 2])
def test_night_without_a_verdict_is_not_called_green(outcomes: tuple[Outcome, ...]) -> None:
    summary = summary_of(view_of(*outcomes))
    assert summary.tone is Outcome.HARNESS_FAILED
    assert summary.sentence.startswith("Nothing was judged")
    assert "Nothing was judged" in night_page(view_of(*outcomes))


def test_what_is_red_since_the_baseline_alone_is_no_new_red() -> None:
    baseline, before, now = (
        RunView(run=night(n), cells=(cell(n, outcome),), findings=found)
        for n, outcome, found in (
            (1, Outcome.AGREES, {}),
            (2, Outcome.DIFFERS, {(STORY, KERNEL.name): (NEW,)}),
            (3, Outcome.DIFFERS, {(STORY, KERNEL.name): (NEW,)}),
        )
    )
    view = replace(view_of(), run=now, comparison=compare(before, now, baseline))
    assert not view.is_red
    assert summary_of(view).remarks[0] == "1 red since the baseline"
    assert not any("red as before" in remark for remark in summary_of(view).remarks)


def test_what_is_red_as_before_is_said() -> None:
    views = [
        RunView(
            run=night(n), cells=(cell(n, Outcome.DIFFERS),),
            findings={(STORY, KERNEL.name): (NEW,)},
        )
        for n in (1, 2)
    ]  # fmt: skip
    view = replace(view_of(), run=views[1], comparison=compare(*views))
    assert (summary_of(view).tone, summary_of(view).remarks) == (
        Outcome.AGREES, ("1 red as before", "0 of 1 agree")
    )  # fmt: skip


def test_interrupted_night_says_so() -> None:
    run = replace(night(1), ended=None)
    assert "the night was not finished" in summary_of(view_of(Outcome.AGREES, run=run)).remarks


def test_first_bad_kernel_is_the_first_in_order_unless_it_was_looked_for(red: NightView) -> None:
    view = many_cases()
    signature = view.new_reds[0].findings[0]
    assert view.first_bad(signature) == "5.10 (5.10.9-1)"
    found = tuple(replace(each, first_bad="6.7 (6.7-1)") for each in view.findings)
    assert replace(view, findings=found).first_bad(signature) == "6.7 (6.7-1)"
    assert view.first_bad("never met") == ""


def test_findings_of_new_reds_come_first_and_closed_ones_last(red: NightView) -> None:
    old = red.findings[0]
    closed = replace(
        old, finding=replace(old.finding, signature="gone", status=Status.CLOSED, count=0)
    )
    view = replace(red, findings=(closed, *red.findings))
    order = [each.finding.signature for each in view.findings_in_order]
    assert order[0].startswith("redundancy")
    assert order[-1] == "gone"


def test_budget_is_said_with_and_without_one(red: NightView) -> None:
    assert budget_text(red) == "0:59:31 used of 1:00:00: 99%"
    assert budget_text(replace(red, budget_s=None)) == "0:59:31 used; no budget was set"
    assert budget_text(replace(red, budget_s=0.0)) == "0:59:31 used of none"
