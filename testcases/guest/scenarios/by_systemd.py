"""Machines that systemd shuts down and boots with an array in use."""

from harness.campaign.scenarios.verbs import (
    WRITE_BACK,
    Check,
    Create,
    Expect,
    FillCache,
    Flush,
    GuestKind,
    ReadBack,
    Scenario,
    Set,
    ShutDown,
    WaitForArray,
    WaitUntilIdle,
    Write,
)

FULL = GuestKind.FULL
WITH_ROOM = Set("stripe_cache_size", "4096")  # so that the log, and not the cache, is what fills

SCENARIOS = (
    Scenario(
        claim="a shutdown by systemd keeps a dirty write back cache",
        guest=FULL,
        needs=WRITE_BACK,
        steps=(FillCache(share=0.25), ShutDown("reboot"), WaitForArray(), ReadBack(), Check()),
    ),
    Scenario(
        claim="a power off by systemd keeps a write back journal that is nearly full",
        guest=FULL,
        needs=WRITE_BACK,
        steps=(
            WITH_ROOM,
            FillCache(share=0.9),
            Flush(),
            ShutDown("poweroff"),
            WaitForArray(),
            Expect("journal_mode", r"\[write-through\]"),
            ReadBack(),
            Check(),
        ),
    ),
    Scenario(
        claim="a first sync goes on behind a reboot by systemd",
        guest=FULL,
        steps=(
            Create(assume_clean=False),
            Write(),
            Flush(),
            ShutDown("reboot"),
            WaitForArray(),
            WaitUntilIdle(),
            ReadBack(),
            Check(),
        ),
    ),
)
