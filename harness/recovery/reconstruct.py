"""Blocks of a stripe that were lost, from those that are left.

Format document, sections 5.3 and 5.4, and H. P. Anvin, "The mathematics of RAID-6": with P the sum
of all data and Q the sum of g**e times data, what the blocks left do not add up to is the share of
the lost ones. ``async_raid6_2data_recov`` and ``async_raid6_datap_recov`` do the same.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import cache

from harness.recovery.geometry import Geometry
from harness.recovery.layout import Row
from harness.recovery.parity import q_syndrome, xor_pages

_ORDER = 255  # of the generator: g**255 == 1

Pages = Mapping[int, bytes]  # by device


class Unrecoverable(ValueError):
    """More is lost than the parity that is left makes up for."""


def recover(geometry: Geometry, row: Row, left: Pages, lost: Collection[int]) -> dict[int, bytes]:
    """Return the blocks of *lost* devices, one or two of them, data or parity.

    Args:
        geometry: of the array.
        row: which device has which part at this stripe.
        left: the blocks of the other devices, all of equal length.
        lost: devices of which the block is wanted.

    Raises:
        Unrecoverable: a block is neither left nor asked for, or too many are lost.
    """
    absent = sorted({*row.data, *_parities(row)} - left.keys())
    if missing := set(absent) - set(lost):
        raise Unrecoverable(f"blocks of devices {sorted(missing)} are neither left nor asked for")
    if len(absent) > len(_parities(row)):
        raise Unrecoverable(f"blocks of devices {absent} are lost, too many for this level")
    data = {device: left[device] for device in row.data if device in left}
    data |= _recover_data(geometry, row, left, [device for device in absent if device in row.data])
    parity = {row.pd_idx: lambda: xor_pages(data.values())}
    if row.qd_idx is not None:
        parity[row.qd_idx] = lambda: _q(geometry, row, data)
    return {device: data[device] if device in data else parity[device]() for device in lost}


def recover_one(geometry: Geometry, row: Row, left: Pages, lost: int) -> bytes:
    """Return the one lost block: data by P, or parity counted anew.

    Raises:
        Unrecoverable: see `recover`.
    """
    return recover(geometry, row, left, (lost,))[lost]


def recover_two(
    geometry: Geometry, row: Row, left: Pages, lost: tuple[int, int]
) -> tuple[bytes, bytes]:
    """Return the two lost blocks of a RAID-6 stripe, in the order of *lost*.

    Two of data are found by P and Q, one of data and P by Q, one of data and Q by P.

    Raises:
        Unrecoverable: see `recover`.
    """
    found = recover(geometry, row, left, lost)
    return found[lost[0]], found[lost[1]]


def _recover_data(geometry: Geometry, row: Row, left: Pages, lost: list[int]) -> dict[int, bytes]:
    if not lost:
        return {}
    data = {device: left[device] for device in row.data if device in left}
    if len(lost) == 1 and row.pd_idx in left:
        return {lost[0]: xor_pages((left[row.pd_idx], *data.values()))}
    assert row.qd_idx is not None  # else too many were lost
    exponents = geometry.q_exponents(row)
    # Q of what is left, against Q of all: the sum of g**e times what is lost.
    q_rest = xor_pages((left[row.qd_idx], *([_q(geometry, row, data)] if data else [])))
    if len(lost) == 1:
        return {lost[0]: _times_power(q_rest, -exponents[lost[0]])}
    first, second = lost
    p_rest = xor_pages((left[row.pd_idx], *data.values()))
    # first + second = p_rest and g**a first + g**b second = q_rest give (g**a + g**b) first.
    a, b = exponents[first], exponents[second]
    share = xor_pages((q_rest, _times_power(p_rest, b)))
    found = _times_power(share, -_logarithm(_power(a) ^ _power(b)))
    return {first: found, second: xor_pages((p_rest, found))}


def _q(geometry: Geometry, row: Row, data: Pages) -> bytes:
    exponents = geometry.q_exponents(row)
    return q_syndrome({exponents[device]: page for device, page in data.items()})


def _parities(row: Row) -> tuple[int, ...]:
    return tuple(device for device in (row.pd_idx, row.qd_idx) if device is not None)


def _times_power(page: bytes, exponent: int) -> bytes:
    return q_syndrome({exponent % _ORDER: page})


def _power(exponent: int) -> int:
    return _times_power(b"\x01", exponent)[0]


@cache
def _logarithm(value: int) -> int:
    return next(exponent for exponent in range(_ORDER) if _power(exponent) == value)
