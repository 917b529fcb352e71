"""Which era a kernel has: a table for each stable branch.

A fix reaches each branch at its own sublevel, so a version is looked up in its branch and never
compared with another branch's. What is known comes from the format document (sections 0.2, 4.5,
8.1) and from the sources and changelogs of Debian's kernels.
"""

from __future__ import annotations

import re

from harness.errors import BadInput
from harness.recovery.era import ERAS, Era

_VERSION = re.compile(r"(\d+)\.(\d+)(?:\.(\d+))?(?:(?:-|~)?rc(\d+))?")

# Debian's `uname -r`: 6.1.0-55-cloud-amd64 is 6.1.192.
_ABI_NAME = re.compile(r"\d+\.\d+\.0-\d+-")

# (first branch, last branch, era): branches of which every sublevel that is listed has one era.
_WHOLE_BRANCHES = (
    ((4, 4), (4, 8), "4.4"),
    ((4, 9), (4, 9), "4.9"),
    ((4, 10), (4, 10), "4.10"),
    ((4, 11), (4, 11), "4.11"),
    ((4, 12), (5, 9), "4.12"),
    ((5, 11), (5, 14), "4.12"),
    ((5, 16), (6, 0), "4.12"),
    ((6, 2), (6, 5), "4.12"),
    ((6, 7), (6, 11), "4.12"),
    ((6, 13), (6, 17), "4.12"),
)
# Long-lived branches: (first sublevel, era), newest first, and the last sublevel that was read.
_LONG_TERM = {
    (5, 10): (((258, "6.1.175"), (0, "4.12")), 262),
    (5, 15): (((0, "4.12"),), 180),  # of 2025, before the first check was written
    (6, 6): (((0, "4.12"),), 100),  # likewise
    (6, 1): (((175, "6.1.175"), (0, "4.12")), 192),
    (6, 12): (((117, "6.12.117"), (86, "6.1.175"), (0, "4.12")), 117),
    (7, 2): (((13, "6.1.175"),), 13),
    (7, 3): (((4, "6.12.117"), (0, "6.1.175")), 4),  # 7.3-rc7 and 7.3.4 were read
}


def parse_version(text: str) -> tuple[int, int, int]:
    """Return (major, minor, sublevel) of a kernel version, release or package version.

    Raises:
        BadInput: no version.
    """
    match = _VERSION.match(text)
    if match is None:
        raise BadInput(f"kernel version {text!r}: wanted something like 6.1.192")
    return int(match[1]), int(match[2]), int(match[3] or 0)


def is_version(text: str) -> bool:
    """Whether a text begins as a kernel version does."""
    return _VERSION.match(text) is not None


def era_of_version(text: str) -> Era:
    """Return the era of a kernel version.

    Raises:
        BadInput: no version, or one that the table does not cover; with the known ranges.
    """
    version = parse_version(text)
    branch, sublevel = version[:2], version[2]
    if sublevel == 0 and _ABI_NAME.match(text):
        raise BadInput(
            f"kernel version {text!r}: is Debian's name of an ABI and does not tell the sublevel;"
            " give the package's version, as in `uname -v`"
        )
    if version == (4, 4, 0) and re.search(r"rc\d", text):
        return ERAS["4.4-rc1"]
    if version == (4, 9, 0) and re.search(r"rc[12]$", text):
        return ERAS["4.4"]  # commit 9a8b27fac5bb came with 4.9-rc3
    for first, last, name in _WHOLE_BRANCHES:
        if first <= branch <= last:
            return ERAS[name]
    rows, last_read = _LONG_TERM.get(branch, ((), -1))
    if sublevel <= last_read:
        for first_sublevel, name in rows:
            if sublevel >= first_sublevel:
                return ERAS[name]
    raise BadInput(f"kernel version {text!r}: its era is not known; known: {known_ranges()}")


def era_to_run(text: str) -> Era:
    """Return the era to expect of a kernel that is run, also of one newer than any that was read.

    Where the table ends, that of the nearest row of its branch, or else "6.1.175", is expected: on
    journals that a driver wrote all eras since 4.12 agree, and a difference would show as DIFFERS.
    """
    try:
        return era_of_version(text)
    except BadInput:
        version = parse_version(text)
        rows, _ = _LONG_TERM.get(version[:2], (((0, "6.1.175"),), 0))
        return ERAS[rows[0][1]]


def known_ranges() -> str:
    """Return the versions that the table covers, in words."""
    whole = [
        "{}.{}".format(*first) + ("" if first == last else " to {}.{}".format(*last))
        for first, last, _ in _WHOLE_BRANCHES
    ]
    long_term = [
        f"{major}.{minor}.{rows[-1][0]} to {major}.{minor}.{last}"
        for (major, minor), (rows, last) in _LONG_TERM.items()
    ]
    return ", ".join(["4.4-rc", *whole, *long_term])
