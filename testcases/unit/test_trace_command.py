"""`mdjournal trace`: what it prints, what it writes, and what it says of bad input."""

from __future__ import annotations

import json
import os
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from harness.crash.log_writes import import_log
from harness.crash.pattern import write_content
from harness.crash.trace import (
    Cache,
    Completion,
    Flag,
    Issue,
    Mark,
    Operation,
    Trace,
    TraceDisk,
    decode,
    encode_event,
    encode_header,
)
from harness.errors import EXIT_MISUSE, BadInput
from testcases.journal_writer import meta_block
from tools.trace import trace

META = meta_block(seed=1, seq=0x1234, position=24)
DATA = write_content(seed=7, write=3, sector=64, sectors=8)
NO_FLAGS = Flag(0)
RECORDED = Trace(
    (
        TraceDisk("m0", 1 << 20, Cache.WRITE_BACK, 512),
        TraceDisk("journal", 2 << 20, Cache.WRITE_THROUGH, 4096),
    ),
    (
        Mark(1, "workload begins"),
        Issue(2, 1, 1, Operation.WRITE, Flag.FUA, 8192, 4096, META),
        Issue(3, 2, 0, Operation.WRITE, NO_FLAGS, 512, 4096, DATA),
        Completion(4, 2, 0, 5),
        Completion(5, 1, 1, 0),
        Issue(6, 3, 0, Operation.FLUSH, NO_FLAGS, 0, 0, b""),
        Completion(7, 3, 0, 0),
        Issue(8, 4, 0, Operation.ZEROES, Flag.MAY_TRIM, 0, 65536, b""),
        Completion(9, 4, 0, 0),
        Issue(10, 5, 0, Operation.TRIM, NO_FLAGS, 0, 512, b""),
        Mark(11, "flushed\x1b[2J 3"),
    ),
)


def encoded(recorded: Trace) -> bytes:
    return encode_header(recorded.disks) + b"".join(map(encode_event, recorded.events))


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    path = tmp_path / "run.mdjtrace"
    path.write_bytes(encoded(RECORDED))
    return path


def invoke(*arguments: str | Path) -> Result:
    return CliRunner().invoke(trace, [str(argument) for argument in arguments])


def succeed(*arguments: str | Path) -> str:
    result = invoke(*arguments)
    if result.exception is not None:
        raise result.exception
    return result.output


def refuse(*arguments: str | Path) -> str:
    """Return what a command says that refuses its input: at most two lines, exit status 2."""
    with pytest.raises(BadInput) as caught:
        succeed(*arguments)
    assert caught.value.exit_status == EXIT_MISUSE
    assert 1 <= len(str(caught.value).splitlines()) <= 2
    return str(caught.value)


def shown(recording: Path, *options: str) -> list[str]:
    """Return each event's line with its columns closed up."""
    lines = succeed("show", recording, *options).splitlines()
    heading = next(number for number, line in enumerate(lines) if "EVENT" in line)
    return [" ".join(line.split()) for line in lines[heading + 1 :]]


def numbers(lines: Sequence[str]) -> list[int]:
    return [int(line.split()[0]) for line in lines]


def test_show_gives_each_event_one_line(recording: Path) -> None:
    lines = shown(recording)
    assert numbers(lines) == list(range(1, 12))
    assert lines[0] == "1 mark workload begins"
    assert lines[1].startswith("2 issue journal write FUA 8192 4096 1 meta block")
    assert lines[4] == "5 completion journal write FUA 8192 4096 1"
    assert lines[5] == "6 issue m0 flush 0 0 3"
    assert lines[7] == "8 issue m0 zeroes may-trim 0 65536 4"
    assert lines[9] == "10 issue m0 trim 0 512 5"


def test_show_says_what_a_journal_and_a_workload_block_is(recording: Path) -> None:
    output = succeed("show", recording)
    assert "meta block: seq 0x1234, position 24, 32 bytes in use" in output
    assert "write 3 of array sector 64 (seed 7)" in output


