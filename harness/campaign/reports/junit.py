"""A run as JUnit XML, as continuous integration reads it.

A red case is a ``<failure>``, a lost guest an ``<error>``, what could not be run ``<skipped>``. A
known issue is ``<skipped message="known issue: ..">``: shown and counted, and the job stays green
as the exit status does; where known issues count as failures (``--strict``) it is a ``<failure>``.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from xml.etree import ElementTree as ET

from harness.campaign.reports.model import Case, Light, RunReport, clean, finding_lines, one_line
from harness.verdict.verdict import Outcome

_ELEMENTS = {Light.FAILED: "failure", Light.ERROR: "error", Light.EXPECTED: "skipped",
             Light.SKIPPED: "skipped"}  # fmt: skip
_MOST_LINES = 200


def junit_text(report: RunReport) -> str:
    """Return the report as the text of an XML file."""
    root = ET.Element("testsuites", name=f"mdjournal {one_line(report.title)}")
    lights: Counter[Light] = Counter()
    for group, kernel, cases in report.suites():
        lights += _add_suite(root, report, f"{group}, kernel {kernel}", cases)
    _set_counts(root, lights)
    root.set("time", f"{report.seconds:.3f}")
    ET.indent(root)
    return f"<?xml version='1.0' encoding='UTF-8'?>\n{ET.tostring(root, encoding='unicode')}\n"


def _add_suite(
    root: ET.Element, report: RunReport, name: str, cases: Sequence[Case]
) -> Counter[Light]:
    suite = ET.SubElement(root, "testsuite", name=one_line(name))
    lights: Counter[Light] = Counter(case.light(strict=report.strict) for case in cases)
    _set_counts(suite, lights)
    suite.set("time", f"{sum(case.seconds for case in cases):.3f}")
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(report.began_s))
    suite.set("timestamp", stamp)
    facts = {"command": report.command, "kernel": cases[0].kernel, **report.facts}
    properties = ET.SubElement(suite, "properties")
    for key, value in facts.items():
        ET.SubElement(properties, "property", name=one_line(key), value=one_line(value))
    for case in cases:
        _add_case(suite, report, case)
    return lights


def _set_counts(element: ET.Element, lights: Counter[Light]) -> None:
    element.set("tests", str(lights.total()))
    element.set("failures", str(lights[Light.FAILED]))
    element.set("errors", str(lights[Light.ERROR]))
    element.set("skipped", str(lights[Light.SKIPPED] + lights[Light.EXPECTED]))


def _add_case(suite: ET.Element, report: RunReport, case: Case) -> None:
    parts = (report.title, case.kernel, case.group)  # readers take dots for levels
    names = (one_line(part).replace(" ", "-").replace(".", "_") for part in parts)
    element = ET.SubElement(
        suite, "testcase", name=one_line(case.name), classname=".".join(["mdjournal", *names]),
        time=f"{case.seconds:.3f}",
    )  # fmt: skip
    light = case.light(strict=report.strict)
    if light is Light.PASSED:
        return
    verdict = case.verdict
    message = one_line(verdict.reason) or verdict.outcome.value
    if verdict.outcome is Outcome.KNOWN:
        message = f"known issue: {message}"
    lines = [line for finding in verdict.findings for line in finding_lines(finding)]
    if len(lines) > _MOST_LINES:
        lines = [*lines[:_MOST_LINES], f"and {len(lines) - _MOST_LINES} more lines"]
    if case.stands_for > 1:
        lines.append(f"stands for {case.stands_for} that nothing tells apart")
    if case.evidence is not None:
        lines.append(f"evidence: {case.evidence}")
    if case.repeat:
        lines.append(f"repeat: {case.repeat}")
    told = ET.SubElement(element, _ELEMENTS[light], message=message)
    if light in (Light.FAILED, Light.ERROR):
        told.set("type", verdict.outcome.value)
        told.text = clean("\n".join(lines))
    elif lines:  # <skipped> has no room for more than its message in most readers
        ET.SubElement(element, "system-out").text = clean("\n".join(lines))
