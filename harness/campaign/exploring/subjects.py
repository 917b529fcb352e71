"""What is looked at in a crash state: an array with a journal, one that lost it, or the control."""

from __future__ import annotations

import functools
import hashlib
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from harness.campaign.exploring.batch import Looks, RecoveredState, StateToRecover
from harness.campaign.exploring.guest_pool import Job
from harness.campaign.exploring.oracles import Oracles, Sampled
from harness.campaign.exploring.state_judging import judge_recovered, judge_without_journal
from harness.campaign.judging import judge_alive, judge_available
from harness.crash.content import DiskContent
from harness.crash.strategies import ChosenState
from harness.ondisk.units import BLOCK_SECTORS, ArraySector
from harness.recovery.log import UndefinedRecovery
from harness.recovery.members import Array, put_together
from harness.verdict.afterwards import READ_BACK, judge_read_back
from harness.verdict.durability import Members, Promises, judge_redundancy
from harness.verdict.predicted_state import (
    JournalGone,
    PredictedState,
    Predictor,
    flushed_stripes,
    superblocks_of,
)
from harness.verdict.verdict import Finding, Judgement, Outcome, Verdict, verdict_of

WRITE_HOLE = "write hole"  # durability and atomicity where nothing closes it

Contents = dict[str, DiskContent]


@dataclass(frozen=True, slots=True)
class Look:
    """What is known of a state without a kernel, and the job for one if it turns out to be new.

    No job: what the kernel makes of the state cannot be told, or it is for no kernel.
    """

    verdict: Verdict
    job: Job | None
    identity: bytes
    predicted: PredictedState | None = None


