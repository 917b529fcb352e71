"""Arrays that are new: with their first sync and without, and what a journal rules out."""

from dataclasses import replace

from harness.campaign.scenarios.verbs import (
    SMALL,
    Assemble,
    Check,
    Create,
    CutPower,
    During,
    Expect,
    Flush,
    Level,
    Mdadm,
    ReadBack,
    Scenario,
    Stop,
    WaitUntilIdle,
    Write,
)

REFUSED = "(?i)journal|cannot|not supported|failed|impossible|busy|aborting"
MIRROR = (
    "--create /dev/md1 --run --level=1 --raid-devices=2 {spare0} {spare1} --write-journal={spare2}"
)
SYNCED = Create(assume_clean=False)

SCENARIOS = (
    Scenario(
        claim="an array in its first sync takes writes and a stop",
        steps=(SYNCED, Write(), Flush(), Stop(), Assemble(), WaitUntilIdle(), ReadBack(), Check()),
    ),
    Scenario(
        claim="a first sync beside writes ends with parity that fits",
        steps=(SYNCED, During((WaitUntilIdle(),)), Flush(), ReadBack(), Check()),
    ),
    Scenario(
        claim="power lost in the first sync costs nothing that was flushed",
        needs=replace(SMALL, level=Level.RAID6, members=4),
        steps=(
            SYNCED,
            Write(),
            Flush(),
            Write(),
            CutPower(),
            Assemble(),
            WaitUntilIdle(),
            ReadBack(),
            Check(),
        ),
    ),
    Scenario(
        claim="a new array says that its policy is the journal",
        steps=(
            Expect("consistency_policy", "^journal$"),
            Expect("journal_mode", r"\[write-through\]"),
            Mdadm("--detail {array}", says=r"(?m)^\s*Consistency Policy : journal"),
            Mdadm("--examine {journal}", says="(?i)journal"),
            Write(),
            Flush(),
        ),
        quick=True,
    ),
    Scenario(
        claim="growing an array with a journal is refused",
        needs=replace(SMALL, spares=1),
        steps=(
            Write(),
            Flush(),
            Mdadm("{array} --add {spare0}"),
            Mdadm("--grow {array} --raid-devices=4", refused=REFUSED),
            ReadBack(),
            Mdadm("--grow {array} --size=max", refused=REFUSED),
            ReadBack(),
            Mdadm("--grow {array} --chunk=32", refused=REFUSED),
            Write(),
            Flush(),
            ReadBack(),
            Check(),
        ),
    ),
    Scenario(
        claim="another level is refused with a journal",
        needs=replace(SMALL, members=4),
        steps=(
            Write(),
            Flush(),
            Mdadm("--grow {array} --level=0", refused=REFUSED),
            Write(),
            Flush(),
            ReadBack(),
            Check(),
        ),
    ),
    Scenario(
        claim="a bitmap beside the journal is refused",
        steps=(
            Write(),
            Flush(),
            Mdadm("--grow {array} --bitmap=internal", refused="(?i)journal|bitmap"),
            ReadBack(),
            Write(),
            Flush(),
        ),
    ),
    Scenario(
        claim="a journal for an array that is not of parity is refused",
        needs=replace(SMALL, spares=3),
        steps=(
            Write(),
            Mdadm(MIRROR, refused="(?i)journal"),
            Flush(),
            ReadBack(),
        ),
    ),
)
