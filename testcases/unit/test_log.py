"""A meta block is taken or refused as the kernel does, and its descriptors never lead outside."""

from __future__ import annotations

import struct
from itertools import combinations

import pytest

from harness.ondisk.crc import kernel_crc32c, uuid_checksum
from harness.ondisk.log import (
    BrokenPayload,
    DataPayload,
    Fault,
    FlushPayload,
    MetaBlock,
    ParityPayload,
    Payload,
    Rejected,
    UnknownPayload,
    build_data_payload,
    build_meta_block,
    join_payloads,
    meta_checksum,
    page_checksum,
    parse_meta_block,
    parse_payload,
    parse_tail_block,
)
from harness.ondisk.units import ArraySector, LogSector, StripeSector
from testcases import journal_writer as writer
from testcases.journal_writer import Data, Flush, MetaOverrides, Parity, Raw, meta_block

SET_UUID = bytes(range(16))
U = 0x2636F714  # its checksum, section 2.5
RAMP = bytes(range(256)) * 16
ONES = b"\xff" * 4096
SEQ, AT = 0x1_2345_6789, LogSector(40)
PAYLOADS = (Data(2048, [RAMP]), Parity(1024, [ONES]), Flush([1024, 1032]))
USED = 32 + 20 + 20 + 24


def parse(block: bytes) -> MetaBlock | Rejected:
    return parse_meta_block(block, seed=U, seq=SEQ, position=AT)


def payloads_of(block: bytes) -> list[Payload | BrokenPayload]:
    """Decode the list of descriptors up to its end or its first fault."""
    meta_size = int.from_bytes(block[12:16], "little")
    found: list[Payload | BrokenPayload] = []
    offset = 32
    while offset < meta_size:
        parsed = parse_payload(block, offset, meta_size)
        if isinstance(parsed, BrokenPayload):
            return [*found, parsed]
        payload, length = parsed
        found.append(payload)
        offset += length
    return found


# The vectors of section 2.5.


def test_crc_of_the_nine_digits_is_not_inverted() -> None:
    assert kernel_crc32c(0xFFFFFFFF, b"123456789") == 0x1CF96D7C


def test_uuid_checksum_is_as_documented() -> None:
    assert uuid_checksum(SET_UUID) == U


@pytest.mark.parametrize("length", [0, 15, 17])
def test_only_sixteen_bytes_are_a_uuid(length: int) -> None:
    with pytest.raises(ValueError, match=f"got {length}"):
        uuid_checksum(bytes(length))


@pytest.mark.parametrize(
    ("page", "wanted"),
    [
        pytest.param(bytes(4096), 0xB3304A14, id="zeroes"),
        pytest.param(ONES, 0x0E08F58E, id="ones"),
        pytest.param(RAMP, 0xB7B8F5AF, id="ramp"),
    ],
)
def test_page_checksum_is_as_documented(page: bytes, wanted: int) -> None:
    assert page_checksum(U, page) == wanted


@pytest.mark.parametrize("length", [0, 1, 3, 16, 4093])
@pytest.mark.parametrize("seed", [0, 1, 0xFFFFFFFF, U])
def test_crc_is_the_bitwise_one_for_any_seed_and_length(seed: int, length: int) -> None:
    data = RAMP[7 : 7 + length]
    assert kernel_crc32c(seed, data) == writer.raw_crc32c(seed, data)


@pytest.mark.parametrize(
    ("seq", "position", "head"),
    [
        pytest.param(
            0x12345678, 0,
            "09c53364 64ca253a 01000000 20000000 7856341200000000 0000000000000000",
            id="at-the-start",
        ),
        pytest.param(
            0x12345678 + 10001, 8,
            "09c53364 7eb39ad0 01000000 20000000 897d341200000000 0800000000000000",
            id="ten-thousand-and-one-later",
        ),
    ],
)  # fmt: skip
def test_built_empty_meta_is_as_documented(seq: int, position: int, head: str) -> None:
    block = build_meta_block(seed=U, seq=seq, position=LogSector(position))
    assert block == bytes.fromhex(head).ljust(4096, b"\0")


