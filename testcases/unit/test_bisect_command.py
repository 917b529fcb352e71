"""`mdjournal bisect`: what git and a person are told, with stand-ins for kernels and guests."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from harness.campaign.reproducing.bundle import Bundle, Kind, Runs
from harness.campaign.reproducing.bundle_json import save_bundle
from harness.campaign.reproducing.judging import Judgement, Standing
from harness.campaign.reproducing.running import Bench
from harness.errors import BadInput, Unavailable
from kvm_images.kernels import CATALOGUE, OWN_BUILD, Kernel
from testcases.unit.judged_bundles import bench, bundle_of
from tools import bisect, cli
from tools.bisect import packaged, summary_lines

GOOD, BAD, UNTOLD = Standing.GOOD, Standing.BAD, Standing.UNTOLD
Given = Callable[..., None]


@pytest.fixture
def bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A bundle in the folder where the commands are run, which is no repository."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    save_bundle(tmp_path / "x.mdjr", replace(bundle_of(), kind=Kind.RECORDED))
    return "x.mdjr"


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> Given:
    """Give kernels and what they are judged to be, by name; or what is raised instead."""

    def give(version: str = "", **outcomes: Standing | BaseException) -> None:
        chosen: list[str] = []

        def bench_of(_bundle: Bundle, name: str | None, *_: object, **__: object) -> object:
            chosen.append(name or "own")
            if isinstance(outcome := outcomes[chosen[-1]], BadInput | Unavailable):
                raise outcome
            return kernel(chosen[-1], version or chosen[-1]), bench()

        def judge(_bundle: Bundle, _bench: Bench, **_: object) -> Judgement:
            outcome = outcomes[chosen[-1]]
            if isinstance(outcome, BaseException):
                raise outcome
            return Judgement(standing=outcome, runs=Runs(3, int(outcome is BAD)), why="for a test")

        monkeypatch.setattr(bisect, "bench_of", bench_of)
        monkeypatch.setattr(bisect, "judge_kernel", judge)

    return give


def kernel(name: str, version: str) -> Kernel:
    nowhere = Path("nowhere")
    return Kernel(name=name, release="6.1.0-own", version=version, image=nowhere,
                  modules=nowhere, identity="", suite="")  # fmt: skip


def start_bisecting() -> None:
    if shutil.which("git") is None:
        pytest.skip("no git here")
    who = ["-c", "user.name=a test", "-c", "user.email=test@test.invalid"]
    for words in (["init"], ["commit", "--allow-empty", "--message", "all"], ["bisect", "start"]):
        subprocess.run(["git", *who, *words], check=True, capture_output=True)


@pytest.mark.parametrize(("standing", "status"), [(GOOD, 0), (BAD, 1), (UNTOLD, 125)])
def test_git_is_told_by_the_exit_status(
    bundle: str, given: Given, standing: Standing, status: int, capsys: pytest.CaptureFixture[str]
) -> None:
    given(own=standing)
    assert cli.run(["bisect", "run", bundle]) == status
    assert capsys.readouterr().out.startswith(standing.value)


def test_an_own_build_is_called_by_its_release(
    bundle: str, given: Given, capsys: pytest.CaptureFixture[str]
) -> None:
    given(OWN_BUILD, own=GOOD)
    assert cli.run(["bisect", "run", bundle]) == 0
    assert "6.1.0-own" in capsys.readouterr().out


@pytest.mark.parametrize("build", [(), ("--build", "true")], ids=["built before", "built here"])
def test_a_kernel_that_cannot_be_used_is_skipped(
    bundle: str, given: Given, build: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    given(own=BadInput("bzImage: no bzImage with a version in its header\nnext: give one"))
    assert cli.run(["bisect", "run", bundle, *build]) == 125
    assert capsys.readouterr().out.split()[:2] == ["skip", "bzImage:"]


def test_what_does_not_build_is_skipped_with_the_end_of_what_was_said(
    bundle: str, given: Given, capsys: pytest.CaptureFixture[str]
) -> None:
    given(own=BAD)
    command = "seq 100; echo no rule >&2; exit 2"
    assert cli.run(["bisect", "run", bundle, "--build", command]) == 125
    said = capsys.readouterr()
    assert "--build ended with 2" in said.out
    assert said.err.split()[-2:] == ["no", "rule"]
    assert said.err.startswith("           82\n"), "the last twenty lines"


def test_what_builds_is_judged(bundle: str, given: Given) -> None:
    given(own=BAD)
    assert cli.run(["bisect", "run", bundle, "--build", "touch built"]) == 1
    assert Path("built").exists()


def test_a_folder_without_a_module_is_skipped(bundle: str) -> None:
    Path("empty").mkdir()
    assert cli.run(["bisect", "run", bundle, "--module-dir", "empty"]) == 125


MISUSE = [["x.mdjr", "--no-such-option"], ["none.mdjr"], ["x.mdjr", "--confidence", "1"],
          ["damaged.mdjr"], []]  # fmt: skip


@pytest.mark.parametrize("arguments", MISUSE, ids=" ".join)
def test_misuse_ends_a_bisection_instead_of_blaming_a_commit(
    bundle: str, given: Given, arguments: list[str]
) -> None:
    given(own=BAD)
    Path("damaged.mdjr").write_bytes(b"none")
    assert cli.run(["bisect", "run", *arguments]) == 2
    start_bisecting()
    assert cli.run(["bisect", "run", *arguments]) == 128


def test_a_fault_of_the_harness_is_no_verdict(
    bundle: str, given: Given, capsys: pytest.CaptureFixture[str]
) -> None:
    given(own=ZeroDivisionError("a fault of ours"))
    assert cli.run(["bisect", "run", bundle]) == 128
    assert "a fault of ours" in capsys.readouterr().err


def test_an_interruption_stays_one(bundle: str, given: Given) -> None:
    start_bisecting()
    given(own=KeyboardInterrupt())
    assert cli.run(["bisect", "run", bundle]) == 130


def test_a_bundle_that_does_not_say_why_it_is_red_judges_nothing(tmp_path: Path) -> None:
    path = tmp_path / "import.mdjr"
    imported = replace(bundle_of(None, Runs()), kind=Kind.IMPORTED, there=())
    with pytest.raises(BadInput, match="red for"):
        bisect._with_reason(imported, path)


def test_kernels_are_walked_and_the_first_bad_one_is_named(
    bundle: str, given: Given, capsys: pytest.CaptureFixture[str]
) -> None:
    given(**{"5.10": GOOD, "6.1": UNTOLD, "6.12": BAD})
    names = [word for name in ("5.10", "6.1", "6.12") for word in ("--kernel", name)]
    assert cli.run(["bisect", "kernels", bundle, *names]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[:3]] == ["good", "cannot", "bad"]
    assert lines[3:5] == ["first bad  6.12", "last good  5.10"]


def test_a_kernel_that_cannot_be_had_does_not_end_the_walk(
    bundle: str, given: Given, capsys: pytest.CaptureFixture[str]
) -> None:
    given(**{"5.10": Unavailable("no network"), "6.1": BAD})
    names = ["--kernel", "5.10", "--kernel", "6.1", "--json"]
    assert cli.run(["bisect", "kernels", bundle, *names]) == 0
    said = capsys.readouterr()
    assert "5.10 cannot be had: no network" in said.err
    document = json.loads(said.out)
    assert document["schema"] == 1
    assert [(each["name"], each["standing"], each["runs"], each["red"])
            for each in document["kernels"]] == [("6.1", "bad", 3, 1)]  # fmt: skip


def test_a_walk_that_could_judge_none_says_so_by_its_status(bundle: str, given: Given) -> None:
    given(**{"6.1": UNTOLD})
    assert cli.run(["bisect", "kernels", bundle, "--kernel", "6.1"]) == 3
    assert cli.run(["bisect", "kernels", bundle, "--kernel", "none"]) == 2


def test_packaged_kernels_come_oldest_first_and_once() -> None:
    names = packaged()
    assert names[:3] == ["5.10", "6.1", "6.12"]
    assert not any(CATALOGUE[name].moving for name in names)


SUMMARIES = [
    ([("5.10", GOOD), ("6.1", GOOD)], ["first bad  none of them"]),
    ([("5.10", UNTOLD)], ["first bad  none of them"]),
    ([], ["first bad  none of them"]),
    ([("5.10", BAD), ("6.1", BAD)], ["first bad  5.10", "last good  none before it"]),
    ([("5.10", GOOD), ("6.1", BAD)], ["first bad  6.1", "last good  5.10"]),
    ([("5.10", GOOD), ("6.1", UNTOLD), ("6.12", BAD)],
     ["first bad  6.12", "last good  5.10", "not told   6.1 between them"]),
    ([("5.10", GOOD), ("6.1", BAD), ("6.12", GOOD), ("7.2", GOOD)],
     ["first bad  6.1", "last good  5.10", "good again 6.12, 7.2"]),
    ([("5.10", BAD), ("6.1", GOOD)], ["first bad  5.10", "last good  none before it",
                                      "good again 6.1"]),
]  # fmt: skip


@pytest.mark.parametrize(("walked", "lines"), SUMMARIES)
def test_the_summary_names_the_first_bad_and_the_last_good(
    walked: list[tuple[str, Standing]], lines: list[str]
) -> None:
    assert summary_lines(walked) == lines
