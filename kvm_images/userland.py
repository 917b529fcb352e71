"""What runs in a guest besides the kernel: busybox, mdadm and Python, out of Debian's packages.

The packages are extracted one over the other into one root; nothing is installed or configured.
Shared libraries are those that the programs ask for, the newest of the suites in play: an older
program runs with a newer library, and not the other way round.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from harness.errors import BadInput, Unavailable
from harness.storage.directories import cache_root
from kvm_images import archive
from kvm_images.archive import Package
from kvm_images.shared_libraries import needed
from kvm_images.shelf import (
    SCHEMA,
    CorruptEntry,
    Say,
    Shelf,
    disk_bytes,
    packages_identity,
    read_origin,
)

# The suites that an mdadm is taken from, with what it needs; the newest version over them counts.
MDADM_SUITES = {
    "bookworm": ("bookworm", "bookworm-security"),  # mdadm 4.2
    "trixie": ("trixie",),  # 4.4
    "sid": ("sid",),  # 4.6
    "experimental": ("experimental", "sid"),
}
_BASE_SUITES = MDADM_SUITES["bookworm"]
_BASE_PACKAGES = (
    "busybox-static",
    "python3.11-minimal",
    "libpython3.11-minimal",
    "libpython3.11-stdlib",
)

# Whose shared libraries are looked for: paths below the root. Extension modules of Python that
# are not named here (curses, sqlite3, ...) lack their libraries and cannot be imported.
_PROGRAMS = (
    "usr/sbin/mdadm",
    "usr/sbin/mdmon",
    "usr/bin/python3.11",
    "usr/lib/python3.11/lib-dynload/_ctypes.cpython-311-x86_64-linux-gnu.so",
)
_MERGED = ("bin", "sbin", "lib", "lib64")
_LIBRARY_FOLDERS = ("usr/lib/x86_64-linux-gnu", "usr/lib64")
_LIBRARY_PACKAGES = {
    "ld-linux-x86-64.so.2": "libc6",
    "libc.so.6": "libc6",
    "libcap.so.2": "libcap2",
    "libexpat.so.1": "libexpat1",
    "libffi.so.8": "libffi8",
    "libgcc_s.so.1": "libgcc-s1",
    "libm.so.6": "libc6",
    "libudev.so.1": "libudev1",
    "libz.so.1": "zlib1g",
}
# Never read in a guest, and more than half of the bytes.
_LEFT_OUT = (
    "usr/share/bug",
    "usr/share/doc",
    "usr/share/lintian",
    "usr/share/locale",
    "usr/share/man",
    "usr/lib/x86_64-linux-gnu/gconv",
)
# Part of the identity: a change of what is made of the same packages makes another entry.
_RECIPE = 2

_LISTS_MAX_AGE_S = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Userland:
    """An unpacked user space on this machine. Equal ``identity``: the same files."""

    root: Path  # merged /usr: bin, sbin, lib and lib64 are relative links
    versions: dict[str, str]  # Debian version of each package in it
    identity: str  # sha256, hex


def userland(*, mdadm_suite: str = "bookworm", say: Say) -> Userland:
    """The guest's user space with the mdadm of that suite, fetched first if it must be.

    What is in the cache is used without any network. ``say`` gets a line per step. Raises
    ``BadInput`` for a suite without a known mdadm, ``Unavailable`` when it cannot be had.
    """
    if mdadm_suite not in MDADM_SUITES:
        raise BadInput(
            f"no mdadm known in suite {mdadm_suite!r}\nnext: use one of {', '.join(MDADM_SUITES)}"
        )
    shelf = Shelf(cache_root() / "userland")
    if found := _look_up(shelf, mdadm_suite, say=say):
        return found
    with shelf.filling(say=say):
        return _look_up(shelf, mdadm_suite, say=_silent) or _fetch(shelf, mdadm_suite, say=say)


def _look_up(shelf: Shelf, mdadm_suite: str, *, say: Say) -> Userland | None:
    if (target := shelf.target(mdadm_suite)) is None or not target[0].exists():
        return None
    try:
        return _read_userland(target[0])
    except CorruptEntry as error:
        say(
            f"user space, mdadm of {mdadm_suite}: damaged in the cache ({error}), fetching it again"
        )
        return None


def _read_userland(entry: Path) -> Userland:
    """The user space of an entry after a look at its size. Raises ``CorruptEntry``."""
    origin = read_origin(entry)
    try:
        versions = {str(each["name"]): str(each["version"]) for each in origin["packages"]}
        files, identity = int(origin["files"]), str(origin["identity"])
    except (KeyError, TypeError, ValueError) as error:
        raise CorruptEntry(f"its origin lacks a field: {error}") from error
    if (found := _count_files(entry / "root")) != files:
        raise CorruptEntry(f"{found} files, wanted {files}")
    return Userland(root=entry / "root", versions=versions, identity=identity)


def _fetch(shelf: Shelf, mdadm_suite: str, *, say: Say) -> Userland:
    """Download, unpack and complete a user space; the shelf is held."""
    suites = dict.fromkeys((*_BASE_SUITES, *MDADM_SUITES[mdadm_suite]))
    for suite in suites:
        archive.update(suite, max_age_s=_LISTS_MAX_AGE_S, say=say)
    with shelf.scratch() as place:
        made = place / "made"
        root = _merged_root(made / "root")
        wanted = [_newest(_BASE_SUITES, name) for name in _BASE_PACKAGES]
        wanted.append(_newest(MDADM_SUITES[mdadm_suite], "mdadm"))
        packages: list[Package] = []
        while wanted:
            for package in wanted:
                say(f"fetching {package.name} {package.version} from {package.suite}")
                _add(package, root)
            packages += wanted
            there = {package.name for package in packages}
            missing = {_package_of(library) for library in _missing_libraries(root)}
            wanted = [_newest(suites, name) for name in sorted(missing - there)]
        for folder in _LEFT_OUT:
            shutil.rmtree(root / folder, ignore_errors=True)
        origin = _origin(packages, root)
        entry = shelf.put(made, origin, f"{mdadm_suite}-{origin['identity'][:12]}")
    shelf.point(mdadm_suite, entry, now_s=time.time())
    return _read_userland(entry)


def _newest(suites: Iterable[str], name: str) -> Package:
    listed = [
        each for suite in suites for each in archive.packages(suite, name) if each.name == name
    ]
    if (package := archive.newest(listed)) is None:
        raise Unavailable(
            f"{name}: not in {', '.join(suites)}\n"
            "next: choose another suite for mdadm, or report that Debian has renamed the package"
        )
    return package


def _merged_root(root: Path) -> Path:
    """An empty root in which /lib and the like are links into /usr, as in a Debian of today."""
    for folder in _MERGED:
        (root / "usr" / folder).mkdir(parents=True)
        (root / folder).symlink_to(f"usr/{folder}")
    return root


def _add(package: Package, root: Path) -> None:
    """Fetch ``package`` and move its files into ``root``."""
    # By way of a folder of its own: extracted in place, a package's /lib would replace the link.
    with tempfile.TemporaryDirectory(dir=root.parent.parent) as folder:
        own = Path(folder, "files")
        own.mkdir()
        archive.unpack(archive.download(package, Path(folder)), own)
        for top in sorted(own.iterdir()):
            into = root / "usr" if top.name in _MERGED else root
            shutil.copytree(
                top, into / top.name, symlinks=True, dirs_exist_ok=True, copy_function=os.replace
            )


def _missing_libraries(root: Path) -> list[str]:
    """The shared libraries that the programs ask for, directly or not, and that are not there."""
    missing: list[str] = []
    seen: set[str] = set()
    files = [root / program for program in _PROGRAMS]
    while files:
        for library in _needed_by(files.pop()):
            if library in seen:
                continue
            seen.add(library)
            at = [
                path for folder in _LIBRARY_FOLDERS if (path := root / folder / library).is_file()
            ]
            if at:
                files.append(at[0])
            else:
                missing.append(library)
    return missing


def _needed_by(path: Path) -> list[str]:
    try:
        return needed(path.read_bytes())
    except (OSError, ValueError) as error:
        raise Unavailable(
            f"{path.name}: not in its package as expected: {error}\n"
            "next: report it with the output of `tools/mdjournal kernels list`"
        ) from error


def _package_of(library: str) -> str:
    try:
        return _LIBRARY_PACKAGES[library]
    except KeyError:
        raise Unavailable(
            f"{library}: needed by the guest's programs, and no package is known to have it\n"
            "next: report it, or name the package in kvm_images/userland.py"
        ) from None


def _origin(packages: list[Package], root: Path) -> dict[str, Any]:
    made_of = f"{packages_identity(packages)} {_RECIPE}"
    return {
        "schema": SCHEMA,
        "identity": hashlib.sha256(made_of.encode()).hexdigest(),
        "packages": [
            {"name": each.name, "version": each.version, "suite": each.suite, "sha256": each.sha256}
            for each in sorted(packages, key=lambda each: each.name)
        ],
        "files": _count_files(root),
        "disk_bytes": disk_bytes(root),
        "fetched_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _count_files(root: Path) -> int:
    return sum(len(files) for _, _, files in os.walk(root))


def _silent(_: str) -> None:
    pass
