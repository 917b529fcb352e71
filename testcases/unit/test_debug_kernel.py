"""A debug kernel has every option that is wanted or is not built; it has a name of its own."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest

from harness.errors import BadInput, Unavailable
from kvm_images.archive import Package
from kvm_images.debug_kernel import building
from kvm_images.debug_kernel.configuration import (
    Dropped,
    as_text,
    concerns,
    dropped,
    merged,
    parse_options,
)
from kvm_images.debug_kernel.source import branch_of, choose_source
from kvm_images.kernels import CATALOGUE, Candidate, base_of, debug_name, own_build
from kvm_images.store import KernelStore
from testcases.unit.test_kernel_modules import module, tree_of
from testcases.unit.test_kernel_store import FakeArchive, bzimage
from tools.launch import debian, start

RELEASE = "6.12.117-mdjournal-debug"
VERSIONS = [(5, 10), (6, 1), (6, 12), (7, 2), (7, 3)]


def source_package(name: str, version: str, suite: str = "trixie") -> Package:
    return Package(name, version, (), 150 << 20, version.encode().hex().ljust(64, "0"), suite)


# Configurations


def test_options_are_read_as_a_config_has_them() -> None:
    text = 'CONFIG_A=y\nCONFIG_B=m\n# CONFIG_C is not set\nCONFIG_D="x y"\nCONFIG_E=20\n'
    options = parse_options(f"# A comment\n\n{text}")
    assert options == {
        "CONFIG_A": "y", "CONFIG_B": "m", "CONFIG_C": "n", "CONFIG_D": '"x y"', "CONFIG_E": "20",
    }  # fmt: skip
    assert parse_options(as_text(options)) == options


@pytest.mark.parametrize("line", ["KASAN=y", "CONFIG_KASAN", "CONFIG_KASAN = y", "CONFIG_KASAN="])
def test_a_misspelt_line_of_a_fragment_is_refused(line: str) -> None:
    with pytest.raises(ValueError, match="line 2 is no option"):
        parse_options(f"CONFIG_A=y\n{line}\n")


def test_a_later_fragment_has_the_last_word() -> None:
    assert merged(["CONFIG_A=y\nCONFIG_B=y\n", "# CONFIG_A is not set\n"]) == {
        "CONFIG_A": "n",
        "CONFIG_B": "y",
    }


@pytest.mark.parametrize(
    ("wanted", "made", "found"),
    [
        pytest.param("CONFIG_A=y", "CONFIG_A=y", None, id="as-wanted"),
        pytest.param("CONFIG_A=y", "", "n", id="not-there"),
        pytest.param("CONFIG_A=y", "# CONFIG_A is not set", "n", id="off"),
        pytest.param("CONFIG_A=m", "CONFIG_A=y", "y", id="built-in-and-not-a-module"),
        pytest.param("CONFIG_A=120", "CONFIG_A=60", "60", id="another-number"),
        pytest.param("# CONFIG_A is not set", "CONFIG_A=y", "y", id="selected-by-another"),
        pytest.param("# CONFIG_A is not set", "", None, id="off-or-unknown-is-the-same"),
    ],
)
def test_what_kconfig_drops_is_named(wanted: str, made: str, found: str | None) -> None:
    options = parse_options(wanted)
    missing = dropped(options, parse_options(made))
    assert missing == (() if found is None else (Dropped("CONFIG_A", options["CONFIG_A"], found),))


@pytest.mark.parametrize(
    ("stem", "version", "concerned"),
    [
        ("debug", (5, 10), True), ("since-6.12", (6, 1), False), ("since-6.12", (6, 12), True),
        ("since-6.12", (7, 0), True), ("since-6.2", (6, 12), True), ("since-7.2", (6, 19), False),
    ],
)  # fmt: skip
def test_a_fragment_is_for_the_kernels_that_its_name_says(
    stem: str, version: tuple[int, int], concerned: bool
) -> None:
    assert concerns(stem, version) is concerned


def test_the_fragments_can_be_read_and_a_newer_kernel_has_no_less() -> None:
    options = [merged(building.fragments(version)) for version in VERSIONS]
    assert all(older.items() <= newer.items() for older, newer in pairwise(options))
    watched = {"KASAN", "PROVE_LOCKING", "DEBUG_ATOMIC_SLEEP", "FAILSLAB", "FAIL_PAGE_ALLOC"}
    assert {f"CONFIG_{name}" for name in watched} <= options[0].keys()
    # The guest's image needs one module at least, and faults are aimed at this one's addresses.
    assert options[0]["CONFIG_MD_RAID456"] == "m"


# Sources


def test_the_newest_source_of_the_suites_of_a_kernel_is_taken() -> None:
    packages = [
        source_package("linux-source-6.12", "6.12.107-1"),
        source_package("linux-source-6.12", "6.12.117-1"),
        source_package("linux-source-6.12", "6.12.117-1~deb12u1", "bookworm-security"),
        source_package("linux-source-6.12", "6.12.200-1", "sid"),
        source_package("linux-source-7.2", "7.2.9-1"),
        source_package("linux-source", "6.12.300-1"),
    ]
    chosen = choose_source(CATALOGUE["6.12"], packages)
    assert chosen is not None
    assert (chosen.version, chosen.suite, branch_of(chosen)) == ("6.12.117-1", "trixie", (6, 12))
    assert choose_source(CATALOGUE["5.10"], packages) is None


def test_an_unknown_kernel_is_refused_before_anything_is_fetched() -> None:
    with pytest.raises(BadInput, match=r"no kernel '6\.11'\nnext: use one of 6\.1, "):
        building.build("6.11", jobs=1, again=False, say=pytest.fail, watch=pytest.fail)


def test_a_compiler_is_needed_to_build_a_kernel_and_for_nothing_else(tmp_path: Path) -> None:
    assert start.needed_by(["images", "build-kernel", "--jobs", "1"]) == "images build-kernel"
    assert start.needed_by(["images", "list"]) == "images"
    missing = debian.missing_packages("images build-kernel", root=tmp_path)
    assert {"libelf-dev", "libc6-dev"} <= set(missing)
    (tmp_path / "usr/include").mkdir(parents=True)
    (tmp_path / "usr/include/gelf.h").touch()
    missing = debian.missing_packages("images build-kernel", root=tmp_path)
    assert "libelf-dev" not in missing
    others = {name for key, names in debian.PACKAGES.items() if " " not in key for name in names}
    assert not others & {"gcc", "libelf-dev"}


# The store


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """A kernel that was built, its files as a package has them."""
    folder = tmp_path / "kernel-builds/.new-x/made"
    (folder / "boot").mkdir(parents=True)
    (folder / f"boot/vmlinuz-{RELEASE}").write_bytes(bzimage(RELEASE))
    files = {"raid456.ko": module("raid456", release=RELEASE) + b"__asan_load8"}
    tree_of(folder / "lib/modules" / RELEASE, files)
    return folder


def put(store: KernelStore, made: Path, recipe: str = "r1") -> str:
    built = own_build(made / f"boot/vmlinuz-{RELEASE}", made)
    package = source_package("linux-source-6.12", "6.12.117-1")
    candidate = Candidate(RELEASE, "6.12.117-1+debug", "trixie", (package,))
    kernel = store.keep_built(
        "6.12-debug", made, candidate, built=built, recipe=recipe, say=lambda _: None
    )
    assert kernel.identity == built.identity
    return kernel.identity


def test_a_debug_kernel_is_used_by_its_own_name(tmp_path: Path, made: Path) -> None:
    archive = FakeArchive()
    store = KernelStore(tmp_path / "kernels", source=archive)
    with pytest.raises(BadInput, match=r"6.12-debug: not built yet\nnext: .* --kernel 6.12$"):
        store.resolve("6.12-debug", say=pytest.fail)
    identity = put(store, made)
    archive.down = "no network"
    kernel = store.resolve("6.12-debug", say=pytest.fail)
    assert (kernel.identity, kernel.version) == (identity, "6.12.117-1+debug")
    assert kernel.memory_mib == 512
    assert [each.names for each in store.fetched()] == [("6.12-debug",)]
    assert store.built("6.12-debug", "r1") == kernel
    assert store.built("6.12-debug", "r2") is None
    assert len(store.remove("6.12-debug")) == 1
    assert store.built("6.12-debug", "r1") is None


def test_a_damaged_debug_kernel_says_how_to_build_it_again(tmp_path: Path, made: Path) -> None:
    store = KernelStore(tmp_path / "kernels", source=FakeArchive())
    put(store, made)
    store.resolve("6.12-debug", say=pytest.fail).image.write_bytes(b"x")
    assert store.built("6.12-debug", "r1") is None
    with pytest.raises(Unavailable, match=r"remove 6.12-debug, then .* build-kernel --kernel 6.12"):
        store.resolve("6.12-debug", say=pytest.fail)


def test_a_name_of_a_debug_kernel_is_one_of_the_catalogue_with_a_word() -> None:
    assert [base_of(debug_name(name)) for name in CATALOGUE] == list(CATALOGUE)
    assert [base_of(name) for name in ("6.12", "6.11-debug", "-debug", "debug")] == [None] * 4


@pytest.mark.parametrize(("symbol", "memory_mib"), [(b"__asan_load8", 512), (b"printk", None)])
def test_an_own_build_under_kasan_gets_more_memory(
    tmp_path: Path, symbol: bytes, memory_mib: int | None
) -> None:
    image = tmp_path / "bzImage"
    image.write_bytes(bzimage(RELEASE))
    files = {"raid456.ko": module("raid456", release=RELEASE) + symbol}
    kernel = own_build(image, tree_of(tmp_path / "modules" / RELEASE, files))
    assert kernel.memory_mib == memory_mib
