"""Kernels on this machine: fetched ones in the cache, and the user's own builds.

Every fetched kernel is a folder of its own, complete or not there:

    kernels/<Debian version>-<12 hex of its identity>/   its packages' files, and origin.json
    kernels/names/<catalogue name>.json                  which of them the name stands for
"""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from harness.errors import BadInput, Unavailable
from harness.storage.directories import cache_root
from kvm_images import archive
from kvm_images.kernel_entry import origin_of, read_kernel
from kvm_images.kernels import (
    CATALOGUE,
    PACKAGE_PREFIXES,
    Candidate,
    Entry,
    Kernel,
    base_of,
    choose,
    complete,
)
from kvm_images.kernels import own_build as own_build
from kvm_images.kernels import with_modules as with_modules
from kvm_images.shelf import (
    CorruptEntry,
    Say,
    Shelf,
    packages_identity,
    read_origin,
)

_BUILD_IT = "tools/mdjournal images build-kernel --kernel {}"
_DAY_S = 24 * 3600.0
_LISTS_MAX_AGE_S = 3600.0  # older lists may name packages that the mirror has dropped


class KernelSource(Protocol):
    """Where kernels come from: the archive, or a stand-in for it in tests."""

    def newest(self, entry: Entry, *, max_age_s: float, say: Say) -> Candidate:
        """What ``entry`` stands for in lists not older than that; raises ``Unavailable``."""

    def unpack(self, candidate: Candidate, into: Path, *, say: Say) -> None:
        """Write the candidate's files below ``into``; raises ``Unavailable``."""


class ArchiveSource:
    """Kernels from Debian's archive."""

    def newest(self, entry: Entry, *, max_age_s: float, say: Say) -> Candidate:
        """Refresh the lists where too old, and choose. Raises ``Unavailable``."""
        found: list[Candidate] = []
        for suite in entry.suites:
            archive.update(suite, max_age_s=max_age_s, say=say)
            listed = (
                each for prefix in PACKAGE_PREFIXES for each in archive.packages(suite, prefix)
            )
            found += complete(listed)
        chosen = choose(entry, found)
        if chosen is None:
            raise Unavailable(
                f"kernel {entry.name}: no complete one in {', '.join(entry.suites)} at present\n"
                f"next: use another of {', '.join(CATALOGUE)}"
            )
        return chosen

    def unpack(self, candidate: Candidate, into: Path, *, say: Say) -> None:
        """Download and extract every package of the candidate. Raises ``Unavailable``."""
        for package in candidate.packages:
            size = f"{package.size_bytes / 2**20:.0f} MiB"
            say(f"fetching {package.name} {package.version} from {package.suite} ({size})")
            with tempfile.TemporaryDirectory(dir=into.parent) as folder:
                archive.unpack(archive.download(package, Path(folder)), into)


@dataclass(frozen=True, slots=True)
class Fetched:
    """A kernel in the cache."""

    kernel: Kernel  # its name is its version
    names: tuple[str, ...]  # catalogue names that stand for it now
    size_bytes: int  # on disk
    fetched_at: str  # ISO 8601, UTC