def test_checksums_of_full_metas_are_as_documented() -> None:
    both = [Data(2048, [RAMP]), Parity(1024, [ONES])]
    assert meta_checksum(U, meta_block(seed=U, seq=7, position=16, payloads=both)) == 0x94BD24E1
    flush = meta_block(seed=U, seq=8, position=40, payloads=[Flush([1024])])
    assert meta_checksum(U, flush) == 0x14E28F68


# Building.


def test_built_descriptors_and_meta_are_the_writers() -> None:
    pages = {ArraySector(16): RAMP, ArraySector(2**40): ONES}
    payloads = join_payloads(
        build_data_payload(at, page_checksum(U, page)) for at, page in pages.items()
    )
    assert build_meta_block(seed=U, seq=SEQ, position=AT, payloads=payloads) == meta_block(
        seed=U, seq=SEQ, position=AT, payloads=[Data(at, [page]) for at, page in pages.items()]
    )


def test_sequence_is_built_modulo_64_bits() -> None:
    wanted = meta_block(seed=U, seq=9999, position=0)
    assert build_meta_block(seed=U, seq=2**64 + 9999, position=LogSector(0)) == wanted


def test_full_meta_block_is_built_and_a_longer_one_is_not() -> None:
    assert len(build_meta_block(seed=U, seq=1, position=AT, payloads=bytes(4064))) == 4096
    with pytest.raises(ValueError, match="4065 bytes"):
        build_meta_block(seed=U, seq=1, position=AT, payloads=bytes(4065))


# Validity: section 2.7.


def test_meta_of_the_writer_is_taken_whole() -> None:
    block = meta_block(seed=U, seq=SEQ, position=AT, payloads=PAYLOADS)
    assert parse(block) == MetaBlock(seq=SEQ, position=AT, meta_size=USED, block=block)


@pytest.mark.parametrize(
    ("offset", "fault"),
    [
        pytest.param(0, Fault.MAGIC, id="first-byte-of-magic"),
        pytest.param(3, Fault.MAGIC, id="last-byte-of-magic"),
        pytest.param(4, Fault.CHECKSUM, id="first-byte-of-checksum"),
        pytest.param(7, Fault.CHECKSUM, id="last-byte-of-checksum"),
        pytest.param(8, Fault.VERSION, id="version"),
        pytest.param(9, Fault.CHECKSUM, id="first-pad"),
        pytest.param(10, Fault.CHECKSUM, id="second-pad"),
        pytest.param(11, Fault.CHECKSUM, id="second-pad-high-byte"),
        pytest.param(12, Fault.CHECKSUM, id="meta-size"),
        pytest.param(15, Fault.CHECKSUM, id="meta-size-high-byte"),
        pytest.param(16, Fault.SEQ, id="seq"),
        pytest.param(23, Fault.SEQ, id="seq-high-byte"),
        pytest.param(24, Fault.POSITION, id="position"),
        pytest.param(31, Fault.POSITION, id="position-high-byte"),
        pytest.param(32, Fault.CHECKSUM, id="type"),
        pytest.param(34, Fault.CHECKSUM, id="flags"),
        pytest.param(36, Fault.CHECKSUM, id="size"),
        pytest.param(40, Fault.CHECKSUM, id="location"),
        pytest.param(48, Fault.CHECKSUM, id="page-checksum"),
        pytest.param(USED - 1, Fault.CHECKSUM, id="last-byte-in-use"),
        pytest.param(USED, Fault.CHECKSUM, id="first-byte-behind"),
        pytest.param(4095, Fault.CHECKSUM, id="last-byte-of-the-block"),
    ],
)
def test_one_flipped_bit_is_refused(offset: int, fault: Fault) -> None:
    block = bytearray(meta_block(seed=U, seq=SEQ, position=AT, payloads=PAYLOADS))
    block[offset] ^= 0x40
    parsed = parse(bytes(block))
    assert isinstance(parsed, Rejected)
    assert (parsed.fault, parsed.at) == (fault, AT)


WRONG: dict[Fault, tuple[int, int, MetaOverrides, int, int]] = {
    # seq, position, other fields; found and wanted as told, where they are known beforehand
    Fault.MAGIC: (SEQ, AT, {"magic": 0x6433C508}, 0x6433C508, 0x6433C509),
    Fault.SEQ: (SEQ + 1, AT, {}, SEQ + 1, SEQ),
    Fault.VERSION: (SEQ, AT, {"version": 2}, 2, 1),
    Fault.POSITION: (SEQ, AT + 8, {}, AT + 8, AT),
    Fault.CHECKSUM: (SEQ, AT, {"checksum": 0xBAD}, 0xBAD, -1),
    Fault.META_SIZE: (SEQ, AT, {"meta_size": 4097}, 4097, 4096),
}


