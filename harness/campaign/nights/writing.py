"""The files of a night's folder, each written whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

from harness.campaign.nights.html import night_page
from harness.campaign.nights.reporting import night_document, night_report
from harness.campaign.nights.text import mail_text
from harness.campaign.nights.view import NightView
from harness.campaign.reports.jsonl import jsonl_text
from harness.campaign.reports.junit import junit_text
from harness.campaign.reports.ktap import ktap_text
from harness.errors import BadInput
from harness.storage.atomic import replacing
from harness.storage.images import naming_full_disk

PAGE = "index.html"
# The page is last: who finds it finds what it links to.
FILES: Mapping[str, Callable[[NightView], str]] = {
    "night.json": lambda view: json.dumps(night_document(view), indent=1) + "\n",
    "junit.xml": lambda view: junit_text(night_report(view)),
    "night.ktap": lambda view: ktap_text(night_report(view)),
    "night.jsonl": lambda view: jsonl_text(night_report(view)),
    "mail.txt": mail_text,
    PAGE: night_page,
}
"""What is in the folder of a night besides its evidence and bundles, and what makes it."""


def write_night(folder: Path, view: NightView) -> None:
    """Write all files of a night into its folder, in place of those of an earlier time.

    Raises:
        BadInput: the folder cannot be written to.
    """
    for name, text_of in FILES.items():
        target = folder / name
        text = text_of(view)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with naming_full_disk(target), replacing(target) as temporary:
                temporary.write_text(text, encoding="utf-8", errors="replace", newline="\n")
        except OSError as error:
            raise BadInput(f"{target}: cannot be written: {error.strerror}") from error
