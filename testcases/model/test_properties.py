"""What must hold for any journal, legal or hostile.

The journals come from the generator, one for each seed, and in words with each failure.
"""

from __future__ import annotations

import io
import json
import struct
from contextlib import redirect_stdout
from typing import Any

from hypothesis import assume, given, note
from hypothesis import strategies as st

from harness.recovery.era import ERAS, Era, Unit
from harness.recovery.plan import RecoveryPlan
from testcases.generated_cases import WrittenCase
from testcases.journal_writer import Data, Flush, Parity, Payload, Raw, Ring, log_record
from testcases.unit.written_cases import (
    FEW,
    MANY,
    SEEDS,
    Reads,
    eras,
    folder,
    hostile,
    images_in,
    legal,
    log_of,
    members_in,
    planned,
    replayed,
)
from tools.cli import run

NOT_WRITTEN_OUT = ("4.4-rc1", "4.4", "4.9", "4.10")  # what becomes of data-only stripes


def printed(case: WrittenCase) -> Any:
    """Return what `dump --json` prints of a case's journal, read as JSON."""
    with folder() as place, redirect_stdout(io.StringIO()) as out:
        assert run(["dump", "--json", *map(str, case.store(place))]) == 0
    return json.loads(out.getvalue())


def written_again(payload: dict[str, Any], ring: Ring) -> Payload:
    """Return what was printed as the independent writer would have it; pages are not printed."""
    match payload:
        case {"type": "flush", "flags": flags, "size": size, "stripes": stripes}:
            return Flush(stripes, size=size, flags=flags)
        case {"type": ("data" | "parity") as kind, "flags": flags, "size": size, "location": at}:
            pages = [page_at(ring, payload["pages_at"] + 8 * n) for n in range(size // 8)]
            sums = [int(checksum, 16) for checksum in payload["checksums"]]
            which = Data if kind == "data" else Parity
            return which(at, pages, size=size, checksums=sums, flags=flags)
        case {"type": int(kind), "flags": flags, "size": size}:
            return Raw(struct.pack("<HHI", kind, flags, size))
    raise AssertionError(payload)


def page_at(ring: Ring, position: int) -> bytes:
    at = position % ring.size_sectors * 512
    return bytes(ring.log[at : at + 4096])


# Legal journals.


@MANY
@given(SEEDS)
def test_what_is_parsed_printed_and_written_again_has_the_same_bytes(seed: int) -> None:
    case = legal(seed)
    note(case.words)
    metas = printed(case)["metas"]
    assert [(m["seq"], m["position"]) for m in metas] == [(m.seq, m.position) for m in case.metas]
    ring = bytes(case.ring.log)
    for meta in metas:
        at = meta["position"]
        record = log_record(
            seed=case.ring.seed, seq=meta["seq"], position=at,
            payloads=[written_again(payload, case.ring) for payload in meta["payloads"]],
        )  # fmt: skip
        assert record == (ring[at * 512 :] + ring[: at * 512])[: len(record)]
        assert len(record) == 512 * meta["log_sectors"]


@FEW
@given(SEEDS, eras)
def test_legal_journal_leaves_what_its_writer_says(seed: int, era: Era) -> None:
    """Write-through in every era; write-back from the era on that writes data-only stripes out.

    A FLUSH is known since 4.12. Eras that write a journal out differ in nothing else here.
    """
    case = legal(seed)
    note(case.words)
    assume(case.is_write_through or era.name not in NOT_WRITTEN_OUT)
    assume(not case.has_flush or era.name != "4.11")
    with folder() as here:
        assert replayed(case.store(here / "in"), here / "out", era) is not None
        assert members_in(here / "out") == case.members_after()


@FEW
@given(st.one_of(st.builds(legal, SEEDS), st.builds(hostile, SEEDS)), eras)
def test_second_replay_changes_no_member_and_finds_a_clean_log(case: WrittenCase, era: Era) -> None:
    """A replay is finished, not merely tolerated.

    Not so by the rules: 4.4-rc1, 4.4 and 4.9 leave the log alone where they accept too few metas,
    or where the sequence wraps, and then write the same pages again; where they make no new log
    (4.4-rc1, 4.4), the next start follows what lies at block 0. 4.10 leaves data-only stripes in
    the log. Members stay the same all the same, but for that new log.
    """
    note(f"{era.name}: {case.words}")
    with folder() as here:
        first = replayed(case.store(here / "in"), here / "out", era)
        assume(first is not None)
        assert first is not None
        assume(first.plan.created is None or era.name not in ("4.4-rc1", "4.4"))
        second = replayed(images_in(here / "out"), here / "again", era)
        assert second is not None
        assert members_in(here / "again") == members_in(here / "out")
        if first.plan.empty_metas or first.plan.written_out:
            assert second.plan.created is None
            assert (second.plan.data_parity, second.plan.data_only) == (0, ())
            assert second.plan.metas_accepted == 1


@FEW
@given(SEEDS, st.integers(0, 7), eras)
def test_prefix_and_then_the_rest_leave_what_the_whole_leaves(
    seed: int, cut: int, era: Era
) -> None:
    """Recovery of the first metas, then of the others on top, equals recovery of all at once.

    Not so by the rules, and left out: a FLUSH in the rest takes back stripes of the prefix, and
    a stripe whose parity is in the rest is data-only in the prefix (its members end the same, by
    way of parity counted anew); before 4.10 that has no outcome, and in 4.10 no effect.
    """
    case = legal(seed)
    note(f"{era.name}: {case.words}")
    assume(not case.has_flush)
    assume(case.is_write_through or era.name not in NOT_WRITTEN_OUT)
    cut = min(cut, len(case.metas) - 1)
    assume(cut > 0)
    at = case.metas[cut].position
    with folder() as here:
        assert replayed(case.store(here / "in"), here / "whole", era) is not None
        lost = bytes(case.ring.log[at * 512 : at * 512 + 4096])
        try:
            case.ring.log[at * 512 : at * 512 + 4096] = bytes(4096)
            assert replayed(case.store(here / "in"), here / "prefix", era) is not None
        finally:
            case.ring.log[at * 512 : at * 512 + 4096] = lost
        rest = case.images.journal_image(case.ring, journal_tail=at)
        (here / "prefix" / "journal.img").write_bytes(rest)
        assert replayed(images_in(here / "prefix"), here / "rest", era) is not None
        assert members_in(here / "rest") == members_in(here / "whole")


# One bit.


def sources(plan: RecoveryPlan) -> set[int]:
    pages = [stripe.pages for stripe in plan.replays] + [each.pages for each in plan.data_only]
    return {at for of_stripe in pages for _, at in of_stripe}


@MANY
@given(SEEDS, st.integers(0, 2**20), eras)
def test_flipped_bit_in_the_live_log_of_a_driver_is_always_detected(
    seed: int, where: int, era: Era
) -> None:
    case = legal(seed)
    note(f"{era.name}: {case.words}")
    assume(case.is_write_through or era.name not in NOT_WRITTEN_OUT)
    assume(not case.has_flush or era.name != "4.11")
    log = bytearray(case.ring.log)
    start = case.metas[0].position * 512
    live = (case.end - case.metas[0].position) % case.ring.size_sectors * 512
    byte = (start + where // 8 % live) % len(log)
    log[byte] ^= 1 << where % 8
    places = [*(meta.position for meta in case.metas), case.end]
    hit = next(
        number for number in range(len(case.metas))
        if (byte // 512 - places[number]) % case.ring.size_sectors
        < (places[number + 1] - places[number]) % case.ring.size_sectors
    )  # fmt: skip
    plan = planned(case, log_of(case, era, bytes(log)))
    assert plan is not None
    assert plan.metas_accepted == hit
    at = case.metas[hit].position * 512
    log[at : at + 4096] = bytes(4096)
    prefix = planned(case, log_of(case, era, bytes(log)))
    assert prefix is not None
    if era.unit is Unit.STRIPE:  # stripes of that very meta, before the damage, are written too
        assert plan.replays[: len(prefix.replays)] == prefix.replays
    else:
        assert (plan.replays, plan.data_only) == (prefix.replays, prefix.data_only)


@MANY
@given(SEEDS, st.integers(0, 2**20), eras)
def test_flipped_bit_in_a_hostile_log_is_detected_or_does_not_matter(
    seed: int, where: int, era: Era
) -> None:
    """Where no other meta is dropped and none is lost, no member gets another byte."""
    case = hostile(seed)
    note(f"{era.name}: {case.words}")
    whole = planned(case, log_of(case, era))
    log = bytearray(case.ring.log)
    used = max((meta.position for meta in case.metas), default=0) * 512 + 8192
    byte = where // 8 % min(used, len(log))
    log[byte] ^= 1 << where % 8
    flipped = planned(case, log_of(case, era, bytes(log)))
    if whole is None or flipped is None:
        return
    if flipped.metas_accepted < whole.metas_accepted or flipped.metas_dropped > whole.metas_dropped:
        return
    assert flipped.metas_accepted == whole.metas_accepted
    if era.unit is Unit.STRIPE:  # of a meta that is bad anyway, fewer stripes may be written
        assert flipped.replays == whole.replays[: len(flipped.replays)]
    else:
        assert (flipped.replays, flipped.data_only) == (whole.replays, whole.data_only)
    assert byte // 4096 * 8 not in sources(flipped)


# Hostile journals.


@MANY
@given(SEEDS)
def test_hostile_journal_has_a_plan_or_no_outcome_after_bounded_reads(seed: int) -> None:
    """A meta is accepted once at most, whatever leads around the ring, and reads what it lists."""
    case = hostile(seed)
    for era in ERAS.values():
        note(f"{era.name}: {case.words}")
        log = log_of(case, era)
        planned(case, log)
        assert isinstance(log.read_blocks, Reads)
        assert len(log.read_blocks.at) <= 2 + case.ring.size_sectors // 8 * (1 + 2 * 4064 // 16)
        assert min(log.read_blocks.at) >= 0


@FEW
@given(SEEDS, eras)
def test_hostile_journal_changes_nothing_outside_the_array(seed: int, era: Era) -> None:
    case = hostile(seed)
    note(f"{era.name}: {case.words}")
    with folder() as here:
        paths = case.store(here / "in")
        before = case.files()
        if replayed(paths, here / "out", era) is None:
            return
        assert {path.name for path in images_in(here / "out")} == before.keys()
        for path in images_in(here / "out"):
            old, new = before[path.name], path.read_bytes()
            assert len(old) == len(new), f"{path.name} has another size"
            start = case.images.first_sector * 512
            end = start + case.images.data_sectors * 512
            if path.name == "journal.img":
                start = (case.images.journal_data_offset or 0) * 512
                end = start + len(case.ring.log)
                parts = [(0, start), (end, len(old))]
                kept = [
                    at for a, b in parts for at in range(a, b) if old[at] != new[at]
                ]  # what differs lies in the tail and in the checksum to it
                places = {at % 4096 for at in kept}
                assert places <= {*range(152, 160), *range(216, 220)}
            else:
                assert (old[:start], old[end:]) == (new[:start], new[end:])
