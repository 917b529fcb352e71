"""Replays of arrays of unusual sizes: logical blocks, journals, metadata versions, long numbers.

Expected bytes are the independent writer's.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.recovery.era import ERAS, NEWEST_ERA
from harness.storage.array_files import read_array
from harness.storage.replay import replay_to
from testcases.independent_geometry import SuperblockFields, stripe_map
from testcases.unit.written_arrays import WrittenArray, array_of, images_in, noise, slot_name, store

MINOR_VERSIONS = [
    pytest.param(0, 0, id="metadata-1.0"),
    pytest.param(1, 16, id="metadata-1.1"),
    pytest.param(2, 16, id="metadata-1.2"),
]


def with_writes(array: WrittenArray) -> WrittenArray:
    """Log a page, a full stripe and the last page of the array."""
    array.write({8: noise(-1)})
    for stripe in (64, 152):
        sectors = list(stripe_map(**array.images.shape, stripe_sector=stripe))
        array.write({sector: noise(-2 - sector) for sector in sectors})
    return array


@pytest.mark.parametrize("logical_block_bytes", [512, 4096])
@pytest.mark.parametrize(("minor", "data_offset"), MINOR_VERSIONS)
@pytest.mark.parametrize("max_dev", [128, 1920], ids=["few-roles", "roles-to-the-blocks-end"])
def test_superblock_of_any_logical_block_keeps_all_but_its_tail(
    logical_block_bytes: int, minor: int, data_offset: int, max_dev: int, tmp_path: Path
) -> None:
    images = array_of(minor_version=minor, data_offset=data_offset)
    array = with_writes(WrittenArray(images))
    fields: SuperblockFields = {"logical_block_size": logical_block_bytes, "max_dev": max_dev}
    before = {
        slot_name(slot): image
        for slot, image in images.member_images(dict.fromkeys(range(5), fields)).items()
    }
    before["journal.img"] = images.journal_image(array.ring, **fields)
    files = read_array(store(tmp_path / "in", before))
    assert files.journal.logical_block_bytes == logical_block_bytes
    replay_to(files, tmp_path / "out", era=NEWEST_ERA)
    after = images_in(tmp_path / "out")
    start = data_offset * 512
    for name, image in array.members_after().items():
        end = start + images.data_sectors * 512
        assert after[name][start:end] == image[start:end]
        assert after[name][:start] + after[name][end:] == before[name][:start] + before[name][end:]
    wanted = WrittenArray(images)
    wanted.ring.log[:] = array.ring.log
    at, seq = array.position, array.seq + 10000
    wanted.ring.append(seq=seq, position=at)
    fields["journal_tail"] = at
    assert after["journal.img"] == images.journal_image(wanted.ring, **fields)


@pytest.mark.parametrize("log_sectors", [128, 135, 4103])
@pytest.mark.parametrize(("minor", "data_offset"), MINOR_VERSIONS)
@pytest.mark.parametrize("place", ["first", "last"])
def test_journal_smaller_or_larger_than_a_member_is_replayed_from_any_block(
    log_sectors: int, minor: int, data_offset: int, place: str, tmp_path: Path
) -> None:
    images = array_of(minor_version=minor, data_offset=data_offset, log_sectors=log_sectors)
    start = 0 if place == "first" else (log_sectors & ~7) - 8
    array = WrittenArray(images, position=start)
    array.write({8: noise(-1)})
    array.write({64: noise(-2)})
    replay_to(
        read_array(array.store(tmp_path / "in", journal_tail=start)), tmp_path / "out",
        era=NEWEST_ERA,
    )  # fmt: skip
    assert images_in(tmp_path / "out") == array.members_after() | {
        "journal.img": array.journal_after()
    }


@pytest.mark.parametrize("era", ["4.4", "4.9", "6.12.117"])
@pytest.mark.parametrize("seq", [2**32 - 2, 2**40, 2**63 - 1], ids=["32", "40", "63"])
def test_numbers_past_any_width_are_counted_on(era: str, seq: int, tmp_path: Path) -> None:
    array = with_writes(WrittenArray(array_of(), seq=seq))
    replay_to(read_array(array.store(tmp_path / "in")), tmp_path / "out", era=ERAS[era])
    jump = 10000 if era == "6.12.117" else 10
    journal = array.journal_after(seq=seq + 3 + jump)
    assert images_in(tmp_path / "out") == array.members_after() | {"journal.img": journal}
