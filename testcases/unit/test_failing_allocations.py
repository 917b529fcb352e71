"""Failures are aimed at a module's code, or at one function of it; only such kernels are asked."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.campaign.lab import GuestImage
from harness.campaign.scenarios.campaign import Kernel, jobs_of
from harness.campaign.scenarios.failing_allocations import text_bounds
from harness.campaign.scenarios.scenario import GuestKind, Scenario
from harness.recovery.kernel_versions import era_to_run

SYMBOLS = """\
ffffffffc0005000 t r5l_run\t[raid456]
ffffffffc0003000 T r5l_start\t[raid456]
ffffffffc0003400 t r5l_end\t[raid456]
ffffffffc0001000 d a_variable\t[raid456]
ffffffffc0002000 t first\t[raid456]
"""


@pytest.mark.parametrize(
    ("function", "bounds"),
    [
        pytest.param("", (0xFFFFFFFFC0002000, 0xFFFFFFFFC0006000), id="the-module"),
        pytest.param("r5l_start", (0xFFFFFFFFC0003000, 0xFFFFFFFFC0003400), id="a-function"),
        pytest.param("r5l_run", (0xFFFFFFFFC0005000, 0xFFFFFFFFC0006000), id="the-last-function"),
        pytest.param("a_variable", None, id="no-function"),
    ],
)
def test_code_lies_between_its_symbols(function: str, bounds: tuple[int, int] | None) -> None:
    assert text_bounds(SYMBOLS.splitlines(), function) == bounds


@pytest.mark.parametrize("symbols", [[], ["0000000000000000 t first\t[raid456]"]])
def test_addresses_that_nobody_says_bound_nothing(symbols: list[str]) -> None:
    assert text_bounds(symbols) is None


def test_a_scenario_of_failures_is_no_job_of_a_kernel_that_cannot_fail() -> None:
    image = GuestImage(
        kernel_image=Path("k"), kernel_version="6.12.117-1", initramfs=Path("i"), identity="x",
        accelerator="tcg", saved_guests=Path("s"),
    )  # fmt: skip
    era = era_to_run("6.12.117")
    images = {GuestKind.TINY: image}
    kernels = [Kernel("6.12", images, era), Kernel("6.12-debug", images, era, injects=True)]
    scenarios = [Scenario(claim="a", steps=()), Scenario(claim="b", steps=(), injects=True)]
    jobs = jobs_of(scenarios, kernels, repeats=1, seed=1)
    done = [(job.scenario.name, job.kernel.name) for job in jobs]
    assert done == [("a", "6.12"), ("a", "6.12-debug"), ("b", "6.12-debug")]
