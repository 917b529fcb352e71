"""Images after the recovery of each era, and the era of each kernel.

Expected bytes come from the independent writer and from the format document, sections 4.3 to 4.6:
what is marked [S] there was seen by running the recovery code of 4.4-rc1 and 4.4.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from harness.errors import BadImage, BadInput
from harness.recovery.era import ERAS, NEWEST_ERA, era_named
from harness.recovery.kernel_versions import era_of_version, era_to_run, known_ranges
from harness.storage.array_files import read_array
from harness.storage.replay import Replayed, replay_to
from testcases.independent_geometry import place, stripe_map
from testcases.journal_writer import Data, Flush, Parity, Raw, meta_block
from testcases.model.test_era_table import page_with_checksum
from testcases.unit.written_arrays import (
    SEQ,
    WrittenArray,
    array_of,
    images_in,
    noise,
    slot_name,
)

BY_STRIPE = ("4.4-rc1", "4.4", "4.9")
BY_META = ("4.10", "4.11", "4.12", "6.1.175", "6.12.117")
WITHOUT_A_RULE_FOR_ONE_META = ("4.4-rc1", "4.4")
ALL = (*BY_STRIPE, *BY_META)

every_era = pytest.mark.parametrize("era", ALL)
eras_by_stripe = pytest.mark.parametrize("era", BY_STRIPE)
eras_by_meta = pytest.mark.parametrize("era", BY_META)
PAGE = 4096


def replayed(array: WrittenArray, era: str, folder: Path, **journal: int) -> Replayed:
    paths = array.store(folder / "in", **journal)  # type: ignore[arg-type]
    degraded = bool(array.images.failed_slots or array.images.missing_slots)
    return replay_to(read_array(paths, degraded=degraded), folder / "out", era=ERAS[era])


def members_in(folder: Path) -> dict[str, bytes]:
    return {name: image for name, image in images_in(folder).items() if name != "journal.img"}


def journal_in(folder: Path) -> bytes:
    return (folder / "journal.img").read_bytes()


def jump(era: str) -> int:
    return 10 if era in BY_STRIPE else 10000


def sectors_of(array: WrittenArray, stripe: int) -> list[int]:
    return list(stripe_map(**array.images.shape, stripe_sector=stripe))


def patched(
    array: WrittenArray, before: Mapping[str, bytes], pages: Mapping[tuple[int, int], bytes]
) -> dict[str, bytes]:
    """Return members' images with other pages; *pages* is by (slot, sector of the member)."""
    after = {name: bytearray(image) for name, image in before.items()}
    for (slot, sector), new in pages.items():
        at = (array.images.first_sector + sector) * 512
        after[slot_name(slot)][at : at + PAGE] = new
    return {name: bytes(image) for name, image in after.items()}


@contextmanager
def not_written(array: WrittenArray) -> Iterator[None]:
    """Log what never reaches the members: the array is taken not to hold it."""
    kept = dict(array.updates)
    yield
    array.updates = kept


# Undamaged logs: the same members in every era, and another number in the journal.


@every_era
@pytest.mark.parametrize(
    ("level", "failed"), [(5, (1,)), (6, ())], ids=["raid5-degraded", "raid6"]
)  # fmt: skip
def test_write_through_log_leaves_the_same_members_in_every_era(
    era: str, level: int, failed: tuple[int, ...], tmp_path: Path
) -> None:
    array = WrittenArray(array_of(level, missing_slots=failed))
    array.write({sectors_of(array, 8)[1]: noise(-1)})
    array.write({sector: noise(-2 - sector) for sector in sectors_of(array, 56)})
    array.write({sectors_of(array, 8)[1]: noise(-3)})
    assert replayed(array, era, tmp_path).pages_written > 0
    assert members_in(tmp_path / "out") == array.members_after()
    assert journal_in(tmp_path / "out") == array.journal_after(seq=array.seq + jump(era))


