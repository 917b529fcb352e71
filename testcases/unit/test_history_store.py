"""The history's file: written as nights go, killed at any time, read meanwhile, of any version."""

from __future__ import annotations

import math
import signal
import sqlite3
import subprocess
import sys
import threading
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from harness.campaign.history.records import FindingSeen, Status
from harness.campaign.history.store import History, opened_history
from harness.errors import BadInput, Unavailable
from harness.verdict.reason import Reason
from harness.verdict.verdict import Outcome
from testcases.unit.made_nights import (
    A_DAY_S,
    EVENING,
    EXPLORED,
    KERNEL,
    KNOWN,
    NEW,
    OTHER_KERNEL,
    STORY,
    UPGRADED,
    unit,
)

ROOT = Path(__file__).resolve().parents[2]


def test_what_was_written_down_is_read_as_it_was(tmp_path: Path) -> None:
    results = [
        unit(EXPLORED, Outcome.KNOWN, part="states 0-99", states=100, findings=(KNOWN,)),
        unit(EXPLORED, Outcome.DIFFERS, part="states 100-199", findings=(KNOWN, NEW)),
        unit(STORY, Outcome.HARNESS_FAILED, kernel=OTHER_KERNEL),
    ]
    with opened_history(tmp_path / "of" / "history.sqlite") as store:
        run = store.begin_run(
            "one", command="nightly", plan_hash="h", budget_s=60.0, out="/out", began=EVENING
        )
        for result in results:
            store.add_unit(run, result)
        ended = store.end_run(run, EVENING + 60)
    with opened_history(tmp_path / "of" / "history.sqlite", create=False) as store:
        assert store.runs() == [ended]
        assert ended == replace(run, ended=EVENING + 60)
        assert [result for _, result in store.units([ended])] == results
        assert store.units_done(run) == {result.key for result in results}


def test_a_cell_is_all_units_of_a_case_on_a_kernel(tmp_path: Path) -> None:
    with opened_history(tmp_path / "h") as store:
        run = store.begin_run()
        for part, outcome, seconds, states in (
            ("a", Outcome.AGREES, 30.0, 100), ("b", Outcome.KNOWN, 10.0, 100),
            ("c", Outcome.AGREES, 20.0, 100), ("d", Outcome.DIFFERS, 900.0, 1),
            ("e", Outcome.HARNESS_FAILED, 1.0, 0),
        ):  # fmt: skip
            store.add_unit(run, unit(EXPLORED, outcome, part=part, seconds=seconds, states=states))
        store.add_unit(run, unit(STORY))
        explored, story = store.cells([run])
    assert (explored.case, story.case) == (EXPLORED, STORY)
    assert explored.counts == {
        Outcome.AGREES: 2, Outcome.KNOWN: 1, Outcome.DIFFERS: 1, Outcome.HARNESS_FAILED: 1,
    }  # fmt: skip
    assert (explored.states, explored.seconds) == (301, 961.0)
    assert explored.pace_s == pytest.approx(0.2), "the median of what agrees or is known"
    assert explored.outcome is Outcome.DIFFERS
    assert (explored.judged, explored.red) == (4, 2)
    assert story.pace_s == 10.0, "of no states: the time of the whole"


def test_a_unit_that_was_repeated_takes_the_place_of_its_former_result(tmp_path: Path) -> None:
    with opened_history(tmp_path / "h") as store:
        run = store.begin_run()
        store.add_unit(run, unit(STORY, Outcome.DIFFERS, findings=(NEW,)))
        store.add_unit(run, unit(STORY))
        assert [result for _, result in store.units([run])] == [unit(STORY)]
        assert store.cells([run])[0].counts == {Outcome.AGREES: 1}
        assert store.findings(run) == []
        assert [each.signature for each in store.findings()] == [NEW.signature], "it was met"


def test_results_are_written_all_or_none(tmp_path: Path) -> None:
    with opened_history(tmp_path / "h") as store:
        run = store.begin_run()
        bad = unit(part="seed 2", seconds=math.nan)  # which SQLite takes for NULL
        with pytest.raises(sqlite3.IntegrityError):
            store.add_units(run, [unit(), bad])
        assert store.units_done(run) == set()
        assert store.cells([run]) == []


def test_a_unit_of_no_run_is_refused(tmp_path: Path) -> None:
    with opened_history(tmp_path / "h") as store:
        run = store.begin_run()
        with pytest.raises(sqlite3.IntegrityError, match="FOREIGN KEY"):
            store.add_unit(replace(run, number=7), unit())


# Runs and their names


def test_a_night_without_a_name_is_called_by_its_day(tmp_path: Path) -> None:
    with opened_history(tmp_path / "h") as store:
        names = [store.begin_run(began=EVENING + hours * 3600).name for hours in (0, 1, 1.5, 2)]
    assert names == ["2026-11-28", "2026-11-28.2", "2026-11-28.3", "2026-11-29"]


@pytest.mark.parametrize("name", ["7", "last", "last-2"])
def test_a_name_that_means_something_else_is_refused(tmp_path: Path, name: str) -> None:
    with opened_history(tmp_path / "h") as store, pytest.raises(BadInput, match="no name"):
        store.begin_run(name)


