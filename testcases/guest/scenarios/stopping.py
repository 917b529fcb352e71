"""Arrays that are stopped, rebooted or assembled again, with caches of every state."""

from dataclasses import replace

from harness.campaign.scenarios.verbs import (
    WRITE_BACK,
    Assemble,
    Check,
    Expect,
    FillCache,
    Flush,
    JournalMode,
    ReadBack,
    Reboot,
    Scenario,
    Set,
    Stop,
    Switch,
    Write,
)

WITH_ROOM = Set("stripe_cache_size", "1024")  # so that the log, and not the cache, is what fills

SCENARIOS = (
    Scenario(
        claim="a clean array stops and comes back",
        steps=(Write(), Flush(), Stop(), Assemble(), ReadBack(), Check()),
        quick=True,
    ),
    *(
        Scenario(
            claim=f"a stop keeps a dirty cache of {share:.0%} of the journal",
            needs=WRITE_BACK,
            steps=(WITH_ROOM, FillCache(share=share), Stop(), Assemble(), ReadBack(), Check()),
            quick=share == 0.25,
        )
        for share in (0.01, 0.25, 0.6, 0.95)
    ),
    *(
        Scenario(
            claim=f"a reboot keeps a dirty cache of {share:.0%} of the journal",
            needs=WRITE_BACK,
            steps=(
                WITH_ROOM,
                FillCache(share=share),
                Flush(),
                Reboot(),
                Assemble(),
                ReadBack(),
                Check(),
            ),
            quick=share == 0.25,
        )
        for share in (0.01, 0.25, 0.95)
    ),
    Scenario(
        claim="a reboot of an array that nobody stopped keeps what was written through",
        steps=(Write(), Flush(), Reboot(), Assemble(), ReadBack(), Check()),
    ),
    Scenario(
        claim="a dirty cache is read back before it is written out",
        needs=WRITE_BACK,
        steps=(
            FillCache(share=0.25),
            ReadBack(),
            Flush(),
            ReadBack(),
            Stop(),
            Assemble(),
            ReadBack(),
        ),
    ),
    Scenario(
        claim="an array that is stopped right behind its assembly loses nothing",
        needs=WRITE_BACK,
        steps=(
            FillCache(share=0.25),
            Flush(),
            Stop(),
            Assemble(),
            Stop(),
            Assemble(),
            Stop(),
            Assemble(),
            ReadBack(),
        ),
    ),
    Scenario(
        claim="write back is asked for anew after each assembly",
        needs=WRITE_BACK,
        steps=(
            Write(),
            Flush(),
            Stop(),
            Assemble(),
            Expect("journal_mode", r"\[write-through\]"),
            Switch(JournalMode.WRITE_BACK),
            Write(),
            Flush(),
            Stop(),
            Assemble(),
            ReadBack(),
        ),
    ),
    Scenario(
        claim="write back survives stop after stop",
        needs=WRITE_BACK,
        steps=(
            FillCache(share=0.1),
            Stop(),
            Assemble(),
            Switch(JournalMode.WRITE_BACK),
            FillCache(share=0.1),
            Stop(),
            Assemble(),
            Switch(JournalMode.WRITE_BACK),
            FillCache(share=0.1),
            Stop(),
            Assemble(),
            ReadBack(),
            Check(),
        ),
    ),
    Scenario(
        claim="a reboot in the middle of bursts that nobody flushed keeps what was written",
        needs=replace(WRITE_BACK, members=5),
        steps=(Write(bursts=20), Reboot(), Assemble(), ReadBack(), Check()),
    ),
)
