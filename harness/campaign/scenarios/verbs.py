"""All that a scenario's file needs: verbs, and the words that their parameters are made of."""

from harness.campaign.scenarios.distribution import (
    CutPowerWithout,
    ExpectNoArray,
    ExpectNoWrites,
    PlugIn,
    ShutDown,
    StopUdevAssembling,
    UnplugAll,
    WaitForArray,
    WaitForLastResort,
)
from harness.campaign.scenarios.disturbing import (
    CutPower,
    DamageParity,
    ExpectLoss,
    ExpectUnflushedLoss,
    GiveMemoryBack,
    Heal,
    Inject,
    Reboot,
    Unplug,
    UseMemory,
)
from harness.campaign.scenarios.failing_allocations import (
    Allocator,
    EndAllocationFailures,
    InjectAllocationFailures,
)
from harness.campaign.scenarios.filing import (
    CutPowerUnderFiles,
    DuringFiles,
    ExpectMounted,
    Fsck,
    MakeFilesystem,
    Mount,
    MountAtBoot,
    ReadFiles,
    Unmount,
    WriteFiles,
)
from harness.campaign.scenarios.managing import (
    Add,
    Assemble,
    Check,
    Create,
    Expect,
    ExpectLog,
    ExpectStatus,
    Fail,
    Mdadm,
    Remove,
    Set,
    Stop,
    Switch,
    WaitUntilIdle,
)
from harness.campaign.scenarios.promising import (
    Clear,
    Configure,
    Exits,
    ExpectOfDisk,
    ExpectOnMembers,
    ExpectSoon,
    HotRemove,
    Incremental,
    Present,
    Promised,
    SetOfDisk,
    SetParameter,
    Starts,
    Untouched,
)
from harness.campaign.scenarios.scenario import SMALL, WRITE_BACK, GuestKind, Oracle, Scenario, Verb
from harness.campaign.scenarios.writing import (
    During,
    DuringFlushes,
    FillCache,
    Flush,
    Fsync,
    ReadBack,
    Write,
)
from harness.crash.bursts import Extent
from harness.crash.disk_kinds import Bus, Discard
from harness.crash.states import Loss
from harness.crash.trace import Cache
from harness.crash.workload import JournalMode, WriteKind
from harness.md.shape import Shape
from harness.recovery.layout import Level
from harness.storage.faults import FaultKind

__all__ = [
    "SMALL", "WRITE_BACK", "Add", "Allocator", "Assemble", "Bus", "Cache", "Check", "Clear",
    "Configure", "Create", "CutPower", "CutPowerUnderFiles", "CutPowerWithout", "DamageParity",
    "Discard", "During", "DuringFiles", "DuringFlushes", "EndAllocationFailures", "Exits",
    "Expect", "ExpectLog", "ExpectLoss", "ExpectMounted", "ExpectNoArray", "ExpectNoWrites",
    "ExpectOfDisk", "ExpectOnMembers", "ExpectSoon", "ExpectStatus", "ExpectUnflushedLoss",
    "Extent", "Fail", "FaultKind", "FillCache", "Flush", "Fsck", "Fsync", "GiveMemoryBack",
    "GuestKind", "Heal", "HotRemove", "Incremental", "Inject", "InjectAllocationFailures",
    "JournalMode", "Level", "Loss", "MakeFilesystem", "Mdadm", "Mount", "MountAtBoot", "Oracle",
    "PlugIn", "Present", "Promised", "ReadBack", "ReadFiles", "Reboot", "Remove", "Scenario",
    "Set", "SetOfDisk", "SetParameter", "Shape", "ShutDown", "Starts", "Stop",
    "StopUdevAssembling", "Switch", "Unmount", "Unplug", "UnplugAll", "Untouched", "UseMemory",
    "Verb", "WaitForArray", "WaitForLastResort", "WaitUntilIdle", "Write", "WriteFiles",
    "WriteKind",
]  # fmt: skip
