"""Reduce a bundle while it stays red for the same reason; what is smallest so far is always there.

A workload loses operations, cuts early, keeps what need not be lost, and moves to a smaller journal
and a smaller array. A story loses steps. A state of which nobody knows the workload loses meta
blocks at both ends of its log, and blocks of its members.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from harness.campaign.exploring.guest_pool import Judged
from harness.campaign.exploring.recordings import bare_base
from harness.campaign.exploring.seeking import Found
from harness.campaign.exploring.shrinking import OutOfTime, Shrinker, Shrunk, Start
from harness.campaign.known_issues import issues_of_any_kernel
from harness.campaign.reproducing.bundle import Bundle, Kind, Runs, StateFacts
from harness.campaign.reproducing.certainty import greens_wanted
from harness.campaign.reproducing.running import Attempt, Bench, explore_options, runner
from harness.campaign.reproducing.smaller_state import smaller_states
from harness.campaign.scenarios.managing import Create
from harness.campaign.scenarios.scenario import Scenario, Verb
from harness.crash.shrink import minimise
from harness.crash.workload import Workload, WriteStep
from harness.errors import BadInput, HarnessError
from harness.md.shape import KIB, MIB, Shape
from harness.processes import temporary_folder
from harness.recovery.layout import Level
from harness.storage.bundle_file import DiskImage

MISS = 0.05  # how often a candidate that is red may be taken for green
_MOST_TRIES = 10
_WITH_STATES = 1.5  # a shrinker takes half of its time again, for states
_JOURNALS = (64 * KIB, 128 * KIB, 256 * KIB, 512 * KIB)
_COMPONENTS = (MIB, 2 * MIB, 4 * MIB, 8 * MIB)
_LEAST_MEMBERS = {Level.RAID4: 3, Level.RAID5: 3, Level.RAID6: 4}
Better = Callable[[Bundle], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How long, and how often each candidate is tried before it is taken for green."""

    limit_s: float  # for one array; once more for each smaller one
    tries: int
    deadline: float = math.inf  # of all of it, by the monotonic clock

    @property
    def left_s(self) -> float:
        """How long one array may take now."""
        return min(self.limit_s, (self.deadline - time.monotonic()) / _WITH_STATES)


def tries_for(runs: Runs) -> int:
    """Return how often a candidate is tried, so that a red one is missed in `MISS` of the cases."""
    return min(greens_wanted(runs, 1 - MISS), _MOST_TRIES) if runs.red else _MOST_TRIES


def minimise_bundle(bundle: Bundle, bench: Bench, limits: Limits, better: Better) -> Bundle:
    """Return the smallest bundle that was found in the time; *better* is given each on the way.

    Raises:
        BadInput: it has no reason yet, or is not red any more.
    """
    if bundle.reason is None:
        raise BadInput(
            "nobody has seen this bundle red; see what `repro run --save FILE` finds, and take that"
        )
    if bundle.kind is Kind.SCENARIO:
        return _Story(bundle, bench, limits, better).smallest()
    if bundle.workload is None:
        return _State(bundle, bench, limits, better).smallest()
    return _smallest_workload(bundle, bench, limits, better)


def _smallest_workload(bundle: Bundle, bench: Bench, limits: Limits, better: Better) -> Bundle:
    found = _shrink(bundle, bench, limits, better)
    if found is None:
        raise BadInput(f"it was not red in {limits.tries} runs of its workload; see `repro run`")
    for smaller in SMALLER:
        for shape in smaller(found.shape):
            bench.say(f"trying {shape}")
            if (moved := _moved(found, shape, bench, limits, better)) is not None:
                found = moved
                break
    return found


def _moved(
    bundle: Bundle, shape: Shape, bench: Bench, limits: Limits, better: Better
) -> Bundle | None:
    """Return a bundle on a smaller array; ``None``: it is not red there, or does not fit."""
    if bundle.workload is None or not _fits(bundle.workload, shape):
        return None
    with contextlib.suppress(BadInput):  # md has no such array
        return _shrink(replace(bundle, shape=shape), bench, limits, better)
    return None


def _shrink(bundle: Bundle, bench: Bench, limits: Limits, better: Better) -> Bundle | None:
    assert bundle.workload is not None
    assert bundle.reason is not None
    if (left_s := limits.left_s) <= 0:
        return None
    options = explore_options(bundle, bench)
    shrinker = Shrinker(
        options, issues_of_any_kernel(bundle.shape), limit_s=left_s, say=bench.say,
        recordings=limits.tries,
    )  # fmt: skip
    with temporary_folder(prefix="mdjournal-repro-") as folder:
        start = Start(
            reason=bundle.reason, base=bare_base(options.crash, folder, bench.say),
            before=replace(bundle.workload, steps=()), mode=bundle.shape.mode,
            steps=bundle.workload.steps,
        )  # fmt: skip
        shrunk = shrinker.shrink(start, better=lambda each: better(bundle_of(bundle, each)))
    if shrunk is None:
        return None
    found = bundle_of(bundle, shrunk)
    better(found)
    return found


