"""Which members an array goes on without, and what md then writes into its table of roles."""

from __future__ import annotations

import struct
from dataclasses import replace
from pathlib import Path

from harness.ondisk.superblock import (
    ROLE_FAULTY,
    ROLE_SPARE,
    Feature,
    Superblock,
    differing_fields,
    with_roles_after_assembly,
)
from harness.recovery.members import no_longer_members, put_together, stale_members
from harness.storage.images import read_superblocks
from testcases.unit.written_arrays import WrittenArray, array_of


def superblocks(folder: Path, *failed: int) -> dict[str, Superblock]:
    array = array_of(6, 2, 5, failed_slots=failed)
    paths = WrittenArray(array).store(folder)
    return {Path(label).stem: found for label, found in read_superblocks(paths).items()}


def test_of_a_whole_array_nobody_is_left_behind(tmp_path: Path) -> None:
    assert no_longer_members(superblocks(tmp_path)) == ()


def test_failed_members_are_left_behind(tmp_path: Path) -> None:
    assert no_longer_members(superblocks(tmp_path, 1)) == ("member1",)
    assert set(no_longer_members(superblocks(tmp_path, 0, 4))) == {"member0", "member4"}


def test_one_event_less_is_no_reason(tmp_path: Path) -> None:
    found = superblocks(tmp_path)
    found["member2"] = replace(found["member2"], events=found["member2"].events - 1)
    assert no_longer_members(found) == ()


def test_two_events_less_are(tmp_path: Path) -> None:
    found = superblocks(tmp_path)
    found["member2"] = replace(found["member2"], events=found["member2"].events - 2)
    assert no_longer_members(found) == ("member2",)


def test_the_freshest_table_decides_though_only_one_device_has_it(tmp_path: Path) -> None:
    found = superblocks(tmp_path)
    one = found["member4"]
    roles = tuple(ROLE_FAULTY if number == 1 else role for number, role in enumerate(one.roles))
    found["member4"] = replace(one, events=one.events + 1, roles=roles)
    assert no_longer_members(found) == ("member1",)


def test_a_stale_journal_is_left_behind_as_a_member_is(tmp_path: Path) -> None:
    found = superblocks(tmp_path)
    found["journal"] = replace(found["journal"], events=1)
    assert no_longer_members(found) == ("journal",)
    assert stale_members(found) == (), "it is no member"


def test_a_faulty_device_that_stays_behind_becomes_a_spare_in_the_table(tmp_path: Path) -> None:
    found = superblocks(tmp_path, 1)
    before = found["member0"]
    there = {each.dev_number for name, each in found.items() if name != "member1"}
    after = with_roles_after_assembly(before, before, there)
    assert before.roles[1] == ROLE_FAULTY
    wanted = tuple(ROLE_SPARE if role == ROLE_FAULTY else role for role in before.roles)
    assert struct.unpack_from(f"<{len(wanted)}H", after, 256) == wanted
    assert differing_fields(before.raw, after) == ("dev_roles",)


def test_nothing_changes_in_the_table_of_a_whole_array(tmp_path: Path) -> None:
    found = superblocks(tmp_path)
    before, there = found["journal"], {each.dev_number for each in found.values()}
    assert with_roles_after_assembly(before, before, there) == before.raw
    left = found["member1"].dev_number
    after = with_roles_after_assembly(before, before, there - {left})
    assert struct.unpack_from("<H", after, 256 + 2 * left) == (ROLE_SPARE,), "a stale one as well"


def test_every_device_gets_the_table_of_the_newest(tmp_path: Path) -> None:
    whole, degraded = superblocks(tmp_path / "a"), superblocks(tmp_path / "b", 1)
    there = {each.dev_number for each in degraded.values()}
    after = with_roles_after_assembly(whole["member0"], degraded["member2"], there)
    wanted = with_roles_after_assembly(degraded["member0"], degraded["member2"], there)
    assert differing_fields(after, wanted) == ("sb_csum",)


def test_md_goes_on_of_its_own_accord_where_something_is_not_whole(tmp_path: Path) -> None:
    found = superblocks(tmp_path)
    assert put_together(found).goes_on_with == ""
    degraded = {label: own for label, own in found.items() if label != "member1"}
    assert put_together(degraded).goes_on_with == "", "nobody takes the place"
    rebuilding = replace(
        found["member2"], features=found["member2"].features | Feature.RECOVERY_OFFSET,
        recovery_offset_or_journal_tail=64,
    )  # fmt: skip
    assert "rebuilt" in put_together({**found, "member2": rebuilding}).goes_on_with
    unsynced = {label: replace(own, resync_offset=64) for label, own in found.items()}
    assert "synced" in put_together(unsynced).goes_on_with
    spare = replace(found["member1"], dev_number=9, device_uuid=bytes(15) + b"\1")
    assert "spare" in put_together({**degraded, "spare0": spare}).goes_on_with
