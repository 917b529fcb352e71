"""A journal taken apart and put together again, whole or in part."""

from __future__ import annotations

import pytest

from harness.campaign.fuzzing.ground import fuzzed_state
from harness.fuzzing.payloads import TRUE
from harness.fuzzing.pieces import journal_of, pieces_of
from testcases.unit.fuzzed_ground import ground

HOSTILE = [n for n in range(60) if fuzzed_state(ground(), 1, n).journal.kind == "hostile"]


@pytest.mark.parametrize("number", HOSTILE[:20])
def test_all_pieces_make_the_same_blocks(number: int) -> None:
    state = fuzzed_state(ground(), 1, number)
    whole = journal_of(pieces_of(state.journal), state.journal, state.array)
    assert whole.blocks(state.array) == state.journal.blocks(state.array)
    assert whole.tail == state.journal.tail


def test_what_stays_moves_up() -> None:
    state = next(
        state
        for state in (fuzzed_state(ground(), 1, number) for number in HOSTILE)
        if len(state.journal.metas) > 3
    )
    pieces = pieces_of(state.journal)
    first = [piece for piece in pieces if piece.number == 0 and piece.loose is None]
    left = [piece for piece in pieces if piece not in first]
    journal = journal_of(left, state.journal, state.array)
    assert len(journal.metas) == len(state.journal.metas) - 1
    assert journal.metas[0].position == state.journal.metas[0].position
    assert journal.metas[0].payloads == state.journal.metas[1].payloads
    assert [m.seq - journal.metas[0].seq for m in journal.metas] == list(range(len(journal.metas)))


def test_a_payload_goes_with_its_meta_block() -> None:
    state = fuzzed_state(ground(), 1, HOSTILE[0])
    pieces = [piece for piece in pieces_of(state.journal) if piece.payload is not None]
    assert journal_of(pieces, state.journal, state.array).metas == []


def test_lies_are_taken_back() -> None:
    for number in HOSTILE:
        state = fuzzed_state(ground(), 1, number)
        for piece in pieces_of(state.journal):
            true = piece.without_lies()
            assert true.without_lies() == true
            if true.meta is not None:
                assert true.meta.lies == TRUE
