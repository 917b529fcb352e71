"""Forgetting old runs, removing the folders of old nights, and telling which."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from harness.campaign.history.records import Run
from harness.campaign.history.store import History
from harness.campaign.nights.folders import night_folders, remove_old_nights
from harness.campaign.nights.retention import Removal, nights_to_remove

_GIB, _MIB = 1 << 30, 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class NightLimits:
    """Which folders of nights may stay, and where they are."""

    root: Path
    keep: int
    max_gib: float

    def removal(self, needed: set[str], findings: list[Path], *, dry_run: bool) -> Removal:
        """Remove what goes, or in a *dry_run* only return it."""
        most = round(self.max_gib * _GIB)
        if dry_run:
            folders = night_folders(self.root, needed=needed)
            return nights_to_remove(folders, keep=self.keep, max_bytes=most)
        return remove_old_nights(
            self.root.absolute(), keep=self.keep, max_bytes=most, needed=needed, findings=findings
        )


def prune_lines(
    store: History, *, keep: int, nights: NightLimits | None, compact: bool, dry_run: bool
) -> Iterator[str]:
    """Forget and remove, unless it is a *dry_run*, and tell what goes."""
    needed = {Path(run.out).name for run in store.needed_runs() if run.out}
    gone = store.would_forget(keep_runs=keep) if dry_run else store.forget(keep_runs=keep)
    if compact and not dry_run:
        store.compact()
    bundles = [Path(each.bundle) for each in store.findings() if each.bundle]
    removal = None if nights is None else nights.removal(needed, bundles, dry_run=dry_run)
    yield from _lines(gone, removal, dry_run=dry_run)


def _lines(gone: list[Run], removal: Removal | None, *, dry_run: bool) -> Iterator[str]:
    would = "would be " if dry_run else ""
    for run in gone:
        yield f"run {run.name} ({run.number}): {would}forgotten"
    for folder in removal.folders if removal is not None else ():
        yield f"night {folder.name}: {would}removed, {folder.size_bytes / _MIB:.0f} MiB"
    if removal is not None and removal.is_over:
        yield f"nights: {removal.left_bytes / _GIB:.1f} GiB are left, more than --max-gib"
    if not gone and (removal is None or not removal.folders):
        yield "nothing is old enough to go"
