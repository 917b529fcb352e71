"""dm-log-writes logs: what is exported is what the format's own structures say, and back again.

The second opinion is packed here by hand, from drivers/md/dm-log-writes.c's description of the
format, with nothing of ``harness.crash.log_writes`` in it.
"""

from __future__ import annotations

import errno
import struct
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.crash.log_writes import BadLog, LogFlag, export_disk, import_log, read_entries
from harness.crash.states import Fate, fates
from harness.crash.trace import (
    Cache,
    Completion,
    Event,
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
from harness.errors import BadInput

FLUSH, FUA, DISCARD, MARK, METADATA = 1, 2, 4, 8, 16
NO_FLAGS = Flag(0)


def packed_super(entries: int, sector: int = 512, magic: int = 0x6A736677736872) -> bytes:
    return struct.pack("<QQQL", magic, 1, entries, sector) + bytes(sector - 28)


def packed_entry(
    at: int, count: int, flags: int, *, data: bytes = b"", text: bytes = b"", sector: int = 512
) -> bytes:
    head = struct.pack("<4Q", at, count, flags, len(text)) + text
    return head + bytes(sector - len(head)) + data


def a_disk(name: str = "a", block: int = 512, cache: Cache = Cache.WRITE_BACK) -> TraceDisk:
    return TraceDisk(name, 1 << 20, cache, block)


def write(sequence: int, request: int, offset: int, data: bytes, *, disk: int = 0) -> Issue:
    return Issue(
        sequence, request, disk, Operation.WRITE, NO_FLAGS, offset, len(data), data
    )  # fmt: skip


def log_of(trace: Trace, disk: str = "a") -> bytes:
    return b"".join(export_disk(trace, disk))


ONE, TWO = b"\x11" * 1024, b"\x22" * 512
EVERYTHING = Trace(
    (a_disk("a"), a_disk("b")),
    (
        write(1, 1, 4096, ONE),
        write(2, 2, 0, TWO),
        write(3, 3, 512, TWO, disk=1),
        Completion(4, 2, 0, 0),
        Completion(5, 1, 0, 0),
        Mark(6, "here"),
        Issue(7, 4, 0, Operation.FLUSH, NO_FLAGS, 0, 0, b""),
        Completion(8, 4, 0, 0),
        Completion(9, 3, 1, 0),
        Issue(10, 5, 0, Operation.WRITE, Flag.FUA, 512, 512, TWO),
        Completion(11, 5, 0, 0),
        Issue(12, 6, 0, Operation.TRIM, NO_FLAGS, 8192, 4096, b""),
        Completion(13, 6, 0, 0),
        Issue(14, 7, 0, Operation.ZEROES, Flag.FUA | Flag.MAY_TRIM, 1024, 512, b""),
        Completion(15, 7, 0, 0),
        write(16, 8, 0, ONE),
        Completion(17, 8, 0, errno.EIO),
        write(18, 9, 0, ONE),
    ),
)
PACKED = (
    packed_super(7)
    + packed_entry(0, 1, 0, data=TWO)  # in order of completion
    + packed_entry(8, 2, 0, data=ONE)
    + packed_entry(0, 0, MARK, text=b"here")
    + packed_entry(0, 0, FLUSH)
    + packed_entry(1, 1, FUA, data=TWO)
    + packed_entry(16, 8, DISCARD)
    + packed_entry(2, 1, FUA, data=bytes(512))
)


def test_export_is_what_the_format_says() -> None:
    assert log_of(EVERYTHING) == PACKED


def test_each_disk_has_a_log_of_its_own_with_every_mark() -> None:
    assert log_of(EVERYTHING, "b") == (
        packed_super(2)
        + packed_entry(0, 0, MARK, text=b"here")
        + packed_entry(1, 1, 0, data=TWO)
    )  # fmt: skip


@pytest.mark.parametrize("block", [512, 4096])
def test_sectors_are_the_disks_logical_blocks(block: int) -> None:
    data = b"\x33" * 8192
    trace = Trace((a_disk(block=block),), (write(1, 1, 4096, data), Completion(2, 1, 0, 0)))
    assert log_of(trace) == packed_super(1, block) + packed_entry(
        4096 // block, 8192 // block, 0, data=data, sector=block
    )
    imported = import_log(log_of(trace), name="a")
    assert imported.disks[0].logical_block_bytes == block
    assert imported.events == trace.events


def test_import_gives_each_entry_an_issue_and_its_completion() -> None:
    imported = import_log(PACKED, name="x", size_bytes=1 << 20, cache=Cache.WRITE_THROUGH)
    assert imported.disks == (a_disk("x", cache=Cache.WRITE_THROUGH),)
    assert imported.events == (
        write(1, 1, 0, TWO),
        Completion(2, 1, 0, 0),
        write(3, 3, 4096, ONE),
        Completion(4, 3, 0, 0),
        Mark(5, "here"),
        Issue(6, 6, 0, Operation.FLUSH, NO_FLAGS, 0, 0, b""),
        Completion(7, 6, 0, 0),
        Issue(8, 8, 0, Operation.WRITE, Flag.FUA, 512, 512, TWO),
        Completion(9, 8, 0, 0),
        Issue(10, 10, 0, Operation.TRIM, NO_FLAGS, 8192, 4096, b""),
        Completion(11, 10, 0, 0),
        Issue(12, 12, 0, Operation.WRITE, Flag.FUA, 1024, 512, bytes(512)),
        Completion(13, 12, 0, 0),
    )


def test_import_and_export_give_the_same_log_again() -> None:
    assert log_of(import_log(PACKED, name="a")) == PACKED


def test_imported_trace_can_be_written_and_judged() -> None:
    imported = import_log(PACKED, name="a")
    encoded = encode_header(imported.disks) + b"".join(map(encode_event, imported.events))
    assert decode(encoded) == imported
    kinds = [write.fate for write in fates(imported, 100)[0]]
    assert kinds == [Fate.DURABLE, Fate.DURABLE, Fate.DURABLE, Fate.CACHED, Fate.DURABLE]


def test_size_of_an_imported_disk_is_up_to_its_last_block() -> None:
    assert import_log(PACKED, name="a").disks[0].size_bytes == 8192 + 4096


def test_flush_that_carries_data_flushes_first() -> None:
    log = packed_super(1) + packed_entry(3, 1, FLUSH | FUA, data=TWO)
    assert import_log(log, name="a").events == (
        Issue(1, 1, 0, Operation.FLUSH, NO_FLAGS, 0, 0, b""),
        Completion(2, 1, 0, 0),
        Issue(3, 3, 0, Operation.WRITE, Flag.FUA, 1536, 512, TWO),
        Completion(4, 3, 0, 0),
    )


def test_metadata_is_a_known_flag_and_a_plain_write() -> None:
    log = packed_super(1) + packed_entry(3, 1, METADATA, data=TWO)
    assert [entry.flags for entry in read_entries(log)] == [LogFlag.METADATA]
    assert import_log(log, name="a").events[0] == write(1, 1, 1536, TWO)


def test_what_stands_behind_the_counted_entries_is_not_read() -> None:
    assert import_log(PACKED + b"\xff" * 5000, name="a") == import_log(PACKED, name="a")


def test_empty_log_is_an_empty_trace() -> None:
    assert import_log(packed_super(0), name="a").events == ()


def test_long_mark_is_cut_between_characters() -> None:
    trace = Trace((a_disk(),), (Mark(1, "x" + "ä" * 400),))
    (entry,) = read_entries(log_of(trace))
    assert entry.data == ("x" + "ä" * 239).encode()  # 479 of at most 512 - 32 - 1


requests = st.tuples(
    st.sampled_from((Operation.WRITE, Operation.FLUSH, Operation.TRIM)),  # zeroes become a write
    st.booleans(),
    st.integers(0, 99),
    st.integers(1, 9),
    st.binary(max_size=9),
)


@given(st.lists(st.one_of(requests, st.text(max_size=40))))
def test_round_trip_keeps_everything_the_format_has(
    plan: list[str | tuple[Operation, bool, int, int, bytes]],
) -> None:
    events: list[Event] = []
    for each in plan:
        number = len(events) + 1
        if isinstance(each, str):
            events.append(Mark(number, each))
            continue
        operation, fua, at, count, seed = each
        data = (seed + b"\1").ljust(count * 512, b"\2") if operation is Operation.WRITE else b""
        if operation is Operation.FLUSH:
            fua, at, count = False, 0, 0
        flags = Flag.FUA if fua else NO_FLAGS
        events.append(Issue(number, number, 0, operation, flags, at * 512, count * 512, data))
        events.append(Completion(number + 1, number, 0, 0))
    trace = Trace((a_disk(),), tuple(events))
    assert import_log(log_of(trace), name="a", size_bytes=1 << 20) == trace


@pytest.mark.parametrize("sectors", range(len(PACKED) // 512))
def test_truncated_log_is_refused(sectors: int) -> None:
    with pytest.raises(BadLog, match="truncated" if sectors else "no dm-log-writes log"):
        import_log(PACKED[: sectors * 512], name="a")


@pytest.mark.parametrize("lost", [1, 100, 511])
def test_log_that_ends_inside_a_sector_is_refused(lost: int) -> None:
    with pytest.raises(BadLog, match=r"entry 6 of 7, at byte 5632: .* it is truncated"):
        import_log(PACKED[:-lost], name="a")


@pytest.mark.parametrize(
    ("log", "said"),
    [
        pytest.param(b"", "0 bytes are no", id="empty"),
        pytest.param(bytes(4096), "magic is 0x0", id="zeroes"),
        pytest.param(packed_super(0, magic=7), "magic is 0x7", id="magic"),
        pytest.param(
            struct.pack("<QQQL", 0x6A736677736872, 2, 0, 512), "version is 2", id="version"
        ),
        *(
            pytest.param(
                struct.pack("<QQQL", 0x6A736677736872, 1, 1, size) + bytes(9999),
                f"sector size is {size}",
                id=f"sector-size-{size}",
            )
            for size in (0, 1, 28, 511, 520, 1000, 131072, 2**32 - 1)
        ),
        pytest.param(packed_super(2**64 - 1), "entry 0 of 18446744073709551615", id="entry-count"),
        pytest.param(
            packed_super(1) + packed_entry(0, 2**64 - 1, 0), "truncated or damaged", id="data"
        ),
        pytest.param(
            packed_super(1) + packed_entry(0, 2**60, FUA), "truncated or damaged", id="fua-data"
        ),
        pytest.param(
            packed_super(1) + packed_entry(0, 2**64 - 1, DISCARD), "past the disk's end", id="trim"
        ),
        pytest.param(
            packed_super(1) + packed_entry(2**64 - 1, 1, 0, data=TWO),
            "past the disk's end",
            id="place",
        ),
        pytest.param(
            packed_super(1) + struct.pack("<4Q", 0, 0, MARK, 2**64 - 1) + bytes(480),
            "a mark with .* 18446744073709551615 bytes",
            id="mark-text",
        ),
        pytest.param(
            packed_super(1) + struct.pack("<4Q", 0, 0, MARK, 481) + bytes(480),
            "481 bytes",
            id="mark-text-by-one",
        ),
        pytest.param(packed_super(1) + packed_entry(0, 5, MARK), "a mark", id="mark-with-data"),
        pytest.param(packed_super(1) + packed_entry(0, 0, MARK | FUA), "a mark", id="mark-fua"),
        pytest.param(packed_super(1) + bytes(512), "no entry", id="zero-entry"),
        pytest.param(packed_super(1) + packed_entry(5, 0, FUA), "no entry", id="writes-nothing"),
        pytest.param(
            packed_super(1) + packed_entry(0, 1, 0, text=b"?", data=TWO), "no entry", id="padding"
        ),
    ],
)
def test_damaged_log_is_refused_without_taking_memory(log: bytes, said: str) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(BadLog, match=said):
            import_log(log, name="a")
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("bit", range(5, 64))
def test_unknown_flag_is_named(bit: int) -> None:
    log = packed_super(1) + packed_entry(3, 1, FUA | 1 << bit, data=TWO)
    with pytest.raises(BadLog, match=rf"flags are {2 | 1 << bit:#x}, of which {1 << bit:#x} is"):
        import_log(log, name="a")


def test_entry_outside_a_disk_of_known_size_is_refused() -> None:
    import_log(PACKED, name="a", size_bytes=8192 + 4096)
    with pytest.raises(BadLog, match=r"entry 5, .* reach to byte 12288, .* end at 12287"):
        import_log(PACKED, name="a", size_bytes=8192 + 4095)


@pytest.mark.parametrize(("offset", "length"), [(7, 512), (512, 100), (512, 4096)])
def test_request_that_is_no_whole_number_of_blocks_is_refused(offset: int, length: int) -> None:
    trace = Trace(
        (a_disk(block=4096),), (write(1, 1, offset, bytes(length)), Completion(2, 1, 0, 0))
    )
    with pytest.raises(BadInput, match=f"event 1: {length} bytes at {offset} are not whole blocks"):
        export_disk(trace, "a")


def test_export_of_a_disk_that_is_not_there_names_those_that_are() -> None:
    with pytest.raises(BadInput, match="no disk is called 'c'; there are: a, b"):
        export_disk(EVERYTHING, "c")


def test_big_zeroing_is_given_in_pieces() -> None:
    length = 1 << 30
    zeroes = Issue(1, 1, 0, Operation.ZEROES, NO_FLAGS, 0, length, b"")
    pieces = export_disk(Trace((a_disk(),), (zeroes, Completion(2, 1, 0, 0))), "a")
    sizes = [len(piece) for piece in pieces]
    assert sum(sizes) == 1024 + length
    assert max(sizes) == 1 << 20
