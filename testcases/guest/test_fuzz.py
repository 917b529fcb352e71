"""Journals at random before a real kernel: they agree, and any can be looked at again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness.campaign.exploring.exploration import STORE
from harness.campaign.exploring.store import opened_store
from harness.verdict.verdict import Outcome
from tools.cli import run

pytestmark = pytest.mark.guest

STATES = 30


# Of a seed whose first journals hang no kernel.
def fuzz(kernel: str, *more: str) -> int:
    arguments = ["--kernel", kernel, "--states", str(STATES), "--seed", "2", "--shrink", "none"]
    return run(["fuzz", *arguments, *more])


def test_journals_at_random_agree_and_one_can_be_looked_at_again(
    kernel: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MDJOURNAL_RESULTS", str(tmp_path))
    assert fuzz(kernel, "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert sum(document["verdicts"].values()) == document["states"] == STATES
    assert "DIFFERS" not in document["verdicts"]
    assert document["verdicts"]["AGREES"] > STATES / 2
    assert set(document["coverage"]["payloads"]) >= {"DATA", "PARITY", "FLUSH"}
    folder = Path(document["folder"])
    with opened_store(folder / STORE) as store:
        green = next(r for r in store.class_records() if r.verdict.outcome is Outcome.AGREES)
    assert fuzz(kernel, "--state", str(green.leader)) == 0
    kept = folder / f"state-{green.leader}"
    assert (kept / "journal.txt").read_text()
    assert (kept / "before" / "journal.img").exists()
