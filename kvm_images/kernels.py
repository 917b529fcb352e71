"""The kernel matrix, and which packages of the archive make one of its kernels.

The matrix is stated here and nowhere else: documents, tests and tools read ``CATALOGUE``.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from harness.errors import BadInput
from kvm_images.archive import Package, newest
from kvm_images.modules import ModuleInfo, ModuleTree, read_modinfo, read_module

DEFAULT = "6.1"
OWN_BUILD = "own build"  # `Kernel.version` of a kernel that came from no package


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the matrix: a name, and what it stands for in Debian's archive."""

    name: str
    suites: tuple[str, ...]  # the newest complete version over all of them is taken
    version: str  # regular expression that matches the start of the Debian version
    sentence: str
    moving: bool = False  # what it names is expected to change: looked up again after a day


# fmt: off
CATALOGUE: Mapping[str, Entry] = {entry.name: entry for entry in (
    Entry("6.1", ("bookworm", "bookworm-security"), r"6\.1\.",
          "Debian 12's own kernel; the default"),
    Entry("6.12", ("bookworm-security", "trixie"), r"6\.12\.",
          "Debian 13's kernel, also built for Debian 12"),
    Entry("5.10", ("bullseye", "bullseye-security"), r"5\.10\.",
          "Debian 11's kernel"),
    Entry("7.2", ("trixie-backports", "sid"), r"7\.2\.",
          "stable 7.2, from sid or backported to Debian 13"),
    Entry("7.3", ("experimental", "trixie-backports"), r"7\.3[.~]",
          "7.3 or its release candidates"),
    Entry("newest", ("trixie-backports", "sid"), r"(?!.*~rc)",
          "the newest released kernel in the archive", moving=True),
    Entry("rc", ("experimental",), r".*~rc",
          "the newest release candidate in the archive", moving=True),
)}
# fmt: on

DEBUG_SUFFIX = "-debug"  # behind a name: what `images build-kernel` makes of that kernel's source

# What makes the kernel of one release: an image package with everything in it, or (since 6.19) an
# empty one whose dependencies have the image alone and the modules alone. Since 6.18 what the
# build says of itself (modules.builtin, the configuration) is in a package beside either.
_FLAVOUR = "-cloud-amd64"
_IMAGE, _BINARY, _MODULES, _BUILD = "linux-image-", "linux-binary-", "linux-modules-", "linux-base-"
PACKAGE_PREFIXES = (_IMAGE, _BINARY, _MODULES, _BUILD)
_METAPACKAGE_BYTES = 1 << 20  # a whole kernel is 20 MiB and more, a package of dependencies 2 KiB


