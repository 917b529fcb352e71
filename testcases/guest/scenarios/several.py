"""Several arrays in one machine, and journals that are given to the wrong one."""

from dataclasses import replace

from harness.campaign.scenarios.verbs import (
    SMALL,
    Assemble,
    Check,
    CutPower,
    Flush,
    Mdadm,
    ReadBack,
    Scenario,
    Stop,
    Write,
)

OTHER = (
    "--create /dev/md1 --run --level=5 --raid-devices=3 --assume-clean {spare0} {spare1} {spare2}"
    " --write-journal={spare3}"
)
FOUR = replace(SMALL, spares=4)

SCENARIOS = (
    Scenario(
        claim="two arrays with journals live side by side",
        needs=FOUR,
        steps=(
            Mdadm(OTHER),
            Write(),
            Flush(),
            ReadBack(),
            Mdadm("--stop /dev/md1"),
            Write(),
            Flush(),
            Stop(),
            Assemble(),
            ReadBack(),
            Check(),
        ),
    ),
    Scenario(
        claim="both arrays come back after a power cut",
        needs=FOUR,
        steps=(
            Mdadm(OTHER),
            Write(),
            Flush(),
            CutPower(),
            Assemble(),
            Mdadm("--assemble /dev/md1 {spare0} {spare1} {spare2} {spare3}"),
            ReadBack(),
            Check(),
            Mdadm("--stop /dev/md1"),
        ),
    ),
    Scenario(
        claim="the journal of another array is refused",
        needs=FOUR,
        steps=(
            Mdadm(OTHER),
            Write(),
            Flush(),
            Mdadm("--stop /dev/md1"),
            Stop(),
            Mdadm("--assemble {array} {member0} {member1} {member2} {spare3}", refused="."),
            Assemble(),
            ReadBack(),
            Check(),
        ),
    ),
)
