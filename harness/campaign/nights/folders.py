"""The folders of nights on the medium: how large they are, and how one is removed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection, Iterable
from pathlib import Path

from harness.campaign.nights.retention import NightFolder, Removal, nights_to_remove
from harness.errors import BadInput

MARK = "night.json"  # what makes a folder that of a night
BUNDLES = "bundles"  # of findings
EVIDENCE = "evidence"  # pages of them
_GOING = ".removed-"  # what is being removed is called: a kill leaves no half night
_SECTOR_BYTES = 512  # st_blocks counts these, whatever the file system's blocks are


def night_folders(root: Path, *, needed: Collection[str] = ()) -> list[NightFolder]:
    """Return the nights in a folder, those whose names are in *needed* as such."""
    if not root.is_dir():
        return []
    return [
        NightFolder(
            name=path.name, ended=(path / MARK).stat().st_mtime, size_bytes=_size_bytes(path),
            is_needed=path.name in needed,
        )
        for path in sorted(root.iterdir())
        if not path.is_symlink() and not path.name.startswith(".") and (path / MARK).is_file()
    ]  # fmt: skip


def remove_old_nights(
    root: Path, *, keep: int, max_bytes: int, needed: Collection[str] = (),
    findings: Collection[Path] = (),
) -> Removal:  # fmt: skip
    """Remove what the policy says, and return it; see `nights_to_remove`.

    Args:
        root: has the nights.
        keep: so many, and
        max_bytes: no more than that, but
        needed: those of these names.
        findings: bundles that the history names: they stay where they are, and their pages.
            They are small, and of open findings all that there is.

    Raises:
        BadInput: one cannot be removed.
    """
    removal = nights_to_remove(night_folders(root, needed=needed), keep=keep, max_bytes=max_bytes)
    try:
        for folder in removal.folders:
            (root / folder.name).rename(root / f"{_GOING}{folder.name}")
        for going in sorted(root.glob(f"{_GOING}*")) if root.is_dir() else ():
            _keep_findings(going, root / going.name.removeprefix(_GOING), findings)
            shutil.rmtree(going)
    except OSError as error:
        raise BadInput(f"{error.filename}: cannot be removed: {error.strerror}") from error
    return removal


def _keep_findings(going: Path, night: Path, findings: Collection[Path]) -> None:
    for bundle in findings:
        if bundle.parent != night / BUNDLES:
            continue
        for name in (f"{BUNDLES}/{bundle.name}", f"{EVIDENCE}/{bundle.stem}.html"):
            if (going / name).is_file():
                (night / name).parent.mkdir(parents=True, exist_ok=True)
                (going / name).rename(night / name)


def _size_bytes(folder: Path) -> int:
    """Return what a folder takes on the medium; sparse files take what is written of them."""
    return sum(_SECTOR_BYTES * entry.lstat().st_blocks for entry in _entries(folder))


def _entries(folder: Path) -> Iterable[Path]:
    for place, _, names in os.walk(folder):
        yield Path(place)
        yield from (Path(place) / name for name in names)
