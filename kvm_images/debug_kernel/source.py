"""Which of Debian's packages has the source of a kernel of the catalogue."""

from __future__ import annotations

import re
from collections.abc import Iterable

from kvm_images.archive import Package, newest
from kvm_images.debug_kernel.configuration import Version
from kvm_images.kernels import Entry

PACKAGE_PREFIX = "linux-source-"

_NAME = re.compile(PACKAGE_PREFIX + r"(\d+)\.(\d+)")


def choose_source(entry: Entry, packages: Iterable[Package]) -> Package | None:
    """Return the newest source package that *entry* stands for, by Debian's order."""
    return newest(
        package
        for package in packages
        if _NAME.fullmatch(package.name)
        and package.suite in entry.suites
        and re.match(entry.version, package.version)
    )


def branch_of(package: Package) -> Version:
    """Return the branch that a source package has: (6, 12) of ``linux-source-6.12``."""
    match = _NAME.fullmatch(package.name)
    if match is None:
        raise ValueError(f"{package.name} is no kernel source package")
    return int(match[1]), int(match[2])
