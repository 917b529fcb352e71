"""The full guest: its command line, its files, what udev says in it, files and their promises."""

from __future__ import annotations

import json
import threading
import time
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from harness.campaign.scenarios.distribution import (
    ExpectNoArray,
    WaitForArray,
    WaitForLastResort,
    is_up,
    waits_for_last_resort,
)
from harness.errors import BadInput, GuestVanished, StepHangs, Unavailable
from harness.hosts.device_events import DeviceEvent, DeviceEvents
from harness.hosts.ssh import new_key
from harness.verdict.files import AcknowledgedFiles, judge_files
from harness.vm.machine import (
    ROOT_SERIAL,
    GuestDisk,
    MachineConfig,
    MachineSockets,
    command_line,
    device_of,
)
from kvm_images import debian_root, full_guest
from kvm_images.full import filing, placing

UUID = "0:1:2:3"
CONFIG = MachineConfig(
    kernel_image=Path("/k"), initramfs=Path("/i"), accelerator="tcg",
    disks=(GuestDisk("a", "a", Path("/s")), GuestDisk("b", "b", Path("/s"), plugged_in=False)),
    root_image=Path("/r,1.ext2"), memory_mib=512,
)  # fmt: skip


def options(config: MachineConfig, name: str) -> list[str]:
    command = command_line(config, MachineSockets(Path("/x")), Path("/c"))
    return [value for option, value in pairwise(command) if option == name]


# The machine


def test_a_root_is_never_written_to_and_the_network_leads_to_this_machine_alone() -> None:
    (root,) = [each for each in options(CONFIG, "-blockdev") if "node-name=root" in each]
    assert "read-only=on" in root
    assert root.endswith("file.filename=/r,,1.ext2"), "a comma is doubled"
    assert f"virtio-blk-pci,drive=root,serial={ROOT_SERIAL}" in options(CONFIG, "-device")
    (network,) = options(CONFIG, "-netdev")
    assert "restrict=on" in network
    assert "hostfwd=tcp:127.0.0.1:0-:22" in network


def test_a_guest_without_a_root_has_no_network() -> None:
    assert options(replace(CONFIG, root_image=None), "-netdev") == []


@pytest.mark.parametrize(("accelerator", "is_told"), [("tcg", True), ("kvm", False)])
def test_an_emulated_clock_is_not_measured_by_the_kernel(accelerator: str, is_told: bool) -> None:
    (line,) = options(replace(CONFIG, accelerator=accelerator), "-append")
    assert ("clocksource=hpet" in line) == is_told


def test_a_disk_that_is_not_plugged_in_has_a_backend_and_no_device() -> None:
    devices = " ".join(options(CONFIG, "-device"))
    assert "serial=a," in devices
    assert "serial=b," not in devices
    assert len([each for each in options(CONFIG, "-blockdev") if "driver=nbd" in each]) == 2
    assert "drive=disk1,serial=b," in device_of(1, CONFIG.disks[1])


def test_the_init_of_the_guest_looks_for_the_serial_that_the_machine_gives() -> None:
    assert f"= {ROOT_SERIAL} ]" in (full_guest.FULL / "init").read_text()


# Its files


def test_more_files_go_into_the_root_behind_the_archive(tmp_path: Path) -> None:
    (tmp_path / "guest").write_bytes(b"first archive")
    full_guest.with_files(tmp_path / "guest", {"etc/x": (b"text", 0o600)}, tmp_path / "whole")
    whole = (tmp_path / "whole").read_bytes()
    assert whole.startswith(b"first archive070701")
    assert b"extra/etc/x\0" in whole
    assert f"{0o100600:08X}".encode() in whole


@pytest.mark.parametrize(
    ("asked", "suite"), [("4.2", "bookworm"), ("4.4", "trixie"), ("4.6", "sid"), ("sid", "sid")]
)
def test_an_mdadm_is_named_by_version_or_suite(asked: str, suite: str) -> None:
    assert debian_root.suite_of(asked) == suite


def test_an_unknown_mdadm_is_refused_with_those_that_are_known() -> None:
    with pytest.raises(BadInput, match=r"--mdadm 4\.3.*4\.2 \(bookworm\), 4\.4 \(trixie\)"):
        debian_root.suite_of("4.3")


