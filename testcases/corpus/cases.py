"""What the corpus has cases of: everything that decides a case follows from its name."""

from __future__ import annotations

import enum
import itertools
import zlib
from dataclasses import dataclass

from harness.campaign.crash import CrashOptions, workload_of
from harness.crash.pattern import Fill
from harness.crash.states import Loss
from harness.crash.workload import FailMember, FlushStep, JournalMode, Step, StopArray, Workload
from harness.errors import BadInput
from harness.md.shape import KIB, Shape
from harness.recovery.layout import Level, layout_named

KERNELS = ("5.10", "6.1", "6.12", "7.3")


class Kind(enum.Enum):
    """How the array comes to its end."""

    STOPPED = "stopped"  # by mdadm, and assembled again
    CUT = "cut"
    WRAPPED = "wrapped"  # cut, the log written around more than once
    DEGRADED = "degraded"  # a member fails, more is written, then the power is cut


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseSpec:
    """How a case is made."""

    name: str
    kernel: str
    kind: Kind
    shape: Shape
    steps: int
    seed: int
    loss: Loss = Loss.ALL
    failed: tuple[int, ...] = ()  # slots, each failed after its share of the steps
    with_data_only: bool = False  # whether there must be data-only stripes
    fill: Fill = Fill.PLAIN

    def workload(self, options: CrashOptions) -> Workload:
        """Return the drawn workload with what this kind of case adds to it."""
        drawn = workload_of(options)
        steps: list[Step] = list(drawn.steps)
        for number, slot in enumerate(reversed(self.failed)):
            share = (len(self.failed) - number) / (len(self.failed) + 1)
            steps.insert(round(share * len(drawn.steps)), FailMember(slot))
        if self.kind is Kind.STOPPED:
            while isinstance(steps[-1], FlushStep):
                steps.pop()
            steps.append(StopArray())
        return Workload(drawn.seed, tuple(steps), drawn.fill)


# For each level a layout for each kernel, so that the corpus has many.
_LAYOUTS = {
    Level.RAID4: ("parity-last", "parity-last", "parity-last", "parity-last"),
    Level.RAID5: ("left-asymmetric", "left-symmetric", "right-symmetric", "parity-first"),
    Level.RAID6: ("ddf-zero-restart", "left-symmetric", "right-asymmetric", "left-symmetric-6"),
}
_MEMBERS = {Level.RAID4: 3, Level.RAID5: 3, Level.RAID6: 4}
_JOURNAL = {Kind.WRAPPED: 128 * KIB}
_STEPS = {Kind.STOPPED: 6, Kind.CUT: 9, Kind.WRAPPED: 14, Kind.DEGRADED: 10}
_FAILED = {
    (Level.RAID4, JournalMode.WRITE_THROUGH): (0,),
    (Level.RAID4, JournalMode.WRITE_BACK): (2,),  # the parity
    (Level.RAID5, JournalMode.WRITE_THROUGH): (1,),
    (Level.RAID5, JournalMode.WRITE_BACK): (0,),
    (Level.RAID6, JournalMode.WRITE_THROUGH): (0, 2),
    (Level.RAID6, JournalMode.WRITE_BACK): (3,),
}


def _shape(level: Level, mode: JournalMode, layout: str, members: int, journal: int) -> Shape:
    return Shape(
        level=level, members=members, layout=layout_named(level, layout).number,
        chunk_bytes=8 * KIB, component_bytes=512 * KIB, journal_bytes=journal, mode=mode,
    )  # fmt: skip


def _spec(level: Level, mode: JournalMode, kind: Kind, kernel: str) -> CaseSpec:
    name = f"raid{level:d}-{mode.value}-{kind.value}-{kernel}"
    layout = _LAYOUTS[level][KERNELS.index(kernel)]
    journal = _JOURNAL.get(kind, 256 * KIB)
    return CaseSpec(
        name=name, kernel=kernel, kind=kind, steps=_STEPS[kind], seed=_seed(name),
        shape=_shape(level, mode, layout, _MEMBERS[level], journal),
        # What a stopped array's disks had in their caches is read from there: no power is cut.
        loss=Loss.NONE if kind is Kind.STOPPED else Loss.ALL,
        failed=_FAILED[level, mode] if kind is Kind.DEGRADED else (),
        with_data_only=kind is Kind.CUT and mode is JournalMode.WRITE_BACK,
    )  # fmt: skip


def _seed(name: str) -> int:
    return zlib.crc32(name.encode()) % 10_000


GRID = {
    spec.name: spec
    for spec in itertools.starmap(_spec, itertools.product(Level, JournalMode, Kind, KERNELS))
}


def _more() -> tuple[CaseSpec, ...]:
    """Return what the grid does not have."""
    write_through, write_back = JournalMode.WRITE_THROUGH, JournalMode.WRITE_BACK
    return (
        CaseSpec(
            name="raid5-wrapped-torn-6.1", kernel="6.1", kind=Kind.WRAPPED, steps=14, seed=108,
            shape=_shape(Level.RAID5, write_through, "left-symmetric", 3, 128 * KIB),
            loss=Loss.RANDOM, fill=Fill.STREAM,
        ),
        # Five members: read-modify-write for a single page.
        CaseSpec(
            name="raid5-of-five-write-back-6.12", kernel="6.12", kind=Kind.CUT, steps=6, seed=107,
            shape=_shape(Level.RAID5, write_back, "left-symmetric", 5, 256 * KIB),
            with_data_only=True, fill=Fill.STREAM,
        ),
        CaseSpec(
            name="raid5-right-asymmetric-5.10", kernel="5.10", kind=Kind.CUT, steps=6, seed=106,
            shape=_shape(Level.RAID5, write_through, "right-asymmetric", 3, 256 * KIB),
        ),
        # A member fails and the power is cut before what was cached is written out; the log is
        # large enough to keep it until then.
        *(
            CaseSpec(
                name=f"raid{level:d}-degraded-data-only-{kernel}", kernel=kernel,
                kind=Kind.DEGRADED, steps=6, seed=300 + level,
                shape=_shape(level, write_back, layout, _MEMBERS[level] + 1, 1024 * KIB),
                failed=failed, with_data_only=True,
            )
            for kernel in ("6.1", "7.3")
            for level, layout, failed in (
                (Level.RAID4, "parity-last", (1,)),
                (Level.RAID5, "left-symmetric", (1,)),
                (Level.RAID6, "left-symmetric", (1,)),
            )
        ),
    )  # fmt: skip


CASES = GRID | {spec.name: spec for spec in _more()}


def case_named(name: str) -> CaseSpec:
    """Return the case that is made under a name.

    Raises:
        BadInput: with how names are made.
    """
    if name in CASES:
        return CASES[name]
    form = "raid{4,5,6}-{write-through,write-back}-{stopped,cut,wrapped,degraded}-"
    known = f"{form}{{{','.join(KERNELS)}}}"
    others = ", ".join(sorted(CASES.keys() - GRID.keys()))
    raise BadInput(f"case {name!r}: not known; known: {known}, {others}; add it to cases.py")
