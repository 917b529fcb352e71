"""Every short sequence of operations on a small array: bounded-exhaustive workloads.

Each sequence runs on an array whose first row of chunks was written before, all of it there for
good (`prelude`), and all operations are about that row, so that they meet in the same stripes.
"""

from __future__ import annotations

import enum
import itertools
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from harness.crash.pattern import Fill
from harness.crash.workload import (
    Area,
    FailJournal,
    FailMember,
    FlushStep,
    JournalMode,
    Restart,
    Step,
    SwitchMode,
    Workload,
    Write,
    WriteKind,
    WriteStep,
)
from harness.ondisk.units import BLOCK_SECTORS, SECTOR_BYTES, ArraySector

COMPLETE_LENGTH = 2  # up to here all sequences are taken, longer ones are sampled
SAMPLED = 400  # sequences of each longer length and mode
FAILED_SLOT = 0


class Operation(enum.Enum):
    """What a sequence is made of."""

    SUB_BLOCK = "sub-block write"
    BLOCK = "block"
    PARTIAL_STRIPE = "partial stripe"
    FULL_STRIPE = "full stripe"
    OVERWRITE = "overwrite"
    FLUSH = "flush"
    FUA = "FUA"
    DISCARD = "discard"
    ZEROES = "zeroes"
    TO_WRITE_BACK = "to write-back"
    TO_WRITE_THROUGH = "to write-through"
    FAIL_MEMBER = "member fails"
    FAIL_JOURNAL = "journal fails"
    RESTART = "stop and assemble"


@dataclass(frozen=True, slots=True)
class OperationSequence:
    """Operations one after another, and the mode in which they begin."""

    mode: JournalMode
    operations: tuple[Operation, ...]

    def __str__(self) -> str:
        """Say it in one line."""
        return f"{', '.join(o.value for o in self.operations)} ({self.mode.value})"


def operations_on(logical_block_bytes: int, *, discards: bool) -> tuple[Operation, ...]:
    """Return what can be done on an array: no part of a logical block is written, and only one
    that takes *discards* gets any.
    """
    impossible = set()
    if logical_block_bytes > SECTOR_BYTES:
        impossible.add(Operation.SUB_BLOCK)
    if not discards:
        impossible.add(Operation.DISCARD)
    return tuple(operation for operation in Operation if operation not in impossible)


def all_sequences(
    length: int, *, seed: int, operations: Sequence[Operation] = tuple(Operation)
) -> Iterator[OperationSequence]:
    """Yield every sequence of up to `COMPLETE_LENGTH` operations in both modes, sampled ones of
    each further length up to *length*; always in the same order.

    Degraded arrays take no write-back mode, and an array without its journal has none: sequences
    that ask for a mode behind a failure are left out, since md refuses that step.
    """
    for size in range(1, length + 1):
        every = [
            OperationSequence(mode, sequence)
            for mode in JournalMode
            for sequence in itertools.product(operations, repeat=size)
            if _can_be_done(sequence)
        ]
        if size > COMPLETE_LENGTH:
            count = min(len(every), SAMPLED * len(JournalMode))
            every = random.Random(f"{seed} {size}").sample(every, count)
        yield from every


def _can_be_done(operations: Sequence[Operation]) -> bool:
    failed: set[Operation] = set()
    for operation in operations:
        if operation in (Operation.FAIL_MEMBER, Operation.FAIL_JOURNAL):
            if failed:
                return False  # one failure is what these arrays are made for
            failed.add(operation)
        elif failed and operation in (Operation.TO_WRITE_BACK, Operation.TO_WRITE_THROUGH):
            return False
        elif Operation.FAIL_JOURNAL in failed and operation is Operation.RESTART:
            return False  # refused without --force
    return True


def prelude(area: Area, *, seed: int, fill: Fill = Fill.STREAM) -> Workload:
    """Return what is written to the array before any sequence: its first row of chunks."""
    return Workload(seed, (WriteStep((_row(1, area),)), FlushStep()), fill)


def workload_of_sequence(
    sequence: OperationSequence, area: Area, *, seed: int, fill: Fill = Fill.STREAM
) -> Workload:
    """Return the steps of a sequence; write 1 was the prelude's, and its step is not repeated."""
    steps: list[Step] = []
    number = 1
    for operation in sequence.operations:
        for step in _steps(operation, area, number + 1):
            if isinstance(step, WriteStep):
                number = step.writes[-1].number
            steps.append(step)
    return Workload(seed, tuple(steps), fill)


def _steps(operation: Operation, area: Area, number: int) -> tuple[Step, ...]:
    block = ArraySector(0)
    match operation:
        case Operation.SUB_BLOCK:
            return (WriteStep((Write(number, ArraySector(2), 3),)),)
        case Operation.BLOCK:
            return (WriteStep((Write(number, block, BLOCK_SECTORS),)),)
        case Operation.PARTIAL_STRIPE:  # one chunk of the row: each of its stripes in part
            return (WriteStep((Write(number, block, area.chunk_sectors),)),)
        case Operation.FULL_STRIPE:
            return (WriteStep((_row(number, area),)),)
        case Operation.OVERWRITE:
            writes = (Write(n, block, BLOCK_SECTORS) for n in (number, number + 1))
            return tuple(WriteStep((write,)) for write in writes)
        case Operation.FUA:
            return (WriteStep((Write(number, block, BLOCK_SECTORS, fua=True),)),)
        case Operation.DISCARD:
            discard = Write(number, block, area.row_sectors, WriteKind.DISCARD)
            return (WriteStep((discard,)),)
        case Operation.ZEROES:
            return (WriteStep((Write(number, block, 2 * BLOCK_SECTORS, WriteKind.ZEROES),)),)
        case _:
            return (_PLAIN_STEPS[operation],)


_PLAIN_STEPS: dict[Operation, Step] = {
    Operation.FLUSH: FlushStep(),
    Operation.TO_WRITE_BACK: SwitchMode(JournalMode.WRITE_BACK),
    Operation.TO_WRITE_THROUGH: SwitchMode(JournalMode.WRITE_THROUGH),
    Operation.FAIL_MEMBER: FailMember(FAILED_SLOT),
    Operation.FAIL_JOURNAL: FailJournal(),
    Operation.RESTART: Restart(),
}


def _row(number: int, area: Area) -> Write:
    return Write(number, ArraySector(0), area.row_sectors)
