"""Only AGREES is green, and a red becomes KNOWN only where a listed issue explains all of it."""

from __future__ import annotations

import re
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest

from harness.campaign.known_issues import KNOWN_ISSUES, known_issues_of, read_known_issues
from harness.crash.trace import Cache
from harness.errors import EXIT_AGREES, EXIT_DIFFERS, EXIT_LOST
from harness.hosts.host import CommandResult
from harness.md.shape import Shape
from harness.verdict.known import KernelRange, KnownIssue, unseen_issues, with_known_issues
from harness.verdict.verdict import Finding, Judgement, Outcome, Verdict, verdict_of

STALE = "mdadm: Not safe to assemble with missing or stale journal device, consider --force."
ONE_AHEAD = {"journal_events_ahead": 1, "member_events_apart": 0}
KEYS = {"name", "oracle", "says", "facts", "kernels", "expected", "reason"}
EVERY_KERNEL = (KernelRange(None, None),)

ISSUE = KnownIssue(
    name="one-ahead",
    oracle="available",
    says=re.compile("stale journal"),
    facts=ONE_AHEAD,
    kernels=EVERY_KERNEL,
    shape={},
    expected={"mode": "write-back"},
    reason="mdadm takes it for a spare",
)
EXPLAINED = Finding("available", f"`mdadm` ended with 1: {STALE}", facts=ONE_AHEAD)
OTHER = Finding("members", "member1.img: 4096 bytes differ")


def judged(*findings: Finding, oracle: str = "available") -> Judgement:
    return Judgement(oracle, ("one thing",), findings)


def differing(*findings: Finding) -> Verdict:
    return verdict_of((judged(*findings), judged(oracle="alive")))


# What makes a verdict


def test_no_objection_is_consent() -> None:
    verdict = verdict_of((judged(), judged(oracle="alive")))
    assert (verdict.outcome, verdict.reason) == (Outcome.AGREES, "")
    assert verdict.findings == ()


@pytest.mark.parametrize("place", range(3))
def test_one_objection_of_any_oracle_is_a_difference(place: int) -> None:
    judgements = [judged(oracle=name) for name in ("one", "two", "three")]
    judgements[place] = judged(OTHER, oracle="members")
    verdict = verdict_of(tuple(judgements))
    assert (verdict.outcome, verdict.reason) == (Outcome.DIFFERS, OTHER.what)
    assert verdict.findings == (OTHER,)


def test_the_first_of_several_objections_is_the_reason() -> None:
    verdict = verdict_of((judged(), judged(EXPLAINED, OTHER), judged(OTHER)))
    assert verdict.reason == EXPLAINED.what
    assert verdict.findings == (EXPLAINED, OTHER, OTHER)


@pytest.mark.parametrize("findings", [(), (OTHER,)], ids=["no-finding", "a-finding"])
def test_a_judgement_that_compared_nothing_is_a_fault_of_ours(
    findings: tuple[Finding, ...],
) -> None:
    blind = Judgement("members", (), findings)
    with pytest.raises(ValueError, match="'members' compared nothing"):
        verdict_of((judged(), blind))


def test_no_judgement_at_all_is_a_fault_of_ours() -> None:
    with pytest.raises(ValueError, match="nothing was judged"):
        verdict_of(())


@pytest.mark.parametrize(
    ("outcome", "status"),
    [
        (Outcome.AGREES, EXIT_AGREES),
        (Outcome.DIFFERS, EXIT_DIFFERS),
        (Outcome.KNOWN, EXIT_AGREES),  # without --strict
        (Outcome.NOT_RUN, EXIT_LOST),
        (Outcome.HARNESS_FAILED, EXIT_LOST),
    ],
    ids=lambda value: value.name if isinstance(value, Outcome) else str(value),
)
def test_every_outcome_has_its_exit_status(outcome: Outcome, status: int) -> None:
    assert Verdict(outcome).exit_status == status


def test_every_outcome_is_covered_above() -> None:
    assert {outcome.name for outcome in Outcome} == {
        "AGREES", "DIFFERS", "KNOWN", "NOT_RUN", "HARNESS_FAILED",
    }  # fmt: skip


# What a known issue explains


def test_an_explained_difference_is_known_and_never_agrees() -> None:
    verdict = with_known_issues(differing(EXPLAINED), [ISSUE])
    assert (verdict.outcome, verdict.reason) == (Outcome.KNOWN, "one-ahead")
    assert verdict.findings == (EXPLAINED,), "it is still shown"


