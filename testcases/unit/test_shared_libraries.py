"""The libraries that a program needs are found in files alone, or the next step is named."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path

import pytest

from harness.errors import EXIT_MISUSE, Unavailable
from kvm_images.shared_libraries import FOLDERS, LOADER, closure, needed

NEEDED, NULL, STRTAB, SONAME, RUNPATH = 1, 0, 5, 14, 29
DEBIAN = "lib/x86_64-linux-gnu"


def elf(sections: dict[str, bytes]) -> bytes:
    """Return a 64-bit little-endian ELF file of these sections, written field by field."""
    names = b"\0"
    body = b""
    rows = [bytes(64)]
    for name, content in [*sections.items(), (".shstrtab", b"")]:
        at = len(names)
        names += name.encode() + b"\0"
        held = names if name == ".shstrtab" else content
        row = struct.pack("<LL", at, 1) + struct.pack("<QQ", 0, 0)
        row += struct.pack("<QQ", 64 + len(body), len(held))
        row += struct.pack("<LLQQ", 0, 0, 1, 0)
        assert len(row) == 64
        rows.append(row)
        body += held
    header = b"\x7fELF" + bytes([2, 1, 1]) + bytes(9)
    header += struct.pack("<HHL", 3, 62, 1) + struct.pack("<QQQ", 0, 0, 64 + len(body))
    header += struct.pack("<LHHHHHH", 0, 64, 0, 0, 64, len(rows), len(rows) - 1)
    assert len(header) == 64
    return header + body + b"".join(rows)


def program(*libraries: str, before: Sequence[tuple[int, str]] = (), pad: int = 1) -> bytes:
    """Return an ELF file that needs *libraries*; *before* are other entries with a string."""
    strings = b"\0"
    dynamic = b""
    for tag, text in (*before, *((NEEDED, library) for library in libraries)):
        dynamic += struct.pack("<qQ", tag, len(strings))
        strings += text.encode() + b"\0"
    dynamic += struct.pack("<qQ", STRTAB, 1)
    dynamic += struct.pack("<qQ", NULL, 0) * pad
    return elf({".text": b"\x90" * 3, ".dynstr": strings, ".dynamic": dynamic})


def root_with(folder: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


def test_needed_names_come_in_the_order_of_the_file() -> None:
    assert needed(program("libz.so.1", "libc.so.6", "libm.so.6")) == [
        "libz.so.1", "libc.so.6", "libm.so.6",
    ]  # fmt: skip


def test_other_entries_with_strings_are_no_libraries() -> None:
    others = [(SONAME, "libself.so.1"), (RUNPATH, "/opt/lib")]
    assert needed(program("libc.so.6", before=others)) == ["libc.so.6"]


def test_empty_entries_behind_the_last_one_are_nothing() -> None:
    assert needed(program("libc.so.6", pad=5)) == ["libc.so.6"]


def test_a_static_program_needs_nothing() -> None:
    assert needed(elf({".text": b"\x90"})) == []


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"#!/bin/sh\n", id="script"),
        pytest.param(program("libc.so.6")[:-1], id="truncated"),
        pytest.param(b"\x7fELF\x01\x01" + program("libc.so.6")[6:], id="32-bit"),
    ],
)
def test_what_is_no_such_elf_file_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="ELF"):
        needed(data)


def test_closure_follows_libraries_of_libraries_and_their_circles(tmp_path: Path) -> None:
    root = root_with(
        tmp_path,
        {
            "usr/bin/tool": program("liba.so.1"),
            f"{DEBIAN}/liba.so.1": program("libb.so.1", "libc.so.6"),
            f"usr/{DEBIAN}/libb.so.1": program("liba.so.1", "libc.so.6"),
            f"{DEBIAN}/libc.so.6": program(LOADER),
            f"{DEBIAN}/libunused.so.1": program(),
            f"lib64/{LOADER}": program(),
        },
    )
    found = closure(root, [root / "usr/bin/tool"])
    assert {name: str(path.relative_to(root)) for name, path in found.items()} == {
        LOADER: f"lib64/{LOADER}",
        "liba.so.1": f"{DEBIAN}/liba.so.1",
        "libb.so.1": f"usr/{DEBIAN}/libb.so.1",
        "libc.so.6": f"{DEBIAN}/libc.so.6",
    }


def test_the_loader_is_there_even_for_no_program(tmp_path: Path) -> None:
    root = root_with(tmp_path, {f"{DEBIAN}/{LOADER}": program()})
    assert closure(root, []) == {LOADER: root / DEBIAN / LOADER}


def test_several_programs_share_what_they_need(tmp_path: Path) -> None:
    root = root_with(
        tmp_path,
        {
            "sbin/one": program("libc.so.6"),
            "sbin/two": program("libc.so.6", "libz.so.1"),
            **{f"{DEBIAN}/{name}": program() for name in (LOADER, "libc.so.6", "libz.so.1")},
        },
    )
    found = closure(root, [root / "sbin/one", root / "sbin/two"])
    assert sorted(found) == sorted([LOADER, "libc.so.6", "libz.so.1"])


def test_folders_are_searched_in_their_order(tmp_path: Path) -> None:
    names = {f"{folder}/libc.so.6": program() for folder in FOLDERS}
    root = root_with(
        tmp_path, {**names, f"lib64/{LOADER}": program(), "tool": program("libc.so.6")}
    )
    assert closure(root, [root / "tool"])["libc.so.6"] == root / FOLDERS[0] / "libc.so.6"


@pytest.mark.parametrize(
    ("there", "missing"),
    [
        pytest.param({}, LOADER, id="loader"),
        pytest.param({f"lib64/{LOADER}": program()}, "libdirect.so.1", id="of-the-program"),
        pytest.param(
            {
                f"lib64/{LOADER}": program(),
                f"{DEBIAN}/libdirect.so.1": program("libdeep.so.2"),
            },
            "libdeep.so.2",
            id="of-a-library",
        ),
    ],
)
def test_a_missing_library_is_named_with_the_next_step(
    tmp_path: Path, there: dict[str, bytes], missing: str
) -> None:
    root = root_with(tmp_path, {**there, "tool": program("libdirect.so.1")})
    with pytest.raises(Unavailable) as raised:
        closure(root, [root / "tool"])
    assert raised.value.exit_status == EXIT_MISUSE
    said = str(raised.value)
    assert missing in said
    assert "`mdjournal images build`" in said
    assert "\n" not in said


def test_a_library_outside_the_root_is_not_taken(tmp_path: Path) -> None:
    """A link that leaves the unpacked packages would take this machine's library."""
    outside = root_with(tmp_path / "machine", {"libc.so.6": program()})
    root = root_with(
        tmp_path / "root", {f"{DEBIAN}/{LOADER}": program(), "tool": program("libc.so.6")}
    )
    (root / DEBIAN / "libc.so.6").symlink_to(outside / "libc.so.6")
    with pytest.raises(Unavailable, match=r"libc\.so\.6"):
        closure(root, [root / "tool"])
