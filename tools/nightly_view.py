"""What the morning page is made of: the night, and what the history says of those before."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.campaign.history.records import Finding, KernelSeen, Run
from harness.campaign.history.store import History
from harness.campaign.nights.engine import Account
from harness.campaign.nights.folders import BUNDLES, EVIDENCE
from harness.campaign.nights.view import (
    FollowedFinding,
    NightKernel,
    NightView,
    SetAside,
    Spent,
)
from harness.storage.atomic import replacing
from harness.storage.images import naming_full_disk

_NIGHTS_BEFORE = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """A night that is over."""

    run: Run
    account: Account
    folder: Path
    budget_s: float
    used_s: float
    prepared_s: float
    lacking: tuple[SetAside, ...]
    new_kernels: frozenset[str]


def view_of(history: History, ended: Ended, kernels: Sequence[KernelSeen]) -> NightView:
    """Return all that the morning shows."""
    run, account = ended.run, ended.account
    before = history.run_before(run)
    (view,) = history.views([run])
    comparison = None
    if before is not None:
        comparison = history.comparison(before, run, history.baseline())
    return NightView(
        run=view, comparison=comparison, findings=tuple(_findings(history, ended)),
        kernels=tuple(
            NightKernel(k.name, k.release, k.version, k.name in ended.new_kernels)
            for k in kernels
        ),
        set_aside=(*ended.lacking, *account.set_aside), budget_s=ended.budget_s,
        used_s=ended.used_s, spent=tuple(_spent(ended)),
        states_before=_states_before(history, run),
    )  # fmt: skip


def _findings(history: History, ended: Ended) -> list[FollowedFinding]:
    tonight = {finding.signature: finding for finding in history.findings(ended.run)}
    rows = list(tonight.values())
    rows += [
        finding for finding in history.findings()
        if finding.signature not in tonight and finding.is_followed
    ]  # fmt: skip
    return [bring(ended.folder, finding) for finding in rows]


def bring(folder: Path, finding: Finding) -> FollowedFinding:
    """Return what is known of a finding, its files brought into the night's folder: one that is
    published needs no other.
    """
    return FollowedFinding(
        finding=finding, bundle=_brought(folder, finding, BUNDLES, ".mdjr"),
        evidence=_brought(folder, finding, EVIDENCE, ".html"), minimised=finding.smallest,
    )  # fmt: skip


def _brought(folder: Path, finding: Finding, kind: str, suffix: str) -> str:
    made = Path(finding.bundle).parent.parent / kind / f"{finding.id}{suffix}"
    here = folder / kind / made.name
    if finding.bundle and made.is_file() and made != here:
        here.parent.mkdir(parents=True, exist_ok=True)
        with naming_full_disk(here), replacing(here) as temporary:
            shutil.copyfile(made, temporary)
    return f"{kind}/{here.name}" if finding.bundle and here.is_file() else ""


def _spent(ended: Ended) -> list[Spent]:
    found = [Spent("kernels and guests made ready", ended.prepared_s)]
    if minimised := ended.account.seconds.get("minimise"):
        found.append(Spent("findings minimised", minimised))
    return found


def _states_before(history: History, run: Run) -> dict[str, tuple[int, ...]]:
    before = [each for each in history.runs(last=_NIGHTS_BEFORE + 1) if each.number < run.number]
    cells = history.cells(before)
    sums = Counter[tuple[str, int]]()
    for cell in cells:
        sums[cell.kernel.name, cell.run] += cell.states
    names = {cell.kernel.name for cell in cells}
    return {name: tuple(sums[name, each.number] for each in before) for name in names}
