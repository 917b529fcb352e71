"""`mdjournal nightly`: which night it begins or goes on with, and how it ends where it cannot."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.campaign.exploring.alone import alone_in
from harness.campaign.history.records import Run
from harness.campaign.history.store import History, opened_history
from harness.campaign.nights.plan import plan_of
from harness.errors import BadInput, Unavailable
from tools import nightly
from tools.cli import run

PLAN = 'kernels = ["6.1"]\n[[explore]]\nname = "five"\n'
OTHER = 'kernels = ["6.1"]\n[[explore]]\nname = "six"\n'


@pytest.fixture
def history(tmp_path: Path) -> Iterator[History]:
    with opened_history(tmp_path / "history.sqlite") as store:
        yield store


def begun(history: History, out: Path | None, text: str = PLAN) -> Run:
    plan = plan_of(text)
    folder = nightly._folder(history, plan, out)
    assert folder.is_dir()
    return nightly._run(history, plan, folder, 60.0)


@pytest.fixture(autouse=True)
def typed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(nightly, "typed_command", lambda: "nightly")
    monkeypatch.chdir(tmp_path)


def test_an_interrupted_night_is_gone_on_with_in_its_folder(
    history: History, tmp_path: Path
) -> None:
    one, two = begun(history, tmp_path / "n1"), begun(history, tmp_path / "n2")
    assert (one.name, two.name) == ("n1", "n2")
    assert begun(history, tmp_path / "n1") == one
    assert begun(history, tmp_path / "n2") == two
    # Another plan is another night, in whatever folder.
    assert begun(history, tmp_path / "n1", OTHER).name == "n1.2"
    history.end_run(one)
    (tmp_path / "n1" / "index.html").touch()
    with pytest.raises(BadInput, match="has a night that is over; take another folder"):
        begun(history, tmp_path / "n1")


def test_without_a_folder_the_plans_interrupted_night_goes_on(
    history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.strftime", lambda *_: "2026-11-29")
    first = begun(history, None)
    assert first.name == "night-2026-11-29"
    monkeypatch.setattr("time.strftime", lambda *_: "2026-11-30")
    assert begun(history, None) == first
    assert begun(history, None, OTHER).name == "night-2026-11-30"
    history.end_run(first)
    assert begun(history, None).name == "night-2026-11-30.2"


def test_nights_of_one_name_in_different_folders(history: History, tmp_path: Path) -> None:
    assert begun(history, tmp_path / "a" / "night").name == "night"
    assert begun(history, tmp_path / "b" / "night").name == "night.2"


def test_what_cannot_be_had_ends_with_3_and_misuse_with_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def lacking(*_: Any, **__: Any) -> Any:
        raise Unavailable("no kernel of the plan can be had; kernel 6.1: no mirror")

    (tmp_path / "plan.toml").write_text(PLAN)
    words = ["nightly", str(tmp_path / "plan.toml")]
    monkeypatch.setattr(nightly, "prepared", lacking)
    assert run([*words, "--fetch"]) == 3
    assert "kernel 6.1: no mirror" in capsys.readouterr().err
    (tmp_path / "plan.toml").write_text("kernels = []")
    assert run([*words, "--fetch"]) == 2


def test_a_dry_run_makes_no_history(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MDJOURNAL_RESULTS", str(tmp_path / "results"))
    (tmp_path / "plan.toml").write_text(PLAN)
    assert run(["nightly", str(tmp_path / "plan.toml"), "--dry-run"]) == 0
    assert capsys.readouterr().out.startswith("plan       1 shapes, 0 scenarios, 1 kernels")
    assert not (tmp_path / "results").exists()


def test_a_folder_in_which_a_night_goes_on_is_said_to_be_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MDJOURNAL_RESULTS", str(tmp_path / "results"))
    (tmp_path / "plan.toml").write_text(PLAN)
    (tmp_path / "n").mkdir()
    with alone_in(tmp_path / "n"):
        words = ["nightly", str(tmp_path / "plan.toml"), "--out", str(tmp_path / "n")]
        assert run(words) == 2
    assert "a night goes on in it; wait for it, or take another folder" in capsys.readouterr().err