def test_several_findings_of_one_issue_name_it_once() -> None:
    other = replace(ISSUE, name="members-differ", oracle="members", says=re.compile(""), facts={})
    verdict = with_known_issues(differing(EXPLAINED, OTHER, EXPLAINED), [ISSUE, other])
    assert verdict.reason == "one-ahead, members-differ"


@pytest.mark.parametrize(
    "findings",
    [(OTHER,), (EXPLAINED, OTHER), (OTHER, EXPLAINED), (EXPLAINED, EXPLAINED, OTHER)],
    ids=["alone", "last", "first", "third"],
)
def test_one_finding_that_nothing_explains_keeps_the_difference(
    findings: tuple[Finding, ...],
) -> None:
    verdict = differing(*findings)
    assert with_known_issues(verdict, [ISSUE]) == verdict


@pytest.mark.parametrize("outcome", [o for o in Outcome if o is not Outcome.DIFFERS])
def test_only_a_difference_can_become_known(outcome: Outcome) -> None:
    verdict = Verdict(outcome, (judged(EXPLAINED),), "a reason")
    assert with_known_issues(verdict, [ISSUE]) == verdict


def test_a_difference_without_a_finding_is_explained_by_nothing() -> None:
    verdict = Verdict(Outcome.DIFFERS, (judged(),), "somebody said so")
    assert with_known_issues(verdict, [ISSUE]) == verdict


def test_without_a_list_nothing_is_known() -> None:
    assert with_known_issues(differing(EXPLAINED), []).outcome is Outcome.DIFFERS


@pytest.mark.parametrize(
    "finding",
    [
        pytest.param(replace(EXPLAINED, oracle="alive"), id="another-oracle"),
        pytest.param(replace(EXPLAINED, what="`mdadm` ended with 1"), id="another-sentence"),
        pytest.param(replace(EXPLAINED, facts={}), id="no-facts"),
        pytest.param(replace(EXPLAINED, facts={"journal_events_ahead": 1}), id="a-fact-missing"),
        pytest.param(
            replace(EXPLAINED, facts={**ONE_AHEAD, "journal_events_ahead": 2}), id="another-figure"
        ),
        pytest.param(
            replace(EXPLAINED, facts={**ONE_AHEAD, "member_events_apart": 1}), id="second-figure"
        ),
    ],
)
def test_whatever_does_not_match_is_not_explained(finding: Finding) -> None:
    assert ISSUE.explains(EXPLAINED)
    assert not ISSUE.explains(finding)


def test_more_facts_than_are_asked_for_do_no_harm() -> None:
    assert ISSUE.explains(replace(EXPLAINED, facts={**ONE_AHEAD, "cut": 7}))


def test_the_sentence_is_searched_not_matched_from_its_start() -> None:
    issue = replace(ISSUE, says=re.compile("^stale"))
    assert not issue.explains(EXPLAINED)
    assert replace(ISSUE, says=re.compile(r"stale \w+ device, consider --force\.$")).explains(
        EXPLAINED
    )


def test_details_explain_nothing() -> None:
    finding = replace(EXPLAINED, what="it failed", details=(STALE,))
    assert not ISSUE.explains(finding)


# The list


def entries() -> list[dict[str, object]]:
    found: list[dict[str, object]] = tomllib.loads(KNOWN_ISSUES.read_text())["issue"]
    return found


@pytest.mark.parametrize("entry", entries(), ids=lambda entry: str(entry["name"]))
def test_every_listed_issue_has_all_keys_and_a_reason(entry: dict[str, object]) -> None:
    assert set(entry) - {"reference", "shape", "scenarios"} == KEYS
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)+", str(entry["name"])), "ids are words"
    assert len(str(entry["reason"]).split()) >= 20, "a reason says what was found out"
    assert isinstance(entry["facts"], dict)
    assert all(type(value) is int for value in entry["facts"].values())


@pytest.mark.parametrize("entry", entries(), ids=lambda entry: str(entry["name"]))
def test_no_listed_issue_is_so_wide_that_it_explains_any_sentence(entry: dict[str, object]) -> None:
    says = re.compile(str(entry["says"]))
    for sentence in (
        "",
        "the kernel complains: BUG: ",
        "member0.img differs",
        "`mdadm` ended with 1",
    ):
        assert not says.search(sentence)


@pytest.mark.parametrize("entry", entries(), ids=lambda entry: str(entry["name"]))
def test_every_listed_issue_is_of_an_oracle_that_exists(entry: dict[str, object]) -> None:
    folder = Path(__file__).resolve().parents[2] / "harness"
    texts = [
        path.read_text()
        for path in (
            folder / "campaign/judging.py",
            *folder.glob("campaign/scenarios/*.py"),
            *folder.glob("verdict/*.py"),
        )
    ]
    assert any(f'"{entry["oracle"]}"' in text for text in texts)


