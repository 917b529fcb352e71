"""Make a bundle of what a run left: the smallest red that there is."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from harness.campaign.evidence import verdict_in
from harness.campaign.exploring.recordings import TRACE, WORKLOAD, WORKLOADS
from harness.campaign.exploring.smallest import REPRODUCER
from harness.campaign.exploring.store import ITSELF, opened_store
from harness.campaign.fuzzing.campaign import THERE
from harness.campaign.known_issues import issues_of_any_kernel, known_issues_of
from harness.campaign.reproducing.bundle import Bundle, Kind, Runs, StateFacts
from harness.campaign.reproducing.ran import RunFacts, read_run
from harness.campaign.scenarios.scenario_json import decode_scenario
from harness.crash.content import DiskContent
from harness.crash.history import BLOCK_BYTES
from harness.crash.trace import Trace, decode
from harness.crash.workload import JournalMode, Workload
from harness.crash.workload_json import decode_workload
from harness.errors import BadInput
from harness.md.shape import Shape, decode_shape
from harness.storage.bundle_file import MOST_CONTENT_BYTES, DiskImage
from harness.storage.images import data_extents, opened_image
from harness.verdict.known import issue_of
from harness.verdict.reason import Reason, reason_of, reasons_of
from harness.verdict.verdict import Outcome, Verdict

_VERDICT, _STORE, _SCENARIO, _CUT = "verdict.json", "explore.sqlite", "scenario.json", "cut.json"
_TEXTS = {"dmesg.txt": ("dmesg-recovery.txt", "dmesg.txt"), "hang.txt": ("hang.txt",),
          "journal.txt": ("journal.txt",)}  # fmt: skip
_MOST_TEXT_BYTES = 256 << 10
_RED = (Outcome.DIFFERS, Outcome.KNOWN)
_SMALLEST, _STATE = re.compile(r"smallest-\d+"), re.compile(r"state-\d+(\.\d+)?")


def pack(result: Path, *, without: Collection[str] = ()) -> Bundle:
    """Return the bundle of a folder of results: of a run, or of one of its reds.

    Args:
        result: the folder.
        without: reasons as text (`unexplained_reason`); reds of a whole exploration that have one
            of them are passed over.

    Raises:
        BadInput: nothing in it is red, what it takes was not kept, or is damaged; the message says
            what to do.
    """
    try:
        return _packed(result, without)
    except OSError as error:
        where = error.filename or result
        raise BadInput(f"{where}: {error.strerror}; run it again, then pack it") from error
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as wrong:
        raise BadInput(
            f"{result}: what is in it is damaged, or was not written to its end:"
            f" {repr(wrong)[:120]}; run it again, then pack it"
        ) from wrong


def _packed(result: Path, without: Collection[str]) -> Bundle:
    facts = read_run(result)
    match facts.command:
        case "crash":
            return _crash(result, facts)
        case "scenarios":
            return _scenario(result, facts)
        case "explore" | "fuzz":
            return _exploration(result, facts, without)
        case other:
            raise BadInput(f"{result}: {other} leaves nothing that can be packed")


def reason_in(verdict: Verdict, version: str, shape: Shape, scenario: str = "") -> Reason:
    """Return what a red is red for: of what no issue of its kernel explains, or else the first.

    An issue of whichever kernel names the reason, so that it is the same on every kernel.

    Raises:
        BadInput: it is not red.
    """
    if verdict.outcome not in _RED or not verdict.findings:
        why = f": {verdict.reason}" if verdict.reason else ""
        raise BadInput(f"is not red, but {verdict.outcome.value}{why}; there is nothing to pack")
    listed = known_issues_of(version, shape, scenario=scenario).issues
    new = [finding for finding in verdict.findings if issue_of(finding, listed) is None]
    every = issues_of_any_kernel(shape, scenario=scenario).issues
    return reason_of((new or list(verdict.findings))[0], every)


def unexplained_reason(
    verdict: Verdict, version: str, shape: Shape, scenario: str = ""
) -> Reason | None:
    """Return the first of what no issue of its own kernel explains: what a red is followed by."""
    listed = known_issues_of(version, shape, scenario=scenario).issues
    return next(iter(reasons_of(verdict, listed, known=False)), None)


def disk_images(folder: Path) -> dict[str, DiskImage]:
    """Return the images of a folder, by their disks' names.

    Raises:
        BadInput: they hold more than a bundle takes.
    """
    found, held = {}, 0
    for path in sorted(folder.glob("*.img")):
        image, size = disk_image(path)
        held += size
        if held > MOST_CONTENT_BYTES:
            raise BadInput(
                f"{folder}: its images hold more than {MOST_CONTENT_BYTES >> 20} MiB; make the"
                " array smaller (--journal-size, --steps)"
            )
        found[path.stem] = image
    return found


def disk_image(path: Path) -> tuple[DiskImage, int]:
    """Return an image, and how many bytes of it are in blocks that are not all zeroes."""
    content, held = DiskContent(), 0
    with opened_image(path) as descriptor, path.open("rb") as file:
        size = os.fstat(descriptor).st_size
        for start, length in data_extents(descriptor, 0, size):
            file.seek(start)
            at = start
            while at < start + length:
                data = file.read(min(1 << 20, start + length - at))
                content.write(at, data)
                at += len(data)
    for number in [n for n, block in content.blocks.items() if not any(block)]:
        del content.blocks[number]
    held = len(content.blocks) * BLOCK_BYTES
    return DiskImage(size_bytes=size, content=content), held


def _common(facts: RunFacts, verdict: Verdict, folder: Path, *, scenario: str = "",
            shape: Shape | None = None) -> dict[str, Any]:  # fmt: skip
    shape = shape or facts.shape
    try:
        reason = reason_in(verdict, facts.kernel.told_by, shape, scenario)
    except BadInput as error:
        raise BadInput(f"{folder}: {error}") from error
    return {
        "made_by": facts.made_by, "shape": shape, "kernel": facts.kernel, "guest": facts.guest,
        "seed": facts.seed, "verdict": verdict, "reason": reason, "lying": facts.lying,
        "jitter_us": facts.jitter_us, "texts": dict(_texts(folder)),
    }  # fmt: skip


def _texts(folder: Path) -> Iterator[tuple[str, str]]:
    for name, places in _TEXTS.items():
        for place in places:
            if (path := folder / place).is_file():
                yield name, path.read_text(errors="replace")[-_MOST_TEXT_BYTES:]
                break


def _crash(folder: Path, facts: RunFacts) -> Bundle:
    verdict = verdict_in(_read(folder / _VERDICT))
    cut = _read(folder / _CUT)
    images = disk_images(folder / "before")
    if (folder / "left-out").is_dir():  # disks that had failed before the power went
        images |= disk_images(folder / "left-out")
    return Bundle(
        kind=Kind.EXPLORED, **_common(facts, verdict, folder), runs=Runs(1, 1),
        workload=decode_workload(_read(folder / WORKLOAD)), trace=_trace(folder),
        state=StateFacts(cut["cut"], cut["lost_writes"], cut["torn_writes"]),
        images=images, there=tuple(images),
    )  # fmt: skip


def _scenario(folder: Path, facts: RunFacts) -> Bundle:
    verdict = verdict_in(_read(folder / _VERDICT))
    scenario = decode_scenario(_read(folder / _SCENARIO))
    return Bundle(
        kind=Kind.SCENARIO, **_common(facts, verdict, folder, scenario=scenario.name),
        runs=Runs(1, 1), scenario=scenario,
    )  # fmt: skip


def _exploration(folder: Path, facts: RunFacts, without: Collection[str]) -> Bundle:
    """Pack one red of an exploration or a fuzzing; of a whole run the smallest of the worst."""
    if _SMALLEST.fullmatch(folder.name) or _STATE.fullmatch(folder.name):
        return _kept(folder, facts)
    kept = [each for each in sorted(folder.iterdir())
            if _SMALLEST.fullmatch(each.name) or _STATE.fullmatch(each.name)]  # fmt: skip
    if without:
        kept = [each for each in kept if not _is_one_of(without, _verdict_of(each), facts)]
    outcomes = {each: _outcome(each) for each in kept}
    for wanted in _RED:
        for each in kept:  # those that were shrunk come first, by their names
            if outcomes[each] is wanted:
                return _kept(each, facts)
        if (
            (folder / _STORE).is_file()
            and facts.command == "explore"
            and (found := _from_store(folder, facts, wanted, without))
        ):
            return found
    raise BadInput(
        f"{folder}: nothing in it is red, or no images of it were kept; look at one state again"
        " with --state N, and pack the folder state-N"
    )


def _kept(folder: Path, facts: RunFacts) -> Bundle:
    """Pack a folder with a red: one that was shrunk, or a state with its images."""
    if (folder / REPRODUCER).is_file():
        return _shrunk(folder, facts)
    verdict = verdict_in(_read(folder / _VERDICT))
    images = disk_images(folder / "before")
    there, kind = tuple(images), Kind.IMPORTED
    if facts.command == "fuzz":
        there, kind = tuple(_read(folder / THERE)["assembled"]), Kind.FUZZED
    return Bundle(
        kind=kind, **_common(facts, verdict, folder), runs=Runs(1, 1), images=images, there=there,
    )  # fmt: skip


def _shrunk(folder: Path, facts: RunFacts) -> Bundle:
    document = _read(folder / REPRODUCER)
    verdict, state = verdict_in(document), document["state"]
    shape = decode_shape(document["shape"])
    common = _common(facts, verdict, folder, shape=shape)
    workload = decode_workload(document["workload"])
    runs = Runs(1, 1)  # as it is now; those on the way to it were larger
    if state is None:
        trace = _trace(folder) if (folder / TRACE).is_file() else None
        return Bundle(kind=Kind.RECORDED, **common, runs=runs, workload=workload, trace=trace)
    images = disk_images(folder / "before")
    return Bundle(
        kind=Kind.EXPLORED, **common, runs=runs, workload=workload, trace=_trace(folder),
        state=StateFacts(state["cut"], len(document["lost"]), 0, state["number"]),
        images=images, there=tuple(images),
    )  # fmt: skip


def _is_one_of(without: Collection[str], verdict: Verdict | None, facts: RunFacts) -> bool:
    """Whether a verdict is red for one of these reasons."""
    if verdict is None:
        return False
    return str(unexplained_reason(verdict, facts.kernel.told_by, facts.shape)) in without


def _from_store(
    folder: Path, facts: RunFacts, wanted: Outcome, without: Collection[str]
) -> Bundle | None:
    """Pack the first red of which nothing but its recording was kept: it is looked for anew."""
    with opened_store(folder / _STORE) as store:
        of_state = {s.number: s.recording for s in store.state_records()}
        reds = [(r.verdict, r.number) for r in store.recordings()]
        reds += [(s.verdict, s.recording) for s in store.state_records(red=True)]
        reds += [(c.verdict, of_state[c.leader]) for c in store.class_records()
                 if c.child == ITSELF]  # fmt: skip
        reds += [(c.verdict, of_state[c.parent]) for c in store.child_records()]
    fitting = ((v, n) for v, n in reds if v.outcome is wanted and v.findings)
    found = next((each for each in fitting if not _is_one_of(without, each[0], facts)), None)
    if found is None:
        return None
    verdict, number = found
    workload, mode = _recorded(folder, number)
    shape = facts.shape if mode is None else replace(facts.shape, mode=mode)
    return Bundle(
        kind=Kind.RECORDED, **_common(facts, verdict, folder, shape=shape), runs=Runs(1, 1),
        workload=workload,
    )  # fmt: skip


def _recorded(folder: Path, number: int) -> tuple[Workload, JournalMode | None]:
    """Return what was recorded under a number, and in which mode, where that was its own."""
    if (folder / WORKLOADS).is_file():
        row = _read(folder / WORKLOADS)[number]
        return decode_workload(row["workload"]), JournalMode(row["mode"])
    return decode_workload(_read(folder / WORKLOAD)), None


def _outcome(folder: Path) -> Outcome:
    name = _verdict_file(folder)
    return Outcome(_read(folder / name)["verdict"]) if name else Outcome.NOT_RUN


def _verdict_of(folder: Path) -> Verdict | None:
    name = _verdict_file(folder)
    return verdict_in(_read(folder / name)) if name else None


def _verdict_file(folder: Path) -> str:
    """Return which file of a kept red says its verdict; none if it was not written to its end."""
    name = REPRODUCER if (folder / REPRODUCER).is_file() else _VERDICT
    return name if (folder / name).is_file() else ""


def _trace(folder: Path) -> Trace:
    return decode((folder / TRACE).read_bytes())


def _read(path: Path) -> Mapping[Any, Any]:
    try:
        document: Mapping[Any, Any] = json.loads(path.read_text())
    except FileNotFoundError:
        raise BadInput(f"{path.parent}: has no {path.name}; run it again, then pack it") from None
    except ValueError as error:
        raise BadInput(f"{path}: is damaged: {error}; run it again") from error
    return document
