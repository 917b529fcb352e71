"""On which eras a journal recovers differently, and how.

Each era is held against one of them. What the members hold in the end counts apart from what the
journal looks like: every era before 4.10 goes on with another sequence number, which harms nobody.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from harness.ondisk.log import Rejected
from harness.recovery.era import ERAS, DataOnly, Ending, Era
from harness.recovery.followers import Recovery
from harness.recovery.written_pages import changes_between

_U64 = 2**64


@dataclass(frozen=True, slots=True)
class EraDifference:
    """How some eras leave an array otherwise than the one they are held against."""

    eras: tuple[str, ...]
    members: tuple[str, ...]  # what is different on the members; empty: nothing
    journal: tuple[str, ...]  # likewise in the journal
    undefined: bool = False  # it cannot be told

    def __str__(self) -> str:
        return f"{', '.join(self.eras)}: {'; '.join((*self.members, *self.journal))}"


def era_differences(
    recoveries: Sequence[Recovery] | Rejected, against: Era
) -> tuple[EraDifference, ...]:
    """Return how each era differs from *against*; eras that differ alike are one.

    Args:
        recoveries: of `every_era.recover_in_every_era`, with all eras that are of interest.
        against: one of them.
    """
    if isinstance(recoveries, Rejected):
        return _gathered(
            (era.name, (), (f"writes {era.new_log.value}, not {against.new_log.value}",), False)
            for era in ERAS.values()
            if era.new_log is not against.new_log
        )
    mine = recovery_of(recoveries, against)
    found = []
    for other in recoveries:
        members = () if other is mine else _member_differences(other, mine)
        for era in other.eras:
            undefined = (other.failure is None) != (mine.failure is None)
            own = (*members, *_left_in_cache(other, era, against))
            journal = () if other.failure or mine.failure else _ending(other, era, mine, against)
            if own or journal:
                found.append((era.name, own, journal, undefined))
    return _gathered(found)


def recovery_of(recoveries: Sequence[Recovery], era: Era) -> Recovery:
    """Return the outcome of one era."""
    return next(recovery for recovery in recoveries if era in recovery.eras)


def next_sequence(recovery: Recovery, era: Era) -> int:
    """Return the sequence number of what the era writes at the end of the log, if anything."""
    assert recovery.end is not None
    return (recovery.end.seq + era.sequence_jump) % _U64


def writes_empty_meta(recovery: Recovery, era: Era) -> bool:
    """Whether the era writes an empty meta block at the end of the log."""
    assert recovery.end is not None
    return era.writes_empty_meta(
        Ending(recovery.first_seq, recovery.end.seq, len(recovery.data_only))
    )


def _member_differences(other: Recovery, mine: Recovery) -> tuple[str, ...]:
    if other.failure is not None:
        return (f"cannot be told: {other.failure}",)
    if mine.failure is not None:
        return ("has an outcome, where the other has none",)
    words = []
    changes = changes_between(other.writes, mine.writes)
    if changes.more:
        words.append(f"writes {changes.more} more pages to the members")
    if changes.fewer:
        words.append(f"writes {changes.fewer} pages fewer to the members")
    if changes.other_pages:
        words.append(f"writes {changes.other_pages} pages with other content to the members")
    if changes:
        words[-1] += f" (stripes {', '.join(map(str, changes.stripes))} ..)"
    if [s.stripe for s in other.data_only] != [s.stripe for s in mine.data_only]:
        words.append(f"has {len(other.data_only)} data-only stripes, not {len(mine.data_only)}")
    elif other.data_only != mine.data_only:
        words.append("has other pages in the data-only stripes")
    return tuple(words)


def _left_in_cache(other: Recovery, era: Era, against: Era) -> tuple[str, ...]:
    if not other.data_only or era.data_only is against.data_only:
        return ()
    return (f"{len(other.data_only)} data-only stripes: {era.data_only.value}",)


def _ending(other: Recovery, era: Era, mine: Recovery, against: Era) -> tuple[str, ...]:
    assert other.end is not None
    assert mine.end is not None
    words = []
    if other.end.position != mine.end.position:
        words.append(f"ends at sector {other.end.position}, not {mine.end.position}")
    writes = bool(other.data_only) or writes_empty_meta(other, era)
    if not writes and era.data_only is DataOnly.NOT_KNOWN:
        words.append("writes no empty meta block, so the same log is replayed at each start")
    elif writes and next_sequence(other, era) != next_sequence(mine, against):
        seqs = next_sequence(other, era), next_sequence(mine, against)
        words.append("goes on with seq {}, not {}".format(*seqs))
    return tuple(words)


def _gathered(
    found: Iterable[tuple[str, tuple[str, ...], tuple[str, ...], bool]],
) -> tuple[EraDifference, ...]:
    ways: dict[tuple[tuple[str, ...], tuple[str, ...], bool], list[str]] = {}
    for name, members, journal, undefined in found:
        ways.setdefault((members, journal, undefined), []).append(name)
    return tuple(
        EraDifference(tuple(names), members, journal, undefined)
        for (members, journal, undefined), names in ways.items()
    )
