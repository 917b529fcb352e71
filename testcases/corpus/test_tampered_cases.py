"""Comparing a case with the prediction can fail, degraded arrays and rewritten logs included."""

from __future__ import annotations

import struct
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness.campaign.judging import judge_images
from harness.ondisk.superblock import SUPERBLOCK_BYTES, superblock_checksum
from harness.ondisk.units import BLOCK_BYTES, SECTOR_BYTES
from harness.recovery.era import era_named
from harness.storage.array_files import ArrayFiles, read_array
from harness.storage.replay import Replayed, replay_to
from testcases.corpus.capture import CORPUS, unpack

WHOLE = "raid5-write-through-cut-6.1"
DEGRADED = "raid5-write-through-degraded-6.1"
DATA_ONLY = "raid4-write-back-cut-6.1"
DEGRADED_DATA_ONLY = "raid5-degraded-data-only-6.1"
CASES = (WHOLE, DEGRADED, DATA_ONLY, DEGRADED_DATA_ONLY)
_ROLES_AT = 256
_CSUM_AT = 216


@dataclass(frozen=True)
class Unpacked:
    """A case on disk with its prediction."""

    folder: Path
    before: ArrayFiles
    replayed: Replayed

    def findings(self) -> list[str]:
        """Judge the images as they are now."""
        judged = judge_images(self.before, self.replayed, self.folder)
        return [finding.what for judgement in judged for finding in judgement.findings]

    def flip(self, name: str, offset: int) -> None:
        """Change one bit of what the kernel left; a second time puts it back."""
        with (self.folder / "after" / name).open("r+b") as file:
            file.seek(offset)
            byte = file.read(1)[0]
            file.seek(offset)
            file.write(bytes([byte ^ 1]))

    def set_role(self, name: str, number: int, role: int) -> None:
        """Change an entry of ``dev_roles`` in what the kernel left, with a good checksum."""
        at = SECTOR_BYTES * 8
        with (self.folder / "after" / name).open("r+b") as file:
            file.seek(at)
            raw = bytearray(file.read(SUPERBLOCK_BYTES))
            struct.pack_into("<H", raw, _ROLES_AT + 2 * number, role)
            struct.pack_into("<I", raw, _CSUM_AT, superblock_checksum(bytes(raw)))
            file.seek(at)
            file.write(raw)

    def member_names(self) -> list[str]:
        """Return the file names of the members that are there."""
        return [Path(labels[0]).name for labels in self.before.array.members.values()]


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest, tmp_path: Path) -> Unpacked:
    return unpacked(request.param, tmp_path)


def unpacked(name: str, folder: Path) -> Unpacked:
    origin = tomllib.loads((CORPUS / name / "origin.toml").read_text())
    unpack(CORPUS / name, folder)
    before = read_array(sorted((folder / "before").iterdir()))
    replayed = replay_to(before, folder / "predicted", era=era_named(origin["era"]))
    return Unpacked(folder, before, replayed)


def assert_named(findings: Sequence[str], *words: str) -> None:
    assert any(all(word in finding for word in words) for finding in findings), findings


def test_untouched_nothing_is_found(case: Unpacked) -> None:
    assert case.findings() == []


def test_a_flipped_byte_of_any_member_is_named(case: Unpacked) -> None:
    data_offset = case.before.journal.data_offset * SECTOR_BYTES
    for name in case.member_names():
        case.flip(name, data_offset + 3 * BLOCK_BYTES + 5)
        assert_named(case.findings(), name, "sector 24")
        case.flip(name, data_offset + 3 * BLOCK_BYTES + 5)


def test_a_flipped_byte_where_the_log_goes_on_is_named(case: Unpacked) -> None:
    start = case.before.journal.data_offset + case.replayed.plan.journal_tail
    case.flip("journal.img", start * SECTOR_BYTES + 100)
    assert_named(case.findings(), "journal.img", f"log sector {case.replayed.plan.journal_tail}")


def test_a_changed_block_elsewhere_in_the_log_is_named(case: Unpacked) -> None:
    behind = case.before.journal.data_offset * SECTOR_BYTES
    first = next(n for n in range(4) if n * 8 != case.replayed.plan.journal_tail)
    case.flip("journal.img", behind + first * BLOCK_BYTES + 4000)
    assert_named(case.findings(), "journal.img")


@pytest.mark.parametrize("name", [DEGRADED, DEGRADED_DATA_ONLY])
def test_a_failed_member_that_came_back_into_the_table_is_named(name: str, tmp_path: Path) -> None:
    case = unpacked(name, tmp_path)
    (slot,) = case.before.array.absent
    case.set_role("journal.img", slot, slot)
    assert_named(case.findings(), "journal.img", "dev_roles")


def test_a_member_that_dropped_out_of_the_table_is_named(case: Unpacked) -> None:
    for name in case.member_names():
        number = int(name.removeprefix("member").removesuffix(".img"))
        case.set_role(name, number, 0xFFFF)
        assert_named(case.findings(), name, "dev_roles")


@pytest.mark.parametrize("name", [DATA_ONLY, DEGRADED_DATA_ONLY])
def test_each_page_of_the_rewritten_log_is_compared(name: str, tmp_path: Path) -> None:
    case = unpacked(name, tmp_path)
    plan = case.replayed.plan
    assert plan.rewritten
    offset = case.before.journal.data_offset
    for meta in plan.rewritten:
        for position in (meta.position, *(to for _, _, to in meta.pages)):
            at = (offset + position) * SECTOR_BYTES + 77
            case.flip("journal.img", at)
            assert_named(case.findings(), f"log sector {position} is not the data-only stripe")
            case.flip("journal.img", at)


@pytest.mark.parametrize("name", [DATA_ONLY, DEGRADED_DATA_ONLY])
def test_parity_that_is_logged_behind_the_rewritten_stripes_is_compared(
    name: str, tmp_path: Path
) -> None:
    """Also that of a member which is not there: its parity is logged, and written nowhere."""
    case = unpacked(name, tmp_path)
    plan = case.replayed.plan
    last = plan.rewritten[-1]
    ring = case.before.journal.data_size
    behind = (last.position + 8 * (1 + len(last.pages))) % ring
    parity = (case.before.journal.data_offset + (behind + 8) % ring) * SECTOR_BYTES
    case.flip("journal.img", parity + 9)
    assert_named(case.findings(), "journal.img")
