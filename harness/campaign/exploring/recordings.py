"""What an exploration is about: one recording of a drawn workload, or one of every short sequence.

Recordings are written down as they come, and read when an exploration goes on.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from harness.campaign.crash import CrashOptions, area_of, record, workload_of
from harness.campaign.evidence import Evidence
from harness.campaign.exploring.batch import BankGuest
from harness.campaign.exploring.guest_pool import guest_pool
from harness.campaign.lab import Say
from harness.campaign.recording import Recording, recording_of
from harness.campaign.scenarios.running import ScenarioOptions, run_scenario
from harness.campaign.scenarios.scenario import Scenario
from harness.crash.base import contents_at_end, on_top_of
from harness.crash.disk_kinds import Discard
from harness.crash.pattern import Fill
from harness.crash.sequences import (
    OperationSequence,
    all_sequences,
    operations_on,
    prelude,
    workload_of_sequence,
)
from harness.crash.trace import FLUSHED, Trace, decode, encode_event, encode_header
from harness.crash.workload import JournalMode, Step, StopArray, Workload
from harness.crash.workload_json import decode_workload, encode_workload
from harness.errors import BadInput, GuestVanished, HarnessError
from harness.processes import temporary_folder
from harness.storage.atomic import replacing
from harness.storage.images import naming_full_disk

TRACE = "trace.mdjtrace"
_SEQUENCES = "sequences"
_BASE = "base.mdjtrace"
_PLAIN_BASE = "plain-base.mdjtrace"
_BARE = "bare.mdjtrace"
WORKLOAD = "workload.json"
WORKLOADS = "workloads.json"  # of an exhaustive exploration: by the recording's number
_HANGS = ".hangs"
_AT_ONCE = 4  # sequences handed to a guest
PROMISED = f"{FLUSHED}1"  # the prelude's only write


@dataclass(frozen=True, slots=True)
class NamedRecording:
    """A recording; *hangs* says where the workload hung, and then there is none."""

    name: str
    recording: Recording | None
    hangs: str = ""
    sequence: OperationSequence | None = None


def drawn_recording(options: CrashOptions, folder: Path, say: Say) -> NamedRecording:
    """Record the workload that the options draw, or read what was recorded before."""
    path = folder / TRACE
    name = f"seed {options.seed}"
    if not path.exists():
        with temporary_folder(prefix=".recording-", parent=folder) as place:
            evidence = Evidence(place)
            record(options, evidence, say=say)
            evidence.path(TRACE).rename(path)
    workload = workload_of(options)
    (folder / WORKLOAD).write_text(json.dumps(encode_workload(workload)))
    return NamedRecording(name, recording_of(workload, decode(path.read_bytes())))


def scenario_recording(
    options: CrashOptions, scenario: Scenario, folder: Path, say: Say
) -> NamedRecording:
    """Record a scenario, or read what was recorded before.

    Raises:
        BadInput: it did not come to its end, or its power was cut on the way.
    """
    path, steps = folder / TRACE, folder / WORKLOAD
    if not path.exists():
        with temporary_folder(prefix=".recording-", parent=folder) as place:
            asked = ScenarioOptions(
                scenario=scenario, image=options.image, era=options.era, seed=options.seed
            )
            run = run_scenario(asked, Evidence(place), say=say)
        if run.recording is None:
            why = run.verdict.reason or "its steps cut the power themselves"
            raise BadInput(f"--scenario {scenario.name}: cannot be explored: {why}")
        steps.write_text(json.dumps(encode_workload(run.recording.workload)))
        write_trace(path, run.recording.trace)
    workload = recorded_workload(scenario, options, folder)
    return NamedRecording(scenario.name, recording_of(workload, decode(path.read_bytes())))


def recorded_workload(scenario: Scenario | None, options: CrashOptions, folder: Path) -> Workload:
    """Return what an exploration of one recording has recorded."""
    if scenario is None:
        return workload_of(options)
    return decode_workload(json.loads((folder / WORKLOAD).read_text()))


def sequences_of(options: CrashOptions, length: int) -> list[OperationSequence]:
    """Return the sequences that an array of these options is put through, in order."""
    shape = options.shape
    operations = operations_on(shape.logical_block_bytes, discards=shape.discard is Discard.ARRAY)
    return list(all_sequences(length, seed=options.seed, operations=operations))


def sequence_recordings(
    options: CrashOptions, length: int, folder: Path, *, guests: int, say: Say
) -> Iterator[NamedRecording]:
    """Yield the recording of every sequence, in order; those not there yet are made first.

    Args:
        options: of the array, and the seed.
        length: of the longest sequences.
        folder: of the exploration.
        guests: how many record at once.
        say: takes a line about anything slow.
    """
    place = folder / _SEQUENCES
    place.mkdir(exist_ok=True)
    every = sequences_of(options, length)
    base = written_base(options, folder, say)
    missing = [
        _SequenceJob(number, sequence, place)
        for number, sequence in enumerate(every)
        if not (_path(place, number).exists() or _hang_path(place, number).exists())
    ]
    _write_workloads(folder / WORKLOADS, options, every)
    if missing:
        _record_all(options, base, missing, guests=guests, say=say)
    for number, sequence in enumerate(every):
        yield _read_sequence(options, sequence, place, number)


def _write_workloads(path: Path, options: CrashOptions, every: Sequence[OperationSequence]) -> None:
    """Write down what each sequence does, and in which mode, for who packs a red of it."""
    workloads = [encode_workload(whole_workload(options, sequence)) for sequence in every]
    document = [
        {"mode": sequence.mode.value, "workload": workload}
        for sequence, workload in zip(every, workloads, strict=True)
    ]
    with naming_full_disk(path.parent), replacing(path) as temporary:
        temporary.write_text(json.dumps(document))


def whole_workload(options: CrashOptions, sequence: OperationSequence) -> Workload:
    """Return what led to a sequence's disks: the prelude, and its own steps."""
    before = prelude_of(options)
    steps = workload_of_sequence(sequence, area_of(options), seed=options.seed).steps
    return replace(before, steps=(*before.steps, *steps))


