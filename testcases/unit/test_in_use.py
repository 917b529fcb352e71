"""What a running array uses is refused, and the message says how to go on."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.errors import BadInput
from harness.recovery.era import NEWEST_ERA
from harness.storage import in_use
from harness.storage.array_files import read_array
from harness.storage.in_place import replay_in_place
from harness.storage.replay import replay_to
from testcases.unit.written_arrays import WrittenArray, array_of, images_in, noise
from tools.cli import run


@pytest.fixture(autouse=True)
def sysfs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A sysfs of its own, of a machine that has nothing yet."""
    monkeypatch.setattr(in_use, "SYSFS", tmp_path / "sys")
    return tmp_path / "sys"


@pytest.fixture
def images(tmp_path: Path) -> list[Path]:
    array = WrittenArray(array_of())
    array.write({0: noise(-1)})
    return array.store(tmp_path / "images")


def attach(image: Path, holder: str | None) -> None:
    """Let an image be behind loop7, and *holder* above that."""
    device = in_use.SYSFS / "block" / "loop7"
    (device / "loop").mkdir(parents=True)
    (device / "loop" / "backing_file").write_text(f"{image.resolve()}\n")
    (device / "holders").mkdir()
    if holder:
        (device / "holders" / holder).mkdir()


def block_device(path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let a path be the block device 8:17, sdb1; return its folder in sysfs."""
    real = Path.stat

    def as_device(one: Path, *, follow_symlinks: bool = True) -> os.stat_result:
        if one != path:
            return real(one, follow_symlinks=follow_symlinks)
        fields = [stat.S_IFBLK | 0o660, 0, 0, 1, 0, 0, 0, 0, 0, 0]
        return os.stat_result(fields, {"st_rdev": os.makedev(8, 17)})

    monkeypatch.setattr(Path, "stat", as_device)
    device = in_use.SYSFS / "block/sdb/sdb1"
    (device / "holders").mkdir(parents=True)
    (in_use.SYSFS / "dev/block").mkdir(parents=True)
    (in_use.SYSFS / "dev/block/8:17").symlink_to(device)
    return device


def in_dm_crypt(device: Path) -> None:
    """Let dm-3 hold a device, and md0 that."""
    (in_use.SYSFS / "block/dm-3/holders/md0").mkdir(parents=True)
    (device / "holders/dm-3").symlink_to(in_use.SYSFS / "block/dm-3")


def as_array(device: Path) -> None:
    """Let a device be an array of two."""
    (device / "md").mkdir()
    for name in ("sda1", "sdc1"):
        (device / "slaves" / name).mkdir(parents=True)


def test_a_device_that_nobody_uses_is_to_be_copied(
    images: list[Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    block_device(images[2], monkeypatch)
    assert run(["dump", *map(str, images)]) == 2
    assert capsys.readouterr().err == (
        f"mdjournal dump: {images[2]}: is a block device; copy it into a file (dd) and give that\n"
    )


@pytest.mark.parametrize("command", ["check", "dump", "replay --dry-run"])
@pytest.mark.parametrize(
    ("use", "wanted"),
    [
        pytest.param(
            lambda device: (device / "holders/md127").mkdir(),
            "that the array md127 uses; stop that first (mdadm --stop /dev/md127), then copy it",
            id="member",
        ),
        pytest.param(
            in_dm_crypt, "the array md0 uses; stop that first (mdadm --stop /dev/md0)",
            id="member-in-dm-crypt",
        ),
        pytest.param(
            lambda device: (device / "holders/dm-3").mkdir(),
            "that dm-3 uses; stop that first, then copy", id="dm-alone",
        ),
        pytest.param(
            as_array, "is an array itself, of /dev/sda1, /dev/sdc1; stop it (mdadm --stop",
            id="array",
        ),
    ],
)  # fmt: skip
def test_a_device_in_use_is_to_be_stopped_before_it_is_copied(
    command: str, use: Callable[[Path], None], wanted: str, images: list[Path],
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    use(block_device(images[2], monkeypatch))
    assert run([*command.split(), *map(str, images)]) == 2
    error = capsys.readouterr().err
    assert f"{images[2]}: is " in error
    assert wanted in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("holder", "wanted"),
    [
        pytest.param("md127", "mdadm --stop /dev/md127", id="of-a-running-array"),
        pytest.param("dm-3", "which dm-3 uses; stop that first", id="of-something-else"),
        pytest.param(None, "losetup --detach /dev/loop7", id="attached"),
    ],
)
def test_an_image_behind_a_loop_device_is_not_changed(
    holder: str | None, wanted: str, images: list[Path], tmp_path: Path
) -> None:
    before = images_in(tmp_path / "images")
    attach(images[1], holder)
    with pytest.raises(BadInput, match=f"member1.img: .*{wanted}"):
        replay_in_place(read_array(images), tmp_path / "undo", era=NEWEST_ERA)
    assert images_in(tmp_path / "images") == before
    assert not (tmp_path / "undo").exists()


def test_an_image_of_a_running_array_is_not_even_copied(images: list[Path], tmp_path: Path) -> None:
    attach(images[1], "md127")
    with pytest.raises(BadInput, match=r"member1\.img: .*mdadm --stop /dev/md127"):
        replay_to(read_array(images), tmp_path / "out", era=NEWEST_ERA)
    assert not (tmp_path / "out").exists()


def test_an_image_that_is_only_attached_is_copied(images: list[Path], tmp_path: Path) -> None:
    attach(images[1], None)
    replay_to(read_array(images), tmp_path / "out", era=NEWEST_ERA)
    assert len(images_in(tmp_path / "out")) == len(images)
