"""What a data-only stripe leaves on the members when recovery writes it out.

Format document, sections 4.1 step 13 and 4.8; ``handle_stripe_dirtying`` in raid5.c chooses
between reading what is not written (reconstruct-write) and what is (read-modify-write). The
choice matters where the old parity was wrong: read-modify-write keeps it wrong.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping

from harness.recovery.geometry import Geometry
from harness.recovery.layout import Row
from harness.recovery.parity import q_syndrome, xor_pages

ReadMember = Callable[[int], bytes]  # the page of one device at the stripe, before the write


class Method(enum.Enum):
    """How new parity comes about."""

    READ_MODIFY_WRITE = "rmw"
    RECONSTRUCT_WRITE = "rcw"


def choose_method(geometry: Geometry, data_pages: int, *, synced: bool = True) -> Method:
    """Return the driver's choice for *data_pages* new pages on an array without failed members.

    Read-modify-write reads those pages' old contents and the parity, reconstruct-write the other
    data; the default ``rmw_level`` takes the fewer reads, reconstruct-write on a tie. A stripe
    that was never synced is always reconstructed: its parity is not to be trusted.
    """
    if not synced:
        return Method.RECONSTRUCT_WRITE
    rmw_reads = data_pages + geometry.level.parities
    rcw_reads = geometry.data_disks - data_pages
    return Method.READ_MODIFY_WRITE if rmw_reads < rcw_reads else Method.RECONSTRUCT_WRITE


def write_out(
    geometry: Geometry,
    row: Row,
    new: Mapping[int, bytes],
    read_old: ReadMember,
    *,
    synced: bool = True,
) -> dict[int, bytes]:
    """Return the pages that the members hold afterwards, by device, where they can change.

    Args:
        geometry: of the array; all members are there.
        row: which device has which part at this stripe.
        new: the data pages from the log, by device.
        read_old: gives a device's page as it was, for the pages that the driver reads.
        synced: whether the stripe lies below the array's ``resync_offset``.
    """
    if choose_method(geometry, len(new), synced=synced) is Method.RECONSTRUCT_WRITE:
        data = {d: new[d] if d in new else read_old(d) for d in row.data}
        return {**new, **_parity(geometry, row, data)}
    changes = {d: xor_pages((page, read_old(d))) for d, page in new.items()}
    change_of_parity = _parity(geometry, row, changes)
    return {
        **new,
        **{d: xor_pages((read_old(d), change)) for d, change in change_of_parity.items()},
    }


def _parity(geometry: Geometry, row: Row, data: Mapping[int, bytes]) -> dict[int, bytes]:
    parity = {row.pd_idx: xor_pages(data.values())}
    if row.qd_idx is not None:
        exponents = geometry.q_exponents(row)
        parity[row.qd_idx] = q_syndrome({exponents[d]: page for d, page in data.items()})
    return parity
