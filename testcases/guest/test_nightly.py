"""Two short nights on a real kernel: files, history, and that the second says nothing is new."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from harness.campaign.history.records import Kind, UnitResult
from harness.campaign.history.store import opened_history
from harness.campaign.nights.writing import FILES, PAGE
from harness.verdict.verdict import Outcome

pytestmark = pytest.mark.guest

ROOT = Path(__file__).resolve().parent.parent.parent
GONE_WITHIN_S = 240.0
PLAN = """
kernels = ["{kernel}"]

[scenarios]
names = ["an-array-that-loses-a-member-goes-on", "a-clean-array-starts-without-a-member"]

[[explore]]
name = "raid5"
states = 20
steps = 2
units = 1
"""
FUZZ = """
[[fuzz]]
name = "raid5"
states = 2
units = 1
"""


def test_two_short_nights(kernel: str, tmp_path: Path) -> None:
    first, second = tmp_path / "night1", tmp_path / "night2"
    # What takes longest is in the first night alone: that it is not run again is not red.
    for folder, text in ((first, PLAN + FUZZ), (second, PLAN)):
        plan = tmp_path / f"{folder.name}.toml"
        plan.write_text(text.format(kernel=kernel))
        said = nightly(plan, folder, tmp_path)
        assert "Nothing new is red." in said
        assert str(folder / PAGE) in said
        assert sorted(each.name for each in folder.iterdir()) == sorted(FILES)
        assert (folder / PAGE).read_text().startswith("<!DOCTYPE html>")
        assert json.loads((folder / "night.json").read_text())
    explored, *stories = units_of(tmp_path, "night2")
    assert explored == (Kind.EXPLORE, "raid5", "unit 1")
    assert [kind for kind, _, _ in stories] == [Kind.SCENARIO, Kind.SCENARIO]
    assert units_of(tmp_path, "night1") == [explored, (Kind.FUZZ, "raid5", "unit 1"), *stories]
    assert [each.name for each in (tmp_path / "t").iterdir()] == []
    # A night that is over is not written over.
    assert "has a night that is over" in nightly(plan, first, tmp_path, status=2)


def nightly(plan: Path, folder: Path, place: Path, *, status: int = 0) -> str:
    """Run a night; return what it says."""
    (place / "t").mkdir(exist_ok=True)
    done = subprocess.run(
        [sys.executable, "-P", "-m", "tools.cli", "nightly", str(plan), "--out", str(folder),
         "--budget", "3m"],
        env={**os.environ, "PYTHONPATH": str(ROOT), "MDJOURNAL_RESULTS": str(place),
             "TMPDIR": str(place / "t")},
        capture_output=True, text=True, timeout=GONE_WITHIN_S, check=False,
    )  # fmt: skip
    assert done.returncode == status, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout + done.stderr


def units_of(place: Path, name: str) -> list[tuple[Kind, str, str]]:
    """Return which units the history has of a night, all of them with a verdict."""
    with opened_history(place / "history.sqlite", create=False) as history:
        units: list[UnitResult] = [unit for _, unit in history.units([history.find_run(name)])]
    assert {unit.outcome for unit in units} <= {Outcome.AGREES, Outcome.KNOWN}
    assert all(unit.seconds > 0 and unit.worker.startswith("tcp://127.0.0.1:") for unit in units)
    assert sum(unit.states for unit in units if unit.case.kind is Kind.EXPLORE) == 20
    return sorted((unit.case.kind, unit.case.name, unit.part) for unit in units)
