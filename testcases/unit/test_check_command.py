"""`check` says of an array what the independent writer put into it, and never writes anything."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from testcases.journal_writer import Flush, Parity, Payload
from testcases.unit.checked_arrays import (
    check,
    named,
    ranges_of,
    sectors_of,
    with_three_stripes,
)
from testcases.unit.written_arrays import SEQ, WrittenArray, array_of, noise
from tools.cli import run

# Whole arrays


@pytest.mark.parametrize(("level", "layout"), [(4, 0), (5, 2), (6, 2)], ids=["4", "5", "6"])
def test_a_healthy_array_has_nothing_wrong(
    level: int, layout: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    array = with_three_stripes(WrittenArray(array_of(level, layout)))
    checked = check(capsys, array.store(tmp_path))
    assert (checked.status, checked.names()) == (0, set())
    data, parities = 3 * (5 - (2 if level == 6 else 1)), 3 * (2 if level == 6 else 1)
    assert (checked.log["metas"], checked.log["data_pages"]) == (3, data)
    assert checked.log["parity_pages"] == parities
    assert checked.log["live_sectors"] == array.position
    assert checked.log["data_parity_stripes"] == 3
    assert checked.log["with_parity"]["ranges"] == ranges_of(list(array.updates))
    assert checked.log["bytes_with_parity"] == data * 4096
    recovery = checked.said["journal"]["recovery"]
    assert recovery["message"] == "recovering 0 data-only stripes and 3 data-parity stripes"
    assert recovery["work"]["pages_read"] == 3 + data + parities
    assert recovery["work"]["pages_written"] == data + parities + 1  # and the empty meta block
    assert "mdadm --assemble /dev/mdX" in checked.commands
    assert checked.said["schema"] == 1


def test_members_are_told_with_slot_and_events(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = with_three_stripes(WrittenArray(array_of())).store(tmp_path)
    devices = check(capsys, paths[::-1]).said["array"]["devices"]
    assert [(d["slot"], d["state"], d["events"]) for d in devices] == [
        (slot, "in sync", 20) for slot in range(5)
    ]


def test_an_empty_log_is_no_fault(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    array = WrittenArray(array_of())
    array.log()
    checked = check(capsys, array.store(tmp_path))
    assert (checked.status, checked.log["empty_metas"], checked.log["live_sectors"]) == (0, 1, 8)
    assert checked.said["journal"]["recovery"]["message"] == "starting from clean shutdown"
    assert checked.log["with_parity"] == {"count": 0, "ranges": []}


def test_a_torn_meta_block_and_what_lies_behind_it_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    array = with_three_stripes(WrittenArray(array_of()))
    bad = array.position
    array.write({sectors_of(array, 64)[0]: noise(-2)})
    beyond = array.position
    array.write({sectors_of(array, 72)[0]: noise(-3)})
    array.ring.log[(bad + 8) * 512] ^= 1
    checked = check(capsys, array.store(tmp_path))
    assert (checked.status, checked.names()) == (1, {"torn-meta", "sequence-gap"})
    assert f"sector {beyond}, seq {SEQ + 4}" in checked.explained("sequence-gap")
    assert checked.log["end"] == bad + 8


def test_data_only_stripes_are_what_is_lost_for_good(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    array = with_three_stripes(WrittenArray(array_of()))
    only = sectors_of(array, 64)[1:3]
    array.write_data_only({at: noise(-at) for at in only})
    checked = check(capsys, array.store(tmp_path))
    assert (checked.status, checked.names()) == (0, set())
    assert checked.log["data_only_stripes"] == 1
    assert checked.log["data_only"]["ranges"] == ranges_of(only)
    assert checked.log["bytes_data_only"] == 2 * 4096
    assert checked.log["was_write_back"] is True


def test_flushed_and_parity_only_stripes_are_counted_apart(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    array = with_three_stripes(WrittenArray(array_of()))
    array.log(Flush((0, 8)))
    array.log(Parity(72, (noise(1),)))
    checked = check(capsys, array.store(tmp_path))
    kinds = ("data_parity_stripes", "flushed_stripes", "parity_only_stripes", "flush_payloads")
    assert [checked.log[kind] for kind in kinds] == [1, 2, 1, 2]
    assert checked.status == 0


# Parts of an array


def test_the_journal_alone_is_enough_for_what_it_holds(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    array = with_three_stripes(WrittenArray(array_of()))
    checked = check(capsys, array.store(tmp_path)[-1:])
    assert (checked.status, checked.log["data_parity_stripes"]) == (0, 3)
    assert "none was given" in checked.said["not_concluded"][0]


def test_without_the_journal_the_superblocks_speak(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    array = with_three_stripes(WrittenArray(array_of()))
    checked = check(capsys, array.store(tmp_path)[:-1])
    assert (checked.status, checked.names()) == (1, {"journal-missing"})
    assert checked.said["journal"] is None
    assert "what the journal holds" in checked.said["not_concluded"][0]
    assert "mdadm --assemble --force" in checked.commands
    assert "--add-journal" in checked.commands


def test_members_that_are_not_given_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = with_three_stripes(WrittenArray(array_of())).store(tmp_path)
    one_less = check(capsys, paths[1:])
    assert one_less.names() == {"member-not-given"}
    assert one_less.said["array"]["not_given"] == [0]
    assert check(capsys, paths[2:]).names() == {"member-not-given", "too-few-members"}


# Damaged images


def cut_short(image: Path) -> None:
    os.truncate(image, image.stat().st_size - 4096)


def spoil_superblock(image: Path) -> None:
    content = bytearray(image.read_bytes())
    content[4096 + 200] ^= 1  # its events
    image.write_bytes(content)


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "empty": (lambda image: os.truncate(image, 0), "is empty"),
    "cut-short": (cut_short, "device is truncated"),
    "in-a-sector": (lambda image: os.truncate(image, image.stat().st_size + 1), "into a sector"),
    "superblock": (spoil_superblock, "sb_csum is"),
    "zeroes": (lambda image: image.write_bytes(bytes(image.stat().st_size)), "no md superblock"),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_journal_is_left_out_and_the_members_are_told_of(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    damage, reason = DAMAGE[kind]
    paths = with_three_stripes(WrittenArray(array_of())).store(tmp_path)
    without = check(capsys, paths[:-1])
    damage(paths[-1])
    checked = check(capsys, paths)
    assert (checked.status, checked.names()) == (1, {"journal-missing", "unusable-image"})
    assert "unusable-image" in checked.names("danger")
    explained = checked.explained("unusable-image")
    assert "it may be the journal" in explained
    assert f"{paths[-1]}: " in explained
    assert reason in explained
    (unusable,) = checked.said["array"].pop("unusable")
    assert unusable["label"] == str(paths[-1])
    assert checked.said["array"] | {"unusable": []} == without.said["array"]
    assert checked.said["journal"] is None
    assert checked.commands.startswith("ddrescue ")
    assert without.commands in checked.commands


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_member_is_left_out_and_the_journal_is_told_of(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    damage, reason = DAMAGE[kind]
    paths = with_three_stripes(WrittenArray(array_of())).store(tmp_path)
    without = check(capsys, paths[1:])
    damage(paths[0])
    checked = check(capsys, paths)
    assert checked.status == 1
    assert checked.names("warning") == {"member-not-given", "unusable-image"}
    assert checked.names("danger") == set()
    assert reason in checked.explained("unusable-image")
    assert checked.said["journal"] == without.said["journal"]
    assert checked.said["array"]["not_given"] == [0]


def test_a_journal_whose_tail_cannot_be_read_is_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # The part block behind the ring passes for a tail, and the device ends inside it.
    paths = WrittenArray(array_of(log_sectors=131)).store(tmp_path, journal_tail=128)
    checked = check(capsys, paths)
    assert checked.names("danger") == {"journal-missing", "unusable-image"}
    assert "journal.img: block 128 of the log cannot be read" in checked.explained("unusable-image")
    assert [device["state"] for device in checked.said["array"]["devices"]] == ["in sync"] * 5
    assert run(["check", str(paths[-1])]) == 2
    assert "journal.img: block 128 of the log cannot be read" in capsys.readouterr().err


def test_where_all_images_are_damaged_nothing_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = WrittenArray(array_of()).store(tmp_path)[-2:]
    for path in paths:
        cut_short(path)
    assert run(["check", *map(str, paths)]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert "member4.img: device is truncated" in said.err


def test_a_damaged_image_is_in_the_text(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = with_three_stripes(WrittenArray(array_of())).store(tmp_path)
    cut_short(paths[-1])
    assert run(["check", *map(str, paths)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert f"     ?  unusable        {paths[-1]}" in lines
    assert any(line.startswith("  DANGER unusable-image: ") for line in lines)


# Eras


def test_eras_are_told_that_leave_other_members(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    array = with_three_stripes(WrittenArray(array_of()))
    array.log(Flush((0,)))
    differ = check(capsys, array.store(tmp_path)).said["journal"]["eras_that_differ"]
    by_era = {name: one for one in differ for name in one["eras"]}
    assert set(by_era) == {"4.4-rc1", "4.4", "4.9", "4.10", "4.11"}
    assert all(by_era[name]["cannot_be_told"] for name in ("4.4-rc1", "4.4", "4.9"))
    assert "5 more pages" in by_era["4.10"]["members"][0], "the stripe that was flushed"


def test_of_a_plain_log_only_the_sequence_of_old_eras_differs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = with_three_stripes(WrittenArray(array_of())).store(tmp_path)
    (old,) = check(capsys, paths).said["journal"]["eras_that_differ"]
    assert old["eras"] == ["4.4-rc1", "4.4", "4.9"]
    assert (old["members"], old["cannot_be_told"]) == ([], False)
    assert f"seq {SEQ + 3 + 10}, not {SEQ + 3 + 10000}" in old["journal"][0]


def test_the_era_asked_for_is_the_one_that_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = with_three_stripes(WrittenArray(array_of())).store(tmp_path)
    said = check(capsys, paths, "--era", "4.9").said
    assert (said["era"], said["journal"]["recovery"]["message"]) == ("4.9", None)
    assert {name for one in said["journal"]["eras_that_differ"] for name in one["eras"]} == {
        "4.10", "4.11", "4.12", "6.1.175", "6.12.117",
    }  # fmt: skip


def test_dump_names_the_eras_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = with_three_stripes(WrittenArray(array_of())).store(tmp_path)
    assert run(["dump", *map(str, paths)]) == 0
    assert "not so on a kernel of era 4.4-rc1, 4.4, 4.9: goes on" in capsys.readouterr().out
    assert run(["dump", "--json", *map(str, paths)]) == 0
    (differing,) = json.loads(capsys.readouterr().out)["eras_that_differ"]
    assert differing["eras"] == ["4.4-rc1", "4.4", "4.9"]


# Text and misuse


def payload_of_many_kinds(array: WrittenArray) -> list[Payload]:
    return [Flush((0,)), *array.payloads({sectors_of(array, 64)[0]: noise(-2)})[:-1]]


def test_the_text_fits_a_terminal_and_has_every_section(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    array = with_three_stripes(WrittenArray(array_of(missing_slots=[1])))
    array.log(*payload_of_many_kinds(array))
    os.chdir(tmp_path)
    paths = [path.relative_to(tmp_path) for path in array.store(tmp_path)]
    assert run(["check", *map(str, paths)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 100
    assert [line for line in lines if line.isupper() and not line.startswith(" ")] == [
        "ARRAY", "JOURNAL", "WHAT A KERNEL OF ERA 6.12.117 DOES",
        "WHAT IS LOST WITHOUT THE JOURNAL", "OTHER KERNELS", "SUSPICIOUS", "WHAT TO DO",
        "WHAT CANNOT BE CONCLUDED",
    ]  # fmt: skip


@pytest.mark.parametrize("kind", ["nothing", "folder", "device", "two-arrays", "no-journal"])
def test_what_cannot_be_used_is_refused(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    array = with_three_stripes(WrittenArray(array_of()))
    paths = array.store(tmp_path / "one")
    other = replace(array.images, set_uuid=bytes(16))
    if kind == "nothing":
        paths = [tmp_path / "missing.img"]
    elif kind == "folder":
        paths = [tmp_path]
    elif kind == "device":
        paths = [Path("/dev/null")]
    elif kind == "two-arrays":
        paths += WrittenArray(other).store(tmp_path / "two")
    else:
        fields = {slot: {"feature_map": 0} for slot in range(5)}
        paths = named(array, tmp_path / "three", fields)[:-1]
    assert run(["check", *map(str, paths)]) == 2
    assert capsys.readouterr().err.startswith("mdjournal check: ")