def wrong_block(*faults: Fault) -> bytes:
    seq, position, overrides = SEQ, int(AT), MetaOverrides()
    for fault in faults:
        one_seq, one_position, fields, _, _ = WRONG[fault]
        seq, position = max(seq, one_seq), max(position, one_position)
        overrides |= fields
    return meta_block(seed=U, seq=seq, position=position, **overrides)


@pytest.mark.parametrize("fault", WRONG, ids=lambda fault: fault.value)
def test_refusal_tells_what_was_found_and_wanted(fault: Fault) -> None:
    _, _, _, found, wanted = WRONG[fault]
    block = wrong_block(fault)
    if fault is Fault.CHECKSUM:
        wanted = writer.raw_crc32c(U, block[:4] + bytes(4) + block[8:])
    parsed = parse(block)
    assert parsed == Rejected(AT, fault, found, wanted)
    assert str(parsed) == f"sector 40: {fault.value} is {found:#x}, wanted {wanted:#x}"


@pytest.mark.parametrize(
    ("first", "second"),
    [
        pytest.param(one, two, id=f"{one.value}-before-{two.value}")
        for one, two in combinations(WRONG, 2)
    ],
)
def test_of_two_faults_the_kernels_first_check_refuses(first: Fault, second: Fault) -> None:
    parsed = parse(wrong_block(first, second))
    assert isinstance(parsed, Rejected)
    assert parsed.fault is first


def test_faults_are_declared_in_the_kernels_order() -> None:
    assert list(Fault) == list(WRONG)


@pytest.mark.parametrize("meta_size", [0, 1, 31, 32, 33, 4096])
def test_any_meta_size_up_to_a_block_is_taken(meta_size: int) -> None:
    parsed = parse(meta_block(seed=U, seq=SEQ, position=AT, meta_size=meta_size))
    assert isinstance(parsed, MetaBlock)
    assert parsed.meta_size == meta_size


def test_pads_and_bytes_behind_the_list_may_hold_anything() -> None:
    block = meta_block(seed=U, seq=SEQ, position=AT, pad8=255, pad16=65535, tail_bytes=RAMP[:4064])
    assert isinstance(parse(block), MetaBlock)


@pytest.mark.parametrize("length", [0, 512, 4095, 4097])
def test_other_than_a_whole_block_is_the_callers_mistake(length: int) -> None:
    with pytest.raises(ValueError, match=f"got {length}"):
        parse(bytes(length))


# The block at the tail: section 2.7, last sentence, and 4.0.


@pytest.mark.parametrize("seq", [0, SEQ, 2**64 - 1])
def test_tail_block_defines_the_sequence(seq: int) -> None:
    block = meta_block(seed=U, seq=seq, position=AT)
    parsed = parse_tail_block(block, seed=U, position=AT)
    assert parsed == MetaBlock(seq=seq, position=AT, meta_size=32, block=block)


@pytest.mark.parametrize("meta_size", [4097, 2**32 - 1])
def test_tail_block_is_not_judged_by_its_meta_size(meta_size: int) -> None:
    block = meta_block(seed=U, seq=SEQ, position=AT, meta_size=meta_size)
    parsed = parse_tail_block(block, seed=U, position=AT)
    assert parsed == MetaBlock(seq=SEQ, position=AT, meta_size=meta_size, block=block)


@pytest.mark.parametrize(
    "fault", [Fault.MAGIC, Fault.VERSION, Fault.POSITION, Fault.CHECKSUM], ids=lambda f: f.value
)
def test_tail_block_with_another_fault_is_refused(fault: Fault) -> None:
    parsed = parse_tail_block(wrong_block(fault), seed=U, position=AT)
    assert isinstance(parsed, Rejected)
    assert parsed.fault is fault


# Descriptors: section 2.3.


