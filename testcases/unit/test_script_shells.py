"""What `repro script` prints is a sound shell script: shellcheck reads it, as it reads our own."""

from __future__ import annotations

import subprocess
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest

from harness.campaign.reproducing.bundle import Bundle, GuestFacts, KernelFacts, Kind
from harness.campaign.reproducing.packing import disk_images
from harness.campaign.scenarios.verbs import (
    SMALL,
    Assemble,
    Check,
    CutPower,
    During,
    Expect,
    Fail,
    Flush,
    Mdadm,
    ReadBack,
    Scenario,
    Set,
    Stop,
    Switch,
    Write,
)
from harness.crash.workload import JournalMode
from harness.verdict.reason import Reason
from harness.verdict.verdict import Outcome, Verdict
from tools.repro_script import script_of

STORY = Scenario(
    claim="a story",
    steps=(
        Write(bursts=2), Flush(), Switch(JournalMode.WRITE_BACK), During((Check(),)),
        Fail("member1"), Expect("degraded", "^1$"), Set("stripe_cache_size", "512"),
        Mdadm("--detail {array}"), ReadBack(), CutPower(), Assemble(), Stop(),
    ),
)  # fmt: skip
BUNDLE = Bundle(
    kind=Kind.SCENARIO, made_by="a test", shape=SMALL, seed=1, scenario=STORY,
    kernel=KernelFacts(name="6.1", release="6.1.0", version="6.1.192-3", identity=""),
    guest=GuestFacts(kind="tiny", accelerator="tcg", mdadm="4.2-5"),
    verdict=Verdict(Outcome.DIFFERS), reason=Reason("contents", "a sector holds something"),
)  # fmt: skip
CASE = Path(__file__).resolve().parents[1] / "corpus/raid5-write-back-cut-6.1/images.tar.xz"


def state_of(folder: Path, *, journaled: bool) -> Bundle:
    """Return a bundle of disks that a real kernel left, with or without their journal."""
    with tarfile.open(CASE) as tar:
        tar.extractall(folder, filter="data")
    disks = disk_images(folder / "before")
    names = [f"member{slot}" for slot in range(len(disks) - 1)] + ["journal"] * journaled
    sizes = tuple(disks[name].size_bytes for name in names)
    shape = replace(SMALL, members=len(disks) - 1, own_sizes=sizes, journaled=journaled)
    return replace(
        BUNDLE, kind=Kind.IMPORTED, scenario=None, reason=None, shape=shape,
        images={name: disks[name] for name in names}, there=tuple(names),
    )  # fmt: skip


# Lists of nodes are words on purpose; functions that one script needs and another does not.
LEFT_ALONE = "SC2086,SC2317,SC2016"


def objections(script: str) -> str:
    """Return what shellcheck says of a script."""
    done = subprocess.run(
        ["shellcheck", "--shell=sh", f"--exclude={LEFT_ALONE}", "-"],
        input=script, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return done.stdout + done.stderr


def test_shellcheck_has_no_objection_to_a_storys_steps() -> None:
    assert objections(script_of(BUNDLE)) == ""


@pytest.mark.parametrize("journaled", [True, False], ids=["journal", "write hole"])
def test_shellcheck_has_no_objection_to_a_state(journaled: bool, tmp_path: Path) -> None:
    script = script_of(state_of(tmp_path, journaled=journaled))
    assert ("starting the array dirty" in script) is not journaled
    assert objections(script) == ""


def test_shellcheck_does_object() -> None:
    assert "SC2034" in objections("#!/bin/sh\nunused=1\n")
