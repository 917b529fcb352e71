"""From which devices the driver reads what it writes out, and arrays that it does not start.

Old pages matter where parity is made by read-modify-write or the rest of a stripe is read: whoever
reads them from the wrong device gets another parity.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.errors import BadImage, BadInput
from harness.ondisk.units import StripeSector
from harness.recovery.era import NEWEST_ERA
from harness.recovery.geometry import Geometry
from harness.recovery.kernel_versions import era_of_version
from harness.recovery.layout import Level, layout_of
from harness.recovery.write_out import Method, choose_method, needed_in_vain
from harness.storage.array_files import read_array
from harness.storage.replay import rehearse, replay_to
from testcases.independent_geometry import SuperblockFields, p_of
from testcases.journal_writer import Data, stripe_map
from testcases.unit.checked_arrays import Checked, check, named
from testcases.unit.written_arrays import (
    WrittenArray,
    array_of,
    images_in,
    noise,
    slot_name,
    store,
)
from tools.cli import run

STRIPE = 64
JOURNAL, RESHAPE, REPLACEMENT, REBUILDING = 512, 4, 16, 2


def homes(array: WrittenArray, stripe: int = STRIPE) -> dict[int, int]:
    """Return the array sector of each data device at a stripe."""
    found = stripe_map(**array.images.shape, stripe_sector=stripe)
    return {place.device: sector for sector, place in found.items()}


def member_page(images: dict[str, bytes], name: str, stripe: int = STRIPE) -> bytes:
    at = (16 + stripe) * 512
    return images[name][at : at + 4096]


# Members that are being rebuilt.


@pytest.mark.parametrize(
    ("rebuilt", "readable"),
    [(STRIPE, False), (STRIPE + 7, False), (STRIPE + 8, True), (STRIPE + 9, True)],
)
def test_a_rebuilt_member_is_read_up_to_its_recovery_offset(
    rebuilt: int, readable: bool, tmp_path: Path
) -> None:
    """RAID-5 of four, one page new: a tie, so the rest is read, or what is cheaper without it."""
    array = WrittenArray(array_of(raid_disks=4))
    new, other, third = list(homes(array))
    array.write_data_only({homes(array)[new]: noise(-2)})
    fields: dict[int, SuperblockFields] = {
        other: {"feature_map": JOURNAL | REBUILDING, "recovery_offset": rebuilt}
    }
    paths = named(array, tmp_path / "in", fields)
    before = images_in(tmp_path / "in")
    # The new disk holds no data at that place unless it was rebuilt that far.
    old_parity = bytes(4096)
    at = (16 + STRIPE) * 512
    (p,) = set(range(4)) - {new, other, third}
    damaged = bytearray(before[slot_name(p)])
    damaged[at : at + 4096] = old_parity
    (tmp_path / "in" / slot_name(p)).write_bytes(damaged)
    replay_to(read_array(paths), tmp_path / "out", era=NEWEST_ERA)
    left = images_in(tmp_path / "out")
    by_data = p_of([noise(-2), *(member_page(before, slot_name(d)) for d in (other, third))])
    by_parity = p_of([noise(-2), member_page(before, slot_name(new)), old_parity])
    assert member_page(left, slot_name(p)) == (by_data if readable else by_parity)


@pytest.mark.parametrize(
    ("rebuilt", "reads"), [(None, "replacement.img"), (STRIPE + 8, "replacement.img"),
                           (STRIPE + 7, "member"), (0, "member")],
)  # fmt: skip
def test_a_replacement_is_read_once_it_has_come_that_far(
    rebuilt: int | None, reads: str, tmp_path: Path
) -> None:
    array = WrittenArray(array_of(raid_disks=3))
    new, other = list(homes(array))
    array.write_data_only({homes(array)[new]: noise(-2)})
    roles = [0, 1, 2, 0xFFFD, other]
    every: dict[int, SuperblockFields] = {slot: {"dev_roles": roles} for slot in range(3)}
    images = {slot_name(n): i for n, i in array.images.member_images(every).items()}
    own: SuperblockFields = {
        "dev_roles": roles, "dev_number": 4, "feature_map": JOURNAL | REPLACEMENT
    }  # fmt: skip
    if rebuilt is not None:
        own |= {"feature_map": JOURNAL | REPLACEMENT | REBUILDING, "recovery_offset": rebuilt}
    replacement = bytearray(array.images.member_images({other: own})[other])
    at = (16 + STRIPE) * 512
    replacement[at : at + 4096] = noise(-7)  # so that what was read can be told
    images["replacement.img"] = bytes(replacement)
    images["journal.img"] = array.images.journal_image(array.ring, dev_roles=roles)
    paths = store(tmp_path / "in", images)
    replay_to(read_array(paths), tmp_path / "out", era=NEWEST_ERA)
    (p,) = set(range(3)) - {new, other}
    read = member_page(images, reads if reads.endswith(".img") else slot_name(other))
    assert member_page(images_in(tmp_path / "out"), slot_name(p)) == p_of([noise(-2), read])


def test_a_stripe_that_was_never_synced_is_reconstructed_unless_a_member_is_missing() -> None:
    array = Geometry(
        layout=layout_of(Level.RAID5, 2), raid_disks=5, chunk_sectors=8, component_sectors=80
    )
    row = array.row_at(StripeSector(0))
    new, missing = row.data[:1], row.data[1:2]
    assert choose_method(array, row, new, synced=False) is Method.RECONSTRUCT_WRITE
    method = choose_method(array, row, new, synced=False, unreadable=missing)
    assert method is Method.READ_MODIFY_WRITE, "s->failed is not 0: the reads decide"
    assert needed_in_vain(array, row, new, unreadable=missing, synced=False) == ()
    assert needed_in_vain(array, row, new, unreadable=row.data[:2], synced=True) == new


# Arrays that md does not start.


def three_stripes(**changes: object) -> WrittenArray:
    array = WrittenArray(array_of(**changes))  # type: ignore[arg-type]
    for stripe in (0, 8, 48):
        array.write(dict.fromkeys(homes(array, stripe).values(), noise(-3)))
    return array


def everywhere(array: WrittenArray, folder: Path, fields: SuperblockFields) -> list[Path]:
    return named(array, folder, dict.fromkeys(range(5), fields), **fields)


def refused_by_both(paths: list[Path], why: str, capsys: pytest.CaptureFixture[str]) -> Checked:
    """Require that replay refuses, and that check says why; return what check said."""
    with pytest.raises(BadImage, match=why):
        read_array(paths)
    checked = check(capsys, paths)
    assert why in checked.explained("refused")
    assert why in checked.said["journal"]["recovery"]["failure"]
    assert "refused" in checked.names("danger")
    assert "replay --out" not in checked.commands
    return checked


def test_an_array_in_reshape_is_not_started(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = everywhere(three_stripes(), tmp_path, {"feature_map": JOURNAL | RESHAPE})
    checked = refused_by_both(paths, "in reshape", capsys)
    assert "--assemble /dev" not in checked.commands
    assert "--assemble --run" not in checked.commands


@pytest.mark.parametrize("synced", [0, 96])
def test_a_degraded_array_that_is_not_in_sync_is_not_started(
    synced: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = everywhere(three_stripes(missing_slots=[1]), tmp_path, {"resync_offset": synced})
    checked = refused_by_both(paths, "cannot start dirty degraded", capsys)
    assert "start_dirty_degraded" in checked.commands


def test_a_whole_array_that_is_not_in_sync_and_a_degraded_one_that_is_are_started(
    tmp_path: Path,
) -> None:
    read_array(everywhere(three_stripes(), tmp_path / "a", {"resync_offset": 0}))
    read_array(three_stripes(missing_slots=[1]).store(tmp_path / "b"))


@pytest.mark.parametrize(("slot", "started"), [(4, True), (1, False)])
def test_a_parity_disk_may_be_in_rebuilding_when_the_array_is_not_in_sync(
    slot: int, started: bool, tmp_path: Path
) -> None:
    array = three_stripes(level=4, layout=0)
    fields: dict[int, SuperblockFields] = {n: {"resync_offset": 0} for n in range(5)}
    fields[slot] = {
        "resync_offset": 0, "feature_map": JOURNAL | REBUILDING, "recovery_offset": 8
    }  # fmt: skip
    paths = named(array, tmp_path, fields, resync_offset=0)
    if started:
        read_array(paths)
    else:
        with pytest.raises(BadImage, match="dirty degraded"):
            read_array(paths)


# What is told of it.


def test_a_dry_run_tells_what_is_left_out_and_refuses_what_the_replay_would(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    array = WrittenArray(array_of())
    array.log(*(Data(160 * 4 + 8 * n, [noise(-n)]) for n in range(3)))
    paths = array.store(tmp_path)
    assert run(["replay", "--dry-run", *map(str, paths)]) == 0
    assert capsys.readouterr().out.count("left out: a page for sector") == 3
    done = rehearse(read_array(paths), era=NEWEST_ERA)
    assert (done.pages_outside, len(done.outside)) == (3, 3)


def test_of_very_many_pages_outside_only_the_first_are_kept(tmp_path: Path) -> None:
    array = WrittenArray(array_of(log_sectors=2048))
    for n in range(3):
        array.log(*(Data(2**40 + 8 * (100 * n + m), [noise(-m)]) for m in range(60)))
    done = rehearse(read_array(array.store(tmp_path)), era=NEWEST_ERA)
    assert (done.pages_outside, len(done.outside)) == (180, 100)


def test_a_bad_tail_is_told_with_the_sequence_that_was_drawn(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    array = three_stripes()
    paths = array.store(tmp_path / "in", journal_tail=8)
    assert run(["replay", "--out", str(tmp_path / "out"), "--seed", "5", *map(str, paths)]) == 0
    said = capsys.readouterr().out
    assert "the block at the tail is bad" in said
    assert "what the old one holds is given up" in said.replace("\n", " ")
    drawn = int(said.partition("the random sequence here is ")[2].split()[0])
    block = images_in(tmp_path / "out")["journal.img"][16 * 512 :][:32]
    assert int.from_bytes(block[16:24], "little") == drawn


@pytest.mark.parametrize(
    ("version", "era"), [("4.9-rc1", "4.4"), ("4.9~rc2", "4.4"), ("4.9-rc3", "4.9"), ("4.9", "4.9")]
)
def test_the_empty_meta_block_s_new_rule_came_with_4_9_rc3(version: str, era: str) -> None:
    assert era_of_version(version).name == era


def test_an_unknown_version_is_refused_still() -> None:
    with pytest.raises(BadInput, match="its era is not known"):
        era_of_version("9.99.1")
