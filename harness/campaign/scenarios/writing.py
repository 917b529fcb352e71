"""Verbs that write to the array and read it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from harness.campaign.scenarios.scenario import Verb
from harness.campaign.scenarios.stage import Data, Stage
from harness.crash.bursts import Bursts, Extent, drawn_bursts
from harness.crash.workload import FlushStep, WriteKind, WriteStep
from harness.md import array as md

_LOAD_BURSTS = 4000  # more than any step beside it leaves time for
_UNDER_WAY_S = 5  # until a thread has begun to flush
_LOG_PAGES_OF_BLOCK = 2  # a block on its own, not yet with parity: its meta block and itself


@dataclass(frozen=True, slots=True, kw_only=True)
class Write(Verb):
    """Write in bursts, at places that the seed draws; each burst waits for the one before."""

    words: ClassVar[str] = "write"

    bursts: int = 8
    at_once: int = 4
    extent: Extent = Extent.MIX
    rows: int = 6
    kind: WriteKind = WriteKind.DATA
    fua: bool = False
    may_fail: bool = False  # with an error, which the writer gets to see
    must_fail: bool = False  # at least one of them

    def do(self, stage: Stage) -> None:
        """Write."""
        failed = stage.write(self.drawn(stage), may_fail=self.may_fail or self.must_fail)
        if self.must_fail:
            stage.require(failed > 0, "writes are refused with an error")

    def drawn(self, stage: Stage) -> Sequence[Data]:
        """Return the writes."""
        wanted = Bursts(
            bursts=self.bursts, at_once=self.at_once, extent=self.extent, rows=self.rows,
            kind=self.kind, fua=self.fua,
        )  # fmt: skip
        steps = drawn_bursts(wanted, stage.area, stage.draw(), last=stage.last_write)
        stage.next_number(steps)
        return steps


@dataclass(frozen=True, slots=True, kw_only=True)
class FillCache(Verb):
    """Write single blocks, one after another, that take a share of the journal.

    In write-back mode they stay in the log alone, until md reclaims them: it does so from three
    quarters of the stripe cache on, and when the log runs out of space.
    """

    words: ClassVar[str] = "fill cache"

    share: float

    def do(self, stage: Stage) -> None:
        """Write."""
        blocks = int(stage.shape.journal_bytes * self.share) // (4096 * _LOG_PAGES_OF_BLOCK)
        rows = -(-blocks * 8 // stage.area.row_sectors) * 2
        fill = Write(bursts=max(1, blocks), at_once=1, extent=Extent.BLOCK, rows=max(6, rows))
        fill.do(stage)


@dataclass(frozen=True, slots=True)
class Flush(Verb):
    """Flush the array: all that was written before is acknowledged."""

    words: ClassVar[str] = "flush"

    def do(self, stage: Stage) -> None:
        """Flush. Beside writes that go on nobody can tell what it covers: nothing is promised."""
        if stage.is_loaded:
            Fsync().do(stage)
        else:
            stage.write([FlushStep()])


@dataclass(frozen=True, slots=True)
class Fsync(Verb):
    """Flush the array and count nothing as acknowledged: fit beside writes that go on meanwhile."""

    words: ClassVar[str] = "fsync"

    def do(self, stage: Stage) -> None:
        """Flush."""
        # busybox has no fsync of its own; a dd that copies nothing does one.
        dd = ["/bin/busybox", "dd", "if=/dev/null", f"of={md.ARRAY}", "conv=notrunc,fsync"]
        result = stage.run(dd)
        stage.require(result.status == 0, "fsync succeeds", *result.output.splitlines())


@dataclass(frozen=True, slots=True)
class ReadBack(Verb):
    """Read all that was written, and what lies in the same stripes, through md."""

    words: ClassVar[str] = "read back"

    def do(self, stage: Stage) -> None:
        """Read, and judge."""
        stage.read_back(f"at step {len(stage.judgements) + 1}")


@dataclass(frozen=True, slots=True)
class During(Verb):
    """Write all the time while other steps are done."""

    words: ClassVar[str] = "during writes"

    steps: tuple[Verb, ...]
    load: Write = Write(at_once=3)
    flushes: bool = True

    def do(self, stage: Stage) -> None:
        """Write, do, and stop writing."""
        drawn = Write(
            bursts=_LOAD_BURSTS, at_once=self.load.at_once, extent=self.load.extent,
            rows=self.load.rows, kind=self.load.kind,
        ).drawn(stage)  # fmt: skip
        steps: list[Data] = []
        for number, burst in enumerate(drawn):
            steps.append(burst)
            if self.flushes and number % 3 == 2:
                steps.append(FlushStep())
        stage.begin_load(steps)
        for step in self.steps:
            step.do(stage)
        written = stage.end_load(may_fail=self.load.may_fail)
        stage.require(written > 0, f"{written} bursts were written meanwhile")


@dataclass(frozen=True, slots=True)
class DuringFlushes(Verb):
    """Have flushes under way, all at once, while other steps are done; nothing else is written."""

    words: ClassVar[str] = "during flushes"

    steps: tuple[Verb, ...]
    at_once: int = 6

    def do(self, stage: Stage) -> None:
        """Begin them, let them come as far as they do, and wait for them at the end."""
        for _ in range(self.at_once):
            stage.begin_load([FlushStep()])
        stage.run(["/bin/busybox", "sleep", str(_UNDER_WAY_S)])
        for step in self.steps:
            step.do(stage)
        for _ in range(self.at_once):
            stage.end_load()


def words_of(step: Verb) -> str:
    """Return what a step is called, with what is done during it."""
    if isinstance(step, During | DuringFlushes):
        return f"{step.words} ({', '.join(map(words_of, step.steps))})"
    return step.words


__all__ = [
    "During",
    "DuringFlushes",
    "Extent",
    "FillCache",
    "Flush",
    "Fsync",
    "ReadBack",
    "Write",
    "WriteKind",
    "WriteStep",
]
