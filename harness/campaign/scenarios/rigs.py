"""Which rig a scenario gets."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from harness.campaign.scenarios.full_rig import FullRig
from harness.campaign.scenarios.rig import Place, Rig
from harness.campaign.scenarios.scenario import GuestKind, Scenario


@contextlib.contextmanager
def rig_for(scenario: Scenario, place: Place) -> Iterator[Rig]:
    """Give the rig that the place's image is for; nothing of it is left afterwards.

    In a full guest udev assembles the array of a scenario that is about full guests. One that is
    not does all of that itself, and is left alone.
    """
    rig = (
        Rig(place)
        if place.image.root is None
        else FullRig(place, assembles=scenario.guest is GuestKind.FULL)
    )
    with rig:
        yield rig
