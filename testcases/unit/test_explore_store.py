"""What an exploration writes down is there again, whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.campaign.exploring.alone import alone_in
from harness.campaign.exploring.store import (
    ChildRecord,
    ClassRecord,
    RecordingRecord,
    StateRecord,
    opened_store,
)
from harness.errors import BadInput
from harness.verdict.verdict import Finding, Judgement, Outcome, Verdict, verdict_of

GREEN = verdict_of((Judgement("alive", ("it is",)),))
RED = verdict_of(
    (
        Judgement("alive", ("it is",)),
        Judgement("durability", ("all",), (Finding("durability", "gone", ("a", "b"), {"n": 1}),)),
    )
)


def state(number: int, verdict: Verdict = GREEN, identity: bytes = b"a") -> StateRecord:
    return StateRecord(
        number=number, recording=0, cut=100 + number, lost_writes=1, torn_writes=0,
        identity=identity, verdict=verdict,
    )  # fmt: skip


def test_states_and_classes_come_back(tmp_path: Path) -> None:
    with opened_store(tmp_path / "s") as store:
        store.add_states([state(0), state(1, RED, b"b"), state(2)])
        record = ClassRecord(identity=b"b", leader=1, verdict=RED, seconds=0.5)
        store.add_class(record, complete=True)
        store.note({"finished": "no"})
        store.note({"finished": "yes"})
    with opened_store(tmp_path / "s") as store:
        assert store.known_states() == {0, 1, 2}
        assert store.known_classes() == {b"b"}
        assert [record.identity for record in store.state_records()] == [b"a", b"b", b"a"]
        assert list(store.state_records(red=True)) == [state(1, RED, b"b")]
        (record,) = store.class_records()
        assert (record.verdict, record.leader, record.seconds) == (RED, 1, 0.5)
        assert record.verdict.outcome is Outcome.DIFFERS
        assert (store.fact("finished"), store.fact("other")) == ("yes", None)


def test_a_state_that_is_written_twice_counts_once(tmp_path: Path) -> None:
    with opened_store(tmp_path / "s") as store:
        store.add_states([state(0)])
        store.add_states([state(0, RED), state(1)])
        assert store.known_states() == {0, 1}
        assert [record.number for record in store.state_records(red=True)] == [0]


def test_a_class_is_known_once_the_crash_states_of_its_recovery_are_there(tmp_path: Path) -> None:
    record = ClassRecord(identity=b"a", leader=0, verdict=GREEN, seconds=0.1)
    child = ChildRecord(parent=0, number=3, cut=9, identity=b"c", verdict=RED)
    with opened_store(tmp_path / "s") as store:
        store.add_class(record, complete=False)
        assert store.known_classes() == set(), "killed here, it is recovered again"
        store.add_children(b"a", [child])
        assert store.known_classes() == set(), "and so while they are not recovered themselves"
        of_child = ClassRecord(identity=b"c", leader=0, child=3, verdict=GREEN, seconds=0.1)
        store.add_class(of_child, complete=True)
        assert store.known_classes() == {b"a", b"c"}
        assert list(store.child_records()) == [child]
        assert list(store.class_records()) == [record, of_child]


def test_a_damaged_file_is_told_with_its_place(tmp_path: Path) -> None:
    (tmp_path / "s").write_text("no database, and long enough to be looked at as one" * 20)
    told = f"{tmp_path}/s: .*; remove {tmp_path} to begin anew"
    with pytest.raises(BadInput, match=told), opened_store(tmp_path / "s"):
        pass


def test_the_same_exploration_is_not_begun_twice(tmp_path: Path) -> None:
    with alone_in(tmp_path / "a"):
        with pytest.raises(BadInput, match="is going on"), alone_in(tmp_path / "a"):
            pass
        with alone_in(tmp_path / "b"):
            pass
    with alone_in(tmp_path / "a"):
        pass
    (tmp_path / "file").touch()
    with pytest.raises(BadInput, match="must be a folder"), alone_in(tmp_path / "file" / "a"):
        pass


def test_recordings_come_back_in_order(tmp_path: Path) -> None:
    records = [
        RecordingRecord(number=n, name=f"seed {n}", events=n, writes=1, verdict=RED) for n in (1, 0)
    ]
    with opened_store(tmp_path / "s") as store:
        for record in records:
            store.add_recording(record)
        assert store.recordings() == records[::-1]
