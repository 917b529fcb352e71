"""Data-only stripes are written out with the parity that the driver's own choice of reads gives."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.errors import BadInput
from harness.ondisk.units import StripeSector
from harness.recovery.era import NEWEST_ERA
from harness.recovery.geometry import Geometry
from harness.recovery.layout import Level, layout_of
from harness.recovery.write_out import Method, choose_method, write_out
from harness.storage.array_files import read_array
from harness.storage.replay import Replayed, replay_to
from testcases.independent_geometry import LAYOUTS, SuperblockFields, p_of, q_of
from testcases.journal_writer import Data, place, stripe_map
from testcases.unit.written_arrays import (
    WrittenArray,
    array_of,
    images_in,
    noise,
    slot_name,
    store,
)

DAMAGE = 0xA5


def replay(paths: list[Path], out: Path) -> Replayed:
    return replay_to(read_array(paths), out, era=NEWEST_ERA)


def exclusive_or(one: bytes, two: bytes) -> bytes:
    return p_of([one, two])


# The choice: section 3.1, "RMW or RCW choice".


@pytest.mark.parametrize(
    ("level", "raid_disks", "pages", "method"),
    [
        pytest.param(5, 3, 1, "rcw", id="raid5-of-three"),
        pytest.param(5, 4, 1, "rcw", id="raid5-of-four-ties"),
        pytest.param(5, 5, 1, "rmw", id="raid5-of-five"),
        pytest.param(5, 5, 2, "rcw", id="raid5-of-five-two-pages"),
        pytest.param(5, 5, 4, "rcw", id="raid5-full-stripe"),
        pytest.param(5, 8, 2, "rmw", id="raid5-of-eight-two-pages"),
        pytest.param(5, 8, 3, "rcw", id="raid5-of-eight-three-pages-tie"),
        pytest.param(4, 5, 1, "rmw", id="raid4-of-five"),
        pytest.param(6, 4, 1, "rcw", id="raid6-of-four"),
        pytest.param(6, 6, 1, "rcw", id="raid6-of-six-ties"),
        pytest.param(6, 7, 1, "rmw", id="raid6-of-seven"),
        pytest.param(6, 7, 2, "rcw", id="raid6-of-seven-two-pages"),
    ],
)
def test_the_fewer_reads_are_chosen_and_a_tie_reconstructs(
    level: int, raid_disks: int, pages: int, method: str
) -> None:
    array = Geometry(
        layout=layout_of(Level(level), 2), raid_disks=raid_disks, chunk_sectors=8,
        component_sectors=80,
    )  # fmt: skip
    row = array.row_at(StripeSector(0))
    assert choose_method(array, row, row.data[:pages]) is Method(method)


@pytest.mark.parametrize("pages", [1, 2, 5])
@pytest.mark.parametrize("layout", [2, 9, 10, 16])
def test_only_the_pages_that_the_method_needs_are_read(layout: int, pages: int) -> None:
    array = Geometry(
        layout=layout_of(Level.RAID6, layout), raid_disks=7, chunk_sectors=8, component_sectors=80
    )
    row = array.row_at(StripeSector(24))
    assert row.qd_idx is not None
    old = {device: noise(device) for device in row.data}
    places = {"layout": layout, "raid_disks": 7, "pd_idx": row.pd_idx, "qd_idx": row.qd_idx}
    before = {**old, row.pd_idx: p_of(old.values()), row.qd_idx: q_of(old, **places)}
    new = {device: noise(100 + device) for device in row.data[:pages]}
    read: set[int] = set()

    def read_old(device: int) -> bytes:
        read.add(device)
        return before[device]

    written = write_out(array, row, new, read_old)
    data = old | new
    assert written == new | {row.pd_idx: p_of(data.values()), row.qd_idx: q_of(data, **places)}
    written_to = {*new, row.pd_idx, row.qd_idx}
    assert read == (written_to if pages == 1 else set(row.data) - set(new))


# Through the replay: section 4.8.


@pytest.mark.parametrize("pages", [1, 2])
@pytest.mark.parametrize(("level", "layout"), LAYOUTS)
def test_every_layout_gets_data_and_parity(
    level: int, layout: int, pages: int, tmp_path: Path
) -> None:
    array = WrittenArray(array_of(level, layout))
    for stripe in (8, 48, 152):
        sectors = list(stripe_map(**array.images.shape, stripe_sector=stripe))[-pages:]
        array.write_data_only({sector: noise(-sector - 1) for sector in sectors})
    replayed = replay(array.store(tmp_path / "in"), tmp_path / "out")
    wanted = array.members_after() | {"journal.img": array.journal_after()}
    assert images_in(tmp_path / "out") == wanted
    assert replayed.plan.message == "recovering 3 data-only stripes and 0 data-parity stripes"


def test_full_stripe_in_several_metas_is_written_out_once(tmp_path: Path) -> None:
    array = WrittenArray(array_of())
    for sector in stripe_map(**array.images.shape, stripe_sector=8):
        array.write_data_only({sector: noise(-sector)})
        array.write_data_only({sector: noise(-sector - 1)})
    replayed = replay(array.store(tmp_path / "in"), tmp_path / "out")
    wanted = array.members_after() | {"journal.img": array.journal_after()}
    assert images_in(tmp_path / "out") == wanted
    assert replayed.pages_written == 5


@pytest.mark.parametrize(
    ("level", "raid_disks"), [(5, 4), (5, 5), (6, 5), (6, 7)], ids=lambda number: str(number)
)
def test_data_only_page_goes_over_the_replayed_stripe(
    level: int, raid_disks: int, tmp_path: Path
) -> None:
    array = WrittenArray(array_of(level, 2, raid_disks))
    sectors = list(stripe_map(**array.images.shape, stripe_sector=8))
    array.write({sector: noise(-sector - 1) for sector in sectors})
    array.write_data_only({sectors[0]: noise(-9)})
    replayed = replay(array.store(tmp_path / "in"), tmp_path / "out")
    wanted = array.members_after() | {"journal.img": array.journal_after()}
    assert images_in(tmp_path / "out") == wanted
    assert replayed.plan.message == "recovering 1 data-only stripes and 1 data-parity stripes"


def with_wrong_parity(array: WrittenArray, stripe: int, folder: Path, resync: int) -> list[Path]:
    """Store the array with every bit pattern of DAMAGE laid over the old parity of one stripe."""
    fields: SuperblockFields = {"resync_offset": resync}
    members = array.images.member_images(dict.fromkeys(range(array.images.raid_disks), fields))
    images = {slot_name(slot): image for slot, image in members.items()}
    for slot in parity_slots(array, stripe):
        name = slot_name(slot)
        images[name] = damaged(array, images[name], stripe)
    images["journal.img"] = array.images.journal_image(array.ring, resync_offset=resync)
    return store(folder, images)


def parity_slots(array: WrittenArray, stripe: int) -> list[int]:
    at = next(iter(stripe_map(**array.images.shape, stripe_sector=stripe).values()))
    return [slot for slot in (at.pd_idx, at.qd_idx) if slot is not None]


def damaged(array: WrittenArray, image: bytes, stripe: int) -> bytes:
    at = (array.images.first_sector + stripe) * 512
    page = exclusive_or(image[at : at + 4096], bytes([DAMAGE]) * 4096)
    return image[:at] + page + image[at + 4096 :]


def data_areas(array: WrittenArray, images: dict[str, bytes]) -> dict[str, bytes]:
    start = array.images.first_sector * 512
    return {name: image[start:] for name, image in images.items() if name != "journal.img"}


@pytest.mark.parametrize(
    ("level", "raid_disks", "pages", "stays_wrong"),
    [
        pytest.param(5, 4, 1, False, id="raid5-of-four-reconstructs"),
        pytest.param(5, 5, 1, True, id="raid5-of-five-modifies"),
        pytest.param(5, 5, 2, False, id="raid5-of-five-two-pages-reconstruct"),
        pytest.param(5, 6, 1, True, id="raid5-of-six-modifies"),
        pytest.param(4, 5, 1, True, id="raid4-of-five-modifies"),
        pytest.param(6, 6, 1, False, id="raid6-of-six-reconstructs"),
        pytest.param(6, 7, 1, True, id="raid6-of-seven-modifies"),
    ],
)
def test_wrong_old_parity_stays_wrong_only_under_read_modify_write(
    level: int, raid_disks: int, pages: int, stays_wrong: bool, tmp_path: Path
) -> None:
    array = WrittenArray(array_of(level, 0 if level == 4 else 2, raid_disks))
    sectors = list(stripe_map(**array.images.shape, stripe_sector=24))[:pages]
    array.write_data_only({sector: noise(-sector - 1) for sector in sectors})
    replay(with_wrong_parity(array, 24, tmp_path / "in", 2**64 - 1), tmp_path / "out")
    wanted = array.members_after()
    if stays_wrong:
        for slot in parity_slots(array, 24):
            wanted[slot_name(slot)] = damaged(array, wanted[slot_name(slot)], 24)
    assert data_areas(array, images_in(tmp_path / "out")) == data_areas(array, wanted)


@pytest.mark.parametrize(
    ("resync_offset", "stays_wrong"),
    [
        pytest.param(0, False, id="nothing-synced"),
        pytest.param(24, False, id="synced-up-to-the-stripe"),
        pytest.param(32, True, id="synced-past-the-stripe"),
    ],
)
def test_stripe_that_was_never_synced_is_always_reconstructed(
    resync_offset: int, stays_wrong: bool, tmp_path: Path
) -> None:
    array = WrittenArray(array_of(5, 2, 5))
    sector = next(iter(stripe_map(**array.images.shape, stripe_sector=24)))
    array.write_data_only({sector: noise(-1)})
    replay(with_wrong_parity(array, 24, tmp_path / "in", resync_offset), tmp_path / "out")
    wanted = array.members_after()
    if stays_wrong:
        (slot,) = parity_slots(array, 24)
        wanted[slot_name(slot)] = damaged(array, wanted[slot_name(slot)], 24)
    assert data_areas(array, images_in(tmp_path / "out")) == data_areas(array, wanted)


@pytest.mark.parametrize("raid_disks", [4, 5], ids=["reconstruct", "read-modify"])
def test_stripe_off_by_one_sector_is_written_where_its_location_says(
    raid_disks: int, tmp_path: Path
) -> None:
    array = WrittenArray(array_of(5, 2, raid_disks))
    at = place(**array.images.shape, array_sector=1)
    array.log(Data(1, [noise(-1)]))
    before = array.images.member_images()
    replay(array.store(tmp_path / "in"), tmp_path / "out")
    left = data_areas(array, images_in(tmp_path / "out"))
    wanted = data_areas(array, {slot_name(slot): image for slot, image in before.items()})
    span = slice(512, 512 + 4096)
    changed = {slot: bytearray(wanted[slot_name(slot)]) for slot in (at.device, at.pd_idx)}
    changed[at.device][span] = noise(-1)
    others = [area[span] for name, area in wanted.items() if name not in
              (slot_name(at.device), slot_name(at.pd_idx))]  # fmt: skip
    changed[at.pd_idx][span] = p_of([noise(-1), *others])
    assert left == wanted | {slot_name(slot): bytes(area) for slot, area in changed.items()}


@pytest.mark.parametrize("missing", range(5))
def test_a_degraded_array_gets_its_data_only_stripes_by_what_can_be_read(
    missing: int, tmp_path: Path
) -> None:
    """Whichever member is gone: what was written is on the rest, or follows from their parity."""
    array = WrittenArray(array_of(missing_slots=[missing]))
    array.write_data_only({0: noise(-1)})
    replay(array.store(tmp_path / "in"), tmp_path / "out")
    left = data_areas(array, images_in(tmp_path / "out"))
    assert left == data_areas(array, array.members_after())


def test_two_missing_members_of_which_one_was_written_leave_nothing_to_tell(
    tmp_path: Path,
) -> None:
    array = WrittenArray(array_of(level=6, raid_disks=6, missing_slots=[1, 2]))
    sectors = {
        at.device: sector
        for sector, at in stripe_map(**array.images.shape, stripe_sector=0).items()
    }
    array.write_data_only({sectors[1]: noise(-1)})
    paths = array.store(tmp_path / "in")
    with pytest.raises(BadInput, match="member 2, which cannot be read"):
        replay(paths, tmp_path / "out")
    assert not (tmp_path / "out").exists()
