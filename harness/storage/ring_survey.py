"""Everything that a diagnosis wants of a journal's image: the log in every era, and the rest."""

from __future__ import annotations

import numpy as np

from harness.ondisk.log import Rejected
from harness.ondisk.units import BLOCK_BYTES, BLOCK_SECTORS, LogSector
from harness.recovery.era import Era
from harness.recovery.era_differences import EraDifference, era_differences, recovery_of
from harness.recovery.every_era import UnreadableTailBlock, recover_in_every_era
from harness.recovery.followers import Recovery
from harness.recovery.leftovers import MAGIC_BYTES, Leftovers
from harness.recovery.log import Log
from harness.recovery.plan import plan_recovery
from harness.storage.array_files import ArrayFiles, opened_log, unreadable_tail
from harness.storage.ring_blocks import stretches
from harness.verdict.diagnosis import Reading

_MAGIC = np.frombuffer(MAGIC_BYTES, "<u4")[0]


def read_journal(files: ArrayFiles, era: Era, *, stripe_cache_size: int) -> Reading:
    """Follow a journal in every era, and look at the rest of its ring.

    Raises:
        DamagedImage: the block at the tail cannot be read.
    """
    with opened_log(files, era) as log:
        recoveries = _recover(files, log, stripe_cache_size)
        end = new_log = None
        if isinstance(recoveries, Rejected):
            new_log = plan_recovery(log, files.array.geometry)
        else:
            end = recovery_of(recoveries, era).end
        leftovers = Leftovers(log.seed, None if end is None else end.seq)
        survey(files, log, None if end is None else (log.start, end.position), leftovers)
    return Reading(
        ring_sectors=log.ring.size, tail=log.start, recoveries=recoveries, new_log=new_log,
        leftovers=leftovers, stripe_cache_size=stripe_cache_size,
    )  # fmt: skip


def read_differences(
    files: ArrayFiles, era: Era, *, stripe_cache_size: int
) -> tuple[EraDifference, ...]:
    """Return on which eras a journal recovers otherwise than on *era*, and how.

    Raises:
        BadImage: the block at the tail cannot be read.
    """
    with opened_log(files, era) as log:
        return era_differences(_recover(files, log, stripe_cache_size), era)


def _recover(
    files: ArrayFiles, log: Log, stripe_cache_size: int
) -> tuple[Recovery, ...] | Rejected:
    try:
        return recover_in_every_era(log, files.array.geometry, stripe_cache_size=stripe_cache_size)
    except UnreadableTailBlock as unreadable:
        raise unreadable_tail(files.journal_label, unreadable, log.era) from unreadable


def survey(files: ArrayFiles, log: Log, live: tuple[int, int] | None, into: Leftovers) -> None:
    """Look at every block outside of *live*, from its start to its end around the ring.

    One block after another, in bounded memory; holes of the image are skipped.
    """
    start, sectors = LogSector(0), log.ring.size
    if live is not None:
        start = LogSector(live[1])
        sectors -= log.ring.distance(LogSector(live[0]), start)
    for stretch in stretches(files, start, sectors):
        if not isinstance(stretch.content, bytes):
            continue
        words = np.frombuffer(stretch.content, "<u4").reshape(-1, BLOCK_BYTES // 4)
        for number in np.flatnonzero(words[:, 0] == _MAGIC).tolist():
            block = stretch.content[number * BLOCK_BYTES : (number + 1) * BLOCK_BYTES]
            into.take(LogSector(stretch.position + number * BLOCK_SECTORS), block)
