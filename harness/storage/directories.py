"""Where caches and results live: XDG directories, never the checkout.

On the standard library alone, since the launcher asks here before anything is installed.
"""

from __future__ import annotations

import os
from pathlib import Path


def cache_root() -> Path:
    """``MDJOURNAL_CACHE``, else ``mdjournal`` under ``XDG_CACHE_HOME`` (default ``~/.cache``)."""
    return _from_environment("MDJOURNAL_CACHE", "XDG_CACHE_HOME", ".cache", "mdjournal")


def results_root() -> Path:
    """``MDJOURNAL_RESULTS``, else ``mdjournal/results`` under ``XDG_STATE_HOME``."""
    return _from_environment(
        "MDJOURNAL_RESULTS", "XDG_STATE_HOME", ".local/state", "mdjournal/results"
    )


def _from_environment(own: str, xdg: str, home_default: str, below: str) -> Path:
    if chosen := os.environ.get(own):
        return Path(chosen).absolute()
    # The XDG specification: a relative path in these variables is invalid and is ignored.
    base = Path(os.environ.get(xdg, ""))
    root = base if base.is_absolute() else Path.home() / home_default
    return root / below
