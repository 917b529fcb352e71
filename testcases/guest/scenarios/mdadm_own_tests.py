"""What mdadm's two tests of the journal are after, with what they miss: both levels, read back.

``20raid5journal``: detail, examine, assembly without the journal, incremental assembly.
``21raid5cache``: what a write back cache holds outlives a stop; the real test passes its level on
to nothing, and never looks at RAID-6. In both udev is kept out: it adds members to an array that
mdadm has just refused to start.
"""

from dataclasses import replace

from harness.campaign.scenarios.verbs import (
    SMALL,
    WRITE_BACK,
    Assemble,
    Check,
    Expect,
    Fail,
    FillCache,
    Flush,
    GuestKind,
    JournalMode,
    Level,
    Mdadm,
    ReadBack,
    Scenario,
    Stop,
    StopUdevAssembling,
    Switch,
    WaitForArray,
    Write,
)

FULL = GuestKind.FULL
SIX = replace(WRITE_BACK, level=Level.RAID6, members=4)

SCENARIOS = (
    Scenario(
        claim="a journal is shown and needed and awaited by mdadm",
        guest=FULL,
        needs=replace(SMALL, members=4),
        steps=(
            StopUdevAssembling(),
            Write(),
            Flush(),
            Mdadm("--detail {array}", says=r"(?m)^\s*Consistency Policy : journal"),
            Mdadm("--detail {array}", says=r"(?m)\sjournal\s+/dev/"),
            Mdadm("--examine {journal}", says=r"(?m)^\s*Device Role : Journal"),
            Stop(),
            Assemble(without=("journal",), refused="(?i)journal"),
            Mdadm("--incremental {member0}"),
            Mdadm("--incremental {member1}"),
            Mdadm("--incremental {member2}"),
            Mdadm("--incremental {member3}"),
            Expect("array_state", "^inactive$"),
            Mdadm("--incremental {journal}"),
            WaitForArray(),
            ReadBack(),
            Write(),
            Flush(),
            Stop(),
            Assemble(without=("journal",), options="--force"),
            Expect("array_state", "^readonly$"),
            ReadBack(),
        ),
    ),
    *(
        Scenario(
            claim=f"a write back cache of raid {needs.level:d} outlives a stop and a lost member",
            guest=FULL,
            needs=needs,
            steps=(
                StopUdevAssembling(),
                FillCache(share=0.3),
                ReadBack(),
                Stop(),
                Assemble(),
                ReadBack(),
                Check(),
                Switch(JournalMode.WRITE_BACK),
                FillCache(share=0.3),
                Fail("member1"),
                ReadBack(),
                Stop(),
                Assemble(),
                Expect("degraded", "^1$"),
                ReadBack(),
            ),
        )
        for needs in (WRITE_BACK, SIX)
    ),
)
