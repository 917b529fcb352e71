"""Which runs a history may forget: pure."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from harness.campaign.history.records import Run


def runs_to_forget(runs: Sequence[Run], *, keep: int, needed: Collection[int]) -> list[Run]:
    """Return which of all *runs*, in order, are to go so that the newest *keep* stay.

    Those of the numbers in *needed*, baselines and the last good one, stay besides. A run that has
    not ended counts as any: what is older than *keep* others nobody goes on with.
    """
    if keep < 1:
        raise ValueError(f"a history keeps its newest run, not {keep}")
    return [run for run in runs[:-keep] if run.number not in needed]
