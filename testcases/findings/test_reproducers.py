"""Every finding that exploring made is shown again by the least that shows it.

Each reproducer is a trace and a crash state of it: what the kernel wrote, in which order, and what
a power cut left. The kernel under test recovers that state; the oracles must object as they did.
Run with ``tools/mdjournal test -- testcases/findings -k NAME`` (and ``--kernel NAME``).
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from harness.campaign.exploring.batch import BankGuest, bank_guest
from harness.campaign.exploring.choosing import ExploreOptions, predictor_of, subject_of
from harness.campaign.exploring.guest_pool import Judged
from harness.campaign.exploring.interrupted import interruptions, same_end
from harness.campaign.exploring.oracles import EVERY, Oracles
from harness.campaign.exploring.subjects import Look
from harness.campaign.exploring.trace_judging import judge_trace
from harness.campaign.known_issues import known_issues_of
from harness.crash.strategies import Strategy
from harness.verdict.verdict import Outcome, Verdict
from testcases.findings.reproducers import Reproducer, names, read_reproducer
from testcases.lab import Lab

pytestmark = pytest.mark.guest


@pytest.mark.parametrize("name", names())
def test_it_shows_again(lab: Lab, kernel: str, name: str) -> None:
    kept = read_reproducer(name)
    crash = lab.options(kernel, kept.shape, seed=kept.recording.workload.seed)
    options = ExploreOptions(crash=crash, strategy=Strategy.WORST, states=1, oracles=Oracles(EVERY))
    verdicts = list(verdicts_of(kept, options))
    issues = known_issues_of(crash.image.kernel_version, crash.shape)
    reasons = [issues.apply(verdict).reason.split(", ") for verdict in verdicts]
    assert any(name in of_one for of_one in reasons), [
        finding.what for verdict in verdicts for finding in verdict.findings
    ]


def verdicts_of(kept: Reproducer, options: ExploreOptions) -> Iterator[Verdict]:
    """Yield all that is said of a reproducer; require that the kernel does as is predicted."""
    yield judge_trace(kept.recording)
    if kept.chosen is None:
        return
    subject = subject_of(options, kept.recording, predictor_of(options))
    sizes = options.crash.shape.disk_sizes
    contents = dict(zip(sizes, kept.chosen.contents(), strict=True))
    look = subject.look_at(kept.chosen, contents, 1)
    yield look.verdict
    with bank_guest(options.crash.image, options.crash.shape, say=print) as guest:
        judged = recovered(guest, look)
        yield judged.verdict
        if judged.job.predicted is not None and judged.done.recovered.settled:
            for state in interruptions(judged, sizes, options):
                yield same_end(judged, state)


def recovered(guest: BankGuest, look: Look) -> Judged:
    assert look.job is not None
    (done,) = guest.recover([look.job.state])
    verdict = look.job.judge(done)
    wrong = [f.what for f in verdict.findings if f.oracle not in ("available", "check", "degraded")]
    assert verdict.outcome is not Outcome.DIFFERS or wrong == [], "what follows is about the model"
    return Judged(look.job, done, verdict, 0.0)


@pytest.mark.parametrize("name", names())
def test_what_is_kept_is_small_and_says_what_it_is(name: str) -> None:
    kept = read_reproducer(name)
    assert kept.document["finding"] == name
    assert len(kept.recording.trace.events) < 1000
    assert kept.document["verdict"] == "KNOWN"
