"""Exploring on a real kernel: batches, classes, going on after a kill, and that it can turn red."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from harness.campaign.batch import RecoveredState, StateToRecover, bank_guest
from harness.campaign.explore import STORE, ExploreOptions, explore
from harness.campaign.explore_store import opened_store
from harness.campaign.state_judging import judge_recovered
from harness.crash.strategies import Strategy, choose_states, count_states
from harness.crash.trace import Cache
from harness.crash.walk import walk
from harness.md.shape import JournalMode, Shape
from harness.verdict.predicted_state import PredictedState, predict_state
from harness.verdict.verdict import Outcome
from testcases.lab import Lab

pytestmark = pytest.mark.guest

ROOT = Path(__file__).resolve().parent.parent.parent
STATES = 150


def options_of(lab: Lab, kernel: str, shape: Shape, **changes: object) -> ExploreOptions:
    crash = lab.options(kernel, shape, seed=3, steps=5)
    options = ExploreOptions(crash=crash, strategy=Strategy.EPOCHS, states=STATES)
    return replace(options, **changes)  # type: ignore[arg-type]


def outcomes(folder: Path) -> tuple[int, list[Outcome], list[str]]:
    """Return how many states there are, the verdicts of their classes, and every objection."""
    with opened_store(folder / STORE) as store:
        records = list(store.class_records())
        red = [verdict for _, _, verdict in store.red_states()]
        wrong = [
            f"{verdict.outcome.value}: {finding.what}"
            for verdict in (*(record.verdict for record in records), *red)
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
    explored = explore(options, tmp_path, guests=2, say=print)
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
    explore(options_of(lab, kernel, shape), tmp_path, guests=2, say=print)
    with opened_store(tmp_path / STORE) as store:
        records = list(store.class_records())
        holes = [verdict for _, _, verdict in store.red_states()]
    assert [r.verdict for r in records if r.verdict.outcome is not Outcome.AGREES] == []
    read = [judgement for r in records for judgement in r.verdict.judgements][2]
    assert read.oracle == "read back", "the kernel itself read what is judged"
    assert len(holes) > STATES / 5
    said = [finding.what for verdict in holes for finding in verdict.findings]
    assert any("which no write put there whole" in what for what in said)


@pytest.fixture(scope="module")
def recovered(lab: Lab, kernel: str) -> tuple[PredictedState, RecoveredState, dict[str, int]]:
    """One state with stripes to replay, recovered by the kernel."""
    options = lab.options(kernel, Shape(), seed=3, steps=5)
    recording = lab.record(options)
    trace = recording.trace
    cuts = list(walk(trace, recording.first_event, recording.first_event + recording.events - 1))
    counts = [count_states(cut, Strategy.WORST, trace.disks) for cut in cuts]
    chosen = list(choose_states(cuts, counts, Strategy.WORST, trace.disks, states=9, seed=1))[4]
    contents = dict(zip((d.name for d in trace.disks), chosen.contents(), strict=True))
    sizes = {disk.name: disk.size_bytes for disk in trace.disks}
    predicted = predict_state(contents, sizes, options.era, stripe_cache_size=256)
    assert predicted.plan.data_parity
    state = StateToRecover(number=0, contents=contents, assemble=tuple(predicted.before))
    with bank_guest(options.image, options.shape, say=print) as guest:
        (done,) = guest.recover([state])
    return predicted, done, sizes


Recovery = tuple[PredictedState, RecoveredState, dict[str, int]]


def test_a_recovery_agrees_as_it_is(recovered: Recovery) -> None:
    assert judge_recovered(*recovered).outcome is Outcome.AGREES


def tampered(recovered: Recovery) -> Iterator[tuple[str, RecoveredState]]:
    """Yield what an oracle must object to."""
    predicted, done, sizes = recovered
    writes, names = done.writes, list(sizes)
    journal = len(sizes) - 1
    last = {(write.disk, write.offset): write for write in writes}
    pages = [
        write
        for write in writes
        if write.disk != journal
        and write is last[write.disk, write.offset]
        and write.offset > 8192
        and predicted.before[names[write.disk]].read(write.offset, write.length) != write.payload
    ]
    metas = [write for write in writes if write.disk == journal and write.offset > 8192]
    yield "differential", replace(done, writes=tuple(w for w in writes if w is not pages[0]))
    changed = replace(pages[0], payload=bytes([pages[0].payload[0] ^ 1]) + pages[0].payload[1:])
    yield (
        "differential",
        replace(done, writes=tuple(changed if w is pages[0] else w for w in writes)),
    )
    stray = replace(pages[-1], offset=pages[-1].offset + (8 << 20))
    yield "differential", replace(done, writes=(*writes, stray))
    yield "differential", replace(done, writes=tuple(w for w in writes if w not in metas))
    log = [line.replace("data-parity", "other") for line in done.recovered.kernel_log]
    said = tuple(line for line in log if "recovering" not in line)
    yield "journal truth", replace(done, recovered=replace(done.recovered, kernel_log=said))
    warned = (*done.recovered.kernel_log, "WARNING: CPU: 0 PID: 1 at drivers/md/raid5.c")
    yield "alive", replace(done, recovered=replace(done.recovered, kernel_log=warned))
    failed = replace(done.recovered.assembled, status=1, output="md: Invalid argument")
    refused = replace(done.recovered, assembled=failed, settled=False, stopped=None)
    yield "available", replace(done, recovered=refused)
    hung = replace(done.recovered.assembled, status=None, stack="r5l_start")
    yield (
        "alive",
        replace(
            done, recovered=replace(done.recovered, assembled=hung, settled=False, stopped=None)
        ),
    )


@pytest.mark.parametrize("number", range(8))
def test_every_oracle_can_object(recovered: Recovery, number: int) -> None:
    oracle, done = list(tampered(recovered))[number]
    predicted, _, sizes = recovered
    verdict = judge_recovered(predicted, done, sizes)
    assert verdict.outcome is Outcome.DIFFERS
    assert verdict.findings[0].oracle == oracle


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
