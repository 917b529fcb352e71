"""Initramfs images in the cache: one for each key, checked when used, the oldest removed."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping
from pathlib import Path

from harness.storage.atomic import replacing
from harness.storage.directories import cache_root
from kvm_images import cpio
from kvm_images.archive import writing


def cached(
    kind: str, key: str, entries: Callable[[], Mapping[str, cpio.Entry]], *, kept: int
) -> tuple[Path, str]:
    """Return an image and the hash of its bytes, from the cache or written now.

    Args:
        kind: of guest, the beginning of its name.
        key: tells it from others of its kind.
        entries: gives what is in it, asked only where it is not in the cache.
        kept: how many of a kind stay; those that were not used for longest go.

    Raises:
        Unavailable: the cache cannot be written.
    """
    target = cache_root() / "guests" / f"{kind}-{key[:16]}.cpio"
    stamp = target.with_suffix(".sha256")
    if target.exists() and stamp.exists():
        identity = stamp.read_text().strip()
        if hashlib.sha256(target.read_bytes()).hexdigest() == identity:
            os.utime(target)  # most recently used: see `_prune`
            return target, identity
    archive = cpio.write_archive(entries())
    identity = hashlib.sha256(archive).hexdigest()
    with writing(target.parent):
        target.parent.mkdir(parents=True, exist_ok=True)
        with replacing(target) as temporary:
            temporary.write_bytes(archive)
        with replacing(stamp) as temporary:
            temporary.write_text(identity + "\n")
        _prune(target.parent, kind, kept)
    return target, identity


def _prune(folder: Path, kind: str, kept: int) -> None:
    """Remove what was not used for longest: images of kernels, or of this project, as they were."""
    images = sorted(folder.glob(f"{kind}-*.cpio"), key=lambda path: path.stat().st_mtime)
    for image in images[:-kept]:
        image.unlink(missing_ok=True)
        image.with_suffix(".sha256").unlink(missing_ok=True)
