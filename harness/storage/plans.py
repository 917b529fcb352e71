"""A journal's image gone through by the model, as often as asked and never kept whole."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import dataclass

from harness.recovery.era import Era
from harness.recovery.log import ScannedMeta, StripeReplay
from harness.recovery.metawise import DEFAULT_STRIPE_CACHE_SIZE
from harness.recovery.plan import RecoveryPlan, follow_log, plan_recovery, stream_recovery
from harness.storage.array_files import ArrayFiles, opened_log, refusing_undefined


@dataclass(frozen=True, slots=True)
class LiveMetas:
    """The meta blocks that a scan goes through, none for a bad tail: read anew each time.

    Raises:
        BadImage: while going through them, as of `plan_of`.
    """

    files: ArrayFiles
    era: Era

    def __iter__(self) -> Iterator[ScannedMeta]:
        with opened_log(self.files, self.era) as log, refusing_undefined(self.files, self.era):
            yield from follow_log(log, self.files.array.geometry)


def plan_of(
    files: ArrayFiles, era: Era, *, stripe_cache_size: int = DEFAULT_STRIPE_CACHE_SIZE
) -> RecoveryPlan:
    """Plan the recovery of an array in image files.

    Raises:
        BadImage: the kernel could not start it, or would leave its buffers over this log.
    """
    with opened_log(files, era) as log, refusing_undefined(files, era):
        return plan_recovery(log, files.array.geometry, stripe_cache_size=stripe_cache_size)


def outline_of(
    files: ArrayFiles, era: Era, *, stripe_cache_size: int = DEFAULT_STRIPE_CACHE_SIZE
) -> RecoveryPlan:
    """Return the plan without its replays, which may be millions; otherwise as `plan_of`."""
    stream = replays_of(files, era, stripe_cache_size=stripe_cache_size)
    while True:
        try:
            next(stream)
        except StopIteration as stop:
            plan: RecoveryPlan = stop.value
            return plan


def replays_of(
    files: ArrayFiles, era: Era, *, stripe_cache_size: int = DEFAULT_STRIPE_CACHE_SIZE
) -> Generator[StripeReplay, None, RecoveryPlan]:
    """Yield each stripe that is replayed, in the kernel's order; return the rest of the plan.

    Raises:
        BadImage: on the way, as of `plan_of`.
    """
    with opened_log(files, era) as log, refusing_undefined(files, era):
        geometry = files.array.geometry
        return (yield from stream_recovery(log, geometry, stripe_cache_size=stripe_cache_size))
