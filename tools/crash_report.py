"""What `mdjournal crash` prints of a run."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from harness.campaign.crash import CrashOptions, CrashRun
from harness.crash.trace import Completion, Event, Issue, Mark, Operation, Trace
from harness.verdict.journal_text import journal_lines
from harness.verdict.verdict import Judgement, Outcome
from kvm_images.kernels import Kernel

_INDENT = "           "
_MOST_FINDINGS = 8
_TELLING = ("md/raid", "md:", "md0:", "mdadm")


def report_lines(
    options: CrashOptions, kernel: Kernel, run: CrashRun, kept: Path | None, repeat: str
) -> list[str]:
    """Return the whole report: shape, kernel, cut, journal, kernel's words, verdict, seed."""
    plan = run.replayed.plan
    said = [line for line in run.recovered.kernel_log if any(word in line for word in _TELLING)]
    lines = [
        *_section("shape", str(options.shape).split("; ")),
        (
            f"kernel     {kernel.release} ({kernel.version}), recovery of era {options.era.name},"
            f" guest on {options.image.accelerator.upper()}"
            + "".join(f", with {path.name} replaced" for path in kernel.replaced)
        ),
        *_section("cut", _cut_lines(options, run)),
        *_section(
            "journal", journal_lines(run.metas, plan, run.before.array.geometry, whole=False)
        ),
        *_section("kernel", said or ["says nothing of md"]),
        *_section("compared", [c for j in run.verdict.judgements for c in _compared(j)]),
        *_section("verdict", [_verdict_line(run)]),
    ]
    for finding in run.verdict.findings[:_MOST_FINDINGS]:
        lines += [f"{_INDENT}{finding.oracle}: {finding.what}"]
        lines += [f"{_INDENT}  {detail}" for detail in finding.details]
    more = len(run.verdict.findings) - _MOST_FINDINGS
    if more > 0:
        lines.append(f"{_INDENT}and {more} more findings, all in verdict.json")
    where = str(kept) if kept else "not kept, since all agrees (--keep keeps it)"
    return [*lines, f"evidence   {where}", f"repeat     {repeat}"]


def failure_lines(message: str, kept: Path) -> list[str]:
    """Return what is printed when a guest was lost: no verdict, and where the evidence is."""
    return [message, f"this is no verdict about recovery; evidence: {kept}"]


def describe_event(trace: Trace, event: Event) -> str:
    """Say in a few words what an event of a trace is."""
    match event:
        case Mark(text=text):
            return f"the mark {text!r}"
        case Completion(request=request, disk=disk):
            return f"request {request} on {trace.disks[disk].name} completes"
        case Issue(operation=Operation.FLUSH, disk=disk):
            return f"a flush of {trace.disks[disk].name} is issued"
        case Issue(operation=operation, disk=disk, offset=offset, length=length):
            kind = operation.name.lower()
            return f"a {kind} of {length} bytes at {offset} of {trace.disks[disk].name} is issued"


def _cut_lines(options: CrashOptions, run: CrashRun) -> list[str]:
    following = next(e for e in run.recording.trace.events if e.sequence == run.state.cut)
    return [
        (
            f"before event {run.cut_event} of {run.recording.events} of the workload"
            f" ({len(run.recording.workload.writes)} writes):"
            f" {describe_event(run.recording.trace, following)}"
        ),
        (
            f"{run.state.lost_writes} writes lost from the caches and in flight,"
            f" {run.state.torn_writes} torn (--lose {options.loss.value})"
        ),
    ]


def _verdict_line(run: CrashRun) -> str:
    count = len(run.verdict.findings)
    if run.verdict.outcome is Outcome.AGREES:
        return "AGREES: the kernel left what the model predicted"
    return f"{run.verdict.outcome.value}({run.verdict.reason}), {count} finding(s):"


def _compared(judgement: Judgement) -> list[str]:
    mark = "DIFFERS" if judgement.findings else "agrees"
    lines = []
    for number, what in enumerate(judgement.compared):
        head = f"{judgement.oracle:<22} {mark:<8}" if number == 0 else " " * 31
        lines.append(f"{head}{what}")
    return lines


def _section(title: str, lines: Iterable[str]) -> list[str]:
    return [f"{title if number == 0 else '':<11}{line}" for number, line in enumerate(lines)]
