"""Make corpus cases: ``python -m testcases.corpus.capture NAME...``, at the top of the checkout.

A case is a folder with ``images.tar.xz``, the images that a real kernel found (``before/``) and
what it left (``after/``), and ``origin.toml``. Nothing that this project computed is in the images.
What a name stands for is in ``cases.py``. A case over which kernel and model disagree is captured
as well, with the verdict DIFFERS in its origin; then the exit status is 1.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import lzma
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

from harness.campaign.crash import CrashOptions, CrashRun, images_in, make_images
from harness.campaign.recording import Recording
from harness.crash.history import DiskHistory
from harness.crash.logged import LoggedMeta, LogHistory
from harness.crash.states import CrashState, crash_state
from harness.errors import EXIT_AGREES, EXIT_DIFFERS, HarnessError
from harness.md.shape import JOURNAL_NAME, member_name
from harness.ondisk.crc import uuid_checksum
from harness.recovery.members import no_longer_members
from harness.storage.array_files import ArrayFiles, read_array
from harness.storage.directories import results_root
from harness.storage.images import read_superblocks
from harness.storage.plans import LiveMetas, plan_of
from harness.verdict.verdict import Outcome
from testcases.corpus.cases import CaseSpec, Kind, case_named
from testcases.lab import Lab
from tools.guest_options import find_kernel

CORPUS = Path(__file__).resolve().parent
_TRIED_CUTS = 120


def capture(spec: CaseSpec, lab: Lab) -> CrashRun:
    """Make the array, bring it to its end, let the kernel recover; write the case down.

    Raises:
        HarnessError: no crash state of the kind was found, or the kernel left no outcome.
    """
    options = lab.options(
        spec.kernel, spec.shape, seed=spec.seed, steps=spec.steps, loss=spec.loss, fill=spec.fill
    )
    recording = lab.record(options, spec.workload(options))
    state = _choose_state(spec, options, recording)
    run = lab.recover(options, recording, state)
    if run.verdict.outcome not in (Outcome.AGREES, Outcome.DIFFERS) or not run.recovered.settled:
        raise HarnessError(f"{spec.name}: {run.verdict.outcome.value}({run.verdict.reason})")
    folder = next(iter(run.before.paths.values())).parent.parent
    write_case(CORPUS / spec.name, pack(folder), _origin(spec, run))
    return run


def _choose_state(spec: CaseSpec, options: CrashOptions, recording: Recording) -> CrashState:
    """Return, of some crash states that show what the case is for, the one that shows most."""
    best, chosen = 0, None
    for state in _states(spec, options, recording):
        with tempfile.TemporaryDirectory() as name:
            make_images(spec.shape, state, Path(name))
            images = images_in(spec.shape, Path(name))
            gone = no_longer_members(read_superblocks(images))
            if {Path(label).stem for label in gone} != {member_name(s) for s in spec.failed}:
                continue
            before = read_array([image for image in images if str(image) not in gone])
            worth = _worth(spec, options, recording, state, before)
            if worth > best:
                best, chosen = worth, state
    if chosen is None:
        raise HarnessError(f"{spec.name}: no cut shows what the case is for; take another seed")
    return chosen


def _states(spec: CaseSpec, options: CrashOptions, recording: Recording) -> Iterator[CrashState]:
    first, events = recording.first_event, recording.events
    tried = 1 if spec.kind is Kind.STOPPED else min(events, _TRIED_CUTS)
    for number in range(tried):
        event = events - number * events // tried
        yield crash_state(recording.trace, first + event, options.loss, seed=options.seed)


def _worth(
    spec: CaseSpec,
    options: CrashOptions,
    recording: Recording,
    state: CrashState,
    before: ArrayFiles,
) -> int:
    """Return how much a crash state shows of what the case is for: 0 for nothing of it."""
    if spec.kind is Kind.STOPPED:
        return 1
    members = [s.events for s in before.array.superblocks.values() if not s.is_journal]
    if before.journal.events > max(members):  # mdadm refuses it, see known_issues.toml
        return 0
    plan = plan_of(before, options.era)
    if plan.ended is None or (spec.with_data_only and not plan.data_only):
        return 0
    logged = _logged(recording, state, before)
    if spec.kind is Kind.WRAPPED:
        wraps = sum(b.meta.position < a.meta.position for a, b in pairwise(logged))
        if wraps < 2 or plan.ended.position > plan.start:  # the live part has the ring's end in it
            return 0
    if spec.kind is Kind.DEGRADED and not spec.with_data_only:
        failed = recording.trace.mark(f"failed member {spec.failed[-1]}").sequence
        live = {scanned.meta.seq for scanned in LiveMetas(before, options.era)}
        if not any(each.issued > failed and each.meta.seq in live for each in logged):
            return 0
    data_only, data_parity = len(plan.data_only), plan.data_parity
    return data_only + data_parity + 100 * (data_only > 0 and data_parity > 0)


def _logged(recording: Recording, state: CrashState, before: ArrayFiles) -> list[LoggedMeta]:
    trace = recording.trace
    history = LogHistory(
        DiskHistory(trace, trace.disk_index(JOURNAL_NAME)),
        data_offset=before.journal.data_offset,
        seed=uuid_checksum(before.journal.set_uuid),
    )
    return history.metas(before=state.cut)


def _origin(spec: CaseSpec, run: CrashRun) -> dict[str, object]:
    kernel = find_kernel(spec.kernel, None, (), say=print)
    said = [
        line.partition("md0: ")[2]
        for line in run.recovered.kernel_log
        if "data-only stripes" in line or "clean shutdown" in line
    ]
    return {
        "kernel": f"{kernel.release} ({kernel.version})",
        "era": run.replayed.era.name,
        "shape": str(spec.shape),
        "workload": f"{spec.steps} steps drawn from seed {spec.seed}",
        "failed": list(spec.failed),
        "left_out": list(run.left_out),
        "cut": f"before event {run.cut_event} of {run.recording.events}",
        "lost": f"{spec.loss.value}: {run.state.lost_writes} writes, {run.state.torn_writes} torn",
        "command": f"python -m testcases.corpus.capture {spec.name} --seed {spec.seed}",
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "kernel_said": said[-1] if said else "",
        "verdict": run.verdict.outcome.value,
        "findings": [f"{finding.oracle}: {finding.what}" for finding in run.verdict.findings],
    }


def pack(folder: Path) -> bytes:
    """Return a run's images, before and after, as a compressed archive: sparse, and anonymous."""
    # fmt: off
    tar = subprocess.run(
        [
            "tar", "--create", "--format=gnu",
            "--sparse", "--hole-detection=raw",
            "--sort=name", "--owner=0", "--group=0", "--numeric-owner", "--mtime=@0",
            "--directory", str(folder),
            "before", "after",
        ],
        check=True, stdout=subprocess.PIPE,
    )
    # fmt: on
    return lzma.compress(tar.stdout, preset=9 | lzma.PRESET_EXTREME)


