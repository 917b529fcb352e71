"""What an exploration writes down is there again, whole or not at all."""

from __future__ import annotations

from pathlib import Path

from harness.campaign.explore_store import ClassRecord, StateRecord, opened_store
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
        number=number, cut=100 + number, lost_writes=1, torn_writes=0, identity=identity,
        verdict=verdict,
    )  # fmt: skip


def test_states_and_classes_come_back(tmp_path: Path) -> None:
    with opened_store(tmp_path / "s") as store:
        store.add_states([state(0), state(1, RED, b"b"), state(2)])
        store.add_class(ClassRecord(identity=b"b", leader=1, verdict=RED, seconds=0.5))
        store.note({"finished": "no"})
        store.note({"finished": "yes"})
    with opened_store(tmp_path / "s") as store:
        assert store.known_states() == {0, 1, 2}
        assert store.known_classes() == {b"b"}
        assert store.states_of_classes() == {b"a": 2, b"b": 1}
        assert list(store.red_states()) == [(1, b"b", RED)]
        (record,) = store.class_records()
        assert (record.verdict, record.leader, record.seconds) == (RED, 1, 0.5)
        assert record.verdict.outcome is Outcome.DIFFERS
        assert (store.fact("finished"), store.fact("other")) == ("yes", None)


def test_a_state_that_is_written_twice_counts_once(tmp_path: Path) -> None:
    with opened_store(tmp_path / "s") as store:
        store.add_states([state(0)])
        store.add_states([state(0, RED), state(1)])
        assert store.known_states() == {0, 1}
        assert [number for number, _, _ in store.red_states()] == [0]
