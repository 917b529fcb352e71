"""A trace file is read back as it was written, and a torn one up to its last whole record."""

from __future__ import annotations

import json
import struct
import zlib

import pytest

from harness.crash.trace import (
    BadTrace,
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

DISKS = (
    TraceDisk("member0", 1 << 24, Cache.WRITE_BACK, 512),
    TraceDisk("journal é", 2**63, Cache.WRITE_THROUGH, 4096),
)
EVENTS: tuple[Event, ...] = (
    Issue(1, 10, 0, Operation.WRITE, Flag.FUA, 4096, 5, b"hello"),
    Issue(2, 11, 1, Operation.FLUSH, Flag(0), 0, 0, b""),
    Mark(3, "acknowledged é"),
    Completion(4, 10, 0, 0),
    Issue(5, 2**64 - 1, 1, Operation.TRIM, Flag(0), 2**63, 2**40, b""),
    Issue(6, 13, 1, Operation.ZEROES, Flag.FUA | Flag.MAY_TRIM, 0, 512, b""),
    Completion(2**64 - 1, 11, 1, 5),
    Mark(8, ""),
)
# The same by hand, from the table in the format's description: payload_length, sequence, request,
# kind, operation, flags, disk, offset, length, error; then the payload.
BY_HAND = (
    struct.pack("<IQQBBHIQQI", 5, 1, 10, 1, 1, 1, 0, 4096, 5, 0) + b"hello",
    struct.pack("<IQQBBHIQQI", 0, 2, 11, 1, 2, 0, 1, 0, 0, 0),
    struct.pack("<IQQBBHIQQI", 15, 3, 0, 3, 0, 0, 0, 0, 0, 0) + "acknowledged é".encode(),
    struct.pack("<IQQBBHIQQI", 0, 4, 10, 2, 0, 0, 0, 0, 0, 0),
    struct.pack("<IQQBBHIQQI", 0, 5, 2**64 - 1, 1, 3, 0, 1, 2**63, 2**40, 0),
    struct.pack("<IQQBBHIQQI", 0, 6, 13, 1, 4, 3, 1, 0, 512, 0),
    struct.pack("<IQQBBHIQQI", 0, 2**64 - 1, 11, 2, 0, 0, 1, 0, 0, 5),
    struct.pack("<IQQBBHIQQI", 0, 8, 0, 3, 0, 0, 0, 0, 0, 0),
)
HEADER_TEXT = json.dumps(
    {
        "disks": [
            {
                "name": disk.name, "size_bytes": disk.size_bytes, "cache": cache,
                "logical_block_bytes": disk.logical_block_bytes,
            }
            for disk, cache in zip(DISKS, ("write-back", "write-through"), strict=True)
        ]
    }
).encode()  # fmt: skip


def header(*, magic: bytes = b"MDJTRACE", version: int = 1, text: bytes = HEADER_TEXT) -> bytes:
    checksum = struct.pack("<I", zlib.crc32(text))
    return magic + struct.pack("<II", version, len(text)) + text + checksum


def record(body: bytes) -> bytes:
    return struct.pack("<I", zlib.crc32(body)) + body


def whole() -> bytes:
    return header() + b"".join(record(body) for body in BY_HAND)


# Whole files.


def test_what_is_encoded_is_decoded() -> None:
    data = encode_header(DISKS) + b"".join(map(encode_event, EVENTS))
    assert decode(data) == decode(memoryview(data)) == Trace(DISKS, EVENTS, 0)


def test_file_packed_by_hand_is_decoded() -> None:
    assert decode(whole()) == Trace(DISKS, EVENTS, 0)


@pytest.mark.parametrize(
    ("event", "body"),
    [
        pytest.param(event, body, id=f"{type(event).__name__.lower()}-{n}")
        for n, (event, body) in enumerate(zip(EVENTS, BY_HAND, strict=True))
    ],
)
def test_each_record_is_encoded_as_described(event: Event, body: bytes) -> None:
    assert encode_event(event) == record(body)


def test_header_is_encoded_as_described() -> None:
    encoded = encode_header(DISKS)
    magic, version, length = struct.unpack_from("<8sII", encoded)
    text = encoded[16 : 16 + length]
    assert (magic, version) == (b"MDJTRACE", 1)
    assert json.loads(text) == json.loads(HEADER_TEXT)
    assert encoded[16 + length :] == struct.pack("<I", zlib.crc32(text))


def test_trace_without_events_or_disks_is_a_trace() -> None:
    assert decode(encode_header(())) == Trace((), (), 0)
    assert decode(header()) == Trace(DISKS, (), 0)


def test_disks_and_marks_are_found_by_name() -> None:
    trace = decode(whole())
    assert (trace.disk_index("member0"), trace.disk_index("journal é")) == (0, 1)
    assert trace.mark("acknowledged é") == Mark(3, "acknowledged é")
    with pytest.raises(KeyError, match="journal2"):
        trace.disk_index("journal2")
    with pytest.raises(KeyError, match="never"):
        trace.mark("never")


# Torn and damaged files.


@pytest.mark.parametrize("last", [BY_HAND[0], BY_HAND[2], BY_HAND[3]], ids=["write", "mark", "end"])
def test_record_torn_at_any_byte_is_cut_off_and_counted(last: bytes) -> None:
    front = header() + record(BY_HAND[3]) + record(BY_HAND[0])
    torn = record(last)
    wanted = (EVENTS[3], EVENTS[0])
    for kept in range(len(torn)):
        assert decode(front + torn[:kept]) == Trace(DISKS, wanted, kept), f"{kept} bytes"
    assert len(decode(front + torn).events) == 3


def test_flipped_bit_anywhere_in_a_record_ends_the_trace_before_it() -> None:
    front, damaged, behind = header() + record(BY_HAND[3]), record(BY_HAND[0]), record(BY_HAND[1])
    for offset in range(len(damaged)):
        body = bytearray(damaged)
        body[offset] ^= 0x04
        found = decode(front + bytes(body) + behind)
        assert found.events == (EVENTS[3],), f"byte {offset}"
        assert found.torn_bytes == len(damaged) + len(behind)


def test_zeroes_behind_the_last_record_are_torn_bytes() -> None:
    assert decode(whole() + bytes(1000)) == Trace(DISKS, EVENTS, 1000)


def test_record_that_announces_too_long_a_payload_is_torn() -> None:
    body = struct.pack("<IQQBBHIQQI", 2**32 - 1, 1, 1, 1, 1, 0, 0, 0, 0, 0)
    assert decode(header() + record(body)) == Trace(DISKS, (), 4 + len(body))


@pytest.mark.parametrize("length", [0, 1, 15])
def test_less_than_a_head_is_no_trace(length: int) -> None:
    with pytest.raises(BadTrace, match=f"{length} bytes are no trace"):
        decode(whole()[:length])


def test_header_torn_at_any_byte_is_damaged() -> None:
    for kept in range(16, len(header())):
        with pytest.raises(BadTrace, match="header is damaged"):
            decode(header()[:kept])


@pytest.mark.parametrize("offset", [16, 30, 16 + len(HEADER_TEXT) - 1, 16 + len(HEADER_TEXT)])
def test_flipped_bit_in_the_header_is_damage(offset: int) -> None:
    data = bytearray(whole())
    data[offset] ^= 1
    with pytest.raises(BadTrace, match="header is damaged"):
        decode(bytes(data))


@pytest.mark.parametrize("length", [0, len(HEADER_TEXT) - 1, 2**32 - 1])
def test_header_of_a_wrong_length_is_damaged(length: int) -> None:
    data = bytearray(whole())
    struct.pack_into("<I", data, 12, length)
    with pytest.raises(BadTrace, match="header is damaged"):
        decode(bytes(data))


def test_other_magic_is_told_with_the_wanted_one() -> None:
    with pytest.raises(BadTrace, match=r"begins with b'NOTTRACE', wanted b'MDJTRACE'"):
        decode(header(magic=b"NOTTRACE"))


@pytest.mark.parametrize("version", [0, 2, 2**32 - 1])
def test_other_version_is_told_with_the_known_one(version: int) -> None:
    with pytest.raises(BadTrace, match=f"is of version {version}, this program knows 1"):
        decode(header(version=version))


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(struct.pack("<IQQBBHIQQI", 0, 1, 1, 1, 9, 0, 0, 0, 0, 0), id="operation"),
        pytest.param(struct.pack("<IQQBBHIQQI", 0, 1, 1, 9, 0, 0, 0, 0, 0, 0), id="kind"),
    ],
)
def test_unknown_number_in_a_whole_record_is_never_taken_for_another(body: bytes) -> None:
    with pytest.raises(BadTrace, match="9"):
        decode(header() + record(body))
