"""The entry of a kernel in the cache: what is remembered of it, and whether it is still that."""

from __future__ import annotations

import hashlib
from datetime import datetime
from pathlib import Path
from typing import Any

from harness.errors import Unavailable
from kvm_images.kernels import CATALOGUE, Candidate, Kernel, read_bzimage_release
from kvm_images.shelf import ORIGIN, SCHEMA, CorruptEntry, disk_bytes, read_origin


def origin_of(candidate: Candidate, made: Path, identity: str, now: datetime) -> dict[str, Any]:
    """What is remembered of a fetched kernel: where it is from, and what it must still be."""
    release = candidate.release
    images = (
        f"boot/vmlinuz-{release}",
        f"usr/lib/modules/{release}/vmlinuz",
        f"lib/modules/{release}/vmlinuz",
    )
    image = next((path for path in images if (made / path).is_file()), None)
    folders = (f"lib/modules/{release}", f"usr/lib/modules/{release}")
    modules = next((path for path in folders if (made / path / "kernel").is_dir()), None)
    if image is None or modules is None:
        missing = "image" if image is None else "module folder"
        names = ", ".join(package.name for package in candidate.packages)
        raise Unavailable(
            f"kernel {candidate.version}: no {missing} of {release} in {names}\n"
            f"next: use another of {', '.join(CATALOGUE)}"
        )
    found = read_bzimage_release(made / image)
    if found != release:
        raise Unavailable(f"kernel {candidate.version}: its image says {found}, wanted {release}")
    status = (made / image).stat()
    return {
        "schema": SCHEMA,
        "version": candidate.version,
        "release": release,
        "suite": candidate.suite,
        "identity": identity,
        "packages": [
            {"name": each.name, "version": each.version, "sha256": each.sha256}
            for each in candidate.packages
        ],
        "image": {
            "path": image,
            "size_bytes": status.st_size,
            "mtime_ns": status.st_mtime_ns,
            "sha256": _sha256(made / image),
        },
        "modules": modules,
        "disk_bytes": disk_bytes(made),
        "fetched_at": now.isoformat(timespec="seconds"),
    }


def read_kernel(entry: Path, name: str) -> Kernel:
    """The kernel of an entry, after a look at its files. Raises ``CorruptEntry``."""
    origin = read_origin(entry)
    try:
        kernel = Kernel(
            name=name,
            release=origin["release"],
            version=origin["version"],
            image=entry / origin["image"]["path"],
            modules=entry / origin["modules"],
            identity=origin["identity"],
            suite=origin["suite"],
            memory_mib=origin.get("memory_mib"),
        )
        recorded = origin["image"]
        wanted = recorded["size_bytes"], recorded["mtime_ns"], recorded["sha256"]
    except (KeyError, TypeError) as error:
        raise CorruptEntry(f"{ORIGIN} lacks a field: {error}") from error
    _require_intact(kernel.image, *wanted)
    if not (kernel.modules / "kernel").is_dir():
        raise CorruptEntry(f"no modules in {origin['modules']}")
    return kernel


def _require_intact(image: Path, size_bytes: int, mtime_ns: int, sha256: str) -> None:
    try:
        status = image.stat()
    except OSError as error:
        raise CorruptEntry(f"{image.name} is missing") from error
    if status.st_size != size_bytes:
        raise CorruptEntry(f"{image.name} has {status.st_size} bytes, wanted {size_bytes}")
    # Hashing costs up to 0.1 s, so only a file that was written since, or copied, is read.
    if status.st_mtime_ns != mtime_ns and _sha256(image) != sha256:
        raise CorruptEntry(f"{image.name} has other bytes than were fetched")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
