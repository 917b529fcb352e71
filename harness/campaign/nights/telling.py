"""What is said of a night, in the words that its page, its mail and the terminal share. Pure."""

from __future__ import annotations

import shlex
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from statistics import median

from harness.campaign.history.telling import Section, sections_of, told_red
from harness.campaign.nights.view import FollowedFinding, NightView
from harness.campaign.reports.model import one_line
from harness.verdict.verdict import Outcome

COMMAND = "tools/mdjournal repro run"
_MOST_LETTERS = 240  # of a signature: what is longer is a guest's log
_FIRST_NIGHT = "differs; there is no night before to compare with"


@dataclass(frozen=True, slots=True)
class Summary:
    """The verdict of a night."""

    tone: Outcome  # by which it is coloured
    sentence: str
    remarks: tuple[str, ...]  # what has to be known besides, the gravest first


@dataclass(frozen=True, slots=True)
class KernelStates:
    """Crash states of a kernel tonight, and against the nights before."""

    kernel: str
    now: int
    before: int | None  # in the night that was compared with
    earlier: tuple[int, ...]  # of the nights before, the oldest first

    @property
    def usual(self) -> str:
        """Say what the nights before covered."""
        if not self.earlier:
            return "-"
        nights = f"{len(self.earlier)} night{'s' if len(self.earlier) > 1 else ''}"
        return f"{median(self.earlier):,.0f} (median of {nights}), most {max(self.earlier):,}"


def summary_of(view: NightView) -> Summary:
    """Return the verdict: whether anything is newly red, in one sentence."""
    new = view.new_reds
    if not view.judged:
        said = "Nothing was judged: this night says nothing of any kernel."
        return Summary(Outcome.HARNESS_FAILED, said, _remarks(view))
    if new:
        on = {change.kernel.name for change in new}
        kernels = ", ".join(name for name in view.kernel_names if name in on)
        what = f": {new[0].case}" if len(new) == 1 else ""
        said = f"{len(new)} new red{'s' if len(new) > 1 else ''}{what} on {kernels}."
        return Summary(Outcome.DIFFERS, said, _remarks(view))
    return Summary(Outcome.AGREES, "Nothing new is red.", _remarks(view))


def _remarks(view: NightView) -> tuple[str, ...]:
    counts = view.counts
    since = 0
    if view.comparison is not None:
        since = len(view.comparison.new_red) - len(view.new_reds)
    still = counts.get(Outcome.DIFFERS, 0) - len(view.new_reds) - since
    tried = len(view.cells)
    said = (
        ("the first night: there is none to compare it with", view.comparison is None),
        ("the night was not finished", view.run.run.ended is None),
        (f"{since} red since the baseline", since > 0),
        (f"{still} red as before", still > 0),
        (f"{counts.get(Outcome.HARNESS_FAILED, 0)} without a verdict: guest or harness lost",
         counts.get(Outcome.HARNESS_FAILED)),
        (f"{len(view.set_aside)} set aside", view.set_aside),
        (f"{counts.get(Outcome.KNOWN, 0)} are known issues", counts.get(Outcome.KNOWN)),
        (f"{counts.get(Outcome.AGREES, 0)} of {tried} agree", tried),
    )  # fmt: skip
    return tuple(text for text, is_so in said if is_so)


def whats_new(view: NightView) -> tuple[Section, ...]:
    """Return what is new, list by list; of the first night all that differs."""
    if view.comparison is not None:
        return sections_of(view.comparison)
    told = tuple(map(told_red, view.new_reds))
    return (Section("NEW RED", _FIRST_NIGHT, told),) if told else ()


def signature_text(signature: str) -> str:
    """Return a signature on one line, and not longer than a sentence is."""
    text = one_line(signature)
    return text if len(text) <= _MOST_LETTERS else f"{text[:_MOST_LETTERS]}.."


def repro_command(followed: FollowedFinding | None, folder: str = "") -> str:
    """Return the command that runs a finding's bundle again, if there is one.

    *folder* is the night's; without one the bundle is named as where it was attached or saved.
    """
    if followed is None or not followed.bundle:
        return ""
    name = f"{folder}/{followed.bundle}" if folder else followed.bundle.rpartition("/")[2]
    return f"{COMMAND} {shlex.quote(one_line(name))}"


def states_of(view: NightView) -> list[KernelStates]:
    """Return what was covered on each kernel."""
    now: dict[str, int] = defaultdict(int)
    for cell in view.cells.values():
        now[cell.kernel] += cell.states
    compared = view.comparison.states if view.comparison is not None else ()
    before = {each.kernel: each.before for each in compared}
    names = dict.fromkeys([*view.kernel_names, *before])
    return [
        KernelStates(name, now[name], before.get(name), tuple(view.states_before.get(name, ())))
        for name in names
    ]


def work_of(view: NightView) -> dict[str, dict[str, float]]:
    """Return the seconds that workers spent, by kind of work and kernel."""
    found: dict[str, dict[str, float]] = {}
    for cell in view.cells.values():
        mine = found.setdefault(cell.case.kind.value, dict.fromkeys(view.kernel_names, 0.0))
        mine[cell.kernel] += cell.seconds
    return found


def budget_text(view: NightView) -> str:
    """Say what was planned, and what was used of it."""
    used = duration_text(view.used_s)
    if view.budget_s is None:
        return f"{used} used; no budget was set"
    if not view.budget_s:
        return f"{used} used of none"
    return f"{used} used of {duration_text(view.budget_s)}: {view.used_s / view.budget_s:.0%}"


def duration_text(seconds: float) -> str:
    """Say a time as hours, minutes and seconds."""
    whole = round(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02}"


def first_bad_text(view: NightView, signatures: Iterable[str]) -> str:
    """Say which is the first kernel that meets any of some findings."""
    return next((bad for each in signatures if (bad := view.first_bad(each))), "")
