"""Eras of the recovery code: what differs between them, as data side by side.

Format document, sections 0.2, 4.1 and 4.7. An era is named by the first kernel that has it.
"""

from __future__ import annotations

from dataclasses import dataclass

from harness.errors import BadInput


@dataclass(frozen=True, slots=True, kw_only=True)
class Era:
    """How one generation of ``raid5-cache.c`` reads a log, where that changes an outcome."""

    name: str
    # Added to the sequence number after a scan, so that old metas cannot follow on new ones.
    sequence_jump: int
    # Bytes behind the last descriptor that are taken for padding; more are a broken descriptor.
    ignored_trailing_bytes: int
    # Linux kernel commit 178921a801cb ("validate payload size before calculating payload_len"):
    # a descriptor must announce the pages that its type has, DATA one, PARITY one or two.
    size_must_hold_its_pages: bool


ERAS = {
    era.name: era
    for era in (
        Era(
            name="6.1.175",
            sequence_jump=10000,
            ignored_trailing_bytes=0,
            size_must_hold_its_pages=False,
        ),
        Era(
            name="6.12.117",
            sequence_jump=10000,
            ignored_trailing_bytes=3,
            size_must_hold_its_pages=True,
        ),
    )
}
NEWEST_ERA = ERAS["6.12.117"]

# Stable branch -> (first sublevel, era), newest first, from the changelogs of Debian's kernels.
# Read in the sources of Debian's 5.10.262, 6.1.192, 7.2.13 and 7.3-rc7: of these none has the
# second check, whatever its number.
_BRANCHES = {
    (6, 12): ((117, "6.12.117"), (0, "6.1.175")),
}


def era_named(name: str) -> Era:
    """Return the era called *name*.

    Raises:
        BadInput: with the names that are known.
    """
    if name not in ERAS:
        raise BadInput(f"era {name!r}: not known; known: {', '.join(ERAS)}")
    return ERAS[name]


def era_of_kernel(version: tuple[int, int, int]) -> Era:
    """Return the era of a kernel (major, minor, sublevel) as journals of real drivers see it.

    On journals that a driver wrote the two eras here agree; they part on hostile ones only.
    """
    for first, name in _BRANCHES.get(version[:2], ()):
        if version[2] >= first:
            return ERAS[name]
    return ERAS["6.1.175"]