def test_show_names_the_error_of_a_failed_request(recording: Path) -> None:
    wanted = "4 completion m0 write 512 4096 2 FAILED: EIO"
    assert shown(recording)[3] == wanted


def test_show_keeps_control_characters_from_the_terminal(recording: Path) -> None:
    output = succeed("show", recording)
    assert "\x1b" not in output
    assert "flushed?[2J 3" in output


def test_show_sums_up(recording: Path) -> None:
    lines = succeed("show", recording).splitlines()
    assert lines[:3] == [
        "11 events, 2 of them marks; the file's end: whole",
        (
            "disk m0: 1048576 bytes, write-back, 512-byte blocks; 1 writes (4096 bytes),"
            " 1 flushes, 1 trims, 1 zeroings, 0 with FUA; 1 FAILED; 1 in flight at the end"
        ),
        (
            "disk journal: 2097152 bytes, write-through, 4096-byte blocks; 1 writes (4096 bytes),"
            " 0 flushes, 0 trims, 0 zeroings, 1 with FUA"
        ),
    ]


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        pytest.param(["--disk", "journal"], [1, 2, 5, 11], id="one-disk-and-the-marks"),
        pytest.param(["--from", "4"], list(range(4, 12)), id="from"),
        pytest.param(["--to", "4"], [1, 2, 3, 4], id="to"),
        pytest.param(["--from", "3", "--to", "7", "--disk", "m0"], [3, 4, 6, 7], id="all-three"),
        pytest.param(["--from", "99"], [], id="past-the-end"),
    ],
)
def test_show_shows_the_part_that_is_asked_for(
    recording: Path, options: list[str], wanted: list[int]
) -> None:
    assert numbers(shown(recording, *options)) == wanted


def test_completion_knows_its_request_though_the_issue_is_not_shown(recording: Path) -> None:
    assert shown(recording, "--from", "5")[0] == "5 completion journal write FUA 8192 4096 1"


def test_json_is_one_document_with_a_schema(recording: Path) -> None:
    document: dict[str, Any] = json.loads(succeed("show", recording, "--json"))
    assert document["schema"] == 1
    assert document["summary"]["marks"] == 2
    assert document["summary"]["torn_bytes"] == 0
    assert [disk["name"] for disk in document["summary"]["disks"]] == ["m0", "journal"]
    assert [event["sequence"] for event in document["events"]] == list(range(1, 12))
    assert document["events"][3] == {
        "sequence": 4, "kind": "completion", "disk": "m0", "request": 2, "operation": "write",
        "flags": [], "offset": 512, "length": 4096, "error": 5,
    }  # fmt: skip
    assert document["events"][1]["flags"] == ["FUA"]
    assert json.loads(succeed("show", recording, "--json", "--from", "99"))["events"] == []


@pytest.mark.parametrize("cut", [1, 51, 60, 4000])
def test_torn_end_is_cut_off_and_counted(recording: Path, cut: int) -> None:
    last = len(encode_event(RECORDED.events[-1]))
    with recording.open("ab") as file:
        file.write(encode_event(Issue(12, 9, 0, Operation.WRITE, NO_FLAGS, 0, 4096, DATA))[:cut])
    output = succeed("show", recording)
    assert f"11 events, 2 of them marks; the file's end: {cut} bytes of a torn record" in output
    os.truncate(recording, recording.stat().st_size - cut - last + 7)
    assert "10 events, 1 of them marks; the file's end: 7 bytes of a torn record" in succeed(
        "show", recording
    )


def test_trace_without_events_can_be_shown(tmp_path: Path) -> None:
    path = tmp_path / "empty"
    path.write_bytes(encode_header(()))
    assert "0 events" in succeed("show", path)
    assert json.loads(succeed("show", path, "--json"))["events"] == []


