"""What scenarios came to: written down as they end, gone on with, and shown as a grid."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest

from harness.campaign.evidence import Evidence
from harness.campaign.lab import GuestImage
from harness.campaign.scenarios import campaign
from harness.campaign.scenarios.campaign import Kernel, jobs_of, run_jobs
from harness.campaign.scenarios.results import Result, opened_results
from harness.campaign.scenarios.running import ScenarioOptions, ScenarioRun
from harness.campaign.scenarios.scenario import GuestKind, Scenario
from harness.errors import BadInput, GuestVanished
from harness.recovery.kernel_versions import era_to_run
from harness.verdict.verdict import Outcome
from tools.scenario_grid import document_of, grid_lines, missed_rate


def result(
    scenario: str = "one", kernel: str = "6.1", repeat: int = 1, outcome: Outcome = Outcome.AGREES,
    reason: str = "",
) -> Result:  # fmt: skip
    findings = (("alive", "it hangs", ("a stack",)),) if outcome is Outcome.DIFFERS else ()
    return Result(
        scenario=scenario, kernel=kernel, repeat=repeat, outcome=outcome, reason=reason,
        findings=findings, seconds=2.0, longest_step_s=0.5, evidence="/kept",
    )  # fmt: skip


def test_what_was_written_down_is_read_as_it_was(tmp_path: Path) -> None:
    written = [result(), result(kernel="7.3", outcome=Outcome.DIFFERS, reason="it hangs")]
    with opened_results(tmp_path / "results.sqlite") as store:
        run = store.begin("key")
        for each in written:
            store.add(run, each)
    with opened_results(tmp_path / "results.sqlite") as store:
        assert store.begin("key") == run, "it was not finished: it is gone on with"
        assert sorted(store.of_run(run), key=lambda r: r.kernel) == written
        assert store.begin("another key") != run


def test_a_finished_run_begins_anew_and_the_newest_results_stay(tmp_path: Path) -> None:
    with opened_results(tmp_path / "results.sqlite") as store:
        first = store.begin("key")
        store.add(first, result(outcome=Outcome.DIFFERS))
        store.finish(first)
        second = store.begin("key")
        assert second != first
        assert store.of_run(second) == []
        store.add(second, result())
        assert store.newest() == [result()]


@pytest.mark.parametrize("content", [b"not a database, by its first bytes" * 100, None])
def test_a_file_that_is_none_of_ours_is_told(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "results.sqlite"
    if content is None:
        with sqlite3.connect(path) as connection:
            connection.execute("PRAGMA user_version = 99")
    else:
        path.write_bytes(content)
    with pytest.raises(BadInput, match="remove it"), opened_results(path):
        pass


def test_what_is_kept_is_called_by_the_name_under_which_it_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run's folder has another name while it runs; a message must not send anybody there."""

    def lost(_options: ScenarioOptions, evidence: Evidence, *, say: object) -> ScenarioRun:
        del say
        raise GuestVanished(f"QEMU is gone; console ({evidence.path('live') / 'console-1.log'}):")

    monkeypatch.setattr(campaign, "run_scenario", lost)
    image = GuestImage(
        kernel_image=Path("k"), kernel_version="6.1.192", initramfs=Path("i"), identity="x",
        accelerator="tcg", saved_guests=Path("s"),
    )  # fmt: skip
    kernel = Kernel("6.1", {GuestKind.TINY: image}, era_to_run("6.1.192"))
    jobs = jobs_of([Scenario(claim="a story", steps=())], [kernel], repeats=1, seed=1)
    with opened_results(tmp_path / "results.sqlite") as store:
        (found,) = run_jobs(jobs, store, store.begin("key"), tmp_path, guests=1, say=print)
    kept = tmp_path / "a-story-6.1-1"
    assert found.outcome is Outcome.HARNESS_FAILED
    assert found.evidence == str(kept)
    assert found.reason == f"QEMU is gone; console ({kept / 'live/console-1.log'}):"
    assert str(kept) in (kept / "verdict.json").read_text()


def test_the_grid_shows_the_worst_of_a_cells_repeats() -> None:
    results = [
        result(repeat=1), result(repeat=2, outcome=Outcome.DIFFERS), result(repeat=3),
        result("two", outcome=Outcome.KNOWN, reason="stop-hangs"),
    ]  # fmt: skip
    lines = grid_lines(results, ["one", "two"], ["6.1", "7.3"], 3)
    assert [line.split() for line in lines[:3]] == [
        ["6.1", "7.3"], ["one", "DIFFERS", "1/3", "-"], ["two", "KNOWN", "-"]
    ]  # fmt: skip
    text = "\n".join(lines)
    assert "DIFFERS one on 6.1 (repeat 2)\n    alive: it hangs\n        a stack" in text
    assert "KNOWN two on 6.1\n    stop-hangs" in text
    assert "verdicts   AGREES 2, KNOWN 1, DIFFERS 1; 8 s of guests" in text
    assert "in each of 3 repeats" in text


@pytest.mark.parametrize(("repeats", "rate"), [(1, "95.0%"), (2, "77.6%"), (59, "5.0%")])
def test_the_rate_that_so_many_green_repeats_may_have_missed(repeats: int, rate: str) -> None:
    """59 is the textbook's number of tries for less than 5 % at 95 %."""
    assert f"less than {rate} of runs" in missed_rate(repeats)


def test_the_document_is_json() -> None:
    document = json.loads(json.dumps(document_of([result(outcome=Outcome.DIFFERS)])))
    (row,) = document["results"]
    assert (row["verdict"], row["findings"]) == ("DIFFERS", [["alive", "it hangs", ["a stack"]]])
