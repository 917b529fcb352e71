"""Which oracles look at which states: some cost a kernel little, others as much as a recovery.

What is sampled is drawn from the seed and the state's number, so that it is the same again whoever
judges it.
"""

from __future__ import annotations

import enum
import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType


class Sampled(enum.Enum):
    """Oracles that can be asked for every n-th state only; the others judge every state."""

    CHECK = "check"  # md's own check of the redundancy
    DEGRADED = "degraded"  # read back with each member missing, on RAID-6 each two
    SECOND = "second"  # what recovery left is recovered once more
    INTERRUPTED = "interrupted"  # the power goes during recovery: all crash states of that


FEW = MappingProxyType({
    Sampled.CHECK: 1 / 4, Sampled.DEGRADED: 1 / 8, Sampled.SECOND: 1 / 4,
    Sampled.INTERRUPTED: 1 / 16,
})  # fmt: skip
EVERY = MappingProxyType(dict.fromkeys(Sampled, 1.0))
NONE: Mapping[Sampled, float] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Oracles:
    """What share of the states each sampled oracle looks at."""

    shares: Mapping[Sampled, float] = field(default_factory=lambda: FEW)

    def look_at(self, oracle: Sampled, *, seed: int, number: int) -> bool:
        """Whether an oracle looks at state *number*."""
        share = self.shares.get(oracle, 0.0)
        return random.Random(f"{oracle.value} {seed} {number}").random() < share

    def __str__(self) -> str:
        """Name them as ``--oracles`` takes them, and as a store of results knows them."""
        return ",".join(f"{o.value}={self.shares.get(o, 0.0):.4g}" for o in Sampled)
