"""What a scenario is: a claim, what it needs, steps, and the oracles that it asks for."""

from __future__ import annotations

import enum
import importlib.util
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

from harness.campaign.scenarios.stage import Stage
from harness.crash.trace import Cache
from harness.crash.workload import JournalMode
from harness.errors import BadInput
from harness.md.shape import Shape

CLAIM = re.compile(r"[a-z0-9][a-z0-9 %]*[a-z0-9%]")


class GuestKind(enum.Enum):
    """What a scenario runs in."""

    TINY = "tiny"  # an initramfs without udev: explored by the thousand
    FULL = "full"  # a Debian with systemd and udev


class Oracle(enum.Enum):
    """What judges a scenario, beside each step's own expectation."""

    ALIVE = "alive"  # nothing hangs, the kernel does not complain
    CONTENTS = "contents"  # what is on the disks at the end, with parity that fits
    ORDER = "order"  # on the trace: the log before the members, and all its rules


EVERY_ORACLE = tuple(Oracle)
# Members that lose nothing they have completed: what volatile caches do to md's order of writes is
# what explorations are for. Stories about power give theirs a cache.
SMALL = Shape(chunk_bytes=16384, journal_bytes=1 << 20, member_cache=Cache.WRITE_THROUGH)
WRITE_BACK = replace(SMALL, mode=JournalMode.WRITE_BACK)


class Verb:
    """A step. A frozen dataclass whose fields are its parameters; *words* name what it does."""

    words: ClassVar[str]

    def do(self, stage: Stage) -> None:
        """Do it, and judge what came of it."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """A story. Its name is its claim with dashes."""

    claim: str  # lower case, plain words
    steps: tuple[Verb, ...]
    needs: Shape = SMALL
    guest: GuestKind = GuestKind.TINY
    oracles: Sequence[Oracle] = EVERY_ORACLE
    memory_mib: int = 160  # of the guest: many stripes in md's cache take more
    injects: bool = False  # needs a kernel that can fail its own allocations: a debug kernel
    quick: bool = False  # among those that `mdjournal test` runs
    why: str = ""  # a note for who reads the list: what it is about, why an oracle is left out

    @property
    def name(self) -> str:
        """How commands call it."""
        return self.claim.replace(" ", "-").replace("%", "-percent")

    @property
    def sequence(self) -> str:
        """Its steps without their parameters."""
        return ", ".join(step.words for step in self.steps)


def read_scenarios(folder: Path) -> tuple[Scenario, ...]:
    """Return all scenarios of a folder's files, file by file, in the order of their lines.

    Raises:
        BadInput: a file cannot be read as Python, two have one name, or a claim is no plain words.
    """
    found: dict[str, Scenario] = {}
    for path in sorted(folder.glob("[a-z]*.py")):
        for scenario in _scenarios_of(path):
            if not CLAIM.fullmatch(scenario.claim):
                raise BadInput(
                    f"{path.name}: {scenario.claim!r} is no claim in plain lower-case words"
                )
            if scenario.name in found:
                raise BadInput(f"{path.name}: there is a scenario {scenario.name} already")
            found[scenario.name] = scenario
    return tuple(found.values())


def _scenarios_of(path: Path) -> list[Scenario]:
    name = f"mdjournal_scenarios.{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # whatever a stranger's file raises, it is told with its place
        raise BadInput(f"{path}: {type(error).__name__}: {error}") from error
    scenarios = getattr(module, "SCENARIOS", None)
    if not isinstance(scenarios, tuple | list):
        raise BadInput(f"{path}: has no SCENARIOS, a tuple of them")
    return list(scenarios)