class KernelStore:
    """The cache of fetched kernels below one folder."""

    def __init__(
        self, root: Path, *, source: KernelSource, clock: Callable[[], float] = time.time
    ) -> None:
        """``clock`` is the wall clock in seconds: ages have to outlive a run."""
        self._shelf = Shelf(root)
        self._source = source
        self._clock = clock

    def resolve(self, name: str, *, say: Say) -> Kernel:
        """See the module's ``resolve``."""
        kernel, fresh = self._look_up(name, say=say)
        if kernel is not None and fresh:
            return kernel
        if name not in CATALOGUE:
            raise self._unknown(name)
        with self._shelf.filling(say=say):
            kernel, fresh = self._look_up(name, say=_silent)  # another run may have been here
            if kernel is not None and fresh:
                return kernel
            try:
                return self._fetch(name, max_age_s=0 if kernel else _LISTS_MAX_AGE_S, say=say)
            except Unavailable as error:
                if kernel is None:
                    raise
                why = str(error).partition("\n")[0]
                say(f"{name}: not looked up again, staying with {kernel.version}: {why}")
                return kernel

    def fetch(self, name: str, *, say: Say) -> Kernel:
        """See the module's ``fetch``."""
        if name not in CATALOGUE:
            raise self._unknown(name)
        with self._shelf.filling(say=say):
            return self._fetch(name, max_age_s=0, say=say)

    def built(self, name: str, recipe: str) -> Kernel | None:
        """See the module's ``built``."""
        target = self._shelf.target(name)
        try:
            if target is None or read_origin(target[0]).get("recipe") != recipe:
                return None
            return read_kernel(target[0], name)
        except CorruptEntry:
            return None

    def keep_built(
        self, name: str, made: Path, candidate: Candidate, *, built: Kernel, recipe: str, say: Say
    ) -> Kernel:
        """See the module's ``keep_built``."""
        with self._shelf.filling(say=say):
            now = datetime.fromtimestamp(self._clock(), UTC)
            origin = origin_of(candidate, made, built.identity, now)
            origin |= {"recipe": recipe, "memory_mib": built.memory_mib}
            entry = self._shelf.root / f"{candidate.version}-{built.identity[:12]}"
            self._shelf.put(made, origin, entry.name)
            self._shelf.point(name, entry, now_s=self._clock())
        kernel = read_kernel(entry, name)
        say(f"kernel {name} is {kernel.version} ({kernel.release})")
        return kernel

    def fetched(self) -> list[Fetched]:
        """See the module's ``fetched``."""
        found = []
        for entry in self._shelf.entries():
            with contextlib.suppress(CorruptEntry):
                origin = read_origin(entry)
                kernel = read_kernel(entry, str(origin.get("version")))
                found.append(
                    Fetched(
                        kernel,
                        tuple(self._shelf.names_of(entry)),
                        int(origin["disk_bytes"]),
                        str(origin["fetched_at"]),
                    )
                )
        return found

    def remove(self, name: str) -> list[str]:
        """See the module's ``remove``."""
        if not (doomed := self._named(name)):
            raise BadInput(
                f"kernel {name} is not in the cache; there: {self._fetched_names()}\n"
                "next: see tools/mdjournal kernels list"
            )
        with self._shelf.filling(say=_silent):
            for entry in doomed:
                self._shelf.remove(entry)
        return [entry.name for entry in doomed]

    def _look_up(self, name: str, *, say: Say) -> tuple[Kernel | None, bool]:
        """The kernel that the cache has for ``name``, and whether no newer need be looked for."""
        entry, fresh = None, True
        if name in CATALOGUE:
            if target := self._shelf.target(name):
                entry, checked_at_s = target
                age_s = self._clock() - checked_at_s
                fresh = not CATALOGUE[name].moving or 0 <= age_s < _DAY_S
        elif base_of(name):
            entry = target[0] if (target := self._shelf.target(name)) else None
        else:
            entry = next(iter(self._named(name)), None)
        if entry is None or not entry.exists():
            return None, False
        try:
            return read_kernel(entry, name), fresh
        except CorruptEntry as error:
            if name not in CATALOGUE:
                raise Unavailable(
                    f"kernel {name}: damaged in the cache: {error} ({entry})\n"
                    f"next: tools/mdjournal kernels remove {name}, then {_make_again(name)}"
                ) from error
            say(f"kernel {name}: damaged in the cache ({error}), fetching it again")
            return None, False

    def _fetch(self, name: str, *, max_age_s: float, say: Say) -> Kernel:
        """Bring what ``name`` stands for now into the cache; the shelf is held."""
        candidate = self._source.newest(CATALOGUE[name], max_age_s=max_age_s, say=say)
        identity = packages_identity(candidate.packages)
        entry = self._shelf.root / f"{candidate.version}-{identity[:12]}"
        try:
            kernel = read_kernel(entry, name)
        except CorruptEntry:
            with self._shelf.scratch() as place:
                made = place / "made"
                made.mkdir()
                self._source.unpack(candidate, made, say=say)
                now = datetime.fromtimestamp(self._clock(), UTC)
                self._shelf.put(made, origin_of(candidate, made, identity, now), entry.name)
            kernel = read_kernel(entry, name)
        self._shelf.point(name, entry, now_s=self._clock())
        say(f"kernel {name} is {kernel.version} ({kernel.release})")
        return kernel

    def _named(self, name: str) -> list[Path]:
        """The entries that ``name`` means, newest first: catalogue name, version or release."""
        if name in CATALOGUE or base_of(name):
            target = self._shelf.target(name)
            return [target[0]] if target and target[0].exists() else []
        found = []
        for entry in self._shelf.entries():
            try:
                origin = read_origin(entry)
            except CorruptEntry:
                # The folder's name is all that is left to know it by.
                origin = {"version": entry.name.rpartition("-")[0]}
            if name in (origin.get("version"), origin.get("release"), entry.name):
                found.append((str(origin.get("fetched_at", "")), entry))
        return [entry for _, entry in sorted(found, reverse=True)]

    def _fetched_names(self) -> str:
        return ", ".join(each.kernel.version for each in self.fetched()) or "none"

    def _unknown(self, name: str) -> BadInput:
        if base := base_of(name):
            return BadInput(f"kernel {name}: not built yet\nnext: {_BUILD_IT.format(base)}")
        return BadInput(
            f"no kernel {name!r}: known are {', '.join(CATALOGUE)}; "
            f"in the cache: {self._fetched_names()}\n"
            "next: use one of these, or bring your own: --kernel BZIMAGE --modules DIR"
        )


