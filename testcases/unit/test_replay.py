"""A replay leaves copies of the images byte for byte as recovery leaves the devices."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from harness.ondisk.units import StripeSector
from harness.recovery.era import NEWEST_ERA
from harness.recovery.image_writes import OutsideWrite
from harness.storage.array_files import read_array
from harness.storage.plans import plan_of
from harness.storage.replay import Replayed, replay_to
from testcases.independent_geometry import LAYOUTS, SuperblockFields
from testcases.journal_writer import Data, Flush, Parity, meta_block, place, stripe_map
from testcases.unit.written_arrays import (
    SEQ,
    WrittenArray,
    array_of,
    digests,
    images_in,
    noise,
    slot_name,
    store,
)

LEVELS = [
    pytest.param(4, 0, id="raid4"), pytest.param(5, 2, id="raid5"), pytest.param(6, 2, id="raid6")
]  # fmt: skip


def replay(
    paths: Sequence[Path], out: Path, *, degraded: bool = False, force: bool = False, seed: int = 0
) -> Replayed:
    files = read_array(paths, degraded=degraded)
    return replay_to(files, out, era=NEWEST_ERA, seed=seed, force=force)


def sectors_of(array: WrittenArray, stripe: int) -> list[int]:
    return list(stripe_map(**array.images.shape, stripe_sector=stripe))


def with_four_writes(array: WrittenArray) -> WrittenArray:
    """Log one page, a full stripe, its first page again, and two pages of the last row."""
    first, second, last = (sectors_of(array, stripe) for stripe in (8, 48, 152))
    array.write({first[0]: noise(-1)})
    array.write({sector: noise(-sector - 1) for sector in second})
    array.write({second[0]: noise(-3)})
    array.write({sector: noise(-sector - 5) for sector in last[-2:]})
    return array


# Members and journal of a whole array.


@pytest.mark.parametrize(("level", "layout"), LAYOUTS)
def test_every_layout_is_left_as_recovery_leaves_it(
    level: int, layout: int, tmp_path: Path
) -> None:
    array = with_four_writes(WrittenArray(array_of(level, layout)))
    replayed = replay(array.store(tmp_path / "in"), tmp_path / "out")
    wanted = array.members_after() | {"journal.img": array.journal_after()}
    assert images_in(tmp_path / "out") == wanted
    assert replayed.plan.message == "recovering 0 data-only stripes and 4 data-parity stripes"
    parities = 2 if level == 6 else 1
    assert replayed.pages_written == 1 + (5 - parities) + 1 + 2 + 4 * parities
    assert (replayed.outside, replayed.era) == ((), NEWEST_ERA)


@pytest.mark.parametrize(("minor", "data_offset"), [(0, 0), (0, 64), (1, 8), (1, 24), (2, 16)])
@pytest.mark.parametrize(("level", "layout"), LEVELS)
def test_every_metadata_version_is_left_as_recovery_leaves_it(
    level: int, layout: int, minor: int, data_offset: int, tmp_path: Path
) -> None:
    images = array_of(
        level, layout, minor_version=minor, data_offset=data_offset,
        journal_data_offset=data_offset + 40, dev_numbers={2: 7, 5: 2, 0: 9},
    )  # fmt: skip
    array = with_four_writes(WrittenArray(images))
    replay(array.store(tmp_path / "in")[::-1], tmp_path / "out")
    wanted = array.members_after() | {"journal.img": array.journal_after()}
    assert images_in(tmp_path / "out") == wanted


def test_empty_log_changes_the_journal_only(tmp_path: Path) -> None:
    array = WrittenArray(array_of())
    array.log()
    replayed = replay(array.store(tmp_path / "in"), tmp_path / "out")
    wanted = array.members_after() | {
        "journal.img": array.journal_after(position=8, seq=SEQ + 10001)
    }
    assert images_in(tmp_path / "out") == wanted
    assert (replayed.plan.message, replayed.pages_written) == ("starting from clean shutdown", 0)


def test_log_that_wraps_in_a_journal_of_no_whole_blocks(tmp_path: Path) -> None:
    array = WrittenArray(array_of(6, 2, log_sectors=135), position=120)
    array.write(dict.fromkeys(sectors_of(array, 0), noise(-1)))
    assert array.position == 40
    replay(array.store(tmp_path / "in", journal_tail=120), tmp_path / "out")
    wanted = array.members_after() | {"journal.img": array.journal_after()}
    assert images_in(tmp_path / "out") == wanted


def test_dropped_meta_leaves_its_stripe_as_it_was(tmp_path: Path) -> None:
    array = WrittenArray(array_of())
    array.write({0: noise(-1)})
    bad = array.position
    kept = dict(array.updates)
    array.write({sectors_of(array, 48)[0]: noise(-2)})
    array.updates = kept
    array.ring.log[(bad + 16) * 512 + 7] ^= 1  # its parity page
    replay(array.store(tmp_path / "in"), tmp_path / "out")
    journal = array.journal_after(position=bad + 8, seq=SEQ + 1 + 10001)
    assert images_in(tmp_path / "out") == array.members_after() | {"journal.img": journal}


def test_flushed_and_parity_only_stripes_are_not_written(tmp_path: Path) -> None:
    array = WrittenArray(array_of())
    array.log(Data(0, [noise(-1)]), Parity(0, [noise(-2)]), Parity(48, [noise(-3)]))
    array.write({sectors_of(array, 152)[1]: noise(-4)})
    array.log(Flush([0]))
    replayed = replay(array.store(tmp_path / "in"), tmp_path / "out")
    wanted = array.members_after() | {"journal.img": array.journal_after()}
    assert images_in(tmp_path / "out") == wanted
    assert replayed.pages_written == 2


# Create path.


def test_bad_tail_gets_an_empty_meta_of_a_sequence_drawn_from_the_seed(tmp_path: Path) -> None:
    array = WrittenArray(array_of())
    array.write({0: noise(-1)})
    array.updates.clear()
    paths = array.store(tmp_path / "in", journal_tail=8)  # where a page lies
    drawn = []
    for number, seed in enumerate((0, 0, 1)):
        out = tmp_path / f"out{number}"
        replayed = replay(paths, out, seed=seed)
        assert replayed.plan.message is None
        left = images_in(out)
        seq = int.from_bytes(left["journal.img"][16 * 512 + 16 : 16 * 512 + 24], "little")
        assert left["journal.img"] == array.journal_after(position=0, seq=seq)
        del left["journal.img"]
        assert left == array.members_after()
        drawn.append(seq)
    assert drawn[0] == drawn[1] != drawn[2]
    assert max(drawn) < 2**32


# Twice.


@pytest.mark.parametrize(("level", "layout"), LEVELS)
def test_second_replay_finds_a_clean_log(level: int, layout: int, tmp_path: Path) -> None:
    array = with_four_writes(WrittenArray(array_of(level, layout)))
    replay(array.store(tmp_path / "in"), tmp_path / "once")
    once = images_in(tmp_path / "once")
    again = replay([tmp_path / "once" / name for name in once], tmp_path / "twice")
    twice = images_in(tmp_path / "twice")
    assert again.plan.message == "starting from clean shutdown"
    assert (again.plan.journal_tail, again.plan.metas_accepted) == (array.position + 8, 1)
    at = (16 + array.position + 8) * 512
    assert twice.pop("journal.img")[at : at + 4096] == meta_block(
        seed=array.ring.seed, seq=array.seq + 10000 + 10001, position=array.position + 8
    )
    del once["journal.img"]
    assert twice == once


# Inputs and holes.


def test_inputs_are_only_read(tmp_path: Path) -> None:
    array = with_four_writes(WrittenArray(array_of(6, 2)))
    paths = array.store(tmp_path / "in")
    for path in paths:
        path.chmod(0o444)
    before = digests(paths)
    replay(paths, tmp_path / "out")
    assert digests(paths) == before
    assert sorted((tmp_path / "in").iterdir()) == sorted(paths)


def test_holes_stay_holes(tmp_path: Path) -> None:
    array = WrittenArray(
        array_of(data_offset=8192, data_sectors=1600, contents=lambda _: bytes(4096))
    )
    array.write({0: noise(-1)})
    paths = array.store(tmp_path / "in")
    for path in paths:
        assert path.stat().st_blocks * 512 < path.stat().st_size // 4, "no holes here to keep"
    replay(paths, tmp_path / "out")
    for path in paths:
        left = (tmp_path / "out" / path.name).stat()
        assert left.st_size == path.stat().st_size
        assert left.st_blocks <= path.stat().st_blocks + 3 * 4096 // 512


def test_output_folder_is_made_with_its_parents(tmp_path: Path) -> None:
    array = with_four_writes(WrittenArray(array_of()))
    replay(array.store(tmp_path / "in"), tmp_path / "a" / "b")
    assert set(images_in(tmp_path / "a" / "b")) == {*array.members_after(), "journal.img"}


def test_force_replaces_what_is_there_and_nothing_else(tmp_path: Path) -> None:
    array = with_four_writes(WrittenArray(array_of()))
    out = tmp_path / "out"
    store(out, {"member0.img": b"old" * 9999, "journal.img": b"", "notes.txt": b"mine"})
    replay(array.store(tmp_path / "in"), out, force=True)
    wanted = array.members_after() | {"journal.img": array.journal_after(), "notes.txt": b"mine"}
    assert images_in(out) == wanted


# Degraded arrays: section 4.2.


@pytest.mark.parametrize(
    ("level", "layout", "missing", "failed"),
    [
        pytest.param(4, 0, [1], [], id="raid4-without-data"),
        pytest.param(4, 0, [4], [], id="raid4-without-parity"),
        pytest.param(5, 2, [0], [], id="raid5-without-one"),
        pytest.param(5, 2, [], [3], id="raid5-with-one-failed"),
        pytest.param(6, 2, [2], [], id="raid6-without-one"),
        pytest.param(6, 10, [1], [4], id="raid6-without-two"),
    ],
)
def test_absent_member_is_skipped_and_the_others_are_written(
    level: int, layout: int, missing: list[int], failed: list[int], tmp_path: Path
) -> None:
    images = array_of(level, layout, missing_slots=missing, failed_slots=failed)
    array = with_four_writes(WrittenArray(images))
    stale = {tmp_path / "in" / slot_name(slot) for slot in failed}
    paths = [path for path in array.store(tmp_path / "in") if path not in stale]
    replay(paths, tmp_path / "out")
    wanted = array.members_after() | {"journal.img": array.journal_after()}
    for slot in failed:
        del wanted[slot_name(slot)]
    assert images_in(tmp_path / "out") == wanted


def test_active_member_may_be_left_out_if_that_is_said(tmp_path: Path) -> None:
    array = with_four_writes(WrittenArray(array_of()))
    paths = array.store(tmp_path / "in")
    del paths[2]
    replay(paths, tmp_path / "out", degraded=True)
    wanted = array.members_after() | {"journal.img": array.journal_after()}
    del wanted[slot_name(2)]
    assert images_in(tmp_path / "out") == wanted


@pytest.mark.parametrize("older", ["member1.img", "journal.img"])
def test_device_one_event_behind_is_taken(older: str, tmp_path: Path) -> None:
    array = with_four_writes(WrittenArray(array_of()))
    paths = array.store(tmp_path / "in", events=19 if older == "journal.img" else 20)
    if older == "member1.img":
        behind = array.images.member_images({1: {"events": 19}})[1]
        store(tmp_path / "in", {older: behind})
    replayed = replay(paths, tmp_path / "out")
    assert replayed.pages_written == 1 + 4 + 1 + 2 + 4


def test_replacement_gets_what_its_original_gets(tmp_path: Path) -> None:
    array = WrittenArray(array_of())
    array.write({0: noise(-1)})  # stripe 0: page 0 on device 0, P on device 4
    roles = [0, 1, 2, 3, 4, 0xFFFD, 0]
    every: dict[int, SuperblockFields] = {slot: {"dev_roles": roles} for slot in range(5)}
    members = array.images.member_images(every)
    new: SuperblockFields = {"dev_roles": roles, "dev_number": 6, "feature_map": 512 | 16}
    images = {slot_name(slot): image for slot, image in members.items()}
    images["replacement.img"] = array.images.member_images({0: new})[0]
    images["journal.img"] = array.images.journal_image(array.ring, dev_roles=roles)
    replayed = replay(store(tmp_path / "in", images), tmp_path / "out")
    left = images_in(tmp_path / "out")
    at = 16 * 512
    assert left["replacement.img"][:at] == images["replacement.img"][:at]
    assert left["replacement.img"][at:] == left["member0.img"][at:]
    assert left["member0.img"][at:] == array.members_after()["member0.img"][at:]
    assert replayed.pages_written == 3


# Locations outside the array: DESIGN.md section 4.

PAGES_OF_ARRAY = 160 * 4 // 8


@pytest.mark.parametrize("minor", [0, 2], ids=["superblock-behind-data", "superblock-in-front"])
@pytest.mark.parametrize(
    "sector",
    [
        pytest.param(8 * PAGES_OF_ARRAY, id="just-behind-the-end"),
        pytest.param(8 * PAGES_OF_ARRAY + 64 * 10, id="some-rows-behind"),
        pytest.param(8 * PAGES_OF_ARRAY - 4, id="across-the-end"),
        pytest.param(2**40, id="far-behind"),
        pytest.param(2**64 - 8, id="at-the-end-of-all-sectors"),
    ],
)
def test_location_outside_is_left_out_and_told(sector: int, minor: int, tmp_path: Path) -> None:
    array = WrittenArray(array_of(minor_version=minor, log_sectors=512))
    array.write({0: noise(-1)})
    at = place(**array.images.shape, array_sector=sector)
    array.log(Data(sector, [noise(-2)]), Parity(at.member_sector, [noise(-3)]))
    array.write({8: noise(-4)})
    replayed = replay(array.store(tmp_path / "in"), tmp_path / "out")
    wanted = array.members_after() | {"journal.img": array.journal_after()}
    assert images_in(tmp_path / "out") == wanted
    stripe = StripeSector(at.member_sector)
    assert sorted(replayed.outside, key=lambda one: one.device) == [
        OutsideWrite(device, stripe) for device in sorted((at.device, at.pd_idx))
    ]
    assert replayed.plan.message == "recovering 0 data-only stripes and 3 data-parity stripes"


def test_data_only_location_outside_is_left_out_and_told(tmp_path: Path) -> None:
    array = WrittenArray(array_of())
    sector = 8 * PAGES_OF_ARRAY
    array.log(Data(sector, [noise(-2)]))
    replayed = replay(array.store(tmp_path / "in"), tmp_path / "out")
    wanted = array.members_after() | {"journal.img": array.journal_after()}
    assert images_in(tmp_path / "out") == wanted
    at = place(**array.images.shape, array_sector=sector)
    assert OutsideWrite(at.device, StripeSector(at.member_sector)) in replayed.outside


def test_part_of_a_chunk_behind_the_last_whole_one_is_outside(tmp_path: Path) -> None:
    # The array is made of whole chunks: ten of them in 168 sectors of each member.
    array = WrittenArray(array_of(chunk_sectors=8, data_sectors=168))
    fields: SuperblockFields = {"chunksize": 16}
    images = {
        slot_name(slot): image
        for slot, image in array.images.member_images(dict.fromkeys(range(5), fields)).items()
    }
    at = place(**array_of().shape, array_sector=8 * PAGES_OF_ARRAY)
    assert at.member_sector == 160
    array.log(Data(8 * PAGES_OF_ARRAY, [noise(-1)]), Parity(160, [noise(-2)]))
    journal = array.images.journal_image(array.ring, chunksize=16)
    paths = store(tmp_path / "in", images | {"journal.img": journal})
    replayed = replay(paths, tmp_path / "out")
    left = images_in(tmp_path / "out")
    del left["journal.img"]
    assert len(replayed.outside) == 2
    assert left == images


def test_plan_alone_writes_nothing(tmp_path: Path) -> None:
    array = with_four_writes(WrittenArray(array_of()))
    paths = array.store(tmp_path / "in")
    before = digests(paths)
    found = plan_of(read_array(paths), NEWEST_ERA)
    assert (len(found.replays), found.journal_tail) == (4, array.position)
    assert digests(paths) == before
