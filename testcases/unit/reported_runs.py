"""Runs to be reported on, made by hand: with everything in them that a report can meet."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from harness.campaign.reports.model import Case, OracleCount, RunReport
from harness.verdict.verdict import Finding, Judgement, Outcome, Verdict

# What must not get out of the place where it is told of.
HOSTILE = (
    "</script><script>alert(1)</script>",
    "]]><!-- & \"quoted\" 'as well'",
    "\x1b[2Jcleared\x00\x07\x7f\x9b1m",
    "first\r\nsecond\rthird\u2028fourth",
    "half \udce9 a byte",
    "a name # SKIP what fails",
    "not ok 7 a line of its own\n1..99\nnot ok 8",
    "--> ${x} {{ 7 * 7 }} {% raw %}",
)


def agrees() -> Verdict:
    return Verdict(Outcome.AGREES)


def differs(*findings: Finding, outcome: Outcome = Outcome.DIFFERS, reason: str = "") -> Verdict:
    judgements = tuple(Judgement(f.oracle, ("all of it",), (f,)) for f in findings)
    return Verdict(outcome, judgements, reason or findings[0].what)


def lost_write(sector: int) -> Finding:
    what = f"array sector {sector} holds write 1; write 2 of it was flushed and is gone"
    return Finding("durability", what, (f"stripe {sector // 8 * 8}",), {"flushed": 1})


def case(number: int, verdict: Verdict, *, kernel: str = "6.1", group: str = "states") -> Case:
    return Case(
        name=f"state {number}", group=group, kernel=kernel, verdict=verdict, seconds=0.25,
        repeat=f"tools/mdjournal explore --state {number}",
    )  # fmt: skip


def report_of(cases: Sequence[Case], *, strict: bool = False) -> RunReport:
    return RunReport(
        title="explore", command="tools/mdjournal explore --states 5", began_s=1_000_000_000.0,
        kernels=tuple(dict.fromkeys(each.kernel for each in cases)), seconds=12.5,
        cases=tuple(cases), strict=strict, facts={"array": "RAID-5, 3 members"},
        oracles=(OracleCount("durability", "states", 5, 2),),
        reasons={"the-tail-is-early": "The tail moves before the members are flushed."},
    )  # fmt: skip


def one_of_each(*, strict: bool = False) -> RunReport:
    """Return a run with a case of every outcome, and a second kernel on which all is well."""
    lost = Verdict(Outcome.HARNESS_FAILED, reason="guest lost: QEMU ended")
    not_run = Verdict(Outcome.NOT_RUN, reason="md goes on of its own accord")
    known = differs(lost_write(40), outcome=Outcome.KNOWN, reason="the-tail-is-early")
    return report_of(
        [
            case(0, agrees()), case(1, differs(lost_write(16))), case(2, known), case(3, lost),
            case(4, not_run), case(0, agrees(), kernel="7.3"),
        ],
        strict=strict,
    )  # fmt: skip


def hostile_run() -> RunReport:
    """Return a run in which every text is hostile."""
    outcomes = (Outcome.DIFFERS, Outcome.KNOWN, Outcome.HARNESS_FAILED, Outcome.NOT_RUN)
    cases = [
        Case(
            name=f"{number} {outcome.value} {text}", group=text, kernel=text,
            verdict=differs(
                Finding(text, text, (text, f"before\n{text}")), outcome=outcome, reason=text
            ),
            evidence=Path("/kept") / text.replace("\x00", ""), repeat=text,
        )
        for number, text in enumerate(HOSTILE)
        for outcome in outcomes
    ]  # fmt: skip
    return RunReport(
        title=HOSTILE[0], command=" ".join(HOSTILE), began_s=0.0, seconds=0.0, cases=tuple(cases),
        kernels=HOSTILE, facts={text: text for text in HOSTILE},
        oracles=tuple(OracleCount(text, text, 1, 1) for text in HOSTILE),
        reasons={text: text for text in HOSTILE},
    )  # fmt: skip
