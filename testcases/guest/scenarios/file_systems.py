"""File systems on a journaled array: what fsync has acknowledged is there after a power cut."""

from dataclasses import replace

from harness.campaign.scenarios.verbs import (
    SMALL,
    Add,
    Assemble,
    Check,
    CutPowerUnderFiles,
    DuringFiles,
    ExpectMounted,
    Fail,
    Fsck,
    GuestKind,
    JournalMode,
    Loss,
    MakeFilesystem,
    Mount,
    MountAtBoot,
    Oracle,
    ReadFiles,
    Scenario,
    ShutDown,
    Stop,
    Switch,
    Unmount,
    Unplug,
    WaitForArray,
    WriteFiles,
)

MIB = 1024 * 1024
FULL = GuestKind.FULL
WHY = (
    "who writes is a file system: its blocks bear no stamps, so files, md and fsck are what judges"
)
ONLY_ALIVE = (Oracle.ALIVE,)
EXT4 = replace(SMALL, component_bytes=48 * MIB, journal_bytes=8 * MIB)
XFS = replace(SMALL, component_bytes=192 * MIB, journal_bytes=8 * MIB)  # xfs takes no less

SCENARIOS = (
    *(
        Scenario(
            claim=f"files that fsync acknowledged survive on {kind} with a {cache} journal",
            guest=FULL,
            needs=needs,
            steps=(
                *((Switch(JournalMode.WRITE_BACK),) if cache == "write back" else ()),
                MakeFilesystem(kind),
                WriteFiles(),
                CutPowerUnderFiles(loss=loss),
                WaitForArray(),
                Mount(),
                ReadFiles(),
                Unmount(),
                Fsck(),
                *((Check(),) if kind == "ext4" else ()),
            ),
            oracles=ONLY_ALIVE,
            why=WHY,
        )
        for kind, needs, cache, loss in (
            ("ext4", EXT4, "write through", Loss.RANDOM),
            ("ext4", EXT4, "write back", Loss.ALL),
            ("xfs", XFS, "write through", Loss.ALL),
            ("xfs", XFS, "write back", Loss.RANDOM),
        )
    ),
    Scenario(
        claim="a boot with a dirty journal mounts the file system and loses no file",
        guest=FULL,
        needs=EXT4,
        steps=(
            MakeFilesystem("ext4"),
            MountAtBoot(),
            CutPowerUnderFiles(),
            WaitForArray(),
            ExpectMounted(),
            ReadFiles(),
            WriteFiles(),
            ShutDown("reboot"),
            WaitForArray(),
            ExpectMounted(),
            ReadFiles(),
            Unmount(),
            Fsck(),
        ),
        oracles=ONLY_ALIVE,
        why=WHY,
    ),
    Scenario(
        claim="a file system goes on beside a member that fails",
        guest=FULL,
        needs=EXT4,
        steps=(
            MakeFilesystem("ext4"),
            DuringFiles((Fail("member1"),)),
            WriteFiles(),
            CutPowerUnderFiles(),
            WaitForArray(degraded=1),
            Mount(),
            ReadFiles(),
            Unmount(),
            Fsck(),
        ),
        oracles=ONLY_ALIVE,
        why=WHY,
    ),
    Scenario(
        claim="files survive a journal that is pulled out and replaced",
        guest=FULL,
        needs=replace(EXT4, spares=1),
        steps=(
            MakeFilesystem("ext4"),
            WriteFiles(),
            DuringFiles((Unplug("journal"),), may_fail=True),
            Unmount(),
            Stop(),
            Assemble(without=("journal",), options="--force"),
            Add(disk="spare0", how="--add-journal"),
            Mount(),
            ReadFiles(),
            Unmount(),
            Fsck(),
        ),
        oracles=ONLY_ALIVE,
        why=WHY,
    ),
)