class Subject(Protocol):
    """How the states of one recording are looked at."""

    def look_at(self, chosen: ChosenState, contents: Contents, ticket: int) -> Look:
        """Judge a state as far as that goes without a kernel.

        Args:
            chosen: the state.
            contents: of each disk, by name.
            ticket: what the state is called on its way through a guest.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class Looking:
    """What every subject needs to know."""

    promises: Promises
    sizes_bytes: Mapping[str, int]
    seed: int
    oracles: Oracles


class Journaled:
    """An array with a journal: its recovery is predicted, and compared with the kernel's."""

    def __init__(self, looking: Looking, predictor: Predictor) -> None:
        self._looking = looking
        self._predictor = predictor

    def look_at(self, chosen: ChosenState, contents: Contents, ticket: int) -> Look:
        """See `Subject`."""
        sizes = self._looking.sizes_bytes
        try:
            predicted = self._predictor.predict(contents)
        except UndefinedRecovery as undefined:
            return _not_to_be_told(contents, str(undefined))
        except JournalGone as gone:
            return self._look_without_journal(chosen, contents, ticket, gone)
        if why := predicted.array.goes_on_with:
            return _not_to_be_told(contents, f"{why}, and how far that comes cannot be told")
        members = members_of(predicted)
        looks = self._looks(chosen.number, predicted.array)
        job = job_with_journal(predicted, members, looks, contents, sizes, chosen.number, ticket)
        verdict = self._judge(members, chosen.cut.sequence)
        return Look(verdict, job, predicted.identity, predicted)

    def _judge(self, members: Members, cut: int) -> Verdict:
        """Judge what the array holds when recovery has done what is predicted.

        If the kernel does something else, that is found where it recovers a state of this class.
        """
        promises = self._looking.promises
        discarded = promises.discarded(cut)
        judged = replace(
            members,
            facts_of=lambda stripe: {
                **members.facts_of(stripe), "stripe_discarded": int(stripe in discarded)
            },
        )  # fmt: skip
        redundancy = judge_redundancy(judged, promises.stripes)
        return verdict_of((*promises.judge(judged, cut), redundancy))

    def _looks(self, number: int, array: Array) -> Looks:
        """Return what the kernel is to be asked afterwards, by the state's number."""
        looking = self._looking

        def wanted(oracle: Sampled) -> bool:
            return looking.oracles.look_at(oracle, seed=looking.seed, number=number)

        geometry = array.geometry
        complete = len(array.members) == geometry.raid_disks
        check, degraded = wanted(Sampled.CHECK) and complete, wanted(Sampled.DEGRADED)
        spare = geometry.level.parities - (geometry.raid_disks - len(array.members))
        without = (
            tuple(
                tuple(name for slot in slots for name in array.members[slot])
                for slots in itertools.combinations(sorted(array.members), spare)
            )
            if degraded and spare > 0
            else ()
        )
        pages = tuple(page // BLOCK_SECTORS for page in looking.promises.pages)
        return Looks(
            read_pages=pages if check or degraded else (),
            check_sectors=_checked_sectors(array, looking.promises) if check else 0,
            again=wanted(Sampled.SECOND), without=without,
        )  # fmt: skip

    def _look_without_journal(
        self, chosen: ChosenState, contents: Contents, ticket: int, gone: JournalGone
    ) -> Look:
        """Look at an array that has marked its journal as faulty: it is started read-only."""
        array = gone.array
        members = Members(array.geometry, _data_offset(array), _by_slot(array, contents))
        sizes = self._looking.sizes_bytes
        job = job_without_journal(gone, contents, sizes, chosen.number, ticket)
        # Redundancy is not promised: the journal that would have closed the write hole is gone.
        verdict = verdict_of(self._looking.promises.judge(members, chosen.cut.sequence))
        return Look(verdict, job, job.identity)


class WithoutJournal:
    """An array without a journal, started dirty with one member missing: the write hole.

    Whatever was under way when the power went may have left data and parity of different ages, and
    the missing member's data is then read as something that nobody wrote.
    """

    def __init__(self, looking: Looking) -> None:
        self._looking = looking

    def look_at(self, chosen: ChosenState, contents: Contents, ticket: int) -> Look:
        """See `Subject`."""
        promises = self._looking.promises
        array = put_together(superblocks_of(contents, self._looking.sizes_bytes))
        missing = chosen.number % array.geometry.raid_disks
        left = _by_slot(array, contents)
        del left[missing]
        members = Members(array.geometry, _data_offset(array), left)
        there = tuple(names[0] for slot, names in array.members.items() if slot != missing)
        looks = Looks(read_pages=tuple(page // BLOCK_SECTORS for page in promises.pages))
        state = StateToRecover(number=ticket, contents=contents, assemble=there, looks=looks)
        verdict = verdict_of(
            tuple(
                replace(judgement, oracle=WRITE_HOLE, findings=_renamed(judgement.findings))
                for judgement in promises.judge(members, chosen.cut.sequence)
            )
        )
        identity = digest_of({name: contents[name] for name in there})
        judge = functools.partial(_judge_read_back, array, members, looks.read_pages)
        job = Job(state=state, number=chosen.number, identity=identity, judge=judge, predicted=None)
        return Look(verdict, job, identity)


def job_with_journal(
    predicted: PredictedState,
    members: Members,
    looks: Looks,
    contents: Mapping[str, DiskContent],
    sizes_bytes: Mapping[str, int],
    number: int,
    ticket: int,
) -> Job:
    """Return the job that lets a kernel do what is predicted, and judges what it did."""
    state = StateToRecover(
        number=ticket, contents=contents, assemble=tuple(predicted.before),
        by_mdadm=_mdadm_could_object(predicted.array), looks=looks,
    )  # fmt: skip
    return Job(
        state=state, number=number, identity=predicted.identity, predicted=predicted,
        judge=functools.partial(judge_recovered, predicted, members, looks, sizes_bytes),
    )  # fmt: skip


def job_without_journal(
    gone: JournalGone,
    contents: Mapping[str, DiskContent],
    sizes_bytes: Mapping[str, int],
    number: int,
    ticket: int,
) -> Job:
    """Return the job that lets md start an array whose journal is no longer part of it."""
    array = gone.array
    names = tuple(array.superblocks)
    before = {name: contents[name] for name in names}
    return Job(
        state=StateToRecover(number=ticket, contents=contents, assemble=names),
        number=number, identity=digest_of(before), predicted=None,
        judge=functools.partial(judge_without_journal, gone, before, sizes_bytes),
    )  # fmt: skip


def members_of(predicted: PredictedState) -> Members:
    """Return the members as a predicted recovery leaves them, with figures on each stripe.

    ``member_behind_journal``: a superblock update had reached the journal, and not every member;
    ``stripe_named_by_flush``: the live log has a FLUSH record of the stripe; ``member_stale``: a
    member is left behind that the array still counts on.
    """
    array = predicted.array
    behind = int(_member_behind_journal(array))

    @functools.cache
    def flushed() -> frozenset[int]:
        return flushed_stripes(predicted)

    def facts_of(stripe: int) -> dict[str, int]:
        return {
            "member_behind_journal": behind, "stripe_named_by_flush": int(stripe in flushed()),
            "member_stale": int(predicted.stale > 0),
        }  # fmt: skip

    after = _by_slot(array, predicted.after)
    return Members(array.geometry, _data_offset(array), after, facts_of)


def _not_to_be_told(contents: Contents, why: str) -> Look:
    judgement = Judgement("differential", ("nothing",), ())
    verdict = Verdict(Outcome.NOT_RUN, (judgement,), why)
    return Look(verdict, None, digest_of(contents))


def _renamed(findings: Sequence[Finding]) -> tuple[Finding, ...]:
    return tuple(replace(finding, oracle=WRITE_HOLE) for finding in findings)


def _judge_read_back(
    array: Array, members: Members, pages: tuple[int, ...], done: RecoveredState
) -> Verdict:
    """Compare what the kernel reads with what the members that are there make up for."""
    up = (judge_available(array, done.recovered), judge_alive(done.recovered))
    if len(done.read) != len(pages):
        return verdict_of(up)
    return verdict_of((*up, judge_read_back(READ_BACK, members, pages, done.read)))


def _checked_sectors(array: Array, promises: Promises) -> int:
    """Return how much of each member a check has to go through: whole chunks."""
    geometry = array.geometry
    if not promises.pages:
        return 0
    last = geometry.place(ArraySector(promises.pages[-1])).sector
    return (last // geometry.chunk_sectors + 1) * geometry.chunk_sectors


def _by_slot(array: Array, contents: Mapping[str, DiskContent]) -> dict[int, DiskContent]:
    return {slot: contents[names[0]] for slot, names in array.members.items()}


def digest_of(contents: Mapping[str, DiskContent]) -> bytes:
    """Return a hash of all that these disks hold."""
    digest = hashlib.blake2b(digest_size=16)
    for name in sorted(contents):
        digest.update(name.encode())
        for block in sorted(contents[name].blocks):
            digest.update(b"%d " % block + contents[name].block(block))
    return digest.digest()


def _data_offset(array: Array) -> int:
    # 0 where two cuts have left the array no member at all: there is nothing to be found then.
    return next((s.data_offset for s in array.superblocks.values() if not s.is_journal), 0)


def _member_behind_journal(array: Array) -> bool:
    assert array.journal is not None
    journal = array.superblocks[array.journal].events
    return any(s.events < journal for s in array.superblocks.values() if not s.is_journal)


def _mdadm_could_object(array: Array) -> bool:
    """Whether the devices disagree on how many events there were: mdadm then has a say."""
    return len({s.events for s in array.superblocks.values()}) > 1
