"""What cannot be replayed is refused by name, and leaves nothing behind."""

from __future__ import annotations

import contextlib
import errno
import os
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.errors import EXIT_MISUSE, BadImage, BadInput, HarnessError, Unavailable
from harness.recovery.era import NEWEST_ERA
from harness.storage import replay as replay_module
from harness.storage.array_files import read_array
from harness.storage.images import copy_sparse
from harness.storage.replay import replay_to
from harness.storage.watching import Watch
from testcases.independent_geometry import SuperblockFields
from testcases.unit.written_arrays import (
    WrittenArray,
    array_of,
    digests,
    images_in,
    noise,
    slot_name,
    store,
)

NOBODY = 65534


def written(**changes: object) -> WrittenArray:
    array = WrittenArray(array_of(**changes))  # type: ignore[arg-type]
    array.write({0: noise(-1)})
    return array


def replay(paths: list[Path], out: Path, *, force: bool = False, degraded: bool = False) -> None:
    replay_to(read_array(paths, degraded=degraded), out, era=NEWEST_ERA, force=force)


def refused(
    paths: list[Path], out: Path, match: str, *, force: bool = False, degraded: bool = False
) -> HarnessError:
    """Require a refusal that says *match*, with the inputs untouched and no file in *out*."""
    before = digests(path for path in paths if path.is_file())
    there = images_in(out) if out.is_dir() else None
    with pytest.raises(BadInput, match=match) as caught:
        replay(paths, out, force=force, degraded=degraded)
    assert (images_in(out) if out.is_dir() else None) == there
    assert digests(path for path in paths if path.is_file()) == before
    assert caught.value.exit_status == EXIT_MISUSE
    assert str(caught.value).count("\n") <= 1
    return caught.value


# Images.


@pytest.mark.parametrize("victim", ["member1.img", "journal.img"])
@pytest.mark.parametrize(
    ("content", "match"),
    [
        pytest.param(b"", "is empty", id="zero-length"),
        pytest.param(bytes(100), "no md superblock", id="hundred-bytes"),
        pytest.param(bytes(1 << 20), "no md superblock", id="zeroes"),
        pytest.param(b"\x7fELF" * 5000, "no md superblock", id="other-file"),
    ],
)
def test_file_that_is_no_md_image(victim: str, content: bytes, match: str, tmp_path: Path) -> None:
    paths = written().store(tmp_path / "in")
    (tmp_path / "in" / victim).write_bytes(content)
    error = refused(paths, tmp_path / "out", f"{victim}: .*{match}")
    assert isinstance(error, BadImage)


@pytest.mark.parametrize("victim", ["member1.img", "journal.img"])
@pytest.mark.parametrize("missing_bytes", [1, 512, 4096, 65536])
def test_truncated_image(victim: str, missing_bytes: int, tmp_path: Path) -> None:
    paths = written().store(tmp_path / "in")
    image = tmp_path / "in" / victim
    os.truncate(image, image.stat().st_size - missing_bytes)
    assert isinstance(refused(paths, tmp_path / "out", f"{victim}: .*truncated"), BadImage)


@pytest.mark.parametrize("extra", [1, 511])
def test_image_with_a_part_of_a_sector(extra: int, tmp_path: Path) -> None:
    paths = written().store(tmp_path / "in")
    image = tmp_path / "in" / "member1.img"
    os.truncate(image, image.stat().st_size + extra)
    assert isinstance(refused(paths, tmp_path / "out", "member1.img: .*sector"), BadImage)


def test_image_with_a_damaged_superblock(tmp_path: Path) -> None:
    array = written()
    members = array.images.member_images({3: {"csum": 1}})
    paths = array.store(tmp_path / "in")
    store(tmp_path / "in", {slot_name(3): members[3]})
    assert isinstance(refused(paths, tmp_path / "out", "member3.img: .*sb_csum"), BadImage)


def test_file_that_is_not_there(tmp_path: Path) -> None:
    paths = [*written().store(tmp_path / "in"), tmp_path / "in" / "nothing.img"]
    refused(paths, tmp_path / "out", "nothing.img: cannot be opened: No such file")


def test_directory_and_device(tmp_path: Path) -> None:
    paths = written().store(tmp_path / "in")
    (tmp_path / "in" / "folder").mkdir()
    refused([*paths, tmp_path / "in" / "folder"], tmp_path / "out", "folder: is no regular file")
    refused([*paths, Path("/dev/null")], tmp_path / "out", "/dev/null: is no regular file")


def test_fifo_is_refused_without_waiting_for_its_writer(tmp_path: Path) -> None:
    paths = written().store(tmp_path / "in")
    fifo = tmp_path / "in" / "fifo"
    os.mkfifo(fifo)
    said: list[str] = []

    def try_it() -> None:
        try:
            read_array([*paths, fifo])
        except BadImage as bad:
            said.append(str(bad))

    trying = threading.Thread(target=try_it)
    trying.start()
    trying.join(2)
    waited = trying.is_alive()
    if waited:
        os.close(os.open(fifo, os.O_RDWR))  # lets it go on
        trying.join()
    assert not waited
    assert "fifo: is no regular file" in said[0]


