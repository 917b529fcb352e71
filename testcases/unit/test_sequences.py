"""Every short sequence is there once, can be done, and means what its operations say."""

from __future__ import annotations

import pytest

from harness.crash.sequences import (
    SAMPLED,
    Operation,
    OperationSequence,
    all_sequences,
    prelude,
    workload_of_sequence,
)
from harness.crash.workload import (
    Area,
    FailJournal,
    FailMember,
    FlushStep,
    JournalMode,
    Restart,
    SwitchMode,
    WriteKind,
    WriteStep,
)

AREA = Area(32, 2, 32768)


def steps_of(*operations: Operation) -> list[object]:
    sequence = OperationSequence(JournalMode.WRITE_THROUGH, operations)
    return list(workload_of_sequence(sequence, AREA, seed=7).steps)


def test_all_of_one_and_of_two_are_there_once_in_both_modes() -> None:
    every = list(all_sequences(2, seed=0))
    assert len(set(every)) == len(every)
    for mode in JournalMode:
        mine = [s.operations for s in every if s.mode is mode]
        assert {operations for operations in mine if len(operations) == 1} == {
            (operation,) for operation in Operation
        }
        pairs = {operations for operations in mine if len(operations) == 2}
        left_out = {(a, b) for a in Operation for b in Operation} - pairs
        fails = {Operation.FAIL_MEMBER, Operation.FAIL_JOURNAL}
        refused = {Operation.TO_WRITE_BACK, Operation.TO_WRITE_THROUGH}
        assert left_out == {(a, b) for a in fails for b in fails | refused} | {
            (Operation.FAIL_JOURNAL, Operation.RESTART)
        }


def test_longer_ones_are_sampled_by_the_seed() -> None:
    threes = [s for s in all_sequences(3, seed=1) if len(s.operations) == 3]
    assert len(threes) == SAMPLED * len(JournalMode)
    assert threes == [s for s in all_sequences(3, seed=1) if len(s.operations) == 3]
    assert threes != [s for s in all_sequences(3, seed=2) if len(s.operations) == 3]


@pytest.mark.parametrize("operation", Operation)
def test_every_operation_is_a_step_of_its_own_kind(operation: Operation) -> None:
    steps = steps_of(operation)
    kinds = {
        Operation.FLUSH: FlushStep, Operation.TO_WRITE_BACK: SwitchMode,
        Operation.TO_WRITE_THROUGH: SwitchMode, Operation.FAIL_MEMBER: FailMember,
        Operation.FAIL_JOURNAL: FailJournal, Operation.RESTART: Restart,
    }  # fmt: skip
    assert all(isinstance(step, kinds.get(operation, WriteStep)) for step in steps)
    assert len(steps) == (2 if operation is Operation.OVERWRITE else 1)


def test_writes_are_what_their_names_say() -> None:
    def write(operation: Operation) -> tuple[int, int, WriteKind, bool]:
        step = steps_of(operation)[-1]
        assert isinstance(step, WriteStep)
        (only,) = step.writes
        return only.sector, only.sectors, only.kind, only.fua

    data = WriteKind.DATA
    assert write(Operation.SUB_BLOCK) == (2, 3, data, False), "within one page"
    assert write(Operation.BLOCK) == write(Operation.OVERWRITE) == (0, 8, data, False)
    assert write(Operation.PARTIAL_STRIPE) == (0, 32, data, False), "one chunk of two"
    assert write(Operation.FULL_STRIPE) == (0, 64, data, False)
    assert write(Operation.FUA) == (0, 8, data, True)
    assert write(Operation.DISCARD) == (0, 64, WriteKind.DISCARD, False)
    assert write(Operation.ZEROES) == (0, 16, WriteKind.ZEROES, False)


def test_writes_are_numbered_from_behind_the_prelude_s() -> None:
    assert [w.number for w in prelude(AREA, seed=7).writes] == [1]
    sequence = OperationSequence(
        JournalMode.WRITE_BACK, (Operation.OVERWRITE, Operation.FLUSH, Operation.BLOCK)
    )
    assert [w.number for w in workload_of_sequence(sequence, AREA, seed=7).writes] == [2, 3, 4]
    assert str(sequence) == "overwrite, flush, block (write-back)"
