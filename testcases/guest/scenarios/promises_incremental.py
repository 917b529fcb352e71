"""What mdadm(8) and mdadm.conf(5) promise of arrays that come up disk by disk or from a file.

As in promises.py: a step that is `Promised` states what the document says, whether or not it is so.
"""

from harness.campaign.scenarios.verbs import (
    SMALL,
    Assemble,
    Check,
    Configure,
    CutPower,
    Exits,
    Expect,
    Flush,
    HotRemove,
    Incremental,
    Mdadm,
    Promised,
    ReadBack,
    Scenario,
    Starts,
    Stop,
    Untouched,
    Write,
)

MEMBERS = SMALL.member_names
DISKS = (*MEMBERS, "journal")
ALL_DISKS = "DEVICE /dev/vd*"
IDENTITY = (ALL_DISKS, "ARRAY /dev/md0 UUID={uuid}")
NAMED = Configure(lines=IDENTITY)
VALUES = "journal_mode=write-back stripe_cache_size=512"
BEGIN = (Write(), Flush())
END = (Write(), Flush(), ReadBack())

ONE_AT_A_TIME = (
    *(
        Scenario(
            claim=f"an array comes up disk by disk with its journal {when}",
            steps=(
                *BEGIN,
                Write(),
                CutPower(),
                NAMED,
                *(Incremental(disk=disk) for disk in order[:-1]),
                Incremental(disk=order[-1], runs=True),
                ReadBack(),
                *END,
                Check(),
            ),
        )
        for when, order in (("first", ("journal", *MEMBERS)), ("last", DISKS))
    ),
    Scenario(
        claim="a journal that comes after the array was started read only is added safely",
        steps=(
            *BEGIN,
            Stop(),
            NAMED,
            *(Incremental(disk=disk) for disk in MEMBERS),
            Starts("--incremental --run --scan"),
            Expect("array_state", "^read"),
            ReadBack(),
            Incremental(disk="journal", runs=True),
            Promised("a disk found before the first write is added safely", Write()),
            ReadBack(),
        ),
    ),
    Scenario(
        claim="an array whose last disk does not come is started softly read only",
        steps=(
            *BEGIN,
            Write(),
            CutPower(),
            NAMED,
            Incremental(disk="journal"),
            Incremental(disk="member0"),
            Incremental(disk="member1"),
            Promised(
                "what is started by run and scan is written to by nobody",
                Untouched(DISKS, Starts("--incremental --run --scan")),
            ),
            Expect("array_state", "^(read-auto|active|clean)"),
            ReadBack(),
            *END,
        ),
    ),
    Scenario(
        claim="an array runs as soon as its data can be had",
        steps=(
            *BEGIN,
            Stop(),
            NAMED,
            Incremental(disk="journal", options="--run"),
            Incremental(disk="member0", options="--run"),
            Incremental(disk="member2", options="--run", runs=True),
            ReadBack(),
            *END,
        ),
    ),
    Scenario(
        claim="a journal that has gone is taken out by its kernel name",
        steps=(
            *BEGIN,
            HotRemove("journal"),
            Exits("--examine {journal}", 0),
            Expect("consistency_policy", "^journal$"),
            ReadBack(),
        ),
    ),
)

CONFIGURED = (
    Scenario(
        claim="what detail and scan print brings an array with its journal back",
        steps=(
            *BEGIN,
            Configure(lines=(ALL_DISKS,), printed_by="--detail --scan"),
            Stop(),
            Starts("--assemble --scan"),
            ReadBack(),
            *END,
            Check(),
        ),
    ),
    Scenario(
        claim="what examine and scan print brings an array with its journal back",
        steps=(
            *BEGIN,
            Write(),
            CutPower(),
            Promised(
                "what examine and scan print counts spares, and a journal is none",
                Mdadm("--examine --scan -c partitions", says="(?s)^((?!spares=).)*$"),
            ),
            Configure(lines=(ALL_DISKS,), printed_by="--examine --scan -c partitions"),
            Mdadm("--assemble --scan", says="started with 3 drives and 1 journal"),
            Mdadm("--stop /dev/md/mdjournal"),
            Assemble(),
            ReadBack(),
            Check(),
        ),
    ),
    Scenario(
        claim="a journal that no device line allows is not used",
        steps=(
            *BEGIN,
            Stop(),
            Configure(lines=("DEVICE {member0} {member1} {member2}", "ARRAY /dev/md0 UUID={uuid}")),
            Mdadm("--assemble --scan", refused="(?i)journal"),
            Assemble(),
            ReadBack(),
        ),
    ),
    Scenario(
        claim="the mode of a journal is set by a line of mdadm conf at assembly",
        steps=(
            *BEGIN,
            Stop(),
            Configure(
                lines=(
                    ALL_DISKS,
                    "ARRAY /dev/md/0 UUID={uuid}",
                    f"SYSFS name=/dev/md/0 {VALUES}",
                )
            ),
            Starts("--assemble --scan"),
            Expect("stripe_cache_size", "^512$"),
            Expect("journal_mode", r"\[write-back\]"),
            *END,
            Stop(),
            Configure(lines=(*IDENTITY, f"SYSFS uuid={{uuid}} {VALUES}")),
            Starts("--assemble --scan"),
            Promised("a SYSFS line is found by the uuid", Expect("stripe_cache_size", "^512$")),
            *END,
        ),
    ),
)

SCENARIOS = (*ONE_AT_A_TIME, *CONFIGURED)