def test_no_image_at_all(tmp_path: Path) -> None:
    refused([], tmp_path / "out", "no image is given")


# Arrays.


def test_the_same_file_twice(tmp_path: Path) -> None:
    paths = written().store(tmp_path / "in")
    refused([*paths, paths[1]], tmp_path / "out", "member1.img: is given twice")


@pytest.mark.parametrize("name", ["member2.img", "journal.img"])
def test_the_same_device_under_two_names(name: str, tmp_path: Path) -> None:
    paths = written().store(tmp_path / "in")
    other = tmp_path / "in" / f"again-{name}"
    other.symlink_to(tmp_path / "in" / name)
    refused([*paths, other], tmp_path / "out", f"again-{name}: is .*{name}")


@pytest.mark.parametrize("missing", [0, 4])
def test_missing_active_member(missing: int, tmp_path: Path) -> None:
    paths = written().store(tmp_path / "in")
    del paths[missing]
    error = refused(paths, tmp_path / "out", f"member {missing} .*missing.*--degraded")
    assert isinstance(error, BadImage)


def test_more_members_missing_than_the_level_stands(tmp_path: Path) -> None:
    paths = written().store(tmp_path / "in")
    refused(paths[2:], tmp_path / "out", "2 members are missing, RAID-5", degraded=True)
    paths = written(missing_slots=[0]).store(tmp_path / "degraded")
    refused(paths[1:], tmp_path / "out", "2 members are missing, RAID-5", degraded=True)


def test_missing_journal(tmp_path: Path) -> None:
    paths = written().store(tmp_path / "in")
    error = refused(paths[:-1], tmp_path / "out", "journal's image is missing")
    assert isinstance(error, BadImage)
    refused(paths[:-1], tmp_path / "out", "journal's image is missing", degraded=True)


def test_journal_alone(tmp_path: Path) -> None:
    paths = written().store(tmp_path / "in")
    refused(paths[-1:], tmp_path / "out", "missing")


def test_devices_of_two_arrays(tmp_path: Path) -> None:
    paths = written().store(tmp_path / "in")
    other = written(set_uuid=bytes(range(1, 17))).store(tmp_path / "other")
    mixed = [*paths[:2], other[2], *paths[3:]]
    error = refused(
        mixed, tmp_path / "out",
        r"other/member2.img: belongs to array 01020304:05060708:090a0b0c:0d0e0f10",
    )  # fmt: skip
    assert isinstance(error, BadImage)


@pytest.mark.parametrize(
    "fields", [{"level": 4}, {"layout": 0}, {"chunksize": 8}], ids=["level", "layout", "chunk"]
)
def test_member_that_tells_of_another_shape(fields: SuperblockFields, tmp_path: Path) -> None:
    array = written()
    paths = array.store(tmp_path / "in")
    store(tmp_path / "in", {slot_name(2): array.images.member_images({2: fields})[2]})
    refused(paths, tmp_path / "out", f"member2.img: .*{next(iter(fields))[:5]}")


@pytest.mark.parametrize("victim", ["member1.img", "journal.img"])
def test_stale_device(victim: str, tmp_path: Path) -> None:
    array = written()
    paths = array.store(tmp_path / "in", events=18 if victim == "journal.img" else 20)
    if victim == "member1.img":
        store(tmp_path / "in", {victim: array.images.member_images({1: {"events": 18}})[1]})
    error = refused(paths, tmp_path / "out", f"{victim}: stale.*, 18 events.*20")
    assert isinstance(error, BadImage)


def test_member_that_the_array_has_failed_one_event_ago(tmp_path: Path) -> None:
    array = written(failed_slots=[2])
    paths = array.store(tmp_path / "in")
    behind = array.images.member_images({2: {"events": 19}})[2]
    store(tmp_path / "in", {slot_name(2): behind})
    refused(paths, tmp_path / "out", "member2.img: .*faulty")


def test_array_without_a_journal(tmp_path: Path) -> None:
    array = written()
    plain: dict[int, SuperblockFields] = {
        slot: {"feature_map": 0, "dev_roles": [0, 1, 2, 3, 4]} for slot in range(5)
    }
    images = {slot_name(n): image for n, image in array.images.member_images(plain).items()}
    refused(store(tmp_path / "in", images), tmp_path / "out", "member0.img: .*no write journal")


def test_journal_whose_own_superblock_lacks_the_feature(tmp_path: Path) -> None:
    # "journal device provided without journal feature, ignoring the device": section 1.5.
    paths = written().store(tmp_path / "in", feature_map=0)
    refused(paths, tmp_path / "out", "journal.img")


@pytest.mark.parametrize(
    "features", [1, 1024, 2048, 1024 | 2048], ids=["bitmap", "ppl", "multiple-ppls", "both-ppls"]
)
def test_feature_that_excludes_a_journal(features: int, tmp_path: Path) -> None:
    array = written()
    fields: SuperblockFields = {"feature_map": 512 | features}
    members = array.images.member_images(dict.fromkeys(range(5), fields))
    images = {slot_name(n): image for n, image in members.items()}
    images["journal.img"] = array.images.journal_image(array.ring, feature_map=512 | features)
    refused(store(tmp_path / "in", images), tmp_path / "out", "bitmap|PPL|feature")


