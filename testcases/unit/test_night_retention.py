"""Folders of nights: which are removed, and that nothing else is."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from harness.campaign.nights.folders import night_folders, remove_old_nights
from harness.campaign.nights.retention import NightFolder, nights_to_remove


def folder(number: int, size: int = 10, *, is_needed: bool = False) -> NightFolder:
    return NightFolder(
        name=f"night{number}", ended=float(number), size_bytes=size, is_needed=is_needed
    )


@pytest.mark.parametrize(
    ("keep", "max_bytes", "gone", "is_over"),
    [
        pytest.param(9, 1000, [], False, id="all-fit"),
        pytest.param(2, 1000, [1, 2, 3], False, id="by-number"),
        pytest.param(9, 35, [1, 2], False, id="by-size"),
        pytest.param(4, 15, [1, 2, 3, 4], False, id="by-both"),
        pytest.param(9, 5, [1, 2, 3, 4], True, id="the-newest-stays-though-too-large"),
    ],
)
def test_oldest_go_first(keep: int, max_bytes: int, gone: list[int], is_over: bool) -> None:
    every = [folder(n) for n in (3, 1, 5, 2, 4)]
    removal = nights_to_remove(every, keep=keep, max_bytes=max_bytes)
    assert [each.name for each in removal.folders] == [f"night{n}" for n in gone]
    assert (removal.left_bytes, removal.is_over) == (50 - 10 * len(gone), is_over)


def test_needed_night_stays_and_others_go_for_it() -> None:
    every = [folder(1, 30, is_needed=True), folder(2), folder(3), folder(4)]
    removal = nights_to_remove(every, keep=9, max_bytes=45)
    assert [each.name for each in removal.folders] == ["night2", "night3"]
    assert (removal.left_bytes, removal.is_over) == (40, False)


def test_no_night_and_no_night_to_keep() -> None:
    assert nights_to_remove([], keep=1, max_bytes=0).folders == ()
    with pytest.raises(ValueError, match="newest"):
        nights_to_remove([folder(1)], keep=0, max_bytes=0)


def write_night(root: Path, number: int, size: int = 8192) -> Path:
    made = root / f"night{number}"
    (made / "bundles").mkdir(parents=True)
    (made / "bundles" / "x.mdjr").write_bytes(b"x" * size)
    (made / "night.json").write_text("{}")
    os.utime(made / "night.json", (number, number))
    return made


def test_old_nights_are_removed_and_nothing_else(tmp_path: Path) -> None:
    root, elsewhere = tmp_path / "nights", tmp_path / "elsewhere"
    for number in range(1, 5):
        write_night(root, number)
    elsewhere.mkdir()
    (elsewhere / "night.json").touch()
    (root / "linked").symlink_to(elsewhere)
    (root / "explored").mkdir()  # no night's
    (root / "night1" / "evidence").mkdir()
    (root / "night1" / "evidence" / "x.html").touch()
    (root / "night2" / "evidence").symlink_to(elsewhere)
    (root / "night1" / "bundles" / "brought.mdjr").touch()  # its own is in another night
    removal = remove_old_nights(
        root, keep=2, max_bytes=1 << 30, needed=("night2",),
        findings=[root / "night1" / "bundles" / "x.mdjr"],
    )  # fmt: skip
    assert [each.name for each in removal.folders] == ["night1"]
    assert {path.name for path in root.iterdir()} == {
        "night1", "night2", "night3", "night4", "linked", "explored"
    }  # fmt: skip
    kept = {path.name for path in (root / "night1").rglob("*")}
    assert kept == {"bundles", "x.mdjr", "evidence", "x.html"}
    assert "night1" not in {each.name for each in night_folders(root)}
    assert (elsewhere / "night.json").exists()


def test_removal_that_was_killed_is_finished(tmp_path: Path) -> None:
    write_night(tmp_path, 1).rename(tmp_path / ".removed-night1")
    write_night(tmp_path, 2)
    assert [each.name for each in night_folders(tmp_path)] == ["night2"]
    kept = tmp_path / "night1" / "bundles" / "x.mdjr"
    remove_old_nights(tmp_path, keep=5, max_bytes=1 << 30, findings=[kept])
    assert not list(tmp_path.glob(".*"))
    assert (tmp_path / "night1" / "bundles" / "x.mdjr").exists()


def test_night_without_bundles_that_are_followed_is_gone_wholly(tmp_path: Path) -> None:
    write_night(tmp_path, 1)
    write_night(tmp_path, 2)
    remove_old_nights(tmp_path, keep=1, max_bytes=1 << 30)
    assert [path.name for path in tmp_path.iterdir()] == ["night2"]


def test_size_is_what_is_on_the_medium(tmp_path: Path) -> None:
    night = write_night(tmp_path, 1, size=1 << 20)
    with (night / "sparse.img").open("wb") as file:
        file.truncate(1 << 30)
    (found,) = night_folders(tmp_path)
    assert 1 << 20 <= found.size_bytes < 1 << 21


def test_no_root_has_no_nights(tmp_path: Path) -> None:
    assert night_folders(tmp_path / "none") == []
    assert remove_old_nights(tmp_path / "none", keep=1, max_bytes=0).folders == ()
