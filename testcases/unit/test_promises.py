"""What is promised of zeroes, discards, writes that failed, and behind the failure of a journal."""

from __future__ import annotations

import pytest

from harness.crash.content import DiskContent
from harness.crash.pattern import write_content
from harness.crash.trace import Mark, Trace
from harness.crash.workload import (
    FailJournal,
    FlushStep,
    Step,
    Workload,
    Write,
    WriteKind,
    WriteStep,
)
from harness.ondisk.units import ArraySector
from harness.recovery.geometry import Geometry
from harness.recovery.layout import Level, layout_of
from harness.verdict.durability import JOURNAL_FAILED, Members, Promises

SEED = 7
GEOMETRY = Geometry(
    layout=layout_of(Level.RAID5, 2), raid_disks=3, chunk_sectors=8, component_sectors=160
)


class Story:
    """Bursts of one write to sectors 0 to 7 each, and marks as the guest makes them."""

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self.marks: list[Mark] = []
        self._number = 0

    def write(self, kind: WriteKind = WriteKind.DATA, *, failed: bool = False) -> Story:
        """Do a write that completes, or fails."""
        self._number += 1
        self.steps.append(WriteStep((Write(self._number, ArraySector(0), 8, kind),)))
        word = (
            f"failed {self._number}: EIO" if failed else f"completed {self._number}..{self._number}"
        )
        return self.mark(word)

    def flush(self) -> Story:
        """Flush the array."""
        self.steps.append(FlushStep())
        return self.mark(f"flushed {self._number}")

    def fail_journal(self) -> Story:
        """Make the journal fail."""
        self.steps.append(FailJournal())
        return self.mark(JOURNAL_FAILED)

    def mark(self, text: str) -> Story:
        """Say something, at event 10, 20, ..."""
        self.marks.append(Mark(10 * (len(self.marks) + 1), text))
        return self

    def promises(self) -> Promises:
        """Return what the oracle makes of it."""
        return Promises(Workload(SEED, tuple(self.steps)), Trace((), tuple(self.marks)), GEOMETRY)

    def lost(self, holds: int, *, cut: int = 1000) -> list[str]:
        """Return what is found lost where the page holds a write's content; 0: zeroes."""
        return self._found(holds, cut)[0]

    def mixed(self, holds: int, *, cut: int = 1000) -> list[str]:
        """Return what is found to be nothing that may be there."""
        return self._found(holds, cut)[1]

    def _found(self, holds: int, cut: int) -> tuple[list[str], list[str]]:
        contents = {slot: DiskContent() for slot in range(3)}
        place = GEOMETRY.place(ArraySector(0))
        if holds:
            content = write_content(seed=SEED, write=holds, sector=0, sectors=8)
            contents[place.device].write((16 + place.sector) * 512, content)
        durability, atomicity = self.promises().judge(Members(GEOMETRY, 16, contents), cut)
        return [f.what for f in durability.findings], [f.what for f in atomicity.findings]


def test_zeroes_that_were_asked_for_and_flushed_must_be_there() -> None:
    story = Story().write().write(WriteKind.ZEROES).flush()
    assert story.lost(0) == []
    assert "write 2 of it was flushed and is gone" in story.lost(1)[0]
    assert story.lost(1, cut=25) == [], "before the flush had ended"


def test_zeroes_are_no_excuse_for_what_was_written_after_them() -> None:
    story = Story().write(WriteKind.ZEROES).write().flush()
    assert "holds zeroes; write 2 of it was flushed and is gone" in story.lost(0)[0]
    assert story.lost(2) == []


def test_zeroes_that_are_asked_for_only_later_do_not_explain_a_loss() -> None:
    story = Story().write().flush().write().write(WriteKind.ZEROES)
    assert story.lost(0, cut=45) == []
    assert "write 1 of it was flushed" in story.lost(0, cut=25)[0], "write 2 is under way then"


def test_behind_a_discard_everything_older_or_nothing_may_be_there() -> None:
    story = Story().write().write().flush().write(WriteKind.DISCARD).flush()
    for holds in (0, 1, 2):
        assert story.lost(holds) == []
    assert story.lost(1, cut=35) == [], "it may be under way by then"
    stripe = GEOMETRY.place(ArraySector(0)).sector
    promises = story.promises()
    assert promises.discarded(15) == frozenset()
    assert promises.discarded(1000) == frozenset({stripe})


def test_what_is_written_behind_a_discard_counts_again() -> None:
    story = Story().write().write(WriteKind.DISCARD).write().flush()
    assert story.lost(3) == []
    assert story.lost(1) != []
    assert story.lost(0) != []


def test_a_write_that_failed_is_not_promised_and_may_be_there() -> None:
    story = Story().write().write(failed=True).flush()
    assert story.lost(1) == []
    assert (story.lost(2), story.mixed(2)) == ([], [])
    assert "write 1 of it was flushed" in story.lost(0)[0]


def test_nothing_is_promised_once_the_journal_fails() -> None:
    story = Story().write().flush().fail_journal().flush()
    assert story.lost(0, cut=30) != []
    assert story.lost(0, cut=31) == []
    assert story.mixed(1, cut=31) == []


@pytest.mark.parametrize("kind", [WriteKind.ZEROES, WriteKind.DISCARD])
def test_a_request_without_data_puts_no_stamp_there(kind: WriteKind) -> None:
    story = Story().write(kind).flush()
    assert "which no write put there whole" in story.mixed(1)[0]


def test_a_workload_without_writes_promises_nothing() -> None:
    story = Story().flush()
    assert (story.lost(0), story.promises().pages) == ([], [])
