"""Oracle 2: the journal tells the truth (DESIGN.md section 6).

Each logged block is what the workload wrote there, each logged parity is the parity of its stripe
as it was when it was logged, the ring arithmetic holds, and the kernel counts what the model does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from harness.crash.pattern import SECTOR_BYTES, describe_sector, read_stamp
from harness.crash.workload import Workload
from harness.ondisk.log import DataPayload, FlushPayload, ParityPayload
from harness.ondisk.units import BLOCK_SECTORS, ArraySector, LogSector, StripeSector
from harness.recovery.geometry import Geometry
from harness.recovery.parity import q_syndrome, xor_pages
from harness.recovery.plan import RecoveryPlan
from harness.recovery.scan import Log, PlacedPayload, ScannedMeta
from harness.verdict.verdict import Finding, Judgement

ORACLE = "journal truth"

# A member's page as it was just before the meta block with this content was written to the log.
ContentAt = Callable[[int, StripeSector, ScannedMeta], bytes]


@dataclass(slots=True)
class _Counts:
    data_pages: int = 0
    parity_pages: int = 0
    metas: int = 0
    findings: list[Finding] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggedArray:
    """What the judge needs to know of the array beside the log itself."""

    log: Log
    geometry: Geometry
    workload: Workload
    content_at: ContentAt


def judge_journal_truth(
    array: LoggedArray, metas: Sequence[ScannedMeta], plan: RecoveryPlan, kernel_log: Sequence[str]
) -> Judgement:
    """Judge the live log of a crash state, and what the kernel said of it.

    Args:
        array: the log and where its contents come from.
        metas: what a scan of the log accepted.
        plan: the model's plan for it.
        kernel_log: lines of the kernel's log since the assembly began.
    """
    counts = _Counts()
    judge = _Judge(array, counts)
    live = 0
    for scanned in metas:
        live += scanned.log_sectors
        if scanned.dropped is None:
            counts.metas += 1
            judge.take(scanned)
    if live >= array.log.ring.size:
        what = f"{live} sectors of live log in a ring of {array.log.ring.size}"
        counts.findings.append(Finding(ORACLE, what))
    counts.findings += _judge_message(plan, kernel_log)
    said = plan.message or "nothing: its tail block is bad"
    compared = (
        (
            f"{counts.metas} meta blocks: sequence, ring and the {counts.data_pages} data and"
            f" {counts.parity_pages} parity pages that they log"
        ),
        f"the kernel's own count: {said}",
    )
    return Judgement(ORACLE, compared, tuple(counts.findings))


class _Judge:
    def __init__(self, array: LoggedArray, counts: _Counts) -> None:
        self._array = array
        self._counts = counts
        self._logged: dict[tuple[StripeSector, int], bytes] = {}  # newest logged page so far
        self._writes = {write.number: write for write in array.workload.writes}

    def take(self, scanned: ScannedMeta) -> None:
        for placed in scanned.payloads:
            match placed.payload:
                case DataPayload(location=location):
                    self._take_data(scanned, location, self._page(placed.pages_at))
                case ParityPayload(location=location):
                    self._take_parity(scanned, location, placed)
                case FlushPayload():
                    pass

    def _page(self, at: LogSector) -> bytes:
        page = self._array.log.read_block(at)
        assert page is not None  # the scan read it
        return page

    def _take_data(self, scanned: ScannedMeta, location: ArraySector, page: bytes) -> None:
        self._counts.data_pages += 1
        for number in range(BLOCK_SECTORS):
            content = page[number * SECTOR_BYTES : (number + 1) * SECTOR_BYTES]
            if reason := self._wrong_sector(location + number, content):
                what = (
                    f"meta block {scanned.meta.seq}: data of array sector {location + number}"
                    f" {reason}: {describe_sector(content)}"
                )
                self._counts.findings.append(Finding(ORACLE, what))
                break
        place = self._array.geometry.place(location)
        self._logged[place.sector, place.device] = page

    def _wrong_sector(self, sector: int, content: bytes) -> str | None:
        # A logged page was written, and writes here cover whole pages: zeroes are wrong as well.
        stamp = read_stamp(content)
        if stamp is None or stamp.seed != self._array.workload.seed:
            return "is nothing that the workload wrote"
        if stamp.sector != sector:
            return "belongs to another sector"
        write = self._writes.get(stamp.write)
        if write is None or not write.sector <= sector < write.sector + write.sectors:
            return "tells of a write that the workload does not have there"
        return None

    def _take_parity(
        self, scanned: ScannedMeta, location: StripeSector, placed: PlacedPayload
    ) -> None:
        row = self._array.geometry.row_at(location)
        data = {device: self._content(device, location, scanned) for device in row.data}
        wanted = {"P": xor_pages(data.values())}
        if row.qd_idx is not None:
            exponents = self._array.geometry.q_exponents(row)
            wanted["Q"] = q_syndrome({exponents[d]: page for d, page in data.items()})
        at = placed.pages_at
        for name, page in wanted.items():
            self._counts.parity_pages += 1
            if self._page(at) != page:
                what = (
                    f"meta block {scanned.meta.seq}: {name} of stripe {location}"
                    " is not the parity of its data"
                )
                self._counts.findings.append(Finding(ORACLE, what))
            at = self._array.log.ring.add(at, BLOCK_SECTORS)

    def _content(self, device: int, stripe: StripeSector, scanned: ScannedMeta) -> bytes:
        """Return a data page as it was then: logged before, or else as the member had it."""
        logged = self._logged.get((stripe, device))
        return self._array.content_at(device, stripe, scanned) if logged is None else logged


def _judge_message(plan: RecoveryPlan, kernel_log: Sequence[str]) -> list[Finding]:
    """Compare the line that the kernel prints at recovery with the one the model expects."""
    telling = [
        line.partition("md/raid:")[2].partition(": ")[2]
        for line in kernel_log
        if "starting from clean shutdown" in line or "data-only stripes" in line
    ]
    wanted = [] if plan.message is None else [plan.message]
    if telling == wanted:
        return []
    return [Finding(ORACLE, f"the kernel said {telling or 'nothing'}, the model expected {wanted}")]