def test_export_then_import_keeps_a_disk(recording: Path, tmp_path: Path) -> None:
    log, back, again = tmp_path / "m0.log", tmp_path / "back", tmp_path / "again.log"
    said = succeed("export", recording, "--disk", "m0", "--out", log)
    assert (
        said == f"{log}: 4 entries, 2 of them marks; left out: 1 failed, 1 in flight at the end\n"
    )
    assert (log.stat().st_mode & 0o777) == 0o644
    said = succeed("import", log, "--out", back, "--name", "m0", "--size", "1048576")
    assert said == f"{back}: 6 events of 4 entries\n"
    imported = decode(back.read_bytes())
    assert imported.disks == RECORDED.disks[:1]
    assert imported == import_log(log.read_bytes(), name="m0", size_bytes=1 << 20)
    succeed("export", back, "--disk", "m0", "--out", again)
    assert again.read_bytes() == log.read_bytes()


def test_zeroes_are_holes_in_the_exported_log(tmp_path: Path) -> None:
    length = 64 << 20
    disk = TraceDisk("a", length, Cache.WRITE_BACK, 512)
    zeroes = Issue(1, 1, 0, Operation.ZEROES, NO_FLAGS, 0, length, b"")
    source, log = tmp_path / "a", tmp_path / "log"
    source.write_bytes(encoded(Trace((disk,), (zeroes, Completion(2, 1, 0, 0)))))
    succeed("export", source, "--disk", "a", "--out", log)
    assert log.stat().st_size == 1024 + length
    assert log.stat().st_blocks * 512 < length // 2


