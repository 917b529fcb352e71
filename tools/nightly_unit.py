"""What a worker does of a night: one unit of work, from bytes that were sent to it.

It runs in a process of its own, maybe on another machine, that knows nothing but this module's
arguments: JSON values, and the kernel's image and the guest's initramfs by the hash of what they
hold. These are written into the worker's cache once.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.campaign.crash import CrashOptions, CutChoice
from harness.campaign.exploring.alone import alone_in
from harness.campaign.exploring.choosing import ExploreOptions
from harness.campaign.exploring.exploration import STORE, explore
from harness.campaign.exploring.oracles import Oracles, Sampled
from harness.campaign.exploring.store import opened_store
from harness.campaign.fuzzing.campaign import FuzzOptions, fuzz
from harness.campaign.history.records import FindingSeen
from harness.campaign.known_issues import issues_of_any_kernel, known_issues_of
from harness.campaign.lab import GuestImage
from harness.campaign.reproducing.bundle import GuestFacts, KernelFacts
from harness.campaign.reproducing.bundle_json import load_bundle, save_bundle
from harness.campaign.reproducing.minimising import Limits, minimise_bundle, size_in_words
from harness.campaign.reproducing.packing import pack
from harness.campaign.reproducing.ran import RunFacts, write_run
from harness.campaign.reproducing.running import Bench
from harness.campaign.scenarios.campaign import Job, run_jobs
from harness.campaign.scenarios.campaign import Kernel as GridKernel
from harness.campaign.scenarios.results import opened_results
from harness.campaign.scenarios.scenario import GuestKind
from harness.campaign.scenarios.scenario_json import decode_scenario
from harness.crash.pattern import Fill
from harness.crash.strategies import Strategy
from harness.errors import BadInput, HarnessError
from harness.md.shape import Shape, decode_shape
from harness.processes import temporary_folder
from harness.recovery.kernel_versions import era_to_run
from harness.storage.atomic import replacing
from harness.storage.directories import cache_root
from harness.storage.images import naming_full_disk
from harness.verdict.reason import reasons_of
from harness.verdict.verdict import Outcome, Verdict
from tools.explore_summary import Summary, summarise
from tools.fuzz import fuzzed_shape

_SECOND = 0.25  # share of fuzzed states of which what recovery left is recovered once more
_FOLDER = "mdjournal-unit-"
_FRESH_S = 60.0
_HUNG = 70  # exit status of a worker that ends itself: its unit has hung
_MOST_BUNDLE_BYTES = 10 << 20


@dataclass(frozen=True, slots=True)
class _Unit:
    """A unit as it was sent."""

    spec: Mapping[str, Any]
    image: GuestImage
    folder: Path

    @property
    def shape(self) -> Shape:
        """Of its array."""
        return decode_shape(self.spec["shape"])


def run_unit(spec: Mapping[str, Any], kernel_image: bytes, initramfs: bytes) -> dict[str, Any]:
    """Do a unit of work; return what it came to as plain values, a bundle of it among them.

    A unit that is there longer than its limit ends this process: whoever runs workers starts
    another one, and the unit is repeated elsewhere.

    Args:
        spec: ``do``: explore, fuzz, scenario or minimise; and what that takes.
        kernel_image: a bzImage.
        initramfs: of the guest.
    """
    watch = threading.Timer(float(spec["limit_s"]), os._exit, (_HUNG,))
    watch.daemon = True
    watch.start()
    began, clock = time.time(), time.monotonic()
    try:
        _clear_what_the_dead_left()
        with temporary_folder(prefix=_FOLDER) as folder, alone_in(folder):
            unit = _Unit(spec, _image(spec, kernel_image, initramfs), folder)
            found = _DO[spec["do"]](unit)
    finally:
        watch.cancel()
    return {**found, "began": began, "seconds": time.monotonic() - clock}


def _clear_what_the_dead_left() -> None:
    """Remove the folders of units whose worker was killed: nobody holds them any more."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_FOLDER}*"):
        with contextlib.suppress(BadInput, OSError):
            if time.time() - folder.stat().st_mtime > _FRESH_S:  # else it may not be held yet
                with alone_in(folder):
                    shutil.rmtree(folder, ignore_errors=True)


