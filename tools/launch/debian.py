"""Debian packages: which are missing, installing them, and unpacking one without root."""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from collections.abc import Sequence
from pathlib import Path

from harness.errors import Unavailable
from harness.storage.directories import cache_root
from tools.launch.processes import last_lines, locked, run, say

_PROGRAMS = {
    "qemu-system-x86": "qemu-system-x86_64",
    "nbdkit": "nbdkit",
    "shellcheck": "shellcheck",
    "bc": "bc",
    "binutils": "ld",
    "bison": "bison",
    "flex": "flex",
    "gcc": "gcc",
    "git": "git",
    "make": "make",
    "xz-utils": "xz",
    "mmdebstrap": "mmdebstrap",
    "genext2fs": "genext2fs",
}
# Looked for by what they provide, which costs no dpkg and holds on other distributions too.
_FILES = {
    "nbdkit-plugin-python": (
        "usr/lib*/nbdkit/plugins/nbdkit-python-plugin.so",
        "usr/lib/*/nbdkit/plugins/nbdkit-python-plugin.so",
    ),
    "python3-libnbd": (
        "usr/lib/python3/dist-packages/nbd.py",
        "usr/lib*/python3*/site-packages/nbd.py",
    ),
    "libc6-dev": ("usr/include/stdio.h",),
    "libelf-dev": ("usr/include/gelf.h",),
    "libelf1": ("usr/lib/*/libelf.so.1",),
}
_GUEST = ("qemu-system-x86", "nbdkit", "nbdkit-plugin-python")
_GUEST_COMMANDS = (
    "crash", "explore", "nightly", "scenarios", "fuzz", "repro", "bisect", "images", "mutants",
)  # fmt: skip
PACKAGES: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(_GUEST_COMMANDS, _GUEST),
    "test": (*_GUEST, "shellcheck", "python3-libnbd"),
    "full guest": ("mmdebstrap", "genext2fs"),
    "made history": ("gcc", "git", "libc6-dev", "libelf1", "make", "xz-utils"),
    "images build-kernel": (
        "bc", "binutils", "bison", "flex", "gcc", "libc6-dev", "libelf-dev", "make", "xz-utils",
    ),
}  # fmt: skip
"""What each subcommand needs; one that is not listed needs nothing. A subcommand of a group that
has needs of its own is listed by both words. A full guest's root needs its own, once, when it is
made; so does the history that the nightly tests bisect."""

_BUNDLE = Path("/etc/ssl/certs/ca-certificates.crt")


def missing_packages(subcommand: str, root: Path = Path("/")) -> list[str]:
    """The packages a subcommand needs and this machine (its files below ``root``) lacks."""
    return [name for name in PACKAGES.get(subcommand, ()) if not _is_there(name, root)]


def _is_there(package: str, root: Path) -> bool:
    if package in _PROGRAMS:
        return shutil.which(_PROGRAMS[package]) is not None
    return any(next(root.glob(pattern), None) for pattern in _FILES[package])


def require_packages(subcommand: str, root: Path = Path("/")) -> None:
    """Install what a subcommand lacks, or raise Unavailable with the command that would."""
    missing = missing_packages(subcommand, root)
    if not missing:
        return
    if shutil.which("apt-get") is None:
        lacking = ", ".join(_PROGRAMS.get(name, _FILES.get(name, (name,))[0]) for name in missing)
        raise Unavailable(
            f"{subcommand} needs {lacking}; install them with this machine's package manager"
        )
    command = ["apt-get", "install", "--yes", "--no-install-recommends"]
    if os.geteuid() != 0:
        raise Unavailable(
            f"{subcommand} needs Debian packages that are not installed; run:\n"
            f"  sudo {' '.join([*command, *missing])}"
        )
    logs = cache_root() / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    with locked(logs / "apt.lock", "it installs Debian packages"):
        if missing := missing_packages(subcommand, root):
            for name in missing:
                say(f"installing Debian package {name} ...")
            _install([*command, "--option", "DPkg::Lock::Timeout=600", *missing], logs / "apt.log")
    if missing := missing_packages(subcommand, root):
        raise Unavailable(
            f"apt-get installed {' '.join(missing)}, and what {subcommand} needs from it is still"
            f" not there;\n  log: {logs / 'apt.log'}"
        )


