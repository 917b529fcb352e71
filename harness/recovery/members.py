"""Which device of an array is which, from the superblocks alone.

Mirrors what ``analyze_sbs`` and mdadm's assembly decide; format document, section 1.5. A device
is named by the label that the caller gives it, usually its file name.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from harness.errors import BadImage
from harness.ondisk.superblock import (
    RESYNC_DONE,
    ROLE_FAULTY,
    ROLE_JOURNAL,
    ROLE_MAX_SLOT,
    ROLE_SPARE,
    Feature,
    Superblock,
)
from harness.ondisk.units import BLOCK_SECTORS, StripeSector
from harness.recovery.geometry import Geometry, geometry_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Array:
    """An array put together: labels by slot, and what is not there."""

    geometry: Geometry
    superblocks: Mapping[str, Superblock]
    freshest: str  # the label whose superblock speaks for the array
    members: Mapping[int, tuple[str, ...]]  # slot -> label, and its replacement if any
    journal: str | None
    absent: tuple[int, ...]  # slots that the freshest superblock has no device for
    missing: tuple[int, ...]  # slots that it has a device for, and that were not given
    spares: tuple[str, ...]

    @property
    def set_uuid(self) -> bytes:
        """The array's identity, and the seed of its log's checksums."""
        return self.superblocks[self.freshest].set_uuid

    @property
    def present(self) -> frozenset[int]:
        """The ``dev_number`` of each device that takes part."""
        return frozenset(superblock.dev_number for superblock in self.superblocks.values())

    @property
    def resync_offset(self) -> int:
        """How far the array is in sync, in sectors of each member."""
        return self.superblocks[self.freshest].resync_offset

    def unreadable_at(self, sector: StripeSector) -> frozenset[int]:
        """Return the slots whose page at *sector* the driver does not read.

        Their device is not there, or it is being rebuilt and has not come that far
        (``R5_Insync`` in ``analyse_stripe``).
        """
        slots = range(self.geometry.raid_disks)
        return frozenset(slot for slot in slots if self.read_from(slot, sector) is None)

    def read_from(self, slot: int, sector: StripeSector) -> str | None:
        """Return the device from which the driver reads a slot's page; ``None``: from none.

        The replacement, once it has come that far, before the device that it is to replace.
        """
        labels = self.members.get(slot, ())
        return next((n for n in reversed(labels) if self._is_in_sync(n, sector)), None)

    def _is_in_sync(self, label: str, sector: StripeSector) -> bool:
        rebuilt = self.superblocks[label].recovery_offset
        return rebuilt is None or sector + BLOCK_SECTORS <= rebuilt

    def refused_because(self, lacking: Collection[int]) -> str | None:
        """Say why md does not start this array without the slots *lacking*; ``None``: it does.

        ``raid5_run``: no reshape with a journal; and an array that is not in sync is not started
        while more is missing than what is being rebuilt and holds only parity.
        """
        newest = self.superblocks[self.freshest]
        if Feature.RESHAPE_ACTIVE in newest.features:
            return "it is in reshape, and md starts no array with a journal in reshape"
        if self.resync_offset == RESYNC_DONE:
            return None
        rebuilding = {slot for slot in self.members if self._is_rebuilding(slot)}
        only_parity = {slot for slot in rebuilding if self.geometry.holds_only_parity(slot)}
        if {*lacking, *rebuilding} - only_parity:
            return "it is degraded and not in sync (md: cannot start dirty degraded array)"
        return None

    def _is_rebuilding(self, slot: int) -> bool:
        return self.superblocks[self.members[slot][0]].recovery_offset is not None

    @property
    def goes_on_with(self) -> str:
        """What md does behind recovery of its own accord, while nobody asks it to; or nothing.

        How far it comes before the array is stopped is a matter of time.
        """
        if any(each.recovery_offset is not None for each in self.superblocks.values()):
            return "a member is being rebuilt"
        if self.resync_offset != RESYNC_DONE:
            return "the array is being synced"
        if self.spares and (self.absent or self.missing):
            return "a spare takes a missing member's place"
        return ""

    @property
    def has_journal_feature(self) -> bool:
        """Whether the array is one with a write journal, given or not."""
        return Feature.JOURNAL in self.superblocks[self.freshest].features


def no_longer_members(superblocks: Mapping[str, Superblock]) -> tuple[str, ...]:
    """Return the devices that the array goes on without: they have no part in a recovery.

    The freshest superblock calls them faulty, or they have missed what happened since.
    """
    newest = max(superblocks.values(), key=lambda superblock: superblock.events)
    return tuple(
        label
        for label, own in superblocks.items()
        if own.events + 1 < newest.events or _role(own, newest) == ROLE_FAULTY
    )


def stale_members(superblocks: Mapping[str, Superblock]) -> tuple[str, ...]:
    """Return the members that are left behind although the freshest superblock has them active."""
    newest = max(superblocks.values(), key=lambda superblock: superblock.events)
    return tuple(
        label
        for label in no_longer_members(superblocks)
        if not superblocks[label].is_journal and _role(superblocks[label], newest) <= ROLE_MAX_SLOT
    )


# With a journal the kernel refuses these: md_run for PPL, raid5_run for a bitmap.
_EXCLUDES_JOURNAL = {
    Feature.BITMAP_OFFSET: "a bitmap",
    Feature.PPL: "a partial parity log",
    Feature.MULTIPLE_PPLS: "partial parity logs",
}


def put_together(superblocks: Mapping[str, Superblock]) -> Array:
    """Find each device's place.

    Raises:
        BadImage: devices of two arrays, a stale device, or two for one place.
    """
    _require_one_array(superblocks)
    # Of equals a member: a journal speaks for the array only where it is ahead of all members.
    freshest = max(
        superblocks, key=lambda n: (superblocks[n].events, not superblocks[n].is_journal)
    )
    newest = superblocks[freshest]
    members: dict[int, tuple[str, ...]] = {}
    journal: str | None = None
    spares: list[str] = []
    for label, superblock in superblocks.items():
        _require_features(label, superblock)
        _require_fresh(label, superblock, freshest, newest)
        role = _role(superblock, newest)
        if role == ROLE_JOURNAL:
            journal = _only_journal(label, journal)
        elif role <= ROLE_MAX_SLOT and role < newest.raid_disks:
            _require_room(label, superblock)
            members[role] = _with_replacement(role, label, members.get(role, ()), superblocks)
        elif role == ROLE_SPARE:
            spares.append(label)
        else:
            raise BadImage(f"{label}: the array has marked this device as faulty; leave it out")
    expected = {role for role in newest.roles if role < newest.raid_disks}
    return Array(
        geometry=geometry_of(newest), superblocks=superblocks, freshest=freshest,
        members=members, journal=journal,
        absent=tuple(s for s in range(newest.raid_disks) if s not in expected),
        missing=tuple(sorted(expected - members.keys())), spares=tuple(spares),
    )  # fmt: skip


def _role(superblock: Superblock, newest: Superblock) -> int:
    # The freshest table decides: a device with one event less may not know yet that it failed.
    if superblock.dev_number >= len(newest.roles):
        return ROLE_FAULTY
    return newest.roles[superblock.dev_number]


def _require_one_array(superblocks: Mapping[str, Superblock]) -> None:
    first_label, first = next(iter(superblocks.items()))
    for label, superblock in superblocks.items():
        if superblock.set_uuid != first.set_uuid:
            raise BadImage(
                f"{label}: belongs to array {format_uuid(superblock.set_uuid)}, but {first_label}"
                f" to {format_uuid(first.set_uuid)}; give the devices of one array"
            )
        for field in ("level", "layout", "chunk_sectors", "raid_disks", "size"):
            found, wanted = getattr(superblock, field), getattr(first, field)
            if found != wanted:
                raise BadImage(f"{label}: {field} is {found}, but {wanted} in {first_label}")


def _require_features(label: str, own: Superblock) -> None:
    if own.is_journal and Feature.JOURNAL not in own.features:
        raise BadImage(
            f"{label}: is a journal without the journal feature; the kernel would ignore it"
        )
    for feature, name in _EXCLUDES_JOURNAL.items():
        if Feature.JOURNAL in own.features and feature in own.features:
            raise BadImage(
                f"{label}: has a journal and {name}, by its feature_map; the kernel refuses both"
            )


def _require_fresh(label: str, own: Superblock, freshest: str, newest: Superblock) -> None:
    if own.events + 1 >= newest.events:
        return
    if own.is_journal:
        raise BadImage(
            f"{label}: stale journal, {own.events} events, but {freshest} has {newest.events};"
            " the kernel does not take it, and to replay it could put old data over new:"
            " see `mdjournal check`"
        )
    if newest.is_journal:
        raise BadImage(
            f"{label}: {own.events} events, but the journal {freshest} has {newest.events}, more"
            " than any member given: newer members are missing, or it is no journal of these:"
            " see `mdjournal check`"
        )
    raise BadImage(
        f"{label}: stale, {own.events} events, but {freshest} has {newest.events};"
        " the kernel would kick it from the array: leave it out"
    )


def _require_room(label: str, own: Superblock) -> None:
    if own.size > own.data_size:
        raise BadImage(
            f"{label}: has room for {own.data_size} sectors, but each member has {own.size}"
        )


def _only_journal(label: str, other: str | None) -> str:
    if other is not None:
        raise BadImage(f"{label}: is the journal, and so is {other}; give one of them")
    return label


def _with_replacement(
    slot: int, label: str, there: tuple[str, ...], superblocks: Mapping[str, Superblock]
) -> tuple[str, ...]:
    if not there:
        return (label,)
    replacements = [
        name for name in (*there, label) if Feature.REPLACEMENT in superblocks[name].features
    ]
    if len(there) != 1 or len(replacements) != 1:
        raise BadImage(f"{label}: is member {slot}, and so is {there[0]}; give one of them")
    original = label if replacements == list(there) else there[0]
    return (original, replacements[0])


def format_uuid(uuid: bytes) -> str:
    """Return a uuid as mdadm prints it: four groups of eight digits."""
    digits = uuid.hex()
    return ":".join(digits[i : i + 8] for i in range(0, 32, 8))