def test_names_on_the_list_are_unique() -> None:
    names = [issue.name for issue in read_known_issues()]
    assert names
    assert len(set(names)) == len(names)


def test_the_list_is_read_as_it_stands() -> None:
    for entry, issue in zip(entries(), read_known_issues(), strict=True):
        assert (issue.name, issue.oracle) == (entry["name"], entry["oracle"])
        assert (issue.says.pattern, dict(issue.facts)) == (entry["says"], entry["facts"])
        assert issue.reason == str(entry["reason"]).strip()


def test_mdadms_refusal_one_event_ahead_is_known_as_the_judge_words_it() -> None:
    """What mdadm said is the last line of its output; the judge's sentence is the result's own."""
    said = f"mdadm: /dev/vdc is busy - skipping\n{STALE}\n"
    result = CommandResult("guest", ("/sbin/mdadm", "--assemble", "/dev/md0"), 1, said, 0.4)
    finding = Finding("available", str(result), facts=ONE_AHEAD)
    assert with_known_issues(differing(finding), read_known_issues()).outcome is Outcome.KNOWN
    two = replace(finding, facts={**ONE_AHEAD, "journal_events_ahead": 2})
    assert with_known_issues(differing(two), read_known_issues()).outcome is Outcome.DIFFERS


@pytest.mark.parametrize("missing", sorted(KEYS))
def test_an_entry_without_one_of_its_keys_is_not_read(tmp_path: Path, missing: str) -> None:
    lines = {
        "name": '"a-b"', "oracle": '"available"', "says": '"x"', "facts": "{}", "reason": '"y"',
        "kernels": '[".."]', "expected": "{}",
    }  # fmt: skip
    del lines[missing]
    path = tmp_path / "issues.toml"
    path.write_text("[[issue]]\n" + "".join(f"{key} = {text}\n" for key, text in lines.items()))
    with pytest.raises(KeyError, match=missing):
        read_known_issues(path)


@pytest.mark.parametrize(
    ("kernel", "known"),
    [
        ("6.1.191-1", False), ("6.1.192-2", True), ("6.12.117", True), ("6.12.118", False),
        ("7.2~rc1", False), ("7.3~rc7-1", True), ("8.0", True),
    ],
)  # fmt: skip
def test_an_issue_is_known_on_the_kernels_that_have_it(
    tmp_path: Path, kernel: str, known: bool
) -> None:
    path = tmp_path / "issues.toml"
    path.write_text(
        '[[issue]]\nname = "a-b"\noracle = "available"\nsays = "stale"\nfacts = {}\nreason = "y"\n'
        'kernels = ["6.1.192..6.12.117", "7.3.."]\nexpected = {}\n'
    )
    outcome = known_issues_of(kernel, Shape(), path).apply(differing(EXPLAINED)).outcome
    assert outcome is (Outcome.KNOWN if known else Outcome.DIFFERS)


@pytest.mark.parametrize("cache", Cache)
def test_an_issue_is_known_on_the_shapes_that_can_have_it(tmp_path: Path, cache: Cache) -> None:
    path = tmp_path / "issues.toml"
    path.write_text(
        '[[issue]]\nname = "a-b"\noracle = "available"\nsays = "stale"\nfacts = {}\nreason = "y"\n'
        'kernels = [".."]\nshape = { member_cache = "write-back" }\nexpected = {}\n'
    )
    issues = known_issues_of("6.1", Shape(member_cache=cache), path)
    assert len(issues.issues) == (cache is Cache.WRITE_BACK)


def test_a_range_without_dots_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "issues.toml"
    path.write_text(
        '[[issue]]\nname = "a-b"\noracle = "x"\nsays = "y"\nfacts = {}\nreason = "y"\n'
        'kernels = ["6.1"]\nexpected = {}\n'
    )
    with pytest.raises(ValueError, match=r"kernels '6.1': wanted FIRST..LAST"):
        read_known_issues(path)


def test_what_was_to_be_seen_and_was_not_is_told() -> None:
    other = replace(ISSUE, name="not-to-be-waited-for", expected={})
    shape = {"mode": "write-back", "level": "5"}
    assert unseen_issues([ISSUE, other], shape, []) == ["one-ahead"]
    assert unseen_issues([ISSUE, other], shape, ["one-ahead"]) == []
    assert unseen_issues([ISSUE, other], {"mode": "write-through"}, []) == []
