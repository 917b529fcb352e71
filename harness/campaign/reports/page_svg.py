"""Fit drawings that stand alone as files to stand in a page beside others."""

from __future__ import annotations

import re

from harness.verdict.ring_drawing import STYLE

_RULE = re.compile(r"([^{}]+)\{([^{}]*)\}")
_SCOPE = ".ring"
_NAMESPACE = ' xmlns="http://www.w3.org/2000/svg"'


def for_a_page(svg: str) -> str:
    """Return a map of a ring as one element; its style is the page's, see `RING_STYLE`."""
    element = svg[svg.index("<svg") :].replace(STYLE, "").replace(_NAMESPACE, "")
    return element.replace("<svg", '<svg class="ring"', 1).strip()


def _scoped(style: str) -> str:
    """Return rules that hold for maps alone: each selector begins with their class."""

    def rule(found: re.Match[str]) -> str:
        selectors = [each.strip() for each in found[1].split(",")]
        mine = ",".join(
            _SCOPE if each == "svg" else each if each.startswith("#") else f"{_SCOPE} {each}"
            for each in selectors
        )
        return f"{mine}{{{found[2]}}}"

    return _RULE.sub(rule, style)


_RULES, _, _DEFINITIONS = STYLE.partition("</style>")
RING_STYLE = _scoped(_RULES.removeprefix("<style>").strip())
# A page has it once: patterns that all maps fill with.
RING_DEFINITIONS = (
    '<svg class="ring" width="0" height="0" aria-hidden="true" style="position:absolute">'
    f"{_DEFINITIONS.strip()}</svg>"
)
