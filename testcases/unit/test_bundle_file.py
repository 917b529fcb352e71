"""A bundle's file: it comes back as it was, GNU tar can read it, and a hostile one is refused."""

from __future__ import annotations

import io
import lzma
import subprocess
import tarfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.crash.content import DiskContent
from harness.errors import BadInput
from harness.storage import bundle_file
from harness.storage.bundle_file import BundleFiles, DiskImage, read_bundle, write_bundle

MIB = 1 << 20
BLOCK = bytes(range(256)) * 16


def sample() -> BundleFiles:
    content = DiskContent({0: BLOCK, 1: BLOCK[::-1], 700: BLOCK, 4095: BLOCK})
    images = {
        "member0": DiskImage(size_bytes=16 * MIB, content=content),
        "journal": DiskImage(size_bytes=8 * MIB, content=DiskContent()),
    }
    return BundleFiles(files={"bundle.json": b"{}", "dmesg.txt": b"md: hello\n"}, images=images)


def test_it_comes_back_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "x.mdjr"
    write_bundle(path, sample())
    found, wanted = read_bundle(path), sample()
    assert found.files == wanted.files
    assert found.images.keys() == wanted.images.keys()
    for name, image in wanted.images.items():
        assert found.images[name].size_bytes == image.size_bytes
        assert not list(found.images[name].content.differing(image.content))


def test_gnu_tar_unpacks_sparse_images_of_the_right_size(tmp_path: Path) -> None:
    write_bundle(tmp_path / "x.mdjr", sample())
    subprocess.run(["tar", "xJf", "x.mdjr"], cwd=tmp_path, check=True)
    image = tmp_path / "images/member0.img"
    assert image.stat().st_size == 16 * MIB
    assert image.stat().st_blocks * 512 < MIB
    data = image.read_bytes()
    assert data[700 * 4096 : 701 * 4096] == BLOCK
    assert not any(data[2 * 4096 : 700 * 4096])
    assert (tmp_path / "images/journal.img").stat().st_size == 8 * MIB