def unpack(case: Path, folder: Path) -> None:
    """Put a case's images into a folder: ``before`` and ``after``, sparse as they were."""
    with tarfile.open(case / "images.tar.xz") as tar:
        tar.extractall(folder)  # a file of this repository; Debian 12's Python has no filters


def write_case(case: Path, images: bytes, origin: dict[str, object]) -> None:
    """Write a case's two files."""
    case.mkdir(exist_ok=True)
    (case / "images.tar.xz").write_bytes(images)
    text = "".join(f"{key} = {json.dumps(value)}\n" for key, value in origin.items())
    (case / "origin.toml").write_text(text)


def main() -> int:
    """Capture each case that is named; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m testcases.corpus.capture")
    parser.add_argument("names", nargs="+", metavar="NAME", help="see cases.py")
    parser.add_argument("--seed", type=int, help="default: by the name")
    arguments = parser.parse_args()
    status = EXIT_AGREES
    for name in arguments.names:
        spec = case_named(name)
        if arguments.seed is not None:
            spec = dataclasses.replace(spec, seed=arguments.seed)
        status = max(status, _capture_one(spec))
    return status


def _capture_one(spec: CaseSpec) -> int:
    results = results_root()
    results.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(dir=results, prefix=f"corpus-{spec.name}-"))
    try:
        run = capture(spec, Lab(folder))
    except HarnessError as error:
        print(f"{spec.name}: not captured: {error}; evidence: {folder}")
        return error.exit_status
    size = (CORPUS / spec.name / "images.tar.xz").stat().st_size
    print(f"{spec.name}: {run.verdict.outcome.value}, {size} bytes")
    if run.verdict.outcome is Outcome.AGREES:
        shutil.rmtree(folder)
        return EXIT_AGREES
    for finding in run.verdict.findings:
        print(f"  {finding.oracle}: {finding.what}", *finding.details, sep="\n    ")
    print(f"  evidence: {folder}")
    return EXIT_DIFFERS


if __name__ == "__main__":
    sys.exit(main())
