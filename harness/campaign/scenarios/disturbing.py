"""Verbs that take something away: power, disks, memory, promises."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from harness.campaign.scenarios.scenario import Verb
from harness.campaign.scenarios.stage import Stage
from harness.crash.states import Loss
from harness.md.shape import JOURNAL_NAME, MEMBER_OFFSET_SECTORS, member_name
from harness.ondisk.units import BLOCK_BYTES, BLOCK_SECTORS, SECTOR_BYTES, ArraySector
from harness.storage.faults import HEAL, Fault, FaultKind, encode_fault
from harness.verdict.durability import JOURNAL_FAILED

_DAMAGE = b"damaged " * (BLOCK_BYTES // 8)


@dataclass(frozen=True, slots=True)
class Reboot(Verb):
    """Power the machine off as its kernel does, without stopping the array, and start it again."""

    words: ClassVar[str] = "reboot"

    def do(self, stage: Stage) -> None:
        """Reboot."""
        stage.rig.reboot()
        stage.is_up = False


@dataclass(frozen=True, slots=True, kw_only=True)
class CutPower(Verb):
    """Take the power away; caches lose what they may."""

    words: ClassVar[str] = "cut power"

    loss: Loss = Loss.ALL

    def do(self, stage: Stage) -> None:
        """Cut it, and start the machine again."""
        stage.cut_power(self.loss)


@dataclass(frozen=True, slots=True, kw_only=True)
class Inject(Verb):
    """From now on a disk fails requests, lets them hang, or serves them slowly."""

    words: ClassVar[str] = "inject"

    disk: str
    kind: FaultKind = FaultKind.ERROR
    operations: tuple[str, ...] = ()  # "read", "write", "flush", "trim", "zeroes"; empty: all
    skip: int = 0  # requests that pass first
    count: int = 0  # 0: until it is healed
    offset: int = 0  # bytes of the disk
    length: int = 0
    delay_ms: int = 0

    def do(self, stage: Stage) -> None:
        """Tell the disk server, in the order of the trace."""
        fault = Fault(
            disk=self.disk, kind=self.kind, operations=self.operations, skip=self.skip,
            count=self.count, offset=self.offset, length=self.length, delay_ms=self.delay_ms,
        )  # fmt: skip
        stage.mark(encode_fault(fault))


@dataclass(frozen=True, slots=True)
class Heal(Verb):
    """A disk is well again; what hung goes on."""

    words: ClassVar[str] = "heal"

    disk: str

    def do(self, stage: Stage) -> None:
        """Tell the disk server."""
        stage.mark(f"{HEAL}{self.disk}")


@dataclass(frozen=True, slots=True)
class Unplug(Verb):
    """A disk is taken out of the running machine."""

    words: ClassVar[str] = "unplug"

    disk: str

    def do(self, stage: Stage) -> None:
        """Take it out."""
        if self.disk == JOURNAL_NAME:
            stage.mark(JOURNAL_FAILED)
        stage.rig.unplug(self.disk)


@dataclass(frozen=True, slots=True)
class DamageParity(Verb):
    """Overwrite a parity page of the first stripe that was written to, behind md's back."""

    words: ClassVar[str] = "damage parity"

    def do(self, stage: Stage) -> None:
        """Write to the member itself; md and the page cache know nothing of it."""
        geometry = stage.shape.geometry
        page = stage.written.pages(geometry)[0]
        place = geometry.place(ArraySector(page * BLOCK_SECTORS))
        member = stage.node(member_name(geometry.row_at(place.sector).pd_idx))
        offset = (MEMBER_OFFSET_SECTORS + place.sector) * SECTOR_BYTES
        stage.call("write_bytes", path=member, offset=offset, hex=_DAMAGE.hex())


@dataclass(frozen=True, slots=True, kw_only=True)
class UseMemory(Verb):
    """Take the guest's memory, but for a little."""

    words: ClassVar[str] = "use memory"

    leave_mib: int = 12

    def do(self, stage: Stage) -> None:
        """Take it."""
        stage.call("use_memory", leave_mib=self.leave_mib)


@dataclass(frozen=True, slots=True)
class GiveMemoryBack(Verb):
    """Give back what `UseMemory` took."""

    words: ClassVar[str] = "give memory back"

    def do(self, stage: Stage) -> None:
        """Give it back."""
        stage.call("give_memory_back")


@dataclass(frozen=True, slots=True)
class ExpectLoss(Verb):
    """From here on nothing that was written may be counted on, since the story took it away."""

    words: ClassVar[str] = "expect loss"

    why: str

    def do(self, stage: Stage) -> None:
        """Doubt all of it; what is read must still be a write's, whole, or what was before."""
        stage.written.doubt(0)


@dataclass(frozen=True, slots=True)
class ExpectUnflushedLoss(Verb):
    """What no flush has covered may be gone from here on."""

    words: ClassVar[str] = "expect unflushed loss"

    why: str

    def do(self, stage: Stage) -> None:
        """Doubt it."""
        stage.doubt_unflushed()
