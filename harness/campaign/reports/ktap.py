"""A run as KTAP version 1 (the kernel's Documentation/dev-tools/ktap.rst), nested by group.

A red case is ``not ok``, a lost guest ``not ok .. # ERROR``, what was not run ``ok .. # SKIP``. A
known issue is ``ok .. # XFAIL``, as kselftest has it; in a strict run it is ``not ok``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from harness.campaign.reports.model import Case, Light, RunReport, finding_lines, one_line

_VERSION = "KTAP version 1"
_BAD = (Light.FAILED, Light.ERROR)
_MOST_LINES = 60  # of a case


def ktap_text(report: RunReport) -> str:
    """Return the report as text."""
    return "".join(f"{line}\n" for line in _lines(report))


def _lines(report: RunReport) -> Iterator[str]:
    suites = list(report.suites())
    yield _VERSION
    yield f"# mdjournal {one_line(report.title)}"
    yield f"# command: {one_line(report.command)}"
    for name, value in report.facts.items():
        yield f"# {one_line(name)}: {one_line(value)}"
    yield f"1..{len(suites)}"
    for number, (group, kernel, cases) in enumerate(suites, start=1):
        name = _description(f"{group}, kernel {kernel}")
        yield f"  {_VERSION}"
        yield f"  # Subtest: {name}"
        yield f"  1..{len(cases)}"
        for place, case in enumerate(cases, start=1):
            yield from (f"  {line}" for line in _case_lines(case, place, strict=report.strict))
        yield _suite_line(number, name, cases, strict=report.strict)


def _suite_line(number: int, name: str, cases: Sequence[Case], *, strict: bool) -> str:
    lights = [case.light(strict=strict) for case in cases]
    if any(light in _BAD for light in lights):
        return f"not ok {number} {name}"
    skipped = " # SKIP nothing of it was run" if set(lights) == {Light.SKIPPED} else ""
    return f"ok {number} {name}{skipped}"


def _case_lines(case: Case, place: int, *, strict: bool) -> Iterator[str]:
    light, verdict = case.light(strict=strict), case.verdict
    lines = [line for finding in verdict.findings for line in finding_lines(finding)]
    for line in lines[:_MOST_LINES]:
        yield f"# {one_line(line)}"
    if len(lines) > _MOST_LINES:
        yield f"# and {len(lines) - _MOST_LINES} more lines"
    if light is not Light.PASSED:
        if case.evidence is not None:
            yield f"# evidence: {one_line(str(case.evidence))}"
        if case.repeat:
            yield f"# repeat: {one_line(case.repeat)}"
    reason = _description(verdict.reason) or verdict.outcome.value
    told = {
        Light.PASSED: "",
        Light.FAILED: f" # {verdict.outcome.value}: {reason}", Light.ERROR: f" # ERROR {reason}",
        Light.SKIPPED: f" # SKIP {reason}", Light.EXPECTED: f" # XFAIL known issue: {reason}",
    }  # fmt: skip
    result = "not ok" if light in _BAD else "ok"
    yield f"{result} {place} {_description(case.name)}{told[light]}"


def _description(text: str) -> str:
    """Return text fit for a result line, in which a hash sign begins what is no name any more."""
    return one_line(text).replace("#", "no. ").replace("\\", "/")
