"""A private apt: Debian packages of any suite, verified, never installed.

Each suite has an apt root of its own below the cache: sources, lists, state and package cache.
Nothing of the machine's apt changes and none of its hooks run. What the machine says about
reaching a mirror is taken over: the mirror itself and ``Acquire`` (proxy, time limits,
certificates). Signatures are always checked.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cmp_to_key
from pathlib import Path
from typing import Protocol, TypeVar

from harness.errors import BadInput, Unavailable
from harness.storage.atomic import replacing
from harness.storage.directories import cache_root
from kvm_images.mirror import ETC_APT, debian_source, fields_of, machine_sources

SUITES = (
    "bullseye",
    "bullseye-security",
    "bookworm",
    "bookworm-security",
    "trixie",
    "trixie-backports",
    "sid",
    "experimental",
)

_DEBIAN_KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
# Never taken over from the machine: indexes nobody here reads, and whatever weakens a signature.
_ACQUIRE_LEFT_OUT = re.compile(
    r"Acquire::(IndexTargets|Languages|\S*(Insecure|Weak))", re.IGNORECASE
)
# What apt says of lists that it has itself verified and stored, and can no longer read.
_DAMAGED = re.compile("could not be parsed or opened|Problem with MergeList|Encountered a section")


@dataclass(frozen=True, slots=True)
class Package:
    """One version of a binary package as a suite's signed lists have it."""

    name: str
    version: str
    depends: tuple[str, ...]  # package names, alternatives included, versions left out
    size_bytes: int  # of the .deb
    sha256: str
    suite: str


class HasVersion(Protocol):
    """Whatever has a Debian version."""

    @property
    def version(self) -> str:
        """As dpkg compares it."""


_Versioned = TypeVar("_Versioned", bound=HasVersion)


@contextlib.contextmanager
def exclusive(lock: Path, *, say: Callable[[str], None]) -> Iterator[None]:
    """Hold ``lock`` against every other run; a run that has to wait says so once.

    Raises ``Unavailable`` when the cache cannot be written. The lock ends with the process.
    """
    with writing(lock.parent):
        lock.parent.mkdir(parents=True, exist_ok=True)
        handle = lock.open("a")
    with handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"another run is filling {lock.parent}: waiting for it")
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def writing(place: Path) -> Iterator[None]:
    """Turn an ``OSError`` met while writing below ``place`` into ``Unavailable``."""
    try:
        yield
    except BrokenPipeError:
        raise  # whoever reads what is said has gone: not about the place
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise _no_space(place) from error
        raise Unavailable(
            f"{place}: cannot be written: {error.strerror or error}\n"
            "next: make it writable, or set MDJOURNAL_CACHE to another folder"
        ) from error


def update(suite: str, *, max_age_s: float, say: Callable[[str], None]) -> bool:
    """Fetch the lists of ``suite`` unless they are younger than ``max_age_s``; say if so.

    Returns whether they were fetched. Raises ``Unavailable`` with apt's reason.
    """
    root = root_of(suite)
    with exclusive(root / "lock", say=say):
        with writing(root):
            changed = _configure(suite, root)
        stamp = root / "updated"
        there = not changed and stamp.exists() and any((root / "lists").glob("*_Packages*"))
        # The wall clock: the age has to outlive this process.
        if there and 0 <= time.time() - stamp.stat().st_mtime < max_age_s:
            return False
        say(f"reading Debian's package lists: {suite}")
        try:
            _fetch_lists(suite)
        except Unavailable as error:
            if not _DAMAGED.search(str(error)):
                raise
            say(f"the package lists of {suite} in the cache are damaged: fetching them anew")
            with writing(root):
                shutil.rmtree(root / "lists")
                (root / "lists/partial").mkdir(parents=True)
                (root / "pkgcache.bin").unlink(missing_ok=True)
            _fetch_lists(suite)
        with writing(root):
            stamp.touch()
        return True


def packages(suite: str, prefix: str) -> list[Package]:
    """Every version of every package of ``suite`` whose name starts with ``prefix``.

    The lists must be there (``update``). Raises ``Unavailable`` when apt cannot read them.
    """
    subject = f"{suite}: package lists unreadable"
    remedy = f"next: remove {root_of(suite)}, then try again"
    names = _apt(suite, ["apt-cache", "pkgnames", prefix], subject=subject, remedy=remedy).split()
    if not names:
        return []
    shown = _apt(suite, ["apt-cache", "show", *sorted(names)], subject=subject, remedy=remedy)
    found = (_package(fields_of(stanza), suite) for stanza in shown.split("\n\n"))
    return [package for package in found if package is not None]


