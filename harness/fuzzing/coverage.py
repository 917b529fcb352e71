"""What journals at random have reached: kinds of payloads, fields and their values, ends, eras."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from harness.fuzzing.journal import Journal, WrittenMeta
from harness.fuzzing.payloads import bytes_used
from harness.fuzzing.site import FuzzedArray
from harness.ondisk.log import (
    HEADER_BYTES,
    BrokenPayload,
    DataPayload,
    FlushPayload,
    ParityPayload,
    Payload,
    UnknownPayload,
    parse_payload,
)
from harness.ondisk.units import BLOCK_BYTES, BLOCK_SECTORS, LogSector
from harness.recovery.log import ScannedMeta
from harness.recovery.plan import RecoveryPlan

ACCEPTED, DROPPED, NOT_REACHED = "accepted", "dropped", "not reached"
_KINDS: Mapping[type, str] = {
    DataPayload: "DATA", ParityPayload: "PARITY", FlushPayload: "FLUSH",
    UnknownPayload: "unknown type", BrokenPayload: "no descriptor",
}  # fmt: skip


@dataclass(slots=True)
class EraCount:
    """What one era makes of the same journals."""

    told: int = 0  # how many have an outcome
    same: int = 0  # as in the era of the kernel
    replayed: int = 0  # stripes
    data_only: int = 0


@dataclass(slots=True)
class Coverage:
    """Counts over all journals of a campaign."""

    states: int = 0
    kinds: Counter[str] = field(default_factory=Counter)  # of journals
    tricks: Counter[str] = field(default_factory=Counter)
    # (kind of payload, what recovery made of its meta block)
    payloads: Counter[tuple[str, str]] = field(default_factory=Counter)
    # (field, its value): in how many journals
    fields: Counter[tuple[str, str]] = field(default_factory=Counter)
    ends: Counter[str] = field(default_factory=Counter)
    eras: dict[str, EraCount] = field(default_factory=dict)

    def take_journal(self, journal: Journal, array: FuzzedArray) -> None:
        """Count what was written."""
        self.states += 1
        self.kinds[journal.kind] += 1
        self.tricks.update(set(journal.tricks))
        wraps = any(meta.end(array) < meta.position for meta in journal.metas)
        self.ends["the log goes around the ring"] += wraps
        values = {("journal_tail", "a lie" if "journal_tail" in journal.lies else "true")}
        for meta in journal.metas:
            values.update(_header_values(meta))
            cut_off = meta.pages_written is not None
            values.add(("pages behind the block", "cut off" if cut_off else "all"))
            for payload in _payloads(meta, array):
                values.update(_payload_values(payload, array))
        self.fields.update(values)

    def take_scan(self, journal: Journal, array: FuzzedArray, scan: list[ScannedMeta]) -> None:
        """Count what a scan by the kernel's era made of each payload."""
        made = {each.meta.position: each for each in scan}
        for meta in journal.metas:
            scanned = made.get(LogSector(meta.position))
            for payload in _payloads(meta, array):
                state = NOT_REACHED
                if scanned is not None:
                    state = ACCEPTED if scanned.dropped is None else DROPPED
                self.payloads[_KINDS[type(payload)], state] += 1

    def take_plan(self, plan: RecoveryPlan, stripe_cache_size: int) -> None:
        """Count how recovery by the kernel's era ends."""
        if plan.created is not None:
            self.ends[f"new log: the tail block's {plan.created.fault.value} is wrong"] += 1
            return
        end = plan.ended
        assert end is not None
        if end.rejected is not None:
            self.ends[f"the scan ends at a block whose {end.rejected.fault.value} is wrong"] += 1
        else:
            self.ends["the scan ends at a block that cannot be read"] += 1
        self.ends["meta blocks are dropped"] += plan.metas_dropped > 0
        self.ends["stripes with parity are replayed"] += plan.data_parity > 0
        self.ends["data-only stripes are logged anew"] += bool(plan.data_only)
        many = plan.data_parity + len(plan.data_only) > stripe_cache_size
        self.ends["more stripes than the stripe cache has"] += many

    def take_eras(self, plans: Mapping[str, RecoveryPlan | None], own: str) -> None:
        """Count what each era makes of a journal; ``None``: its outcome cannot be told."""
        mine = plans[own]
        for name, plan in plans.items():
            count = self.eras.setdefault(name, EraCount())
            if plan is None:
                continue
            count.told += 1
            count.same += mine is not None and effect_of(plan) == effect_of(mine)
            count.replayed += plan.data_parity
            count.data_only += len(plan.data_only)


