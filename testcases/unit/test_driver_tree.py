"""The driver's source and headers, from a stand-in for the archive: whole or not at all."""

from __future__ import annotations

import io
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest

from harness.errors import BadInput, Unavailable
from kvm_images import archive
from kvm_images.archive import Package
from kvm_images.driver_tree import MAKEFILE, driver_tree, parts_of
from kvm_images.kernels import Kernel

RELEASE, VERSION, SUITE = "6.1.0-57-cloud-amd64", "6.1.192-3", "bookworm-security"
HEADERS, COMMON = f"linux-headers-{RELEASE}", "linux-headers-6.1.0-57-common"
KBUILD, SOURCE = "linux-kbuild-6.1", "linux-source-6.1"
COMPILER = "linux-compiler-gcc-12-x86"


def package(name: str, version: str = VERSION, depends: tuple[str, ...] = ()) -> Package:
    return Package(name, version, depends, 1 << 20, "", SUITE)


LISTED = [
    package(HEADERS, depends=(COMMON, KBUILD, COMPILER)), package(COMMON), package(KBUILD),
    package(SOURCE), package(SOURCE, "6.1.192-2"), package("linux-source-6.12", "6.12.1-1"),
    package("linux-headers-6.1.0-56-common", "6.1.192-2"),
]  # fmt: skip


@pytest.fixture
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Kernel:
    """A packaged kernel, with an archive that has what belongs to it."""
    monkeypatch.setenv("MDJOURNAL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(archive, "update", lambda *_, **__: True)
    monkeypatch.setattr(
        archive, "packages",
        lambda _, prefix: [each for each in LISTED if each.name.startswith(prefix)],
    )  # fmt: skip
    monkeypatch.setattr(archive, "download", download)
    monkeypatch.setattr(archive, "unpack", unpack)
    return Kernel(name="6.1", release=RELEASE, version=VERSION, image=tmp_path / "vmlinuz",
                  modules=tmp_path, identity="a" * 64, suite=SUITE)  # fmt: skip


def download(wanted: Package, into: Path) -> Path:
    deb = into / f"{wanted.name}.deb"
    deb.touch()
    return deb


def unpack(deb: Path, into: Path) -> None:
    below = into / "usr/src"
    below.mkdir(parents=True, exist_ok=True)
    if deb.stem == SOURCE:
        with tarfile.open(below / f"{SOURCE}.tar.xz", "w") as tar:  # tar looks at what is in it
            for name in ("raid5.c", "raid0.h", "md.h", "raid10.c", "md.c", "Makefile"):
                info = tarfile.TarInfo(f"{SOURCE}/drivers/md/{name}")
                info.size = 4
                tar.addfile(info, io.BytesIO(b"text"))
    elif deb.stem == HEADERS:
        (below / HEADERS).mkdir()
        (below / HEADERS / "Makefile").write_text(f"include /usr/src/{COMMON}/Makefile\n")


def test_a_tree_has_the_driver_alone_and_headers_that_know_their_place(kernel: Kernel) -> None:
    said: list[str] = []
    tree = driver_tree(kernel, say=said.append)
    files = sorted(path.name for path in tree.source.iterdir())
    assert files == ["Makefile", "md.h", "raid0.h", "raid5.c"]
    assert (tree.source / "Makefile").read_text() == MAKEFILE
    assert (tree.headers / "Makefile").read_text() == f"include ../{COMMON}/Makefile\n"
    assert [line.split()[1] for line in said] == [HEADERS, COMMON, KBUILD, SOURCE]


def test_it_is_fetched_once(kernel: Kernel) -> None:
    first = driver_tree(kernel, say=lambda _: None)
    said: list[str] = []
    assert driver_tree(kernel, say=said.append) == first
    assert said == []


def test_what_fails_halfway_leaves_nothing(
    kernel: Kernel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(deb: Path, _into: Path) -> None:
        raise Unavailable(f"{deb.name}: not unpacked")

    monkeypatch.setattr(archive, "unpack", fail)
    with pytest.raises(Unavailable):
        driver_tree(kernel, say=lambda _: None)
    left = [path.name for path in (tmp_path / "cache/driver-trees").iterdir()]
    assert left == ["lock"]


def test_a_kernel_of_ones_own_has_a_source_of_its_own(kernel: Kernel) -> None:
    with pytest.raises(BadInput, match="source tree of its own"):
        driver_tree(replace(kernel, suite=""), say=lambda _: None)


def test_only_the_programs_that_build_may_be_of_another_version() -> None:
    newer = [p for p in LISTED if p.name != KBUILD] + [package(KBUILD, "6.1.192-9")]
    assert [part.version for part in parts_of(RELEASE, VERSION, newer)] == [
        VERSION, VERSION, "6.1.192-9", VERSION,
    ]  # fmt: skip
    for name in (HEADERS, COMMON, SOURCE):
        rest = [each for each in LISTED if each.name != name or each.version != VERSION]
        with pytest.raises(Unavailable, match=f"{name} {VERSION}: the archive does not have it"):
            parts_of(RELEASE, VERSION, rest)
