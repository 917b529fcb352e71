"""Journals whose writes end in another order than they were begun, as those of real disks do."""

from harness.campaign.scenarios.verbs import (
    WRITE_BACK,
    Check,
    During,
    Extent,
    FaultKind,
    FillCache,
    Flush,
    Fsync,
    Heal,
    Inject,
    ReadBack,
    Scenario,
    Write,
)

SCENARIOS = (
    Scenario(
        claim="a record is durable before its stripe is written however the journal reorders",
        needs=WRITE_BACK,
        steps=(
            FillCache(share=0.8),  # from here on stripes are written out, each with a FLUSH record
            Inject(disk="journal", kind=FaultKind.SLOW, operations=("write",), delay_ms=10),
            During(
                (Fsync(),) * 40,
                load=Write(at_once=16, extent=Extent.BLOCK, rows=24),
                flushes=False,
            ),
            Heal("journal"),
            Flush(),
            ReadBack(),
            Check(),
        ),
        why=(
            "a unit of the log without stripes, of FLUSH records alone, that ends last lets those"
            " behind it be written to members without a flush of the journal: r5l_log_endio()"
        ),
    ),
)
