"""A night on one page of a terminal, and as a mail that is ready to be sent: pure."""

from __future__ import annotations

import shlex
import textwrap
from collections.abc import Iterable, Iterator
from itertools import islice
from time import gmtime, strftime

from harness.campaign.history.records import Case, Status
from harness.campaign.history.telling import Told, compared_text
from harness.campaign.history.whats_new import Change
from harness.campaign.nights.telling import (
    budget_text,
    duration_text,
    first_bad_text,
    repro_command,
    signature_text,
    states_of,
    summary_of,
    whats_new,
    work_of,
)
from harness.campaign.nights.view import FollowedFinding, NightView
from harness.campaign.reports.model import clean, one_line
from harness.verdict.verdict import Outcome

_WIDTH = 12
_MOST_REDS, _MOST_TOLD, _MOST_FINDINGS, _MOST_SET_ASIDE = 5, 3, 6, 3
_MAIL_COLUMNS, _MAIL_REDS = 78, 10
_MORE_TOLD = 3  # of a kind, in a mail


def terminal_lines(view: NightView) -> list[str]:
    """Return a night as some fifty lines: the verdict, what is new, the grid's sums, findings,
    states, budget. What there is more of is counted.
    """
    return [clean(line).replace("\n", " ").replace("\t", " ") for line in _terminal(view)]


def _terminal(view: NightView) -> Iterator[str]:
    summary = summary_of(view)
    run = view.run.run
    yield _row("verdict", summary.sentence)
    for remark in summary.remarks:
        yield _row("", remark)
    yield _row("night", f"{run.name} ({run.number}), began {_moment(run.began)} UTC")
    if view.comparison is not None:
        yield _row("compared", compared_text(view.comparison))
    yield from _news(view)
    yield from _grid_sums(view)
    yield from _finding_rows(view)
    for states in states_of(view):
        before = "" if states.before is None else f" (was {states.before:,})"
        kernel = view.kernel_text(states.kernel)
        yield _row("states", f"{kernel}: {states.now:,}{before}; usual {states.usual}")
    yield _row("budget", budget_text(view))
    for spent in view.spent:
        planned = f" of {duration_text(spent.planned_s)}" if spent.planned_s is not None else ""
        yield _row("", f"{spent.what}: {duration_text(spent.used_s)}{planned}")
    work = {kind: sum(mine.values()) for kind, mine in work_of(view).items()}
    if work:
        yield _row("workers", ", ".join(f"{k} {duration_text(s)}" for k, s in work.items()))


def _row(head: str, text: str) -> str:
    return f"{head:<{_WIDTH}}{text}"


def _news(view: NightView) -> Iterator[str]:
    for section in whats_new(view):
        is_red = section.head == "NEW RED"
        most = _MOST_REDS if is_red else _MOST_TOLD
        for told in section.told[:most]:
            yield _row(section.head, told.head)
            if told.shape:
                yield _row("", f"    {told.shape}")
            yield from (_row("", f"    {line}") for line in told.lines)
            if is_red:
                yield from (_row("", f"    {line}") for line in _red_lines(told, view))
        if len(section.told) > most:
            yield _row(section.head, f"and {len(section.told) - most} more")
    for aside in view.set_aside[:_MOST_SET_ASIDE]:
        yield _row("SET ASIDE", f"{aside.what}: {aside.why}")
    if len(view.set_aside) > _MOST_SET_ASIDE:
        yield _row("SET ASIDE", f"and {len(view.set_aside) - _MOST_SET_ASIDE} more")


def _red_lines(told: Told, view: NightView) -> Iterator[str]:
    for signature in told.signatures[:_MOST_TOLD]:
        yield signature_text(signature)
        if command := repro_command(view.followed(signature), view.run.run.out):
            yield f"    {command}"
    if bad := first_bad_text(view, told.signatures):
        yield f"first bad kernel of this night: {bad}"


def _grid_sums(view: NightView) -> Iterator[str]:
    """Tell how many cases of each kernel have which outcome."""
    for name in view.kernel_names:
        every = [cell.outcome for (_, kernel), cell in view.cells.items() if kernel == name]
        counts = [f"{o.value} {n}" for o in Outcome if (n := every.count(o))]
        yield _row("cases", f"{view.kernel_text(name)}: {', '.join(counts) or 'none'}")


def _finding_rows(view: NightView) -> Iterator[str]:
    followed = [each for each in view.findings_in_order if each.finding.status is not Status.CLOSED]
    for each in followed[:_MOST_FINDINGS]:
        finding = each.finding
        where = ", ".join(f"{k} {n:,}" for k, n in view.met.get(finding.signature, {}).items())
        known = ", known" if finding.known_as else ""
        said = f"{finding.status.value}{known}, since {finding.first_run.name}"
        tonight = f"tonight on {where}" if where else f"last seen {finding.last_run.name}"
        yield _row("finding", f"{signature_text(finding.signature)}: {said}; {tonight}")
    if len(followed) > _MOST_FINDINGS:
        yield _row("finding", f"and {len(followed) - _MOST_FINDINGS} more")


def _moment(seconds: float) -> str:
    return strftime("%Y-%m-%d %H:%M", gmtime(seconds))


# Mail