def test_what_dpkg_says_is_installed_is_the_roots_identity() -> None:
    stanza = "Package: {}\nStatus: {} ok {}\nVersion: 1\n"
    names = ("mdadm", "systemd", "openssh-server")
    status = [stanza.format(name, "install", "installed") for name in names]
    removed = stanza.format("gone", "deinstall", "config-files")
    assert list(debian_root._installed("\n".join([*status, removed]))) == sorted(names)
    with pytest.raises(Unavailable, match="without openssh-server"):
        debian_root._installed("\n".join(status[:2]))


def test_files_are_placed_with_their_modes(tmp_path: Path) -> None:
    path = tmp_path / "etc/ssh/key"
    placing.place_files(files=[(str(path), b"secret".hex(), 0o600)])
    assert (path.read_bytes(), path.stat().st_mode & 0o777) == (b"secret", 0o600)


def test_a_key_is_what_sshd_and_authorized_keys_take() -> None:
    key = new_key()
    assert key.private.startswith(b"-----BEGIN EC PRIVATE KEY-----")
    assert key.public.startswith(b"ecdsa-sha2-nistp256 ")
    assert key.public != new_key().public


# What udev says


def line(**values: str) -> str:
    return json.dumps({"action": "change", "node": "/dev/md0", "uuid": UUID} | values)


def test_an_event_that_came_before_it_is_waited_for_is_found() -> None:
    events = DeviceEvents()
    events.take(line(state="inactive"))
    events.take(line(state="clean"))
    found = events.wait_for("up", lambda e: is_up(e, UUID), deadline_s=0.0)
    assert found.state == "clean"
    with pytest.raises(StepHangs, match="udev never says that up"):
        events.wait_for("up", lambda e: is_up(e, UUID), since=events.count, deadline_s=0.0)


def test_an_event_that_comes_ends_the_waiting() -> None:
    events = DeviceEvents()
    threading.Timer(0.05, events.take, [line(state="active")]).start()
    assert events.wait_for("up", lambda e: is_up(e, UUID), deadline_s=60.0).state == "active"


def test_nobody_waits_for_a_guest_that_is_gone() -> None:
    events = DeviceEvents()
    threading.Timer(0.05, events.end).start()
    began = time.monotonic()
    with pytest.raises(GuestVanished):
        events.wait_for("up", lambda e: is_up(e, UUID), deadline_s=60.0)
    assert time.monotonic() - began < 30
    with pytest.raises(StepHangs, match="not listened to"):
        events.wait_until_listening(deadline_s=60.0)


def test_a_line_that_is_no_event_is_kept_and_shown() -> None:
    events = DeviceEvents()
    events.take("Traceback (most recent call last):")
    assert events.count == 0
    with pytest.raises(StepHangs, match="Traceback"):
        events.wait_until_listening(deadline_s=0.0)
    events.take('{"action": "listening"}')
    events.wait_until_listening(deadline_s=0.0)


@pytest.mark.parametrize(
    ("state", "uuid", "up"),
    [
        ("clean", UUID, True), ("active", UUID, True), ("read-auto", UUID, True),
        ("readonly", UUID, False), ("inactive", UUID, False), ("", UUID, False),
        ("clean", "4:4:4:4", False),
    ],
)  # fmt: skip
def test_an_array_is_up_when_it_takes_writes(state: str, uuid: str, up: bool) -> None:
    event = DeviceEvent(
        action="change", node="/dev/md0", serial="", uuid=uuid, state=state, file_system=""
    )
    assert is_up(event, UUID) == up


def test_stories_about_the_timer_are_told_from_others() -> None:
    assert waits_for_last_resort([WaitForLastResort()])
    assert waits_for_last_resort([WaitForArray(degraded=1, last_resort=True)])
    assert not waits_for_last_resort([WaitForArray(), ExpectNoArray()])


# Files


def write_some(folder: Path, operations: int) -> dict[str, int]:
    writer = filing.FileWriter(str(folder), seed=1, names=4, first=0, records=0)
    assert writer.wait_for(operations, 60.0)["next"] >= operations
    acknowledged: dict[str, int] = writer.end()["acknowledged"]
    return acknowledged


