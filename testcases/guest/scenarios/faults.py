"""Disks that fail, hang or are slow, at a chosen moment."""

from dataclasses import replace

from harness.campaign.scenarios.verbs import (
    SMALL,
    WRITE_BACK,
    Assemble,
    Check,
    CutPower,
    During,
    Expect,
    Fail,
    FaultKind,
    FillCache,
    Flush,
    Heal,
    Inject,
    Level,
    ReadBack,
    Scenario,
    Stop,
    Write,
)

SIX = replace(SMALL, level=Level.RAID6, members=4)
DISK = 1024 * 1024  # where the data of a disk begins

SCENARIOS = (
    Scenario(
        claim="an error of the journal is seen by who writes",
        steps=(
            Write(),
            Flush(),
            Inject(disk="journal", operations=("write",), offset=DISK),
            Write(must_fail=True),
            ReadBack(),
        ),
        quick=True,
    ),
    Scenario(
        claim="a journal that cannot flush fails the flush",
        steps=(
            Write(),
            Flush(),
            Inject(disk="journal", operations=("flush",)),
            Write(may_fail=True),
            ReadBack(),
        ),
    ),
    Scenario(
        claim="an error of the journal under load costs nothing that was flushed",
        needs=WRITE_BACK,
        steps=(
            During(
                (Inject(disk="journal", operations=("write",), offset=DISK, skip=20),),
                load=Write(may_fail=True),
            ),
            ReadBack(),
        ),
    ),
    Scenario(
        claim="a member that cannot be written to is left out and nothing is lost",
        steps=(
            Write(),
            Flush(),
            Inject(disk="member1", operations=("write",)),
            Write(bursts=16),
            Flush(),
            Expect("degraded", "^1$"),
            ReadBack(),
            Stop(),
            Assemble(),
            ReadBack(),
        ),
        quick=True,
    ),
    Scenario(
        claim="a member that cannot be read is made up for and written anew",
        steps=(
            Write(),
            Flush(),
            Stop(),
            Assemble(),
            Inject(disk="member1", operations=("read",), offset=DISK, count=3),
            ReadBack(),
            Expect("degraded", "^0$"),
            Check(),
        ),
    ),
    Scenario(
        claim="a journal that hangs for a while holds writes up and no more",
        steps=(
            During((Inject(disk="journal", kind=FaultKind.HANG), Heal("journal"))),
            Flush(),
            ReadBack(),
            Check(),
        ),
    ),
    Scenario(
        claim="a member that hangs for a while holds writes up and no more",
        steps=(
            During(
                (
                    Inject(disk="member0", kind=FaultKind.HANG),
                    Heal("member0"),
                    Inject(disk="member1", kind=FaultKind.HANG),
                    Heal("member1"),
                )
            ),
            Flush(),
            ReadBack(),
            Check(),
        ),
    ),
    Scenario(
        claim="a slow journal is slow and no more",
        steps=(
            Inject(disk="journal", kind=FaultKind.SLOW, delay_ms=30),
            Write(),
            Flush(),
            Heal("journal"),
            ReadBack(),
            Stop(),
            Assemble(),
            Check(),
        ),
    ),
    Scenario(
        claim="a slow member does not let the log run over what is live",
        needs=replace(SMALL, journal_bytes=256 * 1024),
        steps=(
            Inject(disk="member1", kind=FaultKind.SLOW, delay_ms=20, operations=("write",)),
            Write(bursts=40),
            Flush(),
            Heal("member1"),
            ReadBack(),
            Check(),
        ),
    ),
    Scenario(
        claim="a journal that cannot be read in recovery is not taken for empty",
        steps=(
            Write(),
            Flush(),
            Write(),
            CutPower(),
            Inject(disk="journal", operations=("read",), offset=DISK),
            Assemble(refused="."),
            Heal("journal"),
            Assemble(),
            ReadBack(),
            Check(),
        ),
    ),
    Scenario(
        claim="a member that cannot be read in recovery is made up for",
        needs=replace(SMALL, journal_bytes=4 * 1024 * 1024),
        steps=(
            Write(bursts=16),
            Flush(),
            CutPower(),
            Inject(disk="member1", operations=("read",), offset=DISK),
            Assemble(),
            Heal("member1"),
            ReadBack(),
        ),
    ),
    Scenario(
        claim="a member that cannot be written to in recovery is left out",
        steps=(
            Write(bursts=16),
            Flush(),
            Write(),
            CutPower(),
            Inject(disk="member1", operations=("write",), offset=DISK),
            Assemble(),
            ReadBack(),
            Heal("member1"),
            Stop(),
            Assemble(),
            ReadBack(),
        ),
    ),
    Scenario(
        claim="raid 6 survives an error of a member beside a failed one",
        needs=SIX,
        steps=(
            Write(),
            Flush(),
            Fail("member0"),
            Inject(disk="member2", operations=("write",)),
            Write(bursts=16),
            Flush(),
            Expect("degraded", "^2$"),
            ReadBack(),
            Stop(),
            Assemble(),
            ReadBack(),
        ),
    ),
    Scenario(
        claim="a member and the journal fail together and nothing acknowledged is lost",
        steps=(
            Write(),
            Flush(),
            Inject(disk="member1"),
            Inject(disk="journal"),
            Write(may_fail=True),
            ReadBack(),
        ),
    ),
    Scenario(
        claim="a journal that cannot discard is used all the same",
        needs=replace(SMALL, journal_bytes=256 * 1024),
        steps=(
            Inject(disk="journal", operations=("trim", "zeroes")),
            Write(bursts=40),
            Flush(),
            ReadBack(),
            Heal("journal"),
            Stop(),
            Assemble(),
            Check(),
        ),
    ),
    Scenario(
        claim="a dirty cache survives an error of a member",
        needs=WRITE_BACK,
        steps=(
            FillCache(share=0.25),
            Inject(disk="member2", operations=("write",)),
            Flush(),
            Stop(),
            Assemble(),
            ReadBack(),
        ),
    ),
)
