"""A run's folder is there whole or not at all, and nothing else in its place is touched."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.campaign import evidence as module
from harness.campaign.evidence import (
    KEPT_RUNS,
    Evidence,
    keep,
    new_evidence,
    verdict_document,
    verdict_in,
)
from harness.errors import EXIT_MISUSE, BadInput
from harness.hosts.host import CommandResult
from harness.verdict.verdict import Finding, Judgement, Verdict, verdict_of

FOLDERS = {"after", "before", "live", "predicted"}


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Give what sets the clock that names folders, in seconds since the epoch."""

    def set_to(seconds: int) -> None:
        monkeypatch.setattr(
            time, "gmtime", lambda: time.struct_time((2026, 7, 1, 12, 0, seconds, 0, 1, 0))
        )

    set_to(0)
    return set_to


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def old_run(root: Path, name: str, age_s: int) -> Path:
    """Make a finished run's folder as it was left some time ago."""
    folder = root / name
    folder.mkdir()
    (folder / "verdict.json").touch()
    then = time.time() - age_s
    os.utime(folder, (then, then))
    return folder


def a_kept_run(root: Path, name: str = "raid5") -> Path:
    with new_evidence(root, name) as evidence:
        return keep(evidence, root, name)


# While it is filled


def test_a_folder_has_a_place_for_every_kind_of_image(tmp_path: Path) -> None:
    with new_evidence(tmp_path / "made/for/it", "raid5") as evidence:
        assert names_in(evidence.folder) == FOLDERS
        assert evidence.folder.parent == tmp_path / "made/for/it"
        assert evidence.path("after/x.img") == evidence.folder / "after/x.img"


def test_two_runs_of_one_name_have_two_folders(tmp_path: Path) -> None:
    with new_evidence(tmp_path, "raid5") as one, new_evidence(tmp_path, "raid5") as two:
        assert one.folder != two.folder
        assert len(names_in(tmp_path)) == 2


def test_a_run_that_is_not_kept_leaves_nothing(tmp_path: Path) -> None:
    with new_evidence(tmp_path, "raid5") as evidence:
        evidence.write_lines("notes.txt", ["x"])
        (evidence.path("live") / "disk.img").write_bytes(b"x")
    assert names_in(tmp_path) == set()


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit])
def test_a_run_that_fails_leaves_nothing(tmp_path: Path, error: type[BaseException]) -> None:
    def fill() -> None:
        with new_evidence(tmp_path, "raid5") as evidence:
            evidence.write_lines("notes.txt", ["x"])
            raise error

    with pytest.raises(error):
        fill()
    assert names_in(tmp_path) == set()


def test_a_folder_that_was_taken_away_is_no_second_error(tmp_path: Path) -> None:
    with new_evidence(tmp_path, "raid5") as evidence:
        evidence.folder.rename(tmp_path / "elsewhere")
    assert names_in(tmp_path) == {"elsewhere"}


