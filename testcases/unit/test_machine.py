"""A guest's command line, what a saved guest depends on, and the choice of the accelerator."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from harness.vm import accelerator, saved
from harness.vm.guest import Guest
from harness.vm.machine import GuestDisk, MachineConfig, MachineSockets, command_line

SOCKET = Path("/run/x/nbd")
CONFIG = MachineConfig(
    kernel_image=Path("/k/vmlinuz"),
    initramfs=Path("/k/tiny.cpio"),
    accelerator="tcg",
    disks=(
        GuestDisk("member0", "member0", SOCKET),
        GuestDisk("member1", "member1", SOCKET, volatile_cache=False),
        GuestDisk("journal", "journal", SOCKET, logical_block_bytes=4096),
    ),
)


def line_of(config: MachineConfig, *, incoming: Path | None = None) -> list[str]:
    return command_line(
        config, MachineSockets(Path("/run/x")), Path("/res/console"), incoming=incoming
    )


def options(command: list[str], name: str) -> list[str]:
    """Return the values of an option, in their order."""
    return [value for option, value in pairwise(command) if option == name]


def properties(text: str) -> dict[str, str]:
    return dict(each.partition("=")[::2] for each in text.split(","))


def block_devices(config: MachineConfig) -> list[dict[str, str]]:
    """Return each disk as the guest sees it, its backend's properties with it."""
    command = line_of(config)
    backends = {b["node-name"]: b for b in map(properties, options(command, "-blockdev"))}
    devices = [d for d in map(properties, options(command, "-device")) if "virtio-blk-pci" in d]
    return [backends[device["drive"]] | device for device in devices]


# The command line


@pytest.mark.parametrize("count", [0, 1, 2, 17])
def test_there_are_as_many_disks_as_were_asked_for(count: int) -> None:
    disks = tuple(GuestDisk(f"d{n}", f"e{n}", SOCKET) for n in range(count))
    found = block_devices(replace(CONFIG, disks=disks))
    assert [(disk["serial"], disk["export"]) for disk in found] == [
        (f"d{n}", f"e{n}") for n in range(count)
    ]
    assert len({disk["drive"] for disk in found}) == count


def test_each_disk_has_its_own_serial_cache_and_block_size() -> None:
    found = block_devices(CONFIG)
    assert [disk["serial"] for disk in found] == ["member0", "member1", "journal"]
    assert [disk["write-cache"] for disk in found] == ["on", "off", "on"]
    assert [disk["logical_block_size"] for disk in found] == ["512", "512", "4096"]
    assert [disk["physical_block_size"] for disk in found] == ["512", "512", "4096"]


def test_a_served_disk_is_reached_over_its_socket_and_passes_discards_on() -> None:
    disk = block_devices(CONFIG)[0]
    assert (disk["driver"], disk["server.type"], disk["server.path"]) == (
        "nbd",
        "unix",
        str(SOCKET),
    )
    assert disk["discard"] == "unmap"


def test_an_empty_place_reads_as_zeroes_and_reaches_no_file() -> None:
    disk = block_devices(replace(CONFIG, disks=(GuestDisk("place0"),)))[0]
    assert (disk["driver"], disk["read-zeroes"]) == ("null-co", "on")
    assert "server.path" not in disk


@pytest.mark.parametrize(
    ("name", "accel", "cpu"),
    [pytest.param("tcg", "tcg,thread=multi", "max"), pytest.param("kvm", "kvm", "host")],
    ids=["tcg", "kvm"],
)
def test_the_accelerator_comes_with_its_processor(name: str, accel: str, cpu: str) -> None:
    command = line_of(replace(CONFIG, accelerator=name))
    assert options(command, "-accel") == [accel]
    assert options(command, "-cpu") == [cpu]


def test_kernel_initramfs_and_memory_are_those_of_the_guest() -> None:
    command = line_of(replace(CONFIG, memory_mib=224))
    assert options(command, "-kernel") == ["/k/vmlinuz"]
    assert options(command, "-initrd") == ["/k/tiny.cpio"]
    assert options(command, "-m") == ["224M"]


def test_a_panic_ends_qemu_instead_of_hanging_it() -> None:
    command = line_of(CONFIG)
    assert "-no-reboot" in command
    assert "panic=-1" in options(command, "-append")[0].split()


def test_the_agent_has_a_port_with_its_name() -> None:
    command = line_of(CONFIG)
    chardevs = {c["id"]: c for c in map(properties, options(command, "-chardev"))}
    (port,) = (p for p in map(properties, options(command, "-device")) if "virtserialport" in p)
    assert port["name"] == "mdjournal.agent"
    assert chardevs[port["chardev"]]["path"] == "/run/x/agent"
    assert chardevs["console"]["path"] == "/res/console"


def test_two_runs_side_by_side_share_no_path() -> None:
    one = command_line(CONFIG, MachineSockets(Path("/run/one")), Path("/res/one"))
    assert "/run/x" not in " ".join(one).replace(str(SOCKET), "")
    assert not any("tcp" in argument or "host=" in argument for argument in one)


