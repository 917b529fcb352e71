"""Where md puts data, P and Q: the 21 combinations of level and layout.

Format document, section 5.1; the arithmetic of ``raid5_compute_sector`` in raid5.c. Each layout
is a row of the table: three small functions of (row, number of disks) and the order of Q.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass

from harness.errors import BadInput


class Level(enum.IntEnum):
    """The levels that can have a write journal."""

    RAID4 = 4
    RAID5 = 5
    RAID6 = 6

    @property
    def parities(self) -> int:
        """Parity blocks of each stripe: how many members may be missing."""
        return 2 if self is Level.RAID6 else 1


class QOrder(enum.Enum):
    """How the exponents of Q are counted (format document, section 5.3)."""

    FROM_D0 = "from the device after Q, parity devices skipped"  # raid6_d0, md's own layouts
    BY_DEVICE = "by device index, parity devices counted"  # the DDF layouts


@dataclass(frozen=True, slots=True)
class Row:
    """One row of chunks: the devices of P and Q, and of each data chunk in array order."""

    pd_idx: int
    qd_idx: int | None
    data: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Layout:
    """One layout of one level."""

    level: Level
    number: int
    name: str  # as mdadm spells it
    row: Callable[[int, int], Row]  # (row number, raid_disks)
    q_order: QOrder = QOrder.FROM_D0


def _around(first: int, n: int, count: int) -> tuple[int, ...]:
    return tuple((first + k) % n for k in range(count))


def _except(n: int, *parities: int) -> tuple[int, ...]:
    return tuple(device for device in range(n) if device not in parities)


def _falling(row: int, n: int) -> int:
    return n - 1 - row % n


def _rising(row: int, n: int) -> int:
    return row % n


def _raid5(pd_idx: Callable[[int, int], int], *, symmetric: bool) -> Callable[[int, int], Row]:
    def row_of(row: int, n: int) -> Row:
        p = pd_idx(row, n)
        return Row(p, None, _around(p + 1, n, n - 1) if symmetric else _except(n, p))

    return row_of


def _raid6(pd_idx: Callable[[int, int], int], *, symmetric: bool) -> Callable[[int, int], Row]:
    def row_of(row: int, n: int) -> Row:
        p = pd_idx(row, n)
        q = (p + 1) % n
        return Row(p, q, _around(q + 1, n, n - 2) if symmetric else _except(n, p, q))

    return row_of


def _q_before_p(row: int, n: int) -> Row:
    p = _falling(row, n)
    return Row(p, (p - 1) % n, _around(p + 1, n, n - 2))


def _raid5_and_q(raid5_row: Callable[[int, int], Row]) -> Callable[[int, int], Row]:
    def row_of(row: int, n: int) -> Row:
        inner = raid5_row(row, n - 1)
        return Row(inner.pd_idx, n - 1, inner.data)

    return row_of


def _fixed(number: int) -> Callable[[int, int], int]:
    return lambda _row, n: number % n


_LEFT_ASYMMETRIC = _raid5(_falling, symmetric=False)
_RIGHT_ASYMMETRIC = _raid5(_rising, symmetric=False)
_LEFT_SYMMETRIC = _raid5(_falling, symmetric=True)
_RIGHT_SYMMETRIC = _raid5(_rising, symmetric=True)
_PARITY_FIRST = _raid5(_fixed(0), symmetric=False)
_PARITY_LAST = _raid5(_fixed(-1), symmetric=False)

# fmt: off
_TABLE = (
    Layout(Level.RAID4, 0, "parity-last", _PARITY_LAST),
    Layout(Level.RAID5, 0, "left-asymmetric", _LEFT_ASYMMETRIC),
    Layout(Level.RAID5, 1, "right-asymmetric", _RIGHT_ASYMMETRIC),
    Layout(Level.RAID5, 2, "left-symmetric", _LEFT_SYMMETRIC),
    Layout(Level.RAID5, 3, "right-symmetric", _RIGHT_SYMMETRIC),
    Layout(Level.RAID5, 4, "parity-first", _PARITY_FIRST),
    Layout(Level.RAID5, 5, "parity-last", _PARITY_LAST),
    Layout(Level.RAID6, 0, "left-asymmetric", _raid6(_falling, symmetric=False)),
    Layout(Level.RAID6, 1, "right-asymmetric", _raid6(_rising, symmetric=False)),
    Layout(Level.RAID6, 2, "left-symmetric", _raid6(_falling, symmetric=True)),
    Layout(Level.RAID6, 3, "right-symmetric", _raid6(_rising, symmetric=True)),
    Layout(Level.RAID6, 4, "parity-first", _raid6(_fixed(0), symmetric=False)),
    Layout(Level.RAID6, 5, "parity-last", _raid6(_fixed(-2), symmetric=False)),
    Layout(Level.RAID6, 8, "ddf-zero-restart", _raid6(_rising, symmetric=False), QOrder.BY_DEVICE),
    Layout(Level.RAID6, 9, "ddf-N-restart",
           _raid6(lambda row, n: _falling(row + 1, n), symmetric=False), QOrder.BY_DEVICE),
    Layout(Level.RAID6, 10, "ddf-N-continue", _q_before_p, QOrder.BY_DEVICE),
    Layout(Level.RAID6, 16, "left-asymmetric-6", _raid5_and_q(_LEFT_ASYMMETRIC)),
    Layout(Level.RAID6, 17, "right-asymmetric-6", _raid5_and_q(_RIGHT_ASYMMETRIC)),
    Layout(Level.RAID6, 18, "left-symmetric-6", _raid5_and_q(_LEFT_SYMMETRIC)),
    Layout(Level.RAID6, 19, "right-symmetric-6", _raid5_and_q(_RIGHT_SYMMETRIC)),
    Layout(Level.RAID6, 20, "parity-first-6", _raid5_and_q(_PARITY_FIRST)),
)
# fmt: on

LAYOUTS = {(layout.level, layout.number): layout for layout in _TABLE}
DEFAULT_LAYOUT = {Level.RAID4: 0, Level.RAID5: 2, Level.RAID6: 2}  # mdadm's choice at --create


def layout_of(level: Level, number: int) -> Layout:
    """Return the layout that a superblock names by *number*; RAID-4 has one whatever it says.

    Raises:
        BadInput: md has no such layout for that level.
    """
    found = LAYOUTS.get((level, 0 if level is Level.RAID4 else number))
    if found is None:
        known = ", ".join(str(n) for lv, n in LAYOUTS if lv is level)
        raise BadInput(f"layout {number}: RAID-{level:d} has no such layout; known: {known}")
    return found


def layout_named(level: Level, name: str) -> Layout:
    """Return the layout that mdadm calls *name*.

    Raises:
        BadInput: with the names that this level knows.
    """
    for layout in _TABLE:
        if layout.level is level and layout.name == name:
            return layout
    known = ", ".join(lay.name for lay in _TABLE if lay.level is level)
    raise BadInput(f"layout {name!r}: RAID-{level:d} has no such layout; known: {known}")