@every_era
def test_log_of_one_meta_is_left_as_it_is_by_the_first_eras_only(era: str, tmp_path: Path) -> None:
    array = WrittenArray(array_of())
    array.write({0: noise(-1)})
    replayed(array, era, tmp_path)
    assert members_in(tmp_path / "out") == array.members_after()
    if era in WITHOUT_A_RULE_FOR_ONE_META:
        assert journal_in(tmp_path / "out") == array.images.journal_image(array.ring)
        again = read_array(sorted((tmp_path / "out").iterdir()))
        assert replay_to(again, tmp_path / "again", era=ERAS[era]).plan.data_parity == 1
        assert images_in(tmp_path / "again") == images_in(tmp_path / "out")
    else:
        assert journal_in(tmp_path / "out") == array.journal_after(seq=array.seq + jump(era))


# Damage inside a meta of several stripes.


def with_two_stripes_of_which_one_is_bad(array: WrittenArray, damaged: str) -> int:
    """Log a good meta, then one of two stripes; return where that one lies."""
    array.write({0: noise(-1)})
    bad = array.position
    first = array.payloads({sectors_of(array, 48)[0]: noise(-2)})
    with not_written(array):
        second = array.payloads({sectors_of(array, 88)[2]: noise(-3)})
        array.log(*first, *second)
    parities = 2 if array.images.level == 6 else 1
    page = {"data": 1 + parities, "p": 2 + parities, "q": 3 + parities}[damaged]
    array.ring.log[(bad + 8 + 8 * page) * 512 + 9] ^= 1
    return bad


@every_era
@pytest.mark.parametrize(("level", "damaged"), [(5, "data"), (6, "p"), (6, "q")])
def test_earlier_stripes_of_a_bad_meta_are_written_until_it_is_verified_whole(
    era: str, level: int, damaged: str, tmp_path: Path
) -> None:
    array = WrittenArray(array_of(level))
    bad = with_two_stripes_of_which_one_is_bad(array, damaged)
    if era in BY_META:
        array.updates = {0: noise(-1)}
    plan = replayed(array, era, tmp_path).plan
    assert members_in(tmp_path / "out") == array.members_after()
    assert plan.data_parity == (2 if era in BY_STRIPE else 1)
    journal = {
        # One meta was accepted: too few for an empty meta in the first two eras.
        "4.4-rc1": array.images.journal_image(array.ring),
        "4.4": array.images.journal_image(array.ring),
        "4.9": array.journal_after(position=bad, seq=SEQ + 1 + 10),
    }
    later = array.journal_after(position=bad + 8, seq=SEQ + 2 + 10000)
    assert journal_in(tmp_path / "out") == journal.get(era, later)


# What the first eras make of unusual stripes [S].


@every_era
def test_parity_that_comes_first_is_written_where_its_sector_of_the_array_lies(
    era: str, tmp_path: Path
) -> None:
    array = WrittenArray(array_of(6))
    array.write({0: noise(-1)})
    before = array.members_after()
    location = 40
    array.log(Parity(location, [noise(-2), noise(-3)]))
    replayed(array, era, tmp_path)
    mapped = place(**array.images.shape, array_sector=location)
    assert mapped.member_sector != location
    assert mapped.qd_idx is not None
    written = {
        (mapped.pd_idx, mapped.member_sector): noise(-2),
        (mapped.qd_idx, mapped.member_sector): noise(-3),
    }
    wanted = patched(array, before, written if era in BY_STRIPE else {})
    assert members_in(tmp_path / "out") == wanted
    assert journal_in(tmp_path / "out") == array.journal_after(seq=array.seq + jump(era))


@eras_by_stripe
def test_oversized_parity_is_written_and_ends_what_is_found_in_its_meta(
    era: str, tmp_path: Path
) -> None:
    array = WrittenArray(array_of())
    array.write({0: noise(-1)})
    data, parity = array.payloads({sectors_of(array, 48)[0]: noise(-2)})
    oversized = Parity(parity.location, parity.pages, size=512, checksums=None)
    with not_written(array):
        lost = array.payloads({sectors_of(array, 88)[0]: noise(-3)})
        array.log(data, oversized, *lost)
    found = replayed(array, era, tmp_path)
    assert members_in(tmp_path / "out") == array.members_after()
    # Three blocks of this meta were loaded, so the scan goes on with a page of the lost stripe.
    end = array.position - 16
    assert journal_in(tmp_path / "out") == array.journal_after(
        position=end, seq=array.seq + jump(era)
    )
    assert found.plan.metas_accepted == 2