def newest(candidates: Iterable[_Versioned]) -> _Versioned | None:
    """What has the highest Debian version among ``candidates``; None when there are none."""

    def order(left: _Versioned, right: _Versioned) -> int:
        return compare_versions(left.version, right.version)

    return max(candidates, key=cmp_to_key(order), default=None)


def compare_versions(left: str, right: str) -> int:
    """-1, 0 or 1, as dpkg orders the two Debian versions."""
    if left == right:
        return 0
    less = subprocess.run(["dpkg", "--compare-versions", left, "lt", right], check=False)
    return -1 if less.returncode == 0 else 1


def download(package: Package, into: Path) -> Path:
    """Fetch the .deb of ``package`` into the folder ``into`` and check its hash.

    It is complete under its final name or not there. Raises ``Unavailable``.
    """
    subject = f"{package.name} {package.version} ({package.suite}): not fetched"
    with writing(into), tempfile.TemporaryDirectory(prefix=".download-", dir=into) as partial:
        wanted = f"{package.name}={package.version}"
        _apt(
            package.suite,
            ["apt-get", "download", "-qq", wanted],
            subject=subject,
            cwd=Path(partial),
        )
        fetched = next(Path(partial).glob("*.deb"), None)
        if fetched is None:
            raise Unavailable(f"{subject}: apt reported success and left no file\n{_NEXT}")
        with fetched.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != package.sha256:
            raise Unavailable(
                f"{subject}: its sha256 is {found}, the signed list says {package.sha256}\n{_NEXT}"
            )
        return fetched.rename(into / fetched.name)


def unpack(deb: Path, into: Path) -> None:
    """Extract the files of ``deb`` below ``into``; its maintainer scripts never run.

    Raises ``Unavailable`` when dpkg-deb fails or the disk is full.
    """
    subject = f"{deb.name}: not unpacked"
    _run(["dpkg-deb", "--extract", str(deb), str(into)], subject=subject, place=into)


_NEXT = "next: check the network and the machine's apt sources and proxy, then try again"


def root_of(suite: str) -> Path:
    """The folder of a suite's own apt: ``etc``, ``lists``. Raises ``BadInput``: no such suite."""
    if suite not in SUITES:
        raise BadInput(f"no suite {suite!r}\nnext: use one of {', '.join(SUITES)}")
    return cache_root() / "apt" / suite


def _fetch_lists(suite: str) -> None:
    _apt(suite, ["apt-get", "update", "-qq"], subject=f"{suite}: no package lists")


def _configure(suite: str, root: Path) -> bool:
    """Write the private configuration of ``suite``; True when its source is not what it was."""
    below = ("etc/apt.conf.d", "etc/sources.list.d", "lists/partial", "state", "archives/partial")
    for folder in below:
        (root / folder).mkdir(parents=True, exist_ok=True)
    (root / "state/status").touch()
    source = debian_source(suite, machine_sources())
    keys = [word for word in source.signed_by.split() if word.startswith("/")]
    if "\n" in source.signed_by:
        block = root / "etc/archive-key.asc"
        # In a stanza an empty line of the key is written as a lone dot.
        lines = (line.strip() for line in source.signed_by.splitlines())
        _write_if_new(block, "\n".join("" if line == "." else line for line in lines) + "\n")
        keys = [str(block)]
    # The whole keyring beside the machine's choice: that may name the key of one release only.
    if _DEBIAN_KEYRING.exists() and str(_DEBIAN_KEYRING) not in keys:
        keys.append(str(_DEBIAN_KEYRING))
    if not keys:
        raise Unavailable(
            f"{suite}: no keyring {_DEBIAN_KEYRING}\nnext: apt-get install debian-archive-keyring"
        )
    stanza = (
        f"Types: deb\nURIs: {source.uri}\nSuites: {suite}\nComponents: main\n"
        f"Architectures: amd64\nSigned-By: {' '.join(keys)}\n"
    )
    _write_if_new(root / "etc/apt.conf", _configuration(root))
    return _write_if_new(root / "etc/sources.list.d/debian.sources", stanza)


def _write_if_new(path: Path, text: str) -> bool:
    """Make ``text`` the content of ``path`` at one stroke: another run's apt may be reading it."""
    if path.exists() and path.read_text() == text:
        return False
    with replacing(path) as new:
        new.write_text(text)
    return True


