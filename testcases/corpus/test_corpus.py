"""The replayer leaves what a real kernel left, for every captured journal."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from harness.campaign.judging import judge_images
from harness.crash.workload import JournalMode
from harness.ondisk.units import SECTOR_BYTES
from harness.recovery.era import era_named
from harness.recovery.kernel_versions import era_to_run
from harness.storage.array_files import ArrayFiles, read_array
from harness.storage.images import read_superblock
from harness.storage.replay import Replayed, replay_to
from testcases.corpus.capture import CORPUS, unpack
from testcases.corpus.cases import CASES, GRID, CaseSpec, Kind

MOST_BYTES = 4_000_000


def captured() -> set[str]:
    return {path.parent.name for path in CORPUS.glob("*/origin.toml")}


def origin_of(name: str) -> dict[str, Any]:
    return tomllib.loads((CORPUS / name / "origin.toml").read_text())


def test_every_listed_case_is_captured_and_no_other() -> None:
    assert captured() == set(CASES)
    assert len(GRID) == 3 * 2 * 4 * 4


def test_the_corpus_is_small() -> None:
    assert sum(path.stat().st_size for path in CORPUS.rglob("*") if path.is_file()) < MOST_BYTES


@pytest.mark.parametrize("name", CASES)
def test_an_origin_tells_of_the_kernel_that_was_asked_for(name: str) -> None:
    origin, spec = origin_of(name), CASES[name]
    match = re.fullmatch(r"(\S+) \((\S+)\)", origin["kernel"])
    assert match is not None
    assert match[1].startswith(f"{spec.kernel}")
    assert era_to_run(match[2]).name == origin["era"]
    assert origin["shape"] == str(spec.shape)
    assert origin["verdict"] == "AGREES", origin["findings"]


@pytest.mark.parametrize("name", CASES)
def test_the_replayer_leaves_what_the_kernel_left(name: str, tmp_path: Path) -> None:
    origin = origin_of(name)
    unpack(CORPUS / name, tmp_path)
    before = read_array(sorted((tmp_path / "before").iterdir()))
    replayed = replay_to(before, tmp_path / "predicted", era=era_named(origin["era"]))
    assert replayed.plan.message == origin["kernel_said"]
    for label, path in before.paths.items():
        predicted, after = tmp_path / "predicted" / path.name, tmp_path / "after" / path.name
        superblock = before.array.superblocks[label]
        if superblock.is_journal:
            if replayed.plan.data_only:  # the kernel goes on to log, and to reclaim, on its own
                continue
            assert read_superblock(predicted).journal_tail == read_superblock(after).journal_tail
        start = superblock.data_offset * SECTOR_BYTES
        end = start + superblock.data_size * SECTOR_BYTES
        assert predicted.read_bytes()[start:end] == after.read_bytes()[start:end], path.name
    for judgement in judge_images(before, replayed, tmp_path):
        assert not judgement.findings
    assert_shows_what_its_name_says(CASES[name], before, replayed)


def assert_shows_what_its_name_says(spec: CaseSpec, before: ArrayFiles, replayed: Replayed) -> None:
    plan = replayed.plan
    assert before.array.geometry == spec.shape.geometry
    assert before.journal.data_size * SECTOR_BYTES == spec.shape.journal_bytes
    assert before.array.absent == tuple(sorted(spec.failed))
    assert not before.array.missing
    assert bool(plan.data_only) or not spec.with_data_only
    if spec.shape.mode is JournalMode.WRITE_THROUGH:
        assert not plan.data_only
    if spec.kind is not Kind.STOPPED:
        assert plan.data_only or plan.data_parity
    if spec.kind is Kind.WRAPPED:
        assert plan.ended is not None
        assert plan.ended.position < plan.start, "the live part goes over the ring's end"