@every_era
def test_location_beyond_the_array_is_not_written_and_the_scan_goes_on(
    era: str, tmp_path: Path
) -> None:
    array = WrittenArray(array_of())
    dd, size = 4, array.images.data_sectors
    array.log(Data(size * dd, [noise(-1)]), Parity(size, [noise(-2)]))
    array.write({8: noise(-3)})
    found = replayed(array, era, tmp_path)
    assert members_in(tmp_path / "out") == array.members_after()
    assert sorted(outside.sector for outside in found.outside) == [size, size]
    assert journal_in(tmp_path / "out") == array.journal_after(seq=array.seq + jump(era))


# A tail that cannot be.


@every_era
@pytest.mark.parametrize(("tail", "metas"), [(3, 1), (256, 1), (3, 2)])
def test_bad_tail_counts_as_0_and_stays_where_nothing_is_written(
    era: str, tail: int, metas: int, tmp_path: Path
) -> None:
    array = WrittenArray(array_of())
    for number in range(metas):
        array.write({number * 8: noise(-1 - number)})
    replayed(array, era, tmp_path, journal_tail=tail)
    assert members_in(tmp_path / "out") == array.members_after()
    if era in WITHOUT_A_RULE_FOR_ONE_META and metas == 1:
        wanted = array.images.journal_image(array.ring, journal_tail=tail)
    else:
        wanted = array.journal_after(seq=array.seq + jump(era))
    assert journal_in(tmp_path / "out") == wanted


@every_era
def test_new_log_is_made_as_the_era_makes_it(era: str, tmp_path: Path) -> None:
    array = WrittenArray(array_of())
    array.write({0: noise(-1)})
    array.write({48: noise(-2)})
    before = array.images.member_images()
    replayed(array, era, tmp_path, journal_tail=16)
    out = tmp_path / "out"
    assert members_in(out) == {slot_name(slot): image for slot, image in before.items()}
    at = (array.images.first_sector + 0) * 512 + 16
    drawn = int.from_bytes(journal_in(out)[at : at + 8], "little")
    for position, seq in {"4.9": [(0, drawn), (8, drawn + 11)]}.get(era, [(0, drawn)]):
        if era not in WITHOUT_A_RULE_FOR_ONE_META:
            block = meta_block(seed=array.ring.seed, seq=seq, position=position)
            array.ring.put_block(position=position, block=block)
    tail = 8 if era == "4.9" else 0
    assert journal_in(out) == array.images.journal_image(array.ring, journal_tail=tail)
    again = replay_to(read_array(sorted(out.iterdir())), tmp_path / "again", era=ERAS[era])
    # Where nothing was written, the next assembly follows the old log from block 0 on.
    assert again.plan.data_parity == (2 if era in WITHOUT_A_RULE_FOR_ONE_META else 0)


# What an era does not know.


@eras_by_stripe
@pytest.mark.parametrize(
    "payload",
    [
        pytest.param(Flush([0]), id="flush"),
        pytest.param(Data(0, [noise(-9)]), id="data-without-parity"),
        pytest.param(Raw(bytes(16)), id="data-of-no-pages"),
        pytest.param(Raw(b"\3" + bytes(19)), id="unknown-type"),
    ],
)
def test_what_leads_the_first_eras_out_of_the_block_is_refused_by_name(
    era: str, payload: Flush | Data | Raw, tmp_path: Path
) -> None:
    array = WrittenArray(array_of())
    array.write({0: noise(-1)})
    array.log(payload)
    with pytest.raises(BadImage, match=rf"journal\.img: era {era}: .*cannot be told"):
        replayed(array, era, tmp_path)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("era", ["4.10", "4.11", "4.12", "6.1.175"])
