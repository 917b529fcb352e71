"""`dump --svg`: the map comes besides the rest, whole, and over nothing that matters."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from click.testing import CliRunner

from harness.errors import BadInput
from testcases.unit.written_arrays import WrittenArray, array_of, noise
from tools.dump import dump


def stored(folder: Path) -> list[str]:
    array = WrittenArray(array_of())
    array.write({0: noise(1)})
    array.log()
    return [str(path) for path in array.store(folder) if path.name == "journal.img"]


@pytest.mark.parametrize("as_json", [False, True])
def test_dump_writes_the_map_besides_what_it_prints(*, as_json: bool, tmp_path: Path) -> None:
    target = tmp_path / "map.svg"
    options = ["--svg", str(target), *(["--json"] if as_json else [])]
    said = CliRunner().invoke(dump, [*stored(tmp_path / "a"), *options], catch_exceptions=False)
    assert said.exit_code == 0
    ET.fromstring(target.read_text())
    if as_json:
        assert json.loads(said.output)["schema"] == 1
    else:
        assert said.output.splitlines()[-1] == f"map      {target}"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "map.svg"]


def run_dump(*arguments: str) -> None:
    CliRunner().invoke(dump, arguments, catch_exceptions=False, standalone_mode=False)


def test_dump_replaces_a_map_only_when_forced(tmp_path: Path) -> None:
    images = stored(tmp_path / "a")
    target = tmp_path / "map.svg"
    target.write_text("mine")
    with pytest.raises(BadInput, match="is there already; say --force"):
        run_dump(*images, "--svg", str(target))
    assert target.read_text() == "mine"
    run_dump(*images, "--svg", str(target), "--force")
    assert target.read_text().startswith("<?xml")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("a/journal.img", "is one of the images"), ("a", "is a folder"),
        ("a/journal.img/map.svg", "cannot be written"), ("none/map.svg", "cannot be written"),
        ("/dev/null", "is no regular file"), ("x" * 300, "cannot be written"),
    ],
)  # fmt: skip
def test_place_where_no_map_can_go_is_refused(name: str, said: str, tmp_path: Path) -> None:
    images = stored(tmp_path / "a")
    before = Path(images[0]).read_bytes()
    with pytest.raises(BadInput, match=said):
        run_dump(*images, "--svg", str(tmp_path / name), "--force")
    assert Path(images[0]).read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
