"""What a running array must read back: worked out by hand for each case."""

from __future__ import annotations

import pytest

from harness.crash.workload import Write, WriteKind
from harness.ondisk.units import ArraySector
from harness.verdict.live_reads import EMPTY, Stamp, WrittenArray, judge_reads

SEED = 7
FOREIGN: Stamp = (-1, 0, 0)


def write(number: int, sector: int, sectors: int, kind: WriteKind = WriteKind.DATA) -> Write:
    return Write(number, ArraySector(sector), sectors, kind)


def stamps(*writes: int) -> list[Stamp]:
    """Return the stamps of page 0, whose sectors are of these writes."""
    return [(number, at, SEED) if number else EMPTY for at, number in enumerate(writes)]


def array(*, flushed: int = 9, failed: frozenset[int] = frozenset()) -> WrittenArray:
    """Return an array of which write 1 has page 0, write 2 its second half."""
    found = WrittenArray(SEED)
    for each in (write(1, 0, 8), write(2, 4, 4)):
        found.take([each], failed=each.number in failed)
    found.doubt(flushed)
    return found


def reds(found: WrittenArray, read: list[Stamp] | None) -> list[str]:
    judgement = judge_reads("read back", found, [(0, read)], when="then")
    return [finding.what for finding in judgement.findings]


def test_the_newest_writes_are_right() -> None:
    assert reds(array(), stamps(1, 1, 1, 1, 2, 2, 2, 2)) == []


@pytest.mark.parametrize(
    ("read", "said"),
    [
        (stamps(1, 1, 1, 1, 1, 2, 2, 2), "array sector 4 holds write 1 then; wanted write 2"),
        (stamps(0, 1, 1, 1, 2, 2, 2, 2), "array sector 0 holds zeroes then; wanted write 1"),
        ([*stamps(1, 1, 1, 1, 2, 2, 2), FOREIGN], "array sector 7 holds other bytes then"),
        ([(1, 8, SEED), *stamps(1, 1, 1, 1, 2, 2, 2, 2)[1:]], "holds write 1 of array sector 8"),
        ([(1, 0, 8), *stamps(1, 1, 1, 1, 2, 2, 2, 2)[1:]], "of array sector 0 (seed 8)"),
        (None, "array page 0 cannot be read then"),
    ],
)
def test_anything_else_is_not(read: list[Stamp] | None, said: str) -> None:
    found = reds(array(), read)
    assert len(found) == 1
    assert said in found[0]


@pytest.mark.parametrize("doubtful", [array(flushed=1), array(failed=frozenset({2}))])
def test_what_was_not_acknowledged_may_be_there_or_not(doubtful: WrittenArray) -> None:
    assert reds(doubtful, stamps(1, 1, 1, 1, 2, 2, 2, 2)) == []
    assert reds(doubtful, stamps(1, 1, 1, 1, 1, 1, 1, 1)) == []
    assert len(reds(doubtful, stamps(1, 1, 1, 1, 0, 0, 0, 0))) == 4


def test_a_write_behind_a_doubtful_one_ends_the_doubt() -> None:
    found = array(failed=frozenset({2}))
    found.take([write(3, 4, 1)], failed=False)
    assert reds(found, stamps(1, 1, 1, 1, 3, 2, 1, 2)) == []
    assert len(reds(found, stamps(1, 1, 1, 1, 2, 2, 1, 2))) == 1


def test_zeroes_are_zeroes_and_a_discard_is_what_was_there_or_zeroes() -> None:
    zeroed = array()
    zeroed.take([write(3, 0, 8, WriteKind.ZEROES)], failed=False)
    assert reds(zeroed, [EMPTY] * 8) == []
    assert len(reds(zeroed, stamps(1, 0, 0, 0, 0, 0, 0, 0))) == 1
    discarded = array()
    discarded.take([write(3, 0, 8, WriteKind.DISCARD)], failed=False)
    assert reds(discarded, [EMPTY] * 8) == []
    assert reds(discarded, stamps(1, 0, 1, 0, 2, 0, 2, 0)) == []
