"""What is looked at in a crash state: an array with a journal, or one without, as the control."""

from __future__ import annotations

import functools
import hashlib
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from harness.campaign.batch import RecoveredState, StateToRecover
from harness.campaign.guest_pool import Job
from harness.campaign.judging import judge_alive, judge_available
from harness.campaign.state_judging import judge_recovered
from harness.crash.content import DiskContent
from harness.crash.strategies import ChosenState
from harness.ondisk.units import BLOCK_SECTORS, ArraySector, StripeSector
from harness.recovery.era import Era
from harness.recovery.members import Array, put_together
from harness.recovery.metawise import DEFAULT_STRIPE_CACHE_SIZE
from harness.verdict.durability import Members, Promises, judge_redundancy
from harness.verdict.predicted_state import (
    PredictedState,
    flushed_stripes,
    predict_state,
    superblocks_of,
)
from harness.verdict.verdict import Finding, Judgement, Verdict, verdict_of

READ_BACK = "read back"
WRITE_HOLE = "write hole"  # durability and atomicity where nothing closes it

Contents = dict[str, DiskContent]


@dataclass(frozen=True, slots=True)
class Look:
    """What is known of a state without a kernel, and the job for one if it turns out to be new."""

    verdict: Verdict
    job: Job


class Subject(Protocol):
    """How the states of one recording are looked at."""

    def look_at(self, chosen: ChosenState, contents: Contents) -> Look:
        """Judge a state as far as that goes without a kernel; *contents* by disk's name."""


class Journaled:
    """An array with a journal: its recovery is predicted, and compared with the kernel's."""

    def __init__(self, promises: Promises, sizes_bytes: Mapping[str, int], era: Era) -> None:
        self._promises = promises
        self._sizes = sizes_bytes
        self._era = era

    def look_at(self, chosen: ChosenState, contents: Contents) -> Look:
        """See `Subject`."""
        predicted = predict_state(
            contents, self._sizes, self._era, stripe_cache_size=DEFAULT_STRIPE_CACHE_SIZE
        )
        state = StateToRecover(
            number=chosen.number, contents=contents, assemble=tuple(predicted.before),
            by_mdadm=_mdadm_could_object(predicted.array),
        )  # fmt: skip
        job = Job(
            state=state, identity=predicted.identity, predicted=predicted,
            judge=functools.partial(judge_recovered, predicted, sizes_bytes=self._sizes),
        )  # fmt: skip
        return Look(self._judge(predicted, chosen.cut.sequence), job)

    def _judge(self, predicted: PredictedState, cut: int) -> Verdict:
        """Judge what the array holds when recovery has done what is predicted.

        If the kernel does something else, that is found where it recovers a state of this class.
        """
        array = predicted.array
        behind = int(_member_behind_journal(array))

        @functools.cache
        def flushed() -> frozenset[int]:
            return flushed_stripes(predicted)

        def facts_of(stripe: StripeSector) -> dict[str, int]:
            named = int(stripe in flushed())
            return {"member_behind_journal": behind, "stripe_named_by_flush": named}

        contents = {slot: predicted.after[names[0]] for slot, names in array.members.items()}
        members = Members(array.geometry, _data_offset(array), contents, facts_of)
        pages = self._promises.pages
        return verdict_of((*self._promises.judge(members, cut), judge_redundancy(members, pages)))


class WithoutJournal:
    """An array without a journal, started dirty with one member missing: the write hole.

    Whatever was under way when the power went may have left data and parity of different ages, and
    the missing member's data is then read as something that nobody wrote.
    """

    def __init__(self, promises: Promises, sizes_bytes: Mapping[str, int]) -> None:
        self._promises = promises
        self._sizes = sizes_bytes

    def look_at(self, chosen: ChosenState, contents: Contents) -> Look:
        """See `Subject`."""
        array = put_together(superblocks_of(contents, self._sizes))
        missing = chosen.number % array.geometry.raid_disks
        left = {slot: contents[names[0]] for slot, names in array.members.items()}
        del left[missing]
        members = Members(array.geometry, _data_offset(array), left)
        there = tuple(names[0] for slot, names in array.members.items() if slot != missing)
        digest = hashlib.blake2b(digest_size=16)
        for name in there:
            digest.update(name.encode())
            for block in sorted(contents[name].blocks):
                digest.update(b"%d " % block + contents[name].block(block))
        last = self._promises.pages[-1] // BLOCK_SECTORS + 1
        state = StateToRecover(
            number=chosen.number, contents=contents, assemble=there, read_pages=last
        )
        verdict = verdict_of(
            tuple(
                replace(judgement, oracle=WRITE_HOLE, findings=_renamed(judgement.findings))
                for judgement in self._promises.judge(members, chosen.cut.sequence)
            )
        )
        judge = functools.partial(_judge_read_back, array, members)
        identity = digest.digest()
        return Look(verdict, Job(state=state, identity=identity, judge=judge, predicted=None))


def _renamed(findings: Sequence[Finding]) -> tuple[Finding, ...]:
    return tuple(replace(finding, oracle=WRITE_HOLE) for finding in findings)


def _judge_read_back(array: Array, members: Members, done: RecoveredState) -> Verdict:
    """Compare what the kernel reads with what the members that are there make up for."""
    wrong = [
        number
        for number, found in enumerate(done.read)
        if found != zlib.crc32(members.array_page(ArraySector(number * BLOCK_SECTORS)))
    ]
    what = f"{len(wrong)} pages are read otherwise than P makes up for, the first is page"
    findings = (Finding(READ_BACK, f"{what} {wrong[0]}"),) if wrong else ()
    read = Judgement(
        READ_BACK, (f"{len(done.read)} pages of the array, one member gone",), findings
    )
    recovered = done.recovered
    return verdict_of((judge_available(array, recovered), judge_alive(recovered), read))


def _data_offset(array: Array) -> int:
    return next(s.data_offset for s in array.superblocks.values() if not s.is_journal)


def _member_behind_journal(array: Array) -> bool:
    """Whether a superblock update had reached the journal, and not every member."""
    assert array.journal is not None
    journal = array.superblocks[array.journal].events
    return any(s.events < journal for s in array.superblocks.values() if not s.is_journal)


def _mdadm_could_object(array: Array) -> bool:
    """Whether the devices disagree on how many events there were: mdadm then has a say."""
    return len({s.events for s in array.superblocks.values()}) > 1
