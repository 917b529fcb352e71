"""Delta debugging: the fewest parts of something that still do what all of it does.

A. Zeller and R. Hildebrandt, "Simplifying and Isolating Failure-Inducing Input" (2002): ddmin.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from harness.crash.workload import Step, Workload, Write, WriteStep

PartT = TypeVar("PartT")


def minimise(
    parts: Sequence[PartT], still_does: Callable[[Sequence[PartT]], bool]
) -> Sequence[PartT]:
    """Return a part of *parts*, in their order, of which no single one can be left out.

    Args:
        parts: of something that does it.
        still_does: whether a selection of them still does; asked for few of all selections.
    """
    pieces = 2
    while len(parts) >= 1:
        size = -(-len(parts) // pieces)
        for first in range(0, len(parts), size):
            rest = [*parts[:first], *parts[first + size :]]
            if still_does(rest):
                parts = rest
                pieces = max(pieces - 1, 2)
                break
        else:
            if size <= 1:
                return parts
            pieces = min(2 * pieces, len(parts))
    return parts


@dataclass(frozen=True, slots=True)
class Atom:
    """The smallest piece of a workload: one write of a burst, or a step that is not one."""

    burst: int  # writes of the same burst are issued at once
    part: Write | Step


def atoms_of(steps: Sequence[Step]) -> list[Atom]:
    """Take steps apart."""
    found: list[Atom] = []
    for number, step in enumerate(steps):
        parts = step.writes if isinstance(step, WriteStep) else (step,)
        found += (Atom(number, part) for part in parts)
    return found


def workload_of_atoms(atoms: Sequence[Atom], before: Workload) -> tuple[Workload, Workload]:
    """Put atoms together again, their writes numbered anew from behind those of *before* on.

    Returns:
        All of it, and the steps behind *before* alone.
    """
    number = max((write.number for write in before.writes), default=0)
    steps: list[Step] = []
    bursts: list[int] = []
    for atom in atoms:
        if not isinstance(atom.part, Write):
            steps.append(atom.part)
            bursts.append(-1)
            continue
        number += 1
        write = replace(atom.part, number=number)
        last = steps[-1] if steps else None
        if isinstance(last, WriteStep) and bursts[-1] == atom.burst:
            steps[-1] = WriteStep((*last.writes, write))
        else:
            steps.append(WriteStep((write,)))
            bursts.append(atom.burst)
    whole = replace(before, steps=(*before.steps, *steps))
    return whole, replace(before, steps=tuple(steps))
