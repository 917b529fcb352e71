"""What mdadm and sysfs are asked, and that every parameter is read back and compared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest

from harness.crash.workload import JournalMode
from harness.errors import CommandFailed, HarnessError
from harness.hosts.host import CommandResult
from harness.md import array as md
from harness.md.shape import KIB, MIB, Shape
from harness.recovery.layout import LAYOUTS, Level

SYSFS = "/sys/block/md0/md"
NODES = md.Nodes(("/dev/vda", "/dev/vdc", "/dev/vdb"), "/dev/vdd")
UUID = "00112233:44556677:8899aabb:ccddeeff"

SHAPE = Shape(level=Level.RAID5, members=3, layout=2, chunk_bytes=64 * KIB)
SHOWN = {
    "level": "raid5\n",
    "raid_disks": "3\n",
    "chunk_size": "65536\n",
    "component_size": "16384\n",
    "metadata_version": "1.2\n",
    "consistency_policy": "journal\n",
    "layout": "2\n",
    "journal_mode": "[write-through] write-back\n",
}


class FakeHost:
    """A host with an array in sysfs, on which every command ends as it is told to."""

    name = "guest"

    def __init__(
        self, shown: dict[str, str] | None = None, *, status: int | None = 0, output: str = ""
    ) -> None:
        self.files = {f"{SYSFS}/{name}": text for name, text in (shown or SHOWN).items()}
        self.files["/proc/mdstat"] = "Personalities : [raid4]\n"
        self.commands: list[tuple[str, ...]] = []
        self.deadlines: list[float] = []
        self.fed: list[str] = []
        self.written: list[tuple[str, str]] = []
        self.read: list[str] = []
        self._status, self._output = status, output

    def run(self, argv: Sequence[str], *, deadline_s: float, stdin: str = "") -> CommandResult:
        """Remember a command."""
        self.commands.append(tuple(argv))
        self.deadlines.append(deadline_s)
        self.fed.append(stdin)
        return CommandResult(self.name, tuple(argv), self._status, self._output, 0.1)

    def read_text(self, path: str) -> str:
        """Show a file."""
        self.read.append(path.rpartition("/")[2])
        return self.files[path]

    def write_text(self, path: str, text: str) -> None:
        """Write a file; ``journal_mode`` then shows the mode between brackets."""
        self.written.append((path, text))
        if path == f"{SYSFS}/journal_mode":
            modes = ("write-through", "write-back")
            self.files[path] = " ".join(f"[{m}]" if m == text else m for m in modes) + "\n"


def shown_by(shape: Shape) -> dict[str, str]:
    """Return what the kernel shows of an array of this shape."""
    return SHOWN | {
        "level": f"raid{shape.level:d}\n",
        "raid_disks": f"{shape.members}\n",
        "chunk_size": f"{shape.chunk_bytes}\n",
        "component_size": f"{shape.component_bytes // 1024}\n",
        "layout": f"{shape.layout}\n",
    }


def create(shape: Shape = SHAPE) -> FakeHost:
    host = FakeHost(shown_by(shape))
    md.create(host, shape, NODES, uuid=UUID)
    return host


# Creating


def test_all_that_was_asked_for_is_in_the_command() -> None:
    host = create()
    assert host.commands == [
        (
            "/sbin/mdadm", "--create", "/dev/md0", "--run", "--metadata=1.2", "--level=5",
            "--raid-devices=3", "--chunk=64", "--size=16384", "--assume-clean", f"--uuid={UUID}",
            "--homehost=none", "--name=mdjournal", "--data-offset=1024", "--layout=left-symmetric",
            "/dev/vda", "/dev/vdc", "/dev/vdb", "--write-journal=/dev/vdd",
        )
    ]  # fmt: skip
    assert host.fed == [""], "nothing is answered for it"


@pytest.mark.parametrize(
    ("change", "argument"),
    [
        pytest.param({"level": Level.RAID6, "members": 4}, "--level=6", id="level"),
        pytest.param({"members": 7}, "--raid-devices=7", id="members"),
        pytest.param({"chunk_bytes": 4 * KIB}, "--chunk=4", id="chunk"),
        pytest.param({"component_bytes": 32 * MIB}, "--size=32768", id="size"),
        pytest.param({"layout": 3}, "--layout=right-symmetric", id="layout"),
    ],
)
def test_every_parameter_reaches_mdadm(change: dict[str, Any], argument: str) -> None:
    (command,) = create(replace(SHAPE, **change)).commands
    assert argument in command
    option = argument.partition("=")[0]
    assert sum(each.startswith(f"{option}=") for each in command) == 1


@pytest.mark.parametrize(
    "key", [key for key in LAYOUTS if key[0] is not Level.RAID4],
    ids=lambda key: f"raid{key[0]:d}-{LAYOUTS[key].name}",
)  # fmt: skip
def test_a_layout_goes_by_mdadms_name_and_comes_back_by_number(key: tuple[Level, int]) -> None:
    shape = replace(SHAPE, level=key[0], layout=key[1], members=5)
    (command,) = create(shape).commands
    assert f"--layout={LAYOUTS[key].name}" in command


def test_raid4_has_no_layout_to_ask_for_or_to_read_back() -> None:
    host = create(replace(SHAPE, level=Level.RAID4, layout=0))
    assert not any("layout" in argument for argument in host.commands[0])
    assert "layout" not in host.read


def test_members_keep_their_order_and_the_journal_is_none_of_them() -> None:
    (command,) = create().commands
    devices = [argument for argument in command if argument.startswith("/dev/vd")]
    assert devices == ["/dev/vda", "/dev/vdc", "/dev/vdb"]


@pytest.mark.parametrize("mode", JournalMode, ids=lambda mode: mode.value)
def test_the_journal_mode_is_set_and_read_back(mode: JournalMode) -> None:
    host = create(replace(SHAPE, mode=mode))
    assert host.written == [(f"{SYSFS}/journal_mode", mode.value)]
    assert md.journal_mode(host) == mode.value


def test_mdadms_failure_is_told_and_nothing_is_set() -> None:
    host = FakeHost(status=1, output="mdadm: /dev/vda is busy\n")
    with pytest.raises(CommandFailed, match=r"mdadm --create .* ended with 1 .*vda is busy"):
        md.create(host, SHAPE, NODES, uuid=UUID)
    assert host.written == []


# Reading back


def test_an_array_as_asked_for_is_read_back_in_every_parameter() -> None:
    host = FakeHost()
    md.require_as_asked(host, SHAPE)
    assert sorted(host.read) == sorted(SHOWN)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("level", "raid4\n", "level is raid4, wanted raid5"),
        ("raid_disks", "4\n", "raid_disks is 4, wanted 3"),
        ("chunk_size", "524288\n", "chunk_size is 524288, wanted 65536"),
        ("component_size", "16383\n", "component_size is 16383, wanted 16384"),
        ("metadata_version", "0.90\n", "metadata_version is 0.90, wanted 1.2"),
        ("consistency_policy", "resync\n", "consistency_policy is resync, wanted journal"),
        ("layout", "3\n", "layout is 3, wanted 2"),
        (
            "journal_mode",
            "write-through [write-back]\n",
            "journal_mode is write-back, wanted write-through",
        ),
    ],
    ids=lambda value: value if value in SHOWN else "",
)
def test_what_is_not_as_asked_for_is_named(name: str, text: str, said: str) -> None:
    with pytest.raises(HarnessError) as raised:
        md.require_as_asked(FakeHost(SHOWN | {name: text}), SHAPE)
    assert str(raised.value) == f"/dev/md0 is not as asked for: {said}"


def test_every_mismatch_is_named_at_once() -> None:
    host = FakeHost(SHOWN | {"level": "raid6\n", "layout": "18\n", "raid_disks": "4\n"})
    with pytest.raises(HarnessError) as raised:
        md.require_as_asked(host, SHAPE)
    for name in ("level", "layout", "raid_disks"):
        assert f"{name} is " in str(raised.value)


@pytest.mark.parametrize("name", SHOWN)
def test_a_file_that_shows_nothing_is_a_mismatch(name: str) -> None:
    """``level`` of an array that is not running is empty (``level_show``)."""
    with pytest.raises(HarnessError, match=f"{name} is "):
        md.require_as_asked(FakeHost(SHOWN | {name: "\n"}), SHAPE)


def test_creating_reads_back_and_fails_on_what_it_finds() -> None:
    host = FakeHost(SHOWN | {"level": "raid6\n"})
    with pytest.raises(HarnessError, match="level is raid6, wanted raid5"):
        md.create(host, SHAPE, NODES, uuid=UUID)


def superblock(*, journal: bool, size: int = 0) -> Any:
    return cast("Any", SimpleNamespace(is_journal=journal, data_size=size))


def test_the_logs_size_is_read_back_from_the_journals_superblock() -> None:
    right = {"a": superblock(journal=False, size=1), "j": superblock(journal=True, size=16384)}
    md.require_superblocks_as_asked(right, SHAPE)
    wrong = right | {"j": superblock(journal=True, size=16376)}
    with pytest.raises(HarnessError) as raised:
        md.require_superblocks_as_asked(wrong, SHAPE)
    assert str(raised.value) == "j: log of 8384512 bytes, wanted 8388608"


# The other verbs


def test_assembling_is_what_an_administrator_does_without_force() -> None:
    host = FakeHost(status=1, output="mdadm: Not safe\n")
    result = md.assemble(host, ("/dev/vda", "/dev/vdb", "/dev/vdc"))
    assert result.status == 1, "that it does not start is a verdict, not an error"
    assert host.commands == [
        ("/sbin/mdadm", "--assemble", "/dev/md0", "/dev/vda", "/dev/vdb", "/dev/vdc")
    ]
    assert host.fed == [""]


def test_stopping_returns_its_result_whatever_it_is() -> None:
    host = FakeHost(status=None)
    assert md.stop(host).missed_deadline
    assert host.commands == [("/sbin/mdadm", "--stop", "/dev/md0")]


def test_a_member_is_failed_by_its_node_or_the_failure_is_told() -> None:
    host = FakeHost()
    md.fail_member(host, "/dev/vdb")
    assert host.commands == [("/sbin/mdadm", "/dev/md0", "--fail", "/dev/vdb")]
    with pytest.raises(CommandFailed, match="--fail"):
        md.fail_member(FakeHost(status=1), "/dev/vdb")


def test_what_mdadm_examines_is_returned_or_the_failure_told() -> None:
    assert md.examine(FakeHost(output="Magic : a92b4efc\n"), "/dev/vda") == "Magic : a92b4efc\n"
    with pytest.raises(CommandFailed, match="No md superblock"):
        md.examine(FakeHost(status=1, output="No md superblock\n"), "/dev/vda")


def test_every_verb_gives_its_command_a_deadline() -> None:
    host = FakeHost()
    md.create(host, SHAPE, NODES, uuid=UUID)
    md.assemble(host, ["/dev/vda"])
    md.stop(host)
    md.fail_member(host, "/dev/vda")
    md.examine(host, "/dev/vda")
    assert len(host.deadlines) == 5
    assert all(30 <= deadline <= 600 for deadline in host.deadlines)


def test_the_live_tail_is_the_journals_own_recovery_start() -> None:
    host = FakeHost()
    host.files[f"{SYSFS}/dev-vdd/recovery_start"] = "48\n"
    assert md.live_journal_tail(host, "/dev/vdd") == 48
    assert md.status(host).startswith("Personalities")
