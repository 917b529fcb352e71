"""The quick scenarios on a real kernel; all of them are for `mdjournal scenarios run --all`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from harness.campaign.scenarios.campaign import Kernel, jobs_of, run_jobs
from harness.campaign.scenarios.results import Result, opened_results
from harness.campaign.scenarios.scenario import GuestKind, read_scenarios
from harness.verdict.verdict import Outcome
from testcases.lab import Lab
from tools.scenarios import FOLDER

pytestmark = pytest.mark.guest

QUICK = {scenario.name: scenario for scenario in read_scenarios(FOLDER) if scenario.quick}


@pytest.fixture(scope="module")
def results(
    lab: Lab, kernel: str, tmp_path_factory: pytest.TempPathFactory
) -> Mapping[str, Result]:
    """All of them, run two at a time."""
    options = lab.options(kernel, next(iter(QUICK.values())).needs, seed=1)
    grid = [Kernel(kernel, {GuestKind.TINY: options.image}, options.era)]
    jobs = jobs_of(list(QUICK.values()), grid, repeats=1, seed=1)
    folder: Path = tmp_path_factory.mktemp("scenarios")
    with opened_results(folder / "results.sqlite") as store:
        run = store.begin("quick")
        done = list(run_jobs(jobs, store, run, folder, guests=2, say=print))
        # Gone on with, all of it is known.
        again = list(run_jobs(jobs, store, run, folder, guests=2, say=print))
    assert sorted(again, key=lambda r: r.scenario) == sorted(done, key=lambda r: r.scenario)
    return {result.scenario: result for result in done}


@pytest.mark.parametrize("name", QUICK)
def test_its_claim_holds(results: Mapping[str, Result], name: str) -> None:
    result = results[name]
    said = "\n".join(
        line for oracle, what, more in result.findings for line in (f"{oracle}: {what}", *more)
    )
    assert result.outcome in (Outcome.AGREES, Outcome.KNOWN), f"{result.reason}\n{said}"
