"""What a running array must read back: of each sector the last write, or one that nobody can tell.

For arrays whose history is known write by write, and that are asked by reading. What a power cut
may leave at any moment is for ``durability``; both speak of the same stamps (``crash.pattern``).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from harness.crash.workload import Write, WriteKind
from harness.ondisk.units import BLOCK_SECTORS, ArraySector
from harness.recovery.geometry import Geometry
from harness.verdict.reason import few_of_each_kind
from harness.verdict.verdict import Finding, Judgement

Stamp = tuple[int, int, int]  # write, array sector and seed; write 0: zeroes, -1: foreign bytes
EMPTY: Stamp = (0, 0, 0)
_MOST_FINDINGS = 5


@dataclass(slots=True)
class WrittenArray:
    """Everything that was written to an array so far, and what became of it."""

    seed: int
    writes: dict[int, Write] = field(default_factory=dict)
    uncertain: set[int] = field(default_factory=set)  # failed, or under way when the power went

    def take(self, writes: Iterable[Write], *, failed: bool) -> None:
        """Note writes that have ended."""
        for write in writes:
            self.writes[write.number] = write
            if failed:
                self.uncertain.add(write.number)

    def doubt(self, after: int) -> None:
        """Note that nothing behind write *after* can be counted on."""
        self.uncertain |= {number for number in self.writes if number > after}

    def pages(self, geometry: Geometry) -> list[int]:
        """Return all pages of stripes that were written to, by number: also untouched ones."""
        stripes = {
            geometry.place(ArraySector(sector)).sector
            for write in self.writes.values()
            for sector in range(
                write.sector // BLOCK_SECTORS * BLOCK_SECTORS,
                write.sector + write.sectors,
                BLOCK_SECTORS,
            )
        }
        sectors = (
            geometry.array_sector(device, stripe)
            for stripe in stripes
            for device in geometry.row_at(stripe).data
        )
        return sorted(sector // BLOCK_SECTORS for sector in sectors if sector is not None)

    def possible(self) -> Mapping[int, frozenset[int]]:
        """Return which writes each written sector may hold, by array sector; 0: zeroes."""
        found: dict[int, set[int]] = {}
        for number in sorted(self.writes):
            write = self.writes[number]
            may_be = {number} if write.kind is WriteKind.DATA else {0}
            for sector in range(write.sector, write.sector + write.sectors):
                before = found.get(sector, {0})
                keeps = number in self.uncertain or write.kind is WriteKind.DISCARD
                found[sector] = before | may_be if keeps else set(may_be)
        return {sector: frozenset(writes) for sector, writes in found.items()}


def judge_reads(
    oracle: str,
    written: WrittenArray,
    read: Iterable[tuple[int, Sequence[Stamp] | None]],
    *,
    when: str,
) -> Judgement:
    """Judge pages that were read.

    Args:
        oracle: how it is called here.
        written: what was written until then.
        read: number of a page, and the stamps of its sectors; ``None``: it could not be read.
        when: in words, for a finding.
    """
    possible = written.possible()
    findings: list[Finding] = []
    count = 0
    for page, stamps in read:
        count += 1
        if stamps is None:
            findings.append(Finding(oracle, f"array page {page} cannot be read {when}"))
        else:
            findings += _judge_page(oracle, written.seed, possible, page, stamps, when)
    compared = f"{count} pages of the array, {when}"
    return Judgement(oracle, (compared,), few_of_each_kind(findings, _MOST_FINDINGS))


def _judge_page(
    oracle: str,
    seed: int,
    possible: Mapping[int, frozenset[int]],
    page: int,
    stamps: Sequence[Stamp],
    when: str,
) -> Iterator[Finding]:
    for number, (write, stamped, of_seed) in enumerate(stamps):
        sector = page * BLOCK_SECTORS + number
        wanted = possible.get(sector, frozenset({0}))
        if write in wanted and (write == 0 or (stamped, of_seed) == (sector, seed)):
            continue
        holds = "other bytes" if write < 0 else f"write {write}" if write else "zeroes"
        if write > 0 and (stamped, of_seed) != (sector, seed):
            holds += f" of array sector {stamped} (seed {of_seed})"
        wants = " or ".join(f"write {n}" if n else "zeroes" for n in sorted(wanted))
        yield Finding(oracle, f"array sector {sector} holds {holds} {when}; wanted {wants}")