def test_a_saved_state_is_read_only_where_one_was_given() -> None:
    assert options(line_of(CONFIG), "-incoming") == []
    assert options(line_of(CONFIG, incoming=Path("/c/a.state")), "-incoming") == [
        "exec:cat /c/a.state"
    ]


@pytest.mark.parametrize("name", ["with space", "with'quote", "a;b", "$HOME", "a&b", "a>b"])
def test_a_saved_guest_comes_and_goes_whatever_its_folder_is_called(
    tmp_path: Path, name: str
) -> None:
    """QEMU hands what is behind ``exec:`` to a shell."""
    state = tmp_path / name / "a.state"
    state.parent.mkdir()
    asked: list[str] = []

    def qmp(command: str, **arguments: object) -> dict[str, str]:
        asked.extend(str(text) for text in arguments.values() if command == "migrate")
        return {"status": "completed"}

    saved._save(cast("Guest", SimpleNamespace(qmp=qmp)), state)
    (incoming,) = options(line_of(CONFIG, incoming=state), "-incoming")
    for uri, stdin in ((asked[0], b"saved"), (incoming, b"")):
        command = ["/bin/sh", "-c", uri.removeprefix("exec:")]
        said = subprocess.run(command, input=stdin, capture_output=True, check=True).stdout
    assert state.read_bytes() == said == b"saved"


def test_a_comma_in_a_path_is_doubled_as_qemu_wants_it() -> None:
    config = replace(CONFIG, disks=(GuestDisk("d", "d", Path("/run/a,b/nbd")),))
    command = command_line(config, MachineSockets(Path("/run/a,b")), Path("/res/level=5,n=3/con"))
    assert "file,id=console,path=/res/level=5,,n=3/con,append=on" in command
    assert "socket,id=agent,path=/run/a,,b/agent,server=on,wait=off" in command
    assert "unix:/run/a,,b/qmp,server=on,wait=off" in command
    assert options(command, "-blockdev")[0].endswith(",server.path=/run/a,,b/nbd")


# Saved guests


@pytest.fixture
def qemu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    program = tmp_path / "bin/qemu-system-x86_64"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent))
    return program


def key(config: MachineConfig = CONFIG, identity: str = "abc") -> str:
    return saved._key(config, identity)


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(replace(CONFIG, disks=CONFIG.disks[:2]), id="number-of-disks"),
        pytest.param(replace(CONFIG, accelerator="kvm"), id="accelerator"),
        pytest.param(replace(CONFIG, memory_mib=161), id="memory"),
    ],
)
def test_what_a_saved_guest_depends_on_changes_its_key(qemu: Path, other: MachineConfig) -> None:
    assert key(other) != key()


def test_another_kernel_or_image_changes_the_key(qemu: Path) -> None:
    assert key(identity="abd") != key()


def test_another_qemu_changes_the_key(qemu: Path) -> None:
    before = key()
    qemu.write_text("#!/bin/sh\n# 9.0\n")
    sized = key()
    os.utime(qemu, ns=(1, 1))
    assert len({before, sized, key()}) == 3


def test_another_command_line_changes_the_key(qemu: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = key()

    def other(
        config: MachineConfig,
        sockets: MachineSockets,
        console: Path,
        *,
        incoming: Path | None = None,
    ) -> list[str]:
        return [*command_line(config, sockets, console, incoming=incoming), "-S"]

    monkeypatch.setattr(saved, "command_line", other)
    assert key() != before


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(
            replace(CONFIG, disks=tuple(GuestDisk(f"p{n}") for n in range(3))), id="serial-socket"
        ),
        pytest.param(
            replace(CONFIG, disks=tuple(replace(d, volatile_cache=False) for d in CONFIG.disks)),
            id="caches",
        ),
        pytest.param(replace(CONFIG, kernel_image=Path("/elsewhere/vmlinuz")), id="kernel-path"),
        pytest.param(replace(CONFIG, initramfs=Path("/elsewhere/cpio")), id="initramfs-path"),
    ],
)
def test_what_a_saved_guest_knows_nothing_of_leaves_its_key(
    qemu: Path, other: MachineConfig
) -> None:
    assert key(other) == key()


def test_a_state_that_is_there_is_used_and_becomes_the_most_recent(
    qemu: Path, tmp_path: Path
) -> None:
    state = tmp_path / f"{key()}.state"
    state.write_bytes(b"saved")
    os.utime(state, (1, 1))
    said: list[str] = []
    found = saved.saved_state(CONFIG, identity="abc", folder=tmp_path, say=said.append)
    assert (found, said) == (state, [])
    assert state.stat().st_mtime > 1


def test_a_state_that_is_not_there_is_made_once(
    qemu: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Path] = []

    def boot(_config: MachineConfig, state: Path, _prepare: object) -> None:
        made.append(state)
        state.touch()

    monkeypatch.setattr(saved, "_boot_and_save", boot)
    said: list[str] = []
    for _ in range(2):
        saved.saved_state(CONFIG, identity="abc", folder=tmp_path / "new/folder", say=said.append)
    assert len(made) == 1
    assert said == ["booting a guest to save it (tcg 160 MiB 3 disks)"]


