"""What md(4), mdadm(8), mdadm.conf(5) and the kernel's documentation promise, put to the test.

Each step that is `Promised` states what a document says, whether or not it is so: the list of
promises is harness/campaign/conformance.toml, what came of them docs/conformance.md.
"""

from dataclasses import replace

from harness.campaign.scenarios.verbs import (
    SMALL,
    WRITE_BACK,
    Add,
    Assemble,
    Cache,
    Check,
    Clear,
    CutPower,
    Exits,
    Expect,
    ExpectLog,
    ExpectLoss,
    ExpectOfDisk,
    ExpectSoon,
    Fail,
    FillCache,
    Flush,
    JournalMode,
    Level,
    Mdadm,
    Oracle,
    Promised,
    ReadBack,
    Remove,
    Scenario,
    Set,
    SetOfDisk,
    SetParameter,
    Stop,
    Switch,
    Unplug,
    Untouched,
    WaitUntilIdle,
    Write,
)

MEMBERS = SMALL.member_names
DISKS = (*MEMBERS, "journal")
NO_SAFE_MODE = Set("safe_mode_delay", "0")  # superblocks are written for their own sake else

SCENARIOS = (
    # The journal fails.
    Scenario(
        claim="an array is read only once its journal has failed",
        steps=(
            Write(),
            Flush(),
            Fail("journal"),
            Promised("a failed journal makes the array read-only", Expect("array_state", "^read")),
            ReadBack(),
        ),
    ),
    Scenario(
        claim="an array goes on without its failed journal and open to the write hole",
        steps=(
            Write(),
            Flush(),
            Fail("journal"),
            Promised("a failed journal leaves an array that takes writes", Write(bursts=1)),
            ReadBack(),
        ),
    ),
    Scenario(
        claim="a failed journal is told by the exit status of detail and test",
        steps=(
            Exits("--detail --test {array}", 0),
            Fail("journal"),
            Promised(
                "--test exits with 1 for a failed device", Exits("--detail --test {array}", 1)
            ),
        ),
    ),
    Scenario(
        claim="a failed member is told by the exit status of detail and test",
        needs=replace(SMALL, level=Level.RAID6, members=4),
        steps=(
            Write(),
            Flush(),
            Exits("--detail --test {array}", 0),
            Fail("member1"),
            Exits("--detail --test {array}", 1),
            Expect("degraded", "^1$"),
        ),
    ),
    Scenario(
        claim="a journal that fails after the switch to write through takes nothing with it",
        needs=WRITE_BACK,
        steps=(
            FillCache(share=0.25),
            Flush(),
            Switch(JournalMode.WRITE_THROUGH),
            Fail("journal"),
            Stop(),
            Assemble(without=("journal",), options="--force"),
            Promised("in write-through mode a lost journal costs no data", ReadBack()),
            ExpectLoss(why="it has been told"),
        ),
        oracles=(Oracle.ALIVE, Oracle.CONTENTS),
        why="what a lost journal makes of the order of writes is not what is asked here",
    ),
    Scenario(
        claim="power and then the journal lost in write through cost nothing that was flushed",
        needs=replace(SMALL, member_cache=Cache.WRITE_BACK),
        steps=(
            Write(),
            Flush(),
            CutPower(),
            Assemble(without=("journal",), options="--force"),
            Promised("in write-through mode a lost journal costs no data", ReadBack()),
            ExpectLoss(why="it has been told"),
        ),
        oracles=(Oracle.ALIVE,),
        why="without its journal an array is open to the write hole, says the same document",
    ),
    Scenario(
        claim="a failed journal is removed by the word failed",
        steps=(
            Write(),
            Flush(),
            Mdadm("{array} --remove {journal}", refused="(?i)busy|failed"),
            Mdadm("{array} --remove {member0}", refused="(?i)busy|failed"),
            Fail("journal"),
            ExpectOfDisk("journal", "state", "faulty"),
            Mdadm("{array} --remove failed"),
            ReadBack(),
        ),
    ),
    Scenario(
        claim="a journal that is unplugged is removed by the word detached",
        steps=(
            Write(),
            Flush(),
            Unplug("journal"),
            Mdadm("{array} --fail detached"),
            Mdadm("{array} --remove detached"),
            ReadBack(),
        ),
    ),
    Scenario(
        claim="a journal is failed and removed through its state",
        steps=(
            Write(),
            Flush(),
            ExpectOfDisk("journal", "state", "journal"),
            ExpectOfDisk("member0", "state", "^in_sync"),
            SetOfDisk("journal", "state", "faulty"),
            ExpectOfDisk("journal", "state", "faulty"),
            SetOfDisk("journal", "state", "remove"),
            ReadBack(),
        ),
    ),
    # Read-only, and nothing is written.
    Scenario(
        claim="nothing is written to an array that is started softly read only",
        steps=(
            Write(),
            Flush(),
            Stop(),
            SetParameter("start_ro", "1"),
            Promised(
                "started softly read-only, a clean array is not written to",
                Untouched(DISKS, Assemble()),
            ),
            Expect("array_state", "^read-auto$"),
            Promised("reads write nothing to a soft read-only array", Untouched(DISKS, ReadBack())),
            Expect("array_state", "^read-auto$"),
            Write(),
            Flush(),
            Expect("array_state", "^(clean|active|active-idle)$"),
            ReadBack(),
        ),
    ),
    Scenario(
        claim="a crashed array that is started softly read only is not recovered before a write",
        steps=(
            Write(bursts=16),
            Flush(),
            Write(bursts=16),
            CutPower(),
            SetParameter("start_ro", "1"),
            Promised(
                "started softly read-only, a crashed array is not written to",
                Untouched(DISKS, Assemble()),
            ),
            ReadBack(),
            Write(),
            Flush(),
            Check(),
        ),
    ),
    Scenario(
        claim="a read only array fails writes and its superblocks stay",
        needs=WRITE_BACK,
        steps=(
            FillCache(share=0.1),
            Flush(),
            Set("array_state", "readonly"),
            Untouched(DISKS, ReadBack()),
            Expect("array_state", "^readonly$"),
            Set("array_state", "clean"),
            Write(),
            Flush(),
            ReadBack(),
            Check(),
        ),
    ),
    Scenario(
        claim="an array is stopped by the word clear and nothing is lost",
        steps=(Write(), Flush(), Clear(), Assemble(), ReadBack(), Check()),
    ),
    Scenario(
        claim="an array is dirty while it is written to and clean a moment later",
        steps=(
            NO_SAFE_MODE,
            Write(),
            Expect("array_state", "^active$"),
            Promised(
                "an array is marked dirty on its disks before data is written",
                Mdadm("--examine {member0}", says="(?m)^\\s*State : active"),
            ),
            Set("safe_mode_delay", "0.2"),
            Write(),
            ExpectSoon("array_state", "^(clean|active-idle)$"),
            Mdadm("--examine {member0}", says="(?m)^\\s*State : clean"),
            ReadBack(),
        ),
    ),
    # Unclean and degraded.
    Scenario(
        claim="an array that is dirty and degraded does not start by itself",
        steps=(
            Write(),
            Flush(),
            Fail("member1"),
            Write(),
            CutPower(),
            Promised("a dirty and degraded array does not start by itself", Assemble(refused=".")),
            Assemble(options="--force"),
            ReadBack(),
        ),
    ),
    Scenario(
        claim="a raid 4 with a journal goes on without a data disk or its parity disk",
        needs=replace(SMALL, level=Level.RAID4, spares=1),
        steps=(
            Write(),
            Flush(),
            Fail("member0"),
            Write(),
            Flush(),
            ReadBack(),
            Add(disk="spare0"),
            WaitUntilIdle(),
            Fail("member2"),
            Write(),
            Flush(),
            ReadBack(),
            CutPower(),
            Assemble(),
            ReadBack(),
        ),
    ),
    Scenario(
        claim="an array that has given its journal up is resynced after a power cut",
        steps=(
            Write(),
            Fail("journal"),
            Set("consistency_policy", "resync", refused=True),
            Remove("journal"),
            Set("consistency_policy", "resync"),
            NO_SAFE_MODE,
            Write(),
            Flush(),
            Write(),
            CutPower(),
            Assemble(),
            ExpectLog("resync of RAID array"),
            WaitUntilIdle(),
            ReadBack(),
            Check(),
        ),
        oracles=(Oracle.ALIVE, Oracle.CONTENTS),
        why="from the middle on there is no journal whose order could be judged",
    ),
)
