"""Bundles as files: each kind comes back as it was, and a hostile document is refused."""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.campaign.reproducing.bundle import (
    Bundle,
    GuestFacts,
    KernelFacts,
    Kind,
    Runs,
    StateFacts,
)
from harness.campaign.reproducing.bundle_checks import plain, require_scenario, shape
from harness.campaign.reproducing.bundle_json import load_bundle, save_bundle
from harness.campaign.scenarios.scenario import Scenario, read_scenarios
from harness.campaign.scenarios.scenario_json import decode_scenario, encode_scenario
from harness.campaign.scenarios.verbs import SMALL, Create, CutPower, Mdadm, Write
from harness.crash.content import DiskContent
from harness.crash.trace import (
    Completion,
    Event,
    Flag,
    Issue,
    Mark,
    Operation,
    Trace,
    TraceDisk,
    encode_event,
    encode_header,
)
from harness.crash.workload import FlushStep, Workload, WriteStep
from harness.crash.workload import Write as OneWrite
from harness.errors import BadInput
from harness.ondisk.units import ArraySector
from harness.storage.bundle_file import BundleFiles, DiskImage, read_bundle, write_bundle
from harness.verdict.reason import Reason
from harness.verdict.verdict import Finding, Judgement, Outcome, Verdict
from tools.repro_report import bundle_lines
from tools.repro_script import script_of

BLOCK = bytes(range(256)) * 16
SCENARIOS = Path(__file__).parents[1] / "guest" / "scenarios"
SIZES = SMALL.disk_sizes
DISKS = tuple(TraceDisk(name, size, SMALL.member_cache, 512) for name, size in SIZES.items())
EVENTS: tuple[Event, ...] = (
    Mark(1, "workload begins"),
    Issue(2, 7, 0, Operation.WRITE, Flag.FUA, 4096, 4096, BLOCK),
    Completion(3, 7, 0, 0),
    Mark(4, "flushed 1"),
    Mark(5, "workload ends"),
)
WORKLOAD = Workload(3, (WriteStep((OneWrite(1, ArraySector(8), 8),)), FlushStep()))


def bundle(kind: Kind) -> Bundle:
    """A bundle of a kind, with all that such ones have."""
    finding = Finding("durability", "array sector 8 is gone", ("it holds zeroes",), {"stripe": 8})
    common = Bundle(
        kind=kind, made_by="tools/mdjournal crash", shape=SMALL, seed=3,
        kernel=KernelFacts(name="6.1", release="6.1.0-56", version="6.1.192-2", identity="0" * 64,
                           replaced=("raid456.ko",)),
        guest=GuestFacts(kind="tiny", accelerator="tcg", mdadm="4.2-5", memory_mib=160),
        verdict=Verdict(Outcome.DIFFERS, (Judgement("durability", ("x",), (finding,)),), "why"),
        reason=Reason("durability", "array sector N is gone", facts=(("stripe", 8),)),
        runs=Runs(4, 3), seconds=1.5, notes=("a note",), texts={"dmesg.txt": "md: hello\n"},
        lying=frozenset(("journal",)), jitter_us=5,
    )  # fmt: skip
    images = {name: DiskImage(size_bytes=size, content=DiskContent({1: BLOCK}))
              for name, size in SIZES.items()}  # fmt: skip
    state = {"images": images, "there": tuple(SIZES)}
    match kind:
        case Kind.SCENARIO:
            steps = (Create(), Write(bursts=2), CutPower(), Mdadm("--detail {array}"))
            return replace(common, scenario=Scenario(claim="a claim", steps=steps))
        case Kind.RECORDED:
            return replace(common, workload=WORKLOAD)
        case Kind.EXPLORED:
            return replace(
                common, workload=WORKLOAD, trace=Trace(DISKS, EVENTS), state=StateFacts(3, 1, 0, 2),
                **state,  # type: ignore[arg-type]
            )  # fmt: skip
        case Kind.FUZZED | Kind.IMPORTED:
            return replace(common, **state)  # type: ignore[arg-type]


def told(found: Bundle) -> list[object]:
    """All that a bundle says, in values that compare."""
    images = {n: (i.size_bytes, i.content.blocks) for n, i in found.images.items()}
    return [images, replace(found, images={})]


@pytest.mark.parametrize("kind", list(Kind))
def test_each_kind_comes_back_as_it_was(kind: Kind, tmp_path: Path) -> None:
    save_bundle(tmp_path / "x.mdjr", bundle(kind))
    assert told(load_bundle(tmp_path / "x.mdjr")) == told(bundle(kind))