def test_journal_whose_tail_cannot_be_read(tmp_path: Path) -> None:
    # The part block behind the ring passes for a tail, and the device ends inside it.
    array = written(log_sectors=131)
    paths = array.store(tmp_path / "in", journal_tail=128)
    refused(paths, tmp_path / "out", "journal.img: block 128 .*refuse to start")


# The output folder.


@pytest.mark.parametrize("there", ["member0.img", "journal.img"])
def test_file_in_the_way_without_force(there: str, tmp_path: Path) -> None:
    paths = written().store(tmp_path / "in")
    store(tmp_path / "out", {there: b"mine"})
    refused(paths, tmp_path / "out", f"{there}: is there already.*--force")


def test_folder_of_the_inputs_even_with_force(tmp_path: Path) -> None:
    paths = written().store(tmp_path / "in")
    refused(paths, tmp_path / "in", "is the image itself", force=True)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "journal.img").symlink_to(tmp_path / "in" / "journal.img")
    refused(paths, tmp_path / "out", "journal.img there is the image itself", force=True)


def test_directory_in_the_way_even_with_force(tmp_path: Path) -> None:
    paths = written().store(tmp_path / "in")
    (tmp_path / "out" / "member3.img").mkdir(parents=True)
    with pytest.raises(BadInput, match=r"member3\.img"):
        replay(paths, tmp_path / "out", force=True)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["member3.img"]


def test_two_images_of_one_name(tmp_path: Path) -> None:
    paths = written().store(tmp_path / "in")
    (tmp_path / "in" / "other").mkdir()
    moved = tmp_path / "in" / "other" / "member1.img"
    paths[0].rename(moved)
    refused([moved, *paths[1:]], tmp_path / "out", "member1.img: .*same file name")


@pytest.mark.parametrize("below", ["", "folder"], ids=["a-file", "below-a-file"])
def test_output_folder_that_is_a_file(below: str, tmp_path: Path) -> None:
    paths = written().store(tmp_path / "in")
    (tmp_path / "out").write_bytes(b"mine")
    refused(paths, tmp_path / "out" / below, "out.*: is no folder")
    assert (tmp_path / "out").read_bytes() == b"mine"


def test_output_folder_of_a_name_too_long(tmp_path: Path) -> None:
    paths = written().store(tmp_path / "in")
    with pytest.raises(BadInput, match=r"longlong.*File name too long"):
        replay(paths, tmp_path / ("long" * 80))


@contextlib.contextmanager
def ordinary_user() -> Iterator[None]:
    """Let permissions count while the block lasts, even for root."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.parametrize("mode", [0o555, 0o000], ids=["no-writing", "no-searching"])
@pytest.mark.parametrize("below", ["", "new"], ids=["there", "to-be-made"])
def test_output_folder_without_permission(mode: int, below: str) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        paths = written().store(folder / "in")
        (folder / "out").mkdir()
        (folder / "out").chmod(mode)
        with ordinary_user(), pytest.raises(BadInput, match=f"out/?{below}: cannot be written"):
            replay(paths, folder / "out" / below)
        (folder / "out").chmod(0o755)
        assert not list((folder / "out").iterdir())


# Faults on the way: nothing half done stays.


def _fail_on_third_copy(error: BaseException, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = iter(range(99))

    def failing(source: Path, target: Path, watch: Watch) -> None:
        if next(calls) == 2:
            raise error
        copy_sparse(source, target, watch)

    monkeypatch.setattr(replay_module, "copy_sparse", failing)


@pytest.mark.parametrize("there", [False, True], ids=["made-here", "there-before"])
@pytest.mark.parametrize(
    ("error", "wanted"),
    [
        pytest.param(KeyboardInterrupt(), KeyboardInterrupt, id="interrupted"),
        pytest.param(Unavailable("no space left"), Unavailable, id="disk-full"),
        pytest.param(OSError(errno.EROFS, "Read-only file system"), BadInput, id="read-only"),
    ],
)
def test_fault_while_copying_leaves_the_output_as_it_was(
    error: BaseException, wanted: type[BaseException], there: bool, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    paths = written().store(tmp_path / "in")
    out = tmp_path / "out"
    if there:
        store(out, {"member0.img": b"old"})
    _fail_on_third_copy(error, monkeypatch)
    with pytest.raises(wanted):
        replay(paths, out, force=True)
    assert out.exists() == there
    assert not there or images_in(out) == {"member0.img": b"old"}


def test_full_disk_while_writing_is_said_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = written().store(tmp_path / "in")

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    files = read_array(paths)
    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", full)
        with pytest.raises(Unavailable, match=r"out/.*no space left"):
            replay_to(files, tmp_path / "out", era=NEWEST_ERA)
    assert not (tmp_path / "out").exists()
