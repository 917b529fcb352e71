"""A fetched kernel is used without asking again, fetched once by two runs, checked for damage."""

from __future__ import annotations

import json
import multiprocessing
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.errors import BadInput, Unavailable
from kvm_images.archive import Package
from kvm_images.kernels import Candidate, Entry, read_bzimage_release
from kvm_images.store import KernelStore
from testcases.unit.test_kernel_modules import module, tree_of

RELEASE = "6.1.0-1-cloud-amd64"
SUFFIX = b" (someone@somewhere) #1 SMP"
DAY_S = 24 * 3600
CONTEXT = multiprocessing.get_context("fork")


def bzimage(release: str) -> bytes:
    """The head of a bzImage whose setup header names ``release``, and a little of its rest."""
    head = bytearray(0x400)
    head[0x202:0x206] = b"HdrS"
    head[0x20E:0x210] = (0x300 - 0x200).to_bytes(2, "little")
    text = release.encode() + SUFFIX + b"\0"
    head[0x300 : 0x300 + len(text)] = text
    return bytes(head) + b"\xcc" * 1000


class FakeArchive:
    """An archive with one kernel of each name; its lists and packages are counted."""

    def __init__(self, version: str = "6.1.1-1", release: str = RELEASE) -> None:
        self.version = version
        self.release = release
        self.lookups: list[tuple[str, float]] = []
        self.unpacked: list[str] = []
        self.down: str | None = None
        self.while_unpacking: Callable[[], None] = lambda: None

    def newest(self, entry: Entry, *, max_age_s: float, say: Callable[[str], None]) -> Candidate:
        """The one kernel, unless the archive is down."""
        if self.down:
            raise Unavailable(f"{self.down}\nnext: wait")
        say("reading lists")
        self.lookups.append((entry.name, max_age_s))
        name, sha256 = f"linux-image-{self.release}", self.version.encode().hex().ljust(64, "0")
        image = Package(name, self.version, (), 30 << 20, sha256, entry.suites[0])
        return Candidate(self.release, self.version, entry.suites[0], (image,))

    def unpack(self, candidate: Candidate, into: Path, *, say: Callable[[str], None]) -> None:
        """Write an image and a module tree of one module."""
        say(f"fetching {candidate.version}")
        self.while_unpacking()
        self.unpacked.append(candidate.version)
        (into / "boot").mkdir()
        (into / f"boot/vmlinuz-{candidate.release}").write_bytes(bzimage(candidate.release))
        tree_of(into / "lib/modules" / candidate.release, {"a.ko": module("a")})