def test_a_place_that_cannot_be_written_is_a_misuse_with_the_next_step(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for root in (tmp_path / "file", tmp_path / "file/below"):
        with pytest.raises(BadInput) as raised, new_evidence(root, "raid5"):
            pytest.fail("there is no such folder")
        assert raised.value.exit_status == EXIT_MISUSE
        assert str(raised.value).startswith(f"{root}: results cannot be written: ")
        assert str(raised.value).endswith("; set MDJOURNAL_RESULTS")


def test_a_folder_of_somebody_else_is_a_misuse_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(**_arguments: object) -> str:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("tempfile.mkdtemp", refuse)
    with pytest.raises(BadInput, match="Permission denied"), new_evidence(tmp_path, "raid5"):
        pytest.fail("it cannot be written")


# What is written


def test_a_document_carries_its_schema(tmp_path: Path) -> None:
    with new_evidence(tmp_path, "raid5") as evidence:
        evidence.write_json("cut.json", {"cut": 7})
        assert json.loads(evidence.path("cut.json").read_text()) == {"schema": 1, "cut": 7}
        evidence.write_lines("empty.txt", [])
        assert evidence.path("empty.txt").read_text() == ""


def test_commands_are_written_as_one_would_type_them(tmp_path: Path) -> None:
    commands = [
        CommandResult("guest", ("mdadm", "--name=a b", "/dev/md0"), 1, "mdadm: no\nmore\n", 0.25),
        CommandResult("guest", ("mdadm", "--stop"), None, "", 9.0, "stack"),
    ]
    with new_evidence(tmp_path, "raid5") as evidence:
        evidence.write_commands("commands.txt", commands)
        assert evidence.path("commands.txt").read_text().splitlines() == [
            "mdadm '--name=a b' /dev/md0",
            "  # guest: status 1, 0.25 s",
            "  # mdadm: no",
            "  # more",
            "mdadm --stop",
            "  # guest: status None, 9.00 s",
            "  # stack",
        ]


def test_a_verdict_is_written_with_every_finding() -> None:
    finding = Finding("available", "not assembled", ("because",), {"ahead": 1})
    verdict = verdict_of((Judgement("available", ("tried",), (finding,)),))
    document = verdict_document(verdict)
    assert json.loads(json.dumps(document)) == {
        "verdict": "DIFFERS",
        "reason": "not assembled",
        "oracles": [
            {
                "oracle": "available",
                "compared": ["tried"],
                "findings": [
                    {
                        "oracle": "available",
                        "what": "not assembled",
                        "details": ["because"],
                        "facts": {"ahead": 1},
                    }
                ],
            }
        ],
    }
    assert verdict_in(json.loads(json.dumps(document))) == verdict
    assert verdict_document(Verdict(verdict.outcome))["oracles"] == []


# What is kept


def test_a_kept_run_has_a_name_with_its_time_and_stays(
    tmp_path: Path, clock: Callable[[int], None]
) -> None:
    with new_evidence(tmp_path, "raid5") as evidence:
        evidence.write_lines("notes.txt", ["x"])
        final = keep(evidence, tmp_path, "raid5-seed7")
        assert evidence.folder == final
        evidence.write_lines("after.txt", ["can still be written"])
    assert final == tmp_path / "20260701-120000-raid5-seed7"
    assert names_in(tmp_path) == {final.name}
    assert names_in(final) == (FOLDERS - {"live"}) | {"notes.txt", "after.txt"}


def test_a_kept_run_can_be_read_by_others(tmp_path: Path) -> None:
    assert a_kept_run(tmp_path).stat().st_mode & 0o777 == 0o755


def test_a_kept_run_stays_when_what_follows_fails(
    tmp_path: Path, clock: Callable[[int], None]
) -> None:
    def run() -> None:
        with new_evidence(tmp_path, "raid5") as evidence:
            keep(evidence, tmp_path, "raid5")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        run()
    assert names_in(tmp_path) == {"20260701-120000-raid5"}


def test_runs_of_one_second_and_one_name_are_numbered(
    tmp_path: Path, clock: Callable[[int], None]
) -> None:
    stem = "20260701-120000-raid5"
    names = [a_kept_run(tmp_path).name for _ in range(3)]
    assert names == [stem, f"{stem}-2", f"{stem}-3"]
    assert names_in(tmp_path) == set(names)


def test_a_name_that_another_run_takes_meanwhile_is_left_to_it(
    tmp_path: Path, clock: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = old_run(tmp_path, "20260701-120000-raid5", 0)
    monkeypatch.setattr(Path, "exists", lambda _path: False)
    ours = a_kept_run(tmp_path)
    monkeypatch.undo()
    assert ours.name != theirs.name
    assert (theirs / "verdict.json").exists()
    assert names_in(ours) == FOLDERS - {"live"}


# What is pruned


def test_the_oldest_runs_go(tmp_path: Path) -> None:
    old = [old_run(tmp_path, f"20260101-0000{n:02}-x", 1000 - n) for n in range(KEPT_RUNS + 3)]
    new = a_kept_run(tmp_path)
    assert names_in(tmp_path) == {new.name, *(path.name for path in old[4:])}


def test_age_is_that_of_the_folder_not_of_its_name(tmp_path: Path) -> None:
    for n in range(KEPT_RUNS):
        old_run(tmp_path, f"20260101-0000{n:02}-x", 100 + n)
    a_kept_run(tmp_path)
    assert "20260101-000000-x" in names_in(tmp_path)
    assert f"20260101-0000{KEPT_RUNS - 1}-x" not in names_in(tmp_path)


def test_the_run_that_was_just_kept_is_there_though_the_clock_went_back(tmp_path: Path) -> None:
    for n in range(KEPT_RUNS):
        old_run(tmp_path, f"20300101-0000{n:02}-x", -1_000_000)
    assert a_kept_run(tmp_path).is_dir()


def test_an_unfinished_run_is_never_pruned(tmp_path: Path) -> None:
    with new_evidence(tmp_path, "raid5") as other:
        os.utime(other.folder, (1, 1))
        for n in range(KEPT_RUNS + 3):
            old_run(tmp_path, f"20260101-0000{n:02}-x", 1000)
        a_kept_run(tmp_path)
        assert names_in(other.folder) == FOLDERS


@pytest.mark.parametrize(
    "name",
    ["notes", "2019-holidays", "1", "20260101", "20260101-holidays", "20260101-1200-x", ".git"],
)
def test_a_folder_that_is_no_run_is_never_pruned(tmp_path: Path, name: str) -> None:
    foreign = old_run(tmp_path, name, 10**8)
    for n in range(KEPT_RUNS + 3):
        old_run(tmp_path, f"20260101-0000{n:02}-x", 1000)
    a_kept_run(tmp_path)
    assert (foreign / "verdict.json").exists()
    assert len(names_in(tmp_path)) == KEPT_RUNS + 1


def test_files_and_links_are_never_pruned(tmp_path: Path) -> None:
    root, elsewhere = tmp_path / "results", tmp_path / "elsewhere"
    root.mkdir()
    elsewhere.mkdir()
    precious = old_run(elsewhere, "20200101-000000-x", 10**8)
    (root / "20200101-000000-x").symlink_to(precious)
    (root / "20200101-000001-list.txt").touch()
    for n in range(KEPT_RUNS + 3):
        old_run(root, f"20260101-0000{n:02}-x", 1000)
    a_kept_run(root)
    assert (precious / "verdict.json").exists()
    assert (root / "20200101-000001-list.txt").exists()


def test_a_run_that_another_one_prunes_meanwhile_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for n in range(KEPT_RUNS + 1):
        old_run(tmp_path, f"20260101-0000{n:02}-x", 1000)
    gone = old_run(tmp_path, "20200101-000000-x", 10**8)
    real = Path.stat

    def stat(path: Path, *, follow_symlinks: bool = True) -> os.stat_result:
        result = real(path, follow_symlinks=follow_symlinks)
        if path == gone:
            shutil.rmtree(gone)  # by the other run, right after it was seen
        return result

    monkeypatch.setattr(Path, "stat", stat)
    assert a_kept_run(tmp_path).is_dir()


def test_an_evidence_of_a_given_folder_is_the_callers_own(tmp_path: Path) -> None:
    evidence = Evidence(tmp_path)
    assert names_in(tmp_path) == FOLDERS
    assert evidence.folder == tmp_path
    assert module.SCHEMA == 1
