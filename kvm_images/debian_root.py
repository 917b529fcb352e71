"""Debian roots: whole file systems with systemd, udev, sshd and mdadm, made by mmdebstrap.

One per suite that an mdadm is taken from. What is in the cache is used without any network. A root
is an ext2 image that nobody writes to; each boot lays an empty layer over it (``full/init``).
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import subprocess
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from harness.errors import BadInput, Unavailable
from harness.processes import end
from harness.storage.directories import cache_root
from kvm_images import archive
from kvm_images.mirror import fields_of
from kvm_images.shelf import SCHEMA, CorruptEntry, Say, Shelf, disk_bytes, read_origin

# The suite that each mdadm is taken from, with all else of it: systemd, udev, file systems' tools.
SUITE_OF_MDADM = {"4.2": "bookworm", "4.4": "trixie", "4.6": "sid"}
DEFAULT_MDADM = "4.2"

_PACKAGES = (
    "systemd-sysv", "udev", "mount", "kmod", "dmsetup", "openssh-server", "mdadm",
    "e2fsprogs", "xfsprogs", "python3", "python3-pyudev",
)  # fmt: skip
_LEFT_OUT = ("/usr/share/man/*", "/usr/share/doc/*", "/usr/share/locale/*")
# Part of the identity: a change of what is made of the same packages makes another entry.
_RECIPE = 1
_IMAGE = "root.ext2"
_LISTS_MAX_AGE_S = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class DebianRoot:
    """A root on this machine. Equal ``identity``: the same packages, made the same way."""

    image: Path  # ext2, never written to
    suite: str
    versions: dict[str, str]  # Debian version of each package in it
    identity: str  # sha256, hex


def suite_of(mdadm: str) -> str:
    """The suite of an mdadm: of its version, as in ``4.4``, or by the suite's own name.

    Raises ``BadInput`` for any other.
    """
    if mdadm in SUITE_OF_MDADM.values():
        return mdadm
    try:
        return SUITE_OF_MDADM[mdadm]
    except KeyError:
        known = ", ".join(f"{version} ({suite})" for version, suite in SUITE_OF_MDADM.items())
        raise BadInput(f"--mdadm {mdadm}: no root is known with it; known are {known}") from None


def mdadm_of(version: str) -> str:
    """Return what to ask for to have an mdadm: of its package's version, or of a suite.

    Without a version it is the usual one. What nothing is known of is returned as it is.
    """
    known = (
        name
        for name, suite in SUITE_OF_MDADM.items()
        if version.startswith(name) or version == suite
    )
    return next(known, version) if version else DEFAULT_MDADM


def is_cached(suite: str) -> bool:
    """Whether the root of a suite is there: then nothing is needed to have it."""
    return _look_up(Shelf(cache_root() / "roots"), suite, say=_silent) is not None


def debian_root(suite: str, *, say: Say) -> DebianRoot:
    """The root of a suite, made first if it must be; ``say`` gets a line per step.

    Raises ``Unavailable`` when it cannot be made.
    """
    shelf = Shelf(cache_root() / "roots")
    if found := _look_up(shelf, suite, say=say):
        return found
    with shelf.filling(say=say):
        return _look_up(shelf, suite, say=_silent) or _make(shelf, suite, say=say)


def remove_all() -> list[str]:
    """Remove every root in the cache; returns the entries' names. One that is asked for is made."""
    shelf = Shelf(cache_root() / "roots")
    entries = shelf.entries()
    if entries:
        with shelf.filling(say=_silent):
            for entry in entries:
                shelf.remove(entry)
    return [entry.name for entry in entries]


def _look_up(shelf: Shelf, suite: str, *, say: Say) -> DebianRoot | None:
    if (target := shelf.target(suite)) is None or not target[0].exists():
        return None
    try:
        return _read(target[0])
    except CorruptEntry as error:
        say(f"Debian root of {suite}: not as it should be in the cache ({error}), making it again")
        return None


def _read(entry: Path) -> DebianRoot:
    """The root of an entry, after a look at its size and time. Raises ``CorruptEntry``."""
    origin = read_origin(entry)
    image = entry / _IMAGE
    try:
        if origin["recipe"] != _RECIPE:
            raise CorruptEntry("made by an older recipe")
        wanted = origin["size_bytes"], origin["mtime_ns"]
        root = DebianRoot(
            image=image, suite=origin["suite"], versions=dict(origin["packages"]),
            identity=origin["identity"],
        )  # fmt: skip
        found = image.stat()
    except (KeyError, TypeError, ValueError) as error:
        raise CorruptEntry(f"its origin lacks a field: {error}") from error
    except OSError as error:
        raise CorruptEntry(f"{_IMAGE} is missing") from error
    if (found.st_size, found.st_mtime_ns) != wanted:
        raise CorruptEntry(f"{_IMAGE} was written to")
    return root


