"""Recoveries that are large, and recoveries that cannot read all of the log."""

from dataclasses import replace

from harness.campaign.scenarios.verbs import (
    SMALL,
    WRITE_BACK,
    Assemble,
    Check,
    CutPower,
    Extent,
    FillCache,
    Flush,
    Heal,
    Inject,
    JournalMode,
    Level,
    ReadBack,
    Scenario,
    Set,
    Stop,
    Write,
)

MIB = 1024 * 1024
DISK = MIB  # where the data of a disk begins
# md moves the tail once an eighth of the log is done with: what is live stays below that.
LARGE = replace(SMALL, component_bytes=64 * MIB, chunk_bytes=65536, journal_bytes=512 * MIB)
LARGE_WRITE_BACK = replace(LARGE, mode=JournalMode.WRITE_BACK)
ROOM = Set("stripe_cache_size", "4096")  # md writes the cache out from three quarters of it on
MANY = Write(bursts=20, at_once=16, extent=Extent.ROW, rows=1024)  # of 16 stripes each
FILL = Write(bursts=400, at_once=8, extent=Extent.BLOCK, rows=512)

SCENARIOS = (
    Scenario(
        claim="thousands of stripes with parity are recovered",
        needs=LARGE,
        memory_mib=256,
        steps=(
            MANY,
            Flush(),
            CutPower(),
            Assemble(says="[0-9]{4} data-parity"),
            ReadBack(),
            Check(),
        ),
    ),
    Scenario(
        claim="thousands of stripes of raid 6 are recovered",
        needs=replace(LARGE, level=Level.RAID6, members=5),
        memory_mib=256,
        steps=(
            MANY,
            Flush(),
            CutPower(),
            Assemble(says="[0-9]{4} data-parity"),
            ReadBack(),
            Check(),
        ),
    ),
    Scenario(
        claim="more data only stripes than the stripe cache has are recovered",
        needs=LARGE_WRITE_BACK,
        memory_mib=256,
        steps=(
            ROOM,
            FILL,
            Flush(),
            CutPower(),
            Assemble(says="recovering [0-9]{4} data-only"),
            ReadBack(),
            Check(),
        ),
    ),
    Scenario(
        claim="thousands of data only stripes are recovered behind thousands that were written out",
        needs=LARGE_WRITE_BACK,
        memory_mib=256,
        steps=(
            ROOM,
            MANY,  # full stripes are not cached; the log has a FLUSH record of each
            FILL,
            Flush(),
            CutPower(),
            Assemble(says="recovering [0-9]{4} data-only"),
            ReadBack(),
            Check(),
        ),
    ),
    Scenario(
        claim="a large recovery that the power cuts short begins anew",
        needs=LARGE,
        memory_mib=256,
        steps=(MANY, Flush(), CutPower(), Assemble(), CutPower(), Assemble(), ReadBack(), Check()),
    ),
    Scenario(
        claim="a log that could not be read does not come back over newer data",
        steps=(
            Write(),
            Flush(),
            Write(),
            CutPower(),
            Inject(disk="journal", operations=("read",), offset=DISK, count=1),
            Assemble(or_ends=True),
            Heal("journal"),
            Write(bursts=24, may_fail=True),
            Stop(),
            Assemble(),
            ReadBack(),
            Check(),
        ),
    ),
    Scenario(
        claim="a log that cannot be read behind its first block is not taken for empty",
        needs=WRITE_BACK,
        steps=(
            FillCache(share=0.25),
            Flush(),
            CutPower(),
            Inject(disk="journal", operations=("read",), offset=DISK, skip=1),
            Assemble(or_ends=True),
            Heal("journal"),
            ReadBack(),
        ),
    ),
    Scenario(
        claim="one bad sector in the log does not silently end it",
        needs=WRITE_BACK,
        steps=(
            FillCache(share=0.25),
            Flush(),
            CutPower(),
            Inject(disk="journal", operations=("read",), offset=DISK + 65536, length=512),
            Assemble(or_ends=True),
            Heal("journal"),
            ReadBack(),
        ),
    ),
)
