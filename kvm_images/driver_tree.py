"""What it takes to build a packaged kernel's raid456.ko alone: its source files and its headers.

The source comes from Debian's ``linux-source-*`` of the very version, the headers from the packages
that belong to the image. Both are kept in the cache, one entry for each kernel:

    driver-trees/<Debian version>-<12 hex>/md/    the driver's source, and a makefile
                                         /usr/    the headers, as their packages have them
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from harness.errors import BadInput, Unavailable
from harness.storage.directories import cache_root
from kvm_images import archive
from kvm_images.archive import Package
from kvm_images.kernels import Kernel
from kvm_images.shelf import SCHEMA, CorruptEntry, Say, Shelf, packages_identity, read_origin

MAKEFILE = """\
# Builds raid456.ko against a kernel's headers: make -C HEADERS M=$PWD modules
obj-m := raid456.o
raid456-y := raid5.o raid5-cache.o raid5-ppl.o
"""

_SOURCE, _HEADERS, _KBUILD = "linux-source-", "linux-headers-", "linux-kbuild-"
_COMMON = "-common"
# The driver's own files, and the headers beside them that they include.
_FILES = ("raid5*", "raid0.h", "md*.h")
_LISTS_MAX_AGE_S = 3600.0


@dataclass(frozen=True, slots=True)
class DriverTree:
    """A driver's source and what it is built against."""

    source: Path  # drivers/md of the kernel, less all that raid456.ko does without
    headers: Path  # what `make -C` takes


def driver_tree(kernel: Kernel, *, say: Say) -> DriverTree:
    """Return the tree of a packaged kernel, fetched if need be.

    Raises:
        BadInput: the kernel came from no package.
        Unavailable: the archive does not have what belongs to it, or it cannot be fetched.
    """
    if not kernel.suite:
        raise BadInput(f"{kernel.image}: came from no package; it has a source tree of its own")
    shelf = Shelf(cache_root() / "driver-trees")
    entry = shelf.root / f"{kernel.version}-{kernel.identity[:12]}"
    with shelf.filling(say=say):
        if not _is_whole(entry):
            parts = _parts(kernel, say=say)
            with shelf.scratch() as place:
                made = place / "made"
                made.mkdir()
                _fill(made, parts, place, say=say)
                origin = {"schema": SCHEMA, "version": kernel.version, "release": kernel.release,
                          "identity": packages_identity(parts)}  # fmt: skip
                shelf.put(made, origin, entry.name)
    return DriverTree(entry / "md", entry / "usr/src" / f"{_HEADERS}{kernel.release}")


def parts_of(release: str, version: str, listed: Iterable[Package]) -> list[Package]:
    """Return the packages of a kernel's headers and source, of those that are *listed*.

    The headers name what else they need. Of the programs that build modules one of another version
    of the same branch does as well: there is but the newest.

    Raises:
        Unavailable: one is not listed.
    """
    listed = list(listed)
    found = [_exactly(_HEADERS + release, version, listed)]
    for name in found[0].depends:
        if name.startswith(_HEADERS) and name.endswith(_COMMON):
            found.append(_exactly(name, version, listed))
        elif name.startswith(_KBUILD):
            newest = archive.newest(each for each in listed if each.name == name)
            found.append(newest or _exactly(name, version, listed))
    branch = re.match(r"\d+\.\d+", version)
    return [*found, _exactly(f"{_SOURCE}{branch[0] if branch else version}", version, listed)]


def _exactly(name: str, version: str, listed: Iterable[Package]) -> Package:
    for package in listed:
        if (package.name, package.version) == (name, version):
            return package
    raise Unavailable(
        f"{name} {version}: the archive does not have it at present\n"
        "next: fetch a kernel that it has: tools/mdjournal kernels fetch NAME"
    )


def _parts(kernel: Kernel, *, say: Say) -> list[Package]:
    archive.update(kernel.suite, max_age_s=_LISTS_MAX_AGE_S, say=say)
    listed = [
        package for prefix in (_HEADERS, _KBUILD, _SOURCE)
        for package in archive.packages(kernel.suite, prefix)
    ]  # fmt: skip
    return parts_of(kernel.release, kernel.version, listed)


def _is_whole(entry: Path) -> bool:
    try:
        return bool(read_origin(entry))
    except CorruptEntry:
        return False


def _fill(made: Path, parts: Iterable[Package], place: Path, *, say: Say) -> None:
    """Unpack the headers below *made*, and of the source what the driver is."""
    for package in parts:
        say(f"fetching {package.name} {package.version} from {package.suite}"
            f" ({package.size_bytes / 2**20:.0f} MiB)")  # fmt: skip
        deb = archive.download(package, place)
        source = package.name.startswith(_SOURCE)
        archive.unpack(deb, place / "source" if source else made)
        deb.unlink()
    for makefile in (made / "usr/src").glob(f"{_HEADERS}*/Makefile"):
        # It names the other headers by where a package would have put them.
        text = makefile.read_text()
        makefile.write_text(re.sub(r"^include /usr/src/", "include ../", text, flags=re.MULTILINE))
    (tarball,) = (place / "source/usr/src").glob("linux-source-*.tar.xz")
    wanted = [f"*/drivers/md/{name}" for name in _FILES]
    command = ["tar", "--extract", "--file", str(tarball), "--directory", str(place / "source"),
               "--strip-components", "1", "--wildcards", *wanted]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        said = done.stderr.strip().splitlines()[:1] or ["it gave no reason"]
        raise Unavailable(f"{tarball.name}: not unpacked; tar said: {said[0]}")
    shutil.move(place / "source/drivers/md", made / "md")
    (made / "md/Makefile").write_text(MAKEFILE)