def prelude_of(options: CrashOptions) -> Workload:
    """Return what is written before any sequence."""
    return prelude(area_of(options), seed=options.seed, fill=options.fill)


@dataclass(frozen=True, slots=True)
class _SequenceJob:
    number: int
    sequence: OperationSequence
    folder: Path


@dataclass(frozen=True, slots=True)
class _SequenceDone:
    job: _SequenceJob
    ends_the_guest: bool


def record_on(
    guest: BankGuest,
    number: int,
    base: Trace,
    mode: JournalMode,
    workload: Workload,
    *,
    last: int,
    promised: str,
) -> Trace:
    """Record a workload on the array that *base* ends with; return the trace from empty disks on.

    Args:
        guest: does it.
        number: of the recording, for the guest.
        base: of the array before.
        mode: of its journal.
        workload: what is done.
        last: number of the last write before these.
        promised: a mark between *base* and the workload, or nothing.

    Raises:
        HarnessError: see `BankGuest.record`.
    """
    contents = contents_at_end(base)
    events = guest.record(number, contents, mode, workload, last=last)
    marks = [promised] if promised else []
    return on_top_of(list(contents.values()), base.disks, events, marks=marks)


def _record_all(
    options: CrashOptions, base: Trace, jobs: Sequence[_SequenceJob], *, guests: int, say: Say
) -> None:
    serve = functools.partial(_serve, options, base)
    done = 0

    def take(results: Iterator[_SequenceDone]) -> None:
        nonlocal done
        for _ in results:
            done += 1
            if done % 50 == 0:
                say(f"{done} of {len(jobs)} sequences recorded")

    say(f"recording {len(jobs)} sequences")
    with guest_pool(options.image, options.shape, serve, guests=guests, say=say) as pool:
        for first in range(0, len(jobs), _AT_ONCE):
            take(pool.put(jobs[first : first + _AT_ONCE]))
        while done < len(jobs):
            take(pool.next_ready())


def _serve(
    options: CrashOptions, base: Trace, guest: BankGuest, jobs: Sequence[_SequenceJob]
) -> Iterator[_SequenceDone]:
    for job in jobs:
        workload = workload_of_sequence(job.sequence, area_of(options), seed=options.seed)
        try:
            trace = record_on(
                guest, job.number, base, job.sequence.mode, workload, last=1, promised=PROMISED
            )
        except GuestVanished:  # QEMU was killed, maybe by us who are ending: no hang of md's
            raise
        except HarnessError as failed:
            with (
                naming_full_disk(job.folder),
                replacing(_hang_path(job.folder, job.number)) as temporary,
            ):
                temporary.write_text(str(failed))
            yield _SequenceDone(job, ends_the_guest=True)
            return
        write_trace(_path(job.folder, job.number), trace)
        yield _SequenceDone(job, ends_the_guest=False)


def _read_sequence(
    options: CrashOptions, sequence: OperationSequence, place: Path, number: int
) -> NamedRecording:
    if (hang := _hang_path(place, number)).exists():
        return NamedRecording(str(sequence), None, hang.read_text(), sequence)
    trace = decode(_path(place, number).read_bytes())
    recording = recording_of(whole_workload(options, sequence), trace)
    return NamedRecording(str(sequence), recording, sequence=sequence)


def bare_base(options: CrashOptions, folder: Path, say: Say) -> Trace:
    """Return the trace of an array that was made and stopped, and never written to."""
    return _recorded_once(options, folder / _BARE, (StopArray(),), say)


def written_base(options: CrashOptions, folder: Path, say: Say) -> Trace:
    """Return the trace of an array that was made, written to and stopped."""
    steps = (*prelude_of(options).steps, StopArray())
    name = _BASE if options.fill is Fill.STREAM else _PLAIN_BASE
    return _recorded_once(options, folder / name, steps, say)


def _recorded_once(options: CrashOptions, path: Path, steps: tuple[Step, ...], say: Say) -> Trace:
    if not path.exists():
        with temporary_folder(prefix=".recording-", parent=path.parent) as place:
            evidence = Evidence(place)
            workload = Workload(options.seed, steps, options.fill)
            record(options, evidence, say=say, workload=workload)
            evidence.path(TRACE).rename(path)
    return decode(path.read_bytes())


def write_trace(path: Path, trace: Trace) -> None:
    """Write a trace as a file that `decode` reads."""
    with naming_full_disk(path.parent), replacing(path) as temporary:
        temporary.write_bytes(
            encode_header(trace.disks) + b"".join(map(encode_event, trace.events))
        )


def _path(place: Path, number: int) -> Path:
    return place / f"{number:05}.mdjtrace"


def _hang_path(place: Path, number: int) -> Path:
    return place / f"{number:05}{_HANGS}"
