"""Which rig a scenario gets."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from harness.campaign.scenarios.distribution import waits_for_last_resort
from harness.campaign.scenarios.full_rig import FullRig
from harness.campaign.scenarios.lab_rig import LabRig
from harness.campaign.scenarios.rig import Place, Rig
from harness.campaign.scenarios.scenario import GuestKind, Scenario


@contextlib.contextmanager
def rig_for(scenario: Scenario, place: Place) -> Iterator[Rig]:
    """Give the rig that the place's image is for; nothing of it is left afterwards.

    In a full guest udev assembles the array of a scenario that is about full guests. One that is
    not does all of that itself, and is left alone.
    """
    rig: Rig
    if place.image.machine is not None:
        rig = LabRig(place, place.image.machine)
    elif place.image.root is not None:
        rig = FullRig(
            place, assembles=scenario.guest is GuestKind.FULL,
            last_resort=waits_for_last_resort(scenario.steps),
        )  # fmt: skip
    else:
        rig = Rig(place)
    with rig:
        yield rig
