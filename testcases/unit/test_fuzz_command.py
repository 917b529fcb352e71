"""`mdjournal fuzz` without a guest: what it refuses, and the tables that it prints."""

from __future__ import annotations

import pytest

from harness.campaign.fuzzing.ground import fuzzed_state
from harness.errors import BadInput
from harness.fuzzing.coverage import Coverage
from harness.md.shape import KIB, MIB, Shape
from harness.recovery.era import ERAS, NEWEST_ERA
from testcases.unit.fuzzed_ground import ground
from tools.cli import run
from tools.fuzz import fuzzed_shape
from tools.fuzz_report import coverage_lines


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--journal-size", "128K"], "--journal-size 131072: fuzzing wants 256K or more"),
        (["--states", "5", "--state", "5"], "--state 5: there are 5, from 0 on"),
        (["--members", "2"], "--members 2: RAID-5 here takes 3 to 16"),
    ],
)  # fmt: skip
def test_bad_input_is_refused_before_anything_is_fetched(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["fuzz", *arguments]) == 2
    said = capsys.readouterr().err
    assert f"mdjournal fuzz: {words}" in said
    assert len(said.splitlines()) == 1


def test_the_data_area_is_small_and_has_room_behind_it() -> None:
    shape = fuzzed_shape(Shape(chunk_bytes=64 * KIB))
    assert shape.component_bytes == 2 * MIB
    assert shape.member_disk_bytes == 3 * MIB + 256 * KIB
    assert fuzzed_shape(Shape(chunk_bytes=8 * MIB)).component_bytes == 16 * MIB
    with pytest.raises(BadInput, match="fuzzing wants 256K"):
        fuzzed_shape(Shape(journal_bytes=64 * KIB))


def test_the_tables_of_coverage_fit_a_page() -> None:
    coverage = Coverage()
    for number in range(60):
        state = fuzzed_state(ground(), 1, number)
        coverage.take_journal(state.journal, state.array)
        coverage.take_scan(state.journal, state.array, [])
    coverage.take_eras(dict.fromkeys(ERAS), NEWEST_ERA.name)
    lines = list(coverage_lines(coverage, NEWEST_ERA.name))
    heads = [line.split()[0] for line in lines if not line.startswith(" ")]
    assert heads == ["payloads", "fields", "tricks", "ends", "eras"]
    assert max(map(len, lines)) <= 100
    assert any("DATA location" in line for line in lines)
    assert lines[-1].endswith("this kernel's")
