"""What a plan comes to: which cases on which kernels and guests, and what workers are told."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import click
import pytest

from harness.campaign.history.records import Finding, Kind, Status
from harness.campaign.history.store import History, opened_history
from harness.campaign.nights.choosing import FULL_GUESS_S, GUESS_S, Past, Work
from harness.campaign.nights.plan import plan_of
from harness.campaign.reproducing.bundle import GuestFacts, KernelFacts
from harness.campaign.reproducing.bundle import Kind as Bundled
from harness.campaign.reproducing.bundle_json import save_bundle
from harness.campaign.reproducing.judging import Judgement, Standing
from harness.campaign.reproducing.running import Attempt
from harness.campaign.scenarios.scenario import read_scenarios
from harness.errors import BadInput, HarnessError
from harness.verdict.verdict import Finding as Objection
from harness.verdict.verdict import Judgement as Oracles
from harness.verdict.verdict import Outcome, Verdict
from testcases.unit.judged_bundles import GREEN, SEEN_ONCE, bench, bundle_of
from testcases.unit.made_nights import KERNEL, NEW, STORY, unit
from tools import nightly_finding
from tools.cli import main
from tools.nightly_finding import packed, repeated
from tools.nightly_kernels import Guest, GuestName, Prepared
from tools.nightly_plan import needed_guests, plan_lines, repeats, spec_maker, works_of
from tools.nightly_told import Unit, plain
from tools.nightly_view import bring
from tools.scenarios import FOLDER

TINY_STORY, FULL_STORY = "a-clean-array-starts-without-a-member", "a-boot-recovers-a-dirty-journal"
TINY, FULL = GuestName("tiny", "4.2"), GuestName("full", "4.2")


def plan(stories: str) -> str:
    return f'kernels = ["6.1", "7.3"]\n{stories}'


def told(stories: str, prepared: dict[str, Prepared] | None = None) -> list[tuple[str, str, str]]:
    kernels = prepared or dict.fromkeys(("6.1", "7.3"))
    return [(work.case.name, work.kernel, work.guest) for work in works_of(plan_of(plan(stories)),
                                                                           kernels)]  # fmt: skip


def kernel(*guests: GuestName) -> Prepared:
    facts = {"name": "6.1", "release": "r", "version": "v", "replaced": []}
    made = {
        str(each): Guest(
            facts={"kind": each.kind, "mdadm": f"{each.mdadm}-5" if each.kind == "tiny" else
                   each.mdadm},
            initramfs=Path("i"), root=Path("r") if each.kind == "full" else None,
        )
        for each in guests
    }  # fmt: skip
    return Prepared(seen=KERNEL, facts=facts, kernel_image=Path("k"), guests=made, injects=False)


def test_a_story_runs_in_the_guest_that_it_is_about() -> None:
    text = f'[scenarios]\nnames = ["{FULL_STORY}", "{TINY_STORY}"]\n'
    # What takes longest is last.
    assert told(text) == [
        (TINY_STORY, "6.1", str(TINY)), (TINY_STORY, "7.3", str(TINY)),
        (FULL_STORY, "6.1", str(FULL)), (FULL_STORY, "7.3", str(FULL)),
    ]  # fmt: skip
    assert needed_guests(plan_of(plan(text))) == {"6.1": {TINY, FULL}, "7.3": {TINY, FULL}}


def test_an_mdadm_and_a_full_guest_for_every_story_are_cases_of_their_own() -> None:
    one = f'[[scenarios]]\nnames = ["{TINY_STORY}"]\nkernels = ["7.3"]\nmdadm = ["4.2", "sid"]\n'
    other = f'[[scenarios]]\nnames = ["{TINY_STORY}"]\nkernels = ["7.3"]\nguest = "full"\n'
    assert told(one + other) == [
        (TINY_STORY, "7.3", str(TINY)),
        (f"{TINY_STORY} (mdadm 4.6)", "7.3", str(GuestName("tiny", "4.6"))),
        (f"{TINY_STORY} (full guest)", "7.3", str(FULL)),
    ]
    # Selected twice it is one case.
    assert told(one + one + other) == told(one + other)


def test_all_scenarios_have_full_guests_among_them_and_are_guessed_to_be_longer() -> None:
    works = works_of(plan_of(plan("[scenarios]\n")), {"6.1": None})
    guesses = [work.guess_s for work in works]
    assert guesses == sorted(guesses)
    assert set(guesses) == {GUESS_S, FULL_GUESS_S}
    assert len({work.case.name for work in works}) == len(works)


def test_what_has_not_its_guest_is_left_out() -> None:
    text = f'[scenarios]\nnames = ["{TINY_STORY}", "{FULL_STORY}"]\n'
    there = {"6.1": kernel(TINY, FULL), "7.3": kernel(TINY)}
    assert [(kernel, guest) for _, kernel, guest in told(text, there)] == [
        ("6.1", str(TINY)), ("7.3", str(TINY)), ("6.1", str(FULL))
    ]  # fmt: skip


def test_an_mdadm_that_is_not_known_is_told() -> None:
    with pytest.raises(BadInput, match=r"^scenarios: --mdadm 3.0: no root is known with it"):
        told('[scenarios]\nmdadm = ["3.0"]\n')


def test_a_suite_is_the_mdadm_that_it_has() -> None:
    mdadm = 'mdadm = ["bookworm", "4.2", "4.4"]'
    assert told(f'[scenarios]\nnames = ["{TINY_STORY}"]\nkernels = ["7.3"]\n{mdadm}\n') == [
        (TINY_STORY, "7.3", str(TINY)),
        (f"{TINY_STORY} (mdadm 4.4)", "7.3", str(GuestName("tiny", "4.4"))),
    ]


def test_a_story_that_injects_is_for_a_debug_kernel_and_has_its_guest_made() -> None:
    story = next(each for each in read_scenarios(FOLDER) if each.injects)
    text = f'kernels = ["6.12", "6.12-debug"]\n[scenarios]\nnames = ["{story.name}"]\n'
    assert needed_guests(plan_of(text)) == {"6.12-debug": {TINY}}
    can, cannot = replace(kernel(TINY), injects=True), kernel(TINY)
    assert [
        work.kernel for work in works_of(plan_of(text), {"6.12": cannot, "6.12-debug": can})
    ] == ["6.12-debug"]
    assert works_of(plan_of(text), {"6.12": cannot, "6.12-debug": cannot}) == []


def test_a_tree_of_ones_own_is_named_by_its_files() -> None:
    tree = replace(kernel(TINY), words=("--kernel", "/src/b z", "--modules", "/src/m"))
    text = '[[explore]]\nname = "five"\n'
    (work,) = works_of(plan_of(plan(text)), {"6.1": tree})
    repeat = spec_maker({"6.1": tree}, 1)(work, 0)["repeat"]
    assert shlex.split(repeat)[-4:] == ["--kernel", "/src/b z", "--modules", "/src/m"]


def test_a_tree_of_ones_own_is_judged_by_its_release() -> None:
    own = KernelFacts(name="/b", release="6.1.190", version="own build", identity="")
    assert own.told_by == "6.1.190"
    assert replace(own, version="6.12.117-1").told_by == "6.12.117-1"


def test_what_a_unit_says_of_how_to_repeat_it_can_be_typed() -> None:
    text = f'[scenarios]\nnames = ["{TINY_STORY}"]\nmdadm = ["4.6"]\nguest = "full"\n'
    lines = '[[explore]]\nname = "bare"\njournal = "none"\n[[fuzz]]\nname = "f"\nlevel = 6\n'
    there = {"6.1": kernel(TINY, FULL, GuestName("full", "4.6"))}
    spec_of = spec_maker(there, 1)
    specs = [spec_of(work, 0) for work in works_of(plan_of(plan(lines + text)), there)]
    for spec in specs:
        program, *words = shlex.split(spec["repeat"])
        assert program == "tools/mdjournal"
        context = main.make_context("mdjournal", list(words))
        found: click.Command | None = main
        while isinstance(found, click.Group):
            name, found, words = found.resolve_command(context, words)
        assert found is not None
        found.make_context(name, words)  # it would refuse what it does not know
    assert "--no-journal" in specs[0]["repeat"]
    assert specs[2]["repeat"].endswith("--mdadm 4.6 --guest full")
    assert [spec["do"] for spec in specs] == ["explore", "fuzz", "scenario"]


def test_the_plan_is_printed_with_its_full_guests() -> None:
    text = f'[scenarios]\nnames = ["{TINY_STORY}", "{FULL_STORY}"]\n'
    lines = list(plan_lines(plan_of(plan(text)), Past(), 3600.0, 2))
    assert lines[0] == "plan       0 shapes, 2 scenarios, 2 kernels"
    assert "full       2 of them in full guests" in lines


# Findings


@pytest.fixture
def history(tmp_path: Path) -> Iterator[History]:
    with opened_history(tmp_path / "history.sqlite") as store:
        run = store.begin_run("night1", out=str(tmp_path / "night1"))
        store.add_unit(run, unit(STORY, Outcome.DIFFERS, findings=(NEW,)))
        yield store


def with_bundle(history: History, folder: Path, mdadm: str = "4.2-5") -> Finding:
    (folder / "bundles").mkdir(parents=True, exist_ok=True)
    path = folder / "bundles" / f"{history.findings()[0].id}.mdjr"
    guest = GuestFacts(kind="tiny", accelerator="tcg", mdadm=mdadm)
    save_bundle(path, replace(bundle_of(), kind=Bundled.RECORDED, guest=guest))
    history.follow_finding(NEW.signature, Status.PACKED, bundle=str(path), smallest="1 write")
    return history.findings()[0]


def repeated_on(history: History, *kernels: str) -> list[Work]:
    every = {"6.1": kernel(TINY), "7.3": kernel(FULL)}
    return list(repeats(history.findings(), {name: every[name] for name in kernels}))


def test_a_followed_finding_is_run_on_each_kernel_with_its_guest(
    history: History, tmp_path: Path
) -> None:
    assert repeated_on(history, "6.1") == []  # there is no bundle yet
    finding = with_bundle(history, tmp_path / "night1")
    (work,) = repeated_on(history, "6.1", "7.3")
    assert (work.kernel, work.case.kind, work.case.name) == ("6.1", Kind.REPRO, finding.id)
    spec = spec_maker({"6.1": kernel(TINY)}, 1)(work, 0)
    assert spec["bundle"] == Path(finding.bundle).read_bytes()
    assert spec["finding"] == plain(NEW)
    with_bundle(history, tmp_path / "night1", mdadm="4.6-3")  # a guest that the plan has not
    assert repeated_on(history, "6.1") == []
    Path(finding.bundle).write_bytes(b"damaged")
    assert repeated_on(history, "6.1") == []
    with_bundle(history, tmp_path / "night1")
    history.follow_finding(NEW.signature, Status.CLOSED)
    assert repeated_on(history, "6.1") == []


def test_what_there_is_of_a_finding_is_brought_to_later_nights(
    history: History, tmp_path: Path
) -> None:
    finding = with_bundle(history, tmp_path / "night1")
    name = Path(finding.bundle).name
    (tmp_path / "night1" / "evidence").mkdir()
    page = tmp_path / "night1" / "evidence" / f"{finding.id}.html"
    page.write_text("<p>")
    for folder in (tmp_path / "night1", tmp_path / "night2"):
        followed = bring(folder, finding)
        assert (followed.bundle, followed.evidence) == (
            f"bundles/{name}", f"evidence/{finding.id}.html"
        )  # fmt: skip
        assert followed.minimised == "1 write"
        assert (folder / followed.bundle).read_bytes() == Path(finding.bundle).read_bytes()
    # What is lost is not linked to, and what a night has of its own stays.
    page.unlink()
    assert bring(tmp_path / "night3", finding).evidence == ""
    assert bring(tmp_path / "night2", finding).evidence != ""
    assert bring(tmp_path / "night3", replace(finding, bundle="")).bundle == ""


def attempt(outcome: Outcome, *, again: bool) -> Attempt:
    oracles = (Oracles("read", (), (Objection("read", "block 7 is old", ()),)),)
    red = Verdict(outcome, oracles, "an-issue" if outcome is Outcome.KNOWN else "block 7 is old")
    return Attempt(verdict=red, again=again, seconds=1.0)


@pytest.mark.parametrize(
    ("standing", "attempt", "outcome", "signatures"),
    [
        (Standing.BAD, attempt(Outcome.DIFFERS, again=True), "DIFFERS", [NEW.signature]),
        (Standing.UNTOLD, attempt(Outcome.DIFFERS, again=False), "DIFFERS",
         ["read: block N is old"]),
        (Standing.GOOD, GREEN, "AGREES", []),
    ],
)  # fmt: skip
def test_a_bundle_on_a_kernel_comes_to_what_its_runs_did(
    standing: Standing, attempt: Attempt, outcome: str, signatures: list[str], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    judged = Judgement(standing=standing, runs=SEEN_ONCE, why="why", attempt=attempt)
    monkeypatch.setattr(nightly_finding, "judge_kernel", lambda *_, **__: judged)
    found = repeated(a_unit(tmp_path))
    assert (found["outcome"], found["reason"]) == (outcome, "why")
    assert [f"{each['oracle']}: {each['sentence']}" for each in found["findings"]] == signatures


def test_a_bundle_whose_guest_was_lost_has_no_verdict(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost = Judgement(standing=Standing.UNTOLD, runs=SEEN_ONCE, why="the guest was lost")
    monkeypatch.setattr(nightly_finding, "judge_kernel", lambda *_, **__: lost)
    with pytest.raises(HarnessError, match="the guest was lost"):
        repeated(a_unit(tmp_path))


def a_unit(folder: Path, **more: object) -> Unit:
    save_bundle(folder / "sent.mdjr", replace(bundle_of(), kind=Bundled.RECORDED))
    data = (folder / "sent.mdjr").read_bytes()
    spec = {"do": "repro", "bundle": data, "finding": plain(NEW), "packed": [], **more}
    return Unit(spec, bench().image, folder)


def test_a_red_is_packed_once_with_its_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    objection = Objection("read", "block 7 is old", ())
    verdict = Verdict(Outcome.DIFFERS, (Oracles("read", (), (objection,)),), "")
    given: list[object] = []

    def pack(_folder: Path, *, without: object) -> object:
        given.append(without)
        return replace(bundle_of(), verdict=verdict)

    monkeypatch.setattr(nightly_finding, "pack", pack)
    found = {"outcome": "DIFFERS", "findings": []}
    made = packed(a_unit(tmp_path), found, lambda: "<p>")
    assert (made["bundle_of"], made["evidence"]) == ("read: block N is old", b"<p>")
    assert made["bundle"][:6] == b"\xfd7zXZ\x00"
    again = a_unit(tmp_path, packed=["read: block N is old"])
    assert packed(again, found, lambda: "<p>")["bundle"] is None
    assert given == [[], ["read: block N is old"]]
    assert packed(a_unit(tmp_path), {"outcome": "KNOWN"}, lambda: "<p>")["bundle"] is None
    assert len(given) == 2
