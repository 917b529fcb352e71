"""What a data-only stripe leaves on the members when recovery writes it out.

Format document, sections 4.1 step 13 and 4.8; ``handle_stripe_dirtying`` in raid5.c chooses
between reading what is not written (reconstruct-write) and what is (read-modify-write). The
choice matters where the old parity was wrong: read-modify-write keeps it wrong.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Collection, Iterable, Mapping

from harness.recovery.geometry import Geometry
from harness.recovery.layout import Row
from harness.recovery.log import UndefinedRecovery
from harness.recovery.parity import q_syndrome, xor_pages

ReadMember = Callable[[int], bytes]  # the page of one device at the stripe, before the write


class NeededInVain(UndefinedRecovery):
    """A data-only stripe cannot be written out: see `needed_in_vain`."""


class Method(enum.Enum):
    """How new parity comes about."""

    READ_MODIFY_WRITE = "rmw"
    RECONSTRUCT_WRITE = "rcw"


def choose_method(
    geometry: Geometry,
    row: Row,
    new: Collection[int],
    *,
    unreadable: Collection[int] = (),
    synced: bool = True,
) -> Method:
    """Return the driver's choice for a stripe of which the data of devices *new* is in the log.

    Read-modify-write reads those devices' old contents and the parity, reconstruct-write the other
    data; the default ``rmw_level`` takes the fewer reads, reconstruct-write on a tie. A device that
    cannot be read weighs as much as twice the array. A stripe that was never synced is
    reconstructed where all of it can be read: its parity is not to be trusted.
    """
    if not synced and not unreadable:
        return Method.RECONSTRUCT_WRITE

    def reads(devices: Iterable[int]) -> int:
        return sum(2 * geometry.raid_disks if d in unreadable else 1 for d in devices)

    rmw_reads = reads(_read_to_modify(row, new))
    return (
        Method.READ_MODIFY_WRITE
        if rmw_reads < reads(_read_to_reconstruct(row, new))
        else Method.RECONSTRUCT_WRITE
    )


def write_out(
    geometry: Geometry,
    row: Row,
    new: Mapping[int, bytes],
    read_old: ReadMember,
    *,
    unreadable: Collection[int] = (),
    synced: bool = True,
) -> dict[int, bytes]:
    """Return the pages that the members hold afterwards, by device, where they can change.

    Args:
        geometry: of the array.
        row: which device has which part at this stripe.
        new: the data pages from the log, by device; also of devices that are missing.
        read_old: gives a device's page as it was, for the pages that the driver reads.
        unreadable: devices that are missing, or not rebuilt as far as this stripe.
        synced: whether the stripe lies below the array's ``resync_offset``.

    Raises:
        UndefinedRecovery: whichever way it goes, the driver would have to read a device that it
            cannot read; what it makes of such a stripe cannot be told.
    """
    method = choose_method(geometry, row, new, unreadable=unreadable, synced=synced)
    rmw = method is Method.READ_MODIFY_WRITE
    if missing := needed_in_vain(geometry, row, new, unreadable=unreadable, synced=synced):
        raise NeededInVain(
            f"data-only stripe needs member {', '.join(map(str, missing))}, which cannot be read;"
            " what the kernel makes of it cannot be told"
        )
    if not rmw:
        data = {d: new[d] if d in new else read_old(d) for d in row.data}
        return {**new, **parity_of(geometry, row, data)}
    changes = {d: xor_pages((page, read_old(d))) for d, page in new.items()}
    change_of_parity = parity_of(geometry, row, changes)
    return {
        **new,
        **{d: xor_pages((read_old(d), change)) for d, change in change_of_parity.items()},
    }


def needed_in_vain(
    geometry: Geometry,
    row: Row,
    new: Collection[int],
    *,
    unreadable: Collection[int],
    synced: bool,
) -> tuple[int, ...]:
    """Return the devices that the driver would have to read for a stripe and cannot.

    Where there are any, nothing computes the missing page, and recovery was seen never to end
    (kernels 5.10 to 7.3, RAID-6 with two members missing). Arguments as of `choose_method`.
    """
    method = choose_method(geometry, row, new, unreadable=unreadable, synced=synced)
    rmw = method is Method.READ_MODIFY_WRITE
    to_read = _read_to_modify(row, new) if rmw else _read_to_reconstruct(row, new)
    return tuple(sorted(set(to_read) & set(unreadable)))


def _read_to_modify(row: Row, new: Iterable[int]) -> list[int]:
    return [*new, *(d for d in (row.pd_idx, row.qd_idx) if d is not None)]


def _read_to_reconstruct(row: Row, new: Collection[int]) -> list[int]:
    return [device for device in row.data if device not in new]


def parity_of(geometry: Geometry, row: Row, data: Mapping[int, bytes]) -> dict[int, bytes]:
    """Return a stripe's parity pages by device, from all of its data pages by device."""
    parity = {row.pd_idx: xor_pages(data.values())}
    if row.qd_idx is not None:
        exponents = geometry.q_exponents(row)
        parity[row.qd_idx] = q_syndrome({exponents[d]: page for d, page in data.items()})
    return parity