def test_every_story_that_there_is_is_within_bounds() -> None:
    for scenario in read_scenarios(SCENARIOS):
        document = json.loads(json.dumps(encode_scenario(scenario)))
        assert plain(document) == document
        require_scenario(decode_scenario(document))
        assert shape(document["needs"]) == scenario.needs


Change = Callable[[dict[str, Any]], object]


def changed(folder: Path, kind: Kind, change: Change | bytes, name: str = "bundle.json") -> Path:
    """A bundle of which one file says something else, and the manifest that it is so."""
    path = folder / "x.mdjr"
    save_bundle(path, bundle(kind))
    whole = read_bundle(path)
    files = dict(whole.files)
    if isinstance(change, bytes):
        files[name] = change
    else:
        document = json.loads(files[name])
        change(document)
        files[name] = json.dumps(document).encode()
    manifest = json.loads(files["bundle.json"])
    manifest["files"] = {
        each: hashlib.sha256(data).hexdigest() for each, data in files.items()
        if each != "bundle.json"
    }  # fmt: skip
    files["bundle.json"] = json.dumps(manifest).encode()
    write_bundle(path, BundleFiles(files=files, images=whole.images))
    return path


MANIFESTS: dict[str, Change] = {
    "a billion members": lambda d: d["shape"].update(members=10**9),
    "a billion spares": lambda d: d["shape"].update(spares=10**9),
    "no end of a chunk": lambda d: d["shape"].update(chunk_bytes=math.inf),
    "two members of a RAID-6": lambda d: d["shape"].update(level=6, members=2),
    "a chunk larger than a member": lambda d: d["shape"].update(chunk_bytes=1 << 29),
    "an unknown layout": lambda d: d["shape"].update(layout=99),
    "a size that is a text": lambda d: d["shape"].update(own_sizes=["$(reboot)"] * 4),
    "a size that is no whole number": lambda d: d["shape"].update(own_sizes=[1e7] * 4),
    "a shape of many digits": lambda d: d["shape"].update(members="9" * 5000),
    "a shape with a stranger's field": lambda d: d["shape"].update(x=1),
    "seconds without end": lambda d: d.update(seconds=10**400),
    "seconds that are none": lambda d: d.update(seconds=math.nan),
    "a finding that is no text": lambda d: d["verdict"]["judgements"][0]["findings"][0].update(
        what={"a": 1}
    ),
    "details that are a text": lambda d: d["verdict"]["judgements"][0]["findings"][0].update(
        details="xyz"
    ),
    "facts that are a list": lambda d: d["verdict"]["judgements"][0]["findings"][0].update(
        facts=[1]
    ),
    "judgements that are none": lambda d: d["verdict"].update(judgements=[[1]]),
    "an outcome that is none": lambda d: d["verdict"].update(outcome="FINE"),
    "reasons without figures": lambda d: d["reason"].update(facts={"a": math.inf}),
    "a cut before the beginning": lambda d: d["state"].update(cut=-1),
    "a seed of many digits": lambda d: d.update(seed=10**400),
    "disks that are none of its array": lambda d: d.update(there=["sda"]),
    "more red than made": lambda d: d["runs"].update(red=9),
    "another schema": lambda d: d.update(schema="\x1b[2J" * 9999),
    "nothing of a kernel": lambda d: d.pop("kernel"),
}
WORKLOADS: dict[str, Change] = {
    "a write of the whole universe": lambda d: d["steps"][0].update(
        writes=[[1, 0, 1 << 60, "data", False]]
    ),
    "a write before the beginning": lambda d: d["steps"][0].update(
        writes=[[1, -8, 8, "data", False]]
    ),
    "a write without a number": lambda d: d["steps"][0].update(
        writes=[[1 << 70, 0, 8, "data", False]]
    ),
    "no end of writes": lambda d: d.update(
        steps=[{"do": "write", "writes": [[n + 1, 0, 4096, "data", False]]} for n in range(600)]
    ),
    "a member that is not there": lambda d: d["steps"].append({"do": "fail member", "slot": 99}),
    "a seed below zero": lambda d: d.update(seed=-1),
    "a number without end": lambda d: d.update(seed=math.inf),
    "a step that is none": lambda d: d["steps"].append("rm"),
}
STEPS: dict[str, dict[str, Any]] = {
    "a billion bursts": {"do": "Write", "bursts": 10**9},
    "a billion at once": {"do": "Write", "at_once": 10**9},
    "no rows": {"do": "Write", "rows": 0},
    "more than the journal": {"do": "FillCache", "share": 1e300},
    "a share without end": {"do": "FillCache", "share": math.inf},
    "a share that is none": {"do": "FillCache", "share": math.nan},
    "a pattern that is none": {"do": "ExpectLog", "pattern": "("},
    "a pattern for ever": {"do": "ExpectLog", "pattern": "(a+)+$"},
    "a pattern for as long": {"do": "ExpectLog", "pattern": ".*.*.*.*x"},
    "a pattern deep inside": {
        "do": "During", "steps": [{"do": "Mdadm", "arguments": "--detail", "says": "(x*)*y"}],
    },
    "a text of gigabytes": {"do": "Mdadm", "arguments": "--detail {array:>9999999999}"},
    "what a text is made of": {"do": "Mdadm", "arguments": "{array.__class__}"},
    "a brace too many": {"do": "Exits", "arguments": "{array", "status": 0},
    "a node that is none": {"do": "Promised", "says": "x",
                            "step": {"do": "Mdadm", "arguments": "{sda}"}},
    "a disk that is none": {"do": "Fail", "disk": "sda"},
    "a verb that is none": {"do": "__import__"},
    "steps in steps": {"do": "During", "steps": [{"do": "Stop"}] * 600},
}  # fmt: skip


