"""Journals that no driver wrote, the smallest for each finding of `mdjournal fuzz`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from harness.campaign.crash import CrashOptions
from harness.campaign.exploring.batch import bank_guest
from harness.campaign.exploring.oracles import NONE, Oracles
from harness.campaign.exploring.recordings import bare_base
from harness.campaign.fuzzing import subject
from harness.campaign.fuzzing.ground import Ground, fuzzed_state, ground_of, state_with
from harness.campaign.fuzzing.subject import look_at
from harness.campaign.known_issues import known_issues_of
from harness.crash.base import contents_at_end
from harness.fuzzing.journal import Journal, WrittenMeta
from harness.fuzzing.model_array import ModelArray
from harness.fuzzing.payloads import Flush, Payload
from harness.fuzzing.site import noise, stripe_payloads
from harness.md.shape import MIB, Shape
from harness.verdict.verdict import Verdict
from testcases.lab import Lab
from tools.fuzz import fuzzed_shape

pytestmark = pytest.mark.guest

HANG_S = 10.0
TRIES = 4  # now and then reclaim makes room in time
SHAPE = fuzzed_shape(Shape(chunk_bytes=16384, journal_bytes=MIB))


@pytest.fixture(scope="module")
def crash(lab: Lab, kernel: str) -> CrashOptions:
    return lab.options(kernel, SHAPE, seed=1)


@pytest.fixture(scope="module")
def ground(crash: CrashOptions, tmp_path_factory: pytest.TempPathFactory) -> Ground:
    made = bare_base(crash, tmp_path_factory.mktemp("fuzz"), print)
    return ground_of(SHAPE, contents_at_end(made))


def array_of(ground: Ground, log_sectors: int) -> ModelArray:
    array = fuzzed_state(ground, seed=1, number=0).array
    return replace(array, log_sectors=log_sectors, missing=frozenset())


def stripe(array: ModelArray, number: int) -> Sequence[Payload]:
    at = array.sectors_of(8 * number)[0]
    return stripe_payloads(array, {at: noise(number)}, array.contents)


def verdict(
    crash: CrashOptions, ground: Ground, array: ModelArray, payloads: Sequence[Payload]
) -> Verdict:
    """Let the kernel recover a log of one meta block."""
    meta = WrittenMeta(seq=7, position=0, payloads=tuple(payloads))
    journal = Journal("one meta block", "hostile", [], tail=0, metas=[meta])
    state = state_with(ground, 0, array, journal)
    look = look_at(state, SHAPE.disk_sizes, crash.era, Oracles(NONE), seed=1, ticket=0)
    with bank_guest(crash.image, SHAPE, say=print) as guest:
        (done,) = guest.recover([look.job.state])
    return known_issues_of(crash.image.kernel_version, SHAPE).apply(look.job.judge(done))


def test_a_stripe_behind_the_array_is_written(crash: CrashOptions, ground: Ground) -> None:
    array = array_of(ground, 2048)
    behind = array.member_sectors // 8 + 1
    found = verdict(crash, ground, array, stripe(array, behind))
    assert found.reason == "recovery-writes-behind-the-array"
    assert len(found.findings) == 2, "its data and its parity"


def test_the_flush_of_a_data_only_stripe_warns(crash: CrashOptions, ground: Ground) -> None:
    array = array_of(ground, 2048)
    data = stripe(array, 3)[0]
    found = verdict(crash, ground, array, [data, Flush(stripes=(24,))])
    assert found.reason == "flush-of-data-only-stripe-warns"


def test_recovery_of_a_full_log_ends_in_a_bug_or_never(
    crash: CrashOptions, ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subject, "DEADLINE_S", HANG_S)
    array = array_of(ground, 160)
    data = [stripe(array, number)[0] for number in range(7)]
    found = next(
        (found for _ in range(TRIES) if (found := verdict(crash, ground, array, data)).reason),
        None,
    )
    assert found is not None, "it went well each time"
    assert found.reason in ("bug-in-recovery-of-a-full-log", "hang-in-recovery-of-a-full-log")
