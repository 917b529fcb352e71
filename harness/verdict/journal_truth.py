"""Oracle 2: the journal tells the truth (DESIGN.md section 6).

Each logged block is what the workload wrote there, each logged parity is the parity of its stripe
as it was when it was logged, the ring arithmetic holds, and the kernel counts what the model does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from harness.crash.logged import LoggedMeta, Stray
from harness.crash.pattern import SECTOR_BYTES, describe_sector, read_stamp
from harness.crash.workload import Workload, WriteKind
from harness.ondisk.log import (
    HEADER_BYTES,
    BrokenPayload,
    DataPayload,
    FlushPayload,
    MetaBlock,
    ParityPayload,
    payloads_of,
)
from harness.ondisk.units import BLOCK_SECTORS, LogSector, StripeSector
from harness.recovery.geometry import Geometry
from harness.recovery.log import Ring, ScannedMeta
from harness.recovery.parity import q_syndrome, xor_pages
from harness.recovery.plan import RecoveryPlan
from harness.verdict.bypassing import UnloggedPage
from harness.verdict.verdict import Finding, Judgement

# What each era from 4.10 on adds to the sequence number behind a recovery (r5l_recovery_log): so
# older meta blocks are none of the new log.
RECOVERY_JUMP = 10000
ORACLE = "journal truth"
KERNEL_SAID = "the kernel said"  # begins what is found of its own count

# A member's page just before the event with that sequence number.
ContentAt = Callable[[int, StripeSector, int], bytes]
# A page of a logged meta block by its place in the log; None: no write of the trace has it.
LoggedPage = Callable[[LoggedMeta, LogSector, int], bytes | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggedArray:
    """What the judge needs to know of an array and of what its journal was ever given."""

    ring: Ring
    geometry: Geometry
    workload: Workload
    metas: Sequence[LoggedMeta]  # all that were logged before the cut, by seq
    # With those between them that are issued later: requests overtake each other on their way to
    # the disk, above all at the end of the ring, where the next one has a lower sector.
    numbered: Sequence[LoggedMeta]
    strays: Sequence[Stray]  # blocks written to the log that no meta block explains
    written_pages: int  # of the members' data areas, up to the cut
    unlogged: Sequence[UnloggedPage]  # of them, those without a record
    page: LoggedPage
    content_at: ContentAt
    # When a member's page was last discarded before an event; 0: never.
    cleared_at: Callable[[int, StripeSector, int], int]


def judge_journal_truth(
    array: LoggedArray, live: Sequence[ScannedMeta], plan: RecoveryPlan, kernel_log: Sequence[str]
) -> Judgement:
    """Judge everything that was logged up to a cut, and what the kernel said of what was live.

    Args:
        array: the log's whole history, and where its contents come from.
        live: what a scan of the log goes through after the cut.
        plan: the model's plan for it.
        kernel_log: lines of the kernel's log since the assembly began.
    """
    logged = judge_logged(array)
    findings = [*logged.findings, *judge_message(plan, kernel_log)]
    sectors = sum(scanned.log_sectors for scanned in live)
    if sectors >= array.ring.size:
        findings.append(Finding(ORACLE, f"{sectors} live sectors in a ring of {array.ring.size}"))
    said = plan.message or "nothing: its tail block is bad"
    compared = (
        f"{logged.compared[0]}, {len(live)} of them live",
        *logged.compared[1:],
        f"the kernel's own count: {said}",
    )
    return Judgement(ORACLE, compared, tuple(findings))


def judge_logged(array: LoggedArray) -> Judgement:
    """Judge everything that was logged up to a cut; this needs no recovery."""
    judge = _Judge(array)
    for logged in array.metas:
        judge.take(logged)
    findings = [_stray_finding(array.strays)] if array.strays else []
    findings += judge.findings + _unlogged(array.unlogged) + _judge_ring(array)
    compared = (
        f"{len(array.metas)} meta blocks logged up to the cut",
        f"their {judge.data_pages} data and {judge.parity_pages} parity pages, sequence and ring",
        "every block that was written to the log is one of these",
        f"{array.written_pages} pages written to members: each has its record in the log",
    )
    return Judgement(ORACLE, compared, tuple(findings))


class _Judge:
    def __init__(self, array: LoggedArray) -> None:
        self._array = array
        # By (stripe, device): when it was logged last, and the page.
        self._newest: dict[tuple[StripeSector, int], tuple[int, bytes]] = {}
        self._writes = {write.number: write for write in array.workload.writes}
        self._may_be_zeroes = set(_may_be_zeroes(array.workload))
        self.data_pages = 0
        self.parity_pages = 0
        self.findings: list[Finding] = []

    def take(self, logged: LoggedMeta) -> None:
        at = self._array.ring.add(logged.meta.position, BLOCK_SECTORS)
        for payload in payloads_of(logged.meta):
            match payload:
                case BrokenPayload(offset, reason):
                    self._object(logged, f"its descriptor at byte {offset}: {reason}")
                    return
                case DataPayload():
                    self._take_data(logged, payload, at)
                    at = self._array.ring.add(at, payload.size)
                case ParityPayload():
                    self._take_parity(logged, payload, at)
                    at = self._array.ring.add(at, payload.size)
                case FlushPayload():
                    pass
                case unknown:
                    self._object(logged, f"a payload of type {unknown.type}")
                    return

    def _object(self, logged: LoggedMeta, what: str) -> None:
        self.findings.append(Finding(ORACLE, f"meta block {logged.meta.seq}: {what}"))

    def _page(self, logged: LoggedMeta, at: LogSector, checksum: int) -> bytes | None:
        page = self._array.page(logged, at, checksum)
        if page is None:
            self._object(logged, f"no page with its checksum was ever written at {at}")
        return page

    def _take_data(self, logged: LoggedMeta, payload: DataPayload, at: LogSector) -> None:
        page = self._page(logged, at, payload.checksums[0])
        if page is None:
            return
        self.data_pages += 1
        for number in range(BLOCK_SECTORS):
            sector = payload.location + number
            content = page[number * SECTOR_BYTES : (number + 1) * SECTOR_BYTES]
            if reason := self._wrong_sector(sector, content):
                said = describe_sector(content)
                self._object(logged, f"data of array sector {sector} {reason}: {said}")
                break
        place = self._array.geometry.place(payload.location)
        self._newest[place.sector, place.device] = logged.issued, page

    def _wrong_sector(self, sector: int, content: bytes) -> str | None:
        stamp = read_stamp(content)
        workload = self._array.workload
        if stamp is None:
            if any(content):
                return "is nothing that the workload wrote"
            # A logged page was written to. Zeroes are right where that was another sector of it,
            # or a request for zeroes or none at all.
            return None if sector in self._may_be_zeroes else "is nothing that the workload wrote"
        if (stamp.seed, stamp.fill) != (workload.seed, workload.fill):
            return "is nothing that the workload wrote"
        if stamp.sector != sector:
            return "belongs to another sector"
        write = self._writes.get(stamp.write)
        if write is None or not write.sector <= sector < write.sector + write.sectors:
            return "tells of a write that the workload does not have there"
        return None

    def _take_parity(self, logged: LoggedMeta, payload: ParityPayload, at: LogSector) -> None:
        stripe = payload.location
        row = self._array.geometry.row_at(stripe)
        data = {device: self._data(device, stripe, logged) for device in row.data}
        wanted = {"P": xor_pages(data.values())}
        if row.qd_idx is not None:
            exponents = self._array.geometry.q_exponents(row)
            wanted["Q"] = q_syndrome({exponents[d]: page for d, page in data.items()})
        if len(payload.checksums) != len(wanted):
            self._object(logged, f"{len(payload.checksums)} parity pages for stripe {stripe}")
            return
        for (name, parity), checksum in zip(wanted.items(), payload.checksums, strict=True):
            device = row.pd_idx if name == "P" else row.qd_idx
            assert device is not None
            page = self._page(logged, at, checksum)
            self.parity_pages += 1
            if page is not None and page != parity:
                self._object(logged, f"{name} of stripe {stripe} is not the parity of its data")
            at = self._array.ring.add(at, BLOCK_SECTORS)

    def _data(self, device: int, stripe: StripeSector, logged: LoggedMeta) -> bytes:
        """Return a data page as it was then: the newest one logged, or else the member's.

        A page that was discarded since it was logged is the member's as well.
        """
        issued, page = self._newest.get((stripe, device), (0, b""))
        if not page or self._array.cleared_at(device, stripe, logged.issued) > issued:
            return self._array.content_at(device, stripe, logged.issued)
        return page


def _may_be_zeroes(workload: Workload) -> Iterator[int]:
    """Yield each sector of a page that was written to and may be logged as zeroes."""
    for write in workload.writes:
        end = write.sector + write.sectors
        first, last = write.sector // BLOCK_SECTORS, -(-end // BLOCK_SECTORS)
        for sector in range(first * BLOCK_SECTORS, last * BLOCK_SECTORS):
            if write.kind is not WriteKind.DATA or not write.sector <= sector < end:
                yield sector


def _unlogged(unlogged: Sequence[UnloggedPage]) -> list[Finding]:
    """Object to writes of members that have no record: the driver logs before it writes."""
    findings = []
    for syncing in (False, True):
        bare = [each.page for each in unlogged if not each.reason and each.is_syncing == syncing]
        if bare:
            what = (
                f"member {bare[0].slot}, sector {bare[0].stripe} of its data area, was written at"
                f" event {bare[0].issued} without a record of that page in the log"
            )
            more = f"{len(bare)} such writes up to the cut"
            findings.append(Finding(ORACLE, what, (more,), {"being_synced": int(syncing)}))
    return findings


def _stray_finding(strays: Sequence[Stray]) -> Finding:
    first = strays[0]
    what = f"log sector {first.position}, written at event {first.issued}: {first.reason}"
    more = f"{len(strays)} such blocks were written to the log up to the cut"
    return Finding(ORACLE, what, (more,))


def _judge_ring(array: LoggedArray) -> list[Finding]:
    """Each meta block follows on the one before, but for a new start, which is an empty one."""
    findings = []
    for before, after in pairwise(array.numbered):
        if after.meta.meta_size == HEADER_BYTES and after.meta.seq != before.meta.seq + 1:
            continue  # an assembly or the creation jumps ahead and begins with an empty meta
        wanted = array.ring.add(before.meta.position, BLOCK_SECTORS + _page_sectors(before.meta))
        # An assembly that found data-only stripes begins with these, logged anew.
        seqs = (before.meta.seq + 1, before.meta.seq + 1 + RECOVERY_JUMP)
        if after.meta.seq not in seqs or after.meta.position != wanted:
            what = (
                f"meta block {after.meta.seq} at {after.meta.position} does not follow on"
                f" {before.meta.seq}, whose end is at {wanted}"
            )
            findings.append(Finding(ORACLE, what))
    return findings


def _page_sectors(meta: MetaBlock) -> int:
    return sum(
        payload.size
        for payload in payloads_of(meta)
        if isinstance(payload, DataPayload | ParityPayload)
    )


def judge_message(plan: RecoveryPlan, kernel_log: Sequence[str]) -> tuple[Finding, ...]:
    """Compare the line that the kernel prints at recovery with the one the model expects."""
    telling = [
        line.partition("md/raid:")[2].partition(": ")[2]
        for line in kernel_log
        if "starting from clean shutdown" in line or "data-only stripes" in line
    ]
    wanted = [] if plan.message is None else [plan.message]
    if telling == wanted:
        return ()
    what = f"{KERNEL_SAID} {_quoted(telling)}, the model expected {_quoted(wanted)}"
    return (Finding(ORACLE, what),)


def _quoted(lines: Sequence[str]) -> str:
    return " / ".join(f'"{line}"' for line in lines) or "nothing"
