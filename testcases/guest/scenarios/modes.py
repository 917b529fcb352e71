"""journal_mode, switched each way: idle, under load, with a dirty cache."""

from dataclasses import replace

from harness.campaign.scenarios.verbs import (
    SMALL,
    WRITE_BACK,
    Assemble,
    Check,
    CutPower,
    During,
    Expect,
    FillCache,
    Flush,
    GiveMemoryBack,
    JournalMode,
    Level,
    ReadBack,
    Scenario,
    Set,
    Stop,
    Switch,
    UseMemory,
    Write,
)

BACK, THROUGH = Switch(JournalMode.WRITE_BACK), Switch(JournalMode.WRITE_THROUGH)

SCENARIOS = (
    Scenario(
        claim="an idle array changes its mode back and forth",
        steps=(BACK, THROUGH, BACK, THROUGH, Write(), Flush(), ReadBack(), Check()),
        quick=True,
    ),
    Scenario(
        claim="a dirty cache is read the same after the switch to write through",
        needs=WRITE_BACK,
        steps=(
            FillCache(share=0.25),
            Flush(),
            THROUGH,
            ReadBack(),
            Write(),
            Flush(),
            ReadBack(),
            Stop(),
            Assemble(),
            ReadBack(),
        ),
        quick=True,
    ),
    Scenario(
        claim="an array stops after a switch with a dirty cache",
        needs=WRITE_BACK,
        steps=(FillCache(share=0.25), Flush(), THROUGH, Stop(), Assemble(), ReadBack(), Check()),
    ),
    Scenario(
        claim="an array checks clean after a switch with a dirty cache",
        needs=WRITE_BACK,
        steps=(FillCache(share=0.25), THROUGH, Check(), ReadBack()),
    ),
    Scenario(
        claim="the mode is switched under load",
        steps=(During((BACK, THROUGH, BACK, THROUGH, BACK)), Flush(), ReadBack(), Check()),
    ),
    Scenario(
        claim="a dirty cache is read under memory pressure after a switch",
        needs=WRITE_BACK,
        steps=(
            FillCache(share=0.5),
            UseMemory(),
            ReadBack(),
            THROUGH,
            ReadBack(),
            GiveMemoryBack(),
            ReadBack(),
        ),
    ),
    Scenario(
        claim="a dirty cache is read with few stripes to spare after a switch",
        needs=WRITE_BACK,
        steps=(
            Set("stripe_cache_size", "1024"),
            FillCache(share=0.8),
            Set("stripe_cache_size", "32"),
            ReadBack(),
            THROUGH,
            ReadBack(),
            Check(),
        ),
    ),
    Scenario(
        claim="a power cut right behind a switch loses nothing that was flushed",
        needs=WRITE_BACK,
        steps=(
            FillCache(share=0.25),
            Flush(),
            THROUGH,
            CutPower(),
            Assemble(),
            ReadBack(),
            Check(),
        ),
    ),
    Scenario(
        claim="what was written in both modes is recovered together",
        needs=replace(SMALL, level=Level.RAID6, members=5),
        steps=(
            Write(),
            BACK,
            FillCache(share=0.1),
            THROUGH,
            Write(),
            BACK,
            FillCache(share=0.1),
            Flush(),
            CutPower(),
            Assemble(),
            ReadBack(),
            Check(),
        ),
    ),
    Scenario(
        claim="an unknown mode is refused",
        steps=(
            Set("journal_mode", "write-around", refused=True),
            Expect("journal_mode", r"\[write-through\]"),
            Write(),
            Flush(),
        ),
    ),
    Scenario(
        claim="an array without a journal takes no mode",
        needs=replace(SMALL, journaled=False),
        steps=(
            Set("journal_mode", "write-back", refused=True),
            Expect("consistency_policy", "^resync$"),
            Write(),
            ReadBack(),
        ),
    ),
)