def test_import_says_what_a_trace_does_not_keep(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(
        struct.pack("<QQQL", 0x6A736677736872, 1, 1, 512).ljust(512, b"\0")
        + struct.pack("<4Q", 0, 1, 16, 0).ljust(512, b"\0")
        + b"x" * 512
    )
    said = succeed(
        "import", log, "--out", tmp_path / "t", "--name", "a", "--cache", "write-through"
    )
    assert "1 had the METADATA hint" in said
    assert decode((tmp_path / "t").read_bytes()).disks == (
        TraceDisk("a", 512, Cache.WRITE_THROUGH, 512),
    )


def test_existing_file_is_overwritten_only_when_told(recording: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.write_text("precious")
    assert "--force" in refuse("export", recording, "--disk", "m0", "--out", out)
    assert out.read_text() == "precious"
    succeed("export", recording, "--disk", "m0", "--out", out, "--force")
    assert "--force" in refuse("import", out, "--name", "m0", "--out", recording)
    succeed("import", out, "--name", "m0", "--out", recording, "--force")
    assert decode(recording.read_bytes()).disk_index("m0") == 0


def test_input_is_never_overwritten(recording: Path) -> None:
    before = recording.read_bytes()
    said = refuse("export", recording, "--disk", "m0", "--out", recording, "--force")
    assert "is what is to be read" in said
    assert recording.read_bytes() == before


def test_failed_export_and_import_leave_nothing(recording: Path, tmp_path: Path) -> None:
    odd = Trace(
        (TraceDisk("a", 9, Cache.WRITE_BACK, 512),),
        (Issue(1, 1, 0, Operation.WRITE, NO_FLAGS, 1, 3, b"abc"), Completion(2, 1, 0, 0)),
    )
    source, log = tmp_path / "odd", tmp_path / "cut.log"
    source.write_bytes(encoded(odd))
    succeed("export", recording, "--disk", "m0", "--out", log)
    os.truncate(log, log.stat().st_size - 1)
    before = sorted(tmp_path.iterdir())
    assert "not whole blocks" in refuse("export", source, "--disk", "a", "--out", tmp_path / "x")
    said = refuse("import", log, "--name", "a", "--out", tmp_path / "x")
    assert said.startswith(f"{log}: entry ")
    assert "truncated" in said
    assert sorted(tmp_path.iterdir()) == before


def test_output_that_cannot_be_written_is_named(recording: Path, tmp_path: Path) -> None:
    out = tmp_path / "no" / "such"
    said = refuse("export", recording, "--disk", "m0", "--out", out)
    assert said == f"{out}: cannot be written: No such file or directory"
    for target in (tmp_path, Path("/dev/null")):
        said = refuse("export", recording, "--disk", "m0", "--out", target, "--force")
        assert said == f"{target}: is no regular file; name another"


@pytest.mark.parametrize("command", ["show", "export"])
def test_unknown_disk_is_answered_with_those_there_are(recording: Path, command: str) -> None:
    more = ["--out", str(recording) + ".x"] if command == "export" else []
    said = refuse(command, recording, "--disk", "m9", *more)
    assert said == f"{recording}: has no disk called 'm9'; it has: m0, journal"


def damaged_header(recorded: Trace) -> bytes:
    data = bytearray(encoded(recorded))
    data[20] ^= 1
    return bytes(data)


def header_of(text: bytes) -> bytes:
    return (
        struct.pack("<8sII", b"MDJTRACE", 1, len(text)) + text + struct.pack("<I", zlib.crc32(text))
    )


def record_of(*fields: int, payload: bytes = b"") -> bytes:
    body = struct.pack("<IQQBBHIQQI", len(payload), *fields) + payload
    return encode_header(RECORDED.disks) + struct.pack("<I", zlib.crc32(body)) + body


@pytest.mark.parametrize(
    ("content", "said"),
    [
        pytest.param(b"", "0 bytes are no trace", id="empty"),
        pytest.param(b"\x7fELF" + bytes(99), "begins with b'\\x7fELF", id="something-else"),
        pytest.param(
            struct.pack("<8sII", b"MDJTRACE", 9, 0) + bytes(9), "is of version 9", id="version"
        ),
        pytest.param(damaged_header(RECORDED), "its header is damaged", id="header"),
        pytest.param(encoded(RECORDED)[:40], "its header is damaged", id="header-cut"),
        pytest.param(
            struct.pack("<8sII", b"MDJTRACE", 1, 2**32 - 1) + bytes(99),
            "its header is damaged",
            id="header-length",
        ),
        pytest.param(header_of(b"[]"), "does not describe disks", id="header-list"),
        pytest.param(header_of(b"{"), "does not describe disks", id="header-no-json"),
        pytest.param(header_of(b'{"disks": [{"name": "a"}]}'), "does not describe", id="no-size"),
        pytest.param(record_of(1, 1, 7, 1, 0, 0, 0, 0, 0), "kind is 7", id="kind"),
        pytest.param(record_of(1, 1, 1, 9, 0, 0, 0, 0, 0), "9 is not a valid", id="operation"),
        pytest.param(record_of(1, 1, 2, 0, 0, 2, 0, 0, 0), "disk is 2", id="disk"),
        pytest.param(record_of(1, 1, 1, 1, 0, 0, 0, 8, 0, payload=b"abc"), "8 bytes", id="data"),
        pytest.param(
            struct.pack("<QQQL", 0x6A736677736872, 1, 0, 512), "`trace import`", id="a-log"
        ),
    ],
)
def test_what_is_no_trace_is_refused(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "odd"
    path.write_bytes(content)
    assert said in refuse("show", path)
    assert str(path) in refuse("export", path, "--disk", "a", "--out", tmp_path / "x")
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("command", ["show", "export", "import"])
@pytest.mark.parametrize("kind", ["missing", "folder", "device", "fifo", "unreadable-path"])
def test_what_cannot_be_read_is_named(tmp_path: Path, command: str, kind: str) -> None:
    path = tmp_path / "input"
    if kind == "folder":
        path.mkdir()
    elif kind == "device":
        path = Path("/dev/zero")
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "unreadable-path":
        path.write_bytes(b"")
        path = path / "below"
    more = {
        "show": [],
        "export": ["--disk", "a", "--out", str(tmp_path / "x")],
        "import": ["--name", "a", "--out", str(tmp_path / "x")],
    }[command]
    assert str(path) in refuse(command, path, *more)


def test_empty_log_is_refused(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(b"")
    said = refuse("import", tmp_path / "log", "--name", "a", "--out", tmp_path / "x")
    assert said.endswith("0 bytes are no dm-log-writes log")