@dataclass(frozen=True, slots=True)
class Candidate:
    """A complete kernel in a suite: every package that has a file of it."""

    release: str  # uname -r
    version: str  # Debian's
    suite: str
    packages: tuple[Package, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Kernel:
    """A kernel whose files are on this machine. Equal ``identity``: the same bytes."""

    name: str  # as asked for: a catalogue name, a version, a path
    release: str  # uname -r
    version: str  # Debian's, or OWN_BUILD
    image: Path  # the bzImage
    modules: Path  # the lib/modules/RELEASE folder; depmod never ran in it
    identity: str  # sha256, hex
    suite: str  # "" for an own build
    replaced: tuple[Path, ...] = ()  # module files that stand in for those of the same name
    memory_mib: int | None = None  # what a guest of it must have; None: as any


def debug_name(name: str) -> str:
    """The name of the debug kernel that is built from the source of a catalogue name."""
    return name + DEBUG_SUFFIX


def base_of(name: str) -> str | None:
    """The catalogue name that a debug kernel's name was made of; None for any other."""
    base = name.removesuffix(DEBUG_SUFFIX)
    return base if base != name and base in CATALOGUE else None


def complete(packages: Iterable[Package]) -> list[Candidate]:
    """The cloud kernels of one suite's packages that can be fetched whole.

    An image whose parts are not listed beside it in its own version is passed over, and so are
    parts without an image: the archive shows both while a new version arrives.
    """
    packages = list(packages)
    at = {(package.name, package.version): package for package in packages}
    found = []
    for image in packages:
        if not (image.name.startswith(_IMAGE) and image.name.endswith(_FLAVOUR)):
            continue
        release = image.name.removeprefix(_IMAGE)
        wanted = {part for part in (_BINARY, _MODULES, _BUILD) if part + release in image.depends}
        parts = [
            each for part in sorted(wanted) if (each := at.get((part + release, image.version)))
        ]
        if not wanted & {_BINARY, _MODULES}:
            if image.size_bytes < _METAPACKAGE_BYTES:
                continue
            wanted.add(_IMAGE)
            parts.append(image)
        if len(parts) == len(wanted):
            found.append(Candidate(release, image.version, image.suite, tuple(parts)))
    return found


def choose(entry: Entry, candidates: Iterable[Candidate]) -> Candidate | None:
    """The newest candidate that ``entry`` stands for, by Debian's order; None without one."""
    return newest(
        candidate
        for candidate in candidates
        if candidate.suite in entry.suites and re.match(entry.version, candidate.version)
    )


def read_bzimage_release(image: Path) -> str:
    """The ``uname -r`` that a bzImage will answer, from its setup header.

    Mirrors the kernel's Documentation/arch/x86/boot.rst: "HdrS" at 0x202, and at 0x20e the place
    of the version string, less 0x200. Raises ``BadInput`` for a file that is no bzImage.
    """
    try:
        with image.open("rb") as file:
            setup = file.read(_SETUP_BYTES)
    except OSError as error:
        raise BadInput(f"{image}: {error.strerror}\nnext: {_GIVE_BZIMAGE}") from error
    pointer = int.from_bytes(setup[0x20E:0x210], "little")
    text = setup[pointer + 0x200 :].partition(b"\0")[0].decode("ascii", "replace")
    if setup[0x202:0x206] != b"HdrS" or not pointer or not text.strip():
        raise BadInput(f"{image}: no bzImage with a version in its header\nnext: {_GIVE_BZIMAGE}")
    return text.split()[0]


def own_build(image: Path, modules: Path) -> Kernel:
    """A kernel that the user built: ``--kernel BZIMAGE --modules DIR``.

    ``modules`` is a ``lib/modules/RELEASE`` folder, or a root that holds exactly one. Every byte
    of the image and the modules enters the identity, so it costs a read of them all.
    Raises ``BadInput`` when a file is not what it should be or they are of different builds.
    """
    release = read_bzimage_release(image)
    folder = _release_folder(modules)
    tree = ModuleTree(folder)
    watched = _KASAN_SYMBOL in read_module(tree.path(tree.names()[0]))
    built_for = tree.info(tree.names()[0]).release
    for what, found in ((f"{folder}: folder", folder.name), (f"{folder}: modules", built_for)):
        if found != release:
            raise BadInput(
                f"{what} of {found}, but {image} is {release}\n"
                "next: install those of the same build: make modules_install INSTALL_MOD_PATH=DIR"
            )
    digest = hashlib.sha256()
    for name in (None, *tree.names()):
        path = image if name is None else tree.path(name)
        label = "image" if name is None else path.relative_to(folder)
        with path.open("rb") as file:
            content = hashlib.file_digest(file, "sha256").hexdigest()
        digest.update(f"{label} {path.stat().st_size} {content}\n".encode())
    return Kernel(
        name=str(image),
        release=release,
        version=OWN_BUILD,
        image=image.absolute(),
        modules=folder.absolute(),
        identity=digest.hexdigest(),
        suite="",
        memory_mib=_KASAN_MEMORY_MIB if watched else None,
    )


def with_modules(kernel: Kernel, files: Sequence[Path]) -> Kernel:
    """``kernel`` with each of ``files`` in the place of its module of the same name.

    Raises ``BadInput`` when a file is no module, was built for another kernel, or names a module
    that is part of the image and so cannot be replaced.
    """
    if not files:
        return kernel
    tree = ModuleTree(kernel.modules, replaced=kernel.replaced)
    wanted = tree.info(tree.names()[0]).vermagic
    chosen = {read_modinfo(path).name: path for path in kernel.replaced}
    digest = hashlib.sha256(kernel.identity.encode())
    for path in files:
        info = read_modinfo(path)
        _require_replaceable(path, info, tree, wanted=wanted, kernel=kernel)
        chosen[info.name] = path.absolute()
        digest.update(f"{info.name} {hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return replace(kernel, identity=digest.hexdigest(), replaced=tuple(chosen.values()))


# Under KASAN every access of a module is a call of such a function, or a check and one.
_KASAN_SYMBOL = b"__asan_"
_KASAN_MEMORY_MIB = 512  # freed memory stays in quarantine, and an eighth more is its shadow

_SETUP_BYTES = 0x200 + 0x10000  # the version string's place is 16 bits wide, after 0x200
_GIVE_BZIMAGE = "give an x86 bzImage, as in --kernel arch/x86/boot/bzImage --modules DIR"


def _release_folder(given: Path) -> Path:
    """The one lib/modules/RELEASE that ``given`` is or holds."""
    if not given.is_dir():
        raise BadInput(f"{given}: no folder\nnext: {_GIVE_BZIMAGE}")
    if (given / "kernel").is_dir():
        return given
    below = [
        folder.resolve()
        for parent in ("lib/modules", "usr/lib/modules")
        for folder in sorted((given / parent).glob("*"))
        if (folder / "kernel").is_dir()
    ]
    releases = sorted(set(below))  # lib may be a link to usr/lib
    if len(releases) == 1:
        return releases[0]
    found = ", ".join(folder.name for folder in releases) or "none"
    raise BadInput(
        f"{given}: wanted one lib/modules/RELEASE below it, found {found}\n"
        "next: give that folder itself, as in --modules DIR/lib/modules/RELEASE"
    )


def _require_replaceable(
    path: Path, info: ModuleInfo, tree: ModuleTree, *, wanted: str, kernel: Kernel
) -> None:
    if info.name not in tree and info.name in tree.built_in():
        raise BadInput(
            f"{path}: {info.name} is part of the image of {kernel.release}, not a module of it\n"
            "next: give a whole kernel: --kernel BZIMAGE --modules DIR"
        )
    # The kernel compares the whole string, configuration words too, and refuses to load.
    if info.vermagic != wanted:
        raise BadInput(
            f"{path}: built for {info.vermagic!r}, kernel {kernel.name} wants {wanted!r}\n"
            f"next: build it against the headers and configuration of {kernel.release}"
        )