class Shop:
    """A store over a fake archive, with a clock that stands still and what was said."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.archive = FakeArchive()
        self.now_s = 1_700_000_000.0
        self.said: list[str] = []
        self.store = KernelStore(root, source=self.archive, clock=lambda: self.now_s)

    def resolve(self, name: str) -> str:
        """The version that ``name`` means; its messages replace the earlier ones in ``said``."""
        self.said.clear()
        return self.store.resolve(name, say=self.said.append).version


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path / "kernels")


def test_a_fetched_kernel_has_its_image_modules_and_origin(shop: Shop) -> None:
    kernel = shop.store.resolve("6.1", say=shop.said.append)
    assert (kernel.name, kernel.version, kernel.release) == ("6.1", "6.1.1-1", RELEASE)
    assert read_bzimage_release(kernel.image) == RELEASE
    assert (kernel.modules / "kernel/a.ko").is_file()
    entry = shop.root / f"6.1.1-1-{kernel.identity[:12]}"
    assert json.loads((entry / "origin.json").read_text())["suite"] == kernel.suite == "bookworm"
    assert kernel.image.is_relative_to(entry)


def test_a_second_resolve_asks_nobody(shop: Shop) -> None:
    first = shop.store.resolve("6.1", say=print)
    shop.archive.down = "no network"
    shop.now_s += 99 * DAY_S
    assert shop.store.resolve("6.1", say=pytest.fail) == first


@pytest.mark.parametrize("name", ["6.1.1-1", RELEASE], ids=["version", "release"])
def test_a_fetched_kernel_is_known_by_version_and_release(shop: Shop, name: str) -> None:
    with pytest.raises(BadInput):
        shop.resolve(name)
    fetched = shop.store.resolve("6.1", say=shop.said.append)
    again = shop.store.resolve(name, say=shop.said.append)
    assert (again.name, again.identity) == (name, fetched.identity)


def test_an_unknown_name_lists_the_known_ones(shop: Shop) -> None:
    with pytest.raises(
        BadInput, match=r"no kernel '6.2': known are 6.1, 6.12, .*; in the cache: none"
    ):
        shop.resolve("6.2")
    shop.resolve("6.1")
    with pytest.raises(BadInput, match=r"newest, rc; in the cache: 6.1.1-1\nnext: "):
        shop.store.fetch("6.2", say=shop.said.append)


def test_a_moving_name_is_looked_up_again_after_a_day(shop: Shop) -> None:
    shop.resolve("newest")
    shop.archive.version = "6.1.2-1"
    shop.now_s += DAY_S - 1
    assert shop.resolve("newest") == "6.1.1-1"
    shop.now_s += 2
    assert shop.resolve("newest") == "6.1.2-1"
    assert shop.archive.lookups[-1] == ("newest", 0.0)
    assert shop.resolve("6.1.1-1") == "6.1.1-1"


def test_a_moving_name_stays_where_it_is_without_network(shop: Shop) -> None:
    shop.resolve("newest")
    shop.now_s += 2 * DAY_S
    shop.archive.down = "sid: no package lists"
    assert shop.resolve("newest") == "6.1.1-1"
    assert shop.said == ["newest: not looked up again, staying with 6.1.1-1: sid: no package lists"]


def test_a_name_never_fetched_is_unavailable_without_network(shop: Shop) -> None:
    shop.archive.down = "sid: no package lists"
    with pytest.raises(Unavailable, match="sid: no package lists"):
        shop.resolve("6.1")


def test_fetch_takes_what_is_newest_now(shop: Shop) -> None:
    shop.resolve("6.1")
    shop.archive.version = "6.1.2-1"
    assert shop.resolve("6.1") == "6.1.1-1"
    assert shop.store.fetch("6.1", say=shop.said.append).version == "6.1.2-1"
    assert shop.archive.lookups[-1] == ("6.1", 0.0)
    assert [(each.kernel.version, each.names) for each in shop.store.fetched()] == [
        ("6.1.1-1", ()),
        ("6.1.2-1", ("6.1",)),
    ]


def test_two_names_of_one_kernel_share_its_files(shop: Shop) -> None:
    shop.resolve("newest")
    shop.resolve("7.2")
    assert shop.archive.unpacked == ["6.1.1-1"]
    assert shop.store.fetched()[0].names == ("7.2", "newest")


def image_of(shop: Shop) -> Path:
    return shop.store.fetched()[0].kernel.image


def lose_image(shop: Shop) -> None:
    image_of(shop).unlink()


def shorten_image(shop: Shop) -> None:
    os.truncate(image_of(shop), 100)


def flip_a_bit_of_the_image(shop: Shop) -> None:
    image = image_of(shop)
    data = bytearray(image.read_bytes())
    data[-1] ^= 1
    image.write_bytes(data)
    os.utime(image, ns=(1, 1))  # whatever the granularity of the clock: written since


def lose_modules(shop: Shop) -> None:
    shutil.rmtree(shop.store.fetched()[0].kernel.modules)


def garble_origin(shop: Shop) -> None:
    (image_of(shop).parent.parent / "origin.json").write_text("{")


def empty_origin(shop: Shop) -> None:
    (image_of(shop).parent.parent / "origin.json").write_text('{"schema": 1}')


DAMAGES = {
    "vmlinuz-.* is missing": lose_image,
    "has 100 bytes, wanted [0-9]+": shorten_image,
    "has other bytes than were fetched": flip_a_bit_of_the_image,
    "no modules in lib/modules/": lose_modules,
    "origin.json cannot be read": garble_origin,
    "origin.json lacks a field": empty_origin,
}


@pytest.mark.parametrize("what", DAMAGES)
def test_a_damaged_entry_is_said_and_fetched_again(shop: Shop, what: str) -> None:
    kernel = shop.store.resolve("6.1", say=shop.said.append)
    DAMAGES[what](shop)
    shop.said.clear()
    assert shop.store.resolve("6.1", say=shop.said.append) == kernel
    assert len(shop.archive.unpacked) == 2
    assert re.match(rf"kernel 6\.1: damaged in the cache \(.*{what}", shop.said[0])
    assert read_bzimage_release(kernel.image) == RELEASE
    assert not list(shop.root.glob(".new-*"))


def test_a_damaged_entry_asked_for_by_version_says_what_to_type(shop: Shop) -> None:
    shop.resolve("6.1")
    garble_origin(shop)
    with pytest.raises(Unavailable, match=r"kernels remove 6\.1\.1-1, then fetch") as refused:
        shop.resolve("6.1.1-1")
    assert "origin.json cannot be read" in str(refused.value)
    assert shop.store.remove("6.1.1-1")
    assert shop.store.fetched() == []


def test_a_touched_but_equal_image_is_no_damage(shop: Shop) -> None:
    shop.resolve("6.1")
    os.utime(image_of(shop), ns=(1, 1))
    assert shop.resolve("6.1") == "6.1.1-1"
    assert len(shop.archive.unpacked) == 1


def test_a_failed_fetch_leaves_nothing_behind(shop: Shop) -> None:
    def fail() -> None:
        raise Unavailable("disk: no space left")

    shop.archive.while_unpacking = fail
    with pytest.raises(Unavailable):
        shop.resolve("6.1")
    assert [path.name for path in shop.root.iterdir()] == ["lock"]


def test_what_a_killed_run_left_is_cleared_by_the_next(shop: Shop) -> None:
    (shop.root / ".new-left/made").mkdir(parents=True)
    shop.resolve("6.1")
    assert not (shop.root / ".new-left").exists()


def test_a_package_with_another_kernel_in_it_is_refused(shop: Shop) -> None:
    shop.archive.release = "6.1.0-2-cloud-amd64"
    original = shop.archive.unpack

    def unpack_other(candidate: Candidate, into: Path, *, say: Callable[[str], None]) -> None:
        original(candidate, into, say=say)
        image = into / f"boot/vmlinuz-{candidate.release}"
        image.write_bytes(bzimage("6.1.0-3-cloud-amd64"))

    shop.archive.unpack = unpack_other  # type: ignore[method-assign]
    with pytest.raises(Unavailable, match=r"its image says 6.1.0-3-cloud-amd64"):
        shop.resolve("6.1")


def test_remove_takes_the_kernel_and_every_name_of_it(shop: Shop) -> None:
    shop.resolve("newest")
    shop.resolve("7.2")
    assert len(shop.store.remove("7.2")) == 1
    assert shop.store.fetched() == []
    with pytest.raises(BadInput, match="kernel newest is not in the cache; there: none\nnext: "):
        shop.store.remove("newest")


def test_an_unwritable_cache_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(
        Unavailable, match=r"cannot be written: Not a directory\nnext: .*MDJOURNAL_CACHE"
    ):
        Shop(tmp_path / "file/kernels").resolve("6.1")


def test_two_runs_at_once_fetch_once(tmp_path: Path) -> None:
    """The first run unpacks only when the second has said that it waits."""
    waiting = CONTEXT.Event()
    holding = CONTEXT.Event()
    answers: multiprocessing.Queue[tuple[str, str, list[str], int]] = CONTEXT.Queue()

    def run(role: str) -> None:
        shop = Shop(tmp_path / "kernels")

        def hold() -> None:
            holding.set()
            assert waiting.wait(30)

        def say(line: str) -> None:
            shop.said.append(line)
            if "waiting for it" in line:
                waiting.set()

        shop.archive.while_unpacking = hold
        kernel = shop.store.resolve("6.1", say=say)
        answers.put((role, kernel.identity, shop.said, len(shop.archive.unpacked)))

    first = CONTEXT.Process(target=run, args=("first",))
    second = CONTEXT.Process(target=run, args=("second",))
    first.start()
    assert holding.wait(30)
    second.start()
    found = {role: rest for role, *rest in (answers.get(timeout=30), answers.get(timeout=30))}
    first.join(30)
    second.join(30)
    assert (first.exitcode, second.exitcode) == (0, 0)
    assert found["first"][0] == found["second"][0]
    assert found["second"][1] == [f"another run is filling {tmp_path / 'kernels'}: waiting for it"]
    assert (found["first"][2], found["second"][2]) == (1, 0)
