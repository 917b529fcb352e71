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
# An array without a journal has md's write hole: a red of any kernel.
BARE = """
[[explore]]
name = "bare"
journal = "none"
states = 25
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
    (tmp_path / "night1.toml").write_text((PLAN + FUZZ + BARE).format(kernel=kernel))
    (tmp_path / "night2.toml").write_text(PLAN.format(kernel=kernel))
    said = nightly(tmp_path / "night1.toml", first, tmp_path, status=1)
    assert f"1 new red: explore bare on {kernel}." in said
    finding = finding_of(first, is_new=True)
    # The second night follows it by its bundle, which is no news.
    said = nightly(tmp_path / "night2.toml", second, tmp_path)
    assert "Nothing new is red." in said
    assert str(second / PAGE) in said
    assert finding_of(second, is_new=False) == finding
    explored, repeated, *stories = units_of(tmp_path, "night2")
    assert explored == (Kind.EXPLORE, "raid5", "unit 1")
    assert [kind for kind, _, _ in stories] == [Kind.SCENARIO, Kind.SCENARIO]
    assert repeated == (Kind.REPRO, finding, "unit 1")
    bare, *others = units_of(tmp_path, "night1")
    assert bare == (Kind.EXPLORE, "bare", "unit 1")
    assert others == [explored, (Kind.FUZZ, "raid5", "unit 1"), repeated, *stories]
    assert [each.name for each in (tmp_path / "t").iterdir()] == []
    # A night that is over is not written over.
    assert "has a night that is over" in nightly(
        tmp_path / "night1.toml", first, tmp_path, status=2
    )


def finding_of(folder: Path, *, is_new: bool) -> str:
    """Return the id of the finding of a night, whose files are there and linked to."""
    assert sorted(each.name for each in folder.iterdir()) == sorted([*FILES, "bundles", "evidence"])
    page = (folder / PAGE).read_text()
    assert page.startswith("<!DOCTYPE html>")
    document = json.loads((folder / "night.json").read_text())
    (found,) = (each for each in document["findings"] if each["bundle"])  # one is packed of a unit
    assert found["oracle"] == "write hole"
    assert found["status"] == "packed"
    assert "operations" in found["minimised"]
    for kind, suffix in (("bundles", "mdjr"), ("evidence", "html")):
        path = f"{kind}/{found['id']}.{suffix}"
        assert f'href="./{path}"' in page
        assert (folder / path).stat().st_size > 1000
    assert [found["signature"] in new["findings"] for new in document["new_reds"]] == [
        True
    ] * is_new
    return str(found["id"])


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
    reds = {unit.case.name for unit in units if unit.outcome is Outcome.DIFFERS}
    assert reds <= {"bare", *(unit.case.name for unit in units if unit.case.kind is Kind.REPRO)}
    assert {unit.outcome for unit in units} <= {Outcome.AGREES, Outcome.KNOWN, Outcome.DIFFERS}
    assert all(unit.seconds > 0 and unit.worker.startswith("tcp://127.0.0.1:") for unit in units)
    assert {unit.states for unit in units if unit.case.kind is Kind.EXPLORE} <= {20, 25}
    return sorted((unit.case.kind, unit.case.name, unit.part) for unit in units)
