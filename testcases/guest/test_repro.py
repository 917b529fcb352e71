"""From a red to a bundle and back on a real kernel: run again, reduced, scrubbed, imported."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from harness.campaign.reproducing.bundle import Kind
from harness.campaign.reproducing.bundle_json import load_bundle, save_bundle

pytestmark = pytest.mark.guest

TOOL = [sys.executable, str(Path(__file__).resolve().parents[2] / "tools/mdjournal")]
KIB = 1024
STORY = "the-number-of-active-stripes-can-be-read"  # red on every kernel so far


class Shell:
    """Runs the tool in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, *words: str, ends: int = 0) -> str:
        """Run a command that must end so; return what it printed."""
        done = subprocess.run(
            [*TOOL, *words], cwd=self.folder, capture_output=True, text=True, check=False,
            env={**os.environ, "MDJOURNAL_RESULTS": str(self.folder / "results")},
        )  # fmt: skip
        assert done.returncode == ends, f"{words}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Shell:
    return Shell(tmp_path_factory.mktemp("repro"))


@pytest.fixture(scope="module")
def hole(shell: Shell, kernel: str) -> Path:
    """The bundle of a write hole, packed of an exploration."""
    shell("explore", "--no-journal", "--kernel", kernel, "--states", "40", ends=1)
    shell("repro", "pack", "LAST", "--out", "hole.mdjr")
    return shell.folder / "hole.mdjr"


def test_a_red_is_red_again_for_the_same_reason(shell: Shell, hole: Path) -> None:
    assert hole.stat().st_size < 64 * KIB
    document = json.loads(shell("repro", "run", str(hole), "--json", ends=1))
    assert document["red_again"]
    assert document["bundle"]["reason"].startswith("write hole: ")
    assert all(finding["oracle"] == "write hole" for finding in document["findings"])


def test_what_is_not_red_any_more_ends_with_0(shell: Shell, hole: Path) -> None:
    bundle = load_bundle(hole)
    assert bundle.workload is not None
    # The same array, and nothing is written to it: the hole cannot be there.
    nothing = replace(bundle, workload=replace(bundle.workload, steps=()), kind=Kind.RECORDED)
    save_bundle(shell.folder / "nothing.mdjr", nothing)
    document = json.loads(shell("repro", "run", "nothing.mdjr", "--json"))
    assert not document["red_again"]
    assert document["runs"] > 5, "it is certain only after as many"


def test_it_is_reduced_and_scrubbed_and_stays_red(shell: Shell, hole: Path) -> None:
    shell("repro", "minimise", str(hole), "--time", "20", "--tries", "2", "--out", "small.mdjr")
    small = load_bundle(shell.folder / "small.mdjr")
    assert small.shape.component_bytes < load_bundle(hole).shape.component_bytes
    assert small.runs.red > 0
    shell("repro", "scrub", "small.mdjr", "--out", "clean.mdjr")
    clean = load_bundle(shell.folder / "clean.mdjr")
    assert clean.seed != small.seed
    shell("repro", "run", "clean.mdjr", ends=1)


def test_a_story_is_told_again_and_loses_the_steps_that_it_does_not_take(
    shell: Shell, kernel: str
) -> None:
    shell("scenarios", "run", STORY, "--kernel", kernel)
    shell("repro", "pack", "LAST", "--out", "story.mdjr")
    shell("repro", "run", "story.mdjr", ends=1)
    shell("repro", "minimise", "story.mdjr", "--time", "60", "--tries", "1", "--out", "short.mdjr")
    story, short = (load_bundle(shell.folder / f"{name}.mdjr") for name in ("story", "short"))
    assert story.reason == short.reason
    assert story.reason is not None
    assert story.reason.known_as == "strip-cache-active-is-misspelled"
    assert story.scenario is not None
    assert short.scenario is not None
    assert len(short.scenario.steps) == 1 < len(story.scenario.steps)
    script = shell("repro", "script", "short.mdjr")
    subprocess.run(["sh", "-n"], input=script, text=True, check=True)


def test_images_that_somebody_sent_are_run(shell: Shell, kernel: str) -> None:
    words = ("--kernel", kernel, "--seed", "7", "--steps", "6", "--journal-size", "1M", "--keep")
    told = json.loads(shell("crash", *words, "--json"))
    before = Path(told["evidence"]) / "before"
    images = sorted(map(str, before.glob("*.img")))
    shell("repro", "import", *images, "--kernel", kernel, "--out", "whole.mdjr")
    first = shell.folder / "member1.first"
    first.write_bytes((before / "member1.img").read_bytes()[: 1 << 20])
    rest = [str(before / f"{name}.img") for name in ("member0", "journal")]
    part = shell("repro", "import", *rest, str(first), "--kernel", kernel, "--out", "part.mdjr")
    assert "member0: whole" in part
    assert "member1: the first 1048576 bytes" in part
    assert "member2: not sent" in part
    for name in ("whole", "part"):
        document = json.loads(shell("repro", "run", f"{name}.mdjr", "--json"))
        assert document["verdict"] == "AGREES", name
        assert document["standing"] == "good"


def test_packaged_kernels_are_walked(shell: Shell, hole: Path, kernel: str) -> None:
    told = shell("bisect", "kernels", str(hole), "--kernel", kernel)
    assert told.splitlines()[0].startswith("bad ")
    assert "last good  none before it" in told
