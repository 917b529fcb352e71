"""The morning page of a night: one file that stands alone and names nothing outside its folder.

It holds no unit and no state, only cases, kernels and findings: a night of 100,000 states makes it
no larger. All of it is there without JavaScript, which adds a search to the grid.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any
from urllib.parse import quote

from markupsafe import Markup

from harness.campaign.history.records import Case
from harness.campaign.history.telling import LOAD_TOLD, Section, Told, compared_text, ratio_text
from harness.campaign.nights.telling import (
    budget_text,
    duration_text,
    first_bad_text,
    repro_command,
    signature_text,
    states_of,
    summary_of,
    whats_new,
    work_of,
)
from harness.campaign.nights.view import FollowedFinding, NightCell, NightView
from harness.campaign.reports.html import page_file, page_style, page_template
from harness.campaign.reports.model import clean
from harness.verdict.verdict import Outcome

_FOLDER = Path(__file__).parent / "page"
_MOST_FINDINGS = 150  # followed; `night.json` has all
_MOST_TOLD, _OPEN_TOLD = 100, 10  # of one list of what is new; unfolded
_MOST_SET_ASIDE = 50
_MOST_SIGNATURES = 5  # of one that is new
_BAR, _BARS, _BAR_HEIGHT = 5, 30, 24  # pixels, nights, pixels
SHORT = {Outcome.HARNESS_FAILED: "lost", Outcome.NOT_RUN: "not run"}
"""What a cell says where the verdict's own word is long."""


def night_page(view: NightView) -> str:
    """Return the page of a night as the text of an HTML file; all text in it is escaped."""
    shown = view.findings_in_order[:_MOST_FINDINGS]
    anchors = {each.finding.signature: f"f{n}" for n, each in enumerate(shown, 1)}
    rows = _grid(view, anchors)
    page = page_template(_FOLDER, "night.html.j2").render(
        view=view, run=view.run.run, summary=summary_of(view),
        began=_moment(view.run.run.began), compared=_compared(view),
        sections=[_section(section, view, anchors) for section in whats_new(view)],
        most_told=_MOST_TOLD, set_aside=view.set_aside[:_MOST_SET_ASIDE],
        more_set_aside=len(view.set_aside) - _MOST_SET_ASIDE,
        rows=[row for row in rows if not row["is_green"]],
        green=[row for row in rows if row["is_green"]],
        counts=list(view.counts.items()),
        findings=[_finding(each, view, anchors) for each in shown],
        more_findings=len(view.findings) - len(shown),
        states=[(each, _bars([*each.earlier, each.now])) for each in states_of(view)],
        budget=budget_text(view), work=_work(view), duration=duration_text,
        short=SHORT, style=page_style(), night_style=page_file(_FOLDER, "night.css"),
        program=page_file(_FOLDER, "night.js"),
    )  # fmt: skip
    return clean(page)


def _moment(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(seconds))


def _compared(view: NightView) -> str:
    if view.comparison is None:
        return ""
    load = view.comparison.load
    compared = compared_text(view.comparison)
    if abs(load - 1) < LOAD_TOLD:
        return compared
    return f"{compared}; all of it took {ratio_text(load)} the usual time"


def _section(section: Section, view: NightView, anchors: dict[str, str]) -> dict[str, Any]:
    shown: set[str] = set()
    told = [_told(each, view, anchors, shown) for each in section.told[:_MOST_TOLD]]
    return {
        "head": section.head, "means": section.means, "count": len(section.told),
        "first": told[:_OPEN_TOLD], "others": told[_OPEN_TOLD:],
        "is_red": section.head == "NEW RED",
    }  # fmt: skip


def _told(told: Told, view: NightView, anchors: dict[str, str], shown: set[str]) -> dict[str, Any]:
    """Return one thing that is new; of a finding that was *shown* already only where it is."""
    found = [
        _links(None if signature in shown else view.followed(signature))
        | {"text": signature_text(signature), "anchor": anchors.get(signature, "")}
        for signature in told.signatures[:_MOST_SIGNATURES]
    ]
    shown.update(told.signatures)
    return {
        "told": told, "findings": found, "more": len(told.signatures) - _MOST_SIGNATURES,
        "first_bad": first_bad_text(view, told.signatures),
    }  # fmt: skip


