"""What `replay` says and prints: one way at a time, and one JSON document where that is wanted."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from testcases.unit.checked_arrays import check, named
from testcases.unit.written_arrays import SEQ, WrittenArray, array_of, images_in, noise
from tools.cli import run


@pytest.fixture
def array() -> WrittenArray:
    written = WrittenArray(array_of())
    written.write({0: noise(-1), 16: noise(-2)})
    written.write_data_only({136: noise(-3)})
    return written


@pytest.fixture
def images(array: WrittenArray, tmp_path: Path) -> list[Path]:
    return array.store(tmp_path / "images")


def said(capsys: pytest.CaptureFixture[str], *arguments: object) -> Any:
    assert run(["replay", "--json", *map(str, arguments)]) == 0
    return json.loads(capsys.readouterr().out)


def test_a_dry_run_is_one_document(
    array: WrittenArray, images: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = images_in(tmp_path / "images")
    # A meta block, data for members 0 and 1, P for member 4; then a meta block and data for the
    # first device behind P in row 2, the second page of its chunk.
    assert said(capsys, "--dry-run", *images) == {
        "schema": 1,
        "era": "6.12.117",
        "message": "recovering 1 data-only stripes and 1 data-parity stripes",
        "data_parity": [
            {"stripe": 0, "pages": [
                {"member": 0, "from": 8}, {"member": 1, "from": 16}, {"member": 4, "from": 24},
            ]},
        ],
        "data_only": [{"stripe": 40, "pages": [{"member": 3, "from": 40}]}],
        "written_out": True,
        "empty_metas": [],
        "rewritten": [{"position": array.position, "seq": SEQ + 2 + 10000}],
        "journal_tail": array.position,
        "pages_outside": 0,
    }  # fmt: skip
    assert images_in(tmp_path / "images") == before


def test_undo_is_one_document(
    images: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before, undo = images_in(tmp_path / "images"), tmp_path / "undo"
    assert said(capsys, "--in-place", "--undo-file", undo, *images)["schema"] == 1
    # Two pages and P, one page and P, the empty meta block, the superblock.
    assert said(capsys, "--undo", undo) == {
        "schema": 1, "undo_file": str(undo), "places_put_back": 7,
    }  # fmt: skip
    assert images_in(tmp_path / "images") == before


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        pytest.param(["--dry-run", "--undo-file", "u"], "only --in-place", id="undo-file-dry"),
        pytest.param(["--out", "o", "--undo-file", "u"], "only --in-place", id="undo-file-out"),
        pytest.param(["--dry-run", "--force"], "only --out", id="force-dry"),
        pytest.param(["--in-place", "--force"], "only --out", id="force-in-place"),
        pytest.param(["--undo", "u", "--force"], "only --out", id="force-undo"),
    ],
)
def test_an_option_that_would_do_nothing_is_refused(
    arguments: list[str], wanted: str, images: list[Path], tmp_path: Path,
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    before = images_in(tmp_path / "images")
    assert run(["replay", *arguments, *map(str, images)]) == 2
    error = capsys.readouterr().err
    assert wanted in error
    assert error.count("\n") == 1
    assert images_in(tmp_path / "images") == before
    assert [path.name for path in tmp_path.iterdir()] == ["images"]


# Devices of different ages: the journal's events, those of members that are not at 20, what is
# said of which image, and what the command that is named calls it.
AGES = [
    pytest.param(
        18, {}, "journal.img: stale journal, 18 events, but .*member0.img has 20", "journal-stale",
        id="stale-journal",
    ),
    pytest.param(
        22, {}, "member0.img: 20 events, but the journal .* has 22, more than any", "journal-ahead",
        id="journal-ahead-of-all",
    ),
    pytest.param(
        21, {1: 19}, "member1.img: 19 events, but the journal .* has 21, more", "journal-ahead",
        id="journal-two-ahead-of-one",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("journal", "members", "message", "name"), AGES)
def test_a_journal_of_another_age_is_not_told_to_be_left_out(
    journal: int, members: dict[int, int], message: str, name: str, array: WrittenArray,
    tmp_path: Path, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    fields = {slot: {"events": events} for slot, events in members.items()}
    paths = named(array, tmp_path / "images", fields, events=journal)
    assert run(["replay", "--dry-run", *map(str, paths)]) == 2
    error = capsys.readouterr().err
    assert re.search(message, error)
    assert "leave it out" not in error
    assert "see `mdjournal check`" in error
    assert name in check(capsys, paths).names()


@pytest.mark.parametrize("order", [1, -1], ids=["members-first", "journal-first"])
def test_a_stale_member_is_to_be_left_out_and_then_it_goes(
    order: int, array: WrittenArray, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = named(array, tmp_path / "images", {1: {"events": 18}})[::order]
    assert run(["replay", "--dry-run", "--degraded", *map(str, paths)]) == 2
    assert re.search("member1.img: stale, 18 events.*leave it out", capsys.readouterr().err)
    rest = [path for path in paths if path.name != "member1.img"]
    assert run(["replay", "--dry-run", "--degraded", *map(str, rest)]) == 0