def test_a_disk_of_terabytes_that_holds_little_makes_a_small_file(tmp_path: Path) -> None:
    image = DiskImage(size_bytes=4 << 40, content=DiskContent({(4 << 40) // 4096 - 1: BLOCK}))
    write_bundle(tmp_path / "x.mdjr", BundleFiles(files={}, images={"member0": image}))
    assert (tmp_path / "x.mdjr").stat().st_size < 4096
    found = read_bundle(tmp_path / "x.mdjr").images["member0"]
    assert found.content.blocks == image.content.blocks


def test_a_long_trace_comes_back(tmp_path: Path) -> None:
    trace = BLOCK * 2048
    write_bundle(tmp_path / "x.mdjr", BundleFiles(files={"trace.mdjtrace": trace}, images={}))
    assert read_bundle(tmp_path / "x.mdjr").files["trace.mdjtrace"] == trace


def test_an_image_in_many_pieces_comes_back(tmp_path: Path) -> None:
    content = DiskContent({2 * number: BLOCK for number in range(8_000)})
    image = DiskImage(size_bytes=64 * MIB, content=content)
    write_bundle(tmp_path / "x.mdjr", BundleFiles(files={}, images={"journal": image}))
    assert read_bundle(tmp_path / "x.mdjr").images["journal"].content.blocks == content.blocks


def packed(path: Path, fill: Callable[[tarfile.TarFile], None]) -> Path:
    with (
        lzma.open(path, "wb") as xz,
        tarfile.open(fileobj=xz, mode="w|", format=tarfile.PAX_FORMAT) as tar,
    ):
        fill(tar)
    return path


def add(tar: tarfile.TarFile, name: str, data: bytes = b"x", **fields: object) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    for field, value in fields.items():
        setattr(info, field, value)
    tar.addfile(info, io.BytesIO(data))


def add_all(tar: tarfile.TarFile, names: list[str]) -> None:
    for name in names:
        add(tar, name, bytes(512))


def sparse(name: str, head: bytes, real: int, data: bytes = b"") -> Callable[..., None]:
    def fill(tar: tarfile.TarFile) -> None:
        headers = {
            "GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": name,
            "GNU.sparse.realsize": str(real),
        }  # fmt: skip
        add(tar, "GNUSparseFile.0/x", head.ljust(512, b"\0") + data, pax_headers=headers)

    return fill


HOSTILE: dict[str, Callable[[tarfile.TarFile], None]] = {
    "a path upwards": lambda tar: add(tar, "../../etc/cron.d/x"),
    "an absolute path": lambda tar: add(tar, "/etc/passwd"),
    "an image's path upwards": lambda tar: add(tar, "images/../../x.img"),
    "a link": lambda tar: add(
        tar, "bundle.json", b"", type=tarfile.SYMTYPE, linkname="/etc/shadow"
    ),
    "a hard link": lambda tar: add(tar, "bundle.json", b"", type=tarfile.LNKTYPE, linkname="x"),
    "a device": lambda tar: add(tar, "bundle.json", b"", type=tarfile.CHRTYPE),
    "a fifo": lambda tar: add(tar, "bundle.json", b"", type=tarfile.FIFOTYPE),
    "a folder": lambda tar: add(tar, "images", b"", type=tarfile.DIRTYPE),
    "a linked image": lambda tar: add(
        tar, "images/member0.img", b"", type=tarfile.SYMTYPE, linkname="/dev/sda"
    ),
    "twice": lambda tar: add_all(tar, ["bundle.json"] * 2),
    "an image twice": lambda tar: add_all(tar, ["images/journal.img"] * 2),
    "too many files": lambda tar: add_all(tar, [f"a{n}.json" for n in range(65)]),
    "a strange file": lambda tar: add(tar, "run.sh"),
    "an odd size": lambda tar: add(tar, "images/member0.img", bytes(511)),
    "extents outside": sparse("images/member0.img", b"1\n4096\n4096\n", 4096, bytes(4096)),
    "extents that overlap": sparse(
        "images/member0.img", b"2\n0\n4096\n0\n4096\n", 8192, bytes(8192)
    ),
    "an extent below zero": sparse("images/member0.img", b"1\n-4096\n4096\n", 8192, bytes(4096)),
    "an extent of less than nothing": sparse("images/member0.img", b"1\n0\n-512\n", 8192),
    "a map of words": sparse("images/member0.img", b"one\ntwo\n", 8192),
    "a map of a million extents": sparse("images/member0.img", b"1000000\n0\n1\n", 8192),
    "a disk larger than any": sparse("images/member0.img", b"1\n0\n0\n", 1 << 60),
    "a sparse text": sparse("bundle.json", b"1\n0\n0\n", 512),
    "an extent that is not there": sparse("images/member0.img", b"1\n0\n8192\n", 8192),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_bundle_is_refused(name: str, tmp_path: Path) -> None:
    path = packed(tmp_path / "x.mdjr", HOSTILE[name])
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(BadInput, match=r"x\.mdjr"):
        read_bundle(path)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("data", [b"", b"no xz", b"\xfd7zXZ\0", lzma.compress(b"no tar" * 200)])
def test_what_is_no_bundle_is_refused(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "x.mdjr").write_bytes(data)
    with pytest.raises(BadInput, match="no bundle"):
        read_bundle(tmp_path / "x.mdjr")


def test_a_bundle_cut_short_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.mdjr"
    write_bundle(path, sample())
    whole = path.read_bytes()
    for length in range(0, len(whole), 97):
        path.write_bytes(whole[:length])
        with pytest.raises(BadInput):
            read_bundle(path)


def test_what_unpacks_to_more_than_is_allowed_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bundle_file, "_MOST_UNPACKED_BYTES", 8 * MIB)
    path = packed(tmp_path / "x.mdjr", lambda tar: add(tar, "trace.mdjtrace", bytes(32 * MIB)))
    assert path.stat().st_size < MIB
    with pytest.raises(BadInput, match="unpacks to more"):
        read_bundle(path)


def test_images_that_hold_too_much_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_bundle(tmp_path / "x.mdjr", sample())
    monkeypatch.setattr(bundle_file, "MOST_CONTENT_BYTES", 3 * 4096)
    with pytest.raises(BadInput, match="hold more"):
        read_bundle(tmp_path / "x.mdjr")


def test_a_header_that_tells_of_gigabytes_is_not_read_into_memory(tmp_path: Path) -> None:
    info = tarfile.TarInfo("x")
    info.type, info.size = tarfile.XHDTYPE, 900 * MIB
    path = tmp_path / "x.mdjr"
    path.write_bytes(lzma.compress(info.tobuf(tarfile.USTAR_FORMAT) + bytes(10240)))
    with pytest.raises(BadInput, match="header of"):
        read_bundle(path)


def header(kind: bytes, size: int) -> bytes:
    info = tarfile.TarInfo("x")
    info.type, info.size = kind, size
    return info.tobuf(tarfile.USTAR_FORMAT)


SPARSE = b"".join((
    b"22 GNU.sparse.major=1\n", b"22 GNU.sparse.minor=0\n",
    b"38 GNU.sparse.name=images/member0.img\n", b"30 GNU.sparse.realsize=1048576\n",
))  # fmt: skip
HEADERS = {
    "headers of headers": (header(tarfile.XHDTYPE, 6) + b"6 a=b\n".ljust(512, b"\0")) * 5000,
    "names of names": (header(tarfile.GNUTYPE_LONGNAME, 512) + bytes(512)) * 5000,
    "digits without end": header(tarfile.XHDTYPE, 60 << 10) + b"9" * (60 << 10),
    "many of digits": (header(tarfile.XGLTYPE, 4096) + b"9" * 4096) * 3000,
    "a map of a hundred million extents": (
        header(tarfile.XHDTYPE, len(SPARSE)) + SPARSE.ljust(512, b"\0")
        + header(tarfile.REGTYPE, 40 * MIB) + b"100000000\n" + b"0\n0\n" * (10 * MIB - 3)
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", HEADERS)
def test_headers_take_neither_time_nor_memory(name: str, tmp_path: Path) -> None:
    path = tmp_path / "x.mdjr"
    path.write_bytes(lzma.compress(HEADERS[name] + bytes(1024), preset=0))
    began = time.process_time()
    with pytest.raises(BadInput, match=r"x\.mdjr"):
        read_bundle(path)
    assert time.process_time() - began < 5
