"""What a module file says of itself is read whatever its compression, and loaded in order."""

from __future__ import annotations

import gzip
import lzma
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard

from harness.errors import BadInput
from kvm_images.modules import ModuleTree, elf_sections, read_modinfo, read_module

RELEASE = "6.1.0-1-cloud-amd64"


def elf(sections: dict[str, bytes]) -> bytes:
    """A 64-bit little-endian ELF file of these sections, built without the code under test."""
    names = b"\0"
    body = b""
    rows = [bytes(64)]  # section 0 is empty by definition
    for name, content in [*sections.items(), (".shstrtab", b"")]:
        at = len(names)
        names += name.encode() + b"\0"
        if name == ".shstrtab":
            content = names
        # name, type, flags, address, offset, size, link, info, alignment, entry size
        rows.append(
            struct.pack("<LLQQQQLLQQ", at, 1, 0, 0, 64 + len(body), len(content), 0, 0, 1, 0)
        )
        body += content
    header = b"\x7fELF" + bytes([2, 1, 1]) + bytes(9)
    # type, machine, version, entry, program headers, section headers, flags, sizes and counts
    header += struct.pack("<HHLQQQL", 1, 62, 1, 0, 0, 64 + len(body), 0)
    header += struct.pack("<HHHHHH", 64, 0, 0, 64, len(rows), len(rows) - 1)
    assert len(header) == 64
    return header + body + b"".join(rows)


def module(
    name: str, *, depends: str = "", softdep: str = "", alias: str = "", release: str = RELEASE
) -> bytes:
    fields = [f"depends={depends}", f"name={name}", f"vermagic={release} SMP mod_unload "]
    fields += [f"softdep={softdep}"] if softdep else []
    fields += [f"alias={alias}"] if alias else []
    return elf({".text": b"\x90" * 7, ".modinfo": b"\0".join(map(str.encode, fields)) + b"\0"})


def zstd_without_size(data: bytes) -> bytes:
    return zstandard.ZstdCompressor(write_content_size=False).compress(data)


def tree_of(folder: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        path = folder / "kernel" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


COMPRESSIONS: dict[str, Callable[[bytes], bytes]] = {
    ".ko": bytes,
    ".ko.xz": lzma.compress,
    ".ko.zst": zstandard.ZstdCompressor().compress,
    ".ko.gz": gzip.compress,
}


@pytest.mark.parametrize("suffix", COMPRESSIONS)
def test_a_module_is_read_whatever_its_compression(tmp_path: Path, suffix: str) -> None:
    plain = module("raid456", depends="md-mod,async_tx", softdep="pre: crc32c xor post: late")
    path = tmp_path / f"raid456{suffix}"
    path.write_bytes(COMPRESSIONS[suffix](plain))
    assert read_module(path) == plain
    info = read_modinfo(path)
    assert (info.name, info.release) == ("raid456", RELEASE)
    assert info.vermagic == f"{RELEASE} SMP mod_unload"
    assert info.depends == ("md_mod", "async_tx")
    assert info.softdeps_before == ("crc32c", "xor")


def test_a_zstd_frame_without_its_size_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.ko.zst"
    path.write_bytes(zstd_without_size(module("a")))
    assert read_modinfo(path).name == "a"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        pytest.param("a.ko", b"", id="empty"),
        pytest.param("a.ko", b"text", id="no-elf"),
        pytest.param("a.ko", module("a")[:-70], id="truncated"),
        pytest.param("a.ko", elf({".text": b"x"}), id="no-modinfo"),
        pytest.param("a.ko", elf({".modinfo": b"name=a\0"}), id="no-vermagic"),
        pytest.param("a.ko.xz", lzma.compress(module("a"))[:-20], id="truncated-xz"),
        pytest.param("a.ko.xz", module("a"), id="not-xz"),
        pytest.param("a.ko.zst", module("a"), id="not-zst"),
        pytest.param("a.ko.gz", module("a"), id="not-gz"),
    ],
)
def test_a_damaged_module_is_refused_by_its_path(tmp_path: Path, name: str, content: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(BadInput, match=f"{name}: no usable kernel module: .+\nnext: "):
        read_modinfo(path)


def test_every_truncation_of_an_elf_file_is_refused() -> None:
    whole = module("a")
    for size in range(len(whole)):
        with pytest.raises(ValueError, match="ELF"):
            elf_sections(whole[:size])


def test_dependencies_are_loaded_first_and_once(tmp_path: Path) -> None:
    tree = ModuleTree(
        tree_of(
            tmp_path,
            {
                "drivers/md/raid456.ko": module("raid456", depends="md-mod,async_xor,async_tx"),
                "drivers/md/md-mod.ko": module("md_mod"),
                "crypto/async_xor.ko": module("async_xor", depends="async_tx,xor"),
                "crypto/async_tx.ko": module("async_tx"),
                "crypto/xor.ko": module("xor"),
                "drivers/net/unneeded.ko": module("unneeded"),
            },
        )
    )
    loaded = tree.closure(["raid456", "md_mod"])
    assert [name for name, _ in loaded] == ["md_mod", "async_tx", "xor", "async_xor", "raid456"]
    assert loaded[-1][1]() == module("raid456", depends="md-mod,async_xor,async_tx")
    assert "md-mod" in tree
    assert tree.path("md-mod") == tree.path("md_mod")


def test_built_in_names_are_reported_apart(tmp_path: Path) -> None:
    tree_of(tmp_path, {"a.ko": module("a", depends="nvme-core")})
    (tmp_path / "modules.builtin").write_text("kernel/drivers/nvme/host/nvme-core.ko\n")
    tree = ModuleTree(tmp_path)
    assert [name for name, _ in tree.closure(["nowhere", "a"])] == ["a"]
    assert tree.absent(["nowhere", "a"]) == ["nowhere", "nvme_core"]
    assert tree.built_in() == {"nvme_core"}


def test_a_softdep_is_found_by_alias_and_may_be_missing(tmp_path: Path) -> None:
    files = {
        "lib/libcrc32c.ko": module("libcrc32c", softdep="pre: crc32c"),
        "arch/crc32c-intel.ko": module("crc32c_intel", alias="crc32c"),
        "arch/crc32c-other.ko": module("crc32c_other", alias="something"),
        "lib/wishful.ko": module("wishful", softdep="pre: nowhere"),
    }
    tree = ModuleTree(tree_of(tmp_path, files))
    assert [name for name, _ in tree.closure(["libcrc32c"])] == ["crc32c_intel", "libcrc32c"]
    assert [name for name, _ in tree.closure(["wishful"])] == ["wishful"]
    assert tree.absent(["wishful"]) == []


def test_a_cycle_of_softdeps_ends(tmp_path: Path) -> None:
    files = {"a.ko": module("a", softdep="pre: b"), "b.ko": module("b", softdep="pre: a")}
    assert {name for name, _ in ModuleTree(tree_of(tmp_path, files)).closure(["a"])} == {"a", "b"}


def test_a_replaced_module_brings_its_own_bytes_and_dependencies(tmp_path: Path) -> None:
    tree_of(tmp_path / "tree", {"raid456.ko": module("raid456"), "xor.ko": module("xor")})
    own = tmp_path / "under-another-name.ko"
    own.write_bytes(module("raid456", depends="xor"))
    tree = ModuleTree(tmp_path / "tree", replaced=[own])
    loaded = tree.closure(["raid456"])
    assert [name for name, _ in loaded] == ["xor", "raid456"]
    assert loaded[-1][1]() == own.read_bytes()


def test_a_folder_without_modules_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no kernel module below it\nnext: "):
        ModuleTree(tmp_path)
