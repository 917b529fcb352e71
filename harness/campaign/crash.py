"""The main job: build, write, cut, predict, recover, compare."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from harness.campaign.evidence import Evidence
from harness.campaign.judging import Recorded, Recovered, judge
from harness.campaign.known_issues import known_issues_of
from harness.campaign.lab import GuestImage, Session, disk_caches, session
from harness.campaign.recording import (
    WORKLOAD_BEGINS,
    WORKLOAD_ENDS,
    Recording,
    recording_of,
)
from harness.campaign.settling import wait_until_settled
from harness.campaign.steps import run_workload
from harness.crash.pattern import Fill
from harness.crash.states import CrashState, Loss, crash_state
from harness.crash.trace import Trace, decode
from harness.crash.workload import Area, Workload, random_workload
from harness.errors import BadInput, CommandFailed
from harness.md import array as md
from harness.md.shape import JOURNAL_NAME, Shape
from harness.recovery.era import Era
from harness.recovery.log import ScannedMeta
from harness.recovery.members import no_longer_members
from harness.storage.array_files import ArrayFiles, read_array
from harness.storage.images import copy_sparse, create_image, read_superblocks, write_state
from harness.storage.plans import LiveMetas
from harness.storage.replay import Replayed, replay_to
from harness.verdict.verdict import Verdict

DEFAULT_STEPS = 24

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class CrashOptions:
    """Everything that decides a run."""

    shape: Shape
    era: Era
    image: GuestImage
    seed: int
    cut: CutChoice
    loss: Loss = Loss.ALL
    steps: int = DEFAULT_STEPS
    jitter_us: int = 0
    fill: Fill = Fill.STREAM


@dataclass(frozen=True, slots=True)
class CutChoice:
    """Where to cut: an event's number in the workload, or a share of it; neither: by the seed."""

    event: int | None = None
    share: float | None = None

    def pick(self, events: int, seed: int) -> int:
        """Return how many of the workload's *events* happen before the power goes.

        Raises:
            BadInput: there are fewer events than that.
        """
        if self.event is not None:
            if self.event > events:
                raise BadInput(f"--cut {self.event}: the workload has {events} events here")
            return self.event
        share = random.Random(f"cut {seed}").random() if self.share is None else self.share
        return round(share * events)


@dataclass(frozen=True, slots=True, kw_only=True)
class CrashRun:
    """One cut of a recording, recovered and judged."""

    recording: Recording
    state: CrashState
    before: ArrayFiles
    left_out: tuple[str, ...]  # disks that the array goes on without
    metas: tuple[ScannedMeta, ...]  # what the scan of the journal goes through
    replayed: Replayed
    recovered: Recovered
    verdict: Verdict

    @property
    def cut_event(self) -> int:
        """How many events of the workload happened."""
        return self.state.cut - self.recording.first_event


def run_crash(options: CrashOptions, evidence: Evidence, *, say: Say) -> CrashRun:
    """Do the whole job; everything it leaves is in *evidence*.

    Raises:
        GuestLost, HarnessError: there is no verdict; what was gathered is in *evidence*.
    """
    recording = record(options, evidence, say=say)
    event = options.cut.pick(recording.events, options.seed)
    say(f"cutting the power before event {event} of {recording.events}")
    state = crash_state(
        recording.trace, recording.first_event + event, options.loss, seed=options.seed
    )
    return judge_state(options, recording, state, evidence, say=say)


def area_of(options: CrashOptions) -> Area:
    """Return what a workload must know of the array."""
    geometry = options.shape.geometry
    return Area(geometry.chunk_sectors, geometry.data_disks, geometry.array_sectors)


def workload_of(options: CrashOptions) -> Workload:
    """Return the workload that the options draw."""
    return random_workload(
        area_of(options), seed=options.seed, steps=options.steps, fill=options.fill
    )


def record(
    options: CrashOptions, evidence: Evidence, *, say: Say, workload: Workload | None = None
) -> Recording:
    """Build the array and run its workload, with every request of every disk recorded.

    Args:
        options: of the run; they also draw the workload, where none is given.
        evidence: gets what the run leaves.
        say: takes a line about anything slow.
        workload: what to run.
    """
    workload = workload or workload_of(options)
    say(f"building {options.shape}")
    trace, said = _record(options, workload, evidence, say)
    return recording_of(workload, trace, tuple(said))


def judge_state(
    options: CrashOptions,
    recording: Recording,
    state: CrashState,
    evidence: Evidence,
    *,
    say: Say,
) -> CrashRun:
    """Let the model predict and the kernel recover one crash state of a recording; judge it."""
    make_images(options.shape, state, evidence.path("before"))
    left_out = _leave_out(evidence)
    _write_cut(options, recording, state, left_out, evidence)
    before = read_array(images_in(options.shape, evidence.path("before")))
    md.require_superblocks_as_asked(before.array.superblocks, options.shape)
    say("predicting the recovery")
    metas = tuple(LiveMetas(before, options.era))
    replayed = replay_to(before, evidence.path("predicted"), era=options.era, seed=options.seed)
    say("letting the kernel recover")
    recovered = recover_state(options, evidence, say)
    say("comparing")
    history = Recorded(recording.trace, state.cut, recording.workload, recording.kernel_log)
    verdict = judge(before, replayed, metas, recovered, history, evidence.folder)
    return CrashRun(
        recording=recording, state=state, before=before, left_out=left_out, metas=metas,
        replayed=replayed, recovered=recovered,
        verdict=known_issues_of(options.image.kernel_version, options.shape).apply(verdict),
    )  # fmt: skip


