"""The main job: build, write, cut, predict, recover, compare."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from harness.campaign.evidence import Evidence
from harness.campaign.judging import Recorded, Recovered, judge
from harness.campaign.lab import GuestImage, Session, disk_caches, session
from harness.campaign.settling import wait_until_settled
from harness.crash.shape import JOURNAL_NAME, Shape
from harness.crash.states import CrashState, Loss, crash_state
from harness.crash.trace import Trace, decode
from harness.crash.workload import FlushStep, Step, Workload, WriteStep, random_workload
from harness.errors import BadInput
from harness.md import array as md
from harness.recovery.era import Era
from harness.recovery.scan import ScannedMeta
from harness.storage.array_files import ArrayFiles, read_array, read_metas
from harness.storage.images import copy_sparse, create_image, write_state
from harness.storage.replay import Replayed, replay_to
from harness.verdict.verdict import Verdict

WORKLOAD_BEGINS = "workload begins"
WORKLOAD_ENDS = "workload ends"
WORKLOAD_DEADLINE_S = 600.0
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


@dataclass(slots=True)
class CrashRun:
    """What a run has come to so far; what is not reached stays ``None``."""

    workload: Workload
    trace: Trace | None = None
    cut_event: int = 0
    workload_events: int = 0
    state: CrashState | None = None
    before: ArrayFiles | None = None
    metas: tuple[ScannedMeta, ...] = ()  # what the scan of the journal goes through
    replayed: Replayed | None = None
    recovered: Recovered | None = None
    verdict: Verdict | None = None
    timings_s: dict[str, float] = field(default_factory=dict)


def run_crash(options: CrashOptions, evidence: Evidence, *, say: Say) -> CrashRun:
    """Do the whole job; everything it leaves is in *evidence*.

    Raises:
        GuestLost, HarnessError: there is no verdict; what was gathered is in *evidence*.
    """
    shape = options.shape
    workload = random_workload(shape.geometry, seed=options.seed, steps=options.steps)
    run = CrashRun(workload)
    say(f"building {shape}")
    run.trace = _record(options, workload, evidence, say)
    _cut(options, run, evidence)
    assert run.state is not None
    say(f"cutting the power before event {run.cut_event} of {run.workload_events}")
    _make_images(shape, run.state, evidence.path("before"))
    run.before = read_array(_images_in(shape, evidence.path("before")))
    md.require_superblocks_as_asked(run.before.array.superblocks, shape)
    say("predicting the recovery")
    run.metas = read_metas(run.before, options.era)
    run.replayed = replay_to(
        run.before, evidence.path("predicted"), era=options.era, seed=options.seed
    )
    say("letting the kernel recover")
    run.recovered = _recover(options, evidence, say)
    say("comparing")
    history = Recorded(run.trace, run.state.cut, workload)
    run.verdict = judge(
        run.before, run.replayed, run.metas, run.recovered, history, evidence.folder
    )
    return run


def array_uuid(seed: int) -> str:
    """Return the uuid that an array of this seed gets, as mdadm takes it."""
    digits = hashlib.sha256(f"array {seed}".encode()).hexdigest()[:32]
    return ":".join(digits[i : i + 8] for i in range(0, 32, 8))


def steps_for_agent(steps: Sequence[Step]) -> list[dict[str, object]]:
    """Return a workload's steps as the guest's agent takes them."""
    result: list[dict[str, object]] = []
    for step in steps:
        match step:
            case WriteStep(writes=writes):
                rows = [[w.number, w.sector, w.sectors] for w in writes]
                result.append({"do": "write", "writes": rows})
            case FlushStep():
                result.append({"do": "flush"})
    return result


def _record(options: CrashOptions, workload: Workload, evidence: Evidence, say: Say) -> Trace:
    """Build the array and run the workload, all of it recorded."""
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
            lab.guest.call(
                "workload", array=md.ARRAY, marks=lab.marks, seed=workload.seed,
                steps=steps_for_agent(workload.steps), answer_within_s=WORKLOAD_DEADLINE_S,
            )  # fmt: skip
            lab.guest.call("mark", node=lab.marks, text=WORKLOAD_ENDS)
            _keep_kernel_log(lab, evidence, "dmesg-build.txt", since="")
        finally:
            evidence.write_commands("commands-build.txt", lab.guest.commands)
    return decode(trace.read_bytes())


def _cut(options: CrashOptions, run: CrashRun, evidence: Evidence) -> None:
    assert run.trace is not None
    first = run.trace.mark(WORKLOAD_BEGINS).sequence
    last = run.trace.mark(WORKLOAD_ENDS).sequence
    run.workload_events = last - first - 1
    run.cut_event = options.cut.pick(run.workload_events, options.seed)
    run.state = crash_state(run.trace, first + 1 + run.cut_event, options.loss, seed=options.seed)
    evidence.write_json(
        "cut.json",
        {
            "cut": run.state.cut, "event": run.cut_event, "of": run.workload_events,
            "lose": options.loss.value, "lost_writes": run.state.lost_writes,
            "torn_writes": run.state.torn_writes,
        },
    )  # fmt: skip


def _make_images(shape: Shape, state: CrashState, folder: Path) -> None:
    for name, survivors in zip(disk_caches(shape), state.survivors, strict=True):
        size = shape.journal_disk_bytes if name == JOURNAL_NAME else shape.member_disk_bytes
        write_state(folder / f"{name}.img", size, survivors)


def _recover(options: CrashOptions, evidence: Evidence, say: Say) -> Recovered:
    """Let the kernel assemble the crash state; keep what it leaves and says."""
    shape = options.shape
    live = _images(shape, evidence.path("live"), "recover")
    for name, path in live.items():
        copy_sparse(evidence.path("before") / f"{name}.img", path)
    trace = evidence.path("recovery.mdjtrace")
    with session(
        options.image, shape, live, trace=trace, console=evidence.path("console-recovery.log"),
        say=say,
    ) as lab:  # fmt: skip
        try:
            lab.guest.call("mark_kernel_log", marker="recovery")
            assembled = md.assemble(lab.guest, (*lab.nodes.members, lab.nodes.journal))
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


def _images_in(shape: Shape, folder: Path) -> list[Path]:
    return [folder / f"{name}.img" for name in disk_caches(shape)]
