"""Steps of a workload or a story as lines of a shell script, in the words of its functions.

What comes out of a bundle is quoted: a stranger's text stays a text. What would reach beyond the
script's own devices is left out (``script_words``).
"""

from __future__ import annotations

import random
import shlex
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from harness.campaign.reproducing.bundle import Bundle
from harness.campaign.reproducing.script_words import (
    may_be_read,
    may_be_set,
    mdadm_words,
    node,
)
from harness.campaign.scenarios.disturbing import CutPower, Reboot
from harness.campaign.scenarios.managing import (
    Add,
    Assemble,
    Check,
    Create,
    Expect,
    ExpectLog,
    ExpectStatus,
    Fail,
    Mdadm,
    Remove,
    Set,
    Stop,
    Switch,
    WaitUntilIdle,
)
from harness.campaign.scenarios.promising import Promised
from harness.campaign.scenarios.scenario import Verb
from harness.campaign.scenarios.writing import During, FillCache, Flush, Fsync, ReadBack, Write
from harness.crash.bursts import Bursts, Extent, drawn_bursts
from harness.crash.workload import (
    Area,
    FailJournal,
    FailMember,
    FlushStep,
    Restart,
    Step,
    StopArray,
    SwitchMode,
    WriteKind,
    WriteStep,
)
from harness.errors import BadInput
from harness.md.shape import JOURNAL_NAME, Shape
from harness.recovery.layout import layout_of

_LOAD_BURSTS = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class StepsScript:
    """A script that does the steps."""

    disks: tuple[tuple[str, int], ...]  # name, bytes
    lines: tuple[str, ...]  # of shell
    left_out: tuple[str, ...]  # steps that no command stands for


def steps_script(bundle: Bundle) -> StepsScript:
    """Return what a script about a workload or a story is made of.

    Raises:
        BadInput: the bundle has neither.
    """
    shape = bundle.shape if bundle.scenario is None else bundle.scenario.needs
    teller = _Teller(shape, bundle.seed)
    if bundle.scenario is not None:
        steps: Sequence[Verb] = bundle.scenario.steps
        if not any(isinstance(step, Create) for step in steps):
            steps = (Create(), *steps)
        lines = [line for step in steps for line in teller.verb(step)]
    elif bundle.workload is not None:
        lines = [*teller.verb(Create())]
        lines += [line for step in bundle.workload.steps for line in teller.step(step)]
        if bundle.state is not None or bundle.kind.value == "recording":
            lines += ["cut", "assemble"]
    else:
        raise BadInput("the bundle has neither steps nor a workload")
    return StepsScript(
        disks=tuple(shape.disk_sizes.items()), lines=tuple(lines), left_out=tuple(teller.left_out)
    )


