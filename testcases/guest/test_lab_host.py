"""The full guest as the lab machine: stories on its own loop devices, disks that are refused."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from harness.campaign.scenarios.campaign import Kernel, jobs_of, run_jobs
from harness.campaign.scenarios.full_rig import FullRig
from harness.campaign.scenarios.results import Result, opened_results
from harness.campaign.scenarios.rig import Place
from harness.campaign.scenarios.verbs import (
    SMALL,
    Assemble,
    CutPower,
    ExpectSoon,
    Flush,
    ReadBack,
    Scenario,
    Unplug,
    Write,
)
from harness.errors import BadInput
from harness.hosts.host import run_checked
from harness.verdict.verdict import Outcome
from kvm_images.debian_root import DEFAULT_MDADM
from tools.guest_options import find_kernel, full_guest_image
from tools.lab_host import looked_at

pytestmark = pytest.mark.guest

NAME = "root@lab"
CUT = Scenario(
    claim="a power cut loses nothing that was flushed",
    # Quiet, so that the cut is in no superblock update: see mdadm-journal-one-event-ahead.
    steps=(
        Write(),
        Flush(),
        Write(),
        ExpectSoon("array_state", "^clean$"),
        CutPower(),
        Assemble(),
        ReadBack(),
    ),
)
PULLED = Scenario(claim="nobody pulls a disk", steps=(Write(), Unplug("journal")))


@pytest.fixture(scope="module")
def machine(kernel: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FullRig]:
    """A full guest with disks of its own, that knows nothing of stories."""
    image = full_guest_image(
        find_kernel(kernel, None, (), say=print), "auto", DEFAULT_MDADM, say=print
    )
    folder = tmp_path_factory.mktemp("lab machine")
    place = Place(image, replace(SMALL, spares=1), folder, 1, print, lambda _guest: None, 256)
    with FullRig(place, assembles=False) as rig:
        rig.load_group("mapper")
        rig.load_group("loop")
        yield rig


@pytest.fixture(scope="module")
def lab(machine: FullRig) -> Kernel:
    """The machine, after a look at it."""
    return looked_at(NAME, machine.connect, (), smallest_bytes=0, say=print)


@pytest.fixture(scope="module")
def results(lab: Kernel, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Result]:
    """What both stories came to."""
    folder: Path = tmp_path_factory.mktemp("stories")
    jobs = jobs_of([CUT, PULLED], [lab], repeats=1, seed=1)
    with opened_results(folder / "results.sqlite") as store:
        done = run_jobs(jobs, store, store.begin("lab"), folder, guests=1, say=print)
        return {result.scenario: result for result in done}


def test_a_story_with_a_power_cut_is_told_there(results: dict[str, Result]) -> None:
    result = results[CUT.name]
    said = "\n".join(
        line for oracle, what, more in result.findings for line in (f"{oracle}: {what}", *more)
    )
    assert result.outcome is Outcome.AGREES, f"{result.reason}\n{said}"


def test_what_is_not_possible_there_is_not_green(results: dict[str, Result]) -> None:
    result = results[PULLED.name]
    assert result.outcome is Outcome.NOT_RUN
    assert result.reason.startswith("not possible there: unplug")


def test_nothing_is_left_behind(results: dict[str, Result], machine: FullRig) -> None:
    for argv, leftover in (
        (["dmsetup", "ls"], "mdjournal"), (["losetup", "--list"], "mdjournal"),
        (["ls", "/var/tmp", "/run/udev/rules.d"], "mdjournal"),  # noqa: S108
        (["cat", "/proc/mdstat"], "md0"),
    ):  # fmt: skip
        assert leftover not in machine.ssh.run(argv, deadline_s=60).output, argv


def test_a_disk_with_something_on_it_is_refused(machine: FullRig) -> None:
    """Unless it is named twice, and one in use always; a disk named twice is for the unit tests."""
    disk = machine.nodes["spare0"]
    run_checked(machine.ssh, ["mkfs.ext4", "-q", "-F", disk], deadline_s=120)
    with pytest.raises(BadInput, match=f"--disk {disk} on {NAME}: carries ext4"):
        looked_at(NAME, machine.connect, (disk,), smallest_bytes=1, say=print)
    run_checked(machine.ssh, ["mount", disk, "/mnt"], deadline_s=120)
    with pytest.raises(BadInput, match="is in use: mounted on /mnt"):
        looked_at(NAME, machine.connect, (disk, disk), smallest_bytes=1, say=print)
