"""What the superblocks alone say of an array: who is there, who is not, who is behind.

The same rules as ``recovery.members``, but what that refuses is told here: a stale member or a
journal that has been marked as faulty is what a person with a broken array has.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from harness.errors import BadImage
from harness.ondisk.superblock import (
    RESYNC_DONE,
    ROLE_FAULTY,
    ROLE_JOURNAL,
    ROLE_SPARE,
    Feature,
    Superblock,
)
from harness.recovery.members import Array, format_uuid, put_together


class DeviceState(enum.Enum):
    """How a device stands in its array."""

    IN_SYNC = "in sync"
    REBUILDING = "rebuilding"
    REPLACEMENT = "replacement"
    SPARE = "spare"
    STALE = "stale"
    FAULTY = "marked faulty"


class JournalState(enum.Enum):
    """How the journal stands in its array."""

    PRESENT = "present"
    NOT_GIVEN = "not given"
    STALE = "stale"
    AHEAD = "ahead of all members"
    FAULTY = "marked faulty"


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """One image, by its superblock; *slot* is ``None`` for what is no member."""

    label: str
    slot: int | None
    state: DeviceState
    events: int
    rebuilt_sectors: int | None = None


@dataclass(frozen=True, slots=True)
class Unusable:
    """An image that was given and cannot be used; *reason* names it."""

    label: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """An array by its superblocks. Slots are the array's, 0 to raid_disks - 1."""

    uuid: str
    name: str
    level: int
    layout: str
    raid_disks: int
    parities: int
    chunk_sectors: int
    component_sectors: int
    array_sectors: int
    minor_version: int
    features: tuple[str, ...]
    devices: tuple[Device, ...]
    absent: tuple[int, ...]  # the array itself has no device for these
    not_given: tuple[int, ...]  # it has, and no usable image of them was given
    journal: JournalState
    journal_label: str | None
    journal_events: int | None
    member_events: tuple[int, int] | None  # lowest and highest; None: no member was given
    resync_offset: int
    refused: str | None  # why md does not start the array at all
    logical_block_bytes: int  # as the superblocks have it; 0: they do not
    unusable: tuple[Unusable, ...] = ()  # left out of all of the above

    @property
    def members_given(self) -> bool:
        """Whether there is any member among the images."""
        return self.member_events is not None

    @property
    def rebuilding(self) -> tuple[int, ...]:
        """Slots whose device is not complete yet."""
        return tuple(
            device.slot
            for device in self.devices
            if device.state is DeviceState.REBUILDING and device.slot is not None
        )

    @property
    def without_data(self) -> tuple[int, ...]:
        """Slots that cannot be read, as far as can be told from what was given."""
        gone = {*self.absent, *self.rebuilding, *(self.not_given if self.members_given else ())}
        return tuple(sorted(gone))

    @property
    def events_ahead(self) -> int:
        """How many events the journal is ahead of the members; negative: behind."""
        if self.journal_events is None or self.member_events is None:
            return 0
        return self.journal_events - self.member_events[1]

    @property
    def is_synced(self) -> bool:
        """Whether parity is right everywhere, by ``resync_offset``."""
        return self.resync_offset == RESYNC_DONE


def assess(superblocks: Mapping[str, Superblock]) -> tuple[Health, Array]:
    """Return an array's health, and the array itself with its journal, if one was given.

    Raises:
        BadImage: devices of two arrays, two for one place, an array without a write journal.
    """
    if len({superblock.set_uuid for superblock in superblocks.values()}) > 1:
        put_together(superblocks)  # says which ones
    members = [label for label, superblock in superblocks.items() if not superblock.is_journal]
    freshest = max(members or superblocks, key=lambda label: superblocks[label].events)
    newest = superblocks[freshest]
    if Feature.JOURNAL not in newest.features:
        raise BadImage(f"{freshest}: its array has no write journal, so there is nothing to check")
    stale = [label for label in members if superblocks[label].events + 1 < newest.events]
    faulty = [
        label for label in members if label not in stale and _role(superblocks[label], newest)
        == ROLE_FAULTY
    ]  # fmt: skip
    usable = [label for label in members if label not in (*stale, *faulty)]
    journal, extra = _journal_of(superblocks)
    state = _journal_state(superblocks, newest, journal, members)
    joined = list(usable)
    if journal is not None and state in (JournalState.PRESENT, JournalState.AHEAD):
        ages = [superblocks[label].events for label in (*usable, freshest)]
        joined += [journal] if abs(superblocks[journal].events - min(ages)) <= 1 else []
    array = put_together({label: superblocks[label] for label in joined or [freshest]})
    if journal is not None:
        array = replace(array, journal=journal, superblocks=dict(superblocks), freshest=freshest)
    out_of = dict.fromkeys([*stale, *extra], DeviceState.STALE)
    out_of |= dict.fromkeys(faulty, DeviceState.FAULTY)
    return _health(superblocks, array, newest, journal, state, usable, out_of), array


