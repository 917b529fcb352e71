"""How meta blocks follow on one another: by number and place, but for what an assembly begins."""

from __future__ import annotations

import pytest

from harness.crash.logged import LoggedMeta
from harness.crash.workload import Workload
from harness.ondisk.log import MetaBlock, parse_meta_block
from harness.ondisk.units import LogSector
from harness.recovery.geometry import Geometry
from harness.recovery.layout import Level, layout_of
from harness.recovery.log import Ring
from harness.verdict.journal_truth import LoggedArray, judge_logged
from testcases.journal_writer import Flush, meta_block

SEED = 5
RING = 160


def logged(seq: int, position: int, *, empty: bool = False) -> LoggedMeta:
    """Return a meta block without pages: of a FLUSH, or of nothing at all."""
    payloads = [] if empty else [Flush([8])]
    block = meta_block(seed=SEED, seq=seq, position=position, payloads=payloads)
    meta = parse_meta_block(block, seed=SEED, seq=None, position=LogSector(position))
    assert isinstance(meta, MetaBlock)
    return LoggedMeta(seq, meta)


def objections(*metas: LoggedMeta) -> list[str]:
    geometry = Geometry(
        layout=layout_of(Level.RAID4, 0), raid_disks=3, chunk_sectors=8,
        component_sectors=800,
    )  # fmt: skip
    array = LoggedArray(
        ring=Ring(RING), geometry=geometry, workload=Workload(SEED, ()), metas=(), numbered=metas,
        strays=(), written_pages=0, unlogged=(), page=lambda *_: None,
        content_at=lambda *_: b"", cleared_at=lambda *_: 0,
    )  # fmt: skip
    return [finding.what for finding in judge_logged(array).findings]


def test_each_follows_on_the_one_before_round_the_ring() -> None:
    assert objections(logged(7, 144), logged(8, 152), logged(9, 0)) == []


@pytest.mark.parametrize(("seq", "position"), [(9, 8), (8, 16), (7, 8), (8 + 9999, 8)])
def test_anything_else_does_not(seq: int, position: int) -> None:
    (objection,) = objections(logged(7, 0), logged(seq, position))
    assert "does not follow on 7, whose end is at 8" in objection


def test_an_assembly_begins_with_an_empty_one_wherever_that_is() -> None:
    assert objections(logged(7, 0), logged(4000, 64, empty=True), logged(4001, 72)) == []


def test_an_assembly_logs_data_only_stripes_anew_behind_the_end_of_the_log() -> None:
    assert objections(logged(7, 0), logged(8 + 10000, 8)) == []
    (objection,) = objections(logged(7, 0), logged(8 + 10000, 16))
    assert "does not follow on" in objection
