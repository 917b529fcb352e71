"""Each oracle of a scenario sees what it is there for: stories that cannot come out well."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import ClassVar

import pytest

from harness.campaign.scenarios import stage as staging
from harness.campaign.scenarios.running import ScenarioOptions, run_scenario
from harness.campaign.scenarios.scenario import SMALL, Scenario, Verb
from harness.campaign.scenarios.stage import Stage
from harness.campaign.scenarios.verbs import (
    Assemble,
    DamageParity,
    Expect,
    Extent,
    FaultKind,
    Flush,
    Inject,
    Mdadm,
    ReadBack,
    Stop,
    Write,
)
from harness.md.shape import MEMBER_OFFSET_SECTORS, member_name
from harness.ondisk.superblock import superblock_checksum
from harness.ondisk.units import BLOCK_SECTORS, SECTOR_BYTES, ArraySector
from harness.verdict.verdict import Outcome, Verdict
from testcases.lab import Lab

pytestmark = pytest.mark.guest


@dataclass(frozen=True, slots=True)
class DamageData(Verb):
    """Overwrite a data page that was written, behind md's back."""

    words: ClassVar[str] = "damage data"

    def do(self, stage: Stage) -> None:
        """Write to the member itself, with parity left as it was."""
        write = stage.written.writes[min(stage.written.writes)]
        place = stage.shape.geometry.place(ArraySector(write.sector - write.sector % BLOCK_SECTORS))
        offset = (MEMBER_OFFSET_SECTORS + place.sector) * SECTOR_BYTES
        node = stage.node(member_name(place.device))
        stage.call("write_bytes", path=node, offset=offset, hex=(b"lost " * 820)[:4096].hex())


@dataclass(frozen=True, slots=True)
class Complain(Verb):
    """Write a line into the kernel's log as the kernel does when something is wrong."""

    words: ClassVar[str] = "complain"

    def do(self, stage: Stage) -> None:
        """Write it."""
        stage.run(["/bin/busybox", "sh", "-c", "echo 'WARNING: CPU: 0 at raid5.c' > /dev/kmsg"])


@dataclass(frozen=True, slots=True, kw_only=True)
class PutJournalAhead(Verb):
    """Let the journal of a stopped array have seen so many superblock updates more."""

    words: ClassVar[str] = "put journal ahead"

    events: int

    def do(self, stage: Stage) -> None:
        """Write its superblock, with the checksum that this takes."""
        raw = bytearray(stage.rig.contents_at_end()["journal"].read(4096, 4096))
        (found,) = struct.unpack_from("<Q", raw, 200)
        struct.pack_into("<Q", raw, 200, found + self.events)
        struct.pack_into("<I", raw, 216, superblock_checksum(bytes(raw)))
        stage.call("write_bytes", path=stage.node("journal"), offset=4096, hex=bytes(raw).hex())


def verdict(lab: Lab, kernel: str, *steps: Verb) -> Verdict:
    found = lab.options(kernel, SMALL, seed=1)
    options = ScenarioOptions(
        scenario=Scenario(claim="this cannot come out well", steps=steps),
        image=found.image, era=found.era, seed=1,
    )  # fmt: skip
    return run_scenario(options, lab.evidence(), say=print).verdict


def red(found: Verdict) -> dict[str, str]:
    """Return what each oracle objected to, in one text."""
    assert found.outcome is Outcome.DIFFERS
    reds: dict[str, str] = {}
    for finding in found.findings:
        reds[finding.oracle] = reds.get(finding.oracle, "") + finding.what + "\n"
    return reds


# An assembly begins with an empty log: nothing in it mends what is damaged behind that.
WRITTEN = (Write(extent=Extent.ROW, bursts=1, at_once=1), Flush(), Stop(), Assemble())


def test_data_that_changed_is_read_back_red_and_seen_on_the_disks(lab: Lab, kernel: str) -> None:
    reds = red(verdict(lab, kernel, *WRITTEN, DamageData(), ReadBack()))
    assert "holds other bytes" in reds["read back"]
    assert "holds other bytes" in reds["contents"]
    assert "is not its parity" in reds["redundancy"]
    assert "no record in the log has that page" in reds["write ordering"]


def test_parity_that_does_not_fit_is_red(lab: Lab, kernel: str) -> None:
    reds = red(verdict(lab, kernel, *WRITTEN, DamageParity()))
    assert "is not its parity" in reds["redundancy"]
    assert "read back" not in reds


def test_a_step_that_does_not_find_what_it_expects_is_red(lab: Lab, kernel: str) -> None:
    reds = red(verdict(lab, kernel, Expect("degraded", "^7$"), Mdadm("--version", refused=".")))
    assert "degraded is '^7$'" in reds["step"]
    assert "--version is refused" in reds["step"]


@pytest.mark.parametrize(("ahead", "outcome"), [(1, Outcome.KNOWN), (2, Outcome.DIFFERS)])
def test_a_refused_array_is_red_or_known_by_its_events(
    lab: Lab, kernel: str, ahead: int, outcome: Outcome
) -> None:
    """By one it is mdadm's own fault, as a power cut inside an update shows it, and listed."""
    put = PutJournalAhead(events=ahead)
    found = verdict(lab, kernel, Write(bursts=2), Flush(), Stop(), put, Assemble(), ReadBack())
    (finding,) = found.findings
    assert finding.oracle == "available"
    assert finding.facts["journal_events_ahead"] == ahead
    assert found.outcome is outcome


def test_a_kernel_that_complains_is_red(lab: Lab, kernel: str) -> None:
    assert "the kernel complains: " in red(verdict(lab, kernel, Complain()))["alive"]


def test_a_write_that_never_ends_is_red_with_what_the_guest_looked_like(
    lab: Lab, kernel: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(staging, "STEP_DEADLINE_S", 5.0)
    hang = Inject(disk="journal", kind=FaultKind.HANG, operations=("write",))
    found = verdict(lab, kernel, hang, Write(bursts=1))
    assert "hangs: step 3, write" in red(found)["alive"]
    details = "\n".join(line for finding in found.findings for line in finding.details)
    assert "blkdev_write_iter" in details
