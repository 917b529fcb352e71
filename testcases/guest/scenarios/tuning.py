"""Knobs of raid456, turned while the journal is in use."""

from dataclasses import replace

from harness.campaign.scenarios.verbs import (
    SMALL,
    WRITE_BACK,
    Assemble,
    Check,
    CutPower,
    During,
    Extent,
    FillCache,
    Flush,
    GiveMemoryBack,
    Level,
    ReadBack,
    Scenario,
    Set,
    Stop,
    UseMemory,
    Write,
    WriteKind,
)

SIX = replace(SMALL, level=Level.RAID6, members=5)

SCENARIOS = (
    Scenario(
        claim="several worker threads write behind the log",
        steps=(
            Set("group_thread_cnt", "4"),
            Write(bursts=20, at_once=8),
            Flush(),
            Set("group_thread_cnt", "0"),
            Write(),
            Flush(),
            ReadBack(),
            Check(),
        ),
    ),
    Scenario(
        claim="the number of worker threads changes under load",
        steps=(
            During(
                (
                    Set("group_thread_cnt", "2"),
                    Set("group_thread_cnt", "6"),
                    Set("group_thread_cnt", "0"),
                )
            ),
            Flush(),
            ReadBack(),
            Check(),
        ),
    ),
    *(
        Scenario(
            claim=f"parity fits with rmw level {level}",
            needs=SIX,
            steps=(
                Set("rmw_level", str(level)),
                Write(bursts=16),
                Flush(),
                CutPower(),
                Assemble(),
                ReadBack(),
                Check(),
            ),
        )
        for level in (0, 1, 2)
    ),
    Scenario(
        claim="pages that are not copied are logged as they were",
        steps=(
            Set("skip_copy", "1"),
            Write(bursts=16, extent=Extent.ROW),
            Flush(),
            ReadBack(),
            Set("skip_copy", "0"),
            Write(),
            Flush(),
            Stop(),
            Assemble(),
            ReadBack(),
            Check(),
        ),
    ),
    Scenario(
        claim="the stripe cache grows and shrinks under load",
        steps=(
            During(
                (
                    Set("stripe_cache_size", "2048"),
                    Set("stripe_cache_size", "32"),
                    Set("stripe_cache_size", "1024"),
                )
            ),
            Flush(),
            ReadBack(),
            Check(),
        ),
    ),
    Scenario(
        claim="the stripe cache shrinks below a dirty write back cache",
        needs=WRITE_BACK,
        steps=(
            Set("stripe_cache_size", "1024"),
            FillCache(share=0.9),
            Set("stripe_cache_size", "64"),
            ReadBack(),
            FillCache(share=0.5),
            Flush(),
            ReadBack(),
        ),
    ),
    Scenario(
        claim="writes go on when memory is short",
        steps=(
            UseMemory(),
            Write(bursts=20),
            Flush(),
            ReadBack(),
            GiveMemoryBack(),
            Write(),
            Flush(),
            Check(),
        ),
    ),
    Scenario(
        claim="a write back cache is written out when memory is short",
        needs=WRITE_BACK,
        steps=(
            FillCache(share=0.5),
            UseMemory(),
            Write(bursts=10),
            Flush(),
            Stop(),
            Assemble(),
            GiveMemoryBack(),
            ReadBack(),
        ),
    ),
    Scenario(
        claim="blocks that are zeroed read as zeroes after a power cut",
        steps=(
            Write(),
            Flush(),
            Write(kind=WriteKind.ZEROES, extent=Extent.BLOCK),
            Flush(),
            CutPower(),
            Assemble(),
            ReadBack(),
            Write(),
            Flush(),
            Check(),
        ),
    ),
    Scenario(
        claim="writes with fua are safe without a flush",
        steps=(Write(fua=True, at_once=1), CutPower(), Assemble(), ReadBack(), Check()),
        quick=True,
    ),
    Scenario(
        claim="discards beside writes leave parity that fits",
        steps=(
            Write(),
            Flush(),
            Write(kind=WriteKind.DISCARD, extent=Extent.ROW),
            Write(),
            Flush(),
            Stop(),
            Assemble(),
            ReadBack(),
            Check(),
        ),
    ),
)
