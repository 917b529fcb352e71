"""What a scenario's steps act on, and what they find."""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from harness.campaign.scenarios.rig import Rig
from harness.campaign.steps import STEP_DEADLINE_S, steps_for_agent
from harness.crash.states import Loss
from harness.crash.workload import Area, FlushStep, Step, Workload, WriteStep
from harness.errors import CommandFailed, StepHangs
from harness.hosts.host import CommandResult
from harness.md import array as md
from harness.md.shape import Shape
from harness.verdict.live_reads import EMPTY, Stamp, WrittenArray, judge_reads
from harness.verdict.verdict import Finding, Judgement
from harness.vm.guest import answer_within

STEP = "step"  # what a step was to bring about
READ_BACK = "read back"
SECTORS_OF_PAGE = 8
_PAGES_AT_ONCE = 1024  # a guest has little memory

Data = WriteStep | FlushStep


class StoryEnds(Exception):
    """A step has ended the story, as it may: nothing that follows can be done."""


class Stage:
    """The array of a story: its disks, what was written to it, what was found."""

    def __init__(self, rig: Rig, shape: Shape, seed: int) -> None:
        self.rig = rig
        self.shape = shape
        self.seed = seed
        self.area = Area(
            shape.geometry.chunk_sectors, shape.geometry.data_disks, shape.geometry.array_sectors
        )
        self.written = WrittenArray(seed)
        self.steps: list[Step] = []  # of the workload, as they were done
        self.judgements: list[Judgement] = []
        self.commands: list[CommandResult] = []
        self.parts: list[str] = []  # names of the disks that the array is made of
        self.is_up = False  # whether the array is assembled
        self.is_refused = False  # whether mdadm refused it, whole as it was
        self.longest_step_s = 0.0
        self._acknowledged = 0  # the last write that a flush covered
        self._last = 0
        self._draws = 0
        self._under_load: tuple[Data, ...] = ()

    @property
    def workload(self) -> Workload:
        """All that was written, for oracles that read the trace."""
        return Workload(self.seed, tuple(self.steps))

    @property
    def last_write(self) -> int:
        """The number of the last write so far."""
        return self._last

    @property
    def is_loaded(self) -> bool:
        """Whether writes go on beside the step that is being done."""
        return bool(self._under_load)

    @contextlib.contextmanager
    def timed(self) -> Iterator[None]:
        """Note how long a step takes."""
        began = time.monotonic()
        try:
            yield
        finally:
            self.longest_step_s = max(self.longest_step_s, time.monotonic() - began)

    def draw(self) -> random.Random:
        """Return a source of choices of a step's own, the same at each run."""
        self._draws += 1
        return random.Random(f"{self.seed} {self._draws}")

    def node(self, disk: str) -> str:
        """Return the device node of a disk, by name."""
        return self.rig.nodes[disk]

    def judge(self, judgement: Judgement) -> None:
        """Take an oracle's word."""
        self.judgements.append(judgement)

    def require(self, met: bool, what: str, *details: str) -> None:  # noqa: FBT001
        """Object, in the name of the step, unless something was met."""
        findings = () if met else (Finding(STEP, what, details),)
        self.judge(Judgement(STEP, (what,), findings))

    def call(self, verb: str, **arguments: object) -> dict[str, Any]:
        """Have the guest's agent do something."""
        return self.rig.guest.call(verb, **arguments)  # type: ignore[arg-type]

    def mark(self, text: str) -> None:
        """Write a mark into the trace."""
        self.call("mark", node=self.rig.session.marks, text=text)

    def run(self, argv: Sequence[str], *, deadline_s: float = STEP_DEADLINE_S) -> CommandResult:
        """Run a command in the guest; it ends, however it ends.

        Raises:
            StepHangs: it does not.
        """
        result = self.rig.guest.run(argv, deadline_s=deadline_s)
        self.commands.append(result)
        if result.missed_deadline:
            raise StepHangs(f"{result}\n{result.stack}")
        return result

    def read_attribute(self, name: str) -> str:
        """Return what the array's sysfs says under a name."""
        return self.rig.guest.read_text(f"{md.SYSFS}/{name}").strip()

    def wait_for(self, path: str, pattern: str, *, deadline_s: float = STEP_DEADLINE_S) -> str:
        """Wait until a file of the guest says something; return what it says.

        Raises:
            StepHangs: it never does.
        """
        answer = self.call(
            "wait_for_text", path=path, pattern=pattern, deadline_s=deadline_s,
            answer_within_s=answer_within(deadline_s),
        )  # fmt: skip
        if not answer["found"]:
            raise StepHangs(f"{path} never says {pattern!r}; it says: {answer['text']}")
        return str(answer["text"])

    def write(self, steps: Sequence[Data], *, may_fail: bool = False) -> int:
        """Write and flush; return how many bursts failed.

        Raises:
            StepHangs: a write, or a flush, never came back.
            CommandFailed: one failed that was not to.
        """
        done = self.call(
            "workload", **self._asked(steps),
            answer_within_s=answer_within(STEP_DEADLINE_S * (len(steps) + 1)),
        )  # fmt: skip
        return self._written(steps, done, may_fail=may_fail)

    def begin_load(self, steps: Sequence[Data]) -> None:
        """Begin to write beside all that follows."""
        self.call("start_load", **self._asked(steps))
        self._under_load = tuple(steps)

    def end_load(self, *, may_fail: bool = False) -> int:
        """End what `begin_load` began; return how many bursts were written."""
        done = self.call(
            "end_load", deadline_s=STEP_DEADLINE_S, answer_within_s=answer_within(STEP_DEADLINE_S)
        )
        steps, self._under_load = self._under_load[: done["done"]], ()
        if done["done"]:
            self._last = done["last"]  # numbers that were not used are given out again
        self._written(steps, done, may_fail=may_fail)
        return sum(isinstance(step, WriteStep) for step in steps)

    def next_number(self, steps: Sequence[Data]) -> None:
        """Count writes as given out."""
        self._last = max(
            (w.number for s in steps if isinstance(s, WriteStep) for w in s.writes),
            default=self._last,
        )

    def read_back(self, when: str) -> None:
        """Read all stripes that were written to, through md, and judge them."""
        pages = self.written.pages(self.shape.geometry)
        parts = (pages[n : n + _PAGES_AT_ONCE] for n in range(0, len(pages), _PAGES_AT_ONCE))
        read = (page for part in parts for page in self._read(part))
        self.judge(judge_reads(READ_BACK, self.written, read, when=when))

    def _read(self, pages: Sequence[int]) -> Iterator[tuple[int, list[Stamp] | None]]:
        answer = self.call(
            "read_stamps", array=md.ARRAY, pages=pages, deadline_s=STEP_DEADLINE_S,
            answer_within_s=answer_within(STEP_DEADLINE_S),
        )  # fmt: skip
        if answer["hung"]:
            raise StepHangs(f"guest: reading the array hangs\n{answer['hung']}")
        return zip(pages, map(_stamps, answer["stamps"]), strict=True)

    def doubt_unflushed(self) -> None:
        """Note that what no flush covered may be there or not from now on."""
        self.written.doubt(self._acknowledged)

    def cut_power(self, loss: Loss) -> None:
        """Take the power away and start a guest on what is left."""
        self.doubt_unflushed()
        self.rig.cut_power(loss, self.seed)
        self.is_up = False

    def _asked(self, steps: Sequence[Data]) -> dict[str, Any]:
        first = next((s.writes[0].number for s in steps if isinstance(s, WriteStep)), None)
        return {
            "array": md.ARRAY, "marks": self.rig.session.marks, "seed": self.seed,
            "steps": steps_for_agent(steps), "last": self._last if first is None else first - 1,
            "deadline_s": STEP_DEADLINE_S,
        }  # fmt: skip

    def _written(self, steps: Sequence[Data], done: Mapping[str, Any], *, may_fail: bool) -> int:
        failed = set(done["failed"])
        for step in steps[: done["done"]]:
            self.steps.append(step)
            if isinstance(step, WriteStep):
                bad = step.writes[-1].number in failed
                self.written.take(step.writes, failed=bad)
                if not bad and any(write.fua for write in step.writes):
                    self._acknowledged = step.writes[-1].number
        if done["hung"]:
            raise StepHangs(f"guest: a write or a flush hangs\n{done['hung']}")
        if failed and not may_fail:
            raise CommandFailed(f"guest: write {min(failed)} failed")
        flushes = [n for n, step in enumerate(steps) if isinstance(step, FlushStep)]
        if flushes and not failed:
            covered = steps[: flushes[-1]]
            before = [w.number for s in covered if isinstance(s, WriteStep) for w in s.writes]
            self._acknowledged = max(before, default=max(self.written.writes, default=0))
        return len(failed)


def _stamps(page: object) -> list[Stamp] | None:
    if page is None:
        return None
    if page == 0:
        return [EMPTY] * SECTORS_OF_PAGE
    assert isinstance(page, list)
    return [(int(write), int(sector), int(seed)) for write, sector, seed in page]


def blocked_tasks(texts: Mapping[str, str]) -> Iterator[str]:
    """Yield the lines that a hang leaves as evidence."""
    for path, text in texts.items():
        yield f"{path}:"
        yield from (f"    {line}" for line in text.splitlines())