def refused(path: Path) -> None:
    """Require that a bundle is refused at once, in a line or two that a terminal can be given."""
    began = time.process_time()
    with pytest.raises(BadInput, match=r"x\.mdjr: ") as caught:
        load_bundle(path)
    assert time.process_time() - began < 3
    words = str(caught.value)
    assert len(words) < 700
    assert words.isprintable()


@pytest.mark.parametrize("name", MANIFESTS)
def test_a_hostile_manifest_is_refused(name: str, tmp_path: Path) -> None:
    refused(changed(tmp_path, Kind.EXPLORED, MANIFESTS[name]))


@pytest.mark.parametrize("name", WORKLOADS)
def test_a_hostile_workload_is_refused(name: str, tmp_path: Path) -> None:
    refused(changed(tmp_path, Kind.RECORDED, WORKLOADS[name], "workload.json"))


@pytest.mark.parametrize("name", STEPS)
def test_a_hostile_story_is_refused(name: str, tmp_path: Path) -> None:
    refused(
        changed(tmp_path, Kind.SCENARIO, lambda d: d.update(steps=[STEPS[name]]), "scenario.json")
    )


def trace(*events: Event) -> bytes:
    return encode_header(DISKS) + b"".join(map(encode_event, events))


@pytest.mark.parametrize(
    "data",
    [
        b"no trace",
        trace(*EVENTS[::-1]),
        trace(EVENTS[0], EVENTS[0]),
        trace(Issue(1, 1, 0, Operation.TRIM, Flag(0), 1 << 40, 8, b"")),
        trace(Issue(1, 1, 0, Operation.TRIM, Flag(0), 0, 1 << 40, b"")),
        encode_header(DISKS[:1]),
    ],
)
def test_a_hostile_trace_is_refused(data: bytes, tmp_path: Path) -> None:
    refused(changed(tmp_path, Kind.EXPLORED, data, "trace.mdjtrace"))


def test_documents_nested_for_ever_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.mdjr"
    write_bundle(path, BundleFiles(files={"bundle.json": b"[" * 100_000}, images={}))
    refused(path)


def test_nothing_that_is_shown_changes_what_a_terminal_does(tmp_path: Path) -> None:
    hostile = "a\x1b[31mred\r\x07\x9b1m\u202egpj.\u2028\ud800 \n$(reboot)"

    def change(document: dict[str, Any]) -> None:
        finding = document["verdict"]["judgements"][0]["findings"][0]
        finding.update(what=hostile, oracle=hostile, details=[hostile])
        document["reason"].update(sentence=hostile)
        document["kernel"].update(release=hostile, version=hostile)
        document["guest"].update(kind=hostile, mdadm=hostile)
        document.update(made_by=hostile, notes=[hostile])

    found = load_bundle(changed(tmp_path, Kind.RECORDED, change))
    assert "".join(bundle_lines(found)).isprintable()
    script = script_of(found)
    assert script.replace("\n", "").replace("\t", "").isprintable()
    assert all(line.startswith("#") for line in script.splitlines() if "reboot)" in line)


def test_marks_that_tell_of_no_number_are_refused_by_the_script(tmp_path: Path) -> None:
    data = trace(*EVENTS[:3], Mark(4, "flushed x"), EVENTS[4])
    found = load_bundle(changed(tmp_path, Kind.EXPLORED, data, "trace.mdjtrace"))
    with pytest.raises(BadInput, match="does not fit together"):
        script_of(found)
