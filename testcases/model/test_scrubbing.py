"""Scrubbed journals of real kernels: recovery does with them what it did, and no data is left."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

import pytest

from harness.campaign.reproducing.packing import disk_images
from harness.campaign.reproducing.scrubbing import NAME, Scrubber
from harness.crash.content import DiskContent
from harness.ondisk.log import MAGIC
from harness.ondisk.superblock import with_identity
from harness.ondisk.units import BLOCK_SECTORS, SECTOR_BYTES, StripeSector
from harness.recovery.era import NEWEST_ERA
from harness.recovery.members import no_longer_members, put_together
from harness.recovery.metawise import DEFAULT_STRIPE_CACHE_SIZE
from harness.recovery.parity import q_syndrome, xor_pages
from harness.verdict.predicted_state import PredictedState, predict_state, superblocks_of

CORPUS = sorted((Path(__file__).parents[1] / "corpus").glob("*/images.tar.xz"))
KEY = b"of the test"
WINDOW = 32  # bytes of data that must not be anywhere any more: a stamp of the workload

Contents = Mapping[str, DiskContent]


@cache
def disks(case: Path, folder: Path) -> tuple[dict[str, DiskContent], dict[str, int]]:
    with tarfile.open(case) as tar:
        tar.extractall(folder, filter="data")
    images = disk_images(folder / "before")
    return {n: i.content for n, i in images.items()}, {n: i.size_bytes for n, i in images.items()}


def scrubbed(contents: Contents, sizes: dict[str, int]) -> dict[str, DiskContent]:
    superblocks = superblocks_of(contents, sizes)
    gone = no_longer_members(superblocks)
    array = put_together({name: s for name, s in superblocks.items() if name not in gone})
    return Scrubber(array, superblocks, contents, KEY).scrubbed()


def predicted(contents: Contents, sizes: dict[str, int]) -> PredictedState:
    return predict_state(contents, sizes, NEWEST_ERA, stripe_cache_size=DEFAULT_STRIPE_CACHE_SIZE)


def fitting_parities(state: PredictedState) -> Iterator[tuple[int, bool, bool]]:
    """Yield each stripe that holds something, and whether its P and its Q fit."""
    array = state.array
    members = {slot: state.after[names[0]] for slot, names in array.members.items()}
    offset = {slot: array.superblocks[names[0]].data_offset // BLOCK_SECTORS
              for slot, names in array.members.items()}  # fmt: skip
    for stripe in range(0, array.geometry.member_sectors, BLOCK_SECTORS):
        pages = {s: c.block(offset[s] + stripe // BLOCK_SECTORS) for s, c in members.items()}
        row = array.geometry.row_at(StripeSector(stripe))
        if not any(map(any, pages.values())) or not set(row.data) <= pages.keys():
            continue
        p_fits = pages.get(row.pd_idx) == xor_pages(pages[slot] for slot in row.data)
        q_fits = False
        if row.qd_idx is not None:
            exponents = array.geometry.q_exponents(row)
            q_fits = pages.get(row.qd_idx) == q_syndrome({exponents[s]: pages[s] for s in row.data})
        yield stripe, p_fits, q_fits


def windows(contents: Contents) -> set[bytes]:
    """Return each stretch of all disks that is no zeroes, but for meta blocks."""
    found = set()
    for content in contents.values():
        for block in content.blocks.values():
            if not block.startswith(MAGIC.to_bytes(4, "little")):
                found |= {block[at : at + WINDOW] for at in range(0, len(block), WINDOW)}
    return found - {bytes(WINDOW)}


@pytest.mark.parametrize("case", CORPUS, ids=lambda path: path.parent.name)
def test_recovery_does_the_same_with_a_scrubbed_journal(case: Path, tmp_path: Path) -> None:
    contents, sizes = disks(case, tmp_path)
    before, after = predicted(contents, sizes), predicted(scrubbed(contents, sizes), sizes)
    for name in ("metas_accepted", "metas_dropped", "data_parity", "journal_tail", "message"):
        assert getattr(before.plan, name) == getattr(after.plan, name), name
    assert len(before.plan.data_only) == len(after.plan.data_only)
    assert list(fitting_parities(before)) == list(fitting_parities(after))


@pytest.mark.parametrize("case", CORPUS[::5], ids=lambda path: path.parent.name)
def test_nothing_of_the_data_is_left(case: Path, tmp_path: Path) -> None:
    contents, sizes = disks(case, tmp_path)
    new = scrubbed(contents, sizes)
    old = windows(_without_superblocks(contents, sizes))
    assert len(old) > 100  # there was some
    assert not old & windows(_without_superblocks(new, sizes))


def _without_superblocks(contents: Contents, sizes: dict[str, int]) -> Contents:
    superblocks = superblocks_of(contents, sizes)
    found = {name: content.copy() for name, content in contents.items()}
    for name, superblock in superblocks.items():
        found[name].clear(superblock.at * SECTOR_BYTES, 4096)
    return found


def test_names_and_uuids_are_new(tmp_path: Path) -> None:
    contents, sizes = disks(CORPUS[0], tmp_path)
    old = superblocks_of(contents, sizes)
    new = superblocks_of(scrubbed(contents, sizes), sizes)
    assert {s.set_uuid for s in old.values()}.isdisjoint(s.set_uuid for s in new.values())
    assert len({s.set_uuid for s in new.values()}) == 1
    assert len({s.device_uuid for s in new.values()}) == len(old)
    for name, superblock in new.items():
        was = old[name]
        raw = with_identity(
            was, set_uuid=superblock.set_uuid, set_name=NAME, device_uuid=superblock.device_uuid
        )
        assert superblock.raw == raw  # and nothing else
        assert superblock.events == was.events


def test_another_key_gives_other_patterns(tmp_path: Path) -> None:
    contents, sizes = disks(CORPUS[0], tmp_path)
    superblocks = superblocks_of(contents, sizes)
    array = put_together(superblocks)
    one = Scrubber(array, superblocks, contents, b"one").scrubbed()
    two = Scrubber(array, superblocks, contents, b"two").scrubbed()
    first, second = (windows(_without_superblocks(each, sizes)) for each in (one, two))
    assert first.isdisjoint(second)
