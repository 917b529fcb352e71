"""Bundles as files and back. What is read may come from a stranger: it is checked, and bounded."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from harness.campaign.exploring.store import decode_verdict, encode_verdict
from harness.campaign.reproducing import bundle_checks
from harness.campaign.reproducing.bundle import (
    Bundle,
    GuestFacts,
    KernelFacts,
    Kind,
    Runs,
    StateFacts,
)
from harness.campaign.reproducing.bundle_checks import count, line, plain, seconds
from harness.campaign.scenarios.scenario import Scenario
from harness.campaign.scenarios.scenario_json import decode_scenario, encode_scenario
from harness.crash.trace import Trace, decode, encode_event, encode_header
from harness.crash.workload import Workload
from harness.crash.workload_json import decode_workload, encode_workload
from harness.errors import BadInput
from harness.md.shape import Shape, encode_shape
from harness.storage.bundle_file import BundleFiles, read_bundle, write_bundle
from harness.verdict.reason import Reason

SCHEMA = 1
_MANIFEST, _WORKLOAD, _TRACE = "bundle.json", "workload.json", "trace.mdjtrace"
_SCENARIO = "scenario.json"
_MOST_EVENTS = 400_000
_TEXT = re.compile(r"(dmesg|hang|journal)\.txt")


def save_bundle(path: Path, bundle: Bundle) -> None:
    """Write a bundle, whole or not at all.

    Raises:
        Unavailable: no space left.
    """
    files: dict[str, bytes] = {}
    if bundle.workload is not None:
        files[_WORKLOAD] = _json(encode_workload(bundle.workload))
    if bundle.scenario is not None:
        files[_SCENARIO] = _json(encode_scenario(bundle.scenario))
    files |= {name: text.encode() for name, text in bundle.texts.items()}
    if bundle.trace is not None:
        files[_TRACE] = encode_header(bundle.trace.disks) + b"".join(
            map(encode_event, bundle.trace.events)
        )
    manifest = _manifest(bundle)
    manifest["files"] = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
    write_bundle(
        path, BundleFiles(files={_MANIFEST: _json(manifest), **files}, images=bundle.images)
    )


def load_bundle(path: Path) -> Bundle:
    """Read a bundle.

    Raises:
        BadInput: it is none, or what it says cannot be; the message says what.
    """
    found = read_bundle(path)
    try:
        manifest = _object(found.files, _MANIFEST)
        if manifest.get("schema") != SCHEMA:
            raise BadInput(
                f"its schema is {str(manifest.get('schema'))[:40]!r}, this reads {SCHEMA}"
            )
        for name, data in found.files.items():
            if name != _MANIFEST and manifest["files"][name] != hashlib.sha256(data).hexdigest():
                raise BadInput(f"{name} is not what was packed")
        return _bundle(manifest, found)
    except BadInput as error:
        raise BadInput(f"{path}: {line(str(error))[:400]}") from error
    except (LookupError, TypeError, ValueError, AttributeError, RecursionError,
            ArithmeticError) as wrong:  # fmt: skip
        raise BadInput(f"{path}: is no bundle, or a damaged one: {line(repr(wrong))[:200]}") from (
            wrong
        )


def _manifest(bundle: Bundle) -> dict[str, Any]:
    reason = bundle.reason
    return {
        "schema": SCHEMA,
        "kind": bundle.kind.value,
        "made_by": bundle.made_by,
        "shape": encode_shape(bundle.shape),
        "kernel": asdict(bundle.kernel),
        "guest": asdict(bundle.guest),
        "seed": bundle.seed,
        "verdict": json.loads(encode_verdict(bundle.verdict)),
        "reason": None if reason is None else {
            "oracle": reason.oracle, "sentence": reason.sentence, "known_as": reason.known_as,
            "facts": dict(reason.facts),
        },
        "runs": {"made": bundle.runs.made, "red": bundle.runs.red},
        "seconds": round(bundle.seconds, 3),
        "state": None if bundle.state is None else asdict(bundle.state),
        "there": list(bundle.there),
        "lying": sorted(bundle.lying),
        "jitter_us": bundle.jitter_us,
        "notes": list(bundle.notes),
    }  # fmt: skip


def _bundle(manifest: Mapping[str, Any], found: BundleFiles) -> Bundle:
    kernel, state = manifest["kernel"], manifest["state"]
    shape = bundle_checks.shape(manifest["shape"])
    bundle = Bundle(
        kind=Kind(manifest["kind"]), made_by=line(manifest["made_by"]), shape=shape,
        kernel=KernelFacts(
            **{name: line(kernel[name]) for name in ("name", "release", "version", "identity")},
            module_sha256=line(kernel["module_sha256"]),
            replaced=tuple(map(line, kernel["replaced"])),
        ),
        guest=_guest(manifest["guest"]), seed=count(manifest["seed"]),
        verdict=decode_verdict(json.dumps(bundle_checks.verdict(manifest["verdict"]))),
        reason=_reason(manifest["reason"]), runs=_runs(manifest["runs"]),
        seconds=seconds(manifest["seconds"]), workload=_workload(found, shape),
        trace=_trace(found, shape),
        state=None if state is None else StateFacts(*(count(state[n]) for n in _STATE)),
        images=found.images, there=tuple(map(line, manifest["there"])),
        scenario=_scenario(found), lying=frozenset(map(line, manifest["lying"])),
        jitter_us=count(manifest["jitter_us"]), notes=tuple(map(line, manifest["notes"])),
        texts={n: data.decode(errors="replace")
               for n, data in found.files.items() if _TEXT.fullmatch(n)},
    )  # fmt: skip
    _require_whole(bundle)
    return bundle


_STATE = ("cut", "lost_writes", "torn_writes", "number")


def _require_whole(bundle: Bundle) -> None:
    """Require all that a bundle of its kind is run by."""
    kind = bundle.kind
    sizes = bundle.shape.disk_sizes
    if strange := (bundle.images.keys() | set(bundle.there) | bundle.lying) - sizes.keys():
        raise BadInput(f"its array has no disk {min(strange)}")
    if kind is Kind.SCENARIO and bundle.scenario is None:
        raise BadInput(f"a {kind.value} without {_SCENARIO}")
    if kind is Kind.RECORDED and bundle.workload is None:
        raise BadInput(f"a {kind.value} without {_WORKLOAD}")
    states = (Kind.EXPLORED, Kind.FUZZED, Kind.IMPORTED)
    if kind in states and not (bundle.images and set(bundle.there) <= bundle.images.keys()):
        raise BadInput(f"an {kind.value} without the images of its disks")
    explored = (bundle.workload, bundle.trace, bundle.state)
    if kind is Kind.EXPLORED and None in explored:
        raise BadInput(f"an {kind.value} without its workload, trace or cut")
    if kind is not Kind.IMPORTED and bundle.reason is None:
        raise BadInput("it does not say what it is red for")


def _guest(document: Mapping[str, Any]) -> GuestFacts:
    return GuestFacts(
        kind=line(document["kind"]), accelerator=line(document["accelerator"]),
        mdadm=line(document["mdadm"]), memory_mib=count(document["memory_mib"]),
    )  # fmt: skip


def _reason(document: Mapping[str, Any] | None) -> Reason | None:
    if document is None:
        return None
    facts = tuple(sorted(bundle_checks.facts(document["facts"]).items()))
    return Reason(
        line(document["oracle"]), line(document["sentence"]), line(document["known_as"]), facts
    )


def _runs(document: Mapping[str, Any]) -> Runs:
    runs = Runs(count(document["made"]), count(document["red"]))
    if runs.red > runs.made:
        raise BadInput(f"it was red in {runs.red} of {runs.made} runs")
    return runs


def _workload(found: BundleFiles, shape: Shape) -> Workload | None:
    if _WORKLOAD not in found.files:
        return None
    workload = decode_workload(_object(found.files, _WORKLOAD))
    bundle_checks.require_workload(workload, shape)
    return workload


def _scenario(found: BundleFiles) -> Scenario | None:
    if _SCENARIO not in found.files:
        return None
    document = plain(_object(found.files, _SCENARIO))
    assert isinstance(document, dict)
    bundle_checks.shape(document["needs"])
    scenario = decode_scenario(document)
    bundle_checks.require_scenario(scenario)
    return scenario


def _trace(found: BundleFiles, shape: Shape) -> Trace | None:
    if _TRACE not in found.files:
        return None
    trace = decode(found.files[_TRACE], most_events=_MOST_EVENTS)
    bundle_checks.require_trace(trace, shape)
    return trace


def _object(files: Mapping[str, bytes], name: str) -> dict[str, Any]:
    if name not in files:
        raise BadInput(f"is no bundle: it has no {name}")
    document = json.loads(files[name])
    if not isinstance(document, dict):
        raise BadInput(f"{name} is no JSON object")
    return document


def _json(document: Mapping[str, Any]) -> bytes:
    return (json.dumps(document, indent=1) + "\n").encode()