def _image(spec: Mapping[str, Any], kernel_image: bytes, initramfs: bytes) -> GuestImage:
    guest = spec["guest"]
    return GuestImage(
        kernel_image=_kept(kernel_image), kernel_version=guest["kernel_version"],
        initramfs=_kept(initramfs), identity=guest["identity"],
        accelerator=guest["accelerator"], memory_mib=guest["memory_mib"],
        saved_guests=cache_root() / "saved-guests",
    )  # fmt: skip


def _kept(data: bytes) -> Path:
    """Return a file with this content: once written it is there for every unit."""
    folder = cache_root() / "inputs"
    path = folder / hashlib.sha256(data).hexdigest()
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        with naming_full_disk(folder), replacing(path) as temporary:
            temporary.write_bytes(data)
    return path


def _explore(unit: _Unit) -> dict[str, Any]:
    spec = unit.spec
    options = ExploreOptions(
        crash=_crash_options(unit, unit.shape), strategy=Strategy.EPOCHS, states=spec["states"],
    )  # fmt: skip
    issues = known_issues_of(unit.image.kernel_version, unit.shape)
    explore(options, unit.folder, guests=1, issues=issues, say=_silent)
    write_run(unit.folder, _facts(unit, "explore", unit.shape))
    summary = summarise(unit.folder, journaled=unit.shape.journaled)
    return _explored(unit, summary, unit.shape)


def _fuzz(unit: _Unit) -> dict[str, Any]:
    shape = fuzzed_shape(unit.shape)
    oracles = Oracles({Sampled.SECOND: _SECOND})
    options = FuzzOptions(
        crash=_crash_options(unit, shape), states=unit.spec["states"], oracles=oracles
    )
    issues = known_issues_of(unit.image.kernel_version, shape)
    fuzz(options, unit.folder, guests=1, issues=issues, say=_silent)
    write_run(unit.folder, _facts(unit, "fuzz", shape))
    summary = summarise(unit.folder, journaled=True, without_kernel=())
    return _explored(unit, summary, shape)


def _explored(unit: _Unit, summary: Summary, shape: Shape) -> dict[str, Any]:
    """Return what an exploration or a fuzzing came to."""
    outcomes = summary.outcomes + summary.others
    order = (Outcome.DIFFERS, Outcome.KNOWN, Outcome.AGREES, Outcome.HARNESS_FAILED,
             Outcome.NOT_RUN)  # fmt: skip
    outcome = next((each for each in order if outcomes[each]), Outcome.NOT_RUN)
    verdicts = [red.verdict for red in summary.reds]
    findings = list(_findings(verdicts, unit.image.kernel_version, shape))
    with opened_store(unit.folder / STORE) as store:
        events = sum(record.events for record in store.recordings())
    reason = findings[0].signature if findings and outcome is Outcome.DIFFERS else ""
    return {
        "outcome": outcome.value, "reason": reason, "states": summary.states, "events": events,
        "findings": [_plain(finding) for finding in findings],
        "bundle": _packed(unit, findings) if outcome is Outcome.DIFFERS else None,
    }  # fmt: skip


def _findings(verdicts: list[Verdict], version: str, shape: Shape) -> Iterator[FindingSeen]:
    """Yield each reason for a red once, with how often it was met; what is new comes first."""
    listed = known_issues_of(version, shape).issues
    every = issues_of_any_kernel(shape).issues
    for known in (False, True):
        counts: dict[Any, int] = {}
        for verdict in verdicts:
            if (verdict.outcome is Outcome.KNOWN) is known:
                for reason in reasons_of(verdict, every if known else listed, known=known):
                    counts[reason] = counts.get(reason, 0) + 1
        for reason, count in counts.items():
            yield FindingSeen.of_reason(reason, count)