def test_only_states_that_were_not_used_for_longest_are_removed(tmp_path: Path) -> None:
    names = [f"{n:02}" for n in range(saved.KEPT_STATES + 3)]
    for age, name in enumerate(reversed(names)):  # 18 is the oldest, 00 the most recent
        for suffix in ("state", "console"):
            (tmp_path / f"{name}.{suffix}").touch()
        os.utime(tmp_path / f"{name}.state", (1000 + age, 1000 + age))
    (tmp_path / "lock").touch()
    (tmp_path / "notes.txt").touch()
    saved._prune(tmp_path)
    kept = names[: saved.KEPT_STATES]
    assert {path.name for path in tmp_path.iterdir()} == {
        "lock", "notes.txt", *(f"{n}.{suffix}" for n in kept for suffix in ("state", "console")),
    }  # fmt: skip


def test_few_states_are_all_kept(tmp_path: Path) -> None:
    (tmp_path / "a.state").touch()
    saved._prune(tmp_path)
    assert (tmp_path / "a.state").exists()


def test_what_a_killed_run_left_half_saved_is_removed(tmp_path: Path) -> None:
    """Whoever prunes has just saved a guest, alone: see the lock."""
    (tmp_path / "abc.4711.tmp").touch()
    saved._prune(tmp_path)
    assert list(tmp_path.iterdir()) == []


# The accelerator


class Probe:
    """Stands in for a guest that is tried with KVM."""

    def __init__(self, *, works: bool) -> None:
        self.works = works
        self.tried: list[MachineConfig] = []

    def answers(self, config: MachineConfig) -> bool:
        """Do what the trial with KVM does."""
        self.tried.append(config)
        return self.works


Choose = Callable[[Probe], str]


@pytest.fixture
def choose(qemu: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Choose:
    device, boot_id = tmp_path / "kvm", tmp_path / "boot_id"
    device.touch()
    boot_id.write_text("first\n")
    monkeypatch.setattr(accelerator, "KVM_DEVICE", device)
    monkeypatch.setattr(accelerator, "_BOOT_ID", boot_id)

    def run(probe: Probe) -> str:
        monkeypatch.setattr(accelerator, "_guest_answers", probe.answers)
        return accelerator.choose_accelerator(
            CONFIG, cache=tmp_path / "accelerator.json", say=lambda _line: None
        )

    return run


@pytest.mark.parametrize(("works", "wanted"), [(True, "kvm"), (False, "tcg")], ids=["kvm", "tcg"])
def test_a_probe_is_made_once_for_each_boot(
    choose: Choose, tmp_path: Path, *, works: bool, wanted: str
) -> None:
    probe, opposite = Probe(works=works), Probe(works=not works)
    assert [choose(probe), choose(opposite)] == [wanted, wanted]
    assert (len(probe.tried), len(opposite.tried)) == (1, 0)
    (tmp_path / "boot_id").write_text("second\n")
    assert choose(opposite) != wanted
    assert len(opposite.tried) == 1


def test_another_qemu_is_probed_anew(choose: Choose, qemu: Path) -> None:
    choose(Probe(works=True))
    qemu.write_text("#!/bin/sh\n# 9.0\n")
    assert choose(Probe(works=False)) == "tcg"


def test_the_probe_is_a_guest_under_kvm_without_disks(choose: Choose) -> None:
    probe = Probe(works=True)
    choose(probe)
    assert probe.tried == [replace(CONFIG, accelerator="kvm", disks=())]


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"null", b"\xff\xfe", b'{"key": "first"}', b'"kvm"'],
    ids=["empty", "cut-off", "list", "null", "no-text", "other-key", "text"],
)
def test_a_cache_that_cannot_be_read_is_made_anew(
    choose: Choose, tmp_path: Path, content: bytes
) -> None:
    cache = tmp_path / "accelerator.json"
    cache.write_bytes(content)
    assert choose(Probe(works=True)) == "kvm"
    assert json.loads(cache.read_text())["accelerator"] == "kvm"
    assert choose(Probe(works=False)) == "kvm"


def test_a_remembered_word_that_is_no_accelerator_is_not_used(
    choose: Choose, tmp_path: Path
) -> None:
    choose(Probe(works=True))
    cache = tmp_path / "accelerator.json"
    cache.write_text(cache.read_text().replace('"kvm"', '"xen"'))
    assert choose(Probe(works=False)) == "tcg"


def test_without_the_device_nothing_is_tried_or_remembered(choose: Choose, tmp_path: Path) -> None:
    (tmp_path / "kvm").unlink()
    probe = Probe(works=True)
    assert choose(probe) == "tcg"
    assert probe.tried == []
    assert not (tmp_path / "accelerator.json").exists()


def test_nothing_is_left_beside_the_cache(choose: Choose, tmp_path: Path) -> None:
    choose(Probe(works=True))
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"accelerator.json", "bin", "boot_id", "kvm"}