def test_what_was_acknowledged_is_read_back(tmp_path: Path) -> None:
    acknowledged = write_some(tmp_path, 20)
    assert set(acknowledged) == {"0", "1", "2", "3", filing.LOG}
    assert filing.read_files(str(tmp_path), seed=1) == acknowledged
    (tmp_path / "lost+found").mkdir()
    (tmp_path / "1.new").write_bytes(b"half")
    assert filing.read_files(str(tmp_path), seed=1) == acknowledged


def test_a_writer_goes_on_where_one_before_it_ended(tmp_path: Path) -> None:
    acknowledged = write_some(tmp_path, 9)
    writer = filing.FileWriter(
        str(tmp_path), seed=1, names=4, first=max(acknowledged.values()) + 1,
        records=acknowledged[filing.LOG],
    )  # fmt: skip
    writer.wait_for(9, 60.0)
    acknowledged |= writer.end()["acknowledged"]
    assert filing.read_files(str(tmp_path), seed=1) == acknowledged


@pytest.mark.parametrize("more", [b"1 log 4 700", None], ids=["in part", "whole"])
def test_what_was_not_acknowledged_of_the_log_is_not_in_its_middle_afterwards(
    tmp_path: Path, more: bytes | None
) -> None:
    first = write_some(tmp_path, 9)
    count = first[filing.LOG]
    with (tmp_path / filing.LOG).open("ab") as log:  # where the power went
        log.write(filing.content_of(1, filing.LOG, count + 1) if more is None else more)
    writer = filing.FileWriter(str(tmp_path), seed=1, names=4, first=20, records=count)
    writer.wait_for(9, 60.0)
    acknowledged = writer.end()["acknowledged"]
    assert acknowledged[filing.LOG] > count
    assert filing.read_files(str(tmp_path), seed=1) == first | acknowledged


@pytest.mark.parametrize("damage", [b"", b"1 0 1 5\nhello", b"\0" * 4096], ids=["empty", "x", "0"])
def test_a_damaged_file_is_seen(tmp_path: Path, damage: bytes) -> None:
    write_some(tmp_path, 9)
    (tmp_path / "1").write_bytes(damage)
    assert filing.read_files(str(tmp_path), seed=1)["1"] == filing.DAMAGED


def test_a_log_that_ends_in_the_middle_of_a_record_has_those_before_it(tmp_path: Path) -> None:
    count = write_some(tmp_path, 20)[filing.LOG]
    path = tmp_path / filing.LOG
    path.write_bytes(path.read_bytes()[:-1])
    assert filing.read_files(str(tmp_path), seed=1)[filing.LOG] == count - 1


def test_an_error_ends_the_writer_and_is_told(tmp_path: Path) -> None:
    writer = filing.FileWriter(str(tmp_path / "none"), seed=1, names=4, first=0, records=0)
    answer = writer.wait_for(5, 60.0)
    assert "No such file" in answer["error"]
    assert answer["next"] == 0


@pytest.mark.parametrize(
    ("found", "objection"),
    [
        ({"1": 7, "log": 3}, ""),
        ({"1": 9, "log": 4, "2": 8}, ""),
        ({"log": 3}, "file 1: version 7 was acknowledged, it is not there"),
        ({"1": 5, "log": 3}, "file 1: has version 5, 7 was acknowledged"),
        ({"1": -1, "log": 3}, "file 1: is no version of it, 7 was acknowledged"),
        ({"1": 7, "log": 2}, "file log: has records 2, 3 was acknowledged"),
        ({"1": 7, "log": 3, "2": -1}, "file 2: is no version of it"),
    ],
)
def test_files_are_held_to_what_fsync_promised(found: dict[str, int], objection: str) -> None:
    files = AcknowledgedFiles()
    files.take({"1": 4, "log": 3}, next_operation=5)
    files.take({"1": 7}, next_operation=8)
    findings = judge_files(files, found, when="afterwards").findings
    assert [f.what for f in findings] == ([f"{objection}, afterwards"] if objection else [])