def test_scan_that_leaves_the_ring_is_refused_and_writes_nothing_there(
    era: str, tmp_path: Path
) -> None:
    # Descriptors of no pages, each with the checksum that the next one begins with, move the scan
    # on by more blocks than a small ring has.
    array = WrittenArray(array_of(log_sectors=64))
    array.log(Raw(bytes(16 * 253), pages=[page_with_checksum(0)]))
    with pytest.raises(BadImage, match="ends at log sector 1968, outside of the ring of 64"):
        replayed(array, era, tmp_path)


@eras_by_meta
def test_data_only_stripe_is_logged_anew_and_since_4_11_written_out(
    era: str, tmp_path: Path
) -> None:
    array = WrittenArray(array_of())
    array.write_data_only({0: noise(-1)})
    if era == "4.10":
        array.updates.clear()
    replayed(array, era, tmp_path)
    assert members_in(tmp_path / "out") == array.members_after()
    journal = array.journal_after(seq=array.seq + 10000)
    if era == "4.10":
        at = array.position
        array.ring.append(seq=array.seq + 10000, position=at, payloads=[Data(0, [noise(-1)])])
        journal = array.images.journal_image(array.ring, journal_tail=at)
    assert journal_in(tmp_path / "out") == journal


# The era of a kernel: sections 0.2, 4.5 and 8.1 (K8, K9, K14).


@pytest.mark.parametrize(
    ("version", "era"),
    [
        ("4.4-rc1", "4.4-rc1"), ("4.4.0-rc8", "4.4-rc1"), ("4.4", "4.4"), ("4.4.302", "4.4"),
        ("4.4.5-rc1", "4.4"), ("4.4.1-arch1", "4.4"),
        ("4.6.3", "4.4"), ("4.8.17", "4.4"), ("4.9", "4.9"), ("4.9.0", "4.9"), ("4.9.337", "4.9"),
        ("4.10.1", "4.10"), ("4.11.12", "4.11"), ("4.12", "4.12"), ("4.19.100-1", "4.12"),
        ("5.4.1", "4.12"), ("5.10.257", "4.12"), ("5.10.258", "6.1.175"),
        ("5.14.21-150500.53-default", "4.12"), ("6.1.174", "4.12"), ("6.1.175", "6.1.175"),
        ("6.1.192-1", "6.1.175"), ("6.12.50", "4.12"), ("6.12.85", "4.12"),
        ("6.12.86", "6.1.175"), ("6.12.116-1", "6.1.175"), ("6.12.117-1~deb12u1", "6.12.117"),
        ("7.3~rc7-1~exp1", "6.1.175"),
    ],
)  # fmt: skip
def test_version_has_the_era_of_its_own_branch(version: str, era: str) -> None:
    assert era_of_version(version) is ERAS[era] is era_to_run(version)


@pytest.mark.parametrize("version", ["4.3.6", "3.16.0", "6.1.193", "6.12.118", "7.9", "999.0.1"])
def test_version_beyond_the_table_is_refused_with_the_ranges_known(version: str) -> None:
    with pytest.raises(BadInput) as refused:
        era_of_version(version)
    assert version in str(refused.value)
    for known in ("4.4 to 4.8", "4.12 to 5.9", "6.1.0 to 6.1.192", "6.12.0 to 6.12.117"):
        assert known in known_ranges()
        assert known in str(refused.value)


@pytest.mark.parametrize("text", ["", "6", "newest", "v6.1", "linux-6.1"])
def test_text_that_is_no_version_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(BadInput, match=r"wanted something like 6\.1\.192"):
        era_of_version(text)


def test_unknown_era_is_refused_with_the_names_known() -> None:
    with pytest.raises(BadInput, match=", ".join(ALL).replace(".", r"\.")):
        era_named("4.13")
    assert NEWEST_ERA is ERAS[ALL[-1]]
