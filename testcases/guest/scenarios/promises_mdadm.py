"""What mdadm(8) and mdadm.conf(5) promise of arrays with a journal, put to the test.

As in promises.py: a step that is `Promised` states what the document says, whether or not it is so.
"""

from dataclasses import replace

from harness.campaign.scenarios.verbs import (
    SMALL,
    WRITE_BACK,
    Add,
    Assemble,
    Check,
    Configure,
    Create,
    CutPower,
    During,
    Expect,
    ExpectLoss,
    ExpectStatus,
    Fail,
    FillCache,
    Flush,
    Incremental,
    Mdadm,
    Oracle,
    Promised,
    ReadBack,
    Remove,
    Scenario,
    Starts,
    Stop,
    WaitUntilIdle,
    Write,
)

SPARE = replace(SMALL, spares=1)
FOUR = replace(SMALL, spares=4)
WITHOUT = replace(SMALL, journaled=False, spares=1)
THREE = "--raid-devices=3 {spare0} {spare1} {spare2}"
OTHER = f"--create /dev/md1 --run --level=5 --assume-clean {THREE}"
OTHER_UUID = "11111111:22222222:33333333:44444444"
ONE_BY_ONE = "--assemble {array} {member0} {member1} {member2}"
BEGIN = (Write(), Flush())
END = (Write(), Flush(), ReadBack())

CREATING = (
    Scenario(
        claim="one consistency policy is taken when an array is made",
        needs=FOUR,
        steps=(
            *BEGIN,
            Mdadm(f"{OTHER} --consistency-policy=journal", refused="(?i)journal"),
            Mdadm(f"{OTHER} --write-journal={{spare3}} --consistency-policy=ppl", refused="."),
            Mdadm(f"{OTHER} --write-journal={{spare3}} --consistency-policy=resync", refused="."),
            Mdadm("--examine {spare0}", refused="No md superblock"),
            Mdadm(f"{OTHER} --write-journal={{spare3}} --consistency-policy=journal"),
            Mdadm("--detail /dev/md1", says="Consistency Policy : journal"),
            Mdadm("--stop /dev/md1"),
            ReadBack(),
        ),
    ),
    Scenario(
        claim="a bitmap and a journal are not asked for together",
        needs=FOUR,
        steps=(
            *BEGIN,
            Mdadm(f"{OTHER} --write-journal={{spare3}} --bitmap=internal", refused="."),
            Promised(
                "an array has one policy, so a bitmap with a journal is refused untouched",
                Mdadm("--examine {spare0}", refused="No md superblock"),
            ),
            ReadBack(),
        ),
    ),
    Scenario(
        claim="an array is made with a missing member and a journal",
        needs=FOUR,
        steps=(
            *BEGIN,
            Mdadm(
                "--create /dev/md1 --run --level=5 --raid-devices=3 {spare0} {spare1} missing"
                " --write-journal={spare3}"
            ),
            Mdadm("--detail /dev/md1", says=r"State : (clean|active), degraded"),
            Mdadm("--stop /dev/md1"),
            Mdadm(f"{OTHER} --write-journal={{spare3}} --readonly"),
            ExpectStatus(r"md1 : active \(read-only\)"),
            Mdadm("--stop /dev/md1"),
            ReadBack(),
        ),
    ),
    Scenario(
        claim="a new raid 5 with a journal begins degraded and builds its last member",
        steps=(
            Create(assume_clean=False),
            Promised(
                "a new RAID-5 begins degraded, with a spare that is built",
                Expect("degraded", "^1$"),
            ),
            Mdadm("--wait {array}"),
            Expect("sync_action", "^idle$"),
            *END,
            Check(),
        ),
    ),
)

ASSEMBLING = (
    Scenario(
        claim="run starts an array whose journal is not given",
        steps=(
            *BEGIN,
            Stop(),
            Promised("run starts an array of fewer disks", Mdadm(f"{ONE_BY_ONE} --run")),
            Assemble(),
            ReadBack(),
        ),
    ),
    Scenario(
        claim="run of misc mode fully starts what was put together without the journal",
        steps=(
            *BEGIN,
            Stop(),
            Configure(lines=("DEVICE /dev/vd*", "ARRAY /dev/md0 UUID={uuid}")),
            *(Incremental(disk=disk) for disk in SMALL.member_names),
            Expect("array_state", "^inactive$"),
            Starts("--run {array}"),
            Expect("consistency_policy", "^journal$"),
            Promised(
                "run of misc mode fully activates what is assembled in part",
                Expect("array_state", "^(clean|active)"),
            ),
            Mdadm("--stop {array}"),
            Assemble(),
            ReadBack(),
        ),
    ),
    Scenario(
        claim="an array is not assembled without a member unless run says so",
        steps=(
            *BEGIN,
            Stop(),
            Assemble(without=("member1",), refused="(?i)insist|need"),
            Assemble(without=("member1",), options="--run"),
            ReadBack(),
            *END,
        ),
    ),
    Scenario(
        claim="a partial parity log is not turned on beside a journal",
        steps=(
            *BEGIN,
            Stop(),
            Assemble(options="--update=ppl", refused="(?i)ppl|journal"),
            Assemble(),
            Expect("consistency_policy", "^journal$"),
            ReadBack(),
        ),
    ),
    Scenario(
        claim="a resync that is asked for at assembly is done",
        steps=(
            *BEGIN,
            Stop(),
            Promised(
                "update=resync makes an array resync",
                Assemble(options="--update=resync", says="resync of RAID array"),
            ),
            WaitUntilIdle(),
            ReadBack(),
            Check(),
        ),
    ),
    Scenario(
        claim="a crashed array that is given another uuid keeps what was flushed",
        needs=WRITE_BACK,
        steps=(
            FillCache(share=0.1),
            Flush(),
            CutPower(),
            Assemble(options=f"--update=uuid --uuid={OTHER_UUID}"),
            Promised(
                "a change of uuid changes nothing else",
                ReadBack(),
            ),
            Mdadm("--examine {journal}", says=OTHER_UUID),
            ExpectLoss(why="it has been told"),
            Check(),
        ),
    ),
    Scenario(
        claim="superblocks that were dumped are restored and the array with its journal is back",
        steps=(
            *BEGIN,
            Stop(),
            Mdadm("--dump=/run {journal} {member0}"),
            Mdadm("--zero-superblock {journal} {member0}"),
            Mdadm("--examine {journal}", refused="No md superblock"),
            Mdadm("--restore=/run {journal} {member0}"),
            Assemble(),
            ReadBack(),
            Check(),
        ),
    ),
)

