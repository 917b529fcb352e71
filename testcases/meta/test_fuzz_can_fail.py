"""A journal at random, recovered by the kernel and tampered with: every oracle can object."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from harness.campaign.crash import CrashOptions
from harness.campaign.exploring.batch import RecoveredState, bank_guest
from harness.campaign.exploring.oracles import EVERY, Oracles
from harness.campaign.exploring.recordings import bare_base
from harness.campaign.fuzzing.ground import fuzzed_state, ground_of
from harness.campaign.fuzzing.subject import FuzzLook, judge_fuzzed, look_at
from harness.crash.base import contents_at_end
from harness.crash.trace import Issue
from harness.md.shape import MIB, Shape
from harness.recovery.era import ERAS
from harness.verdict.predicted_state import PredictedState, predict_state
from harness.verdict.verdict import Outcome, Verdict
from testcases.lab import Lab
from tools.fuzz import fuzzed_shape

pytestmark = pytest.mark.guest

SHAPE = fuzzed_shape(Shape(chunk_bytes=16384, journal_bytes=MIB))


@dataclass(frozen=True)
class Case:
    """A recovery with stripes to replay."""

    crash: CrashOptions
    look: FuzzLook
    done: RecoveredState

    @property
    def predicted(self) -> PredictedState:
        """What was predicted."""
        assert self.look.predicted is not None
        return self.look.predicted

    def verdict(self, done: RecoveredState | None = None) -> Verdict:
        """Judge it, or what became of it in other hands."""
        return self.look.job.judge(done or self.done)


@pytest.fixture(scope="module")
def case(lab: Lab, kernel: str, tmp_path_factory: pytest.TempPathFactory) -> Case:
    crash = lab.options(kernel, SHAPE, seed=1)
    folder: Path = tmp_path_factory.mktemp("fuzz")
    ground = ground_of(SHAPE, contents_at_end(bare_base(crash, folder, print)))
    for number in range(200):
        state = fuzzed_state(ground, 1, number)
        if state.journal.kind != "legal" or state.array.missing:
            continue
        look = look_at(state, SHAPE.disk_sizes, crash.era, Oracles(EVERY), seed=1, ticket=number)
        predicted = look.predicted
        if predicted and predicted.plan.data_parity > 1 and not predicted.plan.data_only:
            with bank_guest(crash.image, SHAPE, say=print) as guest:
                (done,) = guest.recover([look.job.state])
            return Case(crash, look, done)
    raise AssertionError("no journal with stripes to replay")


def test_it_agrees_as_it_is_and_all_oracles_looked(case: Case) -> None:
    verdict = case.verdict()
    assert verdict.outcome is Outcome.AGREES, verdict.reason
    assert {judgement.oracle for judgement in verdict.judgements} == {
        "available", "alive", "journal truth", "differential, members", "differential, journal",
        "second recovery", "guards",
    }  # fmt: skip


def tampered(case: Case) -> Iterator[tuple[str, str, RecoveredState]]:
    """Yield the oracle that must object, how it is tampered with, and what became of it then."""
    done = case.done
    page = next(w for w in done.writes if w.disk == 0 and w.offset > 8192)
    journal = len(SHAPE.disk_sizes) - 1
    meta = next(w for w in done.writes if w.disk == journal and w.offset > 8192)
    flipped = replace(page, payload=bytes([page.payload[0] ^ 1]) + page.payload[1:])

    def more(*writes: Issue) -> RecoveredState:
        return replace(done, writes=(*done.writes, *writes))

    def instead(old: Issue, new: tuple[Issue, ...]) -> RecoveredState:
        kept = (w for write in done.writes for w in (new if write is old else (write,)))
        return replace(done, writes=tuple(kept))

    yield "differential", "a page with another bit", more(flipped)
    yield "differential", "a page less", instead(page, ())
    yield "differential", "a meta block less", instead(meta, ())
    end = SHAPE.member_disk_bytes
    same = case.predicted.before["member0"].read(end - 4096, 4096)
    yield "guards", "behind a member's data", more(replace(page, offset=end - 4096))
    yield "guards", "what is there anyway", more(replace(page, offset=end - 4096, payload=same))
    yield "guards", "before a member's data", more(replace(page, offset=65536))
    yield "guards", "behind the log", more(replace(meta, offset=SHAPE.journal_disk_bytes - 4096))
    yield "guards", "before the log", more(replace(meta, offset=16384))
    yield (
        "guards",
        "by a second recovery",
        replace(done, writes_of_second=(*done.writes_of_second, replace(page, offset=65536))),
    )
    recovered = done.recovered
    warned = (*recovered.kernel_log, "WARNING: CPU: 0 PID: 1 at drivers/md/raid5.c")
    yield "alive", "a warning", replace(done, recovered=replace(recovered, kernel_log=warned))
    failed = replace(recovered.assembled, status=1, output="md: Invalid argument")
    refused = replace(recovered, assembled=failed, settled=False, stopped=None)
    yield "available", "refused", replace(done, recovered=refused)


def test_every_oracle_can_object(case: Case) -> None:
    for oracle, how, done in tampered(case):
        verdict = case.verdict(done)
        assert verdict.outcome is Outcome.DIFFERS, how
        assert oracle in {finding.oracle for finding in verdict.findings}, how


def test_a_model_that_is_wrong_is_seen(case: Case) -> None:
    """The prediction of another era, and one with a single byte changed."""
    state = case.look.job.state
    predicted = case.predicted
    after = {name: content.copy() for name, content in predicted.after.items()}
    page = next(write for write in case.done.writes if write.disk == 0 and write.offset > 8192)
    old = after["member0"].read(page.offset, 1)
    after["member0"].write(page.offset, bytes([old[0] ^ 1]))
    wrong = replace(predicted, after=after)
    verdict = judge_fuzzed(wrong, state.looks, SHAPE.disk_sizes, case.done)
    assert "differential" in {finding.oracle for finding in verdict.findings}
    other = look_at_in_era(case, "4.9")
    verdict = judge_fuzzed(other, state.looks, SHAPE.disk_sizes, case.done)
    assert verdict.outcome is Outcome.DIFFERS


def look_at_in_era(case: Case, era: str) -> PredictedState:
    contents = {name: case.look.job.state.contents[name] for name in case.predicted.before}
    return predict_state(contents, SHAPE.disk_sizes, ERAS[era], stripe_cache_size=256)
