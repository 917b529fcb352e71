"""What documents promise about the journal, and whether it is so: promises and their verdicts."""

from __future__ import annotations

import tomllib
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from harness.campaign.scenarios.results import Result
from harness.errors import BadInput
from harness.verdict.verdict import Outcome

PROMISES = Path(__file__).with_name("conformance.toml")

# The worst first: what is known to be wrong is not hidden by what has not run.
_WORST = (
    Outcome.HARNESS_FAILED, Outcome.DIFFERS, Outcome.KNOWN, Outcome.NOT_RUN, Outcome.AGREES
)  # fmt: skip
_FIELDS = {
    "id", "says", "document", "section", "scenarios", "states", "broken_by", "untested", "note",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Document:
    """Where promises are from."""

    key: str
    title: str
    version: str  # of the packages in which it was read


@dataclass(frozen=True, slots=True, kw_only=True)
class Promise:
    """One thing that a document says the journal, or what handles it, does."""

    number: int  # from 1 on
    says: str  # in this project's words
    document: Document
    section: str
    scenarios: tuple[str, ...]  # that fail where it is not kept
    states: tuple[str, ...] = ()  # the words of those of their `Promised` steps that are about it
    broken_by: tuple[str, ...] = ()  # known issues, by name, that are this promise's breach
    untested: str = ""  # why there are no scenarios
    note: str = ""  # what is seen instead, what another document says

    @property
    def name(self) -> str:
        """How it is spoken of."""
        return f"C{self.number}"


@dataclass(frozen=True, slots=True)
class PromiseVerdict:
    """What the scenarios of a promise came to on one kernel."""

    outcome: Outcome
    reasons: tuple[str, ...]  # known issues by name, or what differs
    not_run: int  # scenarios without a result


def read_promises(path: Path, scenarios: Collection[str]) -> tuple[Promise, ...]:
    """Return the promises of a file, in its order.

    Args:
        path: the file; its format is explained at its head.
        scenarios: the names that there are.

    Raises:
        BadInput: a field is missing or unknown, ids are not C1, C2, ..., a document or a scenario
            is not there, or a promise has neither a scenario nor a reason for that.
    """
    try:
        with path.open("rb") as file:
            content = tomllib.load(file)
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise BadInput(f"{path}: cannot be read: {error}") from error
    documents = {
        key: Document(key, fields["title"], fields["version"])
        for key, fields in content.get("document", {}).items()
    }
    return tuple(
        _promise(path, number, fields, documents, scenarios)
        for number, fields in enumerate(content.get("promise", []), start=1)
    )


def _promise(
    path: Path,
    number: int,
    fields: Mapping[str, Any],
    documents: Mapping[str, Document],
    scenarios: Collection[str],
) -> Promise:
    place = f"{path.name}: promise {fields.get('id', f'number {number}')}"
    if fields.get("id") != f"C{number}":
        raise BadInput(f"{place}: its id is {fields.get('id')!r}, wanted 'C{number}'")
    if strange := sorted(set(fields) - _FIELDS):
        raise BadInput(f"{place}: has {', '.join(strange)}; wanted {', '.join(sorted(_FIELDS))}")
    if missing := [name for name in ("says", "document", "section") if not fields.get(name)]:
        raise BadInput(f"{place}: lacks {', '.join(missing)}")
    if fields["document"] not in documents:
        raise BadInput(f"{place}: no document {fields['document']}; wanted {', '.join(documents)}")
    named, untested = tuple(fields.get("scenarios", ())), fields.get("untested", "")
    if unknown := [name for name in named if name not in scenarios]:
        raise BadInput(f"{place}: no scenario is called {', '.join(unknown)}")
    if bool(named) == bool(untested):
        raise BadInput(
            f"{place}: wanted either scenarios, or untested, which says why there are none"
        )
    return Promise(
        number=number, says=_line(fields["says"]), document=documents[fields["document"]],
        section=fields["section"], scenarios=named, states=tuple(fields.get("states", ())),
        broken_by=tuple(fields.get("broken_by", ())), untested=_line(untested),
        note=_line(fields.get("note", "")),
    )  # fmt: skip


def _line(text: str) -> str:
    return " ".join(text.split())


def verdict_on(
    promise: Promise, kernel: str, results: Sequence[Result], promises: Sequence[Promise] = ()
) -> PromiseVerdict:
    """Return what a promise came to on a kernel: the worst of its scenarios.

    Args:
        promise: of any number of scenarios, all of which must have run for it to be kept.
        kernel: its name in the results.
        results: one at most of each scenario on each kernel.
        promises: all there are: what breaks another one's `states` alone does not break this.
    """
    others = {words for each in promises for words in each.states} - set(promise.states)
    mine = {
        r.scenario: _about(r, others)
        for r in results
        if r.kernel == kernel and r.scenario in promise.scenarios
    }
    outcomes = [mine[n].outcome if n in mine else Outcome.NOT_RUN for n in promise.scenarios]
    worst = min(outcomes, key=_WORST.index, default=Outcome.NOT_RUN)
    reasons = dict.fromkeys(r.reason for r in mine.values() if r.outcome is worst and r.reason)
    if worst is Outcome.KNOWN:  # a result of several issues names all of them
        reasons = dict.fromkeys(name for reason in reasons for name in reason.split(", "))
    return PromiseVerdict(worst, tuple(reasons), sum(o is Outcome.NOT_RUN for o in outcomes))


def _about(result: Result, others: Collection[str]) -> Result:
    """Return a result without what it objects to in the name of other promises."""
    if result.outcome not in (Outcome.DIFFERS, Outcome.KNOWN):
        return result
    left = tuple(
        finding
        for finding in result.findings
        if not any(f"promised: {words}: " in finding[1] for words in others)
    )
    if left == result.findings:
        return result
    if not left:
        return replace(result, outcome=Outcome.AGREES, reason="", findings=())
    reason = result.reason if result.outcome is Outcome.KNOWN else left[0][1]
    return replace(result, reason=reason, findings=left)


def kernels_of(results: Sequence[Result]) -> list[str]:
    """Return the kernels that anything ran on, in order of their versions."""
    return sorted({result.kernel for result in results}, key=_in_order)


def _in_order(kernel: str) -> tuple[tuple[int, ...], str]:
    numbers = tuple(int(part) for part in kernel.split(".") if part.isdigit())
    return numbers, kernel


def count_outcomes(
    promises: Sequence[Promise], kernel: str, results: Sequence[Result]
) -> Counter[Outcome]:
    """Return how many promises with scenarios came to what on a kernel."""
    return Counter(
        verdict_on(p, kernel, results, promises).outcome for p in promises if p.scenarios
    )
