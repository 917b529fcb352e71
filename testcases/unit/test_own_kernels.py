"""The user's own kernel, or one module of it, is taken if its parts are of one build."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from harness.errors import BadInput
from kvm_images import tiny_guest
from kvm_images.kernels import own_build, with_modules
from testcases.unit.test_kernel_modules import module, tree_of
from testcases.unit.test_kernel_store import SUFFIX, bzimage


@pytest.fixture
def build(tmp_path: Path) -> tuple[Path, Path]:
    image = tmp_path / "bzImage"
    image.write_bytes(bzimage("7.2.0-mine"))
    files = {"raid456.ko": module("raid456", release="7.2.0-mine")}
    return image, tree_of(tmp_path / "root/lib/modules/7.2.0-mine", files)


def test_an_own_build_is_taken_by_folder_or_by_root(
    build: tuple[Path, Path], tmp_path: Path
) -> None:
    image, folder = build
    kernel = own_build(image, folder)
    assert (kernel.release, kernel.version, kernel.suite) == ("7.2.0-mine", "own build", "")
    assert (kernel.image, kernel.modules) == (image, folder)
    assert own_build(image, tmp_path / "root") == kernel


def test_an_own_build_changes_its_identity_with_any_byte(build: tuple[Path, Path]) -> None:
    image, folder = build
    before = own_build(image, folder).identity
    (folder / "kernel/raid456.ko").write_bytes(module("raid456", release="7.2.0-mine", alias="x"))
    after_module = own_build(image, folder).identity
    image.write_bytes(image.read_bytes() + b"x")
    assert len({before, after_module, own_build(image, folder).identity}) == 3


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x7fELF" * 300,
        bzimage("")[:0x210],
        bzimage("").replace(SUFFIX, b" " * len(SUFFIX)),
    ],
    ids=["empty", "vmlinux", "truncated", "no-version"],
)
def test_a_file_that_is_no_bzimage_is_refused(build: tuple[Path, Path], content: bytes) -> None:
    image, folder = build
    image.write_bytes(content)
    with pytest.raises(BadInput, match="bzImage: no bzImage with a version in its header\nnext: "):
        own_build(image, folder)


def test_a_missing_image_is_refused(build: tuple[Path, Path]) -> None:
    image, folder = build
    image.unlink()
    with pytest.raises(BadInput, match="bzImage: No such file"):
        own_build(image, folder)


def test_modules_of_another_build_are_refused(build: tuple[Path, Path], tmp_path: Path) -> None:
    image, folder = build
    image.write_bytes(bzimage("7.2.0-other"))
    with pytest.raises(
        BadInput, match=r"folder of 7.2.0-mine, but .*bzImage is 7.2.0-other\nnext: "
    ):
        own_build(image, folder)
    renamed = folder.rename(folder.parent / "7.2.0-other")
    with pytest.raises(BadInput, match=r"modules of 7.2.0-mine, but "):
        own_build(image, renamed)


def test_a_root_with_no_release_or_two_is_refused(build: tuple[Path, Path], tmp_path: Path) -> None:
    image, folder = build
    shutil.copytree(folder, folder.parent / "7.2.0-second")
    with pytest.raises(
        BadInput, match=r"wanted one lib/modules/RELEASE below it, found 7.2.0-mine, 7.2.0-second"
    ):
        own_build(image, tmp_path / "root")
    with pytest.raises(BadInput, match="found none"):
        own_build(image, tmp_path)
    with pytest.raises(BadInput, match="nowhere: no folder"):
        own_build(image, tmp_path / "nowhere")


def test_one_module_is_replaced_by_its_own_name(build: tuple[Path, Path], tmp_path: Path) -> None:
    kernel = own_build(*build)
    own = tmp_path / "edited.ko"
    own.write_bytes(module("raid456", release="7.2.0-mine", alias="edited"))
    edited = with_modules(kernel, [own])
    assert edited.replaced == (own,)
    assert edited.identity != kernel.identity
    assert with_modules(kernel, [own]) == edited
    assert with_modules(kernel, []) == kernel
    assert with_modules(edited, [own]).replaced == (own,)


def test_a_module_of_another_kernel_is_refused(build: tuple[Path, Path], tmp_path: Path) -> None:
    own = tmp_path / "raid456.ko"
    own.write_bytes(module("raid456", release="7.2.0-other"))
    with pytest.raises(
        BadInput, match=r"built for '7.2.0-other SMP .*wants '7.2.0-mine SMP .*\nnext: "
    ):
        with_modules(own_build(*build), [own])


def test_a_module_that_is_built_in_cannot_be_replaced(
    build: tuple[Path, Path], tmp_path: Path
) -> None:
    image, folder = build
    (folder / "modules.builtin").write_text("kernel/drivers/md/md-mod.ko\n")
    own = tmp_path / "md-mod.ko"
    own.write_bytes(module("md_mod", release="7.2.0-mine"))
    with pytest.raises(BadInput, match=r"md_mod is part of the image of 7.2.0-mine"):
        with_modules(own_build(image, folder), [own])


def test_a_disk_driver_that_is_built_in_is_refused_before_a_guest_is_made(
    build: tuple[Path, Path],
) -> None:
    image, folder = build
    (folder / "modules.builtin").write_text("kernel/drivers/block/virtio_blk.ko\n")
    kernel = own_build(image, folder)
    with pytest.raises(BadInput, match=r"virtio_blk is part of it; .*\nnext: build it as a module"):
        tiny_guest._modules(kernel)
