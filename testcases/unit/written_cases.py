"""Cases of the generator, given to recovery as logs in memory and as images; settings for both."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from harness.errors import HarnessError
from harness.ondisk.units import LogSector
from harness.recovery.era import ERAS, Era
from harness.recovery.geometry import Geometry
from harness.recovery.layout import Level, layout_of
from harness.recovery.log import Log, UndefinedRecovery
from harness.recovery.metawise import StripeCacheExhausted
from harness.recovery.plan import RecoveryPlan, UnreadableTail, plan_recovery
from harness.storage.array_files import read_array
from harness.storage.replay import Replayed, replay_to
from testcases import generated_cases
from testcases.generated_cases import WrittenCase

# The same examples in every run, so that a failure is a change and not bad luck.
MANY = settings(
    max_examples=60, deadline=None, derandomize=True, database=None,
    suppress_health_check=list(HealthCheck),
)  # fmt: skip
FEW = settings(MANY, max_examples=30)
SEEDS = st.integers(0, 29)  # each case is made once, and serves several properties
eras = st.sampled_from(list(ERAS.values()))

legal = cache(generated_cases.legal)
hostile = cache(generated_cases.hostile)


def geometry_of(case: WrittenCase) -> Geometry:
    images = case.images
    return Geometry(
        layout=layout_of(Level(images.level), images.layout), raid_disks=images.raid_disks,
        chunk_sectors=images.chunk_sectors, component_sectors=images.data_sectors,
    )  # fmt: skip


class Reads:
    """A journal's log in memory, and which blocks of it were read."""

    def __init__(self, log: bytes) -> None:
        self._log = log
        self.at: list[int] = []

    def __call__(self, position: LogSector, count: int) -> bytes:
        """Read blocks, and keep where."""
        self.at += range(position, position + 8 * count, 8)
        start = position * 512
        return self._log[start : start + count * 4096 // 4096 * 4096]


def log_of(case: WrittenCase, era: Era, log: bytes | None = None, tail: int | None = None) -> Log:
    return Log(
        read_blocks=Reads(bytes(case.ring.log) if log is None else log),
        data_size=case.images.log_sectors,
        journal_tail=LogSector(case.fields["journal_tail"] if tail is None else tail),
        seed=case.ring.seed,
        parities=2 if case.images.level == 6 else 1,
        era=era,
    )


def planned(case: WrittenCase, log: Log) -> RecoveryPlan | None:
    """Plan, or return ``None`` where there is no outcome."""
    try:
        return plan_recovery(log, geometry_of(case))
    except (UndefinedRecovery, UnreadableTail, StripeCacheExhausted):
        return None


def replayed(paths: list[Path], out: Path, era: Era) -> Replayed | None:
    """Replay, or return ``None`` where that is refused with one of the project's errors."""
    with suppress(HarnessError):
        return replay_to(read_array(paths, degraded=True), out, era=era)
    assert not out.exists()
    return None


@contextmanager
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


def images_in(place: Path) -> list[Path]:
    return sorted(place.glob("*.img"))


def members_in(place: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in place.glob("member*.img")}
