"""A crash state in memory is predicted as its images are; alike is what recovery reads alike."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.crash.content import DiskContent
from harness.recovery.era import ERAS, NEWEST_ERA
from harness.storage.array_files import read_array
from harness.storage.replay import replay_to
from harness.verdict.predicted_state import PredictedState, predict_state
from testcases.unit.written_arrays import WrittenArray, array_of, images_in, noise


def written() -> WrittenArray:
    array = WrittenArray(array_of())
    array.write({0: noise(-1), 16: noise(-2)})
    array.write({72: noise(-3)})
    array.write_data_only({136: noise(-4)})
    return array


def loaded(paths: list[Path]) -> dict[str, DiskContent]:
    contents = {}
    for path in paths:
        contents[path.name] = content = DiskContent()
        content.write(0, path.read_bytes())
    return contents


def predicted(contents: dict[str, DiskContent], era: str = NEWEST_ERA.name) -> PredictedState:
    sizes = {name: 4096 * (1 + max(content.blocks)) for name, content in contents.items()}
    return predict_state(contents, sizes, ERAS[era], stripe_cache_size=256)


@pytest.mark.parametrize("era", ["4.4", "4.10", "6.12.117"])
def test_the_prediction_is_what_replay_writes(era: str, tmp_path: Path) -> None:
    array = WrittenArray(array_of())
    array.write({0: noise(-1), 16: noise(-2)})
    array.write({72: noise(-3)})
    if era != "4.4":
        array.write_data_only({136: noise(-4)})
    paths = array.store(tmp_path / "images")
    replay_to(read_array(paths), tmp_path / "out", era=ERAS[era])
    found = predicted(loaded(paths), era)
    for name, image in images_in(tmp_path / "out").items():
        assert found.after[name].read(0, len(image)) == image, name


def test_what_recovery_does_not_read_makes_no_other_class(tmp_path: Path) -> None:
    paths = written().store(tmp_path)
    first = predicted(loaded(paths))
    contents = loaded(paths)
    contents["member0.img"].write(16 * 512 + 9 * 8192, b"far from all stripes that are written out")
    contents["journal.img"].write((16 + 240) * 512, b"behind the end of the log")
    assert predicted(contents).identity == first.identity
    assert first.plan.data_only, "its old pages are read"


@pytest.mark.parametrize(
    ("name", "sector"), [("journal.img", 16 + 8), ("member0.img", 8), ("member2.img", 16 + 40)],
    ids=["a-logged-page", "a-superblock", "the-old-parity"],
)  # fmt: skip
def test_what_recovery_reads_makes_another_class(name: str, sector: int, tmp_path: Path) -> None:
    paths = written().store(tmp_path)
    first = predicted(loaded(paths))
    contents = loaded(paths)
    at = sector * 512 + (4000 if sector == 8 else 100)
    contents[name].write(at, bytes([contents[name].read(at, 1)[0] ^ 1]))
    assert predicted(contents).identity != first.identity
