"""`check` names each thing that is not as it should be, and only that."""

from __future__ import annotations

from pathlib import Path

import pytest

from testcases.journal_writer import Data, Flush, Parity, meta_block, stripe_map
from testcases.unit.checked_arrays import (
    check,
    named,
    sectors_of,
    with_three_stripes,
)
from testcases.unit.written_arrays import SEQ, WrittenArray, array_of, noise
from tools.cli import run


def test_another_arrays_log_is_seen_as_foreign(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    array = WrittenArray(array_of())
    other = with_three_stripes(WrittenArray(array_of(set_uuid=bytes(range(16, 32)))))
    array.ring.log[:] = other.ring.log
    checked = check(capsys, array.store(tmp_path))
    assert (checked.status, checked.names()) == (1, {"bad-tail", "foreign-metas"})
    assert checked.said["journal"]["rest_of_ring"]["unfit_metas"] == 3
    assert checked.said["journal"]["recovery"]["message"] is None


def test_foreign_meta_blocks_beside_a_good_log_are_seen(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    array = with_three_stripes(WrittenArray(array_of()))
    foreign = meta_block(seed=array.ring.seed ^ 1, seq=5, position=200)
    array.ring.put_block(position=200, block=foreign)
    checked = check(capsys, array.store(tmp_path))
    assert checked.names() == {"foreign-metas"}
    assert "sector 200, seq 5" in checked.explained("foreign-metas")


def test_a_bad_tail_gives_up_all_that_is_valid(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    array = with_three_stripes(WrittenArray(array_of()))
    array.ring.log[100] ^= 1
    checked = check(capsys, array.store(tmp_path))
    assert (checked.status, checked.names()) == (1, {"bad-tail", "foreign-metas"})
    assert "2 valid meta blocks" in checked.explained("bad-tail")
    assert checked.said["journal"]["recovery"]["creates_new_log"] is not None


def test_a_tail_that_newer_meta_blocks_have_left_behind_is_stale(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    array = with_three_stripes(WrittenArray(array_of()))
    newer = meta_block(seed=array.ring.seed, seq=SEQ + 3 + 10000, position=200)
    array.ring.put_block(position=200, block=newer)
    checked = check(capsys, array.store(tmp_path))
    assert checked.names() == {"stale-tail"}
    assert "had been reset" in checked.explained("stale-tail")


def test_meta_blocks_from_before_the_tail_are_harmless(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    array = with_three_stripes(WrittenArray(array_of()))
    checked = check(capsys, array.store(tmp_path, journal_tail=48))
    assert (checked.status, checked.said["journal"]["rest_of_ring"]["older_metas"]) == (0, 1)


def test_a_location_outside_the_array_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    array = with_three_stripes(WrittenArray(array_of()))
    array.log(Data(160 * 4, (noise(1),)), Parity(160, (noise(2),)))
    checked = check(capsys, array.store(tmp_path))
    assert checked.names() == {"location-outside"}
    assert checked.log["pages_outside"] == 2


def test_flush_of_a_data_only_stripe_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    array = with_three_stripes(WrittenArray(array_of()))
    array.write_data_only({sectors_of(array, 64)[0]: noise(-2)})
    array.log(Flush((64,)))
    checked = check(capsys, array.store(tmp_path))
    assert checked.names() == {"flush-of-data-only"}
    assert "stripe 64" in checked.explained("flush-of-data-only")


def test_data_only_stripes_of_a_degraded_array_are_in_danger(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    array = with_three_stripes(WrittenArray(array_of(missing_slots=[1])))
    array.write_data_only({sectors_of(array, 64)[0]: noise(-2)})
    checked = check(capsys, array.store(tmp_path))
    assert (checked.status, checked.names()) == (1, {"degraded"})
    assert "data-only-degraded" in checked.names("note")
    assert "--assemble --run" in checked.commands
    assert "replay --out" in checked.commands


def test_data_only_stripes_that_need_what_is_missing_are_in_danger(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of RAID-6 with two members gone: neither the other data nor the parity is all there."""
    array = WrittenArray(array_of(6, 2, 6, missing_slots=[0, 1]))
    homes = (stripe_map(**array.images.shape, stripe_sector=stripe) for stripe in range(0, 160, 8))
    both = next(
        by_device
        for places in homes
        if {0, 1} <= (by_device := {place.device: at for at, place in places.items()}).keys()
    )
    array.write_data_only({both[0]: noise(-2)})
    paths = array.store(tmp_path)
    checked = check(capsys, paths)
    assert "data-only-degraded" in checked.names("danger")
    assert "assembly was seen never to end" in checked.said["journal"]["recovery"]["failure"]
    assert "replay --out" not in checked.commands, "that cannot tell either"
    status = run(["replay", "--dry-run", *map(str, paths)])
    assert (status, capsys.readouterr().out) == (2, "")


@pytest.mark.parametrize(("cache", "matters"), [("17", True), ("256", False)])
def test_a_small_stripe_cache_that_changes_the_outcome_is_told(
    cache: str, matters: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    array = WrittenArray(array_of(data_sectors=1600, log_sectors=4096))
    for stripe in range(0, 200, 8):
        array.write({sectors_of(array, stripe)[0]: noise(-stripe - 1)})
    array.log(Flush((0,)))
    checked = check(capsys, array.store(tmp_path), "--stripe-cache-size", cache)
    assert ("early-replay" in checked.names()) is matters
    assert checked.log["data_parity_stripes"] == (25 if matters else 24)


@pytest.mark.parametrize(
    ("events", "name", "status"),
    [(21, "journal-ahead", 1), (19, "journal-behind", 0), (18, "journal-stale", 1),
     (25, "journal-ahead", 1)],
)  # fmt: skip
def test_a_journal_of_another_age_than_the_members_is_told(
    events: int, name: str, status: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    array = with_three_stripes(WrittenArray(array_of()))
    checked = check(capsys, array.store(tmp_path, events=events))
    assert checked.status == status
    assert checked.names("note", "warning", "danger") == {name}
    if events == 21:
        assert "consider --force" in checked.explained(name)
        assert "mdjournal replay" in checked.commands


def test_resync_offset_0_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    array = with_three_stripes(WrittenArray(array_of()))
    fields = {slot: {"resync_offset": 0} for slot in range(5)}
    checked = check(capsys, named(array, tmp_path, fields, resync_offset=0))
    assert checked.names() == {"resync-offset-0"}


def test_a_stale_member_is_told_and_not_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    array = with_three_stripes(WrittenArray(array_of()))
    checked = check(capsys, named(array, tmp_path, {2: {"events": 17}}))
    assert checked.status == 1
    assert checked.names() == {"stale-member", "member-not-given"}
    assert "member2.img: 17 events, the freshest has 20" in checked.explained("stale-member")
    assert "--zero-superblock /dev/STALE_MEMBER" in checked.commands


def test_a_failed_member_is_told_and_not_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    array = with_three_stripes(WrittenArray(array_of(failed_slots=[3])))
    checked = check(capsys, array.store(tmp_path))
    assert checked.names() == {"stale-member", "degraded"}
    assert checked.said["array"]["absent"] == [3]


def test_a_rebuilding_member_is_told_with_how_far_it_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    array = with_three_stripes(WrittenArray(array_of()))
    fields = {1: {"feature_map": 512 | 2, "recovery_offset": 40}}
    checked = check(capsys, named(array, tmp_path, fields))
    assert checked.names() == {"rebuilding"}
    assert checked.said["array"]["devices"][1]["rebuilt_sectors"] == 40
