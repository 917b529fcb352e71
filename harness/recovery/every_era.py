"""One log, recovered as every era would, while it is read once.

Eras that read a meta block alike go on together and part where they differ; the pages of a plain
meta block are verified once for all of them.
"""

from __future__ import annotations

from collections.abc import Sequence

from harness.ondisk.log import Rejected
from harness.ondisk.units import LogSector
from harness.recovery.era import ERAS, Era, Unit
from harness.recovery.followers import ByMeta, ByStripe, Follower, Recovery
from harness.recovery.geometry import Geometry
from harness.recovery.log import Log, LogEnd
from harness.recovery.metawise import DEFAULT_STRIPE_CACHE_SIZE
from harness.recovery.places import Places
from harness.recovery.plain_metas import read_plain_meta
from harness.recovery.scan import load_log, next_meta


class UnreadableTailBlock(Exception):
    """The block at the tail cannot be read, and no kernel starts the array."""


def recover_in_every_era(
    log: Log,
    geometry: Geometry,
    *,
    stripe_cache_size: int = DEFAULT_STRIPE_CACHE_SIZE,
    eras: Sequence[Era] = tuple(ERAS.values()),
) -> tuple[Recovery, ...] | Rejected:
    """Return each outcome with the eras that share it; `Rejected`: a new log is made instead.

    Args:
        log: to follow; its own era does not count.
        geometry: of the array.
        stripe_cache_size: as in ``plan_recovery``.
        eras: which ones.

    Raises:
        UnreadableTailBlock: no kernel starts the array.
    """
    tail = load_log(log)
    if tail is None:
        raise UnreadableTailBlock(f"block {log.start} of the log cannot be read")
    if isinstance(tail, Rejected):
        return tail
    places = Places(geometry)
    metawise = tuple(era for era in eras if era.unit is Unit.META_BLOCK)
    stripewise = tuple(era for era in eras if era.unit is Unit.STRIPE)
    together: list[Follower] = []
    if metawise:
        together.append(ByMeta(log, places, metawise, stripe_cache_size))
    if stripewise:
        together.append(ByStripe(log, places, stripewise, stripe_cache_size))
    done: list[Follower] = []
    waiting = [(tail.position, tail.seq, together)]
    while waiting:
        position, seq, followers = waiting.pop()
        waiting += _follow(log, position, seq, followers, done)
    by_name = list(ERAS.values())
    done.sort(key=lambda follower: by_name.index(follower.eras[0]))
    return tuple(follower.finish(tail.seq) for follower in done)


_Group = tuple[LogSector, int, list["Follower"]]


def _follow(
    log: Log, position: LogSector, seq: int, followers: list[Follower], done: list[Follower]
) -> list[_Group]:
    """Go on while all stay together; return where the groups that parted go on."""
    while True:
        meta = next_meta(log, position, seq)
        if isinstance(meta, LogEnd):
            for follower in followers:
                follower.end = meta
            done += followers
            return []
        plain = read_plain_meta(log, meta)
        groups: dict[tuple[LogSector, int], list[Follower]] = {}
        for follower in followers:
            for one in follower.part(meta, plain):
                if (next_position := one.take(meta, plain)) is None:
                    done.append(one)
                else:
                    next_seq = (seq + 1) % 2**64
                    groups.setdefault((next_position, next_seq), []).append(one)
        if len(groups) != 1:
            return [(at, number, group) for (at, number), group in groups.items()]
        (((position, seq), followers),) = groups.items()
