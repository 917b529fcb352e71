"""A replay in place can be undone, wherever it was killed, and the undo as well."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import pytest

from harness.errors import BadInput, Unavailable
from harness.recovery.era import ERAS, NEWEST_ERA
from harness.storage import in_place, in_use, read_ahead, undo_file
from harness.storage.array_files import read_array
from harness.storage.in_place import replay_in_place
from harness.storage.replay import replay_to
from harness.storage.undo_file import UndoWriter, apply_undo
from testcases.unit.test_in_use import attach
from testcases.unit.written_arrays import WrittenArray, array_of, images_in, noise
from tools.cli import run

REPO = Path(__file__).resolve().parents[2]


class Killed(BaseException):
    """Stands for the end of the process: nothing catches it."""


@pytest.fixture
def images(tmp_path: Path) -> list[Path]:
    array = WrittenArray(array_of())
    array.write({0: noise(-1), 16: noise(-2)})
    array.write({72: noise(-3)})
    array.write_data_only({136: noise(-4)})
    return array.store(tmp_path / "images")


def in_place_with(images: list[Path], undo: Path) -> None:
    replay_in_place(read_array(images), undo, era=NEWEST_ERA)


def kill_at(
    write: int, monkeypatch: pytest.MonkeyPatch, module: object, name: str = "pwrite"
) -> None:
    """Let the *write*-th write of a module end everything before it takes place."""
    real, calls = getattr(os, name), iter(range(10_000))

    def dying(*arguments: object) -> object:
        if next(calls) == write:
            raise Killed
        return real(*arguments)

    class Os:
        def __getattr__(self, attribute: str) -> object:
            return dying if attribute == name else getattr(os, attribute)

    monkeypatch.setattr(module, "os", Os())


def test_in_place_leaves_what_copies_would_have(images: list[Path], tmp_path: Path) -> None:
    replay_to(read_array(images), tmp_path / "out", era=NEWEST_ERA)
    in_place_with(images, tmp_path / "undo")
    assert images_in(tmp_path / "images") == images_in(tmp_path / "out")


def test_stripes_logged_anew_over_their_own_pages_keep_their_contents(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The copies behind the end run around the ring, over pages of a stripe not yet copied.

    Four stripes begin before the fifth and end behind it, so that more is copied before the fifth
    than lies before it in the log.
    """
    # By default the fifth stripe's old pages would still be held from reading ahead.
    monkeypatch.setattr(read_ahead, "LEAST_BYTES", 4096)
    array = WrittenArray(array_of())
    rows = [{64 * row + 16 * k: noise(-4 * row - k - 1) for k in range(4)} for row in range(5)]
    logged = [array.payloads(row)[:-1] for row in rows]  # one whole stripe of each row of chunks
    array.log(*(payloads[0] for payloads in logged[:4]))
    fifth = array.position
    array.log(*logged[4])
    array.log(*(payload for payloads in logged[:4] for payload in payloads[1:]))
    images = array.store(tmp_path / "images")
    replay_in_place(read_array(images), tmp_path / "undo", era=ERAS["4.10"])
    wanted, at = array.images.ring(), array.position
    wanted.log[:] = array.ring.log
    for number, payloads in enumerate(logged):
        if number == 4:
            assert fifth + 8 < at < array.position, "it went around and into the fifth"
        at = wanted.append(seq=array.seq + 10000 + number, position=at, payloads=payloads[::-1])
    after = array.images.journal_image(wanted, journal_tail=array.position)
    assert (tmp_path / "images" / "journal.img").read_bytes() == after


def test_undo_puts_every_byte_back(images: list[Path], tmp_path: Path) -> None:
    before = images_in(tmp_path / "images")
    in_place_with(images, tmp_path / "undo")
    assert images_in(tmp_path / "images") != before
    apply_undo(tmp_path / "undo")
    assert images_in(tmp_path / "images") == before
    apply_undo(tmp_path / "undo")
    assert images_in(tmp_path / "images") == before


