"""Scenarios survive being written down, and nothing but scenarios is read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from harness.campaign.scenarios.scenario import Scenario, read_scenarios
from harness.campaign.scenarios.scenario_json import decode_scenario, encode_scenario
from harness.errors import BadInput

SCENARIOS = Path(__file__).resolve().parents[1] / "guest/scenarios"


def first() -> dict[str, Any]:
    return encode_scenario(read_scenarios(SCENARIOS)[0])


@pytest.mark.parametrize("scenario", read_scenarios(SCENARIOS), ids=lambda each: each.name)
def test_every_scenario_comes_back_as_it_was(scenario: Scenario) -> None:
    document = json.loads(json.dumps(encode_scenario(scenario)))
    back = decode_scenario(document)
    assert back.steps == scenario.steps
    assert (back.name, back.needs, back.guest) == (scenario.name, scenario.needs, scenario.guest)
    assert tuple(back.oracles) == tuple(scenario.oracles)
    assert (back.memory_mib, back.injects) == (scenario.memory_mib, scenario.injects)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"claim": "../../etc/passwd"}, "claim"),
        ({"claim": "A"}, "claim"),
        ({"memory_mib": 10**9}, "memory_mib"),
        ({"steps": [{"do": "Verb"}]}, "no verb"),
        ({"steps": [{"do": "__import__"}]}, "no verb"),
        ({"steps": ["import os"]}, "a step is"),
        ({"steps": [{"do": "Write", "bursts": "8; reboot"}]}, "Write.bursts"),
        ({"steps": [{"do": "Write", "bursts": True}]}, "Write.bursts"),
        ({"steps": [{"do": "Write", "do_not": 1}]}, "has no"),
        ({"steps": [{"do": "Fail"}]}, "no scenario"),
        ({"steps": [{"do": "Write"}] * 501}, "up to 500"),
        ({"steps": {"do": "Write"}}, "a list"),
        ({"guest": "host"}, "host"),
        ({"oracles": ["none"]}, "none"),
    ],
)
def test_what_is_no_scenario_is_refused(change: dict[str, Any], says: str) -> None:
    with pytest.raises(BadInput, match=says):
        decode_scenario(first() | change)


def test_steps_within_steps_have_an_end() -> None:
    step: dict[str, Any] = {"do": "Write"}
    for _ in range(50):
        step = {"do": "During", "steps": [step]}
    with pytest.raises(BadInput, match="a step is"):
        decode_scenario(first() | {"steps": [step]})
