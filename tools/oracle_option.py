"""`--oracles`: which of the costly oracles look at which share of the states."""

from __future__ import annotations

from typing import Any

import click

from harness.campaign.exploring.oracles import EVERY, FEW, NONE, Oracles, Sampled

HELP = (
    "Of check, degraded, second and interrupted: a share of the states each, such as"
    " check=1,degraded=0.5; or `some` (a share of each), `all`, `fast` (none of them)."
    " The others always judge every state."
)
_WORDS = {"some": FEW, "all": EVERY, "fast": NONE}


class OraclesType(click.ParamType[Any]):
    """What `HELP` says."""

    name = "oracles"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> Oracles:
        """Return what was asked for."""
        if isinstance(value, Oracles):
            return value
        if value in _WORDS:
            return Oracles(_WORDS[value])
        shares: dict[Sampled, float] = {}
        for part in str(value).split(","):
            name, _, share = part.partition("=")
            try:
                oracle = Sampled(name.strip())
                number = float(share or 1)
            except ValueError:
                known = ", ".join(oracle.value for oracle in Sampled)
                self.fail(f"{value!r}: wanted NAME or NAME=SHARE of {known}", param, ctx)
            if oracle in shares:
                self.fail(f"{value!r}: {oracle.value} has two shares", param, ctx)
            shares[oracle] = number
        if not all(0 <= share <= 1 for share in shares.values()):
            self.fail(f"{value!r}: a share is from 0 to 1", param, ctx)
        return Oracles(shares)
