"""A run as one HTML page that stands alone: nothing outside it is named, let alone loaded.

Verdict first, then what is red by its kinds, each with the evidence of one case; all of it is there
without JavaScript. A list of every case follows, which a small program fills from compact rows.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from harness.campaign.reports.exhibit import Exhibit
from harness.campaign.reports.model import Kind, RunReport, clean, kinds_of
from harness.campaign.reports.page_svg import RING_DEFINITIONS, RING_STYLE
from harness.campaign.reports.rows import document_of, ranges
from harness.verdict.verdict import Outcome

_FOLDER = Path(__file__).parent / "page"
_TEMPLATE = "page.html.j2"
_MOST_KINDS = 40  # shown one by one
_MOST_NAMES = 60  # of a kind's cases
_MOST_FINDINGS = 6  # of a case
_OUTCOME_WORDS = {
    Outcome.AGREES: "the kernel does what the model and every oracle expect",
    Outcome.DIFFERS: "something is not as it must be, and no listed issue explains it",
    Outcome.KNOWN: "all that is red is explained by listed kernel issues",
    Outcome.NOT_RUN: "nothing could be judged",
    Outcome.HARNESS_FAILED: "no verdict about the kernel: a guest or the harness was lost",
}
# What would end the element that the rows are in, or begin another.
_UNSAFE_IN_SCRIPT = str.maketrans({"<": "\\u003c", ">": "\\u003e", "&": "\\u0026"})


def html_text(report: RunReport) -> str:
    """Return the report as the text of an HTML file.

    All text of the report is escaped, whatever is in it; pictures of exhibits are put in as they
    are, so they have to come from the drawings of this package.
    """
    kinds = kinds_of(report.cases)
    if not kinds and len(report.cases) == 1:  # of a single run what is green is of interest too
        kinds = [Kind(Outcome.AGREES, report.cases[0].name, report.cases)]
    page = page_template(_FOLDER, _TEMPLATE).render(
        report=report,
        outcome=report.outcome,
        says=_OUTCOME_WORDS[report.outcome],
        counts=[(o, n) for o in Outcome if (n := report.outcomes[o])],
        total=report.outcomes.total(), judged=_judged(report),
        began=time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(report.began_s)),
        kinds=[_kind_document(n, kind, report) for n, kind in enumerate(kinds[:_MOST_KINDS], 1)],
        more_kinds=len(kinds) - _MOST_KINDS,
        rows=_script_json(document_of(report)),
        has_maps=any(shown is not None and shown.maps for shown in _exhibits(report)),
        style=page_style(), ring_style=Markup(RING_STYLE), program=page_file(_FOLDER, "page.js"),
        ring_definitions=Markup(RING_DEFINITIONS),
    )  # fmt: skip
    return clean(page)


def _judged(report: RunReport) -> str:
    """Say what was judged: how many of each group."""
    counts: Counter[str] = Counter()
    for case in report.cases:
        counts[case.group.split(" of ")[0]] += case.stands_for
    return ", ".join(f"{count:,} {_noun(group, count)}" for group, count in counts.items())


def _exhibits(report: RunReport) -> Iterator[Exhibit | None]:
    yield from (case.exhibit for case in report.cases)
    yield from (each.exhibit for each in report.smallest)


def _kind_document(number: int, kind: Kind, report: RunReport) -> dict[str, Any]:
    shown = next((case for case in kind.cases if case.exhibit is not None), kind.cases[0])
    names = ranges(case.name for case in kind.cases)
    return {
        "anchor": f"kind-{number}", "outcome": kind.outcome, "name": kind.name,
        "count": kind.stands_for, "case": shown, "exhibit": shown.exhibit,
        "findings": shown.verdict.findings[:_MOST_FINDINGS],
        "more_findings": len(shown.verdict.findings) - _MOST_FINDINGS,
        "names": names[:_MOST_NAMES], "more_names": len(names) - _MOST_NAMES,
        "kernels": list(dict.fromkeys(case.kernel for case in kind.cases)),
        "reasons": _reasons(kind, report), "is_open": kind.outcome in _OPEN,
        "smallest": [s for s in report.smallest if s.name in (kind.name, *kind.name.split(", "))],
        "noun": _noun(kind.cases[0].group, kind.stands_for),
    }  # fmt: skip


_OPEN = (Outcome.DIFFERS, Outcome.HARNESS_FAILED)  # at first, the others when asked for


def _reasons(kind: Kind, report: RunReport) -> list[tuple[str, str]]:
    if kind.outcome is not Outcome.KNOWN:
        return []
    return [(n, report.reasons[n]) for n in kind.name.split(", ") if n in report.reasons]


def _noun(group: str, count: int) -> str:
    """Return what so many cases of a group are called."""
    word = group.split(" of ")[0]
    one = {"recoveries": "recovery", "interrupted recoveries": "interrupted recovery"}
    return one.get(word, word.removesuffix("s")) if count == 1 else word


def _script_json(document: dict[str, Any]) -> Markup:
    text = json.dumps(document, separators=(",", ":"))
    return Markup(text.translate(_UNSAFE_IN_SCRIPT))


def page_style() -> Markup:
    """Return the style of this project's pages."""
    return page_file(_FOLDER, "page.css")


@cache
def page_file(folder: Path, name: str) -> Markup:
    """Return a file of our own that goes into a page as it is."""
    return Markup((folder / name).read_text())


@cache
def page_template(folder: Path, name: str) -> jinja2.Template:
    """Return the template of a page: what is put into it is escaped."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder), undefined=jinja2.StrictUndefined,
        trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True, autoescape=True,
    )  # fmt: skip
    return environment.get_template(name)
