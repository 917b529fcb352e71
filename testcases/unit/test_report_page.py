"""The HTML page: it stands alone, nothing in it can break out, and it stays small."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from harness.campaign.reports.exhibit import (
    Difference,
    Exhibit,
    LogLine,
    Picture,
    RequestInWords,
)
from harness.campaign.reports.html import html_text
from harness.campaign.reports.model import RunReport, Smallest
from harness.campaign.reports.rows import document_of, ranges
from harness.verdict.verdict import Outcome, Verdict
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

VOID = {"meta", "input", "col", "link", "br", "hr", "img", "rect", "path"}


class Page(HTMLParser):
    """What a page has: how many of which element, its text, what is named in attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: Counter[str] = Counter()
        self.open: list[str] = []
        self.text: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.rows: dict[str, Any] = {}
        self._is_data = False
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """See the parser."""
        self.elements[tag] += 1
        self.attributes += [(name, value or "") for name, value in attrs]
        self._is_data = ("type", "application/json") in attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        """See the parser."""
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        """See the parser."""
        if self._is_data:
            self.rows = json.loads(data)
            self._is_data = False
        elif self.open and self.open[-1] not in ("script", "style"):
            self.text.append(data)


def words(rows: dict[str, Any], pattern: list[int]) -> str:
    """Return what the page's program makes of a pattern."""
    place, *figures = pattern
    left = iter(figures)
    return re.sub("\x1f", lambda _: str(next(left)), rows["texts"][place])


def hostile_exhibit() -> Exhibit:
    text = "\n".join(HOSTILE)
    return Exhibit(
        cut=text, timeline=Picture(text, "<svg></svg>"), changes=HOSTILE, remarks=HOSTILE,
        requests=tuple(RequestInWords(t, t, t, t, is_lost=True) for t in HOSTILE),
        maps=(Picture(text, "<svg></svg>"),), stacks=HOSTILE,
        differences=(Difference(text, HOSTILE),),
        kernel_log=tuple(LogLine(t, telling) for t in HOSTILE for telling in ("", "complaint")),
    )  # fmt: skip


def test_the_verdict_comes_first_and_each_red_has_its_sentence_and_its_command() -> None:
    page = Page(html_text(one_of_each()))
    assert not page.open
    text = " ".join(page.text)
    at = [
        text.index(words)
        for words in (
            "something is not as it must be", "write 2 of it was flushed and is gone",
            "tools/mdjournal explore --state 1", "The tail moves before the members are flushed.",
            "guest lost: QEMU ended", "RAID-5, 3 members", "Every case",
        )
    ]  # fmt: skip
    assert at[0] == min(at)
    assert text.index("DIFFERS") < at[1]


def test_the_page_names_nothing_outside_itself() -> None:
    text = html_text(one_of_each())
    assert "://" not in text
    assert not re.search(r"url\((?!#)|@import|<link|<img|<iframe|srcdoc", text)
    page = Page(text)
    assert all(not value or value.startswith("#")
               for name, value in page.attributes if name in ("href", "src"))  # fmt: skip
    assert ("content", "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'")\
        in page.attributes  # fmt: skip


def test_every_control_can_be_had_with_a_keyboard() -> None:
    page = Page(html_text(one_of_each()))
    assert not [name for name, _ in page.attributes if name.startswith("on")]
    assert not [value for name, value in page.attributes
                if name == "tabindex" and value not in ("0", "-1")]  # fmt: skip
    assert page.elements["summary"] == page.elements["details"] > 0
    assert page.elements["input"] == 1
    assert page.elements["select"] == 2
    assert page.elements["noscript"] == 1


def test_hostile_text_stays_text_wherever_it_stands() -> None:
    harmless = Page(html_text(one_of_each()))
    report = hostile_run()
    exhibit = hostile_exhibit()
    report = replace(
        report, cases=tuple(replace(each, exhibit=exhibit) for each in report.cases),
        smallest=(
            Smallest(name=HOSTILE[0], words=HOSTILE[0], steps=HOSTILE, folder=Path("/x/<b>"),
                     exhibit=exhibit),
        ),
    )  # fmt: skip
    text = html_text(report)
    page = Page(text)
    assert not page.open
    assert page.elements["script"] == harmless.elements["script"] == 2
    assert page.elements["style"] == 1
    assert "alert" not in {name for name, _ in page.attributes}
    assert re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]", text) is None
    assert "alert(1)" in " ".join(page.text)
    text.encode()


def test_the_rows_of_the_page_say_what_the_cases_do() -> None:
    report = one_of_each()
    rows = Page(html_text(report)).rows
    red = next(row for row in rows["rows"] if rows["outcomes"][row[3]] == "DIFFERS")
    name, group, kernel, _, stands_for, findings, evidence, repeat, reason = red
    assert words(rows, name) == "state 1"
    assert (rows["groups"][group], rows["kernels"][kernel]) == ("states", "6.1")
    ((oracle, what, detail),) = findings
    assert rows["oracles"][oracle] == "durability"
    assert words(rows, what) == lost_write(16).what
    assert words(rows, detail) == "stripe 16"
    assert words(rows, repeat) == "tools/mdjournal explore --state 1"
    assert (stands_for, evidence, reason) == (1, 0, 0)


@pytest.mark.parametrize(
    "text",
    [
        "event 007 of 12", "no figure", "0x1f and 12, v6.1.175, md0", "a\x1fb 3",
        "99999999999999999999 is long", "-5 and 1.5", "",
    ],
)  # fmt: skip
def test_a_pattern_gives_its_text_back(text: str) -> None:
    finding = replace(lost_write(0), what=text)
    rows = document_of(report_of([case(1, differs(finding, reason="why"))]))
    assert words(rows, rows["rows"][0][5][0][1]) == text.replace("\x1f", "\ufffd")


def test_what_is_green_is_one_row_for_each_group_and_kernel() -> None:
    cases = [case(n, agrees()) for n in (0, 1, 2, 5, 6, 9)] + [case(1, agrees(), kernel="7.3")]
    rows = document_of(report_of(cases))
    assert [(words(rows, row[0]), row[4]) for row in rows["rows"]] == [
        ("state 0\u20132, 5\u20136, 9", 6), ("state 1", 1),
    ]  # fmt: skip


def test_ranges_keep_names_that_have_no_number() -> None:
    assert ranges(["a 1", "a 2", "b", "c 3", "a 4"]) == ["a 1\u20132", "c 3", "a 4", "b"]


def many_states(count: int) -> RunReport:
    """Return a run in which every eighth state is red, and most of those known."""

    def verdict(number: int) -> Verdict:
        if number % 8:
            return agrees()
        if number % 32:
            return differs(lost_write(number), outcome=Outcome.KNOWN, reason="the-tail-is-early")
        return differs(lost_write(number))

    return report_of([case(number, verdict(number)) for number in range(count)])


def test_a_hundred_thousand_states_fit_into_five_megabytes() -> None:
    text = html_text(many_states(100_000))
    assert len(text.encode()) < 5_000_000
