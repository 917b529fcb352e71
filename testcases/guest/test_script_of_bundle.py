"""Scripts of bundles, run by a shell in a Debian that knows nothing of this project."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from harness.campaign.exploring.recordings import bare_base
from harness.campaign.exploring.seeking import Ground, Seeker
from harness.campaign.known_issues import issues_of_any_kernel
from harness.campaign.reproducing.bundle import Bundle, GuestFacts, KernelFacts, Kind
from harness.campaign.reproducing.minimising import bundle_of
from harness.campaign.reproducing.running import Bench, explore_options
from harness.campaign.scenarios.full_rig import FullRig
from harness.campaign.scenarios.rig import Place
from harness.campaign.scenarios.verbs import SMALL
from harness.crash.pattern import Fill
from harness.crash.workload import FlushStep, Workload, Write, WriteStep
from harness.hosts.host import CommandResult
from harness.ondisk.units import ArraySector
from harness.verdict.reason import Reason
from harness.verdict.verdict import Outcome, Verdict
from kvm_images.debian_root import DEFAULT_MDADM
from tools.guest_options import era_of, find_kernel, full_guest_image, guest_image
from tools.repro_script import script_of

pytestmark = pytest.mark.guest

HOLE = Reason("write hole", "array sector N holds something, which no write put there whole")
BARE = replace(SMALL, journaled=False)
WORKLOAD = Workload(1, (WriteStep((Write(1, ArraySector(328), 8),)), FlushStep()), Fill.PLAIN)


@pytest.fixture(scope="module")
def machine(kernel: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FullRig]:
    """A full guest with root's shell."""
    found = find_kernel(kernel, None, (), say=print)
    image = full_guest_image(found, "auto", DEFAULT_MDADM, say=print)
    folder = tmp_path_factory.mktemp("machine")
    with FullRig(
        Place(image, SMALL, folder, 1, print, lambda _: None, 256), assembles=False
    ) as rig:
        rig.load_group("mapper")
        rig.load_group("loop")
        yield rig


@pytest.fixture(scope="module")
def hole(kernel: str, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A bundle of the write hole, in a state that a kernel has just left."""
    found = find_kernel(kernel, None, (), say=print)
    bench = Bench(image=guest_image(found, "auto", say=print), era=era_of(found), say=print)
    bundle = Bundle(
        kind=Kind.RECORDED, made_by="a test", shape=BARE, seed=1, reason=HOLE, workload=WORKLOAD,
        kernel=KernelFacts(name=kernel, release=found.release, version=found.version, identity=""),
        guest=GuestFacts(kind="tiny", accelerator="tcg"), verdict=Verdict(Outcome.DIFFERS),
    )  # fmt: skip
    options = explore_options(bundle, bench)
    base = bare_base(options.crash, tmp_path_factory.mktemp("base"), print)
    with Seeker(options, issues_of_any_kernel(BARE), say=print) as seeker:
        ground = Ground(base=base, mode=BARE.mode)
        red = seeker.record_and_look(HOLE, ground, WORKLOAD, WORKLOAD)
    assert red is not None
    return bundle_of(bundle, red)


def run(machine: FullRig, script: str) -> CommandResult:
    machine.ssh.put_files({"/root/red.sh": script.encode()})
    result = machine.ssh.run(["sh", "/root/red.sh"], deadline_s=600)
    devices = machine.ssh.run(["losetup", "--list"], deadline_s=60)
    assert devices.output == "", "a script leaves nothing behind"
    return result


def test_the_script_of_a_state_shows_the_red(machine: FullRig, hole: Bundle) -> None:
    result = run(machine, script_of(hole))
    assert result.status == 1, result.output
    assert "RED: sector 3" in result.output
    assert "wanted zeroes, or a write to it whole" in result.output


def test_of_a_state_without_the_red_it_says_so(machine: FullRig, hole: Bundle) -> None:
    # What was objected to now holds what the workload wrote: all members as before the write.
    images = {
        name: replace(image, content=type(image.content)({
            number: block for number, block in image.content.blocks.items() if number < 256
        }))
        for name, image in hole.images.items()
    }  # fmt: skip
    result = run(machine, script_of(replace(hole, images=images)))
    assert result.status == 0, result.output
    assert "not seen here" in result.output


def test_the_script_of_the_steps_makes_the_array_and_cuts_its_power(
    machine: FullRig, hole: Bundle
) -> None:
    result = run(machine, script_of(hole, by_steps=True))
    assert result.status == 0, result.output
    assert "kicking non-fresh" not in result.output  # the power went for all disks at once
    assert result.output.count("has been started") == 1
