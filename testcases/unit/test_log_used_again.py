"""A short log, of which recovery uses the beginning again before it is through with writing out."""

from __future__ import annotations

from dataclasses import replace

import pytest

from harness.campaign.exploring.state_judging import judge_contents
from harness.campaign.fuzzing.ground import state_with
from harness.crash.content import DiskContent
from harness.fuzzing.journal import Journal, WrittenMeta
from harness.fuzzing.payloads import Parity, Payload, meta_block
from harness.fuzzing.site import noise, stripe_payloads
from harness.md.shape import JOURNAL_NAME
from harness.ondisk.superblock import with_log
from harness.recovery.era import ERAS
from harness.verdict.predicted_state import PredictedState, predict_state, runs_out_of_log
from harness.verdict.rewritten_log import _rewritten_blocks
from testcases.unit.fuzzed_ground import SHAPE, ground
from testcases.unit.test_over_the_edge import ARRAY

STRIPES = 6
DATA_AT = 2048
SHORT = replace(ARRAY, log_sectors=160)


@pytest.fixture(scope="module")
def predicted() -> PredictedState:
    payloads: list[Payload] = []
    for number in range(STRIPES):
        at = SHORT.sectors_of(8 * number)[0]
        payloads.append(stripe_payloads(SHORT, {at: noise(number)}, SHORT.contents)[0])
    meta = WrittenMeta(seq=7, position=0, payloads=tuple(payloads))
    journal = Journal("data only", "crowded", [], tail=0, metas=[meta])
    state = state_with(ground(), 0, SHORT, journal)
    return predict_state(state.contents, SHAPE.disk_sizes, ERAS["6.12.117"], stripe_cache_size=256)


def left(predicted: PredictedState, *, tail: int) -> dict[str, DiskContent]:
    """Return what a kernel leaves that logs one meta block for the parity of each stripe."""
    after = {name: content.copy() for name, content in predicted.after.items()}
    log = after[JOURNAL_NAME]
    for at, block in _rewritten_blocks(predicted.plan, predicted.log):
        log.blocks[(DATA_AT + at) // 8] = block
    last = predicted.plan.rewritten[-1]
    position = (last.position + 16) % 160
    seq = last.seq + 1
    for number in range(STRIPES):
        parity = parity_of(predicted, number)
        payloads = [Parity(location=8 * number, pages=(parity,))]
        meta = meta_block(seed=SHORT.seed, seq=seq, position=position, payloads=payloads)
        for page in (meta, parity):
            log.blocks[(DATA_AT + position) // 8] = page
            position = (position + 8) % 160
        seq += 1
    journal = predicted.array.superblocks[JOURNAL_NAME]
    log.write(4096, with_log(journal, tail=tail, data_size=160))
    return after


def parity_of(predicted: PredictedState, number: int) -> bytes:
    row = SHORT.geometry.row_at(predicted.plan.data_only[number].stripe)
    member = predicted.after[SHAPE.member_names[row.pd_idx]]
    return member.read((DATA_AT + 8 * number) * 512, 4096)


def said(predicted: PredictedState, after: dict[str, DiskContent]) -> list[str]:
    _, journal = judge_contents(predicted, after, SHAPE.disk_sizes)
    return [finding.what for finding in journal.findings]


def test_what_is_reclaimed_may_be_used_again(predicted: PredictedState) -> None:
    assert runs_out_of_log(predicted)
    tail = predicted.plan.rewritten[-1].position
    assert said(predicted, left(predicted, tail=tail)) == []


def test_what_is_not_reclaimed_may_not(predicted: PredictedState) -> None:
    found = said(predicted, left(predicted, tail=predicted.plan.journal_tail))
    assert any("is not the data-only stripe rewritten" in what for what in found)


def test_what_is_used_again_is_compared(predicted: PredictedState) -> None:
    after = left(predicted, tail=predicted.plan.rewritten[-1].position)
    at = (DATA_AT + predicted.plan.journal_tail) // 8
    after[JOURNAL_NAME].blocks[at] = noise(5)
    assert said(predicted, after) != []