def _configuration(root: Path) -> str:
    """The file that APT_CONFIG names: apt reads it first, and so reads nothing of the machine's."""
    dumped = _run(["apt-config", "dump"], subject="the machine's apt configuration", place=root)
    kept = [
        line
        for line in dumped.splitlines()
        if line.startswith("Acquire::") and not _ACQUIRE_LEFT_OUT.match(line)
    ]
    netrc = [line for line in dumped.splitlines() if line.startswith("Dir::Etc::netrc")]
    private = f"""
Dir "{root}/";
Dir::Etc "{root}/etc/";
Dir::Etc::main "none";
Dir::Etc::parts "apt.conf.d";
Dir::Etc::sourcelist "none";
Dir::Etc::sourceparts "sources.list.d";
Dir::Etc::preferences "none";
Dir::Etc::preferencesparts "none.d";
Dir::Etc::trusted "none";
Dir::Etc::trustedparts "none.d";
Dir::State "{root}/state/";
Dir::State::lists "{root}/lists/";
Dir::State::status "{root}/state/status";
Dir::Cache "{root}/";
Dir::Cache::archives "archives/";
// As large as the other cache of the lists and of no use beside it.
Dir::Cache::srcpkgcache "";
APT::Architecture "amd64";
APT::Architectures {{ "amd64"; }};
APT::Update::Error-Mode "any";
APT::Get::AllowUnauthenticated "false";
// The sandbox user could not enter a cache below root's home.
APT::Sandbox::User "root";
Acquire::Languages "none";
Acquire::PDiffs "false";
Acquire::AllowInsecureRepositories "false";
Acquire::AllowWeakRepositories "false";
Acquire::AllowDowngradeToInsecureRepositories "false";
"""
    return "\n".join([*kept, *_absolute(netrc)]) + private


def _absolute(netrc: list[str]) -> list[str]:
    """The machine's files of mirror passwords, found from outside its configuration folder."""
    return [re.sub(r'"(?!/)(.+)"', rf'"{ETC_APT}/\1"', line) for line in netrc]


def _apt(
    suite: str, command: list[str], *, subject: str, cwd: Path | None = None, remedy: str = ""
) -> str:
    root = root_of(suite)
    return _run(
        command,
        subject=subject,
        place=cwd or root,
        cwd=cwd,
        environment={"APT_CONFIG": str(root / "etc/apt.conf")},
        remedy=remedy or _NEXT,
    )


def _run(
    command: list[str],
    *,
    subject: str,
    place: Path,
    cwd: Path | None = None,
    environment: dict[str, str] | None = None,
    remedy: str = "next: try again; if it fails again, remove the cached file named here",
) -> str:
    """Standard output of ``command``; ``Unavailable`` with its reason when it fails.

    Ctrl-C and whatever else ends us early ends it and its own children too.
    """
    try:
        process = subprocess.Popen(
            command,
            cwd=cwd,
            env=os.environ | {"LC_ALL": "C.UTF-8"} | (environment or {}),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            process_group=0,  # apt leaves its transport children behind when it is killed alone
        )
    except FileNotFoundError as error:
        raise Unavailable(
            f"{subject}: {command[0]} is not on this machine\n"
            "next: run this on Debian, or bring your own: --kernel BZIMAGE --modules DIR"
        ) from error
    with process:
        try:
            output, errors = process.communicate()
        except BaseException:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            raise
    if process.returncode == 0:
        return output
    said = f"{output}\n{errors}"
    if re.search("no space left|enough free space|disk quota", said, re.IGNORECASE):
        raise _no_space(place)
    raise Unavailable(f"{subject}; {command[0]} said: {_reason(said)}\n{remedy}")


def _reason(said: str) -> str:
    """The last error line; not the one that only counts the failures above it."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith(("E:", "dpkg-deb: error", "Err:"))]
    telling = [line for line in errors if "Some index files failed" not in line]
    return (telling or errors or lines or ["nothing"])[-1].removeprefix("E: ")


def _no_space(place: Path) -> Unavailable:
    # A working folder below the cache is gone when this is read.
    named = cache_root() if place.is_relative_to(cache_root()) else place
    return Unavailable(
        f"{named}: no space left on its file system\n"
        "next: free some, or set MDJOURNAL_CACHE to a folder on another one"
    )


def _package(fields: dict[str, str], suite: str) -> Package | None:
    if not {"package", "version", "size", "sha256"} <= fields.keys():
        return None
    clauses = re.split(r"[,|]", f"{fields.get('pre-depends', '')},{fields.get('depends', '')}")
    names = (match[0] for clause in clauses if (match := re.match(r"[^\s(:]+", clause.strip())))
    return Package(
        name=fields["package"],
        version=fields["version"],
        depends=tuple(dict.fromkeys(names)),
        size_bytes=int(fields["size"]),
        sha256=fields["sha256"].lower(),
        suite=suite,
    )
