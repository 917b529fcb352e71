"""Ctrl-C or SIGTERM at any moment leaves no process, no socket and no file behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

import pytest

from harness.md.shape import Shape
from testcases.lab import Lab

pytestmark = pytest.mark.guest

ROOT = Path(__file__).resolve().parent.parent.parent
MARK = "MDJOURNAL_TEST_MARK"
GONE_WITHIN_S = 30.0


@pytest.fixture(scope="module")
def warm(lab: Lab, kernel: str) -> str:
    """Fetch and save everything first, so that the moments fall into the run itself."""
    options = lab.options(kernel, Shape(), seed=1, steps=1)
    lab.record(options)
    return kernel


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["ctrl-c", "sigterm"])
@pytest.mark.parametrize("after_s", [0.0, 0.4, 0.8, 1.2, 1.6, 2.0])
def test_an_interrupted_crash_leaves_nothing(
    warm: str, tmp_path: Path, number: signal.Signals, after_s: float
) -> None:
    interrupt(["crash", "--kernel", warm, "--steps", "200"], number, after_s, tmp_path)
    results = tmp_path / "results"
    assert not results.exists() or list(results.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["ctrl-c", "sigterm"])
@pytest.mark.parametrize("after_s", [2.0, 4.0])
def test_an_interrupted_exploration_leaves_what_it_knows_and_nothing_else(
    warm: str, tmp_path: Path, number: signal.Signals, after_s: float
) -> None:
    command = ["explore", "--kernel", warm, "--states", "5000", "--strategy", "random"]
    interrupt(command, number, after_s, tmp_path)


def interrupt(command: list[str], number: signal.Signals, after_s: float, place: Path) -> None:
    """Run a command with a place of its own, and send it a signal so long behind its beginning."""
    temporary = place / "tmp"
    temporary.mkdir()
    mark = uuid.uuid4().hex
    environment = {
        **os.environ, MARK: mark, "TMPDIR": str(temporary), "PYTHONPATH": str(ROOT),
        "MDJOURNAL_RESULTS": str(place / "results"),
    }  # fmt: skip
    with subprocess.Popen(
        [sys.executable, "-P", "-m", "tools.cli", *command, "--seed", "1"], env=environment,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, preexec_fn=hear_ctrl_c,
    ) as process:  # fmt: skip
        while not listens(process.pid):
            time.sleep(0.01)
        time.sleep(after_s)
        process.send_signal(number)
        said, _ = process.communicate(timeout=GONE_WITHIN_S)
    assert process.returncode == 130, said
    assert "Traceback" not in said
    assert processes_with(mark) == []
    assert list(temporary.iterdir()) == []


def listens(pid: int) -> bool:
    """Whether a command has begun to handle SIGTERM: Python alone handles Ctrl-C only."""
    status = Path(f"/proc/{pid}/status").read_text()
    (caught,) = (line.split()[1] for line in status.splitlines() if line.startswith("SigCgt"))
    return bool(int(caught, 16) & 1 << signal.SIGTERM - 1)


def hear_ctrl_c() -> None:
    """Undo what a shell does to its background jobs: they and all below ignore it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def processes_with(mark: str) -> list[str]:
    """Return the command lines of living processes that inherited this test's mark."""
    found = []
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            if f"{MARK}={mark}".encode() in (folder / "environ").read_bytes():
                found.append((folder / "cmdline").read_bytes().decode(errors="replace"))
        except OSError:  # ended meanwhile
            continue
    return found
