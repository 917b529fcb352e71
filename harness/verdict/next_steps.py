"""What to type next: the mdadm commands for each situation, and what each costs.

Format document, sections 6.4 and 6.6 for what mdadm and the kernel answer; every command was read
or seen there. Device names are placeholders: the images are copies, the devices are elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from harness.verdict.array_health import DeviceState, Health, JournalState
from harness.verdict.diagnosis import JournalFacts, bytes_in_words


@dataclass(frozen=True, slots=True)
class Step:
    """When to do something, the commands in their order, and the price."""

    when: str
    commands: tuple[str, ...]
    cost: str


def next_steps(health: Health, journal: JournalFacts | None) -> tuple[Step, ...]:
    """Return the ways to go on, the one to try first first."""
    steps = [*_copied_again(health), *_beforehand(health, journal), *_assembly(health, journal)]
    steps += [
        *_members_back(health),
        *_when_it_hangs(health, journal),
        *_without_journal(health, journal),
    ]
    return tuple(steps)


def _copied_again(health: Health) -> Iterator[Step]:
    if health.unusable:
        yield Step(
            "an image cannot be used: copy its device again, and check again with that", tuple(
                f"ddrescue --idirect /dev/DEVICE {image.label}.again {image.label}.map"
                for image in health.unusable
            ),
            "the time to read the device; ddrescue goes on where a read fails",
        )  # fmt: skip


def _beforehand(health: Health, journal: JournalFacts | None) -> Iterator[Step]:
    if health.journal_label is None:
        return
    why = "before anything else"
    if journal is not None and journal.prediction.creates_new_log is not None:
        why = "before anything else: the next assembly gives up what is in the journal"
    yield Step(
        why, ("dd if=/dev/JOURNAL of=journal.img bs=1M conv=sparse status=progress",),
        "the time to read the journal; the copy is the only way back",
    )  # fmt: skip


def _assembly(health: Health, journal: JournalFacts | None) -> Iterator[Step]:
    if len(health.without_data) > health.parities and health.members_given:
        return
    if journal is None or health.journal in (JournalState.STALE, JournalState.FAULTY):
        return
    if health.refused is not None:
        yield from _although_refused(health)
        return
    degraded = bool(health.without_data)
    run = " --run" if degraded else ""
    if health.journal is JournalState.AHEAD:
        if health.events_ahead == 1:
            yield Step(
                "the journal is one event ahead: mdadm refuses it, so replay it offline", (
                    f"{_replay(health)} --out DIR MEMBER.img... journal.img",
                    "dd if=DIR/MEMBER.img of=/dev/MEMBER bs=1M conv=fsync  # each member",
                ),
                "room for a copy of each member; nothing is lost. Then the array can start without"
                " its journal, as below, for the members have all that was in it",
            )  # fmt: skip
        return
    cost = _cost_of_recovery(journal, degraded=degraded)
    yield Step(
        _when_it_can_start(health),
        (f"mdadm --assemble{run} /dev/mdX /dev/MEMBER... /dev/JOURNAL",), cost,
    )  # fmt: skip


def _although_refused(health: Health) -> Iterator[Step]:
    if health.is_synced:  # it is in reshape then
        yield Step(
            "the array is in reshape: no kernel starts it with its journal",
            ("mdadm --examine /dev/MEMBER  # each: how far the reshape came",),
            "nothing; ask linux-raid@vger.kernel.org before anything is forced",
        )  # fmt: skip
        return
    yield Step(
        "the array is degraded and not in sync: start it all the same",
        ("echo 1 > /sys/module/md_mod/parameters/start_dirty_degraded",
         "mdadm --assemble --run /dev/mdX /dev/MEMBER... /dev/JOURNAL"),
        f"from member sector {health.resync_offset} on parity is not known to fit the data: what is"
        " made up for the missing member there may be wrong",
    )  # fmt: skip


def _when_it_can_start(health: Health) -> str:
    if not health.members_given:
        return "the members are all well (none was given, so look: mdadm --examine)"
    if health.without_data:
        return "the array is degraded and can start"
    return "the array is complete"


def _replay(health: Health) -> str:
    lacking = health.members_given and health.not_given
    return "tools/mdjournal replay" + (" --degraded" if lacking else "")


def _cost_of_recovery(journal: JournalFacts, *, degraded: bool) -> str:
    if journal.prediction.creates_new_log is not None:
        return "whatever the journal holds is given up, without a message"
    if journal.prediction.failure is not None:
        return f"it is not expected to succeed: {journal.prediction.failure}"
    if journal.contents.data_only_stripes and degraded:
        return (
            "data-only stripes of a degraded array are written out with what can be read; where"
            " that is too little nobody can tell what becomes of them. Keep the copy"
        )
    work = journal.prediction.work
    low, high = work.hours_seen
    if high < 1 / 60:
        return "nothing is lost; recovery has next to nothing to do"
    return (
        f"nothing is lost; recovery moves {work.megabytes:.0f} MB, {_hours(low)} to"
        f" {_hours(high)} at the rates that users saw"
    )


def _members_back(health: Health) -> Iterator[Step]:
    if any(device.state is DeviceState.STALE for device in health.devices):
        yield Step(
            "a stale member: leave it out, assemble, then take it in anew",
            ("mdadm --assemble --run /dev/mdX /dev/FRESH_MEMBER... /dev/JOURNAL",
             "mdadm --zero-superblock /dev/STALE_MEMBER",
             "mdadm --manage /dev/mdX --add /dev/STALE_MEMBER"),
            "a full rebuild (an array with a journal has no bitmap); degraded until then",
        )  # fmt: skip
    elif health.absent or any(d.state is DeviceState.FAULTY for d in health.devices):
        yield Step(
            "a slot has no device: give it one once the array runs",
            ("mdadm --manage /dev/mdX --add /dev/NEW_MEMBER",),
            "a full rebuild, which goes past the journal; write-back stays off while degraded",
        )  # fmt: skip


def _when_it_hangs(health: Health, journal: JournalFacts | None) -> Iterator[Step]:
    if journal is None or journal.prediction.creates_new_log is not None:
        return
    if health.journal is not JournalState.PRESENT or health.refused is not None:
        return
    yield Step(
        "assembly does not come back", (
            "uname -r; dmesg | grep -e md/raid -e 'blocked for more'",
            "cat /sys/block/mdX/md/stripe_cache_size /sys/block/mdX/md/stripe_cache_active",
            "cat /proc/$(pgrep mdX_raid)/stack  # and of mdadm; the raid thread is mdX_raidN",
            "iostat -x 5  # does the journal still get read?",
        ),
        "nothing. Reads that go on are slow recovery, not a hang. Before 5.9 a recovery of"
        " data-only stripes can spin for ever (commit c9020e64cf33); with a stripe cache grown to"
        " 32768 kernels from 6.8 on were seen to hang in raid5_get_active_stripe",
    )  # fmt: skip
    if journal.prediction.failure is not None:
        return  # a replay without the kernel cannot tell either what becomes of it
    yield Step(
        "it hangs for good: replay the journal without the kernel", (
            f"{_replay(health)} --out DIR MEMBER.img... journal.img",
            "dd if=DIR/IMAGE of=/dev/DEVICE bs=1M conv=fsync  # members and journal, each one",
        ),
        "room for a copy of each device; nothing is lost, and the array then starts clean",
    )  # fmt: skip


def _without_journal(health: Health, journal: JournalFacts | None) -> Iterator[Step]:
    gone = journal is None or health.journal in (JournalState.STALE, JournalState.FAULTY)
    contents = None if journal is None else journal.contents
    if health.journal is JournalState.STALE or (contents is not None and contents.end is None):
        contents = None  # it says nothing of what the members lack
    lost = "everything that only the journal holds is lost; how much cannot be told"
    if contents is not None:
        lost = (
            f"lost: {bytes_in_words(contents.bytes_data_only)} of acknowledged data that only the"
            f" log has; {bytes_in_words(contents.bytes_with_parity)} more may be half written, and"
            " parity wrong there"
        )  # fmt: skip
    if gone:
        yield Step(
            "the array runs with a failed journal (reads work, writes fail) and needs no new one",
            ("mdadm --manage /dev/mdX --remove /dev/JOURNAL",
             "echo resync > /sys/block/mdX/md/consistency_policy"),
            f"writable at once, without protection from the write hole; {lost}",
        )  # fmt: skip
    yield Step(
        "the journal is gone: start without it, read-only, and copy what matters"
        if gone else "only if the journal cannot be saved: start without it, read-only",
        ("mdadm --assemble --force /dev/mdX /dev/MEMBER...",
         "mount -o ro,norecovery /dev/mdX /mnt  # ext4, xfs: norecovery; btrfs: ro"),
        lost,
    )  # fmt: skip
    yield Step(
        "then a new journal (a used device: mdadm --zero-superblock it first)",
        ("mdadm --manage /dev/mdX --add-journal /dev/NEW_JOURNAL",
         "echo repair > /sys/block/mdX/md/sync_action"),
        "makes the array writable at once; repair reads all of it and makes parity fit the data,"
        " right or wrong. Old journal and old data do not come back after this",
    )  # fmt: skip


def _hours(hours: float) -> str:
    if hours < 1:
        return f"{max(1, round(hours * 60))} min"
    return f"{hours:.1f} h"
