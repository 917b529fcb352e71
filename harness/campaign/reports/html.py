"""A run as one HTML page that stands alone: nothing outside it is named, let alone loaded."""

from __future__ import annotations

from pathlib import Path

import jinja2

from harness.campaign.reports.model import RunReport, clean, kinds_of

_FOLDER = Path(__file__).parent
_TEMPLATE = "page.html.j2"


def html_text(report: RunReport) -> str:
    """Return the report as the text of an HTML file."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_FOLDER), undefined=jinja2.StrictUndefined,
        trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True, autoescape=True,
    )  # fmt: skip
    template = environment.get_template(_TEMPLATE)
    return clean(template.render(report=report, kinds=kinds_of(report.cases)))
