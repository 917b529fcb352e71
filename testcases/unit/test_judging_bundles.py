"""When a kernel is good, bad, or cannot be told: runs of a bundle that come to what is said."""

from __future__ import annotations

import pytest

from harness.campaign.reproducing.bundle import Runs
from harness.campaign.reproducing.certainty import greens_wanted
from harness.campaign.reproducing.judging import Standing, first_line, judge_kernel, measured
from harness.campaign.reproducing.running import Attempt
from harness.errors import BadInput, GuestLost, HarnessError
from harness.verdict.journal_truth import KERNEL_SAID
from harness.verdict.reason import Reason, reason_of
from harness.verdict.verdict import Finding
from testcases.unit.judged_bundles import (
    FAILED,
    GREEN,
    KNOWN,
    OTHER,
    RED,
    TAIL,
    bench,
    bundle_of,
    runs_come_to,
)

CONFIDENCE = 0.99


def test_red_at_once_is_bad_after_one_run(monkeypatch: pytest.MonkeyPatch) -> None:
    runner = runs_come_to(monkeypatch, RED)
    judged = judge_kernel(bundle_of(), bench(), confidence=CONFIDENCE, most_runs=200)
    assert (judged.standing, judged.runs, runner.made) == (Standing.BAD, Runs(1, 1), 1)
    assert judged.attempt is RED


def test_red_behind_greens_is_bad_and_says_in_which_run(monkeypatch: pytest.MonkeyPatch) -> None:
    runner = runs_come_to(monkeypatch, GREEN, GREEN, GREEN, RED)
    judged = judge_kernel(bundle_of(), bench(), confidence=CONFIDENCE, most_runs=200)
    assert (judged.standing, judged.runs, runner.made) == (Standing.BAD, Runs(4, 1), 4)
    assert "in run 4" in judged.why
    assert judged.seconds == pytest.approx(2.0)


@pytest.mark.parametrize("runs", [Runs(1, 1), Runs(10, 10), Runs(20, 5)], ids=str)
def test_never_red_is_good_after_as_many_runs_as_it_takes(
    monkeypatch: pytest.MonkeyPatch, runs: Runs
) -> None:
    runner, said = runs_come_to(monkeypatch, GREEN), list[str]()
    judged = judge_kernel(
        bundle_of(runs=runs), bench(said), confidence=CONFIDENCE, most_runs=200
    )  # fmt: skip
    assert judged.standing is Standing.GOOD
    assert runner.made == judged.runs.made == greens_wanted(runs, CONFIDENCE)
    assert len(said) == runner.made
    assert f"green in {runner.made} runs" in judged.why


def test_more_confidence_takes_more_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    for confidence in (0.9, 0.99, 0.999):
        runner = runs_come_to(monkeypatch, GREEN)
        judge_kernel(bundle_of(), bench(), confidence=confidence, most_runs=5000)
        made.append(runner.made)
    assert made == sorted(set(made))


def test_green_as_often_as_may_be_and_not_often_enough_cannot_be_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    runner = runs_come_to(monkeypatch, GREEN)
    judged = judge_kernel(bundle_of(), bench(), confidence=CONFIDENCE, most_runs=13)
    assert (judged.standing, runner.made) == (Standing.UNTOLD, 13)
    assert "chance of 1.1%" in judged.why or "chance of 1.0%" in judged.why


@pytest.mark.parametrize(("other", "made"), [(OTHER, 4), (KNOWN, 4), (FAILED, 2)],
                         ids=["red", "known", "failed"])  # fmt: skip
def test_anything_else_than_green_or_the_red_cannot_be_told(
    monkeypatch: pytest.MonkeyPatch, other: Attempt, made: int
) -> None:
    runner = runs_come_to(monkeypatch, GREEN, other)
    judged = judge_kernel(bundle_of(), bench(), confidence=CONFIDENCE, most_runs=200)
    assert (judged.standing, judged.runs, runner.made) == (Standing.UNTOLD, Runs(made, 0), made)
    assert judged.attempt is other


