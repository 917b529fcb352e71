"""Verbs that make the kernel's allocations fail: for a kernel that was built to inject failures.

What they set is described in the kernel's Documentation/fault-injection/fault-injection.rst.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

from harness.campaign.scenarios.scenario import Verb
from harness.campaign.scenarios.stage import Stage
from harness.errors import CommandFailed

_DEBUGFS = "/sys/kernel/debug"
_SLABS = "/sys/kernel/slab"
_WITHOUT_END = 1_000_000  # failures; what is left of them says how many there were
_DEEPEST = 32  # callers that are looked through for the module: the kernel's own limit
_PAGE_BYTES = 4096


class Allocator(enum.Enum):
    """Whose allocations fail: the name of a folder of debugfs."""

    SLAB = "failslab"
    PAGES = "fail_page_alloc"


BOTH = tuple(Allocator)


@dataclass(frozen=True, slots=True, kw_only=True)
class InjectAllocationFailures(Verb):
    """From now on allocations fail that a module asks for, itself or through what it calls."""

    words: ClassVar[str] = "inject allocation failures"

    allocators: tuple[Allocator, ...] = BOTH
    percent: int = 20
    module: str = "raid456"  # must be a module; "": whoever asks
    function: str = ""  # of the module: only what this one asks for
    cache: str = ""  # slabs only: of this cache alone, such as r5l_io_unit
    may_sleep: bool = True  # also those that may wait for memory, and so hardly ever fail
    count: int = _WITHOUT_END

    def do(self, stage: Stage) -> None:
        """Set it up; the last thing that is written lets it begin."""
        _require_injection(stage)
        if self.cache:
            _choose_cache(stage, self.cache)
        bounds = _bounds(stage, self.module, self.function) if self.module else (0, 0)
        for allocator in self.allocators:
            settings = {
                "interval": "1", "space": "0", "verbose": "0", "task-filter": "N",
                "ignore-gfp-wait": "N" if self.may_sleep else "Y",
                "times": str(self.count),
            }  # fmt: skip
            if allocator is Allocator.SLAB:
                settings["cache-filter"] = "Y" if self.cache else "N"
            else:
                settings |= {"min-order": "0", "ignore-gfp-highmem": "N"}
            settings |= {
                "stacktrace-depth": str(_DEEPEST if self.module else 0),
                "require-start": hex(bounds[0]), "require-end": hex(bounds[1]),
                "probability": str(self.percent),
            }  # fmt: skip
            for name, value in settings.items():
                stage.rig.guest.write_text(f"{_DEBUGFS}/{allocator.value}/{name}", value)


@dataclass(frozen=True, slots=True, kw_only=True)
class EndAllocationFailures(Verb):
    """Allocations succeed again; some must have failed."""

    words: ClassVar[str] = "end allocation failures"

    count: int = _WITHOUT_END  # as it was given to `InjectAllocationFailures`
    allocators: tuple[Allocator, ...] = BOTH

    def do(self, stage: Stage) -> None:
        """End it, and count."""
        guest, failed = stage.rig.guest, 0
        for allocator in self.allocators:
            folder = f"{_DEBUGFS}/{allocator.value}"
            guest.write_text(f"{folder}/probability", "0")
            failed += self.count - int(guest.read_text(f"{folder}/times"))
        stage.require(failed > 0, f"allocations failed: {failed}")


def text_bounds(symbols: Iterable[str], function: str = "") -> tuple[int, int] | None:
    """Return where a module's code lies, or one function's, by its lines of /proc/kallsyms.

    None where there is no such code, or where addresses are kept secret. The last function ends a
    page behind its start: how long it is nobody says.
    """
    matches = (re.match(r"([0-9a-f]+) [tT] (\S+)", line) for line in symbols)
    places = sorted((int(match[1], 16), match[2]) for match in matches if match)
    if not places or not places[0][0]:
        return None
    ends = [*(start for start, _ in places[1:]), places[-1][0] + _PAGE_BYTES]
    if not function:
        return places[0][0], ends[-1]
    found = ((s, end) for (s, name), end in zip(places, ends, strict=True) if name == function)
    return next(found, None)


def _require_injection(stage: Stage) -> None:
    """Mount debugfs.

    Raises:
        CommandFailed: the kernel was not built to inject failures.
    """
    guest = stage.rig.guest
    mounted = guest.run(
        ["/bin/busybox", "mount", "-t", "debugfs", "none", _DEBUGFS], deadline_s=60
    )  # busy where it is mounted already
    there = stage.call("list_paths", pattern=f"{_DEBUGFS}/failslab/stacktrace-depth")["paths"]
    if not there:
        raise CommandFailed(
            f"guest: its kernel cannot inject failures into allocations: {mounted.output.strip()}\n"
            "next: take a debug kernel from 6.12 on: tools/mdjournal images build-kernel"
        )


def _bounds(stage: Stage, module: str, function: str) -> tuple[int, int]:
    grep = ["/bin/busybox", "grep", f"\\[{module}\\]$", "/proc/kallsyms"]
    symbols = stage.rig.guest.run(grep, deadline_s=60).output.splitlines()
    if (bounds := text_bounds(symbols, function)) is None:
        raise CommandFailed(f"guest: its kernel says no address of {function or 'any'} of {module}")
    return bounds


def _choose_cache(stage: Stage, cache: str) -> None:
    path = f"{_SLABS}/{cache}/failslab"
    if not stage.call("list_paths", pattern=path)["paths"]:
        raise CommandFailed(f"guest: no slab cache is called {cache}, or it is merged with others")
    stage.rig.guest.write_text(path, "1")
