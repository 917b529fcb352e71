"""Reduce a red journal while it stays red for the same reason.

Meta blocks are dropped first, then payloads, then every lie is taken back. The kernel is asked for
each candidate, in one guest; what is smallest so far is there at any time.
"""

from __future__ import annotations

import contextlib
import itertools
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from harness.campaign.exploring.batch import BankGuest, bank_guest
from harness.campaign.exploring.exploration import STORE
from harness.campaign.exploring.guest_pool import Judged
from harness.campaign.exploring.state_evidence import keep_state
from harness.campaign.exploring.store import opened_store
from harness.campaign.fuzzing.campaign import Fuzzed, FuzzOptions, write_there
from harness.campaign.fuzzing.ground import FuzzedState, fuzzed_state, state_with
from harness.campaign.fuzzing.subject import look_at
from harness.campaign.known_issues import KnownIssues
from harness.campaign.lab import Say
from harness.crash.shrink import minimise
from harness.errors import BadImage
from harness.fuzzing.journal import Journal, in_words
from harness.fuzzing.pieces import Piece, journal_of, pieces_of
from harness.verdict.reason import Reason, reasons_of
from harness.verdict.verdict import Outcome

_TRIES = 2  # of a candidate, before it is taken for green
_MOST_KINDS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Smallest:
    """The smallest journal that is red for a reason."""

    reason: str
    pieces: int
    pieces_before: int
    words: Sequence[str]
    tried: int
    folder: Path


def shrink_reds(
    options: FuzzOptions, fuzzed: Fuzzed, issues: KnownIssues, *, limit_s: float, say: Say
) -> list[Smallest]:
    """Shrink the first red of each kind that no known issue explains.

    Args:
        options: of the campaign.
        fuzzed: what it came to.
        issues: that explain a red.
        limit_s: for each kind.
        say: takes a line about progress.
    """
    found = []
    for number, (reason, leader) in enumerate(_kinds(fuzzed, issues)):
        state = fuzzed_state(fuzzed.ground, options.crash.seed, leader)
        shrinker = _Shrinker(options, fuzzed, issues, reason, state, limit_s, say)
        smallest = shrinker.shrink(fuzzed.explored.folder / f"smallest-{number}")
        if smallest is not None:
            found.append(smallest)
    return found


def _kinds(fuzzed: Fuzzed, issues: KnownIssues) -> Iterator[tuple[Reason, int]]:
    """Yield each reason for a red, and the first state that has it."""
    kinds: dict[Reason, int] = {}
    with opened_store(fuzzed.explored.folder / STORE) as store:
        for record in store.class_records():
            if record.verdict.outcome is Outcome.DIFFERS:
                for reason in reasons_of(record.verdict, issues.issues, known=False):
                    kinds.setdefault(reason, record.leader)
    yield from itertools.islice(kinds.items(), _MOST_KINDS)


class _Shrinker:
    """Shrinks one red."""

    def __init__(
        self,
        options: FuzzOptions,
        fuzzed: Fuzzed,
        issues: KnownIssues,
        reason: Reason,
        state: FuzzedState,
        limit_s: float,
        say: Say,
    ) -> None:
        self._options = options
        self._ground = fuzzed.ground
        self._issues = issues
        self._reason = reason
        self._state = state
        self._deadline = time.monotonic() + limit_s
        self._say = say
        self._tickets = itertools.count()
        self._stack = contextlib.ExitStack()
        self._guest: BankGuest | None = None
        self._best: tuple[Judged, Journal] | None = None
        self._fewest: Sequence[Piece] = ()
        self._tried = 0

    def shrink(self, folder: Path) -> Smallest | None:
        """Return the smallest found in the time; ``None``: the red did not show once more."""
        pieces = pieces_of(self._state.journal)
        with self._stack, contextlib.suppress(TimeoutError):
            if self._is_red(pieces):
                minimise(pieces, self._is_red)
                self._without_lies()
        if self._best is None:
            return None
        judged, journal = self._best
        sizes = self._options.crash.shape.disk_sizes
        keep_state(folder, judged, sizes)
        write_there(folder, self._state)
        words = in_words(journal, self._state.array)
        (folder / "journal.txt").write_text("".join(f"{line}\n" for line in words))
        return Smallest(
            reason=str(self._reason), pieces=len(self._fewest), pieces_before=len(pieces),
            words=words, tried=self._tried, folder=folder,
        )  # fmt: skip

    def _without_lies(self) -> None:
        """Take back what is wrong, piece by piece, where the red stays."""
        for number in range(len(self._fewest)):
            truthful = [*self._fewest]
            truthful[number] = truthful[number].without_lies()
            if truthful[number] != self._fewest[number]:
                self._is_red(truthful)

    def _is_red(self, pieces: Sequence[Piece]) -> bool:
        for _ in range(_TRIES):
            if time.monotonic() > self._deadline:
                raise TimeoutError
            if self._is_red_once(pieces):
                self._fewest = list(pieces)
                self._say(f"{self._reason}: {len(pieces)} blocks and payloads are enough")
                return True
        return False

    def _is_red_once(self, pieces: Sequence[Piece]) -> bool:
        self._tried += 1
        journal = journal_of(pieces, self._state.journal, self._state.array)
        state = state_with(self._ground, self._state.number, self._state.array, journal)
        crash = self._options.crash
        try:
            look = look_at(
                state, crash.shape.disk_sizes, crash.era, self._options.oracles,
                seed=crash.seed, ticket=next(self._tickets),
            )  # fmt: skip
        except BadImage:  # nothing is left that could be recovered
            return False
        (done,) = self._bank().recover([look.job.state])
        judged = Judged(look.job, done, self._issues.apply(look.job.judge(done)), 0.0)
        if done.ends_the_guest:
            self._stack.close()
            self._guest = None
        if not self._reason.is_met_by(judged.verdict, self._issues.issues):
            return False
        self._best = (replace(judged), journal)
        return True

    def _bank(self) -> BankGuest:
        if self._guest is None:
            crash = self._options.crash
            bank = bank_guest(crash.image, crash.shape, say=self._say)
            self._guest = self._stack.enter_context(bank)
        return self._guest