def _install(command: Sequence[str], log: Path) -> None:
    """Install; where the machine's lists know no such package, or an old one, update them first."""
    log.unlink(missing_ok=True)
    if run(command, log=log, environment=_quiet(), must_finish=True) == 0:
        return
    _update((), log)
    if run(command, log=log, environment=_quiet(), must_finish=True) != 0:
        reason = _reason(log) or "apt-get gave no reason"
        raise Unavailable(f"installing Debian packages failed: {reason}\n  log: {log}")


def _update(options: Sequence[str], log: Path) -> None:
    # One unreachable source of many fails the whole update, and matters only if the package is
    # there: so no status is asked. A lock that apt's daily job holds is worth a minute's patience.
    for _ in range(12):
        before = log.stat().st_size if log.exists() else 0
        run(["apt-get", *options, "update"], log=log, environment=_quiet())
        with log.open("rb") as text:
            text.seek(before)
            if b"Could not get lock" not in text.read():
                return
        time.sleep(5)


def why_none(folder: Path) -> str:
    """Why apt had nothing to unpack below ``folder``; empty where it was not asked."""
    return _reason(folder / "apt.log")


def pip_wheel(folder: Path) -> Path | None:
    """Debian's own pip wheel, unpacked below ``folder``; None where apt has none."""
    unpacked = _unpack("python3-pip-whl", folder)
    wheels = sorted(unpacked.glob("usr/share/python-wheels/pip-*.whl")) if unpacked else []
    return wheels[-1] if wheels else None


def certificates(folder: Path) -> Path | None:
    """A bundle of Debian's certificates below ``folder``, for a machine that has none."""
    if _BUNDLE.exists():
        return None
    unpacked = _unpack("ca-certificates", folder)
    found = sorted(unpacked.glob("usr/share/ca-certificates/**/*.crt")) if unpacked else []
    if not found:
        return None
    bundle = folder / "certificates.pem"
    bundle.write_bytes(b"\n".join(path.read_bytes() for path in found))
    return bundle


def _unpack(package: str, folder: Path) -> Path | None:
    """Download a package as any user may, check it against apt's signed lists, and unpack it."""
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        return None
    download = folder / "debian" / package
    download.mkdir(parents=True)
    log = folder / "apt.log"
    options: tuple[str, ...] = ()
    if not _sha256_in_lists(package, options, download):
        options = _private_lists(folder)
        _update(options, log)
    wanted = _sha256_in_lists(package, options, download)
    command = ["apt-get", *options, "download", package]
    if run(command, log=log, environment=_quiet(), folder=download) != 0:
        return None
    for archive in download.glob("*.deb"):
        found = hashlib.sha256(archive.read_bytes()).hexdigest()
        if found not in wanted:
            raise Unavailable(f"{archive.name}: SHA256 is {found}, apt's lists have another")
        if run(["dpkg-deb", "--extract", archive, download], log=log) == 0:
            return download
    return None


def _private_lists(folder: Path) -> tuple[str, ...]:
    """Options for lists of our own from the machine's sources: its own need root to be filled."""
    state, cache = folder / "apt/state", folder / "apt/cache"
    (state / "lists/partial").mkdir(parents=True, exist_ok=True)
    (cache / "archives/partial").mkdir(parents=True, exist_ok=True)
    return (
        "--option", f"Dir::State={state}",
        "--option", f"Dir::Cache={cache}",
        "--option", "APT::Sandbox::User=",  # root's update cannot become _apt below a home folder
    )  # fmt: skip


def _sha256_in_lists(package: str, options: Sequence[str], folder: Path) -> list[str]:
    shown = folder / "shown"
    shown.unlink(missing_ok=True)
    run(
        ["apt-cache", *options, "show", "--no-all-versions", package],
        log=shown,
        environment=_quiet(),
    )
    lines = last_lines(shown, lambda line: line.startswith("SHA256:"), 9)
    return [line.split()[1] for line in lines]


def _quiet() -> dict[str, str]:
    return {**os.environ, "LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"}


def _reason(log: Path) -> str:
    # Without network the last error is but "Unable to locate package"; the cause came before it.
    cause = last_lines(log, lambda line: "Failed to fetch" in line, 1)
    error = last_lines(log, lambda line: line.startswith("E:"), 1)
    return "".join((cause or error)[:1])
