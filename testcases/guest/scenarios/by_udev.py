"""Arrays that udev puts together as their disks come: the journal first, last, never."""

from harness.campaign.scenarios.distribution import (
    ExpectNoArray,
    PlugIn,
    UnplugAll,
    WaitForArray,
)
from harness.campaign.scenarios.verbs import (
    Check,
    CutPower,
    Flush,
    GuestKind,
    ReadBack,
    Scenario,
    Stop,
    Write,
)

FULL = GuestKind.FULL

SCENARIOS = (
    Scenario(
        claim="udev assembles an array whose journal comes first",
        guest=FULL,
        steps=(
            Write(),
            Flush(),
            Stop(),
            UnplugAll(),
            PlugIn("journal"),
            PlugIn("member2"),
            PlugIn("member0"),
            ExpectNoArray(),
            PlugIn("member1"),
            WaitForArray(),
            ReadBack(),
            Check(),
        ),
    ),
    Scenario(
        claim="udev assembles an array whose journal comes last",
        guest=FULL,
        steps=(
            Write(),
            Flush(),
            Stop(),
            UnplugAll(),
            PlugIn("member0"),
            PlugIn("member1"),
            PlugIn("member2"),
            ExpectNoArray(),
            PlugIn("journal"),
            WaitForArray(),
            ReadBack(),
            Check(),
        ),
    ),
    Scenario(
        claim="a boot recovers a dirty journal",
        guest=FULL,
        steps=(Write(), Flush(), Write(), CutPower(), WaitForArray(), ReadBack(), Check()),
    ),
)