MANAGING = (
    Scenario(
        claim="a member that was away is added again with one word",
        steps=(
            *BEGIN,
            Fail("member1"),
            Remove("member1"),
            *BEGIN,
            Promised("a former member is added, as a spare at least", Add(disk="member1")),
            WaitUntilIdle(),
            ReadBack(),
        ),
    ),
    Scenario(
        claim="a member that was away is added again to its place",
        steps=(
            *BEGIN,
            Fail("member1"),
            Remove("member1"),
            *BEGIN,
            Promised(
                "a former member is re-added to its vacant slot",
                Add(disk="member1", how="--re-add"),
            ),
            WaitUntilIdle(),
            ReadBack(),
        ),
    ),
    Scenario(
        claim="a member that was away is added as a spare",
        steps=(
            *BEGIN,
            Fail("member1"),
            Remove("member1"),
            *BEGIN,
            Promised("a former member is added as a spare", Add(disk="member1", how="--add-spare")),
            WaitUntilIdle(),
            ReadBack(),
        ),
    ),
    Scenario(
        claim="a journal is replaced by a spare without a moment without one",
        needs=SPARE,
        steps=(
            *BEGIN,
            Add(disk="spare0"),
            Promised("a disk in use can be replaced", Mdadm("{array} --replace {journal}")),
            *END,
            Check(),
        ),
    ),
    Scenario(
        claim="a journal is given to an array that never had one",
        needs=WITHOUT,
        steps=(
            *BEGIN,
            Mdadm("--readonly {array}"),
            Promised(
                "a journal is added to an existing array",
                Mdadm("{array} --add-journal {spare0}"),
            ),
            Expect("consistency_policy", "^journal$"),
            Expect("journal_mode", r"\[write-through\]"),
            *END,
            Mdadm("--examine {spare0}", says="Journal"),
        ),
    ),
    Scenario(
        claim="a journal is added to a read only array alone",
        needs=SPARE,
        steps=(
            *BEGIN,
            Fail("journal"),
            Remove("journal"),
            Add(disk="spare0", how="--add-journal", refused="(?i)read-?only"),
            Mdadm("--readonly {array}"),
            Add(disk="spare0", how="--add-journal"),
            *END,
            Check(),
        ),
    ),
    Scenario(
        claim="an array in use does not stop and is not made read only",
        steps=(
            During(
                (
                    Mdadm("--stop {array}", refused="(?i)busy|use|fail"),
                    Mdadm("--readonly {array}", refused="(?i)busy|use|fail"),
                )
            ),
            Flush(),
            ReadBack(),
            Check(),
        ),
    ),
    Scenario(
        claim="an array is examined and its sync directed by words of mdadm",
        steps=(
            *BEGIN,
            Mdadm("--query {array}", says="raid5 3 devices"),
            Mdadm("--query {journal}", says="/dev/md0|active"),
            Mdadm("--detail --export {array}", says="(?m)^MD_LEVEL=raid5"),
            Mdadm("--examine --export {journal}", says="(?m)^MD_LEVEL=raid5"),
            Mdadm("--action=frozen {array}"),
            Expect("sync_action", "^frozen$"),
            Mdadm("--action=idle {array}"),
            Mdadm("--action=check {array}"),
            Mdadm("--wait-clean {array}"),
            WaitUntilIdle(),
            Expect("mismatch_cnt", "^0$"),
            ReadBack(),
        ),
    ),
)

GROWING = (
    Scenario(
        claim="a raid 5 with a journal is made a raid 6 or left as it is",
        needs=SPARE,
        steps=(
            *BEGIN,
            Add(disk="spare0"),
            Mdadm("--grow {array} --level=6 --raid-devices=4", refused="."),
            Promised("a change of level is made or refused, and the array goes on", Write()),
            Flush(),
            ReadBack(),
        ),
        oracles=(Oracle.ALIVE,),
        why="where it hangs, there is nothing left to look at",
    ),
    Scenario(
        claim="grow changes no policy of an array with a journal",
        steps=(
            *BEGIN,
            Mdadm("--grow {array} --consistency-policy=ppl", refused="."),
            Mdadm("--grow {array} --consistency-policy=bitmap", refused="."),
            Mdadm("--grow {array} --consistency-policy=resync", refused="."),
            Expect("consistency_policy", "^journal$"),
            *END,
        ),
    ),
    Scenario(
        claim="the end of an array with a journal is hidden and shown again",
        steps=(
            *BEGIN,
            Mdadm("--grow {array} --array-size=16384"),
            Expect("array_size", "^16384$"),
            *END,
            Mdadm("--grow {array} --array-size=max"),
            *END,
            Check(),
        ),
    ),
)

SCENARIOS = (*CREATING, *ASSEMBLING, *MANAGING, *GROWING)