def test_the_red_may_come_behind_one_for_something_else(monkeypatch: pytest.MonkeyPatch) -> None:
    runner = runs_come_to(monkeypatch, OTHER, GREEN, OTHER, RED)
    judged = judge_kernel(bundle_of(), bench(), confidence=CONFIDENCE, most_runs=200)
    assert (judged.standing, judged.runs, runner.made) == (Standing.BAD, Runs(4, 1), 4)


def test_one_red_for_something_else_is_not_made_good_by_greens(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    runs_come_to(monkeypatch, OTHER, GREEN)
    judged = judge_kernel(bundle_of(), bench(), confidence=CONFIDENCE, most_runs=200)
    assert (judged.standing, judged.attempt) == (Standing.UNTOLD, OTHER)


def test_a_guest_that_is_lost_cannot_be_told_whatever_came_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lost = GuestLost("guest: QEMU ended while booting; console:\n  a line\n  another")
    runs_come_to(monkeypatch, GREEN, lost)
    judged = judge_kernel(bundle_of(), bench(), confidence=CONFIDENCE, most_runs=200)
    assert judged.standing is Standing.UNTOLD
    assert judged.why == "guest: QEMU ended while booting; console"
    assert judged.attempt is None


def test_misuse_is_no_standing(monkeypatch: pytest.MonkeyPatch) -> None:
    runs_come_to(monkeypatch, BadInput("the bundle's cut is not within its workload"))
    with pytest.raises(BadInput):
        judge_kernel(bundle_of(), bench(), confidence=CONFIDENCE, most_runs=200)


def test_a_bundle_that_nobody_saw_red_is_run_a_few_times(monkeypatch: pytest.MonkeyPatch) -> None:
    runner = runs_come_to(monkeypatch, GREEN)
    judged = judge_kernel(
        bundle_of(None, Runs()), bench(), confidence=CONFIDENCE, most_runs=200
    )  # fmt: skip
    assert (judged.standing, runner.made) == (Standing.GOOD, 5)
    assert "chance" not in judged.why


def test_how_often_it_is_red_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    runs_come_to(monkeypatch, RED, GREEN, RED, OTHER, GREEN)
    found = measured(bundle_of(), bench(), runs=5)
    assert found.runs == Runs(5, 2)
    assert found.seconds == pytest.approx(2.0)


def test_an_error_is_told_in_a_line() -> None:
    assert first_line(HarnessError("one\ntwo")) == "one"
    assert first_line(HarnessError("")) == ""


def test_what_the_kernel_counts_at_recovery_needs_no_new_recording() -> None:
    """To write anew and look at 300 states takes a hundred times as long as to recover one."""
    count = Reason("journal truth", f'{KERNEL_SAID} "recovering N data-only stripes"')
    logged = Reason("journal truth", "meta block N: data of array sector N is not what was written")
    assert not bundle_of(count).records
    assert bundle_of(logged).records
    assert not bundle_of(TAIL).records


def test_a_disk_is_the_same_by_its_file_and_by_its_name() -> None:
    """What `crash` found, in files, is found again by `repro run`, in memory."""
    by_file, by_name = (
        Finding("differential", f"{disk}: journal_tail is {tail}, the model predicted 8")
        for disk, tail in (("journal.img", 16), ("journal", 24))
    )
    assert reason_of(by_file, ()) == reason_of(by_name, ()) == TAIL
    member = Finding("differential", "member 0 (member0.img), sector 8 of its data area")
    assert reason_of(member, ()).sentence == "member N (memberN), sector N of its data area"


def test_an_oops_is_the_same_reason_whatever_the_folder_of_its_console() -> None:
    said = (
        "step 12, read back: guest: its kernel oopsed (kernel BUG at drivers/md/raid5-cache.c:453!"
        " in r5c_make_stripe_write_out) while doing 'read_stamps'; console (/tmp/{}/live/c-0.log):"
    )
    one, other = (reason_of(Finding("alive", said.format(each)), ()) for each in ("a1", "b2"))
    assert one == other
    assert one.sentence == (
        "step N, read back: guest: its kernel oopsed (kernel BUG at drivers/md/raid5-cache.c:453!"
        " in r5c_make_stripe_write_out) while doing 'read_stamps'"
    )
