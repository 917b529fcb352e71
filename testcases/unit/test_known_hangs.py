"""A hang of the driver is known by where it waits, and by nothing else."""

from __future__ import annotations

import pytest

from harness.campaign.judging import Recovered, judge_alive
from harness.campaign.known_issues import known_issues_of
from harness.hosts.host import CommandResult
from harness.md.shape import Shape
from harness.verdict.verdict import Outcome, verdict_of

IDLE = "\nmd0_raid5:\n[<0>] md_thread+0x15c/0x190 [md_mod]"
IN_START = (
    "the request:\n[<0>] r5l_start.cold+0x4f7/0x5e4 [raid456]\n[<0>] md_start+0x3b/0x60" + IDLE
)
IN_QUIESCE = "the request:\n[<0>] raid5_quiesce+0x1a/0x2b0 [raid456]" + IDLE
ELSEWHERE = "the request:\n[<0>] md_super_wait+0x8a/0xc0 [md_mod]" + IDLE
ONLY_RAID5D = ELSEWHERE + "\n[<0>] r5l_start+0x1/0x2 [raid456]\n[<0>] raid5_quiesce+0x1/0x2"


def outcome(*, assembling: str = "", stopping: str = "", kernel: str = "6.1.192-2") -> Outcome:
    """Return the verdict over a hang with such stacks."""
    assembled = CommandResult(
        "guest", ("md", "assemble"), None if assembling else 0, "", 1.0, assembling
    )
    stopped = CommandResult("guest", ("md", "stop"), None if stopping else 0, "", 1.0, stopping)
    recovered = Recovered(
        assembled=assembled, settled=True, stopped=None if assembling else stopped, kernel_log=()
    )
    return known_issues_of(kernel, Shape()).apply(verdict_of((judge_alive(recovered),))).outcome


def test_nothing_that_hangs_is_green() -> None:
    assert outcome() is Outcome.AGREES


@pytest.mark.parametrize(
    ("assembling", "stopping", "known"),
    [
        (IN_START, "", True), ("", IN_QUIESCE, True), (IN_QUIESCE, "", False),
        ("", IN_START, False), (ELSEWHERE, "", False), ("", ELSEWHERE, False),
        (ONLY_RAID5D, "", False), ("", ONLY_RAID5D, False),
    ],
)  # fmt: skip
def test_a_hang_is_known_by_where_the_request_waits(
    assembling: str, stopping: str, known: bool
) -> None:
    found = outcome(assembling=assembling, stopping=stopping)
    assert found is (Outcome.KNOWN if known else Outcome.DIFFERS)


def test_a_hang_is_not_known_on_kernels_that_were_not_seen_to_have_it() -> None:
    assert outcome(assembling=IN_START, kernel="7.3.4") is Outcome.DIFFERS
    assert outcome(stopping=IN_QUIESCE, kernel="5.4.200") is Outcome.DIFFERS
