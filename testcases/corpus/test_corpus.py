"""The replayer leaves what a real kernel left, for every captured journal."""

from __future__ import annotations

import tarfile
import tomllib
from pathlib import Path

import pytest

from harness.ondisk.units import SECTOR_BYTES
from harness.recovery.era import era_named
from harness.storage.array_files import read_array
from harness.storage.images import read_superblock
from harness.storage.replay import replay_to

CASES = sorted(path.parent for path in Path(__file__).parent.glob("*/origin.toml"))


def test_there_are_cases() -> None:
    assert len(CASES) >= 6


@pytest.mark.parametrize("case", CASES, ids=lambda path: path.name)
def test_the_replayer_leaves_what_the_kernel_left(case: Path, tmp_path: Path) -> None:
    origin = tomllib.loads((case / "origin.toml").read_text())
    with tarfile.open(case / "images.tar.xz") as tar:
        tar.extractall(tmp_path, filter="data")
    before = read_array(sorted((tmp_path / "before").iterdir()))
    replayed = replay_to(before, tmp_path / "out", era=era_named(origin["era"]))
    assert replayed.plan.message == origin["kernel_said"]
    for label, path in before.paths.items():
        out, after = tmp_path / "out" / path.name, tmp_path / "after" / path.name
        superblock = before.array.superblocks[label]
        start = superblock.data_offset * SECTOR_BYTES
        end = start + superblock.data_size * SECTOR_BYTES
        if superblock.is_journal:
            if replayed.plan.data_only:  # the kernel goes on to log, and to reclaim, on its own
                continue
            assert read_superblock(out).journal_tail == read_superblock(after).journal_tail
        assert out.read_bytes()[start:end] == after.read_bytes()[start:end], path.name