def bundle_of(bundle: Bundle, shrunk: Shrunk | Found) -> Bundle:
    """Return a bundle with what was recorded and found red in place of what it had."""
    recording, chosen = shrunk.recording, shrunk.chosen
    common = replace(
        bundle, workload=shrunk.workload, verdict=shrunk.verdict, runs=Runs(1, 1), texts={},
        trace=None if recording is None else recording.trace,
    )  # fmt: skip
    if recording is None or chosen is None:
        return replace(common, kind=Kind.RECORDED, state=None, images={}, there=())
    images = {
        name: DiskImage(size_bytes=size, content=content)
        for (name, size), content in zip(
            bundle.shape.disk_sizes.items(), chosen.contents(), strict=True
        )
    }
    state = StateFacts(chosen.cut.sequence, chosen.lost_writes, chosen.torn_writes, chosen.number)
    texts = {} if shrunk.judged is None else _dmesg(shrunk.judged)
    return replace(
        common, kind=Kind.EXPLORED, state=state, images=images, there=tuple(images), texts=texts
    )


def _fewer_members(shape: Shape) -> Iterator[Shape]:
    for members in range(_LEAST_MEMBERS[shape.level], shape.members):
        yield replace(shape, members=members)


def _smaller_members(shape: Shape) -> Iterator[Shape]:
    for size in _COMPONENTS:
        if shape.chunk_bytes <= size < shape.component_bytes:
            yield replace(shape, component_bytes=size)


def _smaller_journal(shape: Shape) -> Iterator[Shape]:
    for size in _JOURNALS:
        if shape.journaled and size < shape.journal_bytes:
            yield replace(shape, journal_bytes=size)


# Each gives smaller arrays of the same kind, the smallest first.
SMALLER = (_fewer_members, _smaller_members, _smaller_journal)


def _fits(workload: Workload, shape: Shape) -> bool:
    end = max((w.sector + w.sectors for w in workload.writes), default=0)
    return end <= shape.geometry.array_sectors


def _dmesg(judged: Judged) -> dict[str, str]:
    lines = judged.done.recovered.kernel_log
    return {"dmesg.txt": "".join(f"{line}\n" for line in lines)} if lines else {}


class _Reducer:
    """Tries candidates, each as often as it takes, until the time is over."""

    def __init__(self, bundle: Bundle, bench: Bench, limits: Limits, better: Better) -> None:
        self._bench = bench
        self._limits = limits
        self._better = better
        self._deadline = time.monotonic() + limits.limit_s
        self.best = bundle

    def is_red(self, candidate: Bundle, words: str) -> bool:
        """Whether a candidate is red for the reason; then it is the best so far."""
        if time.monotonic() > self._deadline:
            self._bench.say("the time is over, and the smallest so far is kept; --time gives more")
            raise OutOfTime
        self._bench.seldom(f"trying whether {words} are enough")
        attempt = self._first_red(candidate)
        if attempt is None:
            return False
        self.best = replace(candidate, verdict=attempt.verdict, runs=Runs(1, 1))
        self._bench.say(f"{candidate.reason}: {words} are enough")
        self._better(self.best)
        return True

    def _first_red(self, candidate: Bundle) -> Attempt | None:
        try:
            with runner(candidate, self._bench) as run:
                for _ in range(self._limits.tries):
                    if (attempt := run()).again:
                        return attempt
        except HarnessError as error:  # what is left makes no sense to md, or to the guest
            self._bench.say(f"a candidate cannot be run: {str(error).splitlines()[0]}")
        return None

    def require_red(self) -> None:
        """Require that what is to be reduced is red at all.

        Raises:
            BadInput: it is not.
        """
        if self._first_red(self.best) is None:
            raise BadInput(f"it was not red in {self._limits.tries} runs; see `repro run`")


class _Story(_Reducer):
    """Reduces a scenario: fewest steps, then smallest array."""

    def smallest(self) -> Bundle:
        """Return the smallest that is red."""
        self.require_red()
        with contextlib.suppress(OutOfTime):
            scenario = self._scenario
            kept = [step for step in scenario.steps if isinstance(step, Create)]
            others = [step for step in scenario.steps if not isinstance(step, Create)]
            minimise(others, lambda steps: self._does(kept, steps))
            for smaller in SMALLER:
                for shape in smaller(self._scenario.needs):
                    candidate = replace(self._scenario, needs=shape)
                    if self.is_red(self._with(candidate), f"the steps on {shape}"):
                        break
        return self.best

    @property
    def _scenario(self) -> Scenario:
        assert self.best.scenario is not None
        return self.best.scenario

    def _does(self, kept: Sequence[Verb], steps: Sequence[Verb]) -> bool:
        candidate = replace(self._scenario, steps=(*kept, *steps))
        return self.is_red(self._with(candidate), f"{len(steps)} steps")

    def _with(self, scenario: Scenario) -> Bundle:
        return replace(self.best, scenario=scenario, shape=scenario.needs)


class _State(_Reducer):
    """Reduces disks of which nobody knows how they came about."""

    def smallest(self) -> Bundle:
        """Return the smallest that is red."""
        self.require_red()
        with contextlib.suppress(OutOfTime):
            smaller_states(
                self.best, self._bench.era,
                lambda images, words: self.is_red(replace(self.best, images=images), words),
            )  # fmt: skip
        return self.best


def size_in_words(bundle: Bundle) -> str:
    """Say how large a bundle is: operations, steps, or blocks."""
    if bundle.scenario is not None:
        return f"{len(bundle.scenario.steps)} steps"
    if bundle.workload is not None:
        steps = bundle.workload.steps
        count = sum(len(s.writes) if isinstance(s, WriteStep) else 1 for s in steps)
        lost = "" if bundle.state is None else f", {bundle.state.lost_writes} writes lost"
        return f"{count} operations{lost}"
    return f"{sum(len(i.content.blocks) for i in bundle.images.values())} blocks"
