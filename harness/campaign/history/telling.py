"""What is new in a night, in words, for terminals, pages and mails: pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from harness.campaign.history.rates import Rate
from harness.campaign.history.records import Case, KernelSeen, Kind, Run
from harness.campaign.history.whats_new import (
    Change,
    Comparison,
    IssueSeen,
    NewlyFlaky,
    SlowerCase,
)

LOAD_TOLD = 0.1  # a night's load is told from here on


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """One thing that is new."""

    what: str  # a case, or a known issue
    kernel: str  # the name it is asked for by
    said: str
    shape: str = ""
    lines: tuple[str, ...] = ()  # below it
    signatures: tuple[str, ...] = ()  # of the findings that it is about

    @property
    def head(self) -> str:
        """Return it on one line."""
        return f"{self.what} on {self.kernel}: {self.said}"


@dataclass(frozen=True, slots=True)
class Section:
    """All that is new in one way."""

    head: str
    means: str  # for who has not read the documents
    told: tuple[Told, ...]


def sections_of(c: Comparison) -> tuple[Section, ...]:
    """Return what is new, the worst first; what there is nothing of is left out."""
    gone = [issue for issue in c.known_gone if issue.is_gone]
    not_seen = [issue for issue in c.known_gone if not issue.is_gone]
    every: tuple[tuple[str, str, Iterable[Told]], ...] = (
        ("NEW RED", "differs, and did not, or by other findings", map(told_red, c.new_red)),
        ("FIXED", "did differ, and agrees", map(_told_turned, c.fixed)),
        ("EXPLAINED", "did differ, and is a known issue now", map(_told_turned, c.explained)),
        ("FLAKY NOW", "red on some nights and green on others, on the very same kernel",
         (_told_flaky(each, c.nights + 1) for each in c.newly_flaky)),
        ("SLOWER", "by more than noise", map(_told_slower, c.slower)),
        ("ISSUE GONE", "a known issue that nothing meets any more", map(_told_gone, gone)),
        ("NOT SEEN", "a known issue that may just have been missed", map(_told_gone, not_seen)),
        ("ISSUE NEW", "a known issue, for the first time on this kernel",
         map(_told_met_first, c.known_new)),
        ("NO VERDICT", "the guest or the harness was lost", map(_told_turned, c.lost)),
        ("NOT RUN", "judged in the night before, and not tried now",
         map(_told_not_run, c.not_run_any_more)),
    )  # fmt: skip
    made = (Section(head, means, tuple(told)) for head, means, told in every)
    return tuple(section for section in made if section.told)


def told_red(change: Change) -> Told:
    """Say of a new red what it was before."""
    if not change.since_before:
        since = "since the baseline"
    elif change.before is None:
        since = "never judged before"
    elif change.before is change.now:
        since = "red before, by other findings"
    else:
        since = f"was {change.before.value}"
    said = f"{since}{', flaky' if change.flaky else ''}; kernel {change.kernel.version}"
    told = _told(change.case, change.kernel, said, signatures=change.findings)
    # A bundle's case says its finding in the place of a shape, and here that stands below it.
    return replace(told, shape="") if change.case.kind is Kind.REPRO else told


def _told_turned(change: Change) -> Told:
    now = change.now.value if change.now is not None else "not tried"
    since = "" if change.since_before else " since the baseline"
    was = change.before if change.since_before else change.in_baseline
    said = f"{now}{since}, was {was.value if was is not None else 'never judged'}"
    flaky = ", flaky" if change.flaky else ""
    return _told(change.case, change.kernel, f"{said}{flaky}", signatures=change.findings)


def _told_not_run(change: Change) -> Told:
    """Say that it was not run: a short night has many of these, and no shape is news."""
    return replace(_told_turned(change), shape="")


def _told_flaky(flaky: NewlyFlaky, nights: int) -> Told:
    rate = flaky.rate
    said = f"{rate.red} of {rate.judged} units red in {nights} nights: {interval_text(rate)}"
    return _told(flaky.case, flaky.kernel, said)


def _told_slower(case: SlowerCase) -> Told:
    slower = case.slower
    said = f"{pace_text(slower.pace_s)}, usually {pace_text(slower.usual_s)}"
    nights = f"{slower.score:.0f} deviations of {slower.nights} nights"
    return _told(case.case, case.kernel, said, lines=(f"{ratio_text(slower.ratio)}, {nights}",))


def _told(
    case: Case, kernel: KernelSeen, said: str, *, lines: tuple[str, ...] = (),
    signatures: tuple[str, ...] = (),
) -> Told:  # fmt: skip
    return Told(
        what=str(case), kernel=kernel.name, said=said, shape=case.shape, lines=lines,
        signatures=signatures,
    )  # fmt: skip


def _told_gone(issue: IssueSeen) -> Told:
    seen, ran = issue.nights
    missed = f"that it was missed: {issue.chance:.1%}"
    said = f"was on {seen} of {ran} nights; {missed}"
    return Told(what=issue.name, kernel=issue.kernel, said=said)


def _told_met_first(issue: IssueSeen) -> Told:
    ran = issue.nights[1]
    nights = f"on none of {ran} nights before" if ran else "its cases never ran before"
    return Told(what=issue.name, kernel=issue.kernel, said=nights)


def run_text(run: Run) -> str:
    """Return a run's name and number."""
    return f"{run.name} ({run.number})"


def compared_text(c: Comparison) -> str:
    """Say which nights were compared."""
    baseline = f", and with the baseline {run_text(c.baseline)}" if c.baseline is not None else ""
    return f"{run_text(c.now)} with {run_text(c.before)}{baseline}"


def summary_text(c: Comparison) -> str:
    """Say in a few words whether anything is newly red."""
    new = sum(change.since_before for change in c.new_red)
    old = len(c.new_red) - new
    since = f"; {old} red since the baseline" if old else ""
    return f"{new} new red{since}" if new else f"nothing new is red{since}"


def pace_text(pace_s: float | None) -> str:
    """Say a pace in seconds or milliseconds."""
    if pace_s is None:
        return "-"
    return f"{pace_s:.1f} s" if pace_s >= 1 else f"{1000 * pace_s:.0f} ms"


def ratio_text(ratio: float) -> str:
    """Say how many times as long something took."""
    return f"{ratio:.2f}x"


def interval_text(rate: Rate) -> str:
    """Say between which bounds a rate is."""
    return f"{rate.low:.1%} .. {rate.high:.1%}"


def case_names(cases: Iterable[Case]) -> dict[Case, str]:
    """Return what cases are called; those of one name and several shapes have a number each."""
    every = sorted(set(cases))
    same = Counter(str(case) for case in every)
    numbers: Counter[str] = Counter()
    names = {}
    for case in every:
        numbers[str(case)] += 1
        names[case] = f"{case} [{numbers[str(case)]}]" if same[str(case)] > 1 else str(case)
    return names


def shape_lines(names: Mapping[Case, str]) -> Iterator[str]:
    """Tell the shapes of those that have a number."""
    for case, name in names.items():
        if name != str(case):
            yield f"{name}: {case.shape}"
