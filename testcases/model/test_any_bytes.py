"""Bytes of any kind, taken for a log, a superblock, a trace or a dm-log-writes log.

Whatever they are, what comes of them is a value or one of the project's errors; nothing goes round
for ever, and no length field takes memory.
"""

from __future__ import annotations

import json
import random
import struct
import tracemalloc
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from harness.crash.log_writes import MAGIC, BadLog, import_log
from harness.crash.trace import BadTrace, Cache, TraceDisk, decode, encode_header
from harness.errors import BadImage, HarnessError
from harness.ondisk.superblock import Superblock, parse_superblock
from harness.ondisk.units import DeviceSector
from harness.recovery.era import ERAS, NEWEST_ERA, Era
from harness.storage.array_files import read_array
from harness.storage.replay import replay_to
from testcases import generated_cases
from testcases.independent_geometry import RESYNC_DONE, SuperblockFields, sb_csum
from testcases.journal_writer import Data, Flush, Parity, Payload, Raw, meta_block, raw_crc32c
from testcases.unit.written_arrays import WrittenArray, array_of, images_in, noise
from testcases.unit.written_cases import FEW, MANY, Reads, eras, folder, legal, log_of, planned

MEMORY = 8 << 20  # bytes: a fraction of what any length field here could ask for


@contextmanager
def little_memory() -> Iterator[None]:
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < MEMORY
    finally:
        tracemalloc.stop()


# As a log.


@FEW
@given(st.binary(max_size=4064), st.integers(0, 5000), eras)
@example(b"\0" * 4064, 4096, ERAS["4.12"])
@example(b"\2\0\0\0\xff\xff\xff\xff" * 8, 4096, NEWEST_ERA)
def test_any_bytes_as_descriptors_are_followed_within_the_block(
    descriptors: bytes, meta_size: int, era: Era
) -> None:
    case = generated_cases.legal(2)
    block = meta_block(
        seed=case.ring.seed, seq=7, position=0, payloads=[Raw(descriptors)], meta_size=meta_size
    )
    log = log_of(case, era, block + bytes(len(case.ring.log) - 4096), tail=0)
    planned(case, log)
    assert isinstance(log.read_blocks, Reads)
    assert len(log.read_blocks.at) < 1200


@FEW
@given(st.binary(max_size=20000), st.integers(0, 2**64 - 1), eras)
def test_any_bytes_as_a_log_are_followed_to_an_end(log: bytes, tail: int, era: Era) -> None:
    case = legal(1)
    planned(case, log_of(case, era, log, tail=tail))


@pytest.mark.parametrize("era", ERAS.values(), ids=lambda era: era.name)
def test_no_size_of_a_payload_takes_memory(era: Era) -> None:
    case = legal(1)
    page = bytes(4096)
    sums = [raw_crc32c(case.ring.seed, page)]
    lies: list[Payload] = [
        Data(0, [page], size=2**32 - 8, checksums=sums),
        Parity(0, [page], size=2**32 - 1, checksums=sums),
        Flush([0], size=2**32 - 1),
    ]
    with little_memory():
        for lie in lies:
            log = bytearray(len(case.ring.log))
            log[:4096] = meta_block(seed=case.ring.seed, seq=7, position=0, payloads=[lie])
            planned(case, log_of(case, era, bytes(log), tail=0))


# As a superblock.

NUMBERS = {
    "feature_map": 32, "layout": 32, "size": 64, "chunksize": 32, "raid_disks": 32,
    "data_offset": 64, "data_size": 64, "journal_tail": 64, "dev_number": 32, "events": 64,
    "resync_offset": 64, "reshape_position": 64, "delta_disks": 32,
}  # fmt: skip


def some(bits: int) -> st.SearchStrategy[int]:
    """Return numbers near what is there, near a power of two, and any."""
    there = (0, 1, 2, 3, 4, 5, 6, 8, 16, 160, 256, 512, 514)
    near = st.sampled_from([number for number in there if number < 2**bits])
    power = st.integers(0, bits).map(lambda n: 2**n - 1)
    return st.one_of(near, power, st.integers(0, 2**bits - 1))


FIELDS = st.fixed_dictionaries({}, optional={n: some(b) for n, b in NUMBERS.items()})


def parsed(raw: bytes, minor_version: int = 2, at: int = 8) -> Superblock | None:
    try:
        return parse_superblock(
            raw, at=DeviceSector(at), minor_version=minor_version, device_sectors=1000
        )
    except BadImage:
        return None


@MANY
@given(st.integers(), st.integers(0, 2))
def test_any_bytes_are_a_superblock_or_a_bad_image(number: int, minor_version: int) -> None:
    raw = random.Random(number).randbytes(4096)
    parsed(raw, minor_version)
    max_dev = int.from_bytes(raw[220:224], "little") % 2000
    forced = bytearray(raw)
    forced[:16] = struct.pack("<IIII", 0xA92B4EFC, 1, raw[8], 0)
    forced[144:152] = struct.pack("<Q", 8)
    forced[220:256] = struct.pack("<I32x", max_dev)
    if max_dev <= 1920:
        forced[216:220] = struct.pack("<I", sb_csum(bytes(forced)))
    parsed(bytes(forced), minor_version)


ARRAY = WrittenArray(array_of(raid_disks=3, data_sectors=48, log_sectors=64))
ARRAY.write({0: noise(-1)})
ARRAY.write({8: noise(-2)})