def array_uuid(seed: int) -> str:
    """Return the uuid that an array of this seed gets, as mdadm takes it."""
    digits = hashlib.sha256(f"array {seed}".encode()).hexdigest()[:32]
    return ":".join(digits[i : i + 8] for i in range(0, 32, 8))


def make_images(shape: Shape, state: CrashState, folder: Path) -> None:
    """Write the image of every disk of a crash state into a folder."""
    for name, survivors in zip(disk_caches(shape), state.survivors, strict=True):
        size = shape.journal_disk_bytes if name == JOURNAL_NAME else shape.member_disk_bytes
        write_state(folder / f"{name}.img", size, survivors)


def images_in(shape: Shape, folder: Path) -> list[Path]:
    """Return the images of an array's disks that a folder has, members first."""
    paths = (folder / f"{name}.img" for name in disk_caches(shape))
    return [path for path in paths if path.exists()]


def _record(
    options: CrashOptions, workload: Workload, evidence: Evidence, say: Say
) -> tuple[Trace, list[str]]:
    """Build the array and run the workload, all of it recorded; return what the kernel said too."""
    shape = options.shape
    live = _images(shape, evidence.path("live"), "build")
    for name, path in live.items():
        is_journal = name == JOURNAL_NAME
        create_image(path, shape.journal_disk_bytes if is_journal else shape.member_disk_bytes)
    trace = evidence.path("trace.mdjtrace")
    with session(
        options.image, shape, live, trace=trace, console=evidence.path("console-build.log"),
        say=say, jitter_us=options.jitter_us, seed=options.seed,
    ) as lab:  # fmt: skip
        try:
            md.create(lab.guest, shape, lab.nodes, uuid=array_uuid(options.seed))
            lab.guest.call("mark", node=lab.marks, text=WORKLOAD_BEGINS)
            say(f"running {len(workload.writes)} writes, seed {options.seed}")
            run_workload(lab, workload)
            lab.guest.call("mark", node=lab.marks, text=WORKLOAD_ENDS)
            said = _keep_kernel_log(lab, evidence, "dmesg-build.txt", since="")
        except CommandFailed:  # the guest answers; what the kernel says of it is of interest
            _keep_kernel_log(lab, evidence, "dmesg-build.txt", since="")
            raise
        finally:
            evidence.write_commands("commands-build.txt", lab.guest.commands)
    return decode(trace.read_bytes()), said


def _write_cut(
    options: CrashOptions,
    recording: Recording,
    state: CrashState,
    left_out: tuple[str, ...],
    evidence: Evidence,
) -> None:
    evidence.write_json(
        "cut.json",
        {
            "cut": state.cut, "event": state.cut - recording.first_event, "of": recording.events,
            "lose": options.loss.value, "lost_writes": state.lost_writes,
            "torn_writes": state.torn_writes, "left_out": left_out,
        },
    )  # fmt: skip


def _leave_out(evidence: Evidence) -> tuple[str, ...]:
    """Put aside the images of disks that failed before the power did; return their names."""
    images = sorted(evidence.path("before").iterdir())
    gone = [Path(label) for label in no_longer_members(read_superblocks(images))]
    aside = evidence.path("left-out")
    for path in gone:
        aside.mkdir(exist_ok=True)
        path.rename(aside / path.name)
    return tuple(path.stem for path in gone)


def recover_state(options: CrashOptions, evidence: Evidence, say: Say) -> Recovered:
    """Let the kernel assemble the crash state; keep what it leaves and says."""
    shape = options.shape
    live = {}
    for image in images_in(shape, evidence.path("before")):
        live[image.stem] = evidence.path("live") / f"recover-{image.name}"
        copy_sparse(image, live[image.stem])
    trace = evidence.path("recovery.mdjtrace")
    with session(
        options.image, shape, live, trace=trace, console=evidence.path("console-recovery.log"),
        say=say,
    ) as lab:  # fmt: skip
        try:
            lab.guest.call("mark_kernel_log", marker="recovery")
            assembled = md.assemble(lab.guest, lab.nodes.every)
            started = assembled.status == 0 and not assembled.missed_deadline
            settled = started and wait_until_settled(lab, live)
            lab.guest.stop_cpus()
            for name, path in live.items():
                copy_sparse(path, evidence.path("after") / f"{name}.img")
            lab.guest.qmp("cont")
            said = _keep_kernel_log(lab, evidence, "dmesg-recovery.txt", since="recovery")
            mdstat = md.status(lab.guest)
            stopped = md.stop(lab.guest) if started else None
        finally:
            evidence.write_commands("commands-recovery.txt", lab.guest.commands)
    evidence.write_lines("mdstat.txt", mdstat.splitlines())
    return Recovered(assembled, settled, stopped, tuple(said))


def _keep_kernel_log(lab: Session, evidence: Evidence, name: str, *, since: str) -> list[str]:
    lines = lab.guest.kernel_log(since=since)
    evidence.write_lines(name, lines)
    return lines


def _images(shape: Shape, folder: Path, prefix: str) -> dict[str, Path]:
    return {name: folder / f"{prefix}-{name}.img" for name in disk_caches(shape)}