def test_a_name_is_taken_once(tmp_path: Path) -> None:
    with opened_history(tmp_path / "h") as store:
        store.begin_run("one")
        with pytest.raises(BadInput, match="one: there is a run of this name"):
            store.begin_run("one")


def nights(store: History, *names: str) -> None:
    for number, name in enumerate(names):
        store.end_run(store.begin_run(name, began=EVENING + number * A_DAY_S))


@pytest.mark.parametrize(
    ("text", "name"),
    [("b", "b"), ("1", "a"), ("3", "c"), ("last", "c"), ("last-1", "b"), ("last-2", "a")],
)
def test_a_run_is_found_by_name_number_and_age(tmp_path: Path, text: str, name: str) -> None:
    with opened_history(tmp_path / "h") as store:
        nights(store, "a", "b", "c")
        assert store.find_run(text).name == name


@pytest.mark.parametrize("text", ["d", "4", "0", "last-3", "last-", "LAST"])
def test_a_run_that_is_not_there_is_told_with_those_that_are(tmp_path: Path, text: str) -> None:
    with opened_history(tmp_path / "h") as store:
        nights(store, "a", "b", "c")
        with pytest.raises(BadInput) as told:
            store.find_run(text)
    assert str(told.value).startswith(f"{text}: ")
    assert "a (1), b (2), c (3)" in str(told.value)
    assert str(told.value).count("\n") == 1


def test_the_last_good_night_ended_and_nothing_differs_in_it(tmp_path: Path) -> None:
    with opened_history(tmp_path / "h") as store:
        outcomes = {
            "good": Outcome.AGREES, "known": Outcome.KNOWN, "red": Outcome.DIFFERS,
            "lost": Outcome.HARNESS_FAILED, "killed": Outcome.AGREES, "now": Outcome.AGREES,
        }  # fmt: skip
        runs = {}
        for name, outcome in outcomes.items():
            runs[name] = store.begin_run(name)
            store.add_unit(runs[name], unit(outcome=outcome))
            if name != "killed":
                runs[name] = store.end_run(runs[name])
        assert store.run_before(runs["now"]) == runs["lost"]
        assert store.run_before(runs["now"], good=True) == runs["known"]
        assert store.run_before(runs["good"]) is None
        assert store.window(runs["red"], 2) == [runs["known"], runs["red"]]


def test_a_night_that_did_not_end_is_found_by_its_plan(tmp_path: Path) -> None:
    with opened_history(tmp_path / "h") as store:
        store.end_run(store.begin_run(plan_hash="plan"))
        assert store.unfinished("plan") is None
        begun = store.begin_run(plan_hash="plan")
        store.begin_run(plan_hash="another plan")
        assert store.unfinished("plan") == begun


def test_a_baseline_is_a_run_of_a_name(tmp_path: Path) -> None:
    with opened_history(tmp_path / "h") as store:
        nights(store, "a", "b")
        assert store.baseline() is None
        store.set_baseline(store.find_run("a"))
        store.set_baseline(store.find_run("a"), "release")
        store.set_baseline(store.find_run("b"))
        assert {name: run.name for name, run in store.baselines().items()} == {
            "default": "b", "release": "a",
        }  # fmt: skip


def test_a_full_disk_is_told_and_what_was_written_is_there(tmp_path: Path) -> None:
    path = tmp_path / "h"
    with opened_history(path) as store:
        run = store.begin_run("night")
        store.add_unit(run, unit(part="1"))

    def fill() -> None:
        with opened_history(path) as store:
            (pages,) = store._connection.execute("PRAGMA page_count").fetchone()
            store._connection.execute(f"PRAGMA max_page_count = {pages}")
            for number in range(2, 2000):
                store.add_unit(run, unit(part=str(number)))

    with pytest.raises(Unavailable, match="disk is full; free some space, or name"):
        fill()
    with opened_history(path) as store:
        assert "1" in {result.part for _, result in store.units([run])}


# Findings


def test_a_finding_is_followed_over_nights_and_kernels(tmp_path: Path) -> None:
    with opened_history(tmp_path / "h") as store:
        for name, kernel in (("a", KERNEL), ("b", UPGRADED), ("c", OTHER_KERNEL)):
            run = store.begin_run(name)
            found = (NEW, replace(KNOWN, count=5)) if name != "b" else (KNOWN,)
            store.add_unit(run, unit(STORY, Outcome.DIFFERS, kernel=kernel, findings=found))
        new, known = store.findings()
        (only,) = store.findings(store.find_run("b"))
        assert [each.count for each in store.findings(run)] == [1, 5]
    assert (new.signature, known.signature) == (
        "redundancy: P of stripe N is not its parity", "tail-before-member-flush"
    )  # fmt: skip
    assert (new.first_run.name, new.last_run.name) == ("a", "c")
    assert (known.first_kernel, known.last_kernel) == (KERNEL, OTHER_KERNEL)
    assert only.signature == known.signature