def mail_text(view: NightView) -> str:
    """Return a mail: its subject in the first line, an empty one, and its text of 78 columns.

    A finding, its first bad kernel, the command that shows it again and the bundle to attach; of
    several the first ten cases. Only a word or a file's name that is longer exceeds the columns.
    """
    lines = [f"Subject: {_subject(view)}", "", *_mail_body(view)]
    return "\n".join(line.rstrip() for line in lines) + "\n"


def _subject(view: NightView) -> str:
    text = f"[mdjournal] {view.run.run.name}: {summary_of(view).sentence.rstrip('.')}"
    if len(view.new_reds) == 1 and view.new_reds[0].findings:
        red = view.new_reds[0]
        text = f"[mdjournal] new red on {red.kernel.name}: {red.findings[0]}"
    return textwrap.shorten(
        one_line(text).encode("ascii", "replace").decode(), _MAIL_COLUMNS - 9, placeholder=" .."
    )


def _mail_body(view: NightView) -> Iterator[str]:
    summary = summary_of(view)
    yield from _wrapped(summary.sentence)
    yield from _wrapped(f"{'; '.join(summary.remarks)}.", "  ")
    for number, change in enumerate(view.new_reds[:_MAIL_REDS], 1):
        yield ""
        yield from _mail_red(number, change, view)
    if len(view.new_reds) > _MAIL_REDS:
        yield ""
        yield from _wrapped(f"And {len(view.new_reds) - _MAIL_REDS} more new reds: see the page.")
    attached = _bundles(view)
    if attached:
        yield ""
        yield "Attach, from the folder of the night:"
        yield from (f"  {one_line(each.bundle)}" for each in attached)
    yield from _mail_others(view)
    yield ""
    yield "Kernels"
    for kernel in view.kernels:
        new = ", new" if kernel.is_new else ""
        yield from _wrapped(f"{kernel.name}: {kernel.release} ({kernel.version}){new}", "  ")
    yield ""
    yield from _wrapped(f"Crash states: {_states_line(view)}. Budget: {budget_text(view)}.")
    if view.run.run.command:
        yield "Made by"
        yield from _command_lines(view.run.run.command)


def _states_line(view: NightView) -> str:
    return ", ".join(f"{each.kernel} {each.now:,}" for each in states_of(view)) or "none"


def _mail_red(number: int, change: Change, view: NightView) -> Iterator[str]:
    yield from _wrapped(f"{number}. {_case_text(change.case)}, on {change.kernel.name}")
    findings = [view.followed(each) for each in change.findings]
    for signature, followed in islice(zip(change.findings, findings, strict=True), _MOST_TOLD):
        yield from _wrapped(f"finding: {signature_text(signature)}", "   ")
        if followed is not None and followed.minimised:
            yield from _wrapped(f"smallest: {followed.minimised}", "   ")
    kernel = change.kernel
    yield from _wrapped(f"kernel: {kernel.release} ({kernel.version})", "   ")
    if bad := first_bad_text(view, change.findings):
        yield from _wrapped(f"first bad kernel of this night: {bad}", "   ")
    was = "never judged" if change.before is None else change.before.value
    yield from _wrapped(f"before: {was}{', flaky' if change.flaky else ''}", "   ")
    commands = [command for each in findings if (command := repro_command(each))]
    for command in dict.fromkeys(commands[:_MOST_TOLD]):
        yield "   run it again:"
        yield from _command_lines(command, "     ")


def _case_text(case: Case) -> str:
    return f"{case}, {case.shape}" if case.shape else str(case)


def _bundles(view: NightView) -> list[FollowedFinding]:
    met = [each for change in view.new_reds[:_MAIL_REDS] for each in change.findings[:_MOST_TOLD]]
    found = [view.followed(each) for each in dict.fromkeys(met)]
    return [each for each in found if each is not None and each.bundle]


def _mail_others(view: NightView) -> Iterator[str]:
    """Tell what else is new, few of each kind."""
    for section in whats_new(view):
        if section.head == "NEW RED":
            continue
        yield ""
        yield from _wrapped(f"{section.head} ({section.means}): {len(section.told)}")
        for told in section.told[:_MORE_TOLD]:
            yield from _wrapped(f"- {told.head}", "  ")
        if len(section.told) > _MORE_TOLD:
            yield f"  and {len(section.told) - _MORE_TOLD} more"
    if view.set_aside:
        yield ""
        yield f"SET ASIDE: {len(view.set_aside)}"
        for aside in view.set_aside[:_MORE_TOLD]:
            yield from _wrapped(f"- {aside.what}: {aside.why}", "  ")


def _wrapped(text: str, indent: str = "") -> list[str]:
    return textwrap.wrap(
        one_line(text), _MAIL_COLUMNS, initial_indent=indent, subsequent_indent=f"{indent}  ",
        break_on_hyphens=False, break_long_words=False,
    )  # fmt: skip


def _command_lines(command: str, indent: str = "  ") -> Iterable[str]:
    """Return a command on as many lines as it takes, to be pasted as they are."""
    try:
        words = [shlex.quote(word) for word in shlex.split(one_line(command))]
    except ValueError:  # a quote that is not closed: none that a shell would take
        words = one_line(command).split()
    lines = [indent]
    for word in words:
        if lines[-1].strip() and len(lines[-1]) + len(word) + 3 > _MAIL_COLUMNS:
            lines[-1] += " \\"
            lines.append(f"{indent}  ")
        lines[-1] += f" {word}" if lines[-1].strip() else word
    return lines