def resolve(name: str, *, say: Say) -> Kernel:
    """The kernel that ``name`` means, fetched first if it must be; ``say`` gets a line per step.

    A name is one of the catalogue, or the Debian version or ``uname -r`` of a fetched kernel.
    What is fetched is used without any network; moving names are looked up again after a day,
    and stay with what they have when that fails. Raises ``BadInput`` for an unknown name,
    ``Unavailable`` when it cannot be had.
    """
    return _store().resolve(name, say=say)


def fetch(name: str, *, say: Say) -> Kernel:
    """Refresh the lists, and bring what the catalogue name stands for now into the cache.

    Raises as ``resolve``.
    """
    return _store().fetch(name, say=say)


def fetched() -> list[Fetched]:
    """The intact kernels in the cache, by version string; damaged ones are left out."""
    return _store().fetched()


def built(name: str, recipe: str) -> Kernel | None:
    """The intact kernel that was built under this name by this recipe; None without one."""
    return _store().built(name, recipe)


def keep_built(
    name: str, made: Path, candidate: Candidate, *, built: Kernel, recipe: str, say: Say
) -> Kernel:
    """Take a kernel that was built into the cache, under a name.

    ``made`` is a folder on the cache's file system, with files as a package has them; it is moved.
    """
    return _store().keep_built(name, made, candidate, built=built, recipe=recipe, say=say)


def remove(name: str) -> list[str]:
    """Remove what a catalogue name, version or release means; returns the entries' names.

    Damaged entries can be removed by version. Raises ``BadInput`` when there is no such kernel.
    """
    return _store().remove(name)


def _store() -> KernelStore:
    return KernelStore(cache_root() / "kernels", source=ArchiveSource())


def _make_again(name: str) -> str:
    """What brings a kernel back that no catalogue name stands for."""
    return _BUILD_IT.format(base) if (base := base_of(name)) else "fetch by catalogue name"


def _silent(_: str) -> None:
    pass
