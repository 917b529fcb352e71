"""What `replay` says and prints: one way at a time, and one JSON document where that is wanted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

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