def replayed_with(
    fields: SuperblockFields, era: Era, *, minor_version: int, everywhere: bool
) -> None:
    """Replay an array whose superblocks, or only the journal's, have these fields."""
    offset = 0 if minor_version == 0 else 16
    images = array_of(
        raid_disks=3, data_sectors=48, log_sectors=64, minor_version=minor_version,
        data_offset=offset, journal_data_offset=offset,
    )  # fmt: skip
    own: SuperblockFields = {**fields}
    shared: SuperblockFields = {**fields}
    tail = shared.pop("journal_tail", 0)
    shared.pop("dev_number", None)
    own["journal_tail"] = tail
    slots = dict.fromkeys(range(3), shared) if everywhere else {}
    with folder() as here:
        before = {f"member{n}.img": image for n, image in images.member_images(slots).items()}
        before["journal.img"] = images.journal_image(ARRAY.ring, **own)
        for name, image in before.items():
            (here / name).write_bytes(image)
        with suppress(HarnessError):
            replay_to(read_array(sorted(here.glob("*.img")), degraded=True), here / "out", era=era)
            for name, image in images_in(here / "out").items():
                assert len(image) == len(before[name]), f"{name} has another size"


@FEW
@given(FIELDS, eras, st.integers(0, 2), st.sampled_from(["journal", "everywhere"]))
@example({"raid_disks": 2**31}, NEWEST_ERA, 2, "everywhere")
@example({"data_offset": 2**60}, NEWEST_ERA, 0, "journal")
@example({"data_offset": 2**20}, NEWEST_ERA, 0, "everywhere")
@example({"size": 2**50, "resync_offset": RESYNC_DONE}, NEWEST_ERA, 2, "everywhere")
@example({"chunksize": 2**32 - 8}, NEWEST_ERA, 2, "everywhere")
def test_any_fields_of_a_superblock_end_in_a_replay_or_in_an_error_of_ours(
    fields: SuperblockFields, era: Era, minor_version: int, where: str
) -> None:
    everywhere = where == "everywhere"
    replayed_with(fields, era, minor_version=minor_version, everywhere=everywhere)


# As a trace, and as a dm-log-writes log.

JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(["disks", "name", "size_bytes", "cache", "logical_block_bytes"]), inner
        ),
    ),
    max_leaves=4,
)
DISK = st.fixed_dictionaries(
    {"name": JSON, "size_bytes": JSON, "cache": st.just("write-back") | JSON,
     "logical_block_bytes": st.just(512) | JSON}
)  # fmt: skip
HEADER = encode_header([TraceDisk("a", 1 << 20, Cache.WRITE_BACK, 512)])


def with_text(text: bytes) -> bytes:
    head = struct.pack("<8sII", b"MDJTRACE", 1, len(text))
    return head + text + struct.pack("<I", zlib.crc32(text))


@MANY
@given(st.one_of(
    st.binary(max_size=200),
    st.binary(max_size=200).map(lambda rest: HEADER + rest),
    st.binary(max_size=50).map(with_text),
    st.one_of(JSON, st.fixed_dictionaries({"disks": st.lists(DISK, max_size=2)}))
    .map(lambda value: with_text(json.dumps(value).encode())),
))  # fmt: skip
@example(with_text(b'{"disks": [' + b"[" * 100_000))
@example(with_text(b'{"disks": [{"name": "a", "size_bytes": Infinity, '
                   b'"cache": "write-back", "logical_block_bytes": 512}]}'))  # fmt: skip
def test_any_bytes_are_a_trace_or_a_bad_trace(data: bytes) -> None:
    with suppress(BadTrace):
        decode(data)


U64 = some(64)


@MANY
@given(st.tuples(U64, U64, some(8), some(8), some(16), some(32), U64, U64), st.binary(max_size=20))
def test_any_record_of_a_trace_is_decoded_or_refused(
    numbers: tuple[int, ...], payload: bytes
) -> None:
    body = struct.pack("<IQQBBHIQQI", len(payload), *numbers, 0) + payload
    with suppress(BadTrace):
        decode(HEADER + struct.pack("<I", zlib.crc32(body)) + body)


@MANY
@given(
    U64,
    st.sampled_from([512, 4096, 0, 3]),
    st.lists(st.tuples(U64, U64, some(6), some(16)), max_size=5),
)
def test_any_entries_are_a_log_of_writes_or_a_bad_log(
    count: int, sector: int, entries: list[tuple[int, int, int, int]]
) -> None:
    blocks = [struct.pack("<QQQI", MAGIC, 1, count, sector).ljust(512, b"\0")]
    blocks += [struct.pack("<QQQQ", *entry).ljust(512, b"\0") for entry in entries]
    with suppress(BadLog):
        import_log(b"".join(blocks), name="a")


@FEW
@given(st.binary(max_size=2000))
def test_any_bytes_are_a_log_of_writes_or_a_bad_log(log: bytes) -> None:
    with suppress(BadLog):
        import_log(log, name="a")


def test_no_length_field_of_a_trace_or_a_log_takes_memory() -> None:
    record = struct.pack("<IIQQBBHIQQI", 0, 2**32 - 1, 1, 1, 1, 1, 0, 0, 0, 2**64 - 1, 0)
    entry = struct.pack("<QQQQ", 0, 2**54, 0, 2**64 - 1).ljust(512, b"\0")
    log = struct.pack("<QQQI", MAGIC, 1, 2**64 - 1, 512).ljust(512, b"\0") + entry
    with little_memory():
        assert decode(HEADER + record).events == ()
        with pytest.raises(BadTrace):
            decode(struct.pack("<8sII", b"MDJTRACE", 1, 2**32 - 1))
        with pytest.raises(BadLog):
            import_log(log, name="a")
