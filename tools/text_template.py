"""Text that is made of a template: a page in Markdown, a shell script."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jinja2


def render_text(template: Path, **values: Any) -> str:
    """Return a template's text with *values* in it as they are; one that it lacks is an error."""
    environment = jinja2.Environment(
        undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True,
        keep_trailing_newline=True, autoescape=False,
    )  # fmt: skip
    return environment.from_string(template.read_text()).render(**values)
