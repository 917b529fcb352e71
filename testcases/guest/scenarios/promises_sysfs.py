"""What the kernel's documentation promises of errors, of write-back and of sysfs, put to the test.

As in promises.py: a step that is `Promised` states what the document says, whether or not it is so.
"""

from dataclasses import replace

from harness.campaign.scenarios.verbs import (
    SMALL,
    WRITE_BACK,
    Add,
    Assemble,
    Check,
    Expect,
    ExpectOfDisk,
    ExpectSoon,
    Fail,
    FillCache,
    Flush,
    Heal,
    Inject,
    Present,
    Promised,
    ReadBack,
    Scenario,
    Set,
    Stop,
    Untouched,
    Write,
)

SPARE = replace(SMALL, spares=1)
MEMBERS = SMALL.member_names
NO_SAFE_MODE = Set("safe_mode_delay", "0")  # superblocks are written for their own sake else

SCENARIOS = (
    # Errors.
    Scenario(
        claim="a spare takes the place of a failed member by itself",
        needs=SPARE,
        steps=(
            Write(),
            Flush(),
            Add(disk="spare0"),
            Expect("degraded", "^0$"),
            ExpectOfDisk("spare0", "state", "^spare"),
            Fail("member1"),
            ExpectSoon("degraded", "^0$"),
            ReadBack(),
            Check(),
        ),
    ),
    Scenario(
        claim="a member whose error cannot be mended is left out",
        steps=(
            Write(),
            Flush(),
            Stop(),
            Assemble(),
            Inject(disk="member1", operations=("read", "write")),
            ReadBack(),
            ExpectSoon("degraded", "^1$"),
            Write(),
            Flush(),
            ReadBack(),
        ),
    ),
    Scenario(
        claim="a read error in a check is mended from the other disks",
        steps=(
            Write(),
            Flush(),
            Stop(),
            Assemble(),
            # One request, which may have been merged of 256 pages: md drops a disk with more read
            # errors than it has stripes, and some of three such requests are that many.
            Inject(disk="member1", operations=("read",), offset=1 << 20, count=1),
            Check(),
            Expect("degraded", "^0$"),
            ReadBack(),
            Check(),
        ),
    ),
    Scenario(
        claim="reads do not ask the journal",
        steps=(
            Write(bursts=16),
            Flush(),
            Inject(disk="journal", operations=("read",)),
            ReadBack(),
            Write(),
            Flush(),
            ReadBack(),
            Heal("journal"),
            Check(),
        ),
    ),
    # Write-back.
    Scenario(
        claim="in write back single blocks go to the journal and to no member",
        needs=WRITE_BACK,
        steps=(
            NO_SAFE_MODE,
            Write(bursts=1),
            ReadBack(),
            Promised(
                "in write-back mode a write is done once it is in the journal",
                Untouched(MEMBERS, FillCache(share=0.05)),
            ),
            Flush(),
            ReadBack(),
            Stop(),
            Assemble(),
            ReadBack(),
        ),
    ),
    # What sysfs offers.
    Scenario(
        claim="the stripe cache has its documented limits",
        steps=(
            Expect("stripe_cache_size", "^256$"),
            Set("stripe_cache_size", "16", refused=True),
            Set("stripe_cache_size", "32769", refused=True),
            Set("stripe_cache_size", "17"),
            Write(bursts=16),
            Flush(),
            ReadBack(),
            Expect("preread_bypass_threshold", "^1$"),
            Set("preread_bypass_threshold", "0"),
            Set("preread_bypass_threshold", "17"),
            Set("preread_bypass_threshold", "18", refused=True),
            Write(),
            Flush(),
            Check(),
        ),
    ),
    Scenario(
        claim="the number of active stripes can be read",
        steps=(
            Expect("stripe_cache_active", "^[0-9]+$"),
            Promised("there is a strip_cache_active", Present("strip_cache_active")),
        ),
    ),
    Scenario(
        claim="a journal has its place among the disks of sysfs",
        steps=(
            Expect("resync_start", "^none$"),
            Expect("rd0/state", "^in_sync"),
            Expect("rd2/state", "^in_sync"),
            ExpectOfDisk("member1", "slot", "^1$"),
            Promised(
                "the slot of a device is none or a number",
                ExpectOfDisk("journal", "slot", "^(none|[0-9]+)$"),
            ),
            Write(),
            Flush(),
            ReadBack(),
        ),
    ),
    Scenario(
        claim="a check is ended by the word idle",
        steps=(
            Write(),
            Flush(),
            Set("sync_speed_min", "1"),
            Set("sync_speed_max", "10"),
            Set("sync_action", "check"),
            Expect("sync_action", "^check$"),
            Set("sync_action", "idle"),
            ExpectSoon("sync_action", "^idle$"),
            Write(),
            Flush(),
            ReadBack(),
        ),
    ),
)
