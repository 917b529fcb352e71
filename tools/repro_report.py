"""What `mdjournal repro` prints."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from harness.campaign.exploring.smallest import describe_step
from harness.campaign.recording import recording_of
from harness.campaign.reproducing.bundle import Bundle
from harness.campaign.reproducing.judging import Judgement, Standing
from harness.crash.history import BLOCK_BYTES
from harness.md.shape import encode_shape
from harness.verdict.verdict import Finding
from kvm_images.kernels import Kernel

_INDENT = " " * 11
_MOST_STEPS, _MOST_FINDINGS, _MOST_DETAILS = 12, 3, 6


def bundle_lines(bundle: Bundle) -> Iterator[str]:
    """Tell what a bundle is about, the reason first."""
    reason = bundle.reason
    yield f"reason     {reason or 'not known yet: nobody has run it'}"
    findings = bundle.verdict.findings
    for finding in findings[:_MOST_FINDINGS]:
        yield from _finding_lines(finding)
    if len(findings) > _MOST_FINDINGS:
        yield f"{_INDENT}and {len(findings) - _MOST_FINDINGS} more"
    kernel, guest = bundle.kernel, bundle.guest
    own = f", {', '.join(kernel.replaced)} replaced" if kernel.replaced else ""
    release = f" ({kernel.release})" if kernel.release else ""
    yield f"kernel     {kernel.version}{release}{own}"
    mdadm = f", mdadm {guest.mdadm}" if guest.mdadm else ""
    accelerator = f", {guest.accelerator}" if guest.accelerator else ""
    yield f"guest      {guest.kind}{accelerator}{mdadm}"
    yield f"array      {bundle.shape if bundle.scenario is None else bundle.scenario.needs}"
    yield f"kind       {bundle.kind.value}: {bundle.how}"
    yield from _what_lines(bundle)
    if bundle.runs.made:
        took = f", {bundle.seconds:.1f} s each" if bundle.seconds else ""
        yield f"runs       {bundle.runs.red} of {bundle.runs.made} were red{took}"
    for number, note in enumerate(bundle.notes):
        yield f"{'note' if number == 0 else '':<11}{note}"
    yield f"made by    {bundle.made_by}"


def judgement_lines(bundle: Bundle, kernel: Kernel, judged: Judgement) -> Iterator[str]:
    """Tell what runs of a bundle came to."""
    yield f"bundle     {bundle.reason or 'no reason known'}, of {bundle.kernel.version}"
    yield f"kernel     {kernel.version} ({kernel.release})"
    same = {
        Standing.BAD: "red again" if bundle.reason else "red",
        Standing.GOOD: "not red",
        Standing.UNTOLD: "cannot be told",
    }
    yield f"verdict    {same[judged.standing]}: {judged.why}"
    if judged.attempt is not None:
        verdict = judged.attempt.verdict
        if verdict.findings:
            yield f"{_INDENT}{verdict.outcome.value}: {verdict.reason}"
        for finding in verdict.findings[:_MOST_FINDINGS]:
            yield from _finding_lines(finding)
    if judged.runs.made:
        yield (
            f"runs       {judged.runs.made}, {judged.seconds:.1f} s each;"
            f" before them {bundle.runs.red} of {bundle.runs.made} were red"
        )


def bundle_document(bundle: Bundle) -> dict[str, Any]:
    """Return what `bundle_lines` tells as JSON values."""
    return {
        "schema": 1,
        "kind": bundle.kind.value,
        "reason": None if bundle.reason is None else str(bundle.reason),
        "verdict": bundle.verdict.outcome.value,
        "kernel": bundle.kernel.version,
        "release": bundle.kernel.release,
        "guest": bundle.guest.kind,
        "mdadm": bundle.guest.mdadm,
        "shape": encode_shape(bundle.shape),
        "scenario": None if bundle.scenario is None else bundle.scenario.name,
        "steps": _steps(bundle),
        "lost_writes": None if bundle.state is None else bundle.state.lost_writes,
        "events_before_the_cut": _events(bundle),
        "runs": bundle.runs.made,
        "red": bundle.runs.red,
        "seconds": bundle.seconds,
        "notes": list(bundle.notes),
        "made_by": bundle.made_by,
    }


def _finding_lines(finding: Finding) -> Iterator[str]:
    yield f"{_INDENT}{finding.oracle}: {finding.what}"
    for detail in finding.details[:_MOST_DETAILS]:
        yield f"{_INDENT}  {detail}"


def _what_lines(bundle: Bundle) -> Iterator[str]:
    steps = _steps(bundle)
    for number, step in enumerate(steps[:_MOST_STEPS]):
        yield f"{'steps' if number == 0 else '':<11}{step}"
    if len(steps) > _MOST_STEPS:
        yield f"{_INDENT}and {len(steps) - _MOST_STEPS} more"
    if bundle.state is not None:
        torn = f", {bundle.state.torn_writes} torn" if bundle.state.torn_writes else ""
        yield (
            f"cut        {_events(bundle)} events into the workload;"
            f" {bundle.state.lost_writes} writes lost{torn}"
        )
    if bundle.images:
        held = sum(len(image.content.blocks) for image in bundle.images.values())
        yield (
            f"disks      {', '.join(bundle.images)}; {held * BLOCK_BYTES // 1024} KiB of them are"
            " no zeroes"
        )


def _steps(bundle: Bundle) -> list[str]:
    if bundle.scenario is not None:
        return [step.words for step in bundle.scenario.steps]
    return [] if bundle.workload is None else [describe_step(s) for s in bundle.workload.steps]


def _events(bundle: Bundle) -> int | None:
    if bundle.state is None or bundle.workload is None or bundle.trace is None:
        return None
    return bundle.state.cut - recording_of(bundle.workload, bundle.trace).first_event