def effect_of(plan: RecoveryPlan) -> tuple[object, ...]:
    """Return what a recovery leaves, as something to compare: by whatever way it came about."""
    pages = {
        (device, replay.stripe): source
        for replay in plan.replays
        for device, source in replay.pages
    }
    return (
        pages, plan.data_only if plan.written_out else (), plan.empty_metas, plan.rewritten,
        plan.journal_tail,
    )  # fmt: skip


def _header_values(meta: WrittenMeta) -> Iterator[tuple[str, str]]:
    lies = meta.lies
    for name in ("magic", "checksum", "version", "seq", "position"):
        yield name, "right" if getattr(lies, name) is None else "wrong"
    yield "pads", "not zero" if lies.pad8 or lies.pad16 else "zero"
    yield "behind the list", "noise" if lies.noise else "zeroes"
    size = lies.meta_size
    if size is None:
        yield "meta_size", "right"
    elif size <= HEADER_BYTES:
        yield "meta_size", "32 or less"
    elif size > BLOCK_BYTES:
        yield "meta_size", "beyond the block"
    else:
        yield "meta_size", "another one within the block"


def _payloads(meta: WrittenMeta, array: FuzzedArray) -> Iterator[Payload | BrokenPayload]:
    """Yield each descriptor that was written; a list that its size takes too far is cut."""
    block = meta.blocks(array)[0]
    written = bytes_used(meta.payloads) + len(meta.lies.noise)
    end = min(int.from_bytes(block[12:16], "little"), written)
    offset = HEADER_BYTES
    while offset < end:
        parsed = parse_payload(block, offset, end, clip=True)
        if isinstance(parsed, BrokenPayload):
            yield parsed
            return
        payload, length = parsed
        yield payload
        offset += length


def _payload_values(
    payload: Payload | BrokenPayload, array: FuzzedArray
) -> Iterator[tuple[str, str]]:
    match payload:
        case BrokenPayload():
            yield "descriptor", "does not fit"
            return
        case UnknownPayload(type=kind):
            yield "type", "unknown" if kind > 2 else str(kind)
        case FlushPayload(size=size, stripes=stripes):
            yield "type", "FLUSH"
            count = "0" if not stripes else "1" if len(stripes) == 1 else "many"
            yield "FLUSH stripes", count
            yield "FLUSH size", "a multiple of 8" if size % 8 == 0 else "no multiple of 8"
            for stripe in stripes:
                yield "FLUSH stripe", _place(stripe, array.member_sectors, array.room_sectors)
        case DataPayload(size=size, location=at):
            yield "type", "DATA"
            yield "DATA size", _size(size, 1)
            across = array.array_sectors // array.member_sectors
            yield "DATA location", _place(at, array.array_sectors, array.room_sectors * across)
        case ParityPayload(size=size, location=stripe):
            yield "type", "PARITY"
            yield "PARITY size", _size(size, 2 if array.level == 6 else 1)
            yield "PARITY location", _place(stripe, array.member_sectors, array.room_sectors)
    flags = payload.flags
    yield "flags", str(flags) if flags <= 3 else "more"


def _size(size: int, pages: int) -> str:
    if size == BLOCK_SECTORS * pages:
        return "right"
    if size < BLOCK_SECTORS:
        return "0" if size == 0 else "1 to 7"
    if size > 2**20:
        return "absurd"
    return "other pages" if size % BLOCK_SECTORS == 0 else "no multiple of 8"


def _place(at: int, end: int, room: int) -> str:
    if at % BLOCK_SECTORS:
        return "unaligned"
    if at == end - BLOCK_SECTORS:
        return "the last page"
    if at < end:
        return "inside"
    if at == end:
        return "the first behind the end"
    return "behind the end, on the disks" if at < room else "beyond the disks"