def writes_of(images: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    """Count the writes of a whole replay, and undo it."""
    count = 0
    real = os.pwrite

    def counting(descriptor: int, data: bytes, offset: int) -> int:
        nonlocal count
        count += 1
        return real(descriptor, data, offset)

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", counting)
        in_place_with(images, tmp_path / "counted")
    apply_undo(tmp_path / "counted")
    return count


def test_killed_at_any_write_it_can_be_undone(
    images: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = images_in(tmp_path / "images")
    count = writes_of(images, tmp_path, monkeypatch)
    assert count >= 8  # pages of three stripes, the log, the superblock
    for write in range(count):
        undo = tmp_path / f"undo{write}"
        with monkeypatch.context() as patch:
            kill_at(write, patch, in_place)
            with pytest.raises(Killed):
                in_place_with(images, undo)
        apply_undo(undo)
        assert images_in(tmp_path / "images") == before, write


def test_an_undo_killed_at_any_write_can_be_repeated(
    images: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = images_in(tmp_path / "images")
    count = writes_of(images, tmp_path, monkeypatch)
    for write in range(count):
        undo = tmp_path / f"undo{write}"
        in_place_with(images, undo)
        with monkeypatch.context() as patch:
            kill_at(write, patch, undo_file)
            with pytest.raises(Killed):
                apply_undo(undo)
        apply_undo(undo)
        assert images_in(tmp_path / "images") == before, write


def test_killed_before_the_undo_file_is_synced_nothing_is_changed(
    images: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = images_in(tmp_path / "images")
    with monkeypatch.context() as patch:
        kill_at(0, patch, undo_file, "fsync")
        with pytest.raises(Killed):
            in_place_with(images, tmp_path / "undo")
    assert images_in(tmp_path / "images") == before
    assert not (tmp_path / "undo").exists()


def path_of(descriptor: int) -> Path:
    return Path(f"/proc/self/fd/{descriptor}").readlink()


def test_each_step_is_on_the_medium_before_the_next_is_taken(
    images: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[tuple[str, str]] = []  # what is done and to which file, in order
    synced: list[bytes] = []  # what was in the undo file when it was synced

    def recording(name: str, describe: Callable[..., str]) -> None:
        real = getattr(os, name)

        def recorded(*arguments: Any) -> Any:
            step = (name, describe(*arguments))
            if step not in steps[-1:]:
                steps.append(step)
            return real(*arguments)

        monkeypatch.setattr(os, name, recorded)

    def name_of(path: Path) -> str:
        return "temporary" if path.name.startswith(".undo.") else path.name

    def written(descriptor: int, _data: bytes, offset: int) -> str:
        if name_of(path_of(descriptor)) != "journal.img":
            return "a member"
        return "superblock" if offset < 16 * 512 else "log"

    def brought(descriptor: int) -> str:
        path = path_of(descriptor)
        if name_of(path) == "temporary":
            synced.append(path.read_bytes())
        return name_of(path)

    recording("pwrite", written)
    recording("fsync", brought)
    recording("rename", lambda source, target: f"{name_of(Path(source))} to {Path(target).name}")
    in_place_with(images, tmp_path / "undo")
    all_synced = [("fsync", path.name) for path in images]
    assert steps == [
        ("fsync", "temporary"), ("rename", "temporary to undo"), ("fsync", tmp_path.name),
        ("pwrite", "a member"), *all_synced,
        ("pwrite", "log"), *all_synced,
        ("pwrite", "superblock"), *all_synced,
    ]  # fmt: skip
    assert synced == [(tmp_path / "undo").read_bytes()]


def test_a_real_kill_in_the_middle_is_undone_by_the_command(
    images: list[Path], tmp_path: Path
) -> None:
    before = images_in(tmp_path / "images")
    program = (
        "import os, signal\n"
        "from harness.storage import in_place\n"
        "real, calls = os.pwrite, iter(range(99))\n"
        "def dying(*a):\n"
        "    if next(calls) == 4: os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return real(*a)\n"
        "os.pwrite = dying\n"
        "from tools.cli import run\n"
        "import sys; run(sys.argv[1:])\n"
    )
    undo = tmp_path / "undo"
    command = ["replay", "--in-place", "--undo-file", str(undo), *map(str, images)]
    done = subprocess.run(
        [sys.executable, "-c", program, *command], env={**os.environ, "PYTHONPATH": str(REPO)}
    )
    assert done.returncode == -signal.SIGKILL
    assert images_in(tmp_path / "images") != before
    assert run(["replay", "--undo", str(undo)]) == 0
    assert images_in(tmp_path / "images") == before


@pytest.mark.parametrize("data_bytes", [0, 100_000], ids=["at-the-end", "on-the-way"])
def test_full_disk_under_the_undo_file_is_said_and_leaves_nothing(
    data_bytes: int, images: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """*data_bytes* more than fit a buffer let the disk be full before the file is ended."""
    before, saved = images_in(tmp_path / "images"), UndoWriter.save
    real = Path.open

    def on_full_disk(path: Path, mode: str = "r") -> IO[Any]:
        file = real(path, mode)
        if mode == "xb":
            with real(Path("/dev/full"), "wb") as full:
                os.dup2(full.fileno(), file.fileno())
        return file

    def larger(writer: UndoWriter, file: int, offset: int, data: bytes) -> None:
        saved(writer, file, offset, data[:1] + bytes(data_bytes))

    monkeypatch.setattr(Path, "open", on_full_disk)
    monkeypatch.setattr(UndoWriter, "save", larger)
    with pytest.raises(Unavailable, match=r"/undo: no space left on that file system; free some"):
        in_place_with(images, tmp_path / "undo")
    assert [path.name for path in tmp_path.iterdir()] == ["images"]
    assert images_in(tmp_path / "images") == before


def test_an_undo_file_in_the_way_is_kept(images: list[Path], tmp_path: Path) -> None:
    (tmp_path / "undo").write_bytes(b"precious")
    with pytest.raises(BadInput, match=r"undo file is there already.*--undo-file"):
        in_place_with(images, tmp_path / "undo")
    assert (tmp_path / "undo").read_bytes() == b"precious"


@pytest.mark.parametrize(
    ("damage", "wanted"),
    [
        pytest.param(lambda data: data[:0], "is no undo file", id="empty"),
        pytest.param(lambda data: b"x" + data[1:], "is no undo file", id="magic"),
        pytest.param(lambda data: data[:-1], "is cut short", id="one-byte-short"),
        pytest.param(lambda data: data[: len(data) // 2], "is cut short", id="half"),
        pytest.param(lambda data: data[:20] + b"?" + data[21:], "damaged", id="header"),
        pytest.param(lambda data: data[:-100] + b"?" + data[-99:], "damaged", id="a-record"),
    ],
)  # fmt: skip
def test_a_damaged_undo_file_changes_nothing(
    damage: object, wanted: str, images: list[Path], tmp_path: Path
) -> None:
    assert callable(damage)
    in_place_with(images, tmp_path / "undo")
    after = images_in(tmp_path / "images")
    (tmp_path / "undo").write_bytes(damage((tmp_path / "undo").read_bytes()))
    with pytest.raises(BadInput, match=wanted):
        apply_undo(tmp_path / "undo")
    assert images_in(tmp_path / "images") == after


@pytest.mark.parametrize(
    ("spoil", "wanted"),
    [
        pytest.param(lambda image: os.truncate(image, 512), "this is another image", id="other"),
        pytest.param(Path.unlink, "cannot be opened: No such file", id="gone"),
        pytest.param(lambda image: attach(image, "md127"), "mdadm --stop /dev/md127", id="in-use"),
    ],
)
def test_where_one_image_cannot_be_undone_none_is(
    spoil: Callable[[Path], object], wanted: str, images: list[Path], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(in_use, "SYSFS", tmp_path / "sys")
    in_place_with(images, tmp_path / "undo")
    spoil(images[-1])
    after = images_in(tmp_path / "images")
    with pytest.raises(BadInput, match=f"{images[-1].name}: .*{wanted}"):
        apply_undo(tmp_path / "undo")
    assert images_in(tmp_path / "images") == after


def test_a_dry_run_prints_every_stripe_and_writes_nothing(
    images: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = images_in(tmp_path / "images")
    assert run(["replay", "--dry-run", *map(str, images)]) == 0
    said = capsys.readouterr().out
    assert "recovering 1 data-only stripes and 2 data-parity stripes" in said
    assert said.count("replay stripe") == 2
    assert said.count("write out stripe") == 1
    assert images_in(tmp_path / "images") == before


@pytest.mark.parametrize(
    "arguments",
    [[], ["--in-place", "--dry-run"], ["--out", "o", "--in-place"], ["--undo", "u", "--dry-run"]],
    ids=["no-way", "two-ways", "out-and-in-place", "undo-and-dry-run"],
)
def test_just_one_way_must_be_chosen(
    arguments: list[str], images: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["replay", *arguments, *map(str, images)]) == 2
    assert "give one of" in capsys.readouterr().err