def _links(followed: FollowedFinding | None) -> dict[str, str]:
    """Return what leads to a finding's evidence and its bundle."""
    if followed is None:
        return {"bundle": "", "name": "", "evidence": "", "command": "", "minimised": ""}
    return {
        "bundle": _href(followed.bundle), "name": followed.bundle.rpartition("/")[2],
        "evidence": _href(followed.evidence), "command": repro_command(followed),
        "minimised": followed.minimised,
    }  # fmt: skip


def _href(path: str) -> str:
    """Return a path as a reference; the dot keeps a colon in it from naming a scheme."""
    return f"./{quote(path)}" if path else ""


def _grid(view: NightView, anchors: dict[str, str]) -> list[dict[str, Any]]:
    """Return a row a case, those with the worst outcome first."""
    by_case: dict[Case, dict[str, NightCell]] = {}
    for (case, kernel), cell in view.cells.items():
        by_case.setdefault(case, {})[kernel] = cell
    rows = [_row(case, cells, view, anchors) for case, cells in by_case.items()]
    rows.sort(key=lambda row: row["rank"])  # stable: cases stay in order
    return rows


_RANK = (
    Outcome.DIFFERS, Outcome.HARNESS_FAILED, Outcome.KNOWN, Outcome.NOT_RUN, Outcome.AGREES
)  # fmt: skip


def _row(
    case: Case, cells: dict[str, NightCell], view: NightView, anchors: dict[str, str]
) -> dict[str, Any]:
    shown: list[tuple[Outcome, str, str] | None] = []
    for name in view.kernel_names:
        cell = cells.get(name)
        if cell is None:
            shown.append(None)
            continue
        signatures = cell.unexplained or cell.signatures
        links = [anchors[each] for each in signatures if each in anchors]
        shown.append((cell.outcome, _count(cell), links[0] if links else ""))
    rank = min(_RANK.index(cell.outcome) for cell in cells.values())
    return {
        "case": case, "cells": shown, "rank": rank,
        "is_green": all(cell.outcome is Outcome.AGREES for cell in cells.values()),
    }  # fmt: skip


def _count(cell: NightCell) -> str:
    """Say of several units how many have the worst outcome."""
    worst = cell.counts[cell.outcome]
    return "" if cell.units == 1 else str(worst) if worst == cell.units else f"{worst}/{cell.units}"


def _finding(each: FollowedFinding, view: NightView, anchors: dict[str, str]) -> dict[str, Any]:
    finding = each.finding
    met = view.met.get(finding.signature, {})
    return _links(each) | {
        "finding": finding, "text": signature_text(finding.signature),
        "anchor": anchors[finding.signature], "met": [met.get(k, 0) for k in view.kernel_names],
        "first_bad": view.first_bad(finding.signature), "is_new": _is_new(each, view),
    }  # fmt: skip


def _is_new(each: FollowedFinding, view: NightView) -> bool:
    return each.finding.first_run.number == view.run.run.number


def _work(view: NightView) -> list[tuple[str, list[float], float]]:
    rows = [(kind, list(mine.values())) for kind, mine in work_of(view).items()]
    return [(kind, seconds, sum(seconds)) for kind, seconds in rows]


def _bars(states: list[int]) -> Markup:
    """Draw the states of nights, the newest last."""
    shown, most = states[-_BARS:], max(states, default=0)
    if len(shown) < 2 or not most:
        return Markup("")
    bars = []
    for n, count in enumerate(shown):
        height = round(_BAR_HEIGHT * count / most)
        bars.append(f"M{n * (_BAR + 1)} {_BAR_HEIGHT}h{_BAR}v-{height}h-{_BAR}z")
    width = len(shown) * (_BAR + 1)
    return Markup(
        f'<svg class="bars" width="{width}" height="{_BAR_HEIGHT}" aria-hidden="true">'
        f'<path d="{"".join(bars)}"/></svg>'
    )
