"""Exploring on a real kernel: batches, classes, going on after a kill, and that it can turn red."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from harness.campaign.exploring.choosing import ExploreOptions
from harness.campaign.exploring.exploration import STORE, explore
from harness.campaign.exploring.store import opened_store
from harness.campaign.known_issues import KnownIssues, known_issues_of
from harness.crash.strategies import Strategy
from harness.crash.trace import Cache
from harness.crash.workload import JournalMode
from harness.md.shape import Shape
from harness.verdict.verdict import Outcome
from testcases.lab import Lab

pytestmark = pytest.mark.guest

ROOT = Path(__file__).resolve().parent.parent.parent
STATES = 150


def options_of(lab: Lab, kernel: str, shape: Shape, **changes: object) -> ExploreOptions:
    crash = lab.options(kernel, shape, seed=3, steps=5)
    options = ExploreOptions(crash=crash, strategy=Strategy.EPOCHS, states=STATES)
    return replace(options, **changes)  # type: ignore[arg-type]


def issues_of(options: ExploreOptions) -> KnownIssues:
    return known_issues_of(options.crash.image.kernel_version)


def outcomes(folder: Path) -> tuple[int, list[Outcome], list[str]]:
    """Return how many states there are, the verdicts of their classes, and every objection."""
    with opened_store(folder / STORE) as store:
        records = list(store.class_records())
        verdicts = [
            *(record.verdict for record in records),
            *(record.verdict for record in store.state_records()),
            *(record.verdict for record in store.child_records()),
            *(record.verdict for record in store.recordings()),
        ]
        wrong = [
            f"{verdict.outcome.value}: {finding.what}"
            for verdict in verdicts
            for finding in verdict.findings
            if verdict.outcome is Outcome.DIFFERS
        ]
        return len(store.known_states()), [record.verdict.outcome for record in records], wrong


@pytest.mark.parametrize(
    "shape",
    [
        Shape(),
        Shape(level=Shape().level.RAID6, members=4, mode=JournalMode.WRITE_BACK,
              member_cache=Cache.WRITE_THROUGH),
    ],
    ids=["raid5-write-through", "raid6-write-back"],
)  # fmt: skip
def test_states_agree_with_the_kernel(lab: Lab, kernel: str, shape: Shape, tmp_path: Path) -> None:
    options = options_of(lab, kernel, shape)
    explored = explore(options, tmp_path, guests=2, issues=issues_of(options), say=print)
    states, classes, wrong = outcomes(tmp_path)
    assert wrong == []
    assert states == STATES
    assert 5 < len(classes) < STATES, "some states are alike, and not all"
    assert explored.progress.recovered == len(classes)
    assert classes.count(Outcome.AGREES) > len(classes) / 2


@pytest.mark.parametrize("shape", [Shape(journaled=False)], ids=str)
def test_without_a_journal_the_write_hole_shows(
    lab: Lab, kernel: str, shape: Shape, tmp_path: Path
) -> None:
    """The control: if this were green, the harness would be blind."""
    options = options_of(lab, kernel, shape)
    explore(options, tmp_path, guests=2, issues=issues_of(options), say=print)
    with opened_store(tmp_path / STORE) as store:
        records = list(store.class_records())
        holes = [record.verdict for record in store.state_records(red=True)]
    assert [r.verdict for r in records if r.verdict.outcome is not Outcome.AGREES] == []
    read = [judgement for r in records for judgement in r.verdict.judgements][2]
    assert read.oracle == "read back", "the kernel itself read what is judged"
    assert len(holes) > STATES / 5
    said = [finding.what for verdict in holes for finding in verdict.findings]
    assert any("which no write put there whole" in what for what in said)


@pytest.mark.timeout(600)
def test_killed_halfway_it_goes_on_and_comes_to_the_same(kernel: str, tmp_path: Path) -> None:
    results = tmp_path / "results"
    environment = {
        **os.environ, "MDJOURNAL_RESULTS": str(results), "PYTHONPATH": str(ROOT),
        "TMPDIR": str(tmp_path),
    }  # fmt: skip
    command = [
        sys.executable, "-P", "-m", "tools.cli", "explore", "--kernel", kernel, "--seed", "4",
        "--steps", "5", "--states", "400", "--strategy", "random",
    ]  # fmt: skip
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        folder = wait_for_classes(results, 10)
        process.send_signal(signal.SIGKILL)
    with opened_store(folder / STORE) as store:
        before = {record.identity: record.leader for record in store.class_records()}
        assert store.fact("finished") is None
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    with opened_store(folder / STORE) as store:
        after = {record.identity: record.leader for record in store.class_records()}
        assert len(store.known_states()) == 400
        assert store.fact("finished") == "yes"
    assert before.items() <= after.items(), "what was known was not done again"
    assert len(after) > len(before)


def wait_for_classes(results: Path, count: int) -> Path:
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        for folder in results.glob("explore-*"):
            if (folder / STORE).exists():
                with opened_store(folder / STORE) as store:
                    if len(store.known_classes()) >= count:
                        return folder
        time.sleep(0.05)
    raise AssertionError("no class was recovered in time")
