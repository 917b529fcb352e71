"""What an administrator may ask of an array with a journal: policies, read-only, suspended."""

from dataclasses import replace

from harness.campaign.scenarios.verbs import (
    SMALL,
    WRITE_BACK,
    Assemble,
    Check,
    CutPower,
    DamageParity,
    During,
    Expect,
    FillCache,
    Flush,
    Mdadm,
    Oracle,
    ReadBack,
    Reboot,
    Scenario,
    Set,
    Stop,
    Write,
)

OTHER = (
    "--create /dev/md1 --run --level=5 --raid-devices=3 {spare0} {spare1} {spare2}"
    " --write-journal={journal}"
)

SCENARIOS = (
    Scenario(
        claim="a policy that the journal rules out is refused",
        steps=(
            Set("consistency_policy", "ppl", refused=True),
            Set("consistency_policy", "bitmap", refused=True),
            Set("consistency_policy", "resync", refused=True),
            Expect("consistency_policy", "^journal$"),
            Write(),
            Flush(),
        ),
    ),
    Scenario(
        claim="an array is made read only and writable again",
        steps=(
            Write(),
            Flush(),
            Mdadm("--readonly {array}"),
            ReadBack(),
            Mdadm("--readwrite {array}"),
            Write(),
            Flush(),
            ReadBack(),
            Check(),
        ),
    ),
    Scenario(
        claim="a dirty cache survives read only",
        needs=WRITE_BACK,
        steps=(
            FillCache(share=0.25),
            Mdadm("--readonly {array}"),
            ReadBack(),
            Mdadm("--readwrite {array}"),
            Write(),
            Flush(),
            ReadBack(),
        ),
    ),
    Scenario(
        claim="a clean array is assembled read only",
        steps=(
            Write(),
            Flush(),
            Stop(),
            Assemble(options="--readonly"),
            ReadBack(),
            Mdadm("--readwrite {array}"),
            Write(),
            Flush(),
            ReadBack(),
        ),
    ),
    Scenario(
        claim="a crashed array that is assembled read only is whole once it is writable",
        steps=(
            Write(),
            Flush(),
            Write(),
            CutPower(),
            Assemble(options="--readonly"),
            Mdadm("--readwrite {array}"),
            ReadBack(),
            Check(),
            Write(),
            Flush(),
            ReadBack(),
        ),
    ),
    Scenario(
        claim="suspended writes wait and go on",
        steps=(
            During(
                (
                    Set("suspend_lo", "0"),
                    Set("suspend_hi", "65536"),
                    Expect("suspend_hi", "65536"),
                    Set("suspend_hi", "0"),
                )
            ),
            Flush(),
            ReadBack(),
            Check(),
        ),
    ),
    Scenario(
        claim="a check beside writes finds nothing",
        steps=(Write(), During((Check(),)), Flush(), ReadBack(), Check()),
        quick=True,
    ),
    Scenario(
        claim="a check beside a dirty cache finds nothing",
        needs=WRITE_BACK,
        steps=(FillCache(share=0.25), Check(), ReadBack(), Flush(), Stop(), Assemble(), Check()),
    ),
    Scenario(
        claim="parity that was damaged is found and repaired",
        steps=(
            Write(),
            Flush(),
            Stop(),
            Assemble(),
            DamageParity(),
            Check(mismatches=True),
            Check(repair=True, mismatches=True),
            Check(),
            ReadBack(),
        ),
        oracles=(Oracle.ALIVE, Oracle.CONTENTS),
        why="the order is broken on purpose: a member is written to behind md's back",
    ),
    Scenario(
        claim="a repair beside writes leaves parity that fits",
        needs=replace(SMALL, members=5),
        steps=(
            Write(),
            During((Check(repair=True),)),
            Flush(),
            Check(),
            Reboot(),
            Assemble(),
            ReadBack(),
        ),
    ),
    Scenario(
        claim="an array is idle and frozen and takes writes all the same",
        steps=(
            Set("sync_action", "frozen"),
            Write(),
            Flush(),
            Set("sync_action", "idle"),
            Write(),
            Flush(),
            ReadBack(),
            Check(),
        ),
    ),
    Scenario(
        claim="a device that is of an array is not taken for another one",
        needs=replace(SMALL, spares=3),
        steps=(
            Write(),
            Flush(),
            Mdadm(OTHER, refused="(?i)busy|in use|cannot open"),
            Write(),
            Flush(),
            ReadBack(),
        ),
    ),
)
