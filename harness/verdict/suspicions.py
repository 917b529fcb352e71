"""What is not as it should be with an array and its journal, each with a name and why it matters.

Severity says what it means for a person: a NOTE is worth knowing and no fault, a WARNING needs a
decision, DANGER means that acknowledged data or the array itself is at stake.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from harness.recovery.era import ERAS
from harness.recovery.leftovers import FoundMeta
from harness.recovery.metawise import MAX_STRIPE_CACHE_SIZE
from harness.verdict.array_health import DeviceState, Health, JournalState
from harness.verdict.diagnosis import JournalFacts
from harness.verdict.journal_truth import RECOVERY_JUMP

_EXAMPLES = 5
_FIRST_OF_TODAYS_FORMAT = "4.12"


class Severity(enum.Enum):
    """How much it matters."""

    NOTE = "note"
    WARNING = "warning"
    DANGER = "danger"


@dataclass(frozen=True, slots=True)
class Suspicion:
    """One thing that is not as it should be."""

    name: str
    severity: Severity
    explanation: str


def suspicions(health: Health, journal: JournalFacts | None) -> tuple[Suspicion, ...]:
    """Return everything suspicious, the worst first."""
    found = [*_of_unusable(health), *_of_devices(health), *_of_members(health), *_of_sync(health)]
    found += _of_journal_device(health)
    if journal is not None:
        found += [*_of_tail(journal), *_of_ring(journal), *_of_contents(journal, health)]
        found += [*_of_recovery(journal), *_of_eras(journal)]
    order = list(Severity)[::-1]
    return tuple(sorted(found, key=lambda one: order.index(one.severity)))


def _of_unusable(health: Health) -> Iterator[Suspicion]:
    may_be_journal = health.journal is JournalState.NOT_GIVEN
    for image in health.unusable:
        follows = (
            "it may be the journal, for no other image is: what it holds is not seen"
            " here, and everything below goes on without it" if may_be_journal
            else "all else is said as if it had not been given"
        )  # fmt: skip
        yield Suspicion(
            "unusable-image", Severity.DANGER if may_be_journal else Severity.WARNING,
            f"an image cannot be used, and is left out: {follows}. {image.reason}",
        )  # fmt: skip


def _of_devices(health: Health) -> Iterator[Suspicion]:
    for device in health.devices:
        if device.state is DeviceState.STALE:
            newest = health.member_events[1] if health.member_events else health.journal_events
            yield Suspicion(
                "stale-member", Severity.WARNING,
                f"{device.label}: {device.events} events, the freshest has {newest}; two or more"
                " behind, and the kernel kicks it from the array",
            )  # fmt: skip
        elif device.state is DeviceState.FAULTY:
            yield Suspicion(
                "faulty-member", Severity.WARNING,
                f"{device.label}: the array has marked this device as faulty",
            )  # fmt: skip


def _of_members(health: Health) -> Iterator[Suspicion]:
    if health.absent:
        yield Suspicion(
            "degraded", Severity.WARNING,
            f"the array has no device for slot {_listed(health.absent)}: it runs degraded",
        )  # fmt: skip
    if health.rebuilding:
        yield Suspicion(
            "rebuilding", Severity.WARNING,
            f"slot {_listed(health.rebuilding)} is not rebuilt to its end yet",
        )  # fmt: skip
    if health.members_given and health.not_given:
        yield Suspicion(
            "member-not-given", Severity.WARNING,
            f"slot {_listed(health.not_given)} belongs to the array and no usable image of it was"
            " given; lost, or only not given?",
        )  # fmt: skip
    if health.members_given and len(health.without_data) > health.parities:
        yield Suspicion(
            "too-few-members", Severity.DANGER,
            f"{len(health.without_data)} slots cannot be read, RAID-{health.level} stands"
            f" {health.parities}: the array cannot start with what was given",
        )  # fmt: skip


def _of_sync(health: Health) -> Iterator[Suspicion]:
    if health.resync_offset == 0:
        yield Suspicion(
            "resync-offset-0", Severity.WARNING,
            "resync_offset is 0: parity is not known to be right anywhere. With a working journal"
            " it stays at its end even after a crash, so either the first sync has not begun to be"
            " recorded, or the array ran without its journal, or a kernel bug",
        )  # fmt: skip
    elif not health.is_synced:
        yield Suspicion(
            "unsynced", Severity.NOTE,
            f"the array is synced up to member sector {health.resync_offset} only",
        )  # fmt: skip
    if health.refused is not None:
        yield Suspicion("refused", Severity.DANGER, f"the array is not started: {health.refused}")
    if health.logical_block_bytes:
        yield Suspicion(
            "logical-block-size", Severity.NOTE,
            f"the superblocks have a logical_block_size of {health.logical_block_bytes}: kernels up"
            " to 6.18 take these devices for none of theirs",
        )  # fmt: skip


def _of_journal_device(health: Health) -> Iterator[Suspicion]:
    match health.journal:
        case JournalState.NOT_GIVEN:
            yield Suspicion(
                "journal-missing", Severity.DANGER,
                "no image is the array's journal. Without it the array starts read-only, by force,"
                " and whatever the journal holds is lost",
            )  # fmt: skip
        case JournalState.FAULTY:
            yield Suspicion(
                "journal-faulty", Severity.DANGER,
                "the members' superblocks have no journal any more: it failed, and since then"
                " writes were refused. What it holds may still be the newest data",
            )  # fmt: skip
        case JournalState.STALE:
            members = health.member_events[1] if health.member_events else 0
            yield Suspicion(
                "journal-stale", Severity.DANGER,
                f"the journal has {health.journal_events} events, the members have {members}: the"
                " kernel does not take it, and to replay it could put old data over new",
            )  # fmt: skip
        case JournalState.AHEAD:
            ahead = health.events_ahead
            kernel = (
                "Nothing need be stale: the kernel itself would take it" if ahead == 1
                else "By more than one event: the members were left behind by something else"
            )  # fmt: skip
            yield Suspicion(
                "journal-ahead", Severity.DANGER,
                f"the journal is {ahead} event(s) ahead of all members given. mdadm looks for the"
                " newest device among members only, takes such a journal for a stray, and says"
                ' "Not safe to assemble with missing or stale journal device, consider --force";'
                f" with --force the journal is left out. {kernel} (seen with mdadm 4.2 after a"
                " power cut during a superblock update)",
            )  # fmt: skip
        case _:
            if health.events_ahead < 0:
                yield Suspicion(
                    "journal-behind", Severity.NOTE,
                    "the journal is one event behind the members; the kernel takes it",
                )  # fmt: skip


def _of_tail(journal: JournalFacts) -> Iterator[Suspicion]:
    left, contents = journal.leftovers, journal.contents
    if journal.prediction.creates_new_log is not None:
        valid = left.older + left.newer
        at = _at(left.newest)
        lost = (
            f"; {valid} valid meta blocks of this array lie in the ring, the newest {at}: all of"
            " them are given up" if valid else "; no other meta block of this array is there either"
        )  # fmt: skip
        yield Suspicion(
            "bad-tail", Severity.DANGER,
            f"the block at the tail is no meta block ({journal.prediction.creates_new_log}), so the"
            f" kernel makes a new log and says nothing{lost}. Acknowledged writes may be lost",
        )  # fmt: skip
        return
    end_seq = journal.leftovers.next_seq
    if left.nearest is None or end_seq is None:
        return
    if left.nearest.seq < end_seq + RECOVERY_JUMP:
        yield Suspicion(
            "sequence-gap", Severity.WARNING,
            f"the log ends with seq {end_seq} expected, but {left.newer} valid meta blocks of this"
            f" array with later numbers lie beyond, the nearest {_at(left.nearest)}. Recovery does"
            " not see them. A few are normal when the power went with several writes under way;"
            " many mean that a block in the middle was damaged or lost",
        )  # fmt: skip
    else:
        reset = " journal_tail is 0, as if it had been reset." if contents.tail == 0 else ""
        yield Suspicion(
            "stale-tail", Severity.DANGER,
            f"the log at the tail runs from seq {contents.first_seq} to {end_seq - 1}, but"
            f" {left.newer} valid meta blocks of this array are far newer, up to"
            f" {_at(left.newest)}.{reset} Either the journal's superblock is older than its log,"
            " and recovery puts old data over new, or the log was once made anew with a lower"
            " number",
        )  # fmt: skip


def _of_ring(journal: JournalFacts) -> Iterator[Suspicion]:
    left = journal.leftovers
    if left.unfit:
        yield Suspicion(
            "foreign-metas", Severity.WARNING,
            f"{left.unfit} blocks look like meta blocks, but their checksum does not fit this"
            f" array's uuid or place; the first {_at(left.unfit_example)}: another array's"
            " journal was on this device, or these are damaged",
        )  # fmt: skip


def _data_only_degraded(journal: JournalFacts, health: Health) -> Suspicion:
    only, hopeless = journal.contents.data_only_stripes, journal.hopeless
    gone = f"slot {_listed(health.without_data)} cannot be read"
    if not hopeless:
        return Suspicion(
            "data-only-degraded", Severity.NOTE,
            f"{only} data-only stripes, and {gone}: what their new parity takes is there",
        )  # fmt: skip
    return Suspicion(
        "data-only-degraded", Severity.DANGER,
        f"{only} data-only stripes, and {gone}: the new parity of {len(hopeless)} of them (stripe"
        f" {_listed(hopeless[:_EXAMPLES])}) needs what is missing. Their data has one copy only, in"
        " the log",
    )  # fmt: skip


def _of_contents(journal: JournalFacts, health: Health) -> Iterator[Suspicion]:
    contents, recovery = journal.contents, journal.recovery
    if contents.pages_outside:
        yield Suspicion(
            "location-outside", Severity.DANGER,
            f"{contents.pages_outside} pages are for places outside of the array; the kernel"
            " writes them all the same, beyond the members' data",
        )  # fmt: skip
    if contents.data_only_stripes and health.without_data:
        yield _data_only_degraded(journal, health)
    if recovery is None:
        return
    books = recovery.books
    if books.flushed_data_only_count:
        yield Suspicion(
            "flush-of-data-only", Severity.DANGER,
            f"a FLUSH names {books.flushed_data_only_count} stripes of which the log has no parity"
            f" (stripe {_listed(books.flushed_data_only)}): they cannot have been written out. The"
            " kernel warns, and drops their data",
        )  # fmt: skip
    if books.flagged:
        yield Suspicion(
            "payload-flags", Severity.NOTE,
            f"{books.flagged} meta blocks have payload flags, which no kernel sets; all ignore"
            " them",
        )  # fmt: skip
    if contents.dropped_metas:
        yield Suspicion(
            "torn-meta", Severity.WARNING,
            f"{contents.dropped_metas} meta blocks have a bad page or descriptor and are dropped"
            " whole. Normal for the last write before a power cut, which nobody was told is safe",
        )  # fmt: skip


def _of_recovery(journal: JournalFacts) -> Iterator[Suspicion]:
    prediction, recovery = journal.prediction, journal.recovery
    if prediction.failure is not None:
        yield Suspicion("no-recovery", Severity.DANGER, prediction.failure)
    if recovery is None:
        return
    books, work = recovery.books, prediction.work
    if books.early_matters_count:
        yield Suspicion(
            "early-replay", Severity.WARNING,
            f"with a stripe cache of {work.stripe_cache_size} the cache is used up, and"
            f" {books.early_matters_count} stripes are written before the log says that they need"
            f" not be (stripe {_listed(books.early_matters)}); a larger stripe cache gives another"
            " outcome",
        )  # fmt: skip
    if work.grown_to >= MAX_STRIPE_CACHE_SIZE:
        yield Suspicion(
            "stripe-cache-pressure", Severity.DANGER,
            f"{work.peak_stripes} stripes are held at once, so that recovery grows the stripe cache"
            f" to {work.grown_to}, its limit. Recoveries that did so were seen to hang in"
            " raid5_get_active_stripe (linux-raid, April 2025, kernels 6.8 to 6.15-rc3; 160525 meta"
            " blocks)",
        )  # fmt: skip
    elif work.grown_to > work.stripe_cache_size:
        yield Suspicion(
            "stripe-cache-grows", Severity.NOTE,
            f"{work.peak_stripes} stripes are held at once: recovery grows the stripe cache from"
            f" {work.stripe_cache_size} to {work.grown_to}",
        )  # fmt: skip


def _of_eras(journal: JournalFacts) -> Iterator[Suspicion]:
    if journal.prediction.era == "4.4":
        yield Suspicion(
            "stop-forgets-the-tail", Severity.NOTE,
            "kernels 4.4 to 4.8 load the log without its next_checkpoint: an array that is only"
            " assembled and stopped gets a journal_tail of 0, and the next start follows whatever"
            " lies there",
        )  # fmt: skip
    names = list(ERAS)
    todays = names[names.index(_FIRST_OF_TODAYS_FORMAT) :]
    differing = [one for one in journal.differences if one.members or one.undefined]
    recent = [name for one in differing for name in one.eras if name in todays]
    older = [name for one in differing for name in one.eras if name not in todays]
    mine = journal.prediction.era
    if recent and mine in todays:
        yield Suspicion(
            "eras-differ", Severity.WARNING,
            f"kernels of era {', '.join(recent)} leave the members otherwise than {mine}. No driver"
            " writes such a log: it was damaged, or made by hand; see what other kernels do",
        )  # fmt: skip
        recent = []
    if rest := [name for name in names if name in (*older, *recent)]:
        yield Suspicion(
            "older-eras-differ", Severity.NOTE,
            f"kernels of era {', '.join(rest)} leave the members otherwise than {mine}, or what"
            " they leave cannot be told: do not recover this journal with them",
        )  # fmt: skip


def what_is_unknown(health: Health, journal: JournalFacts | None) -> tuple[str, ...]:
    """Return what cannot be concluded from the images that were given."""
    unknown = []
    if not health.members_given:
        unknown.append(
            "how the members are: none was given. Whether the journal is as fresh as they are, and"
            " whether data-only stripes can be written out, depends on them"
        )
    elif health.not_given:
        unknown.append(f"how slot {_listed(health.not_given)} is: no usable image was given")
    if journal is None:
        unknown.append(
            "what the journal holds, and so what is lost without it: no usable image of it was"
            " given. A clean shutdown in write-through mode leaves nothing in it that the members"
            " lack; a crash, or write-back mode, may"
        )
    else:
        unknown.append(
            "which of the data-parity stripes are on the members already: members are not compared"
        )
    return tuple(unknown)


def _at(found: FoundMeta | None) -> str:
    return "nowhere" if found is None else f"at sector {found.position}, seq {found.seq}"


def _listed(numbers: Iterable[int]) -> str:
    return ", ".join(map(str, numbers))