def test_descriptors_are_decoded_with_flags_and_every_checksum() -> None:
    block = meta_block(
        seed=U, seq=SEQ, position=AT,
        payloads=[
            Data(2**63, [RAMP], flags=1), Parity(1032, [RAMP, ONES], flags=3),
            Flush([1024, 2**64 - 8], flags=1), Raw(struct.pack("<HHI", 3, 7, 99)),
        ],
    )  # fmt: skip
    assert payloads_of(block) == [
        DataPayload(flags=1, size=8, location=ArraySector(2**63), checksums=(0xB7B8F5AF,)),
        ParityPayload(
            flags=3, size=16, location=StripeSector(1032), checksums=(0xB7B8F5AF, 0x0E08F58E)
        ),
        FlushPayload(flags=1, size=16, stripes=(StripeSector(1024), StripeSector(2**64 - 8))),
        UnknownPayload(type=3, flags=7, size=99),
    ]


@pytest.mark.parametrize(
    ("size", "checksums"),
    [(0, ()), (7, ()), (8, (1,)), (15, (1,)), (16, (1, 2)), (17, (1, 2))],
)
def test_size_in_sectors_gives_the_number_of_checksums(
    size: int, checksums: tuple[int, ...]
) -> None:
    data = Data(8, [], size=size, checksums=checksums)
    (parsed,) = payloads_of(meta_block(seed=U, seq=SEQ, position=AT, payloads=[data]))
    assert parsed == DataPayload(flags=0, size=size, location=ArraySector(8), checksums=checksums)


@pytest.mark.parametrize(
    ("size", "stripes"), [(0, ()), (7, ()), (8, (64,)), (12, (64,)), (16, (64, 72))]
)
def test_flush_size_is_in_bytes(size: int, stripes: tuple[int, ...]) -> None:
    listed = struct.pack("<2Q", 64, 72)[:size]
    flush = Raw(struct.pack("<HHI", 2, 0, size) + listed)
    (parsed,) = payloads_of(meta_block(seed=U, seq=SEQ, position=AT, payloads=[flush]))
    wanted = tuple(StripeSector(stripe) for stripe in stripes)
    assert parsed == FlushPayload(flags=0, size=size, stripes=wanted)


def test_203_data_descriptors_fill_a_block() -> None:
    block = meta_block(
        seed=U, seq=SEQ, position=AT,
        payloads=[Data(8 * n, [], size=8, checksums=[n]) for n in range(203)],
    )  # fmt: skip
    assert payloads_of(block) == [
        DataPayload(flags=0, size=8, location=ArraySector(8 * n), checksums=(n,))
        for n in range(203)
    ]


@pytest.mark.parametrize("kind", [0, 1, 2], ids=["data", "parity", "flush"])
@pytest.mark.parametrize("size", [0, 7, 8, 9, 16, 4064, 8128, 2**31, 2**32 - 8, 2**32 - 1])
def test_descriptor_is_cut_nowhere_but_at_its_announced_end(kind: int, size: int) -> None:
    fixed, listed = (8, size) if kind == 2 else (16, 4 * (size // 8))
    head = struct.pack("<HHIQ", kind, 0, size, 1)
    block = (bytes(32) + head).ljust(4096, b"\x55")
    end = 32 + fixed + listed
    cut = parse_payload(block, 32, min(end - 1, 4096))
    assert isinstance(cut, BrokenPayload)
    assert cut.offset == 32
    if end <= 4096:
        whole = parse_payload(block, 32, end)
        assert not isinstance(whole, BrokenPayload)
        assert whole[1] == fixed + listed


@pytest.mark.parametrize("left", range(8))
def test_less_than_a_descriptors_head_is_broken(left: int) -> None:
    offset = 4096 - left
    parsed = parse_payload(b"\2" * 4096, offset, 4096)
    assert isinstance(parsed, BrokenPayload)
    assert parsed.offset == offset


@pytest.mark.parametrize("size", [0, 8, 2**32 - 1])
@pytest.mark.parametrize("kind", [0, 1, 2, 3, 65535])
def test_nothing_behind_meta_size_changes_what_is_decoded(kind: int, size: int) -> None:
    head = struct.pack("<HHIQI", kind, 0, size, 64, 5)
    for meta_size in range(32, 32 + len(head) + 1):
        front = (bytes(32) + head)[:meta_size]
        left = parse_payload(front.ljust(4096, b"\0"), 32, meta_size)
        right = parse_payload(front.ljust(4096, b"\xff"), 32, meta_size)
        assert left == right, f"meta_size {meta_size}"
