"""mdadm's and sysfs's verbs on one array, over whatever host it is on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from harness.crash.workload import JournalMode
from harness.errors import HarnessError
from harness.hosts.host import CommandResult, Host, run_checked
from harness.md.shape import Shape
from harness.ondisk.superblock import Superblock
from harness.recovery.layout import Level, layout_of

MDADM = "/sbin/mdadm"
ARRAY = "/dev/md0"
SYSFS = "/sys/block/md0/md"

# Generous: a busy machine makes a guest slow; only a hang should ever get near these.
CREATE_DEADLINE_S = 120.0
ASSEMBLE_DEADLINE_S = 120.0
STOP_DEADLINE_S = 120.0


@dataclass(frozen=True, slots=True)
class Nodes:
    """Device nodes of an array's disks on its host; of the members that are there, by slot."""

    members: tuple[str, ...]
    journal: str | None  # None: the array has none

    @property
    def every(self) -> tuple[str, ...]:
        """All of them, the journal last."""
        return self.members if self.journal is None else (*self.members, self.journal)


def create(
    host: Host, shape: Shape, nodes: Nodes, *, uuid: str, assume_clean: bool = True
) -> CommandResult:
    """Create and start an array on zeroed disks, set its journal mode, and read it all back.

    With *assume_clean* it is not synced first: the disks are zeroes, and so is their parity.

    Raises:
        CommandFailed: mdadm could not.
        HarnessError: what came about is not what was asked for.
    """
    # fmt: off
    argv = [
        MDADM, "--create", ARRAY,
        "--run",
        "--metadata=1.2",
        f"--level={shape.level:d}",
        f"--raid-devices={shape.members}",
        f"--chunk={shape.chunk_bytes // 1024}",
        f"--size={shape.component_bytes // 1024}",
        *(["--assume-clean"] if assume_clean else []),
        f"--uuid={uuid}",
        "--homehost=none",
        "--name=mdjournal",
        "--data-offset=1024",
        *_layout_argument(shape),
        *nodes.members,
        *_journal_argument(nodes),
    ]
    # fmt: on
    created = run_checked(host, argv, deadline_s=CREATE_DEADLINE_S)
    if shape.journaled:
        set_journal_mode(host, shape.mode)
    require_as_asked(host, shape)
    return created


def set_journal_mode(host: Host, mode: JournalMode) -> None:
    """Write ``journal_mode``; every assembly begins in write-through."""
    host.write_text(f"{SYSFS}/journal_mode", mode.value)


def journal_mode(host: Host) -> str:
    """Return the mode that sysfs shows between brackets."""
    text = host.read_text(f"{SYSFS}/journal_mode")
    return text.partition("[")[2].partition("]")[0] or "nothing"


def require_as_asked(host: Host, shape: Shape) -> None:
    """Read every parameter back from sysfs.

    Raises:
        HarnessError: naming each that differs.
    """
    wanted = {
        "level": f"raid{shape.level:d}",
        "raid_disks": str(shape.members),
        "chunk_size": str(shape.chunk_bytes),
        "component_size": str(shape.component_bytes // 1024),
        "metadata_version": "1.2",
        "consistency_policy": "journal" if shape.journaled else "resync",
    }
    if shape.level is not Level.RAID4:
        wanted["layout"] = str(shape.layout)
    found = {name: _first_word(host.read_text(f"{SYSFS}/{name}")) for name in wanted}
    if shape.journaled:
        wanted["journal_mode"], found["journal_mode"] = shape.mode.value, journal_mode(host)
    wrong = [f"{n} is {found[n]}, wanted {wanted[n]}" for n in wanted if found[n] != wanted[n]]
    if wrong:
        raise HarnessError(f"{ARRAY} is not as asked for: {'; '.join(wrong)}")


def require_superblocks_as_asked(superblocks: Mapping[str, Superblock], shape: Shape) -> None:
    """Read back from the superblocks what sysfs does not show: the log's size.

    Raises:
        HarnessError: the journal's log area has another size.
    """
    for label, superblock in superblocks.items():
        if superblock.is_journal and superblock.data_size * 512 != shape.journal_bytes:
            raise HarnessError(
                f"{label}: log of {superblock.data_size * 512} bytes, wanted {shape.journal_bytes}"
            )


def assemble(host: Host, nodes: Sequence[str]) -> CommandResult:
    """Assemble the array as an administrator would: no --force, no --run.

    The result is returned whatever it is: that a complete array does not start is a verdict.
    """
    return host.run([MDADM, "--assemble", ARRAY, *nodes], deadline_s=ASSEMBLE_DEADLINE_S)


def stop(host: Host) -> CommandResult:
    """Stop the array; the result is returned whatever it is."""
    return host.run([MDADM, "--stop", ARRAY], deadline_s=STOP_DEADLINE_S)


def fail_member(host: Host, node: str) -> CommandResult:
    """Mark a device of the array as faulty."""
    return run_checked(host, [MDADM, ARRAY, "--fail", node], deadline_s=STOP_DEADLINE_S)


def examine(host: Host, node: str) -> str:
    """Return what ``mdadm --examine`` prints of a device."""
    return run_checked(host, [MDADM, "--examine", node], deadline_s=STOP_DEADLINE_S).output


def status(host: Host) -> str:
    """Return /proc/mdstat."""
    return host.read_text("/proc/mdstat")


def live_journal_tail(host: Host, journal_node: str) -> int:
    """Return the journal's tail as the kernel has it in memory, in sectors.

    ``recovery_start`` of the journal shows it: the field is a union (format document, 6.1).
    """
    name = journal_node.rpartition("/")[2]
    return int(host.read_text(f"{SYSFS}/dev-{name}/recovery_start"))


def _first_word(text: str) -> str:
    return (text.split() or ["nothing"])[0]


def _journal_argument(nodes: Nodes) -> list[str]:
    return ["--bitmap=none"] if nodes.journal is None else [f"--write-journal={nodes.journal}"]


def _layout_argument(shape: Shape) -> list[str]:
    if shape.level is Level.RAID4:
        return []
    return [f"--layout={layout_of(shape.level, shape.layout).name}"]
