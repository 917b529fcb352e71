"""Long work tells how far it is, short work nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from testcases.unit.written_arrays import WrittenArray, array_of, noise
from tools import progress
from tools.cli import run


class Clock:
    """A second passes with each look at it."""

    def __init__(self, step_s: float) -> None:
        self.now_s = 0.0
        self._step_s = step_s

    def monotonic(self) -> float:
        """Return the time in seconds."""
        self.now_s += self._step_s
        return self.now_s


def test_off_a_terminal_a_line_comes_now_and_then(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "time", Clock(1))
    with progress.watched("check") as watch:
        for done in range(35):
            watch("reading the log", done * 10**6, 10**9)
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        f"mdjournal check: reading the log, at {done}.0 MB of 1.0 GB" for done in (9, 19, 29)
    ]


def test_short_work_says_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "time", Clock(0.001))
    with progress.watched("check") as watch:
        for done in range(35):
            watch("reading the log", done, 10**9)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (["check"], {"reading the log"}),
        (["dump"], {"reading the log"}),
        (["replay", "--dry-run"], {"reading the log"}),
        (["replay", "--in-place"], {"reading the log"}),
        (["replay", "--out", "out"], {"reading the log", "copying"}),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_commands_on_images_tell_of_reading_and_copying(
    command: list[str], words: set[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setattr(progress, "time", Clock(1000))
    monkeypatch.chdir(tmp_path)
    array = WrittenArray(array_of())
    array.write({0: noise(-1)})
    images = array.store(tmp_path / "images")
    run([*command, *map(str, images)])
    said = capsys.readouterr().err.splitlines()
    assert {line.split(": ", 1)[0] for line in said} == {f"mdjournal {command[0]}"}
    assert all(any(one in line for line in said) for one in words), said
