"""A lab machine: which disks are taken, which stories are possible, what a cut leaves."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.campaign.lab_machine import LabMachine
from harness.campaign.scenarios.lab_rig import can_cut, devices_of, require_fit
from harness.campaign.scenarios.possible import not_possible
from harness.campaign.scenarios.verbs import (
    SMALL,
    Assemble,
    Bus,
    CutPower,
    During,
    Flush,
    GuestKind,
    Inject,
    Loss,
    Reboot,
    Scenario,
    Unplug,
    UseMemory,
    Verb,
    Write,
)
from harness.crash.log_writes import export_disk
from harness.crash.trace import (
    Cache,
    Completion,
    Flag,
    Issue,
    Mark,
    Operation,
    Trace,
    TraceDisk,
)
from harness.errors import BadInput
from kvm_images.lab import benches
from kvm_images.lab_files import agent_files, udev_rules
from tools.lab_host import _version_of, require_blank

BLANK: dict[str, Any] = {
    "error": "", "size_bytes": 1 << 30, "blank": True,
    "used_by": [], "signatures": [], "arrays": [],
}  # fmt: skip
FACTS: dict[str, Any] = {
    "user": 0, "md0": False, "mdadm_status": 0, "mdadm": "mdadm - v4.2", "raid456": True,
    "targets": ["linear", "log-writes"], "release": "6.1.0-55-amd64",
    "kernel": "Linux version 6.1.0-55-amd64 (d@d.org) (gcc-12 (Debian 12.2.0-14) 12.2.0, GNU ld"
    " (GNU Binutils for Debian) 2.40) #1 SMP PREEMPT_DYNAMIC Debian 6.1.192-2 (2026-10-01)",
}  # fmt: skip


def machine(*disks: str) -> LabMachine:
    def connect() -> Any:
        raise AssertionError("nobody is to be asked")

    return LabMachine(
        name="root@lab7", connect=connect, agent={}, rules="", can_cut=True, disks=disks
    )


# Disks


@pytest.mark.parametrize(
    ("look", "twice"),
    [
        ({}, False),
        ({"signatures": ["linux_raid_member"], "arrays": ["any:mdjournal"], "blank": False}, False),
        ({"signatures": ["ext4"], "blank": False}, True),
        ({"blank": False}, True),
    ],
    ids=["blank", "of-an-array-of-ours", "ext4-named-twice", "bytes-named-twice"],
)
def test_a_disk_is_taken_that_carries_nothing_of_worth(look: dict[str, Any], twice: bool) -> None:
    require_blank("root@lab7", "/dev/sdx", BLANK | look, twice=twice)


@pytest.mark.parametrize(
    ("look", "says"),
    [
        ({"signatures": ["gpt"], "blank": False}, "carries gpt"),
        ({"signatures": ["xfs"], "blank": False}, "carries xfs"),
        ({"signatures": ["LVM2_member"], "blank": False}, "carries LVM2_member"),
        (
            {"signatures": ["linux_raid_member"], "arrays": ["nas:home"], "blank": False},
            "carries linux_raid_member, array nas:home",
        ),
        (
            {"signatures": ["linux_raid_member", "xfs"], "arrays": ["mdjournal"], "blank": False},
            "carries linux_raid_member, xfs, array mdjournal",
        ),
        ({"blank": False}, "carries bytes that no program here knows"),
    ],
)
def test_a_disk_with_something_on_it_has_to_be_named_twice(look: dict[str, Any], says: str) -> None:
    with pytest.raises(BadInput) as refused:
        require_blank("root@lab7", "/dev/sdx", BLANK | look, twice=False)
    first, second = str(refused.value).splitlines()
    assert first.startswith(f"--disk /dev/sdx on root@lab7: {says}")
    assert second.endswith("name it twice: --disk /dev/sdx --disk /dev/sdx")


@pytest.mark.parametrize("twice", [False, True])
@pytest.mark.parametrize(
    ("look", "says"),
    [
        ({"used_by": ["mounted on /srv", "held by dm-0"]}, "in use: mounted on /srv, held by dm-0"),
        ({"error": "is no block device"}, "is no block device"),
    ],
)
def test_a_disk_in_use_is_never_taken(look: dict[str, Any], says: str, twice: bool) -> None:
    with pytest.raises(BadInput, match=re.escape(says)):
        require_blank("root@lab7", "/dev/sdx", BLANK | look, twice=twice)


def test_disks_are_given_out_in_order_and_there_must_be_enough() -> None:
    assert devices_of(machine(), SMALL) == ["", "", "", ""]
    assert devices_of(machine("/a", "/b", "/c", "/d", "/e"), SMALL) == ["/a", "/b", "/c", "/d"]
    with pytest.raises(BadInput, match="2 disks are named, this story takes 4"):
        devices_of(machine("/a", "/b"), SMALL)


# The machine


def test_a_machine_that_has_all_is_fit() -> None:
    require_fit("root@lab7", FACTS)
    assert can_cut(FACTS)
    assert not can_cut(FACTS | {"targets": ["linear"]})


@pytest.mark.parametrize(
    ("fact", "says"),
    [
        ({"user": 1000}, "wanted root"), ({"md0": True}, "has an array md0"),
        ({"mdadm_status": 127}, "no mdadm"), ({"targets": []}, "no device-mapper"),
        ({"raid456": False}, "no raid456"),
    ],
)  # fmt: skip
def test_a_machine_that_lacks_something_is_told_what(fact: dict[str, Any], says: str) -> None:
    with pytest.raises(BadInput, match=says):
        require_fit("root@lab7", FACTS | fact)


def test_the_kernels_version_is_debians_and_not_the_compilers() -> None:
    assert _version_of(FACTS) == "6.1.192-2"
    assert _version_of(FACTS | {"kernel": "Linux version 6.12.5 (gcc (Debian 12.2) 12) #1 SMP Mon"
                                , "release": "6.12.5"}) == "6.12.5"  # fmt: skip


def test_the_agents_files_are_all_that_it_imports() -> None:
    files = agent_files()
    texts = {name: text.decode() for name, text in files.items()}
    for name, text in texts.items():
        for module in re.findall(
            r"^from ((?:harness|kvm_images)[\w.]*) import", text, re.MULTILINE
        ):
            path = module.replace(".", "/")
            assert f"{path}.py" in files or f"{path}/__init__.py" in files, f"{name}: {module}"
    assert 'ENV{ID_FS_TYPE}=""' in udev_rules()
    assert f"{benches.PLACE}/mdjournal-*" in udev_rules()


# Stories


def story(*steps: Verb, **more: Any) -> Scenario:
    return Scenario(claim="x", steps=steps, **more)


@pytest.mark.parametrize(
    "scenario",
    [
        story(Write(), Flush(), CutPower(), Assemble()),
        story(Write(), CutPower(loss=Loss.NONE), needs=replace(SMALL, bus=Bus.LOOP)),
    ],
    ids=["cut", "nothing-lost"],
)
def test_what_loop_devices_and_dm_log_writes_give_is_possible(scenario: Scenario) -> None:
    assert not_possible(scenario, can_cut=True) == ""


@pytest.mark.parametrize(
    ("scenario", "says"),
    [
        (story(Unplug("journal")), "unplug"), (story(Reboot()), "reboot"),
        (story(Write(), During((Inject(disk="journal"),))), "inject"),
        (story(UseMemory()), "memory"), (story(CutPower(loss=Loss.RANDOM)), "no part of it"),
        (story(Write(), guest=GuestKind.FULL), "udev and systemd"),
        (story(Write(), needs=replace(SMALL, bus=Bus.NVME)), "nvme"),
    ],
    ids=["unplug", "reboot", "inject-inside", "memory", "random", "full", "bus"],
)  # fmt: skip
def test_what_a_lab_machine_cannot_give_is_told(scenario: Scenario, says: str) -> None:
    assert says in not_possible(scenario, can_cut=True)


def test_without_dm_log_writes_no_power_is_cut() -> None:
    assert "dm-log-writes" in not_possible(story(CutPower()), can_cut=False)
    assert not_possible(story(Write()), can_cut=False) == ""


# What a cut leaves


def log_of(*events: Issue | Mark) -> bytes:
    numbered: list[Any] = []
    for event in events:
        numbered.append(event)
        if isinstance(event, Issue):
            numbered.append(Completion(event.sequence + 1, event.request, 0, 0))
    disk = TraceDisk("d", 1 << 16, Cache.WRITE_BACK, 512)
    return b"".join(export_disk(Trace((disk,), tuple(numbered)), "d"))


def write(number: int, offset: int, byte: bytes, kind: Operation = Operation.WRITE) -> Issue:
    payload = byte * 512 if kind is Operation.WRITE else b""
    return Issue(number, number, 0, kind, Flag(0), offset, 512, payload)


def test_a_log_is_replayed_up_to_the_mark_and_no_further(tmp_path: Path) -> None:
    log, disk = tmp_path / "log", tmp_path / "disk"
    log.write_bytes(
        log_of(
            write(1, 0, b"a"), write(3, 512, b"b"), write(5, 0, b"", Operation.TRIM),
            Mark(7, "something else"), write(8, 1024, b"c"), Mark(10, "cut"), write(11, 512, b"d"),
        )
    )  # fmt: skip
    disk.write_bytes(bytes(2048))
    benches._replay(str(log), str(disk))
    assert disk.read_bytes() == bytes(512) + b"b" * 512 + b"c" * 512 + bytes(512)


def test_a_log_without_the_mark_is_no_cut(tmp_path: Path) -> None:
    log, disk = tmp_path / "log", tmp_path / "disk"
    log.write_bytes(log_of(write(1, 0, b"a")))
    disk.write_bytes(bytes(2048))
    with pytest.raises(benches.Failed, match="no mark"):
        benches._replay(str(log), str(disk))


def test_the_pieces_of_a_file_are_what_is_not_zeroes(tmp_path: Path) -> None:
    path = tmp_path / "disk"
    with path.open("wb") as file:
        file.truncate(5 << 20)
        file.seek((2 << 20) + 5)
        file.write(b"x")
        file.seek((5 << 20) - 1)
        file.write(b"y")
    content = bytearray(5 << 20)
    for at, piece in benches._pieces(str(path), 5 << 20):
        assert any(piece)
        content[at : at + len(piece)] = piece
    assert content == path.read_bytes()
    cut = {at for at, _ in benches._pieces(str(path), 2 << 20)}
    assert cut == set(), "what lies behind the disk's end is not of the disk"