class _Teller:
    """Tells steps one after another, and draws what they draw."""

    def __init__(self, shape: Shape, seed: int) -> None:
        self._shape = shape
        self._seed = seed
        self._draws = 0
        self._last = 0
        self._parts = [*shape.member_names, *([JOURNAL_NAME] if shape.journaled else [])]
        self.left_out: list[str] = []

    def verb(self, verb: Verb) -> Iterator[str]:
        """Yield the lines of a story's step."""
        tell = _VERBS.get(type(verb))
        yield from self._skipped(verb) if tell is None else tell(self, verb)

    def _skipped(self, verb: Verb, told: str = "") -> Iterator[str]:
        self.left_out.append(verb.words)
        yield f"skipped {shlex.quote(f'{verb.words} {told}'.strip())}"

    def step(self, step: Step) -> Iterator[str]:
        """Yield the lines of a workload's step."""
        match step:
            case WriteStep():
                yield from self._burst(step)
            case FlushStep():
                yield "flush"
            case SwitchMode(mode=mode):
                yield f"attribute journal_mode {mode.value}"
            case FailMember(slot=slot):
                yield f"manage --fail {node(self._shape.member_names[slot])}"
            case FailJournal():
                yield f"manage --fail {node(JOURNAL_NAME)}"
            case StopArray():
                yield "stop"
            case Restart():
                yield from ("stop", self._assemble())

    def _burst(self, step: WriteStep) -> Iterator[str]:
        writes = [_write_line(w.kind, w.sector, w.sectors, w.number, fua=w.fua)
                  for w in step.writes]  # fmt: skip
        if len(writes) == 1:
            yield writes[0]
        else:
            yield from (f"{line} &" for line in writes)
            yield "wait"

    def _assemble(self, without: Sequence[str] = (), options: Sequence[str] = ()) -> str:
        nodes = [node(part) for part in self._parts if part not in without]
        return " ".join(["assemble", *options, *nodes])

    def create(self, verb: Create) -> Iterator[str]:
        shape = self._shape
        nodes = " ".join(node(name) for name in shape.member_names)
        journal = f" --write-journal={node(JOURNAL_NAME)}" if shape.journaled else ""
        layout = "" if int(shape.level) == 4 else (
            f" --layout={layout_of(shape.level, shape.layout).name}")  # fmt: skip
        clean = " --assume-clean" if verb.assume_clean else ""
        yield (
            f'in_time mdadm --create "$MD" --run --metadata=1.2 --level={shape.level:d}'
            f" --raid-devices={shape.members} --chunk={shape.chunk_bytes // 1024}"
            f" --size={shape.component_bytes // 1024} --data-offset=1024{layout}{clean}"
            f" {nodes}{journal} || cannot 'mdadm does not make the array'"
        )
        if shape.journaled:
            yield f"attribute journal_mode {shape.mode.value}"

    def write(self, verb: Write) -> Iterator[str]:
        for step in self._drawn(verb, verb.bursts):
            yield from self._burst(step)

    def fill_cache(self, verb: FillCache) -> Iterator[str]:
        blocks = max(1, int(self._shape.journal_bytes * verb.share) // (4096 * 2))
        rows = -(-blocks * 8 // self._area.row_sectors) * 2
        fill = Write(bursts=blocks, at_once=1, extent=Extent.BLOCK, rows=max(6, rows))
        yield from self.write(fill)

    def during(self, verb: During) -> Iterator[str]:
        yield "("
        for number, step in enumerate(self._drawn(verb.load, _LOAD_BURSTS)):
            yield from self._burst(step)
            if verb.flushes and number % 3 == 2:
                yield "flush"
        yield ") & LOAD=$!"
        for beside in verb.steps:
            yield from self.verb(beside)
        yield 'wait_for "$LOAD"'

    def remove(self, verb: Remove) -> Iterator[str]:
        yield "sleep 2"
        yield f"manage --remove {node(verb.disk)}"
        self._parts = [part for part in self._parts if part != verb.disk]

    def add(self, verb: Add) -> Iterator[str]:
        if (how := mdadm_words(verb.how, ())) is None:
            yield from self._skipped(verb, verb.how)
            return
        yield f"manage {' '.join(how)} {node(verb.disk)}"
        if not verb.refused:
            self._parts = [*(part for part in self._parts if part != verb.disk), verb.disk]

    def assemble(self, verb: Assemble) -> Iterator[str]:
        if (options := mdadm_words(verb.options, ())) is None:
            yield from self._skipped(verb, verb.options)
            return
        line = self._assemble(verb.without, options)
        yield f"refused {line}" if verb.refused else line

    def set(self, verb: Set) -> Iterator[str]:
        if may_be_set(verb.name, verb.value):
            yield f"attribute {verb.name} {shlex.quote(verb.value)}"
        else:
            yield from self._skipped(verb, f"{verb.name} {verb.value}")

    def expect(self, verb: Expect) -> Iterator[str]:
        if may_be_read(verb.name):
            yield f"expect {verb.name} {shlex.quote(verb.pattern)}"
        else:
            yield from self._skipped(verb, verb.name)

    def check(self, verb: Check) -> Iterator[str]:
        yield f"attribute sync_action {'repair' if verb.repair else 'check'}"
        yield "idle"
        if not verb.mismatches:
            yield "expect mismatch_cnt '^0$'"

    def mdadm(self, verb: Mdadm) -> Iterator[str]:
        if (words := mdadm_words(verb.arguments, self._shape.disk_sizes)) is None:
            yield from self._skipped(verb, verb.arguments)
            return
        line = f"in_time mdadm {' '.join(words)}"
        yield f"refused {line}" if verb.refused else f"{line} || red 'mdadm refuses'"

    @property
    def _area(self) -> Area:
        geometry = self._shape.geometry
        return Area(geometry.chunk_sectors, geometry.data_disks, geometry.array_sectors)

    def _drawn(self, verb: Write, bursts: int) -> Sequence[WriteStep]:
        self._draws += 1
        wanted = Bursts(
            bursts=bursts, at_once=verb.at_once, extent=verb.extent, rows=verb.rows,
            kind=verb.kind, fua=verb.fua,
        )  # fmt: skip
        draw = random.Random(f"{self._seed} {self._draws}")
        steps = drawn_bursts(wanted, self._area, draw, last=self._last)
        self._last = max((w.number for s in steps for w in s.writes), default=self._last)
        return steps


def _write_line(kind: WriteKind, sector: int, sectors: int, number: int, *, fua: bool) -> str:
    words = {WriteKind.DATA: "write", WriteKind.ZEROES: "zeroes", WriteKind.DISCARD: "discard"}
    line = f"{words[kind]} {int(sector)} {int(sectors)} {int(number)}"
    return f"{line} dsync" if fua else line


def _lines(make: Callable[[Verb], str]) -> Callable[[_Teller, Verb], Iterator[str]]:
    return lambda _teller, verb: iter([make(verb)])


def _quoted(word: str, *fields: str) -> Callable[[_Teller, Verb], Iterator[str]]:
    return _lines(
        lambda verb: " ".join([word, *(shlex.quote(str(getattr(verb, name))) for name in fields)])
    )


# What each verb is in the script's words.
_VERBS: dict[type[Verb], Callable[..., Iterator[str]]] = {
    Create: _Teller.create, Write: _Teller.write, FillCache: _Teller.fill_cache,
    During: _Teller.during, Remove: _Teller.remove, Add: _Teller.add,
    Assemble: _Teller.assemble, Check: _Teller.check, Mdadm: _Teller.mdadm,
    Reboot: _lines(lambda _: "stop"), CutPower: _lines(lambda _: "cut"),
    Flush: _lines(lambda _: "flush"), Fsync: _lines(lambda _: "flush"),
    ReadBack: _lines(lambda _: "read_all"), Stop: _lines(lambda _: "stop"),
    WaitUntilIdle: _lines(lambda _: "idle"),
    Switch: _lines(lambda verb: f"attribute journal_mode {verb.mode.value}"),  # type: ignore[attr-defined]
    Set: _Teller.set, Expect: _Teller.expect,
    ExpectStatus: _quoted("status", "pattern"), ExpectLog: _quoted("log_says", "pattern"),
    Fail: _lines(lambda verb: f"manage --fail {node(verb.disk)}"),  # type: ignore[attr-defined]
    Promised: lambda teller, verb: teller.verb(verb.step),
}  # fmt: skip