def _scenario(unit: _Unit) -> dict[str, Any]:
    spec = unit.spec
    scenario = decode_scenario(spec["scenario"])
    kernel = GridKernel(
        spec["kernel"]["name"], {GuestKind.TINY: unit.image},
        era_to_run(unit.image.kernel_version), injects=spec["injects"],
    )  # fmt: skip
    job = Job(scenario=scenario, kernel=kernel, repeat=1, seed=spec["seed"], guest=GuestKind.TINY)

    def describe(_job: Job, folder: Path) -> None:
        write_run(folder, _facts(unit, "scenarios", scenario.needs))

    with opened_results(unit.folder / "results.sqlite") as store:
        (result,) = run_jobs(
            [job], store, store.begin("unit"), unit.folder, guests=1, say=_silent,
            describe=describe,
        )  # fmt: skip
    if result.outcome is Outcome.HARNESS_FAILED:
        raise HarnessError(result.reason)
    findings: list[FindingSeen] = []
    bundle = None
    if result.outcome is Outcome.KNOWN:
        findings = [FindingSeen("", "", name) for name in result.reason.split(", ")]
    elif result.outcome is Outcome.DIFFERS:
        packed = pack(Path(result.evidence))
        assert packed.reason is not None
        findings = [FindingSeen.of_reason(packed.reason)]
        bundle = _packed(unit, findings, Path(result.evidence))
    return {
        "outcome": result.outcome.value, "reason": result.reason, "states": 0,
        "findings": [_plain(finding) for finding in findings], "bundle": bundle,
    }  # fmt: skip


def _minimise(unit: _Unit) -> dict[str, Any]:
    """Reduce a bundle that another unit has sent."""
    path = unit.folder / "red.mdjr"
    path.write_bytes(unit.spec["bundle"])
    bench = Bench(image=unit.image, era=era_to_run(unit.image.kernel_version), say=_silent)
    bundle = load_bundle(path)
    best = bundle
    limits = Limits(limit_s=unit.spec["minimise_s"], tries=3)

    def better(each: Any) -> None:
        nonlocal best
        best = each

    with contextlib.suppress(BadInput):  # it does not show again: it stays as it is
        best = minimise_bundle(bundle, bench, limits, better)
    save_bundle(path, best)
    return {"bundle": path.read_bytes(), "words": size_in_words(best)}


def _packed(unit: _Unit, findings: list[FindingSeen], folder: Path | None = None) -> bytes | None:
    """Return the bundle of a red whose finding has none yet."""
    if not findings or findings[0].signature in unit.spec["packed"]:
        return None
    target = unit.folder / "red.mdjr"
    try:
        save_bundle(target, pack(folder or unit.folder))
    except BadInput:  # a red of which nothing was kept
        return None
    data = target.read_bytes()
    return data if len(data) <= _MOST_BUNDLE_BYTES else None


def _crash_options(unit: _Unit, shape: Shape) -> CrashOptions:
    spec = unit.spec
    return CrashOptions(
        shape=shape, era=era_to_run(unit.image.kernel_version), image=unit.image,
        seed=spec["seed"], cut=CutChoice(), steps=spec.get("steps", 12), fill=Fill.PLAIN,
    )  # fmt: skip


def _facts(unit: _Unit, command: str, shape: Shape) -> RunFacts:
    spec = unit.spec
    return RunFacts(
        command=command, made_by=spec["repeat"], shape=shape, seed=spec["seed"],
        kernel=KernelFacts(**{**spec["kernel"], "replaced": tuple(spec["kernel"]["replaced"])}),
        guest=GuestFacts(
            kind="tiny", accelerator=unit.image.accelerator, memory_mib=unit.image.memory_mib,
            mdadm=spec["guest"]["mdadm"],
        ),
    )  # fmt: skip


def _plain(finding: FindingSeen) -> dict[str, Any]:
    return {
        "oracle": finding.oracle, "sentence": finding.sentence, "known_as": finding.known_as,
        "count": finding.count,
    }  # fmt: skip


def _silent(_: str) -> None:
    pass


_DO = {"explore": _explore, "fuzz": _fuzz, "scenario": _scenario, "minimise": _minimise}