def _role(superblock: Superblock, newest: Superblock) -> int:
    if superblock.dev_number >= len(newest.roles):
        return ROLE_FAULTY
    return newest.roles[superblock.dev_number]


def _journal_of(superblocks: Mapping[str, Superblock]) -> tuple[str | None, list[str]]:
    """Return the journal, and others that were one once; two of the same age are refused later."""
    journals = [label for label, superblock in superblocks.items() if superblock.is_journal]
    journals.sort(key=lambda label: superblocks[label].events, reverse=True)
    if len(journals) > 1 and superblocks[journals[0]].events == superblocks[journals[1]].events:
        raise BadImage(f"{journals[1]}: is the journal, and so is {journals[0]}; give one of them")
    return (journals[0] if journals else None), journals[1:]


def _journal_state(
    superblocks: Mapping[str, Superblock], newest: Superblock, journal: str | None,
    members: Sequence[str],
) -> JournalState:  # fmt: skip
    if journal is None:
        marked = ROLE_JOURNAL not in newest.roles
        return JournalState.FAULTY if marked else JournalState.NOT_GIVEN
    own = superblocks[journal]
    if members and own.events + 1 < newest.events:
        return JournalState.STALE
    if members and own.events > newest.events:
        return JournalState.AHEAD
    if _role(own, newest) != ROLE_JOURNAL:
        return JournalState.FAULTY
    return JournalState.PRESENT


def _health(
    superblocks: Mapping[str, Superblock], array: Array, newest: Superblock, journal: str | None,
    state: JournalState, usable: Sequence[str], out_of: Mapping[str, DeviceState],
) -> Health:  # fmt: skip
    geometry = array.geometry
    events = [superblocks[label].events for label in usable]
    slots = {label: slot for slot, labels in array.members.items() for label in labels}
    replacements = {label for labels in array.members.values() for label in labels[1:]}
    devices = []
    for label, superblock in superblocks.items():
        if label == journal:
            continue
        device_state = out_of.get(label) or _member_state(
            superblock, is_replacement=label in replacements
        )
        slot = slots.get(label)
        if slot is None and superblock.role < newest.raid_disks:
            slot = superblock.role
        device = Device(
            label=label, slot=slot, state=device_state, events=superblock.events,
            rebuilt_sectors=superblock.recovery_offset,
        )  # fmt: skip
        devices.append(device)
    devices.sort(key=lambda device: (device.slot is None, device.slot or 0, device.label))
    members_there = set(array.members)
    expected = {role for role in newest.roles if role < newest.raid_disks}
    return Health(
        uuid=format_uuid(newest.set_uuid), name=newest.set_name.decode(errors="replace"),
        level=int(geometry.level), layout=geometry.layout.name, raid_disks=geometry.raid_disks,
        parities=geometry.level.parities, chunk_sectors=geometry.chunk_sectors,
        component_sectors=geometry.component_sectors, array_sectors=geometry.array_sectors,
        minor_version=newest.minor_version,
        features=tuple(f.name.lower() for f in Feature if f in newest.features and f.name),
        devices=tuple(devices),
        absent=tuple(s for s in range(newest.raid_disks) if s not in expected),
        not_given=tuple(sorted(expected - members_there)),
        journal=state, journal_label=journal,
        journal_events=superblocks[journal].events if journal is not None else None,
        member_events=(min(events), max(events)) if events else None,
        resync_offset=newest.resync_offset, refused=array.refused_because(array.absent),
        logical_block_bytes=newest.logical_block_bytes,
    )  # fmt: skip


def _member_state(superblock: Superblock, *, is_replacement: bool) -> DeviceState:
    if is_replacement:
        return DeviceState.REPLACEMENT
    if superblock.role == ROLE_SPARE:
        return DeviceState.SPARE
    if superblock.recovery_offset is not None:
        return DeviceState.REBUILDING
    return DeviceState.IN_SYNC
