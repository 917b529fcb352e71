"""One crash state recovered in a batch, tampered with in every way that an oracle exists for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import pytest

from harness.campaign.crash import area_of
from harness.campaign.exploring.batch import RecoveredState, bank_guest
from harness.campaign.exploring.choosing import (
    ExploreOptions,
    chosen_states,
    predictor_of,
    subject_of,
)
from harness.campaign.exploring.guest_pool import Job, Judged
from harness.campaign.exploring.interrupted import interruptions, same_end
from harness.campaign.exploring.oracles import EVERY, NONE, Oracles
from harness.campaign.exploring.trace_judging import judge_trace
from harness.campaign.recording import Recording
from harness.crash.strategies import Strategy
from harness.crash.trace import Issue, Operation
from harness.crash.workload import FlushStep, Workload, Write, WriteStep
from harness.md.shape import Shape
from harness.ondisk.units import ArraySector
from harness.verdict.verdict import Outcome, Verdict
from testcases.lab import Lab

pytestmark = pytest.mark.guest


@dataclass(frozen=True)
class Case:
    """A recovery with stripes to replay, looked at in every way."""

    options: ExploreOptions
    recording: Recording
    job: Job
    done: RecoveredState

    def verdict(self, done: RecoveredState | None = None) -> Verdict:
        """Judge it, or what became of it in other hands."""
        return self.job.judge(done or self.done)


@pytest.fixture(scope="module")
def case(lab: Lab, kernel: str) -> Case:
    crash = lab.options(kernel, Shape(chunk_bytes=16384, journal_bytes=1 << 20), seed=3, steps=5)
    options = ExploreOptions(
        crash=crash, strategy=Strategy.WORST, states=60, oracles=Oracles(EVERY)
    )
    recording = lab.record(crash)
    subject = subject_of(options, recording, predictor_of(options))
    names = [disk.name for disk in recording.trace.disks]
    for ticket, chosen in enumerate(chosen_states(options, recording, states=60)):
        contents = dict(zip(names, chosen.contents(), strict=True))
        job = subject.look_at(chosen, contents, ticket).job
        assert job is not None
        if job.predicted and job.predicted.plan.data_parity > 2 and not job.state.by_mdadm:
            with bank_guest(crash.image, crash.shape, say=print) as guest:
                (done,) = guest.recover([job.state])
            return Case(options, recording, job, done)
    raise AssertionError("no state with stripes to replay")


def test_it_agrees_as_it_is_and_all_oracles_looked(case: Case) -> None:
    verdict = case.verdict()
    assert verdict.outcome is Outcome.AGREES
    assert {judgement.oracle for judgement in verdict.judgements} == {
        "available", "alive", "journal truth", "differential, members", "differential, journal",
        "read back", "check", "degraded", "second recovery",
    }  # fmt: skip
    assert len(case.done.degraded) == 3


def tampered(case: Case) -> Iterator[tuple[str, str, RecoveredState]]:
    """Yield the oracle that must object, how it is tampered with, and what became of it then."""
    done = case.done
    yield from _other_writes(case)
    recovered = done.recovered
    said = tuple(line for line in recovered.kernel_log if "recovering" not in line)
    yield "journal truth", "no-count", replace(done, recovered=replace(recovered, kernel_log=said))
    warned = (*recovered.kernel_log, "WARNING: CPU: 0 PID: 1 at drivers/md/raid5.c")
    yield "alive", "warning", replace(done, recovered=replace(recovered, kernel_log=warned))
    failed = replace(recovered.assembled, status=1, output="md: Invalid argument")
    refused = replace(recovered, assembled=failed, settled=False, stopped=None)
    yield "available", "refused", replace(done, recovered=refused)
    yield "available", "refused-by-mdadm", replace(done, refused=failed)
    hung = replace(recovered.assembled, status=None, stack="r5l_start")
    hangs = replace(recovered, assembled=hung, settled=False, stopped=None)
    yield "alive", "hangs", replace(done, recovered=hangs)
    other = (done.read[0] ^ 1, *done.read[1:])
    yield "read back", "other-page", replace(done, read=other)
    yield "check", "more", replace(done, mismatch_sectors=8)
    degraded = done.degraded
    bad_page = replace(degraded[1], read=(*degraded[1].read[:-1], 7))
    yield "degraded", "other-page", replace(done, degraded=(degraded[0], bad_page, degraded[2]))
    not_up = replace(degraded[0], recovered=refused, read=())
    yield "degraded", "refused", replace(done, degraded=(not_up, *degraded[1:]))
    yield "second recovery", "refused", replace(done, second=refused)
    yield "second recovery", "no-write", replace(done, writes_of_second=())
    page = next(w for w in done.writes if w.disk == 0 and w.offset > 8192)
    more = replace(page, payload=bytes(len(page.payload)))
    twice = (*done.writes_of_second, more)
    yield "second recovery", "member-written", replace(done, writes_of_second=twice)


def _other_writes(case: Case) -> Iterator[tuple[str, str, RecoveredState]]:
    done, predicted = case.done, case.job.predicted
    assert predicted is not None
    names = list(case.options.crash.shape.disk_sizes)
    journal = len(names) - 1
    last = {(write.disk, write.offset): write for write in done.writes}
    pages = [
        write
        for write in done.writes
        if write.disk != journal
        and write is last[write.disk, write.offset]
        and write.offset > 8192
        and predicted.before[names[write.disk]].read(write.offset, write.length) != write.payload
    ]
    metas = [write for write in done.writes if write.disk == journal and write.offset > 8192]

    def but(change: Callable[[Issue], Issue | None]) -> RecoveredState:
        changed = (change(write) for write in done.writes)
        return replace(done, writes=tuple(write for write in changed if write is not None))

    flipped = replace(pages[0], payload=bytes([pages[0].payload[0] ^ 1]) + pages[0].payload[1:])
    yield "differential", "dropped", but(lambda w: None if w is pages[0] else w)
    yield "differential", "flipped", but(lambda w: flipped if w is pages[0] else w)
    yield "differential", "no-meta", but(lambda w: None if w in metas else w)
    stray = replace(pages[-1], offset=pages[-1].offset + (8 << 20))
    yield "differential", "stray", replace(done, writes=(*done.writes, stray))


TAMPERINGS = [
    ("differential", "dropped"), ("differential", "flipped"), ("differential", "no-meta"),
    ("differential", "stray"), ("journal truth", "no-count"), ("alive", "warning"),
    ("available", "refused"), ("available", "refused-by-mdadm"), ("alive", "hangs"),
    ("read back", "other-page"), ("check", "more"), ("degraded", "other-page"),
    ("degraded", "refused"), ("second recovery", "refused"), ("second recovery", "no-write"),
    ("second recovery", "member-written"),
]  # fmt: skip


@pytest.mark.parametrize(("oracle", "how"), TAMPERINGS, ids=lambda word: word.replace(" ", "-"))
def test_every_oracle_can_object(case: Case, oracle: str, how: str) -> None:
    every = {(by, way): done for by, way, done in tampered(case)}
    assert list(every) == TAMPERINGS
    verdict = case.verdict(every[oracle, how])
    assert verdict.outcome is Outcome.DIFFERS
    assert oracle in {finding.oracle for finding in verdict.findings}


def test_an_interrupted_recovery_that_comes_to_another_end_is_seen(case: Case) -> None:
    judged = Judged(case.job, case.done, case.verdict(), 0.0)
    sizes = case.options.crash.shape.disk_sizes
    states = list(interruptions(judged, sizes, case.options))
    assert len(states) > 10
    # One event behind or ahead is a matter of superblocks: what is left is the data.
    whole = [s for s in states if s.predicted is not None and s.predicted.stale == 0]
    assert any(same_end(judged, state).outcome is Outcome.AGREES for state in whole)
    state = next(s for s in whole if same_end(judged, s).outcome is Outcome.AGREES)
    assert state.predicted is not None
    after = {name: content.copy() for name, content in state.predicted.after.items()}
    after["member1"].write(1048576 + 700, b"another end")
    other = replace(state, predicted=replace(state.predicted, after=after))
    verdict = same_end(judged, other)
    assert verdict.outcome is Outcome.DIFFERS
    assert "member 1" in verdict.findings[0].what


def without_flushes(recording: Recording, disk: str) -> Recording:
    """Return a recording of a driver that never flushed a disk in its workload."""
    trace = recording.trace
    gone = {
        event.request
        for event in trace.events
        if isinstance(event, Issue)
        and event.operation is Operation.FLUSH
        and trace.disks[event.disk].name == disk
        and event.sequence >= recording.first_event
    }
    kept = tuple(event for event in trace.events if getattr(event, "request", None) not in gone)
    return replace(recording, trace=replace(trace, events=kept))


def test_a_journal_that_is_never_flushed_breaks_the_order(case: Case) -> None:
    said = [f.what for f in judge_trace(without_flushes(case.recording, "journal")).findings]
    assert any("and its record (meta block" in what for what in said)
    assert any("says that write" in what for what in said)


def test_a_page_that_is_written_without_a_record_breaks_the_order(case: Case) -> None:
    trace = case.recording.trace
    last = trace.disk_index("member0")
    victim = next(
        event
        for event in trace.events
        if isinstance(event, Issue) and event.disk == last and event.offset >= 1 << 20
        and event.sequence > case.recording.first_event and event.payload
    )  # fmt: skip
    other = replace(victim, payload=bytes([victim.payload[0] ^ 1]) + victim.payload[1:])
    events = tuple(other if event is victim else event for event in trace.events)
    tampered_trace = replace(case.recording, trace=replace(trace, events=events))
    findings = judge_trace(tampered_trace).findings
    assert any("no record in the log has that page" in finding.what for finding in findings)


@pytest.mark.parametrize("disk", ["journal", "member1"])
def test_a_disk_that_lies_about_its_flushes_loses_what_was_flushed(
    lab: Lab, kernel: str, disk: str
) -> None:
    """What no driver can help: if this were green, durability would be blind.

    Any part of what it was given may be lost: a member that loses all of it loses its superblocks
    as well, and is mostly left behind as stale. The log has wrapped by the end, so that much has
    left it for the members.
    """
    shape = Shape(chunk_bytes=16384, journal_bytes=1 << 19)
    crash = lab.options(kernel, shape, seed=3)
    row = area_of(crash).row_sectors
    steps = (
        (WriteStep((Write(number, ArraySector(number % 8 * row), row),)), FlushStep())
        for number in range(1, 44)
    )
    workload = Workload(crash.seed, tuple(step for pair in steps for step in pair))
    recording = lab.record(crash, workload)
    options = ExploreOptions(
        crash=crash, strategy=Strategy.RANDOM, states=200, oracles=Oracles(NONE),
        lying=frozenset({disk}),
    )  # fmt: skip
    subject = subject_of(options, recording, predictor_of(options))
    names = [known.name for known in recording.trace.disks]
    findings = [
        finding
        for chosen in chosen_states(options, recording, states=options.states)
        for finding in subject.look_at(
            chosen, dict(zip(names, chosen.contents(), strict=True)), chosen.number
        ).verdict.findings
    ]
    assert any(finding.oracle == "durability" for finding in findings)
