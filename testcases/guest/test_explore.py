"""Exploring on a real kernel: batches, classes, going on after a kill, and that it can turn red."""

from __future__ import annotations

import functools
import itertools
import os
import signal
import subprocess
import sys
import tarfile
import time
from dataclasses import replace
from pathlib import Path

import pytest

from harness.campaign.exploring import batch
from harness.campaign.exploring.batch import Looks, StateToRecover
from harness.campaign.exploring.choosing import (
    ExploreOptions,
    chosen_states,
    predictor_of,
    subject_of,
)
from harness.campaign.exploring.exploration import STORE, explore
from harness.campaign.exploring.guest_pool import Job, Judged, guest_pool, recover_and_judge
from harness.campaign.exploring.oracles import NONE, Oracles, Sampled
from harness.campaign.exploring.state_judging import judge_recovered
from harness.campaign.exploring.store import opened_store
from harness.campaign.exploring.subjects import members_of
from harness.campaign.known_issues import KnownIssues, known_issues_of
from harness.crash.content import DiskContent
from harness.crash.sequences import Operation
from harness.crash.strategies import Strategy
from harness.crash.trace import Cache
from harness.crash.workload import JournalMode
from harness.md.shape import Shape
from harness.recovery.layout import Level
from harness.verdict.verdict import Outcome
from testcases.lab import Lab

pytestmark = pytest.mark.guest

ROOT = Path(__file__).resolve().parent.parent.parent
STATES = 150
QUARTER = dict.fromkeys(Sampled, 0.25)


def options_of(lab: Lab, kernel: str, shape: Shape, **changes: object) -> ExploreOptions:
    crash = lab.options(kernel, shape, seed=3, steps=5)
    options = ExploreOptions(crash=crash, strategy=Strategy.EPOCHS, states=STATES)
    return replace(options, **changes)  # type: ignore[arg-type]


def issues_of(options: ExploreOptions) -> KnownIssues:
    return known_issues_of(options.crash.image.kernel_version, options.crash.shape)


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


CACHES = list(itertools.product(JournalMode, Cache, Cache))


@pytest.mark.parametrize(("mode", "members", "journal"), CACHES, ids=lambda each: each.value)
def test_every_combination_of_volatile_caches_is_explored(
    lab: Lab, kernel: str, mode: JournalMode, members: Cache, journal: Cache, tmp_path: Path
) -> None:
    shape = Shape(
        mode=mode, member_cache=members, journal_cache=journal, chunk_bytes=16384,
        journal_bytes=1 << 20,
    )  # fmt: skip
    options = options_of(lab, kernel, shape, states=60, oracles=Oracles(NONE))
    explore(options, tmp_path, guests=2, issues=issues_of(options), say=print)
    states, classes, wrong = outcomes(tmp_path)
    assert wrong == []
    assert states == 60
    assert Outcome.AGREES in classes


@pytest.mark.parametrize("level", [Shape().level, Shape().level.RAID6], ids=str)
def test_every_sequence_of_one_operation_agrees(
    lab: Lab, kernel: str, level: Level, tmp_path: Path
) -> None:
    shape = Shape(
        level=level, members=4 if level is Level.RAID6 else 3, chunk_bytes=16384,
        journal_bytes=1 << 20,
    )  # fmt: skip
    options = options_of(lab, kernel, shape, exhaustive=1, states=140, oracles=Oracles(QUARTER))
    explore(options, tmp_path, guests=2, issues=issues_of(options), say=print)
    states, _, wrong = outcomes(tmp_path)
    assert wrong == []
    with opened_store(tmp_path / STORE) as store:
        recordings, children = store.recordings(), list(store.child_records())
        explored = {record.recording for record in store.state_records()}
    assert len(recordings) == 2 * len(Operation)
    assert all(record.events > 0 for record in recordings), "each could be recorded"
    assert len(explored) == len(recordings)
    assert 100 < states <= 140
    assert len(children) > 50, "crash states of recoveries"


def test_a_state_that_hangs_costs_only_itself(
    lab: Lab, kernel: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Among good states one whose assembly never ends (see ``testcases/findings``)."""
    monkeypatch.setattr(batch, "DEADLINE_S", 20.0)
    shape = Shape(members=7, chunk_bytes=256 * 1024, journal_bytes=2 << 20)
    crash = lab.options(kernel, shape, seed=1, steps=2)
    recording = lab.record(crash)
    options = ExploreOptions(crash=crash, strategy=Strategy.WORST, states=9, oracles=Oracles(NONE))
    subject = subject_of(options, recording, predictor_of(options))
    names = list(shape.disk_sizes)
    jobs = []
    for ticket, chosen in enumerate(chosen_states(options, recording, states=9)):
        contents = dict(zip(names, chosen.contents(), strict=True))
        look = subject.look_at(chosen, contents, ticket)
        assert look.job is not None
        jobs.append(look.job)
    hanging = hanging_state(shape)
    predicted = predictor_of(options).predict(hanging)
    members = members_of(predicted)
    state = StateToRecover(number=77, contents=hanging, assemble=tuple(predicted.before))
    judge = functools.partial(judge_recovered, predicted, members, Looks(), shape.disk_sizes)
    jobs.insert(3, Job(state=state, number=77, identity=b"hangs", judge=judge, predicted=predicted))
    found: dict[int, Judged] = {}
    with guest_pool(crash.image, shape, recover_and_judge, guests=1, say=print) as pool:
        found |= {judged.job.state.number: judged for judged in pool.put(jobs)}
        while len(found) < len(jobs):
            found |= {judged.job.state.number: judged for judged in pool.next_ready()}
    verdict = found.pop(77).verdict
    assert verdict.outcome is Outcome.DIFFERS
    (finding,) = verdict.findings
    assert (finding.oracle, finding.what[:6]) == ("alive", "hangs:")
    assert any("r5l_start" in line for line in finding.details), "with the stacks"
    assert {j.verdict.outcome for j in found.values()} <= {Outcome.AGREES, Outcome.DIFFERS}
    assert all(j.done.recovered.settled for j in found.values()), "the others were recovered"


def hanging_state(shape: Shape) -> dict[str, DiskContent]:
    """Return the crash state that is kept with the findings."""
    contents = {}
    with tarfile.open(ROOT / "testcases/findings/assembly-hangs.tar.xz") as tar:
        for name in shape.disk_sizes:
            file = tar.extractfile(f"before/{name}.img")
            assert file is not None
            contents[name] = content = DiskContent()
            content.write(0, file.read())
    for content in contents.values():  # what is zero is a hole
        content.blocks = {n: block for n, block in content.blocks.items() if any(block)}
    return contents


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    "more", [["--strategy", "random"], ["--exhaustive", "1"]], ids=["drawn", "exhaustive"]
)
def test_killed_halfway_it_goes_on_and_comes_to_the_same(
    kernel: str, more: list[str], tmp_path: Path
) -> None:
    results = tmp_path / "results"
    environment = {
        **os.environ, "MDJOURNAL_RESULTS": str(results), "PYTHONPATH": str(ROOT),
        "TMPDIR": str(tmp_path),
    }  # fmt: skip
    command = [
        sys.executable, "-P", "-m", "tools.cli", "explore", "--kernel", kernel, "--seed", "4",
        "--steps", "5", "--states", "400", *more,
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
        states = store.known_states()
        assert len(states) == (400 if "random" in more else len(set(range(400)) & states))
        assert len(states) > 250
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
