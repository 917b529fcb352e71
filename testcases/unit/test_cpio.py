"""An initramfs is what the kernel's "newc" format says, and depends on nothing but its input.

The reader below knows buffer-format.rst alone: eight hexadecimal digits for each field.
"""

from __future__ import annotations

import stat
from collections.abc import Mapping

import pytest

from kvm_images.cpio import (
    Entry,
    character_device_entry,
    file_entry,
    symlink_entry,
    write_archive,
)

FIELDS = (
    "ino", "mode", "uid", "gid", "nlink", "mtime", "filesize", "devmajor", "devminor", "rdevmajor",
    "rdevminor", "namesize", "check",
)  # fmt: skip


class Member:
    """One entry as the reader finds it: every field, the name without its end, the content."""

    def __init__(self, archive: bytes, at: int) -> None:
        assert at % 4 == 0, "a header starts at a multiple of four"
        assert archive[at : at + 6] == b"070701"
        numbers = [int(archive[at + 6 + 8 * n : at + 14 + 8 * n], 16) for n in range(13)]
        self.fields = dict(zip(FIELDS, numbers, strict=True))
        name = archive[at + 110 : at + 110 + self.fields["namesize"]]
        assert len(name) == self.fields["namesize"]
        assert name.endswith(b"\0")
        self.name = name[:-1].decode()
        begin = up_to_four(at + 110 + len(name))
        assert not any(archive[at + 110 + len(name) : begin]), "padding is zeroes"
        self.content = archive[begin : begin + self.fields["filesize"]]
        assert len(self.content) == self.fields["filesize"]
        self.mode = self.fields["mode"]
        self.end = up_to_four(begin + len(self.content))
        assert not any(archive[begin + len(self.content) : self.end]), "padding is zeroes"


def up_to_four(number: int) -> int:
    return (number + 3) // 4 * 4


def read_members(archive: bytes) -> list[Member]:
    """Read an archive to its trailer, behind which there must be nothing."""
    members = [Member(archive, 0)]
    while members[-1].name != "TRAILER!!!":
        members.append(Member(archive, members[-1].end))
    assert members[-1].end == len(archive)
    return members[:-1]


def members_of(entries: Mapping[str, Entry]) -> dict[str, Member]:
    found = read_members(write_archive(entries))
    assert len({member.name for member in found}) == len(found), "each name once"
    return {member.name: member for member in found}


TREE = {
    "init": file_entry(b"#!/bin/sh\nexec /bin/sh\n", executable=True),
    "bin/busybox": file_entry(bytes(range(256)) * 5, executable=True),
    "bin/sh": symlink_entry("busybox"),
    "dev/console": character_device_entry(5, 1),
    "proc/.keep": file_entry(b""),
    "usr/lib/python3.11/encodings/utf_8.pyc": file_entry(b"\0\r\n\xff"),
}


def test_same_input_gives_the_same_bytes_in_whatever_order_it_comes() -> None:
    archive = write_archive(TREE)
    assert write_archive(dict(TREE)) == archive
    assert write_archive(dict(reversed(TREE.items()))) == archive


def test_nothing_of_this_machine_is_in_an_archive() -> None:
    for member in read_members(write_archive(TREE)):
        for field in ("uid", "gid", "mtime", "devmajor", "devminor", "check"):
            assert member.fields[field] == 0, (member.name, field)


def test_members_come_in_the_order_of_names_with_folders_before_what_is_in_them() -> None:
    names = [member.name for member in read_members(write_archive(TREE))]
    assert names == sorted(names)
    for place, name in enumerate(names):
        above = name.rpartition("/")[0]
        assert not above or above in names[:place], name


def test_a_name_that_sorts_between_a_folder_and_its_files_does_no_harm() -> None:
    entries = {"a/b": file_entry(b"1"), "a-b": file_entry(b"2"), "a.b/c": file_entry(b"3")}
    assert list(members_of(entries)) == ["a", "a-b", "a.b", "a.b/c", "a/b"]


def test_inode_numbers_are_all_different_so_nothing_is_a_hard_link() -> None:
    members = read_members(write_archive(TREE))
    numbers = [member.fields["ino"] for member in members]
    assert numbers == list(range(1, len(members) + 1))
    assert all(m.fields["nlink"] == (2 if stat.S_ISDIR(m.mode) else 1) for m in members)


def test_folders_are_made_once_and_can_be_entered() -> None:
    members = members_of(TREE)
    folders = [name for name, member in members.items() if stat.S_ISDIR(member.mode)]
    assert folders == [
        "bin", "dev", "proc", "usr", "usr/lib", "usr/lib/python3.11",
        "usr/lib/python3.11/encodings",
    ]  # fmt: skip
    assert {members[name].mode for name in folders} == {0o40755}
    assert {members[name].content for name in folders} == {b""}


def test_a_folder_that_was_given_keeps_its_own_mode() -> None:
    members = members_of({"tmp": Entry(stat.S_IFDIR | 0o1777), "tmp/file": file_entry(b"")})
    assert members["tmp"].mode == 0o41777


def test_what_was_given_is_not_changed() -> None:
    entries = {"a/b": file_entry(b"")}
    write_archive(entries)
    assert list(entries) == ["a/b"]


def test_a_device_node_has_its_numbers_and_no_content() -> None:
    console = members_of(TREE)["dev/console"]
    assert console.mode == 0o20600
    assert (console.fields["rdevmajor"], console.fields["rdevminor"]) == (5, 1)
    assert console.content == b""
    large = members_of({"node": character_device_entry(259, 0xABCDE)})["node"]
    assert (large.fields["rdevmajor"], large.fields["rdevminor"]) == (259, 0xABCDE)


def test_a_symbolic_link_holds_its_target_without_an_end_byte() -> None:
    link = members_of(TREE)["bin/sh"]
    assert (link.mode, link.content) == (0o120777, b"busybox")
    assert members_of({"k": symlink_entry("/größe")})["k"].content == "/größe".encode()


def test_only_an_executable_file_can_be_run() -> None:
    members = members_of(TREE)
    assert members["init"].mode == 0o100755
    assert members["proc/.keep"].mode == 0o100644


@pytest.mark.parametrize("length", range(9))
def test_content_of_any_length_is_padded_and_read_back(length: int) -> None:
    content = bytes(range(255, 255 - length, -1))
    members = members_of({"before": file_entry(content), "zz": file_entry(b"behind")})
    assert members["before"].content == content
    assert members["zz"].content == b"behind"


@pytest.mark.parametrize("length", [1, 2, 3, 4, 5, 6, 255, 4095])
def test_names_of_any_length_are_padded_and_read_back(length: int) -> None:
    name = "n" * length
    members = members_of({name: file_entry(b"x"), "zz": file_entry(b"behind")})
    assert members[name].fields["namesize"] == length + 1
    assert members["zz"].content == b"behind"


def test_a_name_is_measured_in_bytes_not_in_letters() -> None:
    members = members_of({"größe": file_entry(b"x"), "zz": file_entry(b"behind")})
    assert members["größe"].fields["namesize"] == len("größe".encode()) + 1
    assert members["zz"].content == b"behind"


def test_an_empty_file_is_there() -> None:
    keep = members_of(TREE)["proc/.keep"]
    assert (keep.mode, keep.fields["filesize"], keep.content) == (0o100644, 0, b"")


def test_no_entries_are_an_archive_too() -> None:
    archive = write_archive({})
    assert len(archive) == up_to_four(110 + len("TRAILER!!!") + 1)
    assert Member(archive, 0).name == "TRAILER!!!"