def _make(shelf: Shelf, suite: str, *, say: Say) -> DebianRoot:
    """Have mmdebstrap make a root out of the archive; the shelf is held."""
    archive.update(suite, max_age_s=_LISTS_MAX_AGE_S, say=say)
    say(f"making a Debian root of {suite}: systemd, udev, sshd, mdadm (once; some minutes)")
    with shelf.scratch() as place:
        made = place / "made"
        made.mkdir()
        _run_mmdebstrap(suite, made, place)
        versions = _installed((made / "status").read_text())
        (made / "status").unlink()
        origin = _origin(suite, versions, made)
        entry = shelf.put(made, origin, f"{suite}-{origin['identity'][:12]}")
    shelf.point(suite, entry, now_s=time.time())
    say(f"Debian root of {suite}: mdadm {versions['mdadm']}, systemd {versions['systemd']}")
    return _read(entry)


def _run_mmdebstrap(suite: str, made: Path, scratch: Path) -> None:
    etc = archive.root_of(suite) / "etc"
    # What the machine says of reaching a mirror, and nothing of the private folders.
    options = scratch / "apt.conf"
    kept = [line for line in (etc / "apt.conf").read_text().splitlines() if _is_about_mirrors(line)]
    options.write_text("\n".join([*kept, 'APT::Sandbox::User "root";']) + "\n")
    # fmt: off
    command = [
        "mmdebstrap",
        "--quiet",
        "--variant=essential",
        "--format=ext2",
        f"--include={','.join(_PACKAGES)}",
        f"--aptopt={options}",
        "--dpkgopt=force-unsafe-io",
        *(f"--dpkgopt=path-exclude={path}" for path in _LEFT_OUT),
        f"--customize-hook=download /var/lib/dpkg/status {made / 'status'}",
        "",  # the suite: it is in the sources
        str(made / _IMAGE),
        str(etc / "sources.list.d/debian.sources"),
    ]
    # fmt: on
    log = scratch / "mmdebstrap.log"
    with log.open("wb") as output:
        try:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
                env=os.environ | {"LC_ALL": "C.UTF-8", "TMPDIR": str(scratch)},
                start_new_session=True,  # it is asked to end, and then cleans up
            )  # fmt: skip
        except FileNotFoundError as error:
            raise Unavailable(
                "the full guest needs mmdebstrap\n"
                "next: apt-get install --no-install-recommends mmdebstrap genext2fs"
            ) from error
        with contextlib.closing(_Ending(process)):
            status = process.wait()
    if status != 0:
        raise Unavailable(f"Debian root of {suite}: mmdebstrap said: {_reason(log)}")


class _Ending:
    """A process that is ended where it has not ended by itself."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    def close(self) -> None:
        """End it."""
        end(self._process)


def _is_about_mirrors(line: str) -> bool:
    return line.startswith(("Acquire::", "Dir::Etc::netrc"))


def _reason(log: Path) -> str:
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("E:")]
    return " / ".join((errors or lines or ["nothing"])[-2:])


def _installed(status: str) -> dict[str, str]:
    """The packages of dpkg's own list, with their versions."""
    found = {}
    for stanza in status.split("\n\n"):
        fields = fields_of(stanza)
        if fields.get("status", "").endswith(" installed"):
            found[fields["package"]] = fields["version"]
    if missing := [name for name in ("mdadm", "systemd", "openssh-server") if name not in found]:
        raise Unavailable(f"Debian root: mmdebstrap left it without {', '.join(missing)}")
    return dict(sorted(found.items()))


def _origin(suite: str, versions: dict[str, str], made: Path) -> dict[str, Any]:
    lines = "".join(f"{name} {version}\n" for name, version in versions.items())
    status = (made / _IMAGE).stat()
    return {
        "schema": SCHEMA,
        "recipe": _RECIPE,
        "suite": suite,
        "identity": hashlib.sha256(f"{_RECIPE}\n{lines}".encode()).hexdigest(),
        "packages": versions,
        "size_bytes": status.st_size,
        "mtime_ns": status.st_mtime_ns,
        "disk_bytes": disk_bytes(made),
        "made_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _silent(_: str) -> None:
    pass
