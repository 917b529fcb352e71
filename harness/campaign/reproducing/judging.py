"""Run a bundle until it is certain whether a kernel has the bug."""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from harness.campaign.reproducing.bundle import Bundle, Runs
from harness.campaign.reproducing.certainty import chance_of_greens, greens_wanted
from harness.campaign.reproducing.running import Attempt, Bench, runner
from harness.errors import BadInput, HarnessError
from harness.verdict.verdict import Outcome

_MOST_OTHERS = 3  # runs red for something else: one that shows now and then may come yet
_RUNS_OF_UNSEEN = 5  # of a bundle that nobody has seen red: how often it would be is not known


class Standing(enum.Enum):
    """What a kernel is, as far as a bundle can tell."""

    GOOD = "good"
    BAD = "bad"
    UNTOLD = "cannot be told"


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """What runs of a bundle on a kernel came to."""

    standing: Standing
    runs: Runs
    why: str
    attempt: Attempt | None = None  # the one that decided
    seconds: float = 0.0  # of one run


def judge_kernel(bundle: Bundle, bench: Bench, *, confidence: float, most_runs: int) -> Judgement:
    """Run a bundle until it is red for its reason, or green often enough, or *most_runs* are over.

    Args:
        bundle: to be run.
        bench: with the kernel.
        confidence: with which good is to be certain, below 1.
        most_runs: after which it cannot be told.
    """
    try:
        with runner(bundle, bench) as run:
            return _judge(bundle, bench, run, confidence, most_runs)
    except BadInput:
        raise
    except HarnessError as lost:  # it does not boot, or is lost over it: not this bug
        return Judgement(standing=Standing.UNTOLD, runs=Runs(), why=first_line(lost))


def first_line(error: HarnessError) -> str:
    """Return an error in one line; what it announces, a console say, is below that."""
    return str(error).partition("\n")[0].rstrip(":")


def measured(bundle: Bundle, bench: Bench, *, runs: int) -> Bundle:
    """Return a bundle that says how often it is red and how long that takes, run so often."""
    red, taken_s = 0, 0.0
    with runner(bundle, bench) as run:
        for number, attempt in enumerate(_attempts(run, runs), start=1):
            bench.seldom(f"run {number} of {runs}: {words_of(attempt)}")
            red += attempt.again
            taken_s += attempt.seconds
    return replace(bundle, runs=Runs(runs, red), seconds=taken_s / runs)


def _judge(
    bundle: Bundle, bench: Bench, run: Callable[[], Attempt], confidence: float, most_runs: int
) -> Judgement:
    known = bundle.runs.made > 0
    wanted = greens_wanted(bundle.runs, confidence) if known else _RUNS_OF_UNSEEN
    attempt, other, made, others, taken_s = None, None, 0, 0, 0.0
    for made, attempt in enumerate(_attempts(run, min(wanted, most_runs)), start=1):
        taken_s += attempt.seconds
        bench.seldom(f"run {made} of up to {min(wanted, most_runs)}: {words_of(attempt)}")
        if attempt.other:
            other, others = other or attempt, others + 1
        if attempt.again or others >= _MOST_OTHERS or not (attempt.other or _is_green(attempt)):
            break
    assert attempt is not None
    each_s = taken_s / made
    if attempt.again:
        same = " for the same reason" if bundle.reason is not None else ""
        why = f"red{same} in run {made}"
        return Judgement(standing=Standing.BAD, runs=Runs(made, 1), why=why, attempt=attempt,
                         seconds=each_s)  # fmt: skip
    if other is not None or not _is_green(attempt):
        attempt = other or attempt
        standing, why = Standing.UNTOLD, words_of(attempt)
    else:
        standing = Standing.GOOD if made >= wanted else Standing.UNTOLD
        why = f"green in {made} run{'s' if made > 1 else ''}"
        if known:
            chance = chance_of_greens(bundle.runs, made)
            why += f", which the bug would be with a chance of {chance:.1%}"
    return Judgement(standing=standing, runs=Runs(made, 0), why=why, attempt=attempt,
                     seconds=each_s)  # fmt: skip


def _attempts(run: Callable[[], Attempt], most: int) -> Iterator[Attempt]:
    for _ in range(most):
        yield run()


def _is_green(attempt: Attempt) -> bool:
    return attempt.verdict.outcome is Outcome.AGREES


def words_of(attempt: Attempt) -> str:
    """Say in a line what a run came to."""
    verdict = attempt.verdict
    what = f"{verdict.outcome.value}{f': {verdict.reason}' if verdict.reason else ''}"
    if attempt.again:
        return f"red again, {what}"
    return f"red for something else, {what}" if attempt.other else what
