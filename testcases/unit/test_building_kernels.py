"""Building a debug kernel, with stand-ins for the archive and for make: whole or not at all."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from harness.errors import Unavailable
from kvm_images import archive, store
from kvm_images.archive import Package
from kvm_images.debug_kernel import building
from testcases.unit.test_debug_kernel import RELEASE, source_package
from testcases.unit.test_kernel_modules import module
from testcases.unit.test_kernel_store import bzimage

# What the kernel's own makefiles do here, in small: a configuration that drops what a file says, an
# image and a module that lie ready, and an end that another file asks for.
MAKE = """\
#!/bin/sh
tree=$2
ready={ready}
for word in "$@"; do
    case "$word" in
    KCONFIG_ALLCONFIG=*) grep -v -x -F -f "$ready/dropped" "${{word#*=}}" >"$tree/.config" ;;
    bzImage)
        echo "  CC      drivers/md/raid5.o"
        if test -e "$ready/fails"; then
            echo "drivers/md/raid5.c:1:2: error: expected a semicolon"
            echo "make: *** [Makefile:1: drivers/md/raid5.o] Error 1"
            exit 2
        fi
        mkdir -p "$tree/arch/x86/boot"
        cp "$ready/bzImage" "$tree/arch/x86/boot/bzImage"
        : >"$tree/System.map"
        ;;
    INSTALL_MOD_PATH=*)
        made="${{word#*=}}/lib/modules/{release}"
        mkdir -p "$made/kernel/drivers/md"
        cp "$ready/raid456.ko" "$made/kernel/drivers/md/"
        ln -s "$tree" "$made/build"
        ;;
    esac
done
"""


@pytest.fixture
def ready(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of what make hands out, and a cache, an archive and programs to build with."""
    folder, programs = tmp_path / "ready", tmp_path / "programs"
    folder.mkdir()
    programs.mkdir()
    (folder / "bzImage").write_bytes(bzimage(RELEASE))
    (folder / "raid456.ko").write_bytes(module("raid456", release=RELEASE) + b"__asan_load8")
    (folder / "dropped").write_text("no such line\n")
    for name, text in {
        "make": MAKE.format(ready=folder, release=RELEASE),
        "gcc": "#!/bin/sh\necho gcc 12.2.0\n",
        "tar": "#!/bin/sh\n:\n",
    }.items():
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:/usr/bin:/bin")
    monkeypatch.setenv("MDJOURNAL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(building, "NEEDED_BYTES", 0)
    give_an_archive(monkeypatch)
    return folder


def give_an_archive(monkeypatch: pytest.MonkeyPatch) -> None:
    def packages(suite: str, _prefix: str) -> list[Package]:
        listed = source_package("linux-source-6.12", "6.12.117-1")
        return [listed] if suite == "trixie" else []

    def unpack(_deb: Path, into: Path) -> None:
        (into / "usr/src").mkdir(parents=True)
        (into / "usr/src/linux-source-6.12.tar.xz").touch()

    monkeypatch.setattr(archive, "update", lambda *_, **__: False)
    monkeypatch.setattr(archive, "packages", packages)
    monkeypatch.setattr(archive, "download", lambda package, into: into / package.name)
    monkeypatch.setattr(archive, "unpack", unpack)


def build(say: Callable[[str], None] = lambda _: None, *, again: bool = False) -> str:
    kernel = building.build("6.12", jobs=1, again=again, say=say, watch=lambda _: None)
    return kernel.identity


def left_behind(ready: Path) -> list[str]:
    builds = ready.parent / "cache/kernel-builds"
    return sorted(path.name for path in builds.iterdir() if path.name != "lock")


def test_a_kernel_is_built_kept_and_not_built_twice(ready: Path) -> None:
    said: list[str] = []
    identity = build(said.append)
    assert said[0] == "fetching linux-source-6.12 6.12.117-1 from trixie (150 MiB)"
    assert said[-1] == f"kernel 6.12-debug is 6.12.117-1+debug ({RELEASE})"
    kernel = store.resolve("6.12-debug", say=pytest.fail)
    assert (kernel.identity, kernel.memory_mib) == (identity, 512)
    assert not (kernel.modules / "build").is_symlink()
    assert left_behind(ready) == []
    log = ready.parent / "cache/logs/build-kernel-6.12-debug.log"
    assert "CC      drivers/md/raid5.o" in log.read_text()
    (ready / "fails").touch()
    assert build() == identity
    with pytest.raises(Unavailable):
        build(again=True)
    assert store.resolve("6.12-debug", say=pytest.fail).identity == identity


def test_an_option_that_is_dropped_ends_the_build_and_is_named(ready: Path) -> None:
    (ready / "dropped").write_text("CONFIG_KASAN=y\nCONFIG_FAILSLAB=y\n")
    with pytest.raises(Unavailable) as raised:
        build()
    assert str(raised.value).splitlines()[0] == (
        "kernel 6.12: linux-source-6.12 6.12.117-1 does not take"
        " CONFIG_KASAN=y (it is n), CONFIG_FAILSLAB=y (it is n)"
    )
    assert left_behind(ready) == []


def test_an_error_of_the_compiler_is_quoted_with_its_log(ready: Path) -> None:
    (ready / "fails").touch()
    with pytest.raises(Unavailable) as raised:
        build()
    first, second = str(raised.value).splitlines()
    assert first == (
        "bzImage: make ended with 2: drivers/md/raid5.c:1:2: error: expected a semicolon"
    )
    assert second.endswith("cache/logs/build-kernel-6.12-debug.log")
    assert left_behind(ready) == []
    assert store.fetched() == []


def test_a_disk_that_is_too_full_is_told_before_anything_is_fetched(
    ready: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(building, "NEEDED_BYTES", 1 << 62)
    with pytest.raises(Unavailable, match="GiB free, building a kernel needs"):
        build(say=pytest.fail)
    assert left_behind(ready) == []
