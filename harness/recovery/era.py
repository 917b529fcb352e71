"""Eras of the recovery code: what differs between them, as data side by side.

Format document, sections 0.2, 4.3 to 4.7. An era is named by the first kernel that has it. A field
holds a fact or a small function; nothing elsewhere asks for an era by its name.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass

from harness.errors import BadInput


class Unit(enum.Enum):
    """What is verified as a whole, and written or dropped as a whole."""

    STRIPE = "stripe by stripe, written while the log is read"
    META_BLOCK = "a meta block with all its pages, stripes written at the end"


class Bounds(enum.Enum):
    """How far a descriptor's size is trusted."""

    NONE = "entirely: a hostile size makes the kernel read beyond the block"
    FIT = "a descriptor must end inside meta_size"
    FIT_AND_HOLD = "and must announce the pages that its type has"


class NewLog(enum.Enum):
    """What is written when the block at the tail is bad and a new log begins."""

    NOTHING = "nothing"
    ONE_META_BLOCK = "an empty meta block at 0"
    TWO_META_BLOCKS = "an empty meta block at 0, and a second one by the recovery that follows"


class DataOnly(enum.Enum):
    """What becomes of stripes that have data in the log and no parity."""

    NOT_KNOWN = "there are none: the next parity closes them"
    LOGGED_ANEW = "logged anew, left in the stripe cache"
    WRITTEN_OUT = "logged anew, then written to the members"


@dataclass(frozen=True, slots=True)
class Ending:
    """How a scan ended, for the rule on the empty meta block."""

    first_seq: int  # of the meta block at the tail
    next_seq: int  # one past the last that was accepted or dropped
    data_only: int


def _after_two_meta_blocks(ending: Ending) -> bool:
    # A comparison of unsigned 64-bit numbers: next to 2**64 the right side wraps.
    return ending.next_seq > (ending.first_seq + 1) % 2**64


def _after_one_meta_block(ending: Ending) -> bool:
    # Linux kernel commit 9a8b27fac5bb (in v4.9-rc3), id from the format document, section 4.5.
    return ending.next_seq > ending.first_seq


def _without_data_only(ending: Ending) -> bool:
    return ending.data_only == 0


@dataclass(frozen=True, slots=True)
class Era:
    """How one generation of ``raid5-cache.c`` recovers, where that changes an outcome."""

    name: str
    unit: Unit
    # Added to the sequence number after a scan, so that old metas cannot follow on new ones.
    sequence_jump: int
    writes_empty_meta: Callable[[Ending], bool]
    new_log: NewLog
    bounds: Bounds
    knows_flush: bool
    data_only: DataOnly
    reports: bool  # whether the kernel's log tells what was recovered
    # raid5_run took no notice of a log that could not be loaded (format document, 4.0 step 2).
    starts_without_log: bool

    @property
    def reads_ahead(self) -> bool:
        """Whether the log is read through a pool of pages, which came with FLUSH (4.12)."""
        return self.knows_flush

    @property
    def ignored_trailing_bytes(self) -> int:
        """Bytes behind the last descriptor that are padding; more are a broken descriptor."""
        return 3 if self.bounds is Bounds.FIT_AND_HOLD else 0


# One row for each era, one column for each thing that ever changed (format document, 4.7).
# Message: the lines were debug messages until about 4.20 (4.5).
# fmt: off
_TABLE = (
    # name          unit             jump   empty meta when         new log
    #   bounds               flush  data-only             message  starts without
    Era("4.4-rc1",  Unit.STRIPE,        10, _after_two_meta_blocks, NewLog.NOTHING,
        Bounds.NONE,         False, DataOnly.NOT_KNOWN,   False,   True),
    Era("4.4",      Unit.STRIPE,        10, _after_two_meta_blocks, NewLog.NOTHING,
        Bounds.NONE,         False, DataOnly.NOT_KNOWN,   False,   True),
    Era("4.9",      Unit.STRIPE,        10, _after_one_meta_block,  NewLog.TWO_META_BLOCKS,
        Bounds.NONE,         False, DataOnly.NOT_KNOWN,   False,   True),
    Era("4.10",     Unit.META_BLOCK, 10000, _without_data_only,     NewLog.ONE_META_BLOCK,
        Bounds.NONE,         False, DataOnly.LOGGED_ANEW, False,   False),
    Era("4.11",     Unit.META_BLOCK, 10000, _without_data_only,     NewLog.ONE_META_BLOCK,
        Bounds.NONE,         False, DataOnly.WRITTEN_OUT, False,   False),
    Era("4.12",     Unit.META_BLOCK, 10000, _without_data_only,     NewLog.ONE_META_BLOCK,
        Bounds.NONE,         True,  DataOnly.WRITTEN_OUT, True,    False),
    Era("6.1.175",  Unit.META_BLOCK, 10000, _without_data_only,     NewLog.ONE_META_BLOCK,
        Bounds.FIT,          True,  DataOnly.WRITTEN_OUT, True,    False),
    Era("6.12.117", Unit.META_BLOCK, 10000, _without_data_only,     NewLog.ONE_META_BLOCK,
        Bounds.FIT_AND_HOLD, True,  DataOnly.WRITTEN_OUT, True,    False),
)
# fmt: on
ERAS = {era.name: era for era in _TABLE}
NEWEST_ERA = ERAS["6.12.117"]


def era_named(name: str) -> Era:
    """Return the era called *name*.

    Raises:
        BadInput: with the names that are known.
    """
    if name not in ERAS:
        raise BadInput(f"era {name!r}: not known; known: {', '.join(ERAS)}")
    return ERAS[name]