def test_a_finding_that_was_done_with_is_open_again_when_it_is_back(tmp_path: Path) -> None:
    with opened_history(tmp_path / "h") as store:
        run = store.begin_run()
        store.add_unit(run, unit(STORY, Outcome.DIFFERS, findings=(NEW,)))
        store.follow_finding(NEW.signature, Status.PACKED, bundle="/bundle.mdjr")
        store.add_unit(run, unit(STORY, Outcome.DIFFERS, part="2", findings=(NEW,)))
        assert store.findings()[0].status is Status.PACKED
        store.follow_finding(NEW.signature, Status.CLOSED)
        store.add_unit(run, unit(STORY, Outcome.DIFFERS, part="3", findings=(NEW,)))
        (finding,) = store.findings()
        assert (finding.status, finding.bundle) == (Status.OPEN, "/bundle.mdjr")
        with pytest.raises(BadInput, match="no unit has met"):
            store.follow_finding("no such thing", Status.CLOSED)


def test_what_is_known_of_a_finding_is_back_with_it(tmp_path: Path) -> None:
    with opened_history(tmp_path / "h") as store:
        run = store.begin_run()
        store.add_unit(run, unit(STORY, Outcome.DIFFERS, findings=(NEW, KNOWN)))
        store.follow_finding(NEW.signature, Status.PACKED, bundle="/b.mdjr", smallest="1 write")
        store.follow_finding(NEW.signature, Status.CLOSED, note="mended")
        closed, known = store.findings()
        assert (closed.smallest, closed.note, closed.is_followed) == ("1 write", "mended", False)
        assert not known.is_followed
        store.add_unit(run, unit(STORY, Outcome.DIFFERS, part="2", findings=(NEW,)))
        back = store.find_finding(closed.id[:5])
        assert (back.status, back.smallest, back.note) == (Status.PACKED, "1 write", "")
        assert back.is_followed
        assert store.find_finding(KNOWN.signature).known_as == KNOWN.known_as
        with pytest.raises(BadInput, match="no finding is called so"):
            store.find_finding("nothing")
        with pytest.raises(BadInput, match="no finding is called so"):
            store.find_finding("")


def test_a_finding_is_called_as_its_reason_is() -> None:
    for reason in (Reason("alive", "it hangs"), Reason("alive", "", "stop-hangs")):
        assert FindingSeen.of_reason(reason).signature == str(reason)


# Killed, and read meanwhile

WRITER = """
import itertools, sys
from pathlib import Path
from harness.campaign.history.store import opened_history
from testcases.unit.made_nights import NEW, unit
from harness.verdict.verdict import Outcome
with opened_history(Path(sys.argv[1])) as store:
    run = store.begin_run("killed")
    for number in itertools.count():
        store.add_unit(run, unit(outcome=Outcome.DIFFERS, part=str(number), findings=(NEW,)))
        print(number, flush=True)
"""


@pytest.mark.parametrize("after", [0, 1, 25])
def test_a_writer_that_is_killed_leaves_each_unit_whole_or_not_at_all(
    tmp_path: Path, after: int
) -> None:
    path = tmp_path / "history.sqlite"
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as writer:
        assert writer.stdout is not None
        for line in writer.stdout:
            said = int(line)
            if said == after:
                break
        writer.send_signal(signal.SIGKILL)
        said = max([said, *map(int, writer.stdout.read().split())])
    assert writer.returncode == -signal.SIGKILL
    with opened_history(path, create=False) as store:
        run = store.find_run("killed")
        assert run.ended is None
        results = [result for _, result in store.units([run])]
        # The one behind what it said may have been written as well.
        assert len(results) in (said + 1, said + 2)
        assert all(result.findings == (NEW,) for result in results)
        (cell,) = store.cells([run])
        assert cell.counts == Counter({Outcome.DIFFERS: len(results)})
        assert store.findings(run)[0].count == len(results)
        store.add_unit(run, unit(part="gone on with"))
    with sqlite3.connect(path) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
    connection.close()


def test_readers_wait_for_no_writer_and_see_one_moment(tmp_path: Path) -> None:
    path = tmp_path / "h"
    with opened_history(path) as writing, opened_history(path, create=False) as reading:
        run = writing.begin_run("one")
        with reading.snapshot():
            assert reading.cells([run]) == []
            writing.add_unit(run, unit())
            assert reading.cells([run]) == []
            assert reading.units_done(run) == set()
        assert len(reading.cells([run])) == 1


def test_several_writers_wait_for_each_other(tmp_path: Path) -> None:
    path = tmp_path / "h"
    with opened_history(path) as store:
        run = store.begin_run()

        def write(name: str) -> None:
            with opened_history(path) as mine:
                for number in range(20):
                    mine.add_unit(run, unit(part=f"{name} {number}"))

        threads = [threading.Thread(target=write, args=(name,)) for name in "abcd"]
        for thread in threads:
            thread.start()
        for number in range(20):
            store.add_unit(run, unit(part=f"own {number}"))
        for thread in threads:
            thread.join()
        assert store.cells([run])[0].counts == {Outcome.AGREES: 100}
